//! Metrics with table labels, bounded: a client that makes ten thousand tables does not make ten thousand series.

use metrics::{Counter, counter};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Tables with labels of their own; all others share the label `_other`.
pub const LABELLED_TABLES_MAX: usize = 1000;

/// The counters of one table.
#[derive(Clone)]
pub struct TableMetrics {
    /// Rows committed.
    pub rows: Counter,
    /// Bytes of frames committed.
    pub bytes: Counter,
}

impl std::fmt::Debug for TableMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TableMetrics")
    }
}

/// The counters of a table: its own for the first [`LABELLED_TABLES_MAX`] names seen, the shared ones after that.
pub fn table(database: &str, table: &str) -> TableMetrics {
    type Known = HashMap<(String, String), TableMetrics>;
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (database.to_owned(), table.to_owned());
    if let Some(metrics) = known.get(&key) {
        return metrics.clone();
    }
    if known.len() >= LABELLED_TABLES_MAX {
        return make("_other", "_other");
    }
    let metrics = make(database, table);
    known.insert(key, metrics.clone());
    metrics
}

fn make(database: &str, table: &str) -> TableMetrics {
    let labels = [("database", database.to_owned()), ("table", table.to_owned())];
    TableMetrics {
        rows: counter!("headwater_table_rows_total", &labels),
        bytes: counter!("headwater_table_bytes_total", &labels),
    }
}
