//! What was committed to each table since the last report.

use crate::types::{SeqTxn, TableId};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows of one table, committed and not yet reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlushReport {
    /// Which table.
    pub table: TableId,
    /// The namespace it lives in.
    pub database: Arc<str>,
    /// Its name.
    pub table_name: Arc<str>,
    /// How many rows, before any doubling.
    pub rows: u64,
    /// Their bytes, as receipts count them.
    pub bytes: u64,
    /// Earliest row, nanoseconds since 1970.
    pub min_time: i64,
    /// Latest row, nanoseconds since 1970.
    pub max_time: i64,
    /// The first transaction that is counted.
    pub first_txn: SeqTxn,
    /// The last transaction that is counted.
    pub last_txn: SeqTxn,
}

impl FlushReport {
    /// Counts rows of further transactions: how many, their bytes, the earliest and the latest of them, the first and the last transaction.
    pub fn add(
        &mut self,
        rows: u64,
        bytes: u64,
        (min_time, max_time): (i64, i64),
        (first_txn, last_txn): (SeqTxn, SeqTxn),
    ) {
        self.rows += rows;
        self.bytes += bytes;
        self.min_time = self.min_time.min(min_time);
        self.max_time = self.max_time.max(max_time);
        self.first_txn = self.first_txn.min(first_txn);
        self.last_txn = self.last_txn.max(last_txn);
    }
}

/// A row of `write_reports`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportRow {
    /// The database whose `write_reports` it belongs to.
    pub database: Arc<str>,
    /// The table that was written to.
    pub table_name: Arc<str>,
    /// Its rows, doubled where configured.
    pub row_count: i64,
}

/// The unreported rows of every table. Shared by the sequencer's thread, which adds, and the reporter's, which takes.
#[derive(Debug, Default)]
pub struct Sums(Mutex<HashMap<TableId, FlushReport>>);

impl Sums {
    /// Begins with what an earlier run committed and did not report.
    pub fn new(recovered: impl IntoIterator<Item = FlushReport>) -> Arc<Sums> {
        let sums = Sums::default();
        sums.add(recovered);
        Arc::new(sums)
    }

    /// Adds what one group commit committed. Quick: the lock is never held across a report.
    pub fn add(&self, committed: impl IntoIterator<Item = FlushReport>) {
        let mut sums = self.lock();
        for report in committed {
            merge(&mut sums, report);
        }
    }

    pub(super) fn take(&self) -> HashMap<TableId, FlushReport> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TableId, FlushReport>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn merge(sums: &mut HashMap<TableId, FlushReport>, report: FlushReport) {
    match sums.entry(report.table) {
        Entry::Vacant(entry) => {
            entry.insert(report);
        }
        Entry::Occupied(mut entry) => {
            let FlushReport { rows, bytes, min_time, max_time, first_txn, last_txn, .. } = report;
            entry.get_mut().add(rows, bytes, (min_time, max_time), (first_txn, last_txn));
        }
    }
}
