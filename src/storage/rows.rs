//! Decoded rows on their way into a tail: sorted once, then cut into partitions.

use super::Run;
use crate::types::{ColumnId, PartitionBy, PartitionKey, SeqTxn};
use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;

/// Rows of consecutive transactions of one table, in order of arrival.
#[derive(Debug, Default)]
pub struct Rows {
    /// By row: the designated timestamp.
    pub time: Vec<i64>,
    /// By row: the number of its tag set in the tail's series.
    pub series: Vec<u32>,
    /// The other columns, in any order, each as long as `time`.
    pub columns: Vec<(ColumnId, ArrayRef)>,
}

impl Rows {
    /// One run for each partition that the rows touch, in order of time. Rows of one time stay in order of arrival.
    ///
    /// Rows that arrive in order are not copied, and cutting them into partitions copies nothing either.
    ///
    /// # Panics
    /// Columns of different lengths, or more rows than 32 bits count: a decoded frame has neither.
    pub fn into_runs(
        mut self,
        by: PartitionBy,
        first_txn: SeqTxn,
        last_txn: SeqTxn,
    ) -> Vec<(PartitionKey, Run)> {
        if !self.time.is_sorted() {
            self.sort();
        }
        self.columns.sort_by_key(|(id, _)| *id);
        let txns = (first_txn, last_txn);
        let (Some(&min), Some(&max)) = (self.time.first(), self.time.last()) else {
            return Vec::new();
        };
        if by.key(min) == by.key(max) {
            let run = Run::new(txns, self.time.into(), self.series.into(), self.columns);
            return vec![(by.key(min), run)];
        }
        self.cut(by, txns)
    }

    fn sort(&mut self) {
        let rows = u32::try_from(self.time.len()).expect("a frame has fewer than 2^32 rows");
        let mut order: Vec<(i64, u32)> = self.time.iter().copied().zip(0..rows).collect();
        order.sort_by_key(|&(time, _)| time);
        self.time.clear();
        self.time.extend(order.iter().map(|&(time, _)| time));
        self.series = order.iter().map(|&(_, row)| self.series[row as usize]).collect();
        let order: UInt32Array = order.into_iter().map(|(_, row)| row).collect::<Vec<u32>>().into();
        for (_, array) in &mut self.columns {
            *array = take(array, &order, None).expect("the order names rows that are there");
        }
    }

    fn cut(self, by: PartitionBy, txns: (SeqTxn, SeqTxn)) -> Vec<(PartitionKey, Run)> {
        let (time, series) = (arrow::buffer::ScalarBuffer::from(self.time), self.series.into());
        let series: arrow::buffer::ScalarBuffer<u32> = series;
        let mut runs = Vec::new();
        let mut start = 0;
        while let Some(&first) = time.get(start) {
            let key = by.key(first);
            let (_, end) = by.range(key);
            let len = time[start..].partition_point(|&t| t < end || end == i64::MAX);
            let columns = self.columns.iter().map(|(id, array)| (*id, array.slice(start, len)));
            let run =
                Run::new(txns, time.slice(start, len), series.slice(start, len), columns.collect());
            runs.push((key, run));
            start += len;
        }
        runs
    }
}
