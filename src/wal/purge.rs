//! What lies in the folder `wal`, and removing it. The engine decides what may go.

use super::format::{Identity, writer_dir};
use crate::io::{Fs, Result};
use crate::types::{SegmentId, WriterId};
use std::path::Path;

/// A segment file on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentFile {
    /// Whose.
    pub writer: WriterId,
    /// Which of the writer's.
    pub segment: SegmentId,
    /// Length, what is reserved included.
    pub len: u64,
}

/// The writers that have a folder, in order. The first writer of the next start comes after the last of them.
pub fn list_writers(fs: &Fs, wal_dir: &Path) -> Result<Vec<WriterId>> {
    let entries = fs.list(wal_dir)?;
    let folders = entries.iter().filter(|entry| entry.is_dir);
    let mut writers: Vec<_> = folders.filter_map(|f| Some(WriterId(number(&f.name)?))).collect();
    writers.sort_unstable();
    Ok(writers)
}

/// All segments on disk, in order. Other files are left out.
pub fn list_segments(fs: &Fs, wal_dir: &Path) -> Result<Vec<SegmentFile>> {
    let mut found = Vec::new();
    for writer in list_writers(fs, wal_dir)? {
        for entry in fs.list(&writer_dir(wal_dir, writer))? {
            if let Some(segment) = entry.name.strip_suffix(".wal").and_then(number) {
                found.push(SegmentFile { writer, segment: SegmentId(segment), len: entry.len });
            }
        }
    }
    found.sort_unstable_by_key(|file| (file.writer, file.segment));
    Ok(found)
}

/// Removes a segment; one that is not there is no error. That it is gone need not be durable: a segment that
/// comes back is removed again.
pub fn remove_segment(fs: &Fs, wal_dir: &Path, writer: WriterId, segment: SegmentId) -> Result<()> {
    fs.remove(&Identity { uuid: [0; 16], writer, segment }.path(wal_dir))
}

/// Removes the folder of a writer of an earlier start if it is empty.
pub fn remove_writer(fs: &Fs, wal_dir: &Path, writer: WriterId) -> Result<()> {
    let dir = writer_dir(wal_dir, writer);
    if fs.list(&dir)?.is_empty() { fs.remove_dir(&dir) } else { Ok(()) }
}

/// The number in a name that is spelled as we spell it.
fn number(name: &str) -> Option<u32> {
    name.parse().ok().filter(|n: &u32| n.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_finds_segments_by_number_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::real();
        for name in ["10/2.wal", "10/10.wal", "9/0.wal", "9/0.wal.tmp", "txnlog/1.log", "010/1.wal"]
        {
            let path = dir.path().join(name);
            fs.create_dir_all(path.parent().unwrap()).unwrap();
            fs.create(&path).unwrap();
        }
        let found = list_segments(&fs, dir.path()).unwrap();
        let ids: Vec<_> = found.iter().map(|f| (f.writer.0, f.segment.0)).collect();
        assert_eq!(ids, [(9, 0), (10, 2), (10, 10)]);
        remove_segment(&fs, dir.path(), WriterId(9), SegmentId(0)).unwrap();
        remove_writer(&fs, dir.path(), WriterId(9)).unwrap();
        assert_eq!(list_writers(&fs, dir.path()).unwrap(), [WriterId(9), WriterId(10)]);
        remove_segment(&fs, dir.path(), WriterId(10), SegmentId(2)).unwrap();
        assert_eq!(list_segments(&fs, dir.path()).unwrap().len(), 1);
    }
}
