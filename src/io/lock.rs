//! One process a data directory.

use super::{IoError, Operation, Result};
use std::os::fd::AsFd;
use std::path::Path;

/// An advisory lock on a folder, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: std::fs::File,
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
impl DirLock {
    /// Takes the lock of `dir`, or returns `None` when another process holds it.
    pub fn take(dir: &Path) -> Result<Option<DirLock>> {
        let path = dir.join("lock");
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| IoError::new(Operation::Lock, &path, e))?;
        match rustix::fs::flock(file.as_fd(), rustix::fs::FlockOperation::NonBlockingLockExclusive)
        {
            Ok(()) => Ok(Some(DirLock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(IoError::new(Operation::Lock, &path, e.into())),
        }
    }
}
