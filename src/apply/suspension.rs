//! A table in trouble: how it stops, what it may hold meanwhile, how it goes on.
//!
//! A suspended table waits for somebody to resume it. A *stuck* one is tried again like any that is in trouble which may pass, but
//! its trouble is its own: a file or folder of it that cannot be read or written. Both stand still, and must not stop the others.

use super::progress::Stage;
use super::shared::Shared;
use super::table::{ApplyTable, lock};
use super::{ErrorTag, ResumeError, Trouble};
use crate::types::{SeqTxn, TableId};
use std::sync::Arc;

/// What waits for a table that stands still, and is not shelved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitingApart {
    /// The table.
    pub table: TableId,
    /// Its last committed transaction.
    pub through: SeqTxn,
    /// Bytes in the WAL.
    pub bytes: u64,
    /// The wall clock at the commit of the first of it, nanoseconds since 1970.
    pub since: i64,
}

impl ApplyTable {
    /// True when the table is suspended, and everything that is visible of it is in parts. After our own mistake it never is: what
    /// its tail holds is in doubt.
    fn is_at_rest(&self) -> bool {
        self.progress.trouble().is_some_and(|t| !t.is_transient() && !t.is_in_doubt())
            && self.progress.flushed_txn() == self.progress.applied_txn()
    }
}

impl Shared {
    /// Says what is wrong, once. What may pass by itself is tried again after a pause; anything else stops the table.
    pub(super) fn fail(&self, table: &Arc<ApplyTable>, stage: Stage, trouble: Trouble) {
        let is_transient = trouble.is_transient();
        let is_stuck = trouble.is_own;
        if trouble.tag == ErrorTag::OutOfMemory && is_transient {
            self.ran_out_of_memory();
        }
        if is_transient {
            table.retry(stage, |retry| retry.failed(self.clock.monotonic(), is_stuck));
        }
        if table.progress.fail(stage, trouble.clone()) {
            let what = if is_transient { "waits" } else { "is suspended" };
            let name = table.store().map(|s| s.load().schema.def().name.clone());
            let name = name.unwrap_or_default();
            tracing::error!(table = %table.id, %name, %trouble, "the table {what}");
        }
        if !is_transient || is_stuck {
            self.set_apart(table, is_stuck);
        } else {
            table.count_stuck(&self.gate);
        }
    }

    /// Stops a table because somebody asked for it. True when it was not stopped before.
    pub(super) fn suspend(&self, table: &Arc<ApplyTable>, tag: ErrorTag, message: String) -> bool {
        let was_going = !table.progress.is_suspended();
        self.fail(
            table,
            Stage::Apply,
            Trouble { is_requested: true, ..Trouble::new(tag, message) },
        );
        was_going
    }

    /// Lets a suspended table try again what suspended it, behind the transactions before `from` when that is given: their
    /// rows are skipped, their definitions are not.
    pub(super) fn resume(
        &self,
        table: &Arc<ApplyTable>,
        from: Option<SeqTxn>,
    ) -> Result<(), ResumeError> {
        {
            // Nobody applies anything while the transaction to go on from is judged.
            let _turn = lock(&table.turn);
            if let Some(from) = from {
                let first = table.progress.applied_txn().next();
                let last = table.progress.seq_txn().next();
                if !table.progress.is_suspended() {
                    return Err(ResumeError::NotSuspended);
                }
                if from < first || from > last {
                    return Err(ResumeError::OutOfRange { first, last });
                }
            }
            match table.progress.trouble() {
                None => return Err(ResumeError::NotSuspended),
                Some(trouble) if trouble.is_in_doubt() => {
                    return Err(ResumeError::InDoubt);
                }
                Some(_) => {}
            }
            if let Some(from) = from {
                table.skip_to(SeqTxn(from.0 - 1));
            }
            table.progress.resume();
        }
        for stage in [Stage::Apply, Stage::Flush, Stage::Compact] {
            table.retry(stage, |retry| retry.try_at_once());
        }
        table.rejoin(&mut lock(&table.queue));
        self.scheduler.retry(self.clock.monotonic());
        table.schedule(self);
        Ok(())
    }

    /// Takes what waits for a table that stands still out of the common bound, and what of it is visible out of memory: where its flush is
    /// stuck, as good as out, see [`super::Gate`].
    fn set_apart(&self, table: &Arc<ApplyTable>, is_stuck: bool) {
        {
            let mut queue = lock(&table.queue);
            if !queue.is_apart {
                queue.is_apart = true;
                self.gate.set_apart(queue.pending_bytes);
            }
            if table.progress.trouble().is_some_and(|trouble| trouble.is_in_doubt()) {
                // What a panic left of the open tail is not to be trusted with a file.
                return;
            }
            let applied = table.progress.applied_txn();
            // Who waits for more to be flushed is told of a suspension, and goes on to wait for what is tried again.
            queue.flush_to = if is_stuck { queue.flush_to.max(applied) } else { applied };
        }
        table.count_stuck(&self.gate);
        // A worker that has the table now looks for work before it lets go of it.
        table.schedule(self);
    }

    /// What waits for a table of which nothing can move before somebody resumes it.
    pub(super) fn waiting_apart(&self, table: &ApplyTable) -> Option<WaitingApart> {
        if !table.is_at_rest() {
            return None;
        }
        let queue = lock(&table.queue);
        if table.pending_drop(&queue).is_some() {
            return None;
        }
        let since = queue.unshelved().last()?.at;
        let bytes = queue.unshelved().map(|txn| txn.size().1).sum();
        Some(WaitingApart { table: table.id, through: queue.last, bytes, since })
    }

    /// Releases the segments of what is kept elsewhere. False when the table moves, or is about to.
    pub(super) fn shelved(&self, table: &ApplyTable, upto: SeqTxn) -> bool {
        // Nobody applies anything meanwhile, and nobody resumes.
        let _turn = lock(&table.turn);
        if !table.is_at_rest() {
            return false;
        }
        let mut queue = lock(&table.queue);
        if table.pending_drop(&queue).is_some() {
            return false;
        }
        let upto = upto.min(queue.last);
        let usage = queue.shelve(upto);
        drop(queue);
        self.segments.release(&usage);
        true
    }

    /// The opposite: the segments of what was kept elsewhere are needed again.
    pub(super) fn unshelve(&self, table: &ApplyTable) {
        let usage = lock(&table.queue).unshelve();
        self.segments.use_again(&usage);
    }

    /// True when too much waits for tables that stand still.
    pub(super) fn is_holding_up(&self) -> bool {
        self.gate.apart_bytes() > self.config.suspended_bytes
    }

    /// True when whoever sends to this table must wait: it stands or stood still, has not caught up, and too much waits.
    pub(super) fn is_held_up(&self, table: &ApplyTable) -> bool {
        self.is_holding_up() && lock(&table.queue).is_apart
    }
}
