//! The open segment of a writer: reserved ahead, appended to, cut back after a failure, sealed.

use super::unwritten::Unwritten;
use crate::io::{File, Fs, IoError, Result};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// The first reservation. Each is three times what there is, up to the largest: a trickle takes little, a stream seldom asks.
pub(super) const RESERVE_MIN: u64 = 64 << 10;
const RESERVE_MAX: u64 = 4 << 20;

/// A file that only grows. `end <= reserved` once anything is written.
#[derive(Debug)]
pub(super) struct Segment {
    file: Arc<File>,
    unwritten: Arc<Unwritten>,
    /// The byte after the last good one, written or not.
    end: u64,
    /// Length of the file: bytes that are not written are zero.
    reserved: u64,
    /// The name in its folder may not be durable yet: no receipt that asks for a sync of it has been made.
    pub(super) is_new: bool,
}

impl Segment {
    /// Creates an empty file; its header is part of the first append.
    pub(super) fn create(fs: &Fs, path: &Path) -> Result<Segment> {
        Ok(Segment::over(fs.create(path)?))
    }

    pub(super) fn over(file: File) -> Segment {
        let file = Arc::new(file);
        let unwritten = Arc::new(Unwritten::new(file.clone()));
        Segment { file, unwritten, end: 0, reserved: 0, is_new: true }
    }

    /// Reserves the first room, so that the first commits find it.
    pub(super) fn prepare(&mut self) -> Result<()> {
        self.reserve(1)
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn unwritten(&self) -> &Arc<Unwritten> {
        &self.unwritten
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// What an append of `len` bytes takes from the disk; 0 when they go into what is reserved.
    pub(super) fn takes(&self, len: u64) -> u64 {
        let end = self.end + len;
        if end <= self.reserved {
            return 0;
        }
        let ahead = (self.reserved * 3).clamp(RESERVE_MIN, RESERVE_MAX);
        ahead.max(end - self.reserved)
    }

    /// Appends `bytes`, or leaves the segment as it was. Everything before is written with them.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let taken = self.reserve(bytes.len() as u64).and_then(|()| self.unwritten.write(bytes));
        self.take(bytes.len() as u64, taken)
    }

    /// Appends a commit that the log carries: in memory, unless more than `bytes_max` bytes would then wait to be written.
    pub(super) fn append_carried(&mut self, commit: &Bytes, bytes_max: usize) -> Result<()> {
        let taken = self.reserve(commit.len() as u64).and_then(|()| {
            match self.unwritten.keep(commit, bytes_max) {
                true => Ok(()),
                false => self.unwritten.write(commit),
            }
        });
        self.take(commit.len() as u64, taken)
    }

    /// Takes note of an append of `len` bytes.
    fn take(&mut self, len: u64, appended: Result<()>) -> Result<()> {
        match &appended {
            Ok(()) => {
                self.end += len;
                self.reserved = self.reserved.max(self.end);
            }
            Err(_) => self.cut_back(),
        }
        appended
    }

    /// Gives back what is reserved beyond the last good byte.
    ///
    /// Bytes of a failed append may stay when this fails too. They were never named by a receipt, and the next append goes over
    /// them, so that costs nothing but room.
    pub(super) fn cut_back(&mut self) {
        self.reserved = self.end;
        if let Err(error) = self.file.set_len(self.end) {
            tracing::warn!(%error, "could not give back reserved room of a segment");
        }
    }

    fn reserve(&mut self, len: u64) -> std::result::Result<(), IoError> {
        let more = self.takes(len);
        if more > 0 {
            self.file.allocate(self.reserved, more)?;
            self.reserved += more;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_append_leaves_the_segment_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.wal");
        let fs = Fs::real();
        let mut segment = Segment::create(&fs, &path).unwrap();
        segment.append(b"good").unwrap();
        // A file that was opened for reading refuses every write, as a full disk does.
        let mut full = Segment::over(fs.open_read(&path).unwrap());
        full.end = segment.end;
        full.reserved = segment.reserved;
        assert!(full.append(b"lost").is_err());
        assert_eq!((full.end, full.reserved), (4, 4), "room is asked for again");
        segment.append(b" again").unwrap();
        segment.cut_back();
        assert_eq!(fs.read(&path).unwrap(), b"good again");
    }

    #[test]
    fn room_is_reserved_in_growing_steps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.wal");
        let mut segment = Segment::create(&Fs::real(), &path).unwrap();
        let mut steps = vec![0];
        while segment.end < 16 << 20 {
            segment.append(&[1; 4096]).unwrap();
            if steps.last() != Some(&segment.reserved) {
                steps.push(segment.reserved);
            }
        }
        let kib: Vec<u64> = steps.iter().map(|bytes| bytes >> 10).collect();
        assert_eq!(kib, [0, 64, 256, 1024, 4096, 8192, 12288, 16384]);
    }
}
