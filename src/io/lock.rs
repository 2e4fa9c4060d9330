//! One process a data directory.

use super::sim::SimLock;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An advisory lock on a folder, held until it is dropped or the process ends; see [`super::Fs::lock`].
#[derive(Debug)]
pub struct DirLock {
    kind: Kind,
}

#[derive(Debug)]
#[allow(dead_code, reason = "held for what dropping it does")]
enum Kind {
    Real(std::fs::File, PathBuf),
    Sim(SimLock),
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
impl DirLock {
    pub(super) fn real(path: &Path) -> io::Result<Option<DirLock>> {
        let file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match rustix::fs::flock(file.as_fd(), rustix::fs::FlockOperation::NonBlockingLockExclusive)
        {
            Ok(()) => Ok(Some(DirLock { kind: Kind::Real(file, path.to_owned()) })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    pub(super) fn sim(lock: SimLock) -> DirLock {
        DirLock { kind: Kind::Sim(lock) }
    }

    /// True while the folder's name leads to what was locked. What cannot be looked at counts as being there.
    pub fn is_in_place(&self) -> bool {
        let Kind::Real(file, path) = &self.kind else { return true };
        match (file.metadata(), std::fs::metadata(path)) {
            (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
            (_, Err(e)) => e.kind() != io::ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }
}
