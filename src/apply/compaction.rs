//! One merge of parts at a time for each table: neighbours of one size while a partition is in use, all of it once it is closed.

use super::Trouble;
use super::compaction_plan::{closing_pause, plan};
use super::progress::Stage;
use super::shared::Shared;
use super::table::{ApplyTable, lock};
use crate::metrics;
use crate::storage::{Edit, Part, PartId, Snapshot, StorageError, merge_parts};
use crate::types::PartitionKey;
use std::sync::Arc;
use std::time::Duration;

/// The parts of one partition that should become one; `None` when nothing is due.
fn due(table: &ApplyTable, shared: &Shared) -> Option<Vec<Arc<Part>>> {
    let snapshot = table.store()?.load();
    // What is under different rules for duplicates stays apart.
    let shape = snapshot.schema.shape();
    let rule = |part: &Part| shape.rule(part.meta().id.first_txn).0;
    let partitions = snapshot
        .parts
        .chunk_by(|a, b| a.meta().id.partition == b.meta().id.partition && rule(a) == rule(b));
    let mut plans = partitions.filter(|parts| parts.len() > 1).filter_map(|parts| {
        let sizes: Vec<u64> = parts.iter().map(|part| part.meta().bytes).collect();
        if let Some(range) = plan(&sizes, &shared.config.compaction) {
            return Some(parts[range].to_vec());
        }
        let partition = parts[0].meta().id.partition;
        let pause = closing_pause(&sizes, shared.config.compaction.close_after());
        let quiet_at = table.quiet_since(partition, shared.opened).saturating_add(pause);
        let quiet = quiet_at <= shared.clock.monotonic();
        (quiet && is_closed(&snapshot, partition, shared.clock.wall_nanos()))
            .then(|| parts.to_vec())
    });
    plans.next()
}

/// True when no row is expected for a partition any more: it has ended by the clock or by the rows, and none is in memory.
fn is_closed(snapshot: &Snapshot, partition: PartitionKey, now: i64) -> bool {
    let end = snapshot.schema.def().partition_by.range(partition).1;
    let has_ended = end <= now || snapshot.parts.iter().any(|part| part.meta().max_time >= end);
    has_ended && !snapshot.tails().any(|tail| tail.partitions().contains_key(&partition))
}

/// How often a merge that is ahead of its pace looks at the clock.
const PACE_POLL: Duration = Duration::from_millis(20);

/// How fast a merge may go.
struct Pace {
    begun: Duration,
    /// `None` where there is no limit.
    per_row: Option<Duration>,
}

impl Pace {
    fn of(parts: &[Arc<Part>], shared: &Shared) -> Pace {
        let sum = |of: fn(&Part) -> u64| parts.iter().map(|part| of(part)).sum::<u64>() as f64;
        let (bytes, rows) = (sum(|part| part.meta().bytes), sum(|part| part.meta().rows));
        let limit = shared.config.compaction.bytes_per_s;
        let per_row = Duration::from_secs_f64(bytes / rows.max(1.0) / limit.max(1) as f64);
        Pace { begun: shared.clock.monotonic(), per_row: (limit > 0).then_some(per_row) }
    }

    /// Waits until so many rows may have been merged. True when the pool stops.
    fn keep(&self, rows: u64, shared: &Shared) -> bool {
        let Some(per_row) = self.per_row else { return false };
        let end = self.begun + per_row.mul_f64(rows as f64);
        loop {
            let left = end.saturating_sub(shared.clock.monotonic());
            if left.is_zero() {
                return false;
            }
            if !shared.scheduler.sleep(left.min(PACE_POLL)) {
                return true;
            }
        }
    }
}

impl Shared {
    /// Queues the table for compaction, unless it is or nothing is due. A suspended one is left alone: a part that cannot be merged may be
    /// why, and would be read over and over.
    pub(super) fn compact_if_due(&self, table: &Arc<ApplyTable>) {
        if self.config.compaction.jobs_max == 0 || table.progress.is_suspended() {
            return;
        }
        let is_due = due(table, self).is_some();
        let mut publication = lock(&table.publication);
        if !publication.is_compacting && is_due {
            publication.is_compacting = true;
            drop(publication);
            self.scheduler.push_compaction(table.clone());
        }
    }
}

/// Merges what is due of the table, once. It is queued again while more is due or when a file operation failed; anything else suspends the
/// table, as a flush would. `is_stopping` is asked now and then, and may let others go first.
pub(super) fn compact(table: &Arc<ApplyTable>, shared: &Shared, is_stopping: &dyn Fn() -> bool) {
    let result = match due(table, shared) {
        Some(parts) => merge(table, &parts, shared, is_stopping),
        None => Ok(()),
    };
    match result {
        Ok(()) => {
            table.succeeded(Stage::Compact);
            lock(&table.publication).is_compacting = false;
            shared.compact_if_due(table);
            // A transaction may wait for us to have published.
            table.schedule(shared);
        }
        Err(StorageError::Stopped) => {}
        Err(error @ StorageError::Io(_)) => {
            tracing::warn!(table = %table.id, %error, "a compaction failed and is tried again");
            table.retry(Stage::Compact, |retry| retry.failed(shared.clock.monotonic(), false));
            shared.scheduler.set_compaction_aside(table.clone());
        }
        Err(error) => {
            // Row P2. Before the mark goes, so that nobody queues it again.
            shared.fail(table, Stage::Compact, Trouble::from(&error));
            lock(&table.publication).is_compacting = false;
            // Its drop may wait for us to have published.
            table.schedule(shared);
        }
    }
}

/// Merges parts into one and exchanges them in catalog and snapshot. Parts that are gone by then make it a no-op.
fn merge(
    table: &ApplyTable,
    parts: &[Arc<Part>],
    shared: &Shared,
    is_stopping: &dyn Fn() -> bool,
) -> Result<(), StorageError> {
    let Some(store) = table.store() else { return Ok(()) };
    // As of `flushed_txn`, as the catalog has it: after a kill, parts must not lack what a later transaction takes away.
    let catalogued = lock(&table.publication).catalogued.clone();
    let schema = catalogued.expect("the catalog has a table that has parts");
    let pace = Pace::of(parts, shared);
    let is_stopping = |rows| is_stopping() || pace.keep(rows, shared);
    let meta = merge_parts(store.dir(), &schema, parts, &is_stopping)?;
    shared.written.compacted(meta.rows);
    let remove: Vec<PartId> = parts.iter().map(|part| part.meta().id).collect();
    let merged = Arc::new(Part::new(store.dir(), meta.clone()));
    let edit = Edit::Replace { table: table.id, remove: remove.clone(), add: vec![meta.clone()] };
    match shared.catalog.commit(vec![edit]) {
        Ok(()) => {}
        Err(error) => {
            merged.mark_removed();
            let is_overtaken = matches!(error, StorageError::Refused { .. });
            return if is_overtaken { Ok(()) } else { Err(error) };
        }
    }
    let mut is_published = false;
    table.publish(|next, publication| {
        let is_input = |part: &Arc<Part>| remove.contains(&part.meta().id);
        // A dropped table has none of them.
        if next.parts.iter().filter(|part| is_input(part)).count() == remove.len() {
            let kept = next.parts.iter().filter(|part| !is_input(part)).cloned();
            let mut all: Vec<Arc<Part>> = kept.chain([merged.clone()]).collect();
            all.sort_by_key(|part| part.meta().id);
            let partition = meta.id.partition;
            if all.iter().filter(|part| part.meta().id.partition == partition).count() == 1 {
                publication.touched.remove(&partition);
            }
            next.parts = all.into();
            is_published = true;
        }
    });
    if is_published {
        parts.iter().for_each(|part| part.mark_removed());
        metrics::COMPACTIONS.increment(1);
        metrics::COMPACTED_ROWS.increment(meta.rows);
    } else {
        merged.mark_removed();
    }
    Ok(())
}
