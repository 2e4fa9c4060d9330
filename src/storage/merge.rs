//! The k-way merge: in which order the rows of several sorted sources follow each other.
//!
//! Rows are ordered by time, then by source, then by their place in the source; so the merge is the stable sort of the
//! concatenation. The result is spans, not rows: live data comes as long stretches of one source, and a span is copied
//! at the speed of memory. The end of a span is found by galloping (Bentley and Yao 1976), so that a
//! source which is ahead of all others costs a few comparisons.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Consecutive rows of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) source: usize,
    pub(super) start: usize,
    pub(super) len: usize,
}

/// Where a merge stands. The times themselves stay with the caller, who may replace a used-up source's by later ones.
#[derive(Debug)]
pub(super) struct Merge {
    /// The time of each unfinished source's next row, least first; of equal times the first source's.
    heads: BinaryHeap<Reverse<(i64, usize)>>,
    /// By source: its next row.
    next: Vec<usize>,
}

impl Merge {
    /// A merge of sources whose rows are each in order of time.
    pub(super) fn new(times: &[&[i64]]) -> Merge {
        let heads = times.iter().enumerate().filter_map(|(source, times)| {
            let first = times.first()?;
            Some(Reverse((*first, source)))
        });
        Merge { heads: heads.collect(), next: vec![0; times.len()] }
    }

    /// The next span, of at most `limit` rows; `None` when all sources are used up.
    pub(super) fn next_span(&mut self, times: &[&[i64]], limit: usize) -> Option<Span> {
        let Reverse((_, source)) = self.heads.pop()?;
        let start = self.next[source];
        let rows = &times[source][start..];
        let len = match self.heads.peek() {
            // A row of the same time as the rival's goes first if its source does.
            Some(&Reverse((time, rival))) if source < rival => gallop(rows, |t| t <= time),
            Some(&Reverse((time, _))) => gallop(rows, |t| t < time),
            None => rows.len(),
        };
        let len = len.min(limit);
        assert!(len > 0, "the first row of the least source comes before every rival's");
        self.next[source] = start + len;
        if let Some(&time) = rows.get(len) {
            self.heads.push(Reverse((time, source)));
        }
        Some(Span { source, start, len })
    }

    /// True when `source` has no row left in what the caller gave.
    pub(super) fn is_used_up(&self, source: usize, times: &[i64]) -> bool {
        self.next[source] == times.len()
    }

    /// Goes on with later rows of a used-up source, from their first.
    pub(super) fn refill(&mut self, source: usize, times: &[i64]) {
        self.next[source] = 0;
        if let Some(&first) = times.first() {
            self.heads.push(Reverse((first, source)));
        }
    }
}

/// All spans of a merge.
pub(super) fn merge_all(times: &[&[i64]]) -> Vec<Span> {
    let mut merge = Merge::new(times);
    std::iter::from_fn(|| merge.next_span(times, usize::MAX)).collect()
}

/// How many rows from the front satisfy a condition that no row satisfies after one that does not.
fn gallop(rows: &[i64], holds: impl Fn(i64) -> bool) -> usize {
    let mut step = 1;
    let mut low = 0;
    while let Some(&time) = rows.get(low + step) {
        if !holds(time) {
            break;
        }
        low += step;
        step *= 2;
    }
    let high = rows.len().min(low + step);
    low + rows[low..high].partition_point(|&time| holds(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_merge_is_the_stable_sort_of_the_concatenation(
            mut sources in prop::collection::vec(prop::collection::vec(-20_i64..20, 0..40), 0..6),
            limit in 1_usize..50,
        ) {
            for source in &mut sources {
                source.sort_unstable();
            }
            let times: Vec<&[i64]> = sources.iter().map(Vec::as_slice).collect();
            let mut expect: Vec<(i64, usize, usize)> = Vec::new();
            for (source, times) in times.iter().enumerate() {
                expect.extend(times.iter().enumerate().map(|(row, &t)| (t, source, row)));
            }
            expect.sort_by_key(|&(time, ..)| time);
            let mut merge = Merge::new(&times);
            let mut got = Vec::new();
            while let Some(span) = merge.next_span(&times, limit) {
                prop_assert!((1..=limit).contains(&span.len));
                let rows = span.start..span.start + span.len;
                got.extend(rows.map(|row| (times[span.source][row], span.source, row)));
            }
            prop_assert_eq!(got, expect);
        }
    }

    #[test]
    fn sources_that_do_not_overlap_cost_one_span_each() {
        let spans = merge_all(&[&[5, 6, 7], &[1, 2, 3], &[]]);
        let expect = [Span { source: 1, start: 0, len: 3 }, Span { source: 0, start: 0, len: 3 }];
        assert_eq!(spans, expect);
    }
}
