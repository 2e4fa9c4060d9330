//! Transactions that take rows away: truncate, replace a range, remove what has expired.
//!
//! The table is flushed up to the transaction before; then one commit of the catalog removes parts, brings in what is left of
//! those at the edges and the new rows, and raises `flushed_txn` to this transaction. So parts and `flushed_txn` fit at every
//! moment, and a start that replays shows no state that never was. A truncation needs no flush before: what is not flushed goes anyway.
//!
//! Transactions that wait before it and whose rows all go with it are passed over: their frames are never read. They become
//! visible together with it, since a snapshot of before would lack their rows.

use super::merge::Merger;
use super::shared::Shared;
use super::table::{ApplyTable, lock};
use super::turn::{Step, TurnState};
use super::{Data, Trouble, Txn, TxnKind};
use crate::metrics;
use crate::storage::{
    Edit, Part, PartId, PartMeta, PartSync, Run, SeriesSet, Snapshot, StorageError, TableSchema,
    Tail, rewrite_without, write_part,
};
use crate::types::{PartitionKey, SeqTxn};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an overwrite comes to, before it is committed.
struct Outcome {
    schema: Arc<TableSchema>,
    /// Parts that go.
    removed: Vec<Arc<Part>>,
    /// Parts that come in.
    added: Vec<Arc<Part>>,
}

impl ApplyTable {
    /// Applies the last of `txns`, which takes rows away, and with it those before.
    pub(super) fn overwrite(
        self: &Arc<ApplyTable>,
        txns: &[Txn],
        state: &mut TurnState,
        shared: &Shared,
    ) -> Result<Step, Trouble> {
        if !self.is_settled() {
            return Ok(Step::Waits);
        }
        let last = txns.last().expect("a chunk is not empty");
        let snapshot = self.snapshot();
        let is_truncate = last.kind == TxnKind::Truncate;
        if !is_truncate && !snapshot.tail.is_empty() {
            self.want_flush(snapshot.applied_txn);
            self.freeze(state, shared);
            return Ok(Step::Waits);
        }
        let outcome = self.rewrite(&snapshot, txns, shared)?;
        let upto = last.seq_txn;
        let mut edits = Vec::new();
        state.is_redefined |= txns.iter().any(|txn| is_definition(&txn.kind));
        let (created, is_redefined) = (state.created.clone(), state.is_redefined);
        edits.extend(state.take_definitions(&outcome.schema));
        let remove: Vec<PartId> = outcome.removed.iter().map(|part| part.meta().id).collect();
        let add: Vec<PartMeta> = outcome.added.iter().map(|part| part.meta().clone()).collect();
        edits.push(Edit::Replace { table: self.id, remove, add });
        edits.push(Edit::Flush { table: self.id, parts: Vec::new(), flushed_txn: upto });
        if let Err(error) = shared.catalog.commit(edits) {
            (state.created, state.is_redefined) = (created, is_redefined);
            outcome.added.iter().for_each(|part| part.mark_removed());
            // A compaction has replaced some of the parts; it may be about to publish what it made of them.
            let is_overtaken = matches!(error, StorageError::Refused { .. })
                && (lock(&self.publication).is_compacting
                    || !Arc::ptr_eq(&snapshot.parts, &self.snapshot().parts));
            return if is_overtaken { Ok(Step::Waits) } else { Err(Trouble::of_catalog(&error)) };
        }
        self.show(&outcome, upto);
        self.settle(txns, &outcome, state, shared);
        Ok(Step::Applied)
    }

    /// Writes the parts that the table has after these transactions.
    fn rewrite(
        &self,
        snapshot: &Snapshot,
        txns: &[Txn],
        shared: &Shared,
    ) -> Result<Outcome, Trouble> {
        let (last, before) = txns.split_last().expect("a chunk is not empty");
        let mut schema = snapshot.schema.clone();
        for txn in before {
            match &txn.kind {
                TxnKind::AddColumns(columns) => schema = Arc::new(schema.with(columns)),
                TxnKind::Alter(change) => schema = Arc::new(schema.altered(change, txn.seq_txn)),
                _ => {}
            }
        }
        let by = schema.def().partition_by;
        let (from, to) = match last.kind {
            TxnKind::Replace { from, to, .. } => (from, to),
            TxnKind::RemoveBefore(time) => (i64::MIN, by.key(time).0),
            _ => (i64::MIN, i64::MAX),
        };
        let is_truncate = last.kind == TxnKind::Truncate;
        let mut outcome =
            Outcome { schema: schema.clone(), removed: Vec::new(), added: Vec::new() };
        let result = (|| {
            let dir = self.store().expect("transaction 1 creates the table").dir();
            for part in snapshot.parts.iter() {
                let meta = part.meta();
                if is_truncate || (from <= meta.min_time && meta.max_time < to) {
                    outcome.removed.push(part.clone());
                } else if meta.min_time < to && from <= meta.max_time {
                    let kept = rewrite_without(dir, &schema, part, (from, to));
                    let kept = kept.map_err(|error| Trouble::from(&error))?;
                    metrics::WRITTEN_ROWS.increment(kept.rows);
                    outcome.added.push(Arc::new(Part::new(dir, kept)));
                    outcome.removed.push(part.clone());
                }
            }
            let series = Arc::new(SeriesSet::default());
            for (partition, runs) in new_runs(last, before, (from, to), &series, by, shared)? {
                let meta = write_part(dir, &schema, partition, &runs, &series, PartSync::Own);
                let meta = meta.map_err(|error| Trouble::from(&error))?;
                metrics::WRITTEN_ROWS.increment(meta.rows);
                metrics::FLUSHED_ROWS.increment(meta.rows);
                outcome.added.push(Arc::new(Part::new(dir, meta)));
            }
            Ok(())
        })();
        if result.is_err() {
            outcome.added.iter().for_each(|part| part.mark_removed());
        }
        result.map(|()| outcome)
    }

    /// Shows what the catalog has.
    fn show(&self, outcome: &Outcome, upto: SeqTxn) {
        let gone: BTreeSet<PartId> = outcome.removed.iter().map(|part| part.meta().id).collect();
        self.publish(|next, publication| {
            let kept = next.parts.iter().filter(|part| !gone.contains(&part.meta().id));
            let mut parts: Vec<Arc<Part>> = kept.chain(&outcome.added).cloned().collect();
            parts.sort_by_key(|part| part.meta().id);
            next.parts = parts.into();
            next.schema = outcome.schema.clone();
            next.tail = Arc::new(Tail::default());
            next.applied_txn = upto;
            next.flushed_txn = upto;
            publication.catalogued = Some(outcome.schema.clone());
        });
        outcome.removed.iter().for_each(|part| part.mark_removed());
    }

    /// Counts what was applied, flushed and passed over.
    fn settle(
        self: &Arc<ApplyTable>,
        txns: &[Txn],
        outcome: &Outcome,
        state: &mut TurnState,
        shared: &Shared,
    ) {
        let (last, before) = txns.split_last().expect("a chunk is not empty");
        // Before the watermark: who has waited for the transaction finds it counted.
        let skipped: Vec<SeqTxn> = before
            .iter()
            .filter(|txn| txn.data().is_some_and(|data| last.covers(data)))
            .map(|txn| txn.seq_txn)
            .collect();
        if let (Some(first), Some(end)) = (skipped.first(), skipped.last()) {
            metrics::APPLY_SKIPPED.increment(skipped.len() as u64);
            self.progress.skipped(skipped.len() as u64);
            tracing::info!(
                table = %outcome.schema.def().name,
                skipped = skipped.len(),
                %first,
                last = %end,
                by = %last.seq_txn,
                "transactions were passed over: a later one takes all their rows away"
            );
        }
        let mut usage = std::mem::take(&mut state.usage);
        for data in txns.iter().filter_map(Txn::data) {
            *usage.entry(data.key()).or_default() += 1;
        }
        shared.gate.tail_grew(std::mem::take(&mut state.bytes), 0);
        state.merger.reset();
        self.finish(last.seq_txn, txns.len(), shared);
        self.want_flush(last.seq_txn);
        self.frozen();
        shared.segments.release(&usage);
        self.progress.flushed(last.seq_txn);
        if matches!(last.kind, TxnKind::RemoveBefore(_)) {
            let expired: BTreeSet<PartitionKey> =
                outcome.removed.iter().map(|part| part.meta().id.partition).collect();
            metrics::PARTITIONS_EXPIRED.increment(expired.len() as u64);
        }
        shared.compact_if_due(self);
    }
}

fn is_definition(kind: &TxnKind) -> bool {
    matches!(kind, TxnKind::AddColumns(_) | TxnKind::Alter(_))
}

/// The rows that come in: those of the transactions before that are not covered, less the range, and the last one's own.
fn new_runs(
    last: &Txn,
    before: &[Txn],
    (from, to): (i64, i64),
    series: &SeriesSet,
    by: crate::types::PartitionBy,
    shared: &Shared,
) -> Result<BTreeMap<PartitionKey, Vec<Arc<Run>>>, Trouble> {
    let of = |txn: &Txn| txn.data().map(|data| (txn.seq_txn, *data));
    let kept = before.iter().filter(|txn| txn.data().is_some_and(|data| !last.covers(data)));
    let kept: Vec<(SeqTxn, Data)> = kept.filter_map(of).collect();
    let own: Vec<(SeqTxn, Data)> = of(last).into_iter().collect();
    let mut merger = Merger::default();
    let mut runs: BTreeMap<PartitionKey, Vec<Arc<Run>>> = BTreeMap::new();
    for (frames, is_own) in [(kept, false), (own, true)] {
        let merged = merger.merge(&frames, series, by, shared);
        if let Some(error) = merged.failure {
            return Err(Trouble::from(&error));
        }
        for (key, run) in merged.runs {
            let pieces = if is_own { vec![run] } else { run.without(from, to) };
            runs.entry(key).or_default().extend(pieces.into_iter().map(Arc::new));
        }
    }
    runs.retain(|_, runs| !runs.is_empty());
    Ok(runs)
}
