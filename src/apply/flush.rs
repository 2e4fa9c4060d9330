//! Frozen tails become parts: one a partition, or several neighbours where there is enough for several workers; written by any worker,
//! committed in order.

use super::progress::Stage;
use super::publication::PartSource;
use super::shared::Shared;
use super::table::{ApplyTable, lock};
use super::{ApplyConfig, Trouble};
use crate::io::synced;
use crate::metrics;
use crate::planted::{Bug, is_planted};
use crate::storage::{Part, PartSync, StorageError, Tail, write_part};
use crate::types::{PartitionKey, SeqTxn};
use std::ops::Range;
use std::sync::Arc;

/// Consecutive runs of one partition of a frozen tail that are to be written as a part.
#[derive(Debug)]
pub(super) struct FlushTask {
    pub(super) table: Arc<ApplyTable>,
    /// Which frozen tail.
    upto: SeqTxn,
    /// The partition, and which of its runs; `None` when there is nothing to write (any more), only to commit.
    source: Option<(PartitionKey, Range<usize>)>,
    /// Memory that it takes.
    pub(super) bytes: u64,
}

impl FlushTask {
    /// The parts that a frozen tail becomes.
    pub(super) fn of(
        table: &Arc<ApplyTable>,
        upto: SeqTxn,
        tail: &Tail,
        config: &ApplyConfig,
    ) -> Vec<FlushTask> {
        let mut tasks = Vec::new();
        for (key, runs) in tail.partitions() {
            let sizes: Vec<u64> = runs.iter().map(|run| run.bytes()).collect();
            for piece in pieces(&sizes, config.workers, config.flush_piece_bytes) {
                let bytes = sizes[piece.clone()].iter().sum();
                let (table, source) = (table.clone(), Some((*key, piece)));
                tasks.push(FlushTask { table, upto, source, bytes });
            }
        }
        tasks
    }

    /// Nothing to write, but something to commit.
    pub(super) fn commit(table: &Arc<ApplyTable>, upto: SeqTxn) -> FlushTask {
        FlushTask { table: table.clone(), upto, source: None, bytes: 0 }
    }

    /// The part, where there is one to write.
    fn write(&self, sync: PartSync) -> Result<Option<Part>, StorageError> {
        let Some((partition, runs)) = self.source.clone() else { return Ok(None) };
        let Some(store) = self.table.store() else { return Ok(None) };
        let PartSource { runs, series, schema } =
            lock(&self.table.publication).source(self.upto, partition, runs);
        let meta = write_part(store.dir(), &schema, partition, &runs, &series, sync)?;
        Ok(Some(Part::new(store.dir(), meta)))
    }

    /// Its part is durable.
    fn written(&self, part: Part, shared: &Shared) {
        shared.written.flushed(part.meta().rows);
        lock(&self.table.publication).written(self.upto, Arc::new(part));
    }

    fn fail(self, error: &StorageError, shared: &Shared) {
        shared.fail(&self.table, Stage::Flush, Trouble::from(error));
        shared.scheduler.set_flush_aside(self);
    }
}

/// Cuts runs of these sizes into stretches of about one size: one a worker, but none much smaller than `bytes_min`.
fn pieces(sizes: &[u64], workers: usize, bytes_min: u64) -> Vec<Range<usize>> {
    let bytes: u64 = sizes.iter().sum();
    let count = (bytes / bytes_min.max(1)).clamp(1, workers as u64);
    let mut pieces = Vec::new();
    let (mut start, mut held) = (0, 0);
    for (n, size) in sizes.iter().enumerate() {
        held += size;
        if held >= bytes.div_ceil(count) {
            pieces.push(start..n + 1);
            (start, held) = (n + 1, 0);
        }
    }
    if start < sizes.len() {
        pieces.push(start..sizes.len());
    }
    pieces
}

/// Writes parts and commits what is complete, for all the tables at once.
pub(super) fn flush(tasks: Vec<FlushTask>, shared: &Shared) {
    let mut tables: Vec<(Arc<ApplyTable>, SeqTxn)> = Vec::new();
    for (task, part) in write(tasks, shared) {
        if let Some(part) = part {
            task.written(part, shared);
        }
        tables.push((task.table, task.upto));
    }
    tables.sort_by_key(|(table, _)| table.id);
    tables.dedup_by_key(|(table, _)| table.id);
    while !tables.is_empty() {
        tables = commit(tables, shared);
    }
}

/// Writes the parts of these tasks, and makes them durable.
///
/// A sync for each file and each folder is what many small tables cost most. Several parts share one sync of the whole file system, which
/// has little else to write: the WAL is synced as it is committed, or not at all.
fn write(tasks: Vec<FlushTask>, shared: &Shared) -> Vec<(FlushTask, Option<Part>)> {
    let parts = tasks.iter().filter(|task| task.source.is_some()).count();
    let sync = if parts >= SHARED_SYNC_MIN { PartSync::Shared } else { PartSync::Own };
    let mut written = Vec::with_capacity(tasks.len());
    for task in tasks {
        match task.write(sync) {
            Ok(part) => written.push((task, part)),
            Err(error) => task.fail(&error, shared),
        }
    }
    let is_left_out = is_planted(Bug::PartNotSynced) || is_planted(Bug::PartNameNotSynced);
    if sync == PartSync::Shared && !is_left_out {
        let result = synced(shared.fs.sync_all(&shared.tables_dir)).map_err(StorageError::from);
        if let Err(error) = result {
            for (task, part) in written.drain(..) {
                part.iter().for_each(Part::mark_removed);
                task.fail(&error, shared);
            }
        }
    }
    written
}

/// From so many parts on one sync of everything is cheaper than one for each file and each folder.
const SHARED_SYNC_MIN: usize = 4;

/// Commits what is complete of these tables in one commit of the catalog, and returns those that had something: more may
/// have become complete meanwhile, which others left to us.
fn commit(
    tables: Vec<(Arc<ApplyTable>, SeqTxn)>,
    shared: &Shared,
) -> Vec<(Arc<ApplyTable>, SeqTxn)> {
    let mut edits = Vec::new();
    let mut begun = Vec::new();
    for (table, upto) in tables {
        let count = table.begin_commit(&mut edits);
        if count > 0 {
            begun.push((table, upto, count));
        }
    }
    if begun.is_empty() {
        return Vec::new();
    }
    match shared.catalog.commit(edits) {
        Ok(()) => begun
            .into_iter()
            .map(|(table, upto, count)| {
                publish(&table, count, shared);
                (table, upto)
            })
            .collect(),
        Err(error) => {
            for (table, upto, _) in begun {
                let is_to_blame = match &error {
                    StorageError::Refused { table: refused, .. } => *refused == table.id,
                    _ => true,
                };
                if is_to_blame {
                    shared.fail(&table, Stage::Flush, Trouble::of_catalog(&error));
                }
                // Afterwards: whoever commits it then ends the trouble, and does not come before it.
                table.abort_commit();
                shared.scheduler.set_flush_aside(FlushTask::commit(&table, upto));
            }
            Vec::new()
        }
    }
}

/// Shows what the catalog has.
fn publish(table: &Arc<ApplyTable>, count: usize, shared: &Shared) {
    let done = table.finish_commit(count, shared.clock.monotonic());
    for frozen in &done {
        shared.gate.flushed(frozen.bytes);
        shared.segments.release(&frozen.usage);
        metrics::FLUSHES.increment(1);
        let took = shared.clock.monotonic().saturating_sub(frozen.since);
        metrics::FLUSH_DURATION.record(took.as_secs_f64());
    }
    table.succeeded(Stage::Flush);
    table.count_stuck(&shared.gate);
    table.rejoin(&mut lock(&table.queue));
    // Before the watermark: who waits for the flush, and then for compaction, finds it queued.
    shared.compact_if_due(table);
    if let Some(last) = done.last() {
        table.progress.flushed(last.upto);
    }
    table.schedule(shared);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_partition_is_cut_into_a_piece_for_each_worker() {
        let check = |sizes: &[u64], workers, expect: &[Range<usize>]| {
            assert_eq!(pieces(sizes, workers, 10), expect, "{sizes:?}");
        };
        check(&[8, 8, 1], 4, std::slice::from_ref(&(0..3)));
        check(&[10; 4], 2, &[0..2, 2..4]);
        check(&[10; 4], 8, &[0..1, 1..2, 2..3, 3..4]);
        check(&[100, 1, 1, 1], 2, &[0..1, 1..4]);
        check(&[1, 1, 1, 100], 2, std::slice::from_ref(&(0..4)));
        check(&[10; 5], 1, std::slice::from_ref(&(0..5)));
    }
}
