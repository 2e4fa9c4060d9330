//! What happens once a second, or as often as the configuration says, whatever else happens: expired partitions, segments and log chunks that are done with, gauges.

use super::fence::Fences;
use super::open::Shared;
use super::replay::Replay;
use super::retention::Retention;
use super::shelf::Shelves;
use crate::io::{DirLock, abort_on_lost_directory, synced};
use crate::metrics;
use crate::planted::{Bug, is_planted};
use crate::sequencer::{Change, Progress, Receipt};
use crate::types::{SegmentId, TableId, WriterId};
use crate::wal::{self, WalError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rounds after which the open segments of writers that nobody has borrowed are closed, so that they can go.
const CLOSE_IDLE_ROUNDS: u64 = 60;

/// The housekeeper's memory between rounds.
#[derive(Debug)]
pub(super) struct Housekeeper {
    shared: Arc<Shared>,
    lock: Arc<DirLock>,
    rounds: u64,
    /// The watermark of its own receipts.
    progress: Arc<Progress>,
    ordinal: u64,
    /// Segments of earlier lives that still held rows which were not flushed.
    inherited: BTreeSet<(WriterId, SegmentId)>,
    /// What the start found in the WAL, until it is all visible.
    replay: Option<Replay>,
    /// Closed segments.
    fences: Fences,
    /// What is done with stays for so long.
    retention: Retention,
    /// The time up to which each table was last trimmed.
    trimmed: BTreeMap<TableId, i64>,
}

impl Housekeeper {
    pub(super) fn is_simulated(&self) -> bool {
        self.shared.fs.is_simulated()
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        inherited: BTreeSet<(WriterId, SegmentId)>,
        replay: Replay,
        lock: Arc<DirLock>,
    ) -> Housekeeper {
        Housekeeper {
            retention: Retention::new(shared.config.wal_retention),
            shared,
            lock,
            rounds: 0,
            progress: Progress::new(),
            ordinal: 0,
            inherited,
            replay: Some(replay),
            fences: Fences::default(),
            trimmed: BTreeMap::new(),
        }
    }

    /// Rounds until the engine stops.
    pub(super) fn run(mut self) -> Housekeeper {
        while !self.shared.is_stopping() {
            self.round();
            std::thread::park_timeout(self.shared.config.housekeeping);
        }
        self
    }

    /// After everything is flushed and every thread but this has ended: nothing needs the WAL any more.
    pub(super) fn last_round(mut self) {
        self.shared.writers.close_idle();
        let now = self.shared.clock.monotonic();
        for closed in self.shared.writers.closed_segments() {
            if self.retention.is_over(closed.writer, closed.segment, now) {
                self.remove(closed.writer, closed.segment);
            }
        }
        let shared = self.shared.clone();
        let mut shelves = shared.shelves();
        self.inherited.append(&mut shelves.take_restored());
        self.purge_inherited();
        shared.tend_shelves(&mut shelves);
        self.purge_log(&shelves);
    }

    pub(super) fn round(&mut self) {
        self.rounds += 1;
        self.watch_disk();
        self.watch_replay();
        self.expire();
        let policies = self.shared.policies.clone();
        self.shared.apply.set_max_lags(|def| policies.max_lag(def));
        if self.rounds.is_multiple_of(CLOSE_IDLE_ROUNDS) {
            self.shared.writers.close_idle();
        }
        if !is_planted(Bug::CarriedPurgedUnwritten) {
            self.shared.writers.write_out_all();
        }
        let shared = self.shared.clone();
        {
            let mut shelves = shared.shelves();
            shared.tend_shelves(&mut shelves);
            self.inherited.append(&mut shelves.take_restored());
            self.purge_closed();
            self.purge_inherited();
            self.purge_log(&shelves);
        }
        let segments = self.shared.writers.open_segments().len()
            + self.shared.writers.closed_segments().len()
            + self.inherited.len();
        metrics::WAL_SEGMENTS.set(segments as f64);
    }

    /// Looks whether the folder is still ours and has room. Past the reserve, connections wait until flushed rows have let segments
    /// go, so everything is flushed at once.
    fn watch_disk(&self) {
        let shared = &self.shared;
        if !self.lock.is_in_place() {
            abort_on_lost_directory(&shared.config.data_dir);
        }
        match shared.fs.room(&shared.wal_dir) {
            Ok(room) => {
                let reserve = shared.config.wal.reserve(room);
                metrics::DISK_FREE_BYTES.set(room.free as f64);
                metrics::DISK_RESERVE_BYTES.set(reserve as f64);
                // Before connections have to wait.
                if room.free < reserve.saturating_mul(2) {
                    shared.writers.close_idle();
                    shared.apply.want_flush_all();
                }
            }
            Err(error) => tracing::warn!(%error, "the room on the disk is unknown"),
        }
    }

    /// Says how far the replay of a start is.
    fn watch_replay(&mut self) {
        let Some(part) = self.replay.as_ref().map(Replay::part) else { return };
        metrics::RECOVERY_PROGRESS.set(part);
        if part < 1.0 {
            tracing::info!(percent = (part * 100.0) as u64, "replaying the WAL");
        } else {
            if self.rounds > 1 {
                tracing::info!(seconds = self.rounds - 1, "the WAL is replayed");
            }
            self.replay = None;
        }
    }

    /// Commits the removal of partitions that have outlived their table's TTL.
    fn expire(&mut self) {
        let policies = self.shared.policies.clone();
        for (table, time) in self.shared.apply.expired(|def| policies.ttl(def)) {
            if self.trimmed.insert(table, time) != Some(time) {
                self.push(Some(Change::RemoveBefore { table, time }));
            }
        }
    }

    fn push(&mut self, change: Option<Change>) {
        self.ordinal += 1;
        let receipt = Receipt::without_frames(self.progress.clone(), self.ordinal);
        self.shared.sequencer.push(Receipt { change, ..receipt });
    }

    /// Removes segments of which every row is in a synced part.
    fn purge_closed(&mut self) {
        let now = self.shared.clock.monotonic();
        let mut fences = std::mem::take(&mut self.fences);
        let mut retention = std::mem::take(&mut self.retention);
        let closed = self.shared.writers.closed_segments();
        fences.close(closed.iter().map(|c| (c.writer, c.segment)), || {
            self.push(None);
            self.ordinal
        });
        fences.purge(
            self.progress.published(),
            |writer, segment| {
                let is_needed = self.shared.apply.is_segment_needed(writer, segment)
                    && !is_planted(Bug::SegmentPurgedEarly);
                is_needed || !retention.is_over(writer, segment, now)
            },
            |writer, segment| self.remove(writer, segment),
        );
        (self.fences, self.retention) = (fences, retention);
    }

    fn remove(&self, writer: WriterId, segment: SegmentId) -> bool {
        let removed = self.shared.writers.purge(writer, segment);
        if let Err(error) = &removed {
            tracing::warn!(%error, "a segment that is done with stays for now");
        }
        removed.is_ok()
    }

    fn purge_inherited(&mut self) {
        let (shared, retention) = (&self.shared, &mut self.retention);
        let now = shared.clock.monotonic();
        self.inherited.retain(|&(writer, segment)| {
            if shared.apply.is_segment_needed(writer, segment)
                || !retention.is_over(writer, segment, now)
            {
                return true;
            }
            let removed = wal::remove_segment(&shared.fs, &shared.wal_dir, writer, segment);
            if let Err(error) = &removed {
                tracing::warn!(%error, "a segment that is done with stays for now");
            }
            removed.is_err()
        });
    }

    /// Removes log chunks whose transactions are flushed or on shelves, and whose carried frames are safe in their segments.
    fn purge_log(&mut self, shelves: &Shelves) {
        let (shared, retention) = (&self.shared, &mut self.retention);
        let now = shared.clock.monotonic();
        retention.note(now, || {
            let ids = shared.registry.all().into_iter().map(|table| table.id());
            ids.map(|id| (id, shared.apply.flushed_txn(id))).collect()
        });
        let flushed = |table| {
            let flushed = retention.flushed(table, now, shared.apply.flushed_txn(table));
            flushed.max(shelves.through(table))
        };
        // Many chunks carry frames of the same few segments. One sync is enough for all of them: the purge judges chunks that were complete
        // when it began, and a commit is in its segment, or kept for it, before its receipt goes to the log.
        let mut done: BTreeSet<(WriterId, SegmentId)> = BTreeSet::new();
        let settled = |writer, segment, _end| {
            if done.contains(&(writer, segment)) {
                return true;
            }
            let settled = shared.settle(writer, segment);
            if let Err(error) = &settled {
                tracing::warn!(%error, "a segment may lack commits that only the log has; the log keeps them");
            }
            settled.is_ok() && done.insert((writer, segment))
        };
        if let Err(error) = shared.sequencer.purge(flushed, settled) {
            tracing::warn!(%error, "a chunk of the log that is done with stays for now");
        }
    }
}

impl Shared {
    /// Makes durable all that was appended to a segment so far, unless it is gone. Ends the process when a sync fails.
    fn settle(&self, writer: WriterId, segment: SegmentId) -> Result<(), WalError> {
        if !is_planted(Bug::CarriedPurgedUnwritten) {
            self.writers.write_out(writer, segment)?;
        }
        let path = self.identity.segment(writer, segment).path(&self.wal_dir);
        match self.fs.open(&path) {
            // A quiet connection's commits all travelled in the log; its segment was never synced, nor was its name.
            Ok(file) => {
                synced(file.sync_data())?;
                Ok(synced(self.fs.sync_dir(path.parent().unwrap_or(&self.wal_dir)))?)
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
