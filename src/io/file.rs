//! Bytes: one open file.

use super::{IoError, Map, Operation, Result};
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
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
impl File {
    pub(super) fn real(file: std::fs::File, path: &Path) -> File {
        File { kind: Kind::Real(file), path: path.to_owned() }
    }

    /// Where the file was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes.
    pub fn len(&self) -> Result<u64> {
        let Kind::Real(file) = &self.kind;
        Ok(file.metadata().map_err(|e| self.fail(Operation::Measure, e))?.len())
    }

    /// True when the file has no bytes.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Writes all of `bytes` at `offset`. After an error any prefix may have been written.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let Kind::Real(file) = &self.kind;
        file.write_all_at(bytes, offset).map_err(|e| self.fail(Operation::Write, e))
    }

    /// Fills `bytes` from `offset`; a file that ends before is an error.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let Kind::Real(file) = &self.kind;
        file.read_exact_at(bytes, offset).map_err(|e| self.fail(Operation::Read, e))
    }

    /// Reserves room for `[offset, offset + len)` and lengthens the file over it; new bytes are zero. On a file system
    /// that cannot reserve this does nothing.
    pub fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        let Kind::Real(file) = &self.kind;
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), offset, len) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(self.fail(Operation::Allocate, e.into())),
        }
    }

    /// Cuts or lengthens the file to `len` bytes.
    pub fn set_len(&self, len: u64) -> Result<()> {
        let Kind::Real(file) = &self.kind;
        file.set_len(len).map_err(|e| self.fail(Operation::Truncate, e))
    }

    /// Makes bytes and length durable. Never call it again after an error: see [`super::abort_on_failed_sync`].
    pub fn sync_data(&self) -> Result<()> {
        let Kind::Real(file) = &self.kind;
        file.sync_data().map_err(|e| self.fail(Operation::Sync, e))
    }

    /// Maps the first `len` bytes for reading. The map may be longer than the file; bytes past the file's end must not
    /// be touched.
    pub fn map(&self, len: u64) -> Result<Map> {
        let Kind::Real(file) = &self.kind;
        Map::real(file, len).map_err(|e| self.fail(Operation::Map, e))
    }

    fn fail(&self, operation: Operation, source: std::io::Error) -> IoError {
        IoError::new(operation, &self.path, source)
    }
}
