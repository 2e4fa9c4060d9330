//! A flush: the runs of one partition become a part.

use super::gather::gather_values;
use super::merge::{Merge, Span};
use super::merge_parts::write_resolved;
use super::part_writer::{ColumnRows, PartSync, PartWriter};
use super::resolve::Source;
use super::{PartId, PartMeta, Run, SeriesSet, StorageError, TableDir, TableSchema};
use crate::schema::Dedup;
use crate::types::{ColumnId, ColumnType, PartitionKey};
use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows merged and encoded at a time: they stay in the processor's cache from one step to the next.
pub(super) const CHUNK_ROWS: usize = 1 << 14;

/// Writes the rows of `runs`, which are all of `partition`, share `series` and are in order of their transactions, as one
/// part. It is durable on return, or by the caller's sync; it counts once the catalog names it.
///
/// # Errors
/// A file operation failed; nothing is left behind.
///
/// # Panics
/// No runs.
pub fn write_part(
    dir: &Arc<TableDir>,
    schema: &Arc<TableSchema>,
    partition: PartitionKey,
    runs: &[Arc<Run>],
    series: &Arc<SeriesSet>,
    sync: PartSync,
) -> Result<PartMeta, StorageError> {
    let id = PartId {
        partition,
        first_txn: runs.iter().map(|r| r.first_txn()).min().expect("at least one run"),
        last_txn: runs.iter().map(|r| r.last_txn()).max().expect("at least one run"),
        level: 0,
        attempt: 0,
    };
    let in_runs = runs.iter().flat_map(|r| r.columns()).map(|(id, _)| *id);
    let present = schema.present(series.tag_columns().into_iter().chain(in_runs));
    let evolved = evolved(schema, runs, series, &present)
        .map_err(|error| StorageError::parquet(dir.path(), error.into()))?;
    let mut writer = PartWriter::create(dir, schema, &present, id, sync)?;
    if *schema.shape().rule(id.first_txn).1 != Dedup::Append {
        let source = |run: &Arc<Run>| Source::Run(run.clone(), series.clone());
        let sources = runs.iter().map(source).collect();
        return write_resolved(writer, schema, sources, &present, &|_| false);
    }
    let times: Vec<&[i64]> = runs.iter().map(|r| r.time()).collect();
    let codes: Vec<&[u32]> = runs.iter().map(|r| r.series()).collect();
    let mut merge = Merge::new(&times);
    let mut spans: Vec<Span> = Vec::new();
    loop {
        spans.clear();
        let mut rows = 0;
        while rows < CHUNK_ROWS
            && let Some(span) = merge.next_span(&times, CHUNK_ROWS - rows)
        {
            rows += span.len;
            spans.push(span);
        }
        if rows == 0 {
            return writer.finish();
        }
        let chunk_series = gather_values(&codes, &spans);
        let whole = [Span { source: 0, start: 0, len: rows }];
        writer.write(&times, &spans, |column| {
            Ok(match (column.ty, evolved.get(&column.id)) {
                (_, Some(sources)) => ColumnRows { sources: sources.clone(), spans: &spans },
                (ColumnType::Tag, None) => {
                    let array: ArrayRef = Arc::new(series.tag_array(column.id, &chunk_series));
                    ColumnRows { sources: vec![Some(array)], spans: &whole }
                }
                _ => ColumnRows {
                    sources: runs.iter().map(|r| r.column(column.id).cloned()).collect(),
                    spans: &spans,
                },
            })
        })?;
    }
}

/// By column that took over another's values: its values in each run.
fn evolved(
    schema: &TableSchema,
    runs: &[Arc<Run>],
    series: &SeriesSet,
    present: &[ColumnId],
) -> Result<HashMap<ColumnId, Vec<Option<ArrayRef>>>, ArrowError> {
    let shape = schema.shape();
    let heirs = schema.columns().iter().filter(|c| {
        present.contains(&c.id) && shape.became.iter().any(|became| became.into == c.id)
    });
    let mut all = HashMap::new();
    for column in heirs {
        let of = |run: &Arc<Run>| run.evolved(shape, series, column, (0, run.rows()));
        all.insert(column.id, runs.iter().map(of).collect::<Result<Vec<_>, ArrowError>>()?);
    }
    Ok(all)
}
