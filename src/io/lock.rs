//! One process a data directory.

use super::sim::SimLock;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// An advisory lock on a folder, held until it is dropped or the process ends; see [`super::Fs::lock`].
#[derive(Debug)]
pub struct DirLock {
    _kind: Kind,
}

#[derive(Debug)]
#[allow(dead_code, reason = "held for what dropping it does")]
enum Kind {
    Real(std::fs::File),
    Sim(SimLock),
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
impl DirLock {
    pub(super) fn real(path: &Path) -> io::Result<Option<DirLock>> {
        let file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match rustix::fs::flock(file.as_fd(), rustix::fs::FlockOperation::NonBlockingLockExclusive)
        {
            Ok(()) => Ok(Some(DirLock { _kind: Kind::Real(file) })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    pub(super) fn sim(lock: SimLock) -> DirLock {
        DirLock { _kind: Kind::Sim(lock) }
    }
}
