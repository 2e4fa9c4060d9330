//! When a closed segment can go: after everything that may still become a transaction of it has its number, and all that has is flushed.

use crate::types::{SegmentId, WriterId};
use std::collections::BTreeMap;

/// Closed segments that wait for their purge.
///
/// A segment is closed after its last receipt was pushed, but that receipt may still wait for its number, and until then nobody knows
/// that the segment is needed. So an empty receipt is pushed behind it, the fence: once that is numbered, so is every frame.
#[derive(Debug, Default)]
pub(super) struct Fences(BTreeMap<(WriterId, SegmentId), u64>);

impl Fences {
    /// Takes in the segments that are closed; `push` pushes the empty receipt, is called at most once, and returns its ordinal.
    pub(super) fn close(
        &mut self,
        closed: impl IntoIterator<Item = (WriterId, SegmentId)>,
        push: impl FnOnce() -> u64,
    ) {
        let new: Vec<_> = closed.into_iter().filter(|key| !self.0.contains_key(key)).collect();
        if !new.is_empty() {
            let ordinal = push();
            self.0.extend(new.into_iter().map(|key| (key, ordinal)));
        }
    }

    /// Calls `remove` for each segment whose fence is at most `published` and that is not needed, and forgets those that
    /// are gone then. `published` must have been read before `is_needed` is asked.
    pub(super) fn purge(
        &mut self,
        published: u64,
        mut is_needed: impl FnMut(WriterId, SegmentId) -> bool,
        mut remove: impl FnMut(WriterId, SegmentId) -> bool,
    ) {
        self.0.retain(|&(writer, segment), fence| {
            let is_done = *fence <= published && !is_needed(writer, segment);
            !(is_done && remove(writer, segment))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (WriterId, SegmentId) = (WriterId(1), SegmentId(0));

    #[test]
    fn a_segment_goes_when_its_fence_is_numbered_and_its_rows_are_flushed() {
        let mut fences = Fences::default();
        fences.close([KEY], || 7);
        fences.close([KEY], || unreachable!("it has its fence"));
        fences.purge(6, |_, _| false, |_, _| unreachable!("a receipt may be under way"));
        fences.purge(7, |_, _| true, |_, _| unreachable!("a row is not flushed"));
        let mut tries = 0;
        // One that could not be removed is tried again, and one that was is forgotten.
        for is_removed in [false, true, true] {
            fences.purge(
                7,
                |_, _| false,
                |_, _| {
                    tries += 1;
                    is_removed
                },
            );
        }
        assert_eq!(tries, 2);
    }
}
