//! A part without the rows of a range of times.

use super::merge::Span;
use super::merge_parts::batch_rows;
use super::part_reader::PartReader;
use super::part_writer::{ColumnRows, PartSync, PartWriter};
use super::{Part, PartMeta, StorageError, TableDir, TableSchema};
use std::sync::Arc;

/// Writes the rows of `part` that are before `from` or not before `to` as a part of the same transactions and level, with the
/// columns of today. On return the file and its name are durable; it counts once the catalog has exchanged the parts.
///
/// # Errors
/// The part is damaged or a file operation failed; nothing is left behind.
///
/// # Panics
/// No row is left: such a part is removed, not rewritten.
pub fn rewrite_without(
    dir: &Arc<TableDir>,
    schema: &TableSchema,
    part: &Arc<Part>,
    (from, to): (i64, i64),
) -> Result<PartMeta, StorageError> {
    let present = schema.present(part.meta().columns.iter().copied());
    let mut reader = PartReader::open(part, batch_rows(part.meta(), 1))?;
    let mut writer = PartWriter::create(dir, schema, &present, part.meta().id, PartSync::Own)?;
    while !reader.times().is_empty() {
        let times = reader.times();
        let start = times.partition_point(|&t| t < from);
        let end = times.partition_point(|&t| t < to).max(start);
        let kept = [(0, start), (end, times.len() - end)].map(|(start, len)| Span {
            source: 0,
            start,
            len,
        });
        let spans: Vec<Span> = kept.into_iter().filter(|span| span.len > 0).collect();
        writer.write(&[times], &spans, |column| {
            let sources = vec![reader.evolved(schema.shape(), column)?];
            Ok(ColumnRows { sources, spans: &spans })
        })?;
        reader.next_batch()?;
    }
    writer.finish()
}
