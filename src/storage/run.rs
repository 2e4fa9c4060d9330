//! Sorted rows in memory.

use super::gather::{gather_column, gather_values};
use super::merge::merge_all;
use super::{SeriesSet, TableSchema, arrow_type};
use crate::types::{ColumnId, SeqTxn};
use arrow::array::{Array, ArrayRef, TimestampNanosecondArray, new_null_array};
use arrow::buffer::ScalarBuffer;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Immutable rows of one partition in order of (time, arrival).
///
/// Tags are numbers of the tail's [`SeriesSet`]; every other column is an array of as many values as there are rows.
/// A column that no row has a value for need not be there.
#[derive(Clone, Debug)]
pub struct Run {
    first_txn: SeqTxn,
    last_txn: SeqTxn,
    time: ScalarBuffer<i64>,
    series: ScalarBuffer<u32>,
    columns: Vec<(ColumnId, ArrayRef)>,
    bytes: u64,
}

impl Run {
    /// A run of rows that are in order already.
    ///
    /// # Panics
    /// No rows, times out of order, columns of different lengths, or column ids out of order.
    pub(super) fn new(
        (first_txn, last_txn): (SeqTxn, SeqTxn),
        time: ScalarBuffer<i64>,
        series: ScalarBuffer<u32>,
        columns: Vec<(ColumnId, ArrayRef)>,
    ) -> Run {
        assert!(!time.is_empty() && first_txn <= last_txn);
        debug_assert!(time.is_sorted());
        assert!(series.len() == time.len() && columns.iter().all(|(_, a)| a.len() == time.len()));
        assert!(columns.windows(2).all(|c| c[0].0 < c[1].0), "columns are in order of their ids");
        let fixed = time.len() * (size_of::<i64>() + size_of::<u32>());
        let bytes = columns.iter().map(|(_, array)| array_bytes(array)).sum::<usize>() + fixed;
        Run { first_txn, last_txn, time, series, columns, bytes: bytes as u64 }
    }

    /// The rows of all `runs`, which share one [`SeriesSet`] and are in order of their transactions.
    ///
    /// # Panics
    /// No runs, or strings of one column that together pass 2 GiB.
    pub fn merge(runs: &[&Run]) -> Run {
        let times: Vec<&[i64]> = runs.iter().map(|r| r.time()).collect();
        let series: Vec<&[u32]> = runs.iter().map(|r| r.series()).collect();
        let spans = merge_all(&times);
        let mut present: BTreeMap<ColumnId, &ArrayRef> = BTreeMap::new();
        for (id, array) in runs.iter().flat_map(|r| &r.columns) {
            present.insert(*id, array);
        }
        let columns = present.into_iter().map(|(id, one)| {
            let sources: Vec<Option<&ArrayRef>> = runs.iter().map(|r| r.column(id)).collect();
            (id, gather_column(one.data_type(), &sources, &spans))
        });
        let columns = columns.collect();
        let first = runs.iter().map(|r| r.first_txn).min().expect("at least one run");
        let last = runs.iter().map(|r| r.last_txn).max().expect("at least one run");
        let time = gather_values(&times, &spans);
        Run::new((first, last), time.into(), gather_values(&series, &spans).into(), columns)
    }

    /// The first transaction that has rows here.
    pub fn first_txn(&self) -> SeqTxn {
        self.first_txn
    }

    /// The last transaction that has rows here.
    pub fn last_txn(&self) -> SeqTxn {
        self.last_txn
    }

    /// How many rows there are; never 0.
    pub fn rows(&self) -> usize {
        self.time.len()
    }

    /// The time of the first row.
    pub fn min_time(&self) -> i64 {
        self.time[0]
    }

    /// The time of the last row.
    pub fn max_time(&self) -> i64 {
        self.time[self.time.len() - 1]
    }

    /// The times, in order.
    pub fn time(&self) -> &[i64] {
        &self.time
    }

    /// By row: its number in the tail's [`SeriesSet`].
    pub fn series(&self) -> &[u32] {
        &self.series
    }

    /// The columns that are not tags, in order of their ids.
    pub fn columns(&self) -> &[(ColumnId, ArrayRef)] {
        &self.columns
    }

    /// A column that is not a tag.
    pub fn column(&self, id: ColumnId) -> Option<&ArrayRef> {
        let at = self.columns.binary_search_by_key(&id, |c| c.0).ok()?;
        Some(&self.columns[at].1)
    }

    /// The rows before `from` and those at or after `to`, without a copy.
    pub fn without(&self, from: i64, to: i64) -> Vec<Run> {
        let start = self.time.partition_point(|&t| t < from);
        let end = self.time.partition_point(|&t| t < to).max(start);
        let pieces = [(0, start), (end, self.rows() - end)];
        pieces
            .into_iter()
            .filter(|(_, len)| *len > 0)
            .map(|(at, len)| self.slice(at, len))
            .collect()
    }

    fn slice(&self, start: usize, len: usize) -> Run {
        let columns = self.columns.iter().map(|(id, array)| (*id, array.slice(start, len)));
        let txns = (self.first_txn, self.last_txn);
        let (time, series) = (self.time.slice(start, len), self.series.slice(start, len));
        Run::new(txns, time, series, columns.collect())
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rows as a batch of the table's [`TableSchema::arrow_schema`], or of those of its columns that `projection`
    /// names by position, in its order.
    ///
    /// # Errors
    /// A column's array has another type than the schema says.
    pub fn to_batch(
        &self,
        schema: &TableSchema,
        series: &SeriesSet,
        projection: Option<&[usize]>,
    ) -> Result<RecordBatch, ArrowError> {
        let all: Vec<usize>;
        let wanted = match projection {
            Some(wanted) => wanted,
            None => {
                all = (0..=schema.columns().len()).collect();
                &all
            }
        };
        let arrays = wanted.iter().map(|&n| self.array(schema, series, n));
        let arrays = arrays.collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows()));
        let arrow = Arc::new(schema.arrow_schema().project(wanted)?);
        RecordBatch::try_new_with_options(arrow, arrays, &options)
    }

    /// The array of the `n`th field of the schema.
    fn array(
        &self,
        schema: &TableSchema,
        series: &SeriesSet,
        n: usize,
    ) -> Result<ArrayRef, ArrowError> {
        let Some(column) = schema.columns().get(n) else {
            return Ok(Arc::new(TimestampNanosecondArray::new(self.time.clone(), None)));
        };
        let values = self.evolved(schema.shape(), series, column, (0, self.rows()))?;
        Ok(values.unwrap_or_else(|| new_null_array(&arrow_type(column.ty), self.rows())))
    }
}

/// What the rows of an array take, also when it is a slice of a longer one.
fn array_bytes(array: &ArrayRef) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
}
