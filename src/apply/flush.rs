//! Frozen tails become parts: one a partition, written by any worker, committed in order.

use super::Trouble;
use super::progress::Stage;
use super::shared::Shared;
use super::table::{ApplyTable, lock};
use crate::metrics;
use crate::storage::{Part, StorageError, Tail, write_part};
use crate::types::{PartitionKey, SeqTxn};
use std::sync::Arc;

/// One partition of a frozen tail that is to be written.
#[derive(Debug)]
pub(super) struct FlushTask {
    pub(super) table: Arc<ApplyTable>,
    /// Which frozen tail.
    upto: SeqTxn,
    /// `None` when there is nothing to write (any more), only to commit.
    partition: Option<PartitionKey>,
    /// Memory that it takes.
    pub(super) bytes: u64,
}

impl FlushTask {
    /// All that a frozen tail needs.
    pub(super) fn of(table: &Arc<ApplyTable>, upto: SeqTxn, tail: &Tail) -> Vec<FlushTask> {
        let partitions = tail.partitions().iter().map(|(key, runs)| FlushTask {
            table: table.clone(),
            upto,
            partition: Some(*key),
            bytes: runs.iter().map(|run| run.bytes()).sum(),
        });
        let mut tasks: Vec<FlushTask> = partitions.collect();
        if tasks.is_empty() {
            tasks.push(FlushTask::commit(table, upto));
        }
        tasks
    }

    fn commit(table: &Arc<ApplyTable>, upto: SeqTxn) -> FlushTask {
        FlushTask { table: table.clone(), upto, partition: None, bytes: 0 }
    }

    fn write(&self, shared: &Shared) -> Result<(), StorageError> {
        let Some(partition) = self.partition else { return Ok(()) };
        let Some(store) = self.table.store() else { return Ok(()) };
        let source = lock(&self.table.publication).source(self.upto, partition);
        let dir = store.dir();
        let meta = write_part(dir, &source.schema, partition, &source.runs, &source.series)?;
        shared.written.flushed(meta.rows);
        lock(&self.table.publication).written(self.upto, Arc::new(Part::new(dir, meta)));
        Ok(())
    }
}

/// Writes parts and commits what is complete, for all the tables at once.
pub(super) fn flush(tasks: Vec<FlushTask>, shared: &Shared) {
    let mut tables: Vec<(Arc<ApplyTable>, SeqTxn)> = Vec::new();
    for task in tasks {
        match task.write(shared) {
            Ok(()) => tables.push((task.table, task.upto)),
            Err(error) => {
                shared.fail(&task.table, Stage::Flush, Trouble::from(&error));
                shared.scheduler.set_flush_aside(task);
            }
        }
    }
    tables.sort_by_key(|(table, _)| table.id);
    tables.dedup_by_key(|(table, _)| table.id);
    while !tables.is_empty() {
        tables = commit(tables, shared);
    }
}

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
                table.abort_commit();
                let is_to_blame = match &error {
                    StorageError::Refused { table: refused, .. } => *refused == table.id,
                    _ => true,
                };
                if is_to_blame {
                    shared.fail(&table, Stage::Flush, Trouble::from(&error));
                }
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
    // Before the watermark: who waits for the flush, and then for compaction, finds it queued.
    shared.compact_if_due(table);
    if let Some(last) = done.last() {
        table.progress.flushed(last.upto);
    }
    table.schedule(shared);
}
