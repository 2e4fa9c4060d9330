//! What waits for suspended tables is moved out of log and segments, into files that nothing else is in: a table that stands still
//! for a week keeps what it was sent, and not what everybody else sent in that week. `docs/formats/shelf.md` says how it is kept.

use super::layout::log_dir;
use super::open::Shared;
use crate::apply::ResumeError;
use crate::metrics;
use crate::planted::{Bug, is_planted};
use crate::sequencer::{self, Committed, LogError, ShelfFile};
use crate::types::{SegmentId, SeqTxn, TableId, WriterId};
use crate::wal::{self, FrameCopier, WalError};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// What waits is moved when it is so much in the WAL,
const DUE_BYTES: u64 = 1 << 20;
/// or so old.
const DUE_AGE: Duration = Duration::from_secs(60);

/// Bytes of frames in one shelf, about: it is written and read as a whole.
const SHELF_BYTES: u64 = 32 << 20;

/// The shelves on disk. Whoever has the lock may rely on no segment being removed and no table being resumed.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    /// In order of their first transactions.
    files: BTreeMap<TableId, Vec<ShelfFile>>,
    /// Segments that were written again for the sake of a table that was resumed.
    restored: BTreeSet<(WriterId, SegmentId)>,
}

/// Why a shelf cannot be written, or not be put back.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShelfError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error("the log does not have what waits for table {0}")]
    NotInLog(TableId),
}

impl Shelves {
    pub(super) fn new(found: Vec<ShelfFile>) -> Shelves {
        let mut files: BTreeMap<TableId, Vec<ShelfFile>> = BTreeMap::new();
        for file in found {
            files.entry(file.table).or_default().push(file);
        }
        Shelves { files, restored: BTreeSet::new() }
    }

    /// The last transaction of a table that is on a shelf.
    pub(super) fn through(&self, table: TableId) -> SeqTxn {
        let files = self.files.get(&table).into_iter().flatten();
        files.map(|file| file.last).max().unwrap_or(SeqTxn::NONE)
    }

    /// Segments that were written again, once.
    pub(super) fn take_restored(&mut self) -> BTreeSet<(WriterId, SegmentId)> {
        std::mem::take(&mut self.restored)
    }

    fn count(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }
}

impl Shared {
    pub(super) fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shelves what waits long or is large, and removes shelves of which everything is in parts.
    pub(super) fn tend_shelves(&self, shelves: &mut Shelves) {
        self.remove_shelves(shelves);
        for waiting in self.apply.waiting_apart() {
            let through = shelves.through(waiting.table);
            if through > self.apply.flushed_txn(waiting.table) {
                // It was suspended before, and what waits has been on a shelf since.
                self.apply.shelved(waiting.table, through);
            }
        }
        let now = self.clock.wall_nanos();
        for waiting in self.apply.waiting_apart() {
            let age = u64::try_from(now.saturating_sub(waiting.since)).unwrap_or(0);
            if (waiting.bytes >= DUE_BYTES || Duration::from_nanos(age) >= DUE_AGE)
                && let Err(error) = self.shelve(shelves, waiting.table, waiting.through)
            {
                tracing::warn!(table = %waiting.table, %error,
                    "what waits for a suspended table keeps its segments for now");
            }
        }
        metrics::SHELF_FILES.set(shelves.count() as f64);
    }

    fn remove_shelves(&self, shelves: &mut Shelves) {
        for (table, files) in &mut shelves.files {
            let flushed = self.apply.flushed_txn(*table);
            while let Some(first) = files.first().filter(|first| first.last <= flushed) {
                if let Err(error) = sequencer::remove_shelf(&self.fs, first) {
                    tracing::warn!(%error, "a shelf that is done with stays for now");
                    break;
                }
                files.remove(0);
            }
        }
        shelves.files.retain(|_, files| !files.is_empty());
    }

    fn shelve(
        &self,
        shelves: &mut Shelves,
        table: TableId,
        through: SeqTxn,
    ) -> Result<(), ShelfError> {
        let dir = log_dir(&self.config.data_dir);
        let before = shelves.through(table).max(self.apply.flushed_txn(table));
        let mut waiting = sequencer::logged(&self.fs, &dir, table)?;
        waiting.retain(|txn| before < txn.seq_txn && txn.seq_txn <= through);
        let is_next = |(txn, number): (&Committed, u64)| txn.seq_txn.0 == number;
        let is_all = waiting.last().is_some_and(|last| last.seq_txn == through);
        if !is_all || !waiting.iter().zip(before.0 + 1..).all(is_next) {
            return Err(ShelfError::NotInLog(table));
        }
        if is_planted(Bug::ReleasedBeforeShelf) {
            self.apply.shelved(table, through);
        }
        let mut rest = waiting.as_slice();
        while !rest.is_empty() {
            let room = self.fs.room(&self.wal_dir).map_err(LogError::from)?;
            if room.free < self.config.wal.reserve(room) / 2 + SHELF_BYTES {
                // Flushes and the catalog go first; segments that they release may make room.
                return Ok(());
            }
            let (some, others) = rest.split_at(shelf_len(rest));
            let mut copiers: BTreeMap<(WriterId, SegmentId), FrameCopier> = BTreeMap::new();
            for frame in some.iter().filter_map(|txn| txn.kind.frame()) {
                let place = (frame.writer, frame.segment);
                let copier = match copiers.entry(place) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => {
                        let identity = self.identity.segment(frame.writer, frame.segment);
                        entry.insert(self.writers.copier(identity)?)
                    }
                };
                copier.copy(frame.offset, frame.len)?;
            }
            let carried = copiers.into_iter().map(|(place, copier)| (place, copier.finish()));
            let uuid = &self.identity.uuid;
            let file = sequencer::shelve(&self.fs, &dir, uuid, some, carried.collect())?;
            tracing::info!(table = %table, from = %file.first, to = %file.last,
                path = %file.path.display(), "moved what waits for a suspended table out of the WAL");
            self.apply.shelved(table, file.last);
            shelves.files.entry(table).or_default().push(file);
            rest = others;
        }
        Ok(())
    }

    /// Lets a suspended table go on, once its frames are back in their segments.
    pub(super) fn resume_table(
        &self,
        table: TableId,
        from: Option<SeqTxn>,
    ) -> Result<Result<(), ResumeError>, ShelfError> {
        let mut shelves = self.shelves();
        // One that goes on has its frames.
        if self.apply.progress(table).is_some_and(|progress| progress.is_suspended()) {
            self.unshelve(&mut shelves, table)?;
        }
        Ok(self.apply.resume(table, from))
    }

    fn unshelve(&self, shelves: &mut Shelves, table: TableId) -> Result<(), ShelfError> {
        // First: from here on, a segment that is there stays.
        self.apply.unshelve(table);
        let flushed = self.apply.flushed_txn(table);
        let Shelves { files, restored } = shelves;
        let ledger: BTreeSet<_> = {
            let closed = self.writers.closed_segments().into_iter();
            let closed = closed.map(|closed| (closed.writer, closed.segment));
            closed.chain(self.writers.open_segments()).collect()
        };
        let files = files.get(&table).into_iter().flatten();
        for file in files.filter(|file| file.last > flushed) {
            let shelf = sequencer::read_shelf(&self.fs, file, &self.identity.uuid)?;
            for ((writer, segment), frames) in &shelf.carried {
                // A segment of this life that is there has all that was ever written to it.
                if !ledger.contains(&(*writer, *segment)) && !is_planted(Bug::ShelfNotRestored) {
                    let identity = self.identity.segment(*writer, *segment);
                    let epoch = self.identity.epoch;
                    wal::restore(&self.fs, &self.wal_dir, &identity, epoch, frames)?;
                    restored.insert((*writer, *segment));
                }
            }
        }
        Ok(())
    }
}

/// How many transactions go into one shelf.
fn shelf_len(waiting: &[Committed]) -> usize {
    let mut bytes = 0;
    let fits = |txn: &&Committed| {
        bytes += txn.kind.frame().map_or(0, |frame| u64::from(frame.len));
        bytes <= SHELF_BYTES
    };
    waiting.iter().take_while(fits).count().max(1)
}
