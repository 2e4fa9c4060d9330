//! A table's rows that are not in parts yet.

use super::{Run, SeriesSet};
use crate::types::{PartitionKey, SeqTxn};
use std::collections::BTreeMap;
use std::sync::Arc;

/// So many runs of one size are merged into one of the next.
const FAN_IN: usize = 8;
/// Merging stops at this size: a flush merges large runs once, with many sources as fast as with few.
const MERGED_BYTES_MAX: u64 = 8 << 20;

/// Sorted runs of each partition in order of transactions, and the series that they name. A value: apply builds the
/// next one from it, readers keep the one they have.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    partitions: BTreeMap<PartitionKey, Arc<[Arc<Run>]>>,
    series: Arc<SeriesSet>,
    rows: u64,
    run_bytes: u64,
}

impl Tail {
    /// The runs of each partition, in order of their transactions.
    pub fn partitions(&self) -> &BTreeMap<PartitionKey, Arc<[Arc<Run>]>> {
        &self.partitions
    }

    /// The series that all runs of this tail name.
    pub fn series(&self) -> &Arc<SeriesSet> {
        &self.series
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Memory held, series included.
    pub fn bytes(&self) -> u64 {
        self.run_bytes + self.series.bytes()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The first and last transaction that have rows here.
    pub fn txns(&self) -> Option<(SeqTxn, SeqTxn)> {
        let runs = || self.partitions.values().flat_map(|runs| runs.iter());
        let first = runs().map(|r| r.first_txn()).min()?;
        let last = runs().map(|r| r.last_txn()).max()?;
        Some((first, last))
    }

    /// This tail and later runs, whose rows name this tail's series. Small runs are merged on the way, so that their number stays
    /// logarithmic in the number of transactions and a row is copied a few times at most.
    pub fn with(&self, runs: Vec<(PartitionKey, Run)>) -> Tail {
        let mut next = self.clone();
        for (key, run) in runs {
            next.rows += run.rows() as u64;
            next.run_bytes += run.bytes();
            let mut all: Vec<Arc<Run>> = Vec::new();
            if let Some(held) = next.partitions.get(&key) {
                all.extend_from_slice(held);
            }
            all.push(Arc::new(run));
            let before: u64 = all.iter().map(|r| r.bytes()).sum();
            merge_small(&mut all);
            let after: u64 = all.iter().map(|r| r.bytes()).sum();
            next.run_bytes = next.run_bytes + after - before;
            next.partitions.insert(key, all.into());
        }
        next
    }

    /// This tail without the partitions for which `keep` is false.
    pub fn retain(&self, mut keep: impl FnMut(PartitionKey) -> bool) -> Tail {
        let mut next = self.clone();
        next.partitions.retain(|key, runs| {
            let kept = keep(*key);
            if !kept {
                next.rows -= runs.iter().map(|r| r.rows() as u64).sum::<u64>();
                next.run_bytes -= runs.iter().map(|r| r.bytes()).sum::<u64>();
            }
            kept
        });
        next
    }
}

/// Merges the newest runs while at least [`FAN_IN`] of them are no larger in order of magnitude than the newest.
fn merge_small(runs: &mut Vec<Arc<Run>>) {
    while let Some(newest) = runs.last() {
        let magnitude = newest.rows().ilog(FAN_IN);
        let small = runs.iter().rev().take_while(|r| r.rows().ilog(FAN_IN) <= magnitude).count();
        let from = runs.len() - small;
        let bytes: u64 = runs[from..].iter().map(|r| r.bytes()).sum();
        if small < FAN_IN || bytes > MERGED_BYTES_MAX {
            return;
        }
        let merged = Run::merge(&runs[from..].iter().map(|r| &**r).collect::<Vec<_>>());
        runs.truncate(from);
        runs.push(Arc::new(merged));
    }
}
