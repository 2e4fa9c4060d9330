//! A table's turn with a worker: its next transactions become visible, in order, until its time is up.

use super::flush::FlushTask;
use super::merge::Merger;
use super::progress::Stage;
use super::publication::Frozen;
use super::segments::Usage;
use super::shared::Shared;
use super::table::{ApplyTable, Chunk, Phase, Queue, lock};
use super::{Data, Trouble, Txn, TxnKind};
use crate::metrics;
use crate::schema::{Shape, TableDef};
use crate::storage::{Edit, TableDir, TableSchema};
use crate::types::SeqTxn;
use std::sync::Arc;
use std::time::Duration;

/// What is true of the open tail, for the worker that has the table.
#[derive(Debug, Default)]
pub(super) struct TurnState {
    pub(super) merger: Merger,
    /// The table came into being since the last freeze.
    pub(super) created: Option<TableDef>,
    /// Its definition changed since the last freeze.
    pub(super) is_redefined: bool,
    /// Segments of the transactions since the last freeze.
    pub(super) usage: Usage,
    /// What the gate counts for the tail.
    pub(super) bytes: u64,
}

impl TurnState {
    /// What the catalog must learn of the table before it learns of its rows.
    pub(super) fn take_definitions(&mut self, schema: &TableSchema) -> Vec<Edit> {
        let created = self.created.take().map(Edit::Create);
        let is_redefined = std::mem::take(&mut self.is_redefined);
        let defined = is_redefined.then(|| Edit::Define(schema.shape().clone()));
        created.into_iter().chain(defined).collect()
    }
}

/// What came of a step.
pub(super) enum Step {
    /// Something was applied.
    Applied,
    /// There is nothing to apply, or not yet.
    Waits,
}

impl ApplyTable {
    /// Queues the table for a turn, if it has work and is nowhere.
    pub(super) fn schedule(self: &Arc<ApplyTable>, shared: &Shared) {
        let mut queue = lock(&self.queue);
        if queue.phase == Phase::Idle && self.has_work(&queue, shared) {
            queue.phase = Phase::Queued;
            shared.scheduler.push_turn(self.clone());
        }
    }

    /// Applies what is there, until the table's time is up.
    pub(super) fn take_turn(self: &Arc<ApplyTable>, shared: &Shared) {
        lock(&self.queue).phase = Phase::Running;
        let end = shared.clock.monotonic() + Duration::from_millis(shared.config.turn_ms);
        let mut state = lock(&self.turn);
        loop {
            if self.is_freeze_due() {
                self.freeze(&mut state, shared);
            }
            if self.progress.is_suspended() {
                break;
            }
            match self.step(&mut state, shared) {
                // Past the budget for tails a turn ends, so that a flush is asked for before more is applied.
                Ok(Step::Applied)
                    if shared.clock.monotonic() < end && !shared.gate.is_over_budget() => {}
                Ok(_) => break,
                Err(trouble) => {
                    shared.fail(self, Stage::Apply, trouble);
                    break;
                }
            }
        }
        if self.is_freeze_due() {
            self.freeze(&mut state, shared);
        }
        drop(state);
        shared.relieve_memory();
        let mut queue = lock(&self.queue);
        if self.has_work(&queue, shared) {
            queue.phase = Phase::Queued;
            shared.scheduler.push_turn(self.clone());
        } else {
            queue.phase = Phase::Idle;
        }
    }

    /// True when a turn would get something done.
    fn has_work(&self, queue: &Queue, shared: &Shared) -> bool {
        if self.must_freeze(queue) {
            return true;
        }
        let next = self.pending_drop(queue).or(queue.pending.front());
        match next.map(|txn| &txn.kind) {
            None => false,
            Some(_) if self.progress.is_suspended() => false,
            // What failed is tried again after its pause, not in a circle.
            Some(_) if !self.is_due(Stage::Apply, shared) => false,
            Some(TxnKind::Drop) => self.is_settled(),
            Some(_) if queue.is_overwrite_next() => self.is_settled(),
            Some(TxnKind::Data(_)) => !self.must_wait_to_grow(shared),
            Some(_) => !shared.must_wait_for_memory(),
        }
    }

    /// True while no rows may come into the tail: memory is short, or what is there cannot be flushed. Where that is this table's own
    /// trouble, what is committed waits in the WAL, and the memory is the others'.
    fn must_wait_to_grow(&self, shared: &Shared) -> bool {
        self.is_stuck(Stage::Flush) || shared.must_wait_for_memory()
    }

    fn is_due(&self, stage: Stage, shared: &Shared) -> bool {
        self.retry(stage, |retry| retry.is_due(shared.clock.monotonic()))
    }

    fn step(
        self: &Arc<ApplyTable>,
        state: &mut TurnState,
        shared: &Shared,
    ) -> Result<Step, Trouble> {
        match self.next_chunk() {
            None => Ok(Step::Waits),
            Some(Chunk::Data(_)) if self.must_wait_to_grow(shared) => Ok(Step::Waits),
            Some(Chunk::Data(txns)) => self.apply_data(&txns, state, shared),
            Some(Chunk::Skipped(txns)) => Ok(self.apply_skipped(&txns, state, shared)),
            Some(Chunk::Overwrite(txns)) => self.overwrite(&txns, state, shared),
            Some(Chunk::Other(txn)) => self.apply_other(txn, state, shared),
        }
    }

    fn apply_data(
        self: &Arc<ApplyTable>,
        txns: &[Txn],
        state: &mut TurnState,
        shared: &Shared,
    ) -> Result<Step, Trouble> {
        let frames: Vec<(SeqTxn, Data)> = txns.iter().filter_map(Txn::frame).collect();
        let snapshot = self.snapshot();
        let by = snapshot.schema.def().partition_by;
        let merged = state.merger.merge(&frames, snapshot.tail.series(), by, shared);
        if let Some(&(upto, _)) = frames[..merged.txns].last() {
            // Only this worker changes the tail, so it may be built before the lock is taken.
            let tail = Arc::new(snapshot.tail.with(merged.runs));
            let bytes = tail.bytes();
            self.publish(|next, _| {
                next.tail = tail;
                next.applied_txn = upto;
            });
            for (_, data) in &frames[..merged.txns] {
                *state.usage.entry(data.key()).or_default() += 1;
            }
            shared.gate.tail_grew(state.bytes, bytes);
            state.bytes = bytes;
            self.finish(upto, merged.txns, shared);
            if bytes >= shared.config.flush_bytes {
                self.want_flush(upto);
                self.freeze(state, shared);
            }
        }
        match merged.failure {
            None => Ok(Step::Applied),
            Some(error) => Err(Trouble::from(&error)),
        }
    }

    /// Passes over rows as somebody asked for, and has the catalog remember it.
    fn apply_skipped(&self, txns: &[Txn], state: &mut TurnState, shared: &Shared) -> Step {
        let (Some(first), Some(last)) = (txns.first(), txns.last()) else { return Step::Waits };
        self.publish(|next, _| next.applied_txn = last.seq_txn);
        let rows: u64 = txns.iter().map(|txn| txn.size().0).sum();
        for data in txns.iter().filter_map(Txn::data) {
            *state.usage.entry(data.key()).or_default() += 1;
        }
        tracing::warn!(table = %self.id, from = %first.seq_txn, to = %last.seq_txn, rows,
            "rows were skipped as somebody asked for");
        self.succeeded(Stage::Apply);
        self.applied(last.seq_txn, &shared.clock, &shared.gate);
        self.want_flush(last.seq_txn);
        Step::Applied
    }

    fn apply_other(
        self: &Arc<ApplyTable>,
        txn: Txn,
        state: &mut TurnState,
        shared: &Shared,
    ) -> Result<Step, Trouble> {
        match txn.kind {
            TxnKind::Create(def) => self.apply_create(def, state, shared),
            TxnKind::AddColumns(columns) => {
                self.publish(|next, _| {
                    next.schema = Arc::new(next.schema.with(&columns));
                    next.applied_txn = txn.seq_txn;
                });
                state.is_redefined = true;
            }
            TxnKind::Alter(change) => {
                let rules = self.snapshot().schema.shape().rules.len();
                let mut is_new_rule = false;
                self.publish(|next, _| {
                    next.schema = Arc::new(next.schema.altered(&change, txn.seq_txn));
                    is_new_rule = next.schema.shape().rules.len() > rules;
                    next.applied_txn = txn.seq_txn;
                });
                state.is_redefined = true;
                if is_new_rule {
                    // Rows of before and after are never in one run or part.
                    self.finish(txn.seq_txn, 1, shared);
                    self.want_flush(txn.seq_txn);
                    self.freeze(state, shared);
                    return Ok(Step::Applied);
                }
            }
            TxnKind::Drop if !self.is_settled() => return Ok(Step::Waits),
            TxnKind::Drop => {
                self.apply_drop(txn.seq_txn, state, shared)?;
                return Ok(Step::Waits);
            }
            TxnKind::Data(_)
            | TxnKind::Truncate
            | TxnKind::Replace { .. }
            | TxnKind::RemoveBefore(_) => unreachable!("these come as chunks of their own"),
        }
        self.finish(txn.seq_txn, 1, shared);
        Ok(Step::Applied)
    }

    /// Counts transactions up to `upto`, which have been published.
    pub(super) fn finish(&self, upto: SeqTxn, txns: usize, shared: &Shared) {
        // First: a table that has caught up is no longer counted apart, unless it is in trouble still.
        self.succeeded(Stage::Apply);
        let rows = self.applied(upto, &shared.clock, &shared.gate);
        metrics::APPLY_ROWS.increment(rows);
        metrics::APPLY_TRANSACTIONS.increment(txns as u64);
    }

    fn apply_create(&self, def: TableDef, state: &mut TurnState, shared: &Shared) {
        let shape = Shape::new(def.clone(), Vec::new());
        let dir = TableDir::new(&shared.fs, &shared.tables_dir, &shape);
        self.create(def.clone(), dir);
        self.publish(|next, _| next.applied_txn = FIRST_TXN);
        state.created = Some(def);
    }

    /// The table goes: from the catalog, from the pool, and with its last reader from the disk.
    fn apply_drop(
        &self,
        txn: SeqTxn,
        state: &mut TurnState,
        shared: &Shared,
    ) -> Result<(), Trouble> {
        shared.catalog.commit(vec![Edit::Drop(self.id)]).map_err(|e| Trouble::of_catalog(&e))?;
        let parts = self.snapshot().parts.clone();
        self.publish(|next, _| {
            next.parts = Arc::from([]);
            next.tail = Arc::default();
            next.applied_txn = txn;
            next.flushed_txn = txn;
        });
        parts.iter().for_each(|part| part.mark_removed());
        self.store().iter().for_each(|store| store.dir().mark_dropped());
        shared.gate.tail_grew(state.bytes, 0);
        shared.segments.release(&std::mem::take(&mut state.usage));
        shared.segments.release(&self.pending_usage());
        *state = TurnState::default();
        shared.forget(self.id);
        self.finish(txn, 1, shared);
        // Nothing is left to flush, also for whoever asked for it before: the catalog knows no such table any more.
        self.frozen();
        self.progress.flushed(txn);
        Ok(())
    }

    /// Takes the tail away for a flush and opens the next one. Readers go on to see it.
    pub(super) fn freeze(self: &Arc<ApplyTable>, state: &mut TurnState, shared: &Shared) {
        let since = shared.clock.monotonic();
        let (usage, bytes) = (std::mem::take(&mut state.usage), std::mem::take(&mut state.bytes));
        let definitions = state.take_definitions(&self.snapshot().schema);
        state.merger.reset();
        let mut tasks = Vec::new();
        self.publish(|next, publication| {
            let tail = std::mem::take(&mut next.tail);
            let (upto, schema) = (next.applied_txn, next.schema.clone());
            tasks = FlushTask::of(self, upto, &tail, &shared.config);
            let parts_due = tasks.len();
            if tasks.is_empty() {
                tasks.push(FlushTask::commit(self, upto));
            }
            if !tail.is_empty() {
                next.frozen.push(tail.clone());
            }
            let parts = Vec::new();
            let frozen =
                Frozen { upto, tail, schema, definitions, usage, bytes, since, parts, parts_due };
            publication.in_flight.push_back(frozen);
        });
        self.frozen();
        shared.gate.froze(bytes);
        self.count_stuck(&shared.gate);
        shared.scheduler.push_flushes(tasks);
    }
}

/// The transaction that creates a table.
const FIRST_TXN: SeqTxn = SeqTxn(1);

impl Txn {
    fn frame(&self) -> Option<(SeqTxn, Data)> {
        match self.kind {
            TxnKind::Data(data) => Some((self.seq_txn, data)),
            _ => None,
        }
    }
}
