//! Decoded rows on their way into a tail: sorted once, then cut into partitions.

use super::Run;
use super::gather::gather_values;
use super::merge::merge_all;
use crate::types::{ColumnId, PartitionBy, PartitionKey, SeqTxn};
use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;

/// Piles that rows are dealt to before they are taken to be in no order at all.
const PILES_MAX: usize = 12;

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
        let (time, order) = deal(&self.time).unwrap_or_else(|| sorted(&self.time));
        self.time = time;
        self.series = order.iter().map(|&row| self.series[row as usize]).collect();
        let order: UInt32Array = order.into();
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

/// The times in order, and where each row was; rows of one time stay in order of arrival. `None` when this is no way to sort these.
///
/// Rows of live data are a few rising sequences shuffled into each other: those that are on time, and those of each source that is
/// late. Each row goes to the first pile whose last row is not later, and the piles are merged (patience sorting, Mallows 1973).
/// The last rows of the piles fall from pile to pile, so a row never comes to lie on a pile before that of an earlier row of its time.
fn deal(time: &[i64]) -> Option<(Vec<i64>, Vec<u32>)> {
    let mut piles: Vec<(Vec<i64>, Vec<u32>)> = Vec::new();
    for (&time, row) in time.iter().zip(0_u32..) {
        let is_fit = |(times, _): &(Vec<i64>, Vec<u32>)| times.last().is_none_or(|&l| l <= time);
        let at = piles.iter().position(is_fit).unwrap_or(piles.len());
        if at == PILES_MAX {
            return None;
        }
        if at == piles.len() {
            piles.push((Vec::new(), Vec::new()));
        }
        let (times, rows) = &mut piles[at];
        times.push(time);
        rows.push(row);
    }
    let times: Vec<&[i64]> = piles.iter().map(|pile| pile.0.as_slice()).collect();
    let rows: Vec<&[u32]> = piles.iter().map(|pile| pile.1.as_slice()).collect();
    let spans = merge_all(&times);
    Some((gather_values(&times, &spans), gather_values(&rows, &spans)))
}

/// What [`deal`] gives, for rows in any order.
fn sorted(time: &[i64]) -> (Vec<i64>, Vec<u32>) {
    let mut order: Vec<(i64, u32)> = time.iter().copied().zip(0..).collect();
    order.sort_by_key(|&(time, _)| time);
    order.into_iter().unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn dealing_is_the_stable_sort(
            late in prop::collection::vec((0_i64..3, 0_i64..4), 0..200),
        ) {
            let time: Vec<i64> =
                late.iter().zip(0..).map(|((by, step), n)| n / (step + 1) - by * 50).collect();
            let expect = sorted(&time);
            prop_assert!(expect.0.is_sorted());
            if let Some(dealt) = deal(&time) {
                prop_assert_eq!(dealt, expect);
            }
        }
    }

    #[test]
    fn rows_in_falling_order_are_not_dealt() {
        let time: Vec<i64> = (0..100).rev().collect();
        assert_eq!(deal(&time), None);
        let late: Vec<i64> = (0..100).map(|n| if n % 10 == 0 { n - 60 } else { n }).collect();
        assert_eq!(deal(&late), Some(sorted(&late)));
    }
}
