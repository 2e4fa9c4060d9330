//! Which segments are open, and which were closed and wait for their purge.

use crate::types::{SegmentId, WriterId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A segment of this start that is never written to again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClosedSegment {
    /// Whose.
    pub writer: WriterId,
    /// Which of the writer's.
    pub segment: SegmentId,
    /// The writer's last commit in it: while that is under way, frames of the segment may still become transactions.
    pub ordinal: u64,
    /// Frames in it.
    pub frames: u64,
}

/// Shared by the writers of a pool; taken when a segment is created, closed or purged.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Books>);

#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) open: HashMap<WriterId, SegmentId>,
    pub(super) closed: Vec<ClosedSegment>,
}

impl Ledger {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn opened(&self, writer: WriterId, segment: SegmentId) {
        self.books().open.insert(writer, segment);
    }

    pub(super) fn closed(&self, segment: ClosedSegment) {
        let mut books = self.books();
        books.open.remove(&segment.writer);
        books.closed.push(segment);
    }
}
