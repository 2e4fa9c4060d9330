//! Commits that the log carries and that their segment does not have yet.
//!
//! To write a few hundred bytes to a file takes as long as to parse and to encode them. The log has them already, and its sync serves
//! them, so their segment may get them later, many with one write. Until then whoever reads the segment finds them here.

use super::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, Weak, fence};
use crate::io::{File, Result};
use bytes::Bytes;
use std::sync::PoisonError;

/// The end of an open segment, as far as it is in memory only. Shared by its writer, its readers, and whoever has it written.
#[derive(Debug)]
pub(super) struct Unwritten {
    file: Arc<File>,
    /// The file has everything before this byte. Only rises, under the lock of `commits`. Release in [`Unwritten::write`]; pairs with the Acquire in
    /// [`Unwritten::get`], so that whoever is sent to the file finds there what was written.
    written: AtomicU64,
    /// Offset and bytes of each commit, without gaps, the first at `written`. Held for moments: readers of committed rows wait for it.
    commits: Mutex<Vec<(u64, Bytes)>>,
    /// Held by whoever writes to the file, for as long as the device takes.
    writing: Mutex<()>,
}

/// The same, as a reader of the segment holds it: gone, with the writer's descriptor, once the file has everything.
#[derive(Debug, Default)]
pub(super) struct WeakUnwritten(Weak<Unwritten>);

/// A commit of so many bytes is written by itself: to copy it behind others costs more than another write.
const COPIED_MAX: usize = 64 << 10;

impl Unwritten {
    /// Of a file that is empty.
    pub(super) fn new(file: Arc<File>) -> Unwritten {
        let (written, commits) = (AtomicU64::new(0), Mutex::default());
        Unwritten { file, written, commits, writing: Mutex::default() }
    }

    /// Keeps the commit behind those there are, unless there would be more than `bytes_max` bytes of them all. True when it is kept.
    pub(super) fn keep(&self, commit: &Bytes, bytes_max: usize) -> bool {
        let mut commits = self.commits();
        let start = self.written.load(Ordering::Relaxed);
        let end = commits.last().map_or(start, |(offset, bytes)| offset + bytes.len() as u64);
        let is_kept = (end - start) as usize + commit.len() <= bytes_max;
        if is_kept {
            commits.push((end, commit.clone()));
        }
        is_kept
    }

    /// The commit that has the byte at `offset`, and where it begins; `None` when the file has it.
    pub(super) fn get(&self, offset: u64) -> Option<(u64, Bytes)> {
        if offset < self.written.load(Ordering::Acquire) {
            return None;
        }
        let commits = self.commits();
        let behind = commits.partition_point(|(start, _)| *start <= offset);
        let (start, bytes) = commits.get(behind.checked_sub(1)?)?;
        (offset - start < bytes.len() as u64).then(|| (*start, bytes.clone()))
    }

    /// Writes all that is kept, and `more` behind it. After an error all of it is still kept. Nobody keeps a commit while `more` is written: both
    /// is the writer's part.
    pub(super) fn write(&self, more: &[u8]) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: Vec<Bytes> = self.commits().iter().map(|(_, bytes)| bytes.clone()).collect();
        let start = self.written.load(Ordering::Relaxed);
        let mut bytes = kept.concat();
        let mut end = start + bytes.len() as u64;
        if kept.is_empty() || more.len() > COPIED_MAX {
            self.write_at(&bytes, start)?;
            self.write_at(more, end)?;
        } else {
            bytes.extend_from_slice(more);
            self.write_at(&bytes, start)?;
        }
        end += more.len() as u64;
        let mut commits = self.commits();
        self.written.store(end, Ordering::Release);
        commits.drain(..kept.len());
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        if bytes.is_empty() { Ok(()) } else { self.file.write_all_at(bytes, offset) }
    }

    fn commits(&self) -> MutexGuard<'_, Vec<(u64, Bytes)>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WeakUnwritten {
    pub(super) fn of(unwritten: &Arc<Unwritten>) -> WeakUnwritten {
        WeakUnwritten(Arc::downgrade(unwritten))
    }

    /// As [`Unwritten::get`].
    pub(super) fn get(&self, offset: u64) -> Option<(u64, Bytes)> {
        let Some(unwritten) = self.0.upgrade() else {
            // Pairs with the Release of the last owner's drop: what it wrote before is in the file for us, too.
            fence(Ordering::Acquire);
            return None;
        };
        unwritten.get(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Fs;
    use crate::io::sim::{Fault, FaultKind, SimDisk};
    use crate::types::{ColumnId, ColumnType, SegmentId, TableId, WriterId};
    use crate::wal::{
        Appended, Batch, Identity, Lease, Ledger, SegmentReader, SeriesCursor, WalConfig, WalError,
        WriterPool,
    };
    use std::path::Path;

    const TABLE: TableId = TableId(5);
    const IDENTITY: Identity =
        Identity { uuid: [7; 16], writer: WriterId(1), segment: SegmentId(0) };

    #[test]
    fn what_is_kept_is_found_until_one_write_has_put_it_into_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.wal");
        let file = Arc::new(Fs::real().create(&path).unwrap());
        let unwritten = Unwritten::new(file);
        unwritten.write(b"head").unwrap();
        assert!(unwritten.keep(&Bytes::from_static(b"one"), 6));
        assert!(unwritten.keep(&Bytes::from_static(b"two"), 6));
        assert!(!unwritten.keep(&Bytes::from_static(b"."), 6), "more than is to be kept");
        assert_eq!(unwritten.get(3), None);
        assert_eq!(unwritten.get(4), Some((4, Bytes::from_static(b"one"))));
        assert_eq!(unwritten.get(8), Some((7, Bytes::from_static(b"two"))));
        assert_eq!(unwritten.get(10), None);
        assert_eq!(Fs::real().read(&path).unwrap(), b"head");
        unwritten.write(b".").unwrap();
        assert_eq!(unwritten.get(4), None);
        assert_eq!(Fs::real().read(&path).unwrap(), b"headonetwo.");
    }

    /// A writer on a simulated disk that keeps up to 4 KiB, of commits that take 200 bytes or, from 9 rows on, are not carried.
    struct Kept {
        disk: SimDisk,
        fs: Fs,
        pool: WriterPool,
        ledger: Ledger,
        writer: Lease,
    }

    impl Kept {
        fn new() -> Kept {
            let (disk, ledger) = (SimDisk::new(1), Ledger::default());
            let fs = disk.fs();
            fs.create_dir_all(Path::new("/wal")).unwrap();
            let config =
                WalConfig { unwritten_bytes: 4096, carry_bytes: 300, ..WalConfig::default() };
            let (uuid, first) = (IDENTITY.uuid, IDENTITY.writer);
            let pool =
                WriterPool::new(config, fs.clone(), "/wal".into(), uuid, 1, first, ledger.clone());
            let writer = pool.try_borrow().unwrap();
            Kept { disk, fs, pool, ledger, writer }
        }

        /// Commits rows of a series that no commit before has named.
        fn commit(&mut self, rows: i64) -> std::result::Result<Appended, WalError> {
            let host = format!("host-{}", self.writer.ordinal());
            let series = self.writer.series(TABLE, &[(ColumnId(1), &host)]);
            let mut batch = Batch::new(TABLE);
            batch.add_column(ColumnId(2), ColumnType::Integer);
            for n in 0..rows {
                batch.columns[0].push_i64(n as usize, n * n * 1_000_000_007);
                batch.finish_row(n << 40, series);
            }
            self.writer.append([&batch]).map(|commit| commit.expect("there are rows"))
        }

        fn file(&self) -> SegmentReader {
            SegmentReader::open(&self.fs, Path::new("/wal"), &IDENTITY).unwrap()
        }

        fn live(&self) -> SegmentReader {
            SegmentReader::open_live(&self.fs, Path::new("/wal"), &IDENTITY, &self.ledger).unwrap()
        }
    }

    /// Whether a frame and all definitions that it needs are found.
    fn is_found(reader: &SegmentReader, commit: &Appended) -> bool {
        let (frame, mut none_known) = (commit.frames[0], SeriesCursor::new());
        let view = reader.frame(frame.offset, frame.len);
        view.is_ok_and(|view| {
            let defined = view.new_series(&mut none_known);
            defined.is_ok_and(|series| series.len() as u64 == commit.ordinal)
                && view.rows(none_known).is_ok()
        })
    }

    #[test]
    fn commits_that_the_log_carries_are_read_from_memory_and_written_together() {
        let mut kept = Kept::new();
        let first = kept.commit(1).unwrap();
        let (file, live) = (kept.file(), kept.live());
        assert!(is_found(&file, &first), "whoever opens a segment finds its header");
        let before = kept.disk.operations();
        let small: Vec<Appended> = (0..5).map(|_| kept.commit(1).unwrap()).collect();
        assert_eq!(kept.disk.operations(), before, "the disk has nothing to do");
        for commit in &small {
            assert!(commit.bytes.is_some(), "the log carries it");
            assert!(is_found(&live, commit) && !is_found(&file, commit));
        }
        let mut known = SeriesCursor::new();
        for (n, commit) in [&first].into_iter().chain(&small).enumerate() {
            let frame = commit.frames[0];
            let new = live.new_series(frame.offset, frame.len, &mut known).unwrap();
            assert_eq!((new.first() as usize, new.len()), (n, 1));
        }
        let large = kept.commit(64).unwrap();
        assert!(large.bytes.is_none(), "its caller syncs the segment");
        assert!(small.iter().chain([&large]).all(|c| is_found(&file, c) && is_found(&live, c)));
    }

    #[test]
    fn no_more_is_kept_than_is_to_be() {
        let mut kept = Kept::new();
        let commits: Vec<Appended> = (0..200).map(|_| kept.commit(1).unwrap()).collect();
        let file = kept.file();
        let missing = commits.iter().filter(|commit| !is_found(&file, commit)).map(|c| c.len);
        assert!(missing.sum::<u64>() <= 4096);
        assert!(is_found(&file, &commits[150]));
    }

    #[test]
    fn whoever_copies_frames_or_syncs_the_file_has_them_written_before() {
        let mut kept = Kept::new();
        kept.commit(1).unwrap();
        let commit = kept.commit(1).unwrap();
        kept.pool.write_out(IDENTITY.writer, IDENTITY.segment).unwrap();
        assert!(is_found(&kept.file(), &commit));
        let last = kept.commit(1).unwrap();
        let mut copier = kept.pool.copier(IDENTITY).unwrap();
        copier.copy(last.offset, last.len as u32).unwrap();
        copier.copy(commit.offset, commit.len as u32).unwrap();
        let copied = copier.finish();
        let copies = [&commit, &last]
            .map(|commit| copied.iter().any(|(_, bytes)| Some(bytes) == commit.bytes.as_ref()));
        assert_eq!(copies, [true, true]);
    }

    #[test]
    fn a_writer_that_is_given_back_keeps_nothing_in_memory() {
        let mut kept = Kept::new();
        kept.commit(1).unwrap();
        let commit = kept.commit(1).unwrap();
        let file = kept.file();
        drop(kept.writer);
        assert!(is_found(&file, &commit));
    }

    #[test]
    fn a_commit_that_cannot_be_written_takes_none_of_those_before_along() {
        let mut kept = Kept::new();
        kept.commit(1).unwrap();
        let commit = kept.commit(1).unwrap();
        kept.disk.plan(&[Fault { kind: FaultKind::ShortWrite, nth: 1, persistent: false }]);
        kept.commit(64).unwrap_err();
        assert!(is_found(&kept.live(), &commit), "it is acknowledged");
        let large = kept.commit(64).unwrap();
        // Its series was asked for twice.
        let (file, frame) = (kept.file(), large.frames[0]);
        assert!(is_found(&file, &commit) && file.frame(frame.offset, frame.len).is_ok());
    }

    #[test]
    fn a_segment_that_lacks_commits_stays_open_until_it_has_them() {
        let mut kept = Kept::new();
        kept.commit(1).unwrap();
        let commit = kept.commit(1).unwrap();
        kept.disk.plan(&[Fault { kind: FaultKind::Io, nth: 1, persistent: true }]);
        kept.writer.roll();
        assert_eq!(kept.writer.segment(), SegmentId(0));
        assert_eq!(kept.pool.closed_segments(), []);
        kept.disk.heal();
        assert!(is_found(&kept.live(), &commit));
        kept.writer.roll();
        assert_eq!(kept.writer.segment(), SegmentId(1));
        assert!(is_found(&kept.file(), &commit) && is_found(&kept.live(), &commit));
        assert_eq!(kept.pool.closed_segments().len(), 1);
    }
}
