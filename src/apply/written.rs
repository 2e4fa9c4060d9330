//! How many rows went to Parquet, and how many of them again.

use crate::metrics;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows written since the start. Relaxed: each is read by itself.
#[derive(Debug, Default)]
pub(super) struct Written {
    flushed: AtomicU64,
    compacted: AtomicU64,
}

impl Written {
    /// Rows were written for the first time.
    pub(super) fn flushed(&self, rows: u64) {
        self.flushed.fetch_add(rows, Ordering::Relaxed);
        metrics::WRITTEN_ROWS.increment(rows);
        metrics::FLUSHED_ROWS.increment(rows);
    }

    /// Rows were written once more.
    pub(super) fn compacted(&self, rows: u64) {
        self.compacted.fetch_add(rows, Ordering::Relaxed);
        metrics::WRITTEN_ROWS.increment(rows);
    }

    /// How often a row was written on average; 1 before any was.
    pub(super) fn amplification(&self) -> f64 {
        let flushed = self.flushed.load(Ordering::Relaxed);
        let compacted = self.compacted.load(Ordering::Relaxed);
        if flushed == 0 { 1.0 } else { (flushed + compacted) as f64 / flushed as f64 }
    }
}
