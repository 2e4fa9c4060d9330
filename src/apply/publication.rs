//! What is between a frozen tail and the catalog: flushes under way, in the order in which they must be committed.

use super::gate::Gate;
use super::progress::Stage;
use super::segments::Usage;
use super::table::{ApplyTable, lock};
use crate::storage::{Edit, Part, PartMeta, Run, SeriesSet, TableSchema, Tail};
use crate::types::{PartitionKey, SeqTxn, TableId};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Held by whoever changes a table's snapshot.
#[derive(Debug, Default)]
pub(super) struct Publication {
    /// Flushes under way, oldest first; they are committed in this order, whichever is written first.
    pub(super) in_flight: VecDeque<Frozen>,
    /// A worker is committing the first of them.
    is_committing: bool,
    /// What the gate counts of them as stuck.
    stuck_bytes: u64,
    /// The table as the catalog has it; `None` before it does.
    pub(super) catalogued: Option<Arc<TableSchema>>,
    /// The table is queued for compaction or being compacted.
    pub(super) is_compacting: bool,
    /// When a part was last flushed into a partition that has several, monotonic.
    pub(super) touched: BTreeMap<PartitionKey, Duration>,
}

/// The transactions of a table between two freezes, on their way into the catalog.
#[derive(Debug)]
pub(super) struct Frozen {
    /// The last of them.
    pub(super) upto: SeqTxn,
    pub(super) tail: Arc<Tail>,
    pub(super) schema: Arc<TableSchema>,
    /// The table's creation and its new columns.
    pub(super) definitions: Vec<Edit>,
    /// Segments that they came from.
    pub(super) usage: Usage,
    /// What the gate counts for them.
    pub(super) bytes: u64,
    /// When they were frozen, monotonic.
    pub(super) since: Duration,
    /// The parts written so far.
    pub(super) parts: Vec<Arc<Part>>,
    /// How many there will be.
    pub(super) parts_due: usize,
}

/// What it takes to write one part.
#[derive(Debug)]
pub(super) struct PartSource {
    pub(super) runs: Vec<Arc<Run>>,
    pub(super) series: Arc<SeriesSet>,
    pub(super) schema: Arc<TableSchema>,
}

impl Publication {
    /// Rows of one partition of a frozen tail.
    pub(super) fn source(
        &self,
        upto: SeqTxn,
        partition: PartitionKey,
        runs: Range<usize>,
    ) -> PartSource {
        let frozen = self.in_flight.iter().find(|f| f.upto == upto);
        let frozen = frozen.expect("a tail is in flight until all its parts are committed");
        PartSource {
            runs: frozen.tail.partitions()[&partition][runs].to_vec(),
            series: frozen.tail.series().clone(),
            schema: frozen.schema.clone(),
        }
    }

    /// A part of a frozen tail is on the device.
    pub(super) fn written(&mut self, upto: SeqTxn, part: Arc<Part>) {
        let frozen = self.in_flight.iter_mut().find(|f| f.upto == upto);
        frozen.expect("a tail is in flight until all its parts are committed").parts.push(part);
    }

    /// How many of the first flushes have all their parts.
    fn ready(&self) -> usize {
        let is_ready = |f: &&Frozen| f.parts.len() == f.parts_due;
        self.in_flight.iter().take_while(is_ready).count()
    }
}

impl ApplyTable {
    /// Begins to commit what is ready, unless somebody is at it: returns how many flushes, and appends their edits.
    pub(super) fn begin_commit(&self, edits: &mut Vec<Edit>) -> usize {
        let mut publication = lock(&self.publication);
        let ready = if publication.is_committing { 0 } else { publication.ready() };
        publication.is_committing |= ready > 0;
        for frozen in publication.in_flight.iter().take(ready) {
            edits.extend(frozen.edits(self.id));
        }
        ready
    }

    /// The commit failed; it may be tried again.
    pub(super) fn abort_commit(&self) {
        lock(&self.publication).is_committing = false;
    }

    /// The catalog has the first `count` flushes: their parts take the place of their tails, in one store.
    pub(super) fn finish_commit(&self, count: usize, now: Duration) -> Vec<Frozen> {
        let mut done = Vec::new();
        self.publish(|snapshot, publication| {
            done.extend(publication.in_flight.drain(..count));
            publication.is_committing = false;
            if let Some(last) = done.last() {
                publication.catalogued = Some(last.schema.clone());
            }
            let tails = done.iter().filter(|f| !f.tail.is_empty()).count();
            snapshot.frozen.drain(..tails);
            let new = done.iter().flat_map(|f| f.parts.iter());
            publication.touched.extend(new.clone().map(|part| (part.meta().id.partition, now)));
            let mut parts: Vec<Arc<Part>> = snapshot.parts.iter().chain(new).cloned().collect();
            parts.sort_by_key(|part| part.meta().id);
            snapshot.parts = parts.into();
            snapshot.flushed_txn = done.last().map_or(snapshot.flushed_txn, |f| f.upto);
        });
        done
    }

    /// Since when a partition gets no rows; `opened` stands for what happened before this start.
    pub(super) fn quiet_since(&self, partition: PartitionKey, opened: Duration) -> Duration {
        lock(&self.publication).touched.get(&partition).copied().unwrap_or(opened)
    }

    /// Tells the gate what is stuck here, after what is in flight or whether flushes are stuck has changed.
    pub(super) fn count_stuck(&self, gate: &Gate) {
        let mut publication = lock(&self.publication);
        let is_stuck = self.is_stuck(Stage::Flush);
        let held = publication.in_flight.iter().map(|frozen| frozen.bytes);
        let bytes = if is_stuck { held.sum() } else { 0 };
        gate.stuck(std::mem::replace(&mut publication.stuck_bytes, bytes), bytes);
    }

    /// True while no flush is under way: a transaction that removes parts may go ahead.
    pub(super) fn is_settled(&self) -> bool {
        lock(&self.publication).in_flight.is_empty()
    }
}

impl Frozen {
    fn edits(&self, table: TableId) -> Vec<Edit> {
        let parts = self.parts.iter().map(|part| PartMeta::clone(part.meta())).collect();
        let flush = Edit::Flush { table, parts, flushed_txn: self.upto };
        self.definitions.iter().cloned().chain([flush]).collect()
    }
}
