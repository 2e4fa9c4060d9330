//! Bytes: one open file.

use super::sim::SimFile;
use super::{IoError, Map, Operation, Result};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An open file. Reads and writes name their offset, so that no cursor is shared.
#[derive(Debug)]
pub struct File {
    kind: Kind,
    path: PathBuf,
}

#[derive(Debug)]
enum Kind {
    Real(std::fs::File),
    Sim(SimFile),
}

impl File {
    pub(super) fn real(file: std::fs::File, path: &Path) -> File {
        File { kind: Kind::Real(file), path: path.to_owned() }
    }

    pub(super) fn sim(file: SimFile, path: &Path) -> File {
        File { kind: Kind::Sim(file), path: path.to_owned() }
    }

    pub(super) fn renamed(self, path: &Path) -> File {
        File { path: path.to_owned(), ..self }
    }

    /// Where the file was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes.
    pub fn len(&self) -> Result<u64> {
        let len = match &self.kind {
            Kind::Real(file) => file.metadata().map(|meta| meta.len()),
            Kind::Sim(file) => file.len(),
        };
        len.map_err(|e| self.fail(Operation::Measure, e))
    }

    /// True when the file has no bytes.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Writes all of `bytes` at `offset`. After an error any prefix may have been written.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let written = match &self.kind {
            Kind::Real(file) => file.write_all_at(bytes, offset),
            Kind::Sim(file) => file.write_all_at(bytes, offset),
        };
        written.map_err(|e| self.fail(Operation::Write, e))
    }

    /// Fills `bytes` from `offset`; a file that ends before is an error.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let read = match &self.kind {
            Kind::Real(file) => file.read_exact_at(bytes, offset),
            Kind::Sim(file) => file.read_exact_at(bytes, offset),
        };
        read.map_err(|e| self.fail(Operation::Read, e))
    }

    /// Reserves room for `[offset, offset + len)` and lengthens the file over it; new bytes are zero. On a file system
    /// that cannot reserve this does nothing.
    pub fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        let reserved = match &self.kind {
            Kind::Real(file) => match fallocate(file, FallocateFlags::empty(), offset, len) {
                Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
                other => other.map_err(Into::into),
            },
            Kind::Sim(file) => file.allocate(offset, len),
        };
        reserved.map_err(|e| self.fail(Operation::Allocate, e))
    }

    /// Cuts or lengthens the file to `len` bytes.
    pub fn set_len(&self, len: u64) -> Result<()> {
        let set = match &self.kind {
            Kind::Real(file) => file.set_len(len),
            Kind::Sim(file) => file.set_len(len),
        };
        set.map_err(|e| self.fail(Operation::Truncate, e))
    }

    /// Makes bytes and length durable. Never call it again after an error: see [`super::abort_on_failed_sync`].
    pub fn sync_data(&self) -> Result<()> {
        let synced = match &self.kind {
            Kind::Real(file) => file.sync_data(),
            Kind::Sim(file) => file.sync_data(),
        };
        synced.map_err(|e| self.fail(Operation::Sync, e))
    }

    /// Lets go of what the kernel remembers of the file, so that what is read next comes from the device: after a failed
    /// sync of an earlier life, the two may differ. Bytes that still wait for the device are kept; sync before.
    pub fn forget_cached(&self) -> Result<()> {
        let forgotten = match &self.kind {
            Kind::Real(file) => {
                rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).map_err(Into::into)
            }
            Kind::Sim(file) => file.forget_cached(),
        };
        forgotten.map_err(|e| self.fail(Operation::Read, e))
    }

    /// Maps the first `len` bytes for reading. The map may be longer than the file; bytes past the file's end must not
    /// be touched.
    pub fn map(&self, len: u64) -> Result<Map> {
        let map = match &self.kind {
            Kind::Real(file) => Map::real(file, len),
            Kind::Sim(file) => file.map(|file| Map::real(file, len)),
        };
        map.map_err(|e| self.fail(Operation::Map, e))
    }

    /// Has a range of a map of this file brought in before it is touched: what the device cannot read is an error here and names the
    /// bytes; to touch it ends the process with SIGBUS. Nothing keeps the pages from leaving memory again before they are touched.
    ///
    /// The range must be within both the map and the file, and small: it may be copied once.
    pub fn fetch(&self, map: &Map, range: Range<u64>) -> Result<()> {
        let len = usize::try_from(range.end.saturating_sub(range.start));
        let (len, start) = (len.unwrap_or(usize::MAX), usize::try_from(range.start));
        let fetched = match &self.kind {
            Kind::Real(file) => map.populate(start.unwrap_or(usize::MAX), len).or_else(|_| {
                // Kernels before 5.14 cannot be asked this way, and later ones do not say what the device said.
                file.read_exact_at(&mut vec![0; len], range.start)
            }),
            Kind::Sim(file) => file.fetch(&range),
        };
        fetched.map_err(|e| self.fail(Operation::Read, with_place(e, &range)))
    }

    fn fail(&self, operation: Operation, source: std::io::Error) -> IoError {
        let error = IoError::new(operation, &self.path, source);
        match &self.kind {
            Kind::Real(_) => error,
            Kind::Sim(file) => error.of_sim(file.fs()),
        }
    }
}

/// An error with the bytes that it is about, unless its number says what may be done about it.
fn with_place(error: std::io::Error, range: &Range<u64>) -> std::io::Error {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        None | Some(Errno::IO) => {
            let Range { start, end } = range;
            std::io::Error::new(error.kind(), format!("bytes {start} to {end}: {error}"))
        }
        Some(_) => error,
    }
}
