//! One turn: a batch of receipts becomes one record, durable as promised, and is published.

use super::log::Log;
use super::record::{Batch, Carried, SegmentEnd};
use super::segments::{Unsynced, sync_receipts};
use super::thread::{Arrived, Shared};
use super::{
    Change, Committed, Durability, Frame, LogError, LogState, OnCommit, Progress, Receipt,
    SequencerConfig, TxnKind,
};
use crate::io::{Fs, Operation, abort_on_failed_sync};
use crate::metrics;
use crate::planted::{Bug, is_planted};
use crate::schema::{Alteration, ColumnDef, Definition};
use crate::types::{ColumnId, TableId};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Receipts of one record.
const RECEIPTS_MAX: usize = 16 * 1024;
/// Bytes that one record carries, the last receipt's excepted.
const CARRIED_MAX: usize = 8 << 20;
/// A batch of fewer receipts is not worth waiting for.
const COMPANY_MIN: usize = 4;
/// Waits for company, however fast or slow the device is.
const PATIENCE: (Duration, Duration) = (Duration::from_micros(50), Duration::from_micros(500));
/// Pauses between tries of what has failed grow from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Everything that the sequencer's thread owns.
pub(super) struct Committer {
    config: SequencerConfig,
    fs: Fs,
    shared: Arc<Shared>,
    log: Log,
    state: LogState,
    /// Columns that this run has logged. Those of older runs are known to everybody since the start.
    logged: HashSet<(TableId, ColumnId)>,
    /// Without syncs of their own: what the next sync of all has to cover.
    unsynced: Unsynced,
    /// Under `async`: commits that wait for that sync, and since when (monotonic).
    waiting: Vec<(Arc<Progress>, u64)>,
    waiting_since: Option<Duration>,
    /// The log says of all its batches that they were synced, or had no room for it.
    is_marked: bool,
    on_commit: OnCommit,
    /// Receipts of the two batches before.
    last_batches: [usize; 2],
}

impl Committer {
    pub(super) fn new(
        config: SequencerConfig,
        fs: Fs,
        shared: Arc<Shared>,
        log: Log,
        state: LogState,
        on_commit: OnCommit,
    ) -> Committer {
        Committer {
            config,
            fs,
            shared,
            log,
            state,
            logged: HashSet::new(),
            unsynced: Unsynced::default(),
            waiting: Vec::new(),
            waiting_since: None,
            is_marked: true,
            on_commit,
            last_batches: [0; 2],
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    pub(super) fn is_simulated(&self) -> bool {
        self.fs.is_simulated()
    }

    pub(super) fn monotonic(&self) -> Duration {
        self.shared.clock.monotonic()
    }

    /// Under `sync`: five eighths of the larger of the two batches before, and the time of two syncs.
    ///
    /// Whoever was acknowledged is about to commit again, some sooner than others. A sync for the first few of them makes all others wait
    /// for it, and costs as much as one for many; waiting for all of them would leave the processors idle during the sync. So some
    /// are gathered while others are being synced.
    pub(super) fn expected_company(&self) -> Option<(usize, Duration)> {
        let larger = self.last_batches[0].max(self.last_batches[1]);
        let pays = larger >= COMPANY_MIN && self.config.durability == Durability::Sync;
        pays.then(|| (larger * 5 / 8, (2 * self.log.last_sync()).clamp(PATIENCE.0, PATIENCE.1)))
    }

    /// Commits as many of `arrived` as go into one record, and at least one.
    pub(super) fn commit_batch(&mut self, arrived: &mut VecDeque<Arrived>) -> Result<(), LogError> {
        let count = batch_len(arrived);
        let committed = self.commit(&arrived.make_contiguous()[..count]);
        arrived.drain(..count);
        committed
    }

    fn commit(&mut self, receipts: &[Arrived]) -> Result<(), LogError> {
        self.last_batches = [receipts.len(), self.last_batches[0]];
        if self.log.is_full() {
            self.roll()?;
        }
        let sync = self.config.durability == Durability::Sync;
        if sync && !is_planted(Bug::AckBeforeSegmentSync) {
            let own = receipts.iter().map(|a| &a.receipt).filter(|r| r.carried.is_none());
            sync_receipts(&self.fs, &self.shared, own)?;
        } else {
            receipts.iter().for_each(|arrived| self.unsynced.add(&arrived.receipt));
        }
        let mut batch = Batch { at: self.shared.clock.wall_nanos(), ..Batch::default() };
        for arrived in receipts {
            self.number(&arrived.receipt, &mut batch);
        }
        if !batch.transactions.is_empty() || !batch.reported.is_empty() {
            if is_planted(Bug::AckBeforeWrite) {
                receipts.iter().for_each(|a| a.receipt.progress.commit(a.receipt.ordinal));
            }
            self.append(&batch)?;
            self.is_marked = false;
            if sync && !is_planted(Bug::AckBeforeLogSync) {
                self.log.sync(&self.shared.clock);
            }
            (self.on_commit)(&batch.transactions);
            metrics::TRANSACTIONS.increment(batch.transactions.len() as u64);
            metrics::SEQUENCER_BATCHES.increment(1);
            metrics::SEQUENCER_BATCH_RECEIPTS.record(receipts.len() as f64);
            metrics::SEQUENCER_CARRIED.increment(batch.carried.len() as u64);
        }
        self.publish(receipts);
        Ok(())
    }

    /// Under `async`, syncs when the interval of the oldest waiting commit is over. Returns how long until that is so.
    pub(super) fn sync_when_due(&mut self) -> Result<Option<Duration>, LogError> {
        let Some(since) = self.waiting_since else { return Ok(None) };
        let left = (since + self.config.async_interval).saturating_sub(self.monotonic());
        if left.is_zero() {
            self.sync_all()?;
            self.mark();
            self.acknowledge();
            return Ok(None);
        }
        Ok(Some(left))
    }

    /// Makes everything durable and seals the log.
    pub(super) fn end(&mut self) -> Result<(), LogError> {
        self.sync_all()?;
        let sealed = self.log.seal(&mut self.state, &self.shared.clock);
        self.acknowledge();
        sealed
    }

    /// Segments first, then the log that names them.
    fn sync_all(&mut self) -> Result<(), LogError> {
        self.unsynced.sync(&self.fs, &self.shared)?;
        self.log.sync(&self.shared.clock);
        Ok(())
    }

    /// Under `async`, says in an empty record that all before it is on the device: what of it does not verify at a start is damage of what was
    /// acknowledged then, and not the end of the log. Without room for it, the next batch says the same.
    fn mark(&mut self) {
        let is_async = self.config.durability == Durability::Async;
        if !is_async || std::mem::replace(&mut self.is_marked, true) {
            return;
        }
        let batch = Batch { at: self.shared.clock.wall_nanos(), ..Batch::default() };
        self.log.stage(&batch, &self.state);
        if let Err(error) = self.log.write(&mut self.state) {
            tracing::debug!(%error, "the log has no room to say how far it was synced");
        }
    }

    /// The commits that waited for a sync.
    fn acknowledge(&mut self) {
        self.waiting_since = None;
        for (progress, ordinal) in self.waiting.drain(..) {
            progress.commit(ordinal);
        }
    }

    /// A checkpoint says that nothing before it is in doubt.
    fn roll(&mut self) -> Result<(), LogError> {
        self.sync_all()?;
        self.mark();
        self.acknowledge();
        self.shared.persist(|| self.log.roll(&mut self.state, &self.shared.clock))
    }

    fn append(&mut self, batch: &Batch) -> Result<(), LogError> {
        self.log.stage(batch, &self.state);
        self.shared.persist(|| self.log.write(&mut self.state))
    }

    fn publish(&mut self, receipts: &[Arrived]) {
        let now = self.monotonic();
        for Arrived { receipt, at } in receipts {
            if self.config.durability == Durability::Async {
                receipt.progress.publish(receipt.ordinal);
                self.waiting_since.get_or_insert(now);
                self.waiting.push((receipt.progress.clone(), receipt.ordinal));
            } else {
                receipt.progress.commit(receipt.ordinal);
            }
            metrics::COMMIT_DURATION.record(now.saturating_sub(*at).as_secs_f64());
        }
    }

    /// Gives everything in a receipt its numbers.
    fn number(&mut self, receipt: &Receipt, batch: &mut Batch) {
        self.number_definitions(&receipt.definitions, batch);
        let before = batch.transactions.len();
        // The rows of a replacement are part of it.
        let replaces = matches!(receipt.change, Some(Change::Replace { .. }));
        assert!(!replaces || receipt.frames.len() <= 1, "a replacement has one frame at most");
        for frame in receipt.frames.iter().filter(|_| !replaces) {
            let kind = TxnKind::Data(Frame::of(receipt, frame));
            if !self.transact(frame.table, kind, batch) {
                metrics::ROWS_DROPPED_WITH_TABLE.increment(u64::from(frame.rows));
            }
        }
        if let Some(change) = &receipt.change {
            self.number_change(receipt, change, batch);
        }
        let has_data = batch.transactions[before..].iter().any(|txn| txn.kind.frame().is_some());
        for reported in &receipt.reported {
            match self.state.report(reported) {
                Ok(()) => batch.reported.push(*reported),
                Err(what) => {
                    tracing::error!(?reported, what, "a report was not taken into account")
                }
            }
        }
        if has_data && self.config.durability == Durability::Sync {
            self.place(receipt, batch);
        }
    }

    fn number_change(&mut self, receipt: &Receipt, change: &Change, batch: &mut Batch) {
        let (table, kind) = match change {
            Change::Drop { table } => (*table, TxnKind::Drop),
            Change::RemoveBefore { table, time } => (*table, TxnKind::RemoveBefore(*time)),
            Change::Truncate { table } => (*table, TxnKind::Truncate),
            Change::Replace { table, from, to } => {
                let frame = receipt.frames.first().map(|frame| Frame::of(receipt, frame));
                (*table, TxnKind::Replace { from: *from, to: *to, frame })
            }
            Change::Alter { table, alteration } => {
                if let Alteration::RetypeColumn { to, .. } = alteration {
                    self.logged.insert((*table, to.id));
                }
                (*table, TxnKind::Alter(alteration.clone()))
            }
        };
        let rows = kind.frame().map_or(0, |frame| frame.rows);
        if !self.transact(table, kind, batch) {
            metrics::ROWS_DROPPED_WITH_TABLE.increment(u64::from(rows));
        }
    }

    /// Says in the record where the receipt's frames are safe: in the record itself, or in their synced segment.
    fn place(&self, receipt: &Receipt, batch: &mut Batch) {
        let (writer, segment) = (receipt.writer, receipt.segment);
        if let (Some(bytes), Some(first)) = (&receipt.carried, receipt.frames.first()) {
            let (offset, bytes) = (first.offset, bytes.clone());
            batch.carried.push(Carried { writer, segment, offset, bytes });
        } else {
            batch.synced.push(SegmentEnd { writer, segment, end: receipt.end });
        }
    }

    /// Numbers what the log does not have yet: creations, then for each table its new columns at once.
    fn number_definitions(&mut self, definitions: &[Definition], batch: &mut Batch) {
        let mut columns: Vec<(TableId, Vec<ColumnDef>)> = Vec::new();
        for definition in definitions {
            match definition {
                Definition::Create(def) => {
                    if self.state.table(def.id).is_none() {
                        self.transact(def.id, TxnKind::Create(def.clone()), batch);
                    }
                }
                Definition::AddColumn { table, column } => {
                    let dropped = self.state.table(*table).is_some_and(|table| table.dropped);
                    if dropped || !self.logged.insert((*table, column.id)) {
                        continue;
                    }
                    match columns.iter_mut().find(|(of, _)| of == table) {
                        Some((_, columns)) => columns.push(column.clone()),
                        None => columns.push((*table, vec![column.clone()])),
                    }
                }
            }
        }
        for (table, columns) in columns {
            self.transact(table, TxnKind::AddColumns(columns), batch);
        }
    }

    /// Gives a table its next transaction; false when the table has been dropped.
    ///
    /// # Panics
    /// When the table was never created: a receipt brings the definition of every table that the log may not have.
    fn transact(&mut self, table: TableId, kind: TxnKind, batch: &mut Batch) -> bool {
        let known = self.state.table(table);
        if known.is_some_and(|table| table.dropped) {
            return false;
        }
        let seq_txn = known.map(|table| table.seq_txn).unwrap_or_default().next();
        let txn = Committed { table, seq_txn, at: batch.at, kind };
        if let Err(what) = self.state.step(&txn) {
            panic!("{what}: {txn:?}");
        }
        batch.transactions.push(txn);
        true
    }
}

impl Shared {
    /// Does an operation, again with pauses while it fails. A failed sync ends the process.
    ///
    /// # Errors
    /// The last error when the server is stopping: then nobody waits for room any more.
    pub(super) fn persist<T>(
        &self,
        mut operation: impl FnMut() -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let mut pause = PAUSES.0;
        loop {
            match operation() {
                Ok(done) => return Ok(done),
                Err(LogError::Io(error)) if error.operation == Operation::Sync => {
                    abort_on_failed_sync(&error)
                }
                Err(error) if self.is_ending() => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "the transaction log, or what it names, cannot be written; nothing is acknowledged until it can");
                    self.clock.sleep(pause);
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }
}

/// How many receipts go into the next record.
fn batch_len(arrived: &VecDeque<Arrived>) -> usize {
    let mut carried = 0;
    let fitting = arrived.iter().take(RECEIPTS_MAX).take_while(|arrived| {
        let fits = carried < CARRIED_MAX;
        carried += arrived.receipt.carried.as_ref().map_or(0, |bytes| bytes.len());
        fits
    });
    fitting.count()
}
