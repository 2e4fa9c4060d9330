//! How much of what a start found in the WAL is visible again.

use crate::apply::{ApplyPool, TableProgress};
use crate::sequencer::Committed;
use crate::types::{SeqTxn, TableId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The transactions that a start hands to apply. They are applied while connections are served already: their numbers are taken, so
/// nothing new can come before them.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// A table, the transaction before its first, and its last.
    tables: Vec<(Arc<TableProgress>, SeqTxn, SeqTxn)>,
}

impl Replay {
    /// Of transactions that have been submitted.
    pub(super) fn of(pending: &[Committed], apply: &ApplyPool) -> Replay {
        let mut spans: BTreeMap<TableId, (SeqTxn, SeqTxn)> = BTreeMap::new();
        for txn in pending {
            let before = SeqTxn(txn.seq_txn.0 - 1);
            spans.entry(txn.table).or_insert((before, before)).1 = txn.seq_txn;
        }
        let progress = |(id, (from, to))| Some((apply.progress(id)?, from, to));
        Replay { tables: spans.into_iter().filter_map(progress).collect() }
    }

    /// The part that is visible, 1 for all of it. What is suspended counts as dealt with: nothing waits for it.
    pub(super) fn part(&self) -> f64 {
        let (mut done, mut all) = (0, 0);
        for (progress, from, to) in &self.tables {
            let upto = if progress.is_suspended() { *to } else { progress.applied_txn().min(*to) };
            done += upto.0.saturating_sub(from.0);
            all += to.0 - from.0;
        }
        if all == 0 { 1.0 } else { done as f64 / all as f64 }
    }
}
