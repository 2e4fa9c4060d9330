//! How long the WAL stays after everything in it is flushed, for whoever wants to look at it or copy it.

use crate::types::{SegmentId, SeqTxn, TableId, WriterId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Marks of the log that are kept in one retention.
const MARKS: u32 = 10;

/// Since when segments and transactions are done with.
#[derive(Debug, Default)]
pub(super) struct Retention {
    keep: Duration,
    since: BTreeMap<(WriterId, SegmentId), Duration>,
    /// How far every table was flushed at a time, oldest first.
    marks: VecDeque<(Duration, BTreeMap<TableId, SeqTxn>)>,
}

impl Retention {
    pub(super) fn new(keep: Duration) -> Retention {
        Retention { keep, ..Retention::default() }
    }

    /// True when a segment that nobody needs has been kept for long enough. Then it is forgotten.
    pub(super) fn is_over(&mut self, writer: WriterId, segment: SegmentId, now: Duration) -> bool {
        let since = *self.since.entry((writer, segment)).or_insert(now);
        let is_over = now.saturating_sub(since) >= self.keep;
        if is_over {
            self.since.remove(&(writer, segment));
        }
        is_over
    }

    /// Notes how far the tables are flushed, now and then.
    pub(super) fn note(
        &mut self,
        now: Duration,
        flushed: impl FnOnce() -> BTreeMap<TableId, SeqTxn>,
    ) {
        if self.keep.is_zero() {
            return;
        }
        let is_due = self.marks.back().is_none_or(|(at, _)| now - *at >= self.keep / MARKS);
        if is_due {
            self.marks.push_back((now, flushed()));
        }
        // The second is old enough to stand for the first.
        while self.marks.get(1).is_some_and(|(at, _)| now - *at >= self.keep) {
            self.marks.pop_front();
        }
    }

    /// How far a table was flushed one retention ago, given how far it is now.
    pub(super) fn flushed(&self, table: TableId, now: Duration, flushed: SeqTxn) -> SeqTxn {
        let is_gone = flushed == SeqTxn(u64::MAX);
        match self.marks.front() {
            _ if self.keep.is_zero() => flushed,
            Some((at, mark)) if now - *at >= self.keep => match mark.get(&table) {
                Some(then) => *then,
                None if is_gone => flushed,
                None => SeqTxn::NONE,
            },
            _ => SeqTxn::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_segment_goes_a_retention_after_it_is_done_with() {
        let key = (WriterId(1), SegmentId(2));
        let mut retention = Retention::new(10 * SECOND);
        let mut is_over = |at: u32| retention.is_over(key.0, key.1, at * SECOND);
        assert!(!is_over(5) && !is_over(14) && is_over(15));
        assert!(!is_over(16), "it was forgotten");
        assert!(Retention::new(Duration::ZERO).is_over(key.0, key.1, SECOND));
    }

    #[test]
    fn the_log_is_kept_as_far_as_it_was_not_flushed_a_retention_ago() {
        let (table, dropped) = (TableId(1), TableId(2));
        let mut retention = Retention::new(10 * SECOND);
        for at in 0..25_u32 {
            retention.note(at * SECOND, || BTreeMap::from([(table, SeqTxn(at.into()))]));
            let then = retention.flushed(table, at * SECOND, SeqTxn(at.into()));
            assert_eq!(then.0, u64::from(at.saturating_sub(10)), "at {at}");
        }
        assert!(retention.marks.len() <= 12);
        let gone = SeqTxn(u64::MAX);
        assert_eq!(retention.flushed(dropped, 25 * SECOND, gone), gone);
        let none = Retention::new(Duration::ZERO);
        assert_eq!(none.flushed(table, SECOND, SeqTxn(7)), SeqTxn(7));
    }
}
