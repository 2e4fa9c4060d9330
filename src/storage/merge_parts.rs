//! A compaction: several parts of one partition become one.

use super::merge::{Merge, Span};
use super::part_reader::PartReader;
use super::part_writer::{ColumnRows, PartSync, PartWriter};
use super::resolve::{ColumnSources, Resolved, Source};
use super::write_part::CHUNK_ROWS;
use super::{Part, PartId, PartMeta, StorageError, TableDir, TableSchema};
use crate::schema::Dedup;
use crate::types::ColumnId;
use std::collections::HashMap;
use std::sync::Arc;

/// Decoded bytes held of all inputs together, whatever their rows are like ...
const BATCHES_BYTES: u64 = 64 << 20;
/// ... and of each at most.
const BATCH_BYTES: u64 = 4 << 20;
/// Rows of a batch at most.
const BATCH_ROWS: u64 = 1 << 13;

/// Writes the rows of `parts`, neighbours of one partition in order of their transactions and under one rule for duplicates, as that
/// rule leaves them, as one part of the next level. Memory is bounded, whatever their number and size. `is_stopping` is asked
/// between batches, and told how many rows were written.
///
/// On return the file and its name are durable; it counts once the catalog has exchanged the parts for it.
///
/// # Errors
/// An input is damaged, a file operation failed, or [`StorageError::Stopped`]; nothing is left behind.
///
/// # Panics
/// No parts, or parts of different partitions or out of order.
pub fn merge_parts(
    dir: &Arc<TableDir>,
    schema: &Arc<TableSchema>,
    parts: &[Arc<Part>],
    is_stopping: &dyn Fn(u64) -> bool,
) -> Result<PartMeta, StorageError> {
    let ids: Vec<PartId> = parts.iter().map(|p| p.meta().id).collect();
    let is_next = |a: &PartId, b: &PartId| a.partition == b.partition && a.last_txn < b.first_txn;
    assert!(ids.windows(2).all(|p| is_next(&p[0], &p[1])), "parts are neighbours in order");
    let id = PartId {
        partition: ids[0].partition,
        first_txn: ids[0].first_txn,
        last_txn: ids[ids.len() - 1].last_txn,
        level: ids.iter().map(|id| id.level).max().unwrap_or(0).saturating_add(1),
        attempt: 0,
    };
    let present = schema.present(parts.iter().flat_map(|p| p.meta().columns.iter().copied()));
    if *schema.shape().rule(id.first_txn).1 != Dedup::Append {
        let writer = PartWriter::create(dir, schema, &present, id, PartSync::Own)?;
        let sources = parts.iter().cloned().map(Source::Part).collect();
        return write_resolved(writer, schema, sources, &present, is_stopping);
    }
    let mut readers = Vec::with_capacity(parts.len());
    for part in parts {
        readers.push(PartReader::open(part, batch_rows(part.meta(), parts.len()))?);
    }
    let mut writer = PartWriter::create(dir, schema, &present, id, PartSync::Own)?;
    let mut merge = Merge::new(&readers.iter().map(PartReader::times).collect::<Vec<_>>());
    let mut spans: Vec<Span> = Vec::new();
    let mut written = 0;
    loop {
        if is_stopping(written) {
            return Err(StorageError::Stopped);
        }
        let times: Vec<&[i64]> = readers.iter().map(PartReader::times).collect();
        spans.clear();
        let mut rows = 0;
        let mut used_up = None;
        while rows < CHUNK_ROWS
            && used_up.is_none()
            && let Some(span) = merge.next_span(&times, CHUNK_ROWS - rows)
        {
            rows += span.len;
            spans.push(span);
            used_up = merge.is_used_up(span.source, times[span.source]).then_some(span.source);
        }
        if rows == 0 {
            return writer.finish();
        }
        written += rows as u64;
        writer.write(&times, &spans, |column| {
            let sources = readers.iter().map(|r| r.evolved(schema.shape(), column));
            Ok(ColumnRows { sources: sources.collect::<Result<_, StorageError>>()?, spans: &spans })
        })?;
        if let Some(source) = used_up {
            readers[source].next_batch()?;
            merge.refill(source, readers[source].times());
        }
    }
}

/// Writes what the rule for duplicates leaves of the rows of `sources`.
pub(super) fn write_resolved(
    mut writer: PartWriter,
    schema: &Arc<TableSchema>,
    sources: Vec<Source>,
    present: &[ColumnId],
    is_stopping: &dyn Fn(u64) -> bool,
) -> Result<PartMeta, StorageError> {
    let mut rows = Resolved::open(schema.clone(), sources, present, true)?;
    let mut written = 0;
    while rows.advance()? {
        if is_stopping(written) {
            return Err(StorageError::Stopped);
        }
        let mut columns: HashMap<ColumnId, ColumnSources<'_>> = HashMap::new();
        for column in schema.columns().iter().filter(|c| present.contains(&c.id)) {
            columns.insert(column.id, rows.column(column)?);
        }
        written += rows.spans().iter().map(|span| span.len as u64).sum::<u64>();
        writer.write(&rows.times(), rows.spans(), |column| {
            let (sources, spans) = &columns[&column.id];
            Ok(ColumnRows { sources: sources.clone(), spans })
        })?;
    }
    writer.finish()
}

/// So many rows that the batches of so many parts stay within their bounds, taking a row to decode to ten times its bytes on disk.
pub(super) fn batch_rows(part: &PartMeta, parts: usize) -> usize {
    let row_bytes = (part.bytes / part.rows.max(1)).max(1) * 10;
    let bytes = BATCH_BYTES.min(BATCHES_BYTES / parts as u64);
    usize::try_from((bytes / row_bytes).clamp(1, BATCH_ROWS)).expect("at most BATCH_ROWS")
}
