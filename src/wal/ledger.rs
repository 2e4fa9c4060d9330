//! Which segments are open, and which were closed and wait for their purge.

use super::unwritten::Unwritten;
use crate::types::{SegmentId, WriterId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// The segments of a start. Clones share it: the writers of a pool, and whoever reads what they write. Taken for moments, when a segment is created,
/// closed, purged, opened for reading, or written out.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
pub(super) struct Books {
    /// By writer, in their order: what is done to all of them is done the same way every time.
    pub(super) open: BTreeMap<WriterId, Open>,
    pub(super) closed: Vec<ClosedSegment>,
}

/// A segment that its writer may append to.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) segment: SegmentId,
    unwritten: Arc<Unwritten>,
}

impl Ledger {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file of a segment does not have yet; `None` when it is closed, and the file has everything.
    pub(super) fn unwritten(&self, writer: WriterId, segment: SegmentId) -> Option<Arc<Unwritten>> {
        let books = self.books();
        let open = books.open.get(&writer).filter(|open| open.segment == segment)?;
        Some(open.unwritten.clone())
    }

    pub(super) fn opened(&self, writer: WriterId, segment: SegmentId, unwritten: Arc<Unwritten>) {
        self.books().open.insert(writer, Open { segment, unwritten });
    }

    pub(super) fn closed(&self, segment: ClosedSegment) {
        let mut books = self.books();
        books.open.remove(&segment.writer);
        books.closed.push(segment);
    }
}
