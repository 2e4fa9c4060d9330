//! One table in the pool: its transactions in order, and the state machine that lets one worker at a time apply them.

use super::gate::Gate;
use super::progress::Stage;
use super::publication::Publication;
use super::retry::Retry;
use super::segments::Usage;
use super::turn::TurnState;
use super::{TableProgress, Txn, TxnKind};
use crate::clock::Clock;
use crate::schema::{Alteration, Shape, TableDef};
use crate::storage::{Snapshot, TableDir, TableSchema, TableStore};
use crate::types::{SeqTxn, TableId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// A table that exists or is about to.
///
/// Locks are taken in the order `turn`, `queue`, `publication`; none is held over I/O but `turn`, which belongs to the one
/// worker that has the table.
#[derive(Debug)]
pub(super) struct ApplyTable {
    pub(super) id: TableId,
    pub(super) progress: Arc<TableProgress>,
    pub(super) queue: Mutex<Queue>,
    pub(super) turn: Mutex<TurnState>,
    pub(super) publication: Mutex<Publication>,
    /// By [`Stage`]: when failed work is tried again.
    retries: Mutex<[Retry; 3]>,
    /// There once transaction 1 is applied.
    store: OnceLock<Arc<TableStore>>,
}

/// What waits, and where the table stands with the scheduler.
#[derive(Debug)]
pub(super) struct Queue {
    /// Committed and not applied, dense.
    pub(super) pending: VecDeque<Txn>,
    /// Bytes of `pending`, as the gate counts them.
    pub(super) pending_bytes: u64,
    /// The gate counts `pending` apart from what other tables wait for: the table stood still and has not caught up.
    pub(super) is_apart: bool,
    /// Transactions up to here are kept outside the WAL, and use no segment: see [`super::ApplyPool::shelved`].
    shelved: SeqTxn,
    /// Rows up to here are passed over.
    skip_to: SeqTxn,
    /// The last transaction that came in.
    pub(super) last: SeqTxn,
    pub(super) phase: Phase,
    /// The tail is to be frozen once this transaction is in it.
    pub(super) flush_to: SeqTxn,
    /// The last transaction of the last frozen tail: `flushed_txn <= frozen <= applied_txn`.
    pub(super) frozen: SeqTxn,
    /// How old the tail may get, where that is not the same for all tables.
    pub(super) max_lag: Option<Duration>,
    /// Monotonic time at which the first transaction after `frozen` was applied.
    tail_since: Option<Duration>,
    /// How long ago it had been committed then: a moment, but after a start or a suspension.
    tail_age: Duration,
    /// How many of `pending` take rows of earlier ones away.
    overwrites: usize,
}

/// Where a table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Nowhere: nothing to do, or nothing that can be done yet.
    Idle,
    /// In the turn queue.
    Queued,
    /// With a worker, who looks for more work before it lets go.
    Running,
}

/// The next transactions of a table that are applied together.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Consecutive transactions with rows.
    Data(Vec<Txn>),
    /// Consecutive transactions with rows that somebody asked to pass over.
    Skipped(Vec<Txn>),
    /// A transaction that takes rows away, and before it those that become visible together with it.
    Overwrite(Vec<Txn>),
    /// One transaction of another kind.
    Other(Txn),
}

impl ApplyTable {
    /// A table of which nothing is known but its number.
    pub(super) fn new(id: TableId) -> ApplyTable {
        ApplyTable::with_flushed(id, SeqTxn::NONE)
    }

    /// A table that the catalog has.
    pub(super) fn recovered(id: TableId, store: TableStore) -> ApplyTable {
        let table = ApplyTable::with_flushed(id, store.load().flushed_txn);
        table.set_store(store);
        lock(&table.publication).catalogued = Some(table.snapshot().schema.clone());
        table
    }

    fn with_flushed(id: TableId, flushed: SeqTxn) -> ApplyTable {
        let queue = Queue {
            pending: VecDeque::new(),
            pending_bytes: 0,
            is_apart: false,
            shelved: flushed,
            skip_to: SeqTxn::NONE,
            last: flushed,
            phase: Phase::Idle,
            flush_to: flushed,
            frozen: flushed,
            max_lag: None,
            tail_since: None,
            tail_age: Duration::ZERO,
            overwrites: 0,
        };
        ApplyTable {
            id,
            progress: Arc::new(TableProgress::new(flushed)),
            queue: Mutex::new(queue),
            turn: Mutex::default(),
            publication: Mutex::default(),
            retries: Mutex::default(),
            store: OnceLock::new(),
        }
    }

    /// The table's snapshots; `None` before transaction 1 is applied.
    pub(super) fn store(&self) -> Option<&Arc<TableStore>> {
        self.store.get()
    }

    /// The table now.
    ///
    /// # Panics
    /// Before transaction 1 is applied.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.store().expect("transaction 1 creates the table").load()
    }

    /// The table comes into being.
    pub(super) fn create(&self, def: TableDef, dir: Arc<TableDir>) {
        let schema = Arc::new(TableSchema::of(Shape::new(def, Vec::new())));
        let nothing = Snapshot::flushed(schema, Arc::from([]), SeqTxn::NONE);
        self.set_store(TableStore::new(dir, nothing));
    }

    fn set_store(&self, store: TableStore) {
        assert!(self.store.set(Arc::new(store)).is_ok(), "a table is created once");
    }

    /// Stores the next snapshot, made from the present one.
    pub(super) fn publish(&self, change: impl FnOnce(&mut Snapshot, &mut Publication)) {
        let mut publication = lock(&self.publication);
        let store = self.store().expect("only a created table is published");
        let mut next = Snapshot::clone(&store.load());
        change(&mut next, &mut publication);
        store.store(next);
    }

    /// The last transaction that came in: a start replays what is flushed, too.
    pub(super) fn last(&self) -> SeqTxn {
        lock(&self.queue).last
    }

    /// Takes committed transactions in.
    ///
    /// # Panics
    /// A transaction is missing before one of them: the sequencer numbers them without gaps.
    pub(super) fn push(&self, txns: Vec<Txn>, gate: &Gate) {
        let Some(last) = txns.last().map(|txn| txn.seq_txn) else { return };
        let mut queue = lock(&self.queue);
        let (mut rows, mut bytes) = (0, 0);
        for txn in txns {
            assert_eq!(
                txn.seq_txn,
                queue.last.next(),
                "transactions of table {} are dense",
                self.id
            );
            queue.last = txn.seq_txn;
            queue.overwrites += usize::from(txn.is_overwrite());
            let size = txn.size();
            (rows, bytes) = (rows + size.0, bytes + size.1);
            queue.pending.push_back(txn);
        }
        queue.pending_bytes += bytes;
        gate.committed(bytes, queue.is_apart);
        self.progress.committed(last, rows);
    }

    /// The wall clock at the commit of the first transaction that waits, nanoseconds since 1970.
    pub(super) fn waiting_since(&self) -> Option<i64> {
        lock(&self.queue).pending.front().map(|txn| txn.at)
    }

    /// What to know of failed work, or to change.
    pub(super) fn retry<T>(&self, stage: Stage, change: impl FnOnce(&mut Retry) -> T) -> T {
        change(&mut lock(&self.retries)[stage as usize])
    }

    /// True while the work of a stage fails for a reason that is this table's alone.
    pub(super) fn is_stuck(&self, stage: Stage) -> bool {
        self.retry(stage, |retry| retry.is_stuck())
    }

    /// True while the table is suspended or stuck: what is committed to it must not stop the others.
    fn stands_still(&self) -> bool {
        self.progress.is_suspended() || self.is_stuck_anywhere()
    }

    /// True while it is stuck before its rows are in parts.
    fn is_stuck_anywhere(&self) -> bool {
        self.is_stuck(Stage::Apply) || self.is_stuck(Stage::Flush)
    }

    /// Counts what comes in with what other tables wait for, once the table goes on and has caught up.
    pub(super) fn rejoin(&self, queue: &mut Queue) {
        if queue.is_apart && queue.pending.is_empty() && !self.stands_still() {
            queue.is_apart = false;
        }
    }

    /// The work of a stage has succeeded.
    pub(super) fn succeeded(&self, stage: Stage) {
        self.retry(stage, |retry| *retry = Retry::default());
        self.progress.recovered(stage);
    }

    /// Asks for the rows up to `txn` to be passed over.
    pub(super) fn skip_to(&self, txn: SeqTxn) {
        let mut queue = lock(&self.queue);
        queue.skip_to = queue.skip_to.max(txn);
    }

    /// Asks for everything up to `txn` to be flushed.
    pub(super) fn want_flush(&self, txn: SeqTxn) {
        let mut queue = lock(&self.queue);
        queue.flush_to = queue.flush_to.max(txn);
    }

    /// The transactions to apply next, which stay where they are until [`ApplyTable::applied`].
    pub(super) fn next_chunk(&self) -> Option<Chunk> {
        let queue = lock(&self.queue);
        let first = queue.pending.front()?;
        if let Some(drop) = self.pending_drop(&queue) {
            return Some(Chunk::Other(drop.clone()));
        }
        if first.seq_txn <= queue.skip_to && first.is_skippable() {
            let is_skipped = |txn: &&Txn| txn.is_skippable() && txn.seq_txn <= queue.skip_to;
            return Some(Chunk::Skipped(
                queue.pending.iter().take_while(is_skipped).cloned().collect(),
            ));
        }
        if let Some(len) = queue.overwrite_len() {
            return Some(Chunk::Overwrite(queue.pending.iter().take(len).cloned().collect()));
        }
        if !matches!(first.kind, TxnKind::Data(_)) {
            return Some(Chunk::Other(first.clone()));
        }
        let (mut rows, mut bytes) = (0, 0);
        let fits = |txn: &&Txn| {
            let is_first = rows == 0;
            rows += txn.size().0;
            bytes += txn.size().1;
            let is_small = rows <= CHUNK_ROWS_MAX && bytes <= CHUNK_BYTES_MAX;
            matches!(txn.kind, TxnKind::Data(_)) && (is_first || is_small)
        };
        let txns = queue.pending.iter().take(CHUNK_TXNS_MAX).take_while(fits).cloned();
        Some(Chunk::Data(txns.collect()))
    }

    /// The drop of a table that exists: nothing before it is wanted any more, damaged or not.
    pub(super) fn pending_drop<'a>(&self, queue: &'a Queue) -> Option<&'a Txn> {
        self.store()?;
        queue.pending.back().filter(|txn| txn.kind == TxnKind::Drop)
    }

    /// Takes the transactions up to `txn` out of the queue: they are visible. Returns how many rows they have.
    pub(super) fn applied(&self, txn: SeqTxn, clock: &Clock, gate: &Gate) -> u64 {
        let mut queue = lock(&self.queue);
        if queue.tail_since.is_none() {
            let age =
                queue.pending.front().map_or(0, |txn| clock.wall_nanos().saturating_sub(txn.at));
            queue.tail_since = Some(clock.monotonic());
            queue.tail_age = Duration::from_nanos(u64::try_from(age).unwrap_or(0));
        }
        let (mut rows, mut bytes) = (0, 0);
        while let Some(done) = queue.pending.pop_front_if(|t| t.seq_txn <= txn) {
            rows += done.size().0;
            bytes += done.size().1;
            queue.overwrites -= usize::from(done.is_overwrite());
        }
        queue.pending_bytes -= bytes;
        gate.applied(bytes, queue.is_apart);
        self.rejoin(&mut queue);
        drop(queue);
        self.progress.applied(txn, rows);
        rows
    }

    /// Segments of the transactions that wait and are not shelved.
    pub(super) fn pending_usage(&self) -> Usage {
        let queue = lock(&self.queue);
        queue.usage(|txn| txn > queue.shelved)
    }

    /// True when the tail is to be frozen now.
    pub(super) fn is_freeze_due(&self) -> bool {
        self.must_freeze(&lock(&self.queue))
    }

    /// True when the tail is to be frozen now. That of a stuck table is not kept for what it cannot get meanwhile.
    pub(super) fn must_freeze(&self, queue: &Queue) -> bool {
        let applied = self.progress.applied_txn();
        let has_all = || queue.flush_to <= applied || self.is_stuck_anywhere();
        queue.frozen < queue.flush_to.min(applied) && has_all()
    }

    /// The tail was taken away at the last applied transaction.
    pub(super) fn frozen(&self) {
        let mut queue = lock(&self.queue);
        queue.frozen = self.progress.applied_txn();
        queue.tail_since = None;
    }
}

impl Queue {
    /// How long ago the tail's first transaction was committed; `None` when the tail is empty. While a backlog is being applied, how long
    /// ago it was applied: what was committed long before is about to get company.
    pub(super) fn tail_age(&self, now: Duration) -> Option<Duration> {
        let applied = now.saturating_sub(self.tail_since?);
        Some(if self.pending.is_empty() { applied + self.tail_age } else { applied })
    }

    /// Segments of the transactions that wait and fulfil a condition.
    fn usage(&self, counts: impl Fn(SeqTxn) -> bool) -> Usage {
        let mut usage = Usage::default();
        for data in self.pending.iter().filter(|txn| counts(txn.seq_txn)).filter_map(Txn::data) {
            *usage.entry(data.key()).or_default() += 1;
        }
        usage
    }

    /// Marks transactions up to `upto` as shelved, and returns the segments of those that were not.
    pub(super) fn shelve(&mut self, upto: SeqTxn) -> Usage {
        let before = self.shelved;
        self.shelved = upto.max(before);
        self.usage(|txn| txn > before && txn <= upto)
    }

    /// Takes back what [`Queue::shelve`] marked, and returns its segments.
    pub(super) fn unshelve(&mut self) -> Usage {
        let shelved = std::mem::take(&mut self.shelved);
        self.usage(|txn| txn <= shelved)
    }

    /// What waits and is not shelved.
    pub(super) fn unshelved(&self) -> impl Iterator<Item = &Txn> {
        self.pending.iter().rev().take_while(|txn| txn.seq_txn > self.shelved)
    }

    /// True when [`Queue::overwrite_len`] counts, and nothing is to be passed over before.
    pub(super) fn is_overwrite_next(&self) -> bool {
        let first = self.pending.front();
        let is_skipped = first.is_some_and(|txn| txn.is_skippable() && txn.seq_txn <= self.skip_to);
        !is_skipped && self.overwrite_len().is_some()
    }

    /// How many of the first transactions are applied as one, because the last of them takes rows away: those before it that it
    /// covers need not be read, and then nobody may see the table without their rows before that one.
    pub(super) fn overwrite_len(&self) -> Option<usize> {
        if self.overwrites == 0 {
            return None;
        }
        let may_go_along = |txn: &&Txn| match &txn.kind {
            TxnKind::Data(_) | TxnKind::AddColumns(_) => true,
            // Rows of before and after another rule for duplicates are never in one part.
            TxnKind::Alter(change) => !matches!(change, Alteration::Options(_)),
            _ => false,
        };
        // Rows that are passed over on request are not even read.
        let is_skipping = self.pending.front().is_some_and(|txn| txn.seq_txn <= self.skip_to);
        let go_along = self.pending.iter().take(CHUNK_TXNS_MAX).take_while(may_go_along);
        let before = if is_skipping { 0 } else { go_along.count() };
        let last = self.pending.get(before).filter(|txn| txn.is_overwrite())?;
        let data = || self.pending.iter().take(before).filter_map(Txn::data);
        let (mut rows, mut bytes) = (0, 0);
        for data in data().filter(|data| !last.covers(data)) {
            rows += u64::from(data.rows);
            bytes += u64::from(data.len);
        }
        let is_small = rows <= CHUNK_ROWS_MAX && bytes <= CHUNK_BYTES_MAX;
        let is_due = before == 0 || (is_small && data().any(|data| last.covers(data)));
        is_due.then_some(before + 1)
    }
}

/// A chunk is what one publication brings: it bounds how long readers wait and how much memory is not counted yet.
const CHUNK_ROWS_MAX: u64 = 64 << 10;
const CHUNK_BYTES_MAX: u64 = 8 << 20;
const CHUNK_TXNS_MAX: usize = 4096;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
