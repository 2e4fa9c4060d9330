//! `system.rejected_lines`: what happened to a line that is not in its table.

use super::RejectedLine;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use std::sync::Arc;

/// Its name within the database `system`.
pub(super) const REJECTED_LINES: &str = "rejected_lines";

/// The lines as a table.
pub(super) fn table(lines: &[Arc<RejectedLine>]) -> Result<MemTable> {
    fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }
    let numbers = |of: fn(&RejectedLine) -> u64| -> ArrayRef {
        let numbers = lines.iter().map(|line| i64::try_from(of(line)).unwrap_or(i64::MAX));
        Arc::new(Int64Array::from_iter_values(numbers))
    };
    let times = TimestampNanosecondArray::from_iter_values(lines.iter().map(|line| line.time));
    let tables: StringArray = lines.iter().map(|line| line.table.as_deref()).collect();
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("time", Arc::new(times) as ArrayRef, false),
        ("database", strings(lines.iter().map(|line| &*line.database)), false),
        ("table", Arc::new(tables), true),
        ("peer", strings(lines.iter().map(|line| &*line.peer)), false),
        ("connection", numbers(|line| line.connection), false),
        ("line", numbers(|line| line.line), false),
        ("offset", numbers(|line| line.offset), false),
        ("reason", strings(lines.iter().map(|line| line.reason)), false),
        ("detail", strings(lines.iter().map(|line| &*line.detail)), false),
        ("excerpt", strings(lines.iter().map(|line| &*line.excerpt)), false),
    ])?;
    MemTable::try_new(batch.schema(), vec![vec![batch]])
}
