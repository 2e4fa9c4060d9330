//! Frames become sorted runs: decoded, small ones into common arrays, their series renumbered, neighbours joined, cut into partitions.

use super::Data;
use super::segments::{SegmentKey, Segments};
use crate::storage::{self, Run, SeriesSet, arrow_type};
use crate::types::{ColumnId, ColumnType, PartitionBy, PartitionKey, SeqTxn};
use crate::wal::{self, SeriesCursor, SeriesDefinitions, WalError};
use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::concat;
use std::collections::{BTreeMap, HashMap};

/// Transactions are joined into one run up to so many rows: a run of its own for each would cost more than its rows.
const JOINED_ROWS_MAX: usize = 8192;

/// Frames of fewer rows are decoded one behind the other into common arrays.
const SMALL_ROWS: usize = 256;

/// What one table remembers from frame to frame, as long as its tail is open.
#[derive(Debug, Default)]
pub(super) struct Merger {
    views: HashMap<SegmentKey, View>,
}

/// One segment as a table sees it.
#[derive(Debug, Default)]
struct View {
    cursor: SeriesCursor,
    /// By series of the segment: its number in the tail.
    series: Vec<u32>,
}

/// Transactions that become one run.
#[derive(Debug, Default)]
struct Group {
    rows: Vec<wal::Rows>,
    /// What comes behind `rows`.
    small: wal::JoinedRows,
    row_count: usize,
}

/// Runs of the first transactions of a list: all of them unless there is a failure.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) runs: Vec<(PartitionKey, Run)>,
    /// How many transactions of the list are in the runs.
    pub(super) txns: usize,
    /// Why there are not more.
    pub(super) failure: Option<WalError>,
}

impl Merger {
    /// Forgets all segments: the tail's series begin anew. The definitions are read again from the segments.
    pub(super) fn reset(&mut self) {
        self.views.clear();
    }

    /// Turns consecutive transactions into runs that name `series`.
    pub(super) fn merge(
        &mut self,
        txns: &[(SeqTxn, Data)],
        series: &SeriesSet,
        by: PartitionBy,
        segments: &Segments,
    ) -> Merged {
        let mut merged = Merged::default();
        let mut group = Group::default();
        for (n, (_, data)) in txns.iter().enumerate() {
            if group.row_count + data.rows as usize > JOINED_ROWS_MAX {
                merged.close(&mut group, &txns[..n], by);
            }
            let decoded = match (data.rows as usize) < SMALL_ROWS {
                true => self.decode_small(data, series, segments, &mut group.small),
                false => self.decode(data, series, segments).map(|rows| {
                    group.end_small();
                    group.rows.push(rows);
                }),
            };
            if let Err(error) = decoded {
                merged.failure = Some(error);
                if merged.txns < n && !group.small.is_empty() {
                    // What the damaged frame left behind is mixed with good rows: those before it are taken once more.
                    self.views.clear();
                    let before = self.merge(&txns[merged.txns..n], series, by, segments);
                    merged.runs.extend(before.runs);
                    merged.txns += before.txns;
                    return merged;
                }
                merged.close(&mut group, &txns[..n], by);
                return merged;
            }
            group.row_count += data.rows as usize;
        }
        merged.close(&mut group, txns, by);
        merged
    }

    /// Decodes a frame of few rows behind others.
    fn decode_small(
        &mut self,
        data: &Data,
        series: &SeriesSet,
        segments: &Segments,
        small: &mut wal::JoinedRows,
    ) -> Result<(), WalError> {
        let reader = segments.reader(data.key())?;
        let view = self.views.entry(data.key()).or_default();
        let first = small.len();
        let frame = reader.frame(data.offset, data.len)?;
        let new_series = frame.decode_onto(&mut view.cursor, small)?;
        view.learn(&new_series, series);
        for number in small.series_from(first) {
            *number = view.series[*number as usize];
        }
        Ok(())
    }

    fn decode(
        &mut self,
        data: &Data,
        series: &SeriesSet,
        segments: &Segments,
    ) -> Result<wal::Rows, WalError> {
        let reader = segments.reader(data.key())?;
        let view = self.views.entry(data.key()).or_default();
        let mut rows = reader.frame(data.offset, data.len)?.decode(&mut view.cursor)?;
        view.learn(&rows.new_series, series);
        for number in &mut rows.series {
            *number = view.series[*number as usize];
        }
        Ok(rows)
    }
}

impl View {
    /// Numbers series that the segment defines.
    fn learn(&mut self, definitions: &SeriesDefinitions, series: &SeriesSet) {
        definitions.each(|number, tags| {
            assert_eq!(number as usize, self.series.len(), "series are defined in order");
            self.series.push(series.intern(tags));
        });
    }
}

impl Group {
    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.rows.push(std::mem::take(&mut self.small).finish());
        }
    }
}

impl Merged {
    /// Makes runs of the group, which are the last of `txns`.
    fn close(&mut self, group: &mut Group, txns: &[(SeqTxn, Data)], by: PartitionBy) {
        group.end_small();
        if let (Some((first, _)), Some((last, _))) = (txns.get(self.txns), txns.last()) {
            self.runs.extend(join(&mut group.rows).into_runs(by, *first, *last));
            self.txns = txns.len();
        }
        *group = Group::default();
    }
}

/// The rows of all frames one after the other; a column that a frame lacks is null there.
fn join(group: &mut Vec<wal::Rows>) -> storage::Rows {
    if let [rows] = group.as_mut_slice() {
        return storage::Rows {
            time: std::mem::take(&mut rows.time),
            series: std::mem::take(&mut rows.series),
            columns: rows.columns.drain(..).map(|(id, _, array)| (id, array)).collect(),
        };
    }
    let mut by_column: BTreeMap<ColumnId, (ColumnType, Vec<Option<ArrayRef>>)> = BTreeMap::new();
    for (n, rows) in group.iter_mut().enumerate() {
        for (id, ty, array) in rows.columns.drain(..) {
            let (_, pieces) = by_column.entry(id).or_insert_with(|| (ty, Vec::new()));
            pieces.resize(n, None);
            pieces.push(Some(array));
        }
    }
    let columns = by_column.into_iter().map(|(id, (ty, mut pieces))| {
        pieces.resize(group.len(), None);
        let whole: Vec<ArrayRef> = pieces
            .into_iter()
            .zip(group.iter())
            .map(|(piece, rows)| {
                piece.unwrap_or_else(|| new_null_array(&arrow_type(ty), rows.time.len()))
            })
            .collect();
        let whole: Vec<&dyn Array> = whole.iter().map(AsRef::as_ref).collect();
        (id, concat(&whole).expect("a column has one type in every frame, and small frames fit"))
    });
    storage::Rows {
        columns: columns.collect(),
        time: group.iter().flat_map(|rows| rows.time.iter().copied()).collect(),
        series: group.iter().flat_map(|rows| rows.series.iter().copied()).collect(),
    }
}
