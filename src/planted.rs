//! Bugs on purpose: proof that the simulation would find them.
//!
//! Each stands beside the code that it breaks. A test switches one on for its own thread; everywhere else the switch is a
//! constant, and nothing of it is left in the program.

/// What is done wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Bug {
    /// Commits are acknowledged before the log is synced.
    AckBeforeLogSync,
    /// Commits are acknowledged before their record is written.
    AckBeforeWrite,
    /// A large commit is acknowledged before its segment is synced.
    AckBeforeSegmentSync,
    /// A new segment's name is not synced.
    SegmentNameNotSynced,
    /// A record of the log counts by its length, whatever its checksum.
    RecordWithoutChecksum,
    /// A start gives the last number of each table once more.
    SeqTxnReused,
    /// A start numbers writers from one on again.
    WriterReused,
    /// A file is renamed into place before its bytes are synced.
    RenamedBeforeSync,
    /// A file's new name is not synced.
    RenameNotSynced,
    /// Frames that only the log carries are not put back.
    CarriedForgotten,
    /// What earlier lives did not report is not reported.
    UnreportedForgotten,
    /// What was reported is kept for the next report.
    ReportedTwice,
    /// The catalog confirms a commit before it is synced.
    CatalogNotSynced,
    /// A part is confirmed before its bytes are synced.
    PartNotSynced,
    /// A part is confirmed before its name is synced.
    PartNameNotSynced,
    /// Segments go before their rows are in parts.
    SegmentPurgedEarly,
    /// Chunks of the log go before their rows are in parts.
    LogPurgedEarly,
    /// Chunks of the log go before the segments that they carry frames for are synced.
    CarriedPurgedEarly,
    /// Chunks of the log go before the segments that they carry frames for have them.
    CarriedPurgedUnwritten,
    /// A failed sync of the log is tried again.
    SyncRetried,
    /// A failed sync of a segment's name is tried again.
    NameSyncRetried,
    /// A write of the log that failed half-way counts.
    ShortWriteIgnored,
    /// Segments are released before the shelf with their frames is written.
    ReleasedBeforeShelf,
    /// A resumed table does not get its frames back.
    ShelfNotRestored,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// True while a test of this thread has planted the bug.
#[cfg(test)]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Never true outside of tests.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}

#[cfg(test)]
impl Bug {
    /// All of them.
    pub(crate) const ALL: [Bug; 24] = [
        Bug::AckBeforeLogSync,
        Bug::AckBeforeWrite,
        Bug::AckBeforeSegmentSync,
        Bug::SegmentNameNotSynced,
        Bug::RecordWithoutChecksum,
        Bug::SeqTxnReused,
        Bug::WriterReused,
        Bug::RenamedBeforeSync,
        Bug::RenameNotSynced,
        Bug::CarriedForgotten,
        Bug::UnreportedForgotten,
        Bug::ReportedTwice,
        Bug::CatalogNotSynced,
        Bug::PartNotSynced,
        Bug::PartNameNotSynced,
        Bug::SegmentPurgedEarly,
        Bug::LogPurgedEarly,
        Bug::CarriedPurgedEarly,
        Bug::CarriedPurgedUnwritten,
        Bug::SyncRetried,
        Bug::NameSyncRetried,
        Bug::ShortWriteIgnored,
        Bug::ReleasedBeforeShelf,
        Bug::ShelfNotRestored,
    ];

    /// Plants it in this thread while `work` runs.
    pub(crate) fn planted<T>(self, work: impl FnOnce() -> T) -> T {
        let _uprooted = Uprooted;
        PLANTED.set(Some(self));
        work()
    }
}

#[cfg(test)]
struct Uprooted;

#[cfg(test)]
impl Drop for Uprooted {
    fn drop(&mut self) {
        PLANTED.set(None);
    }
}
