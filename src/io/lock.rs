//! One process a data directory.

use super::sim::SimLock;
use rustix::fs::FlockOperation;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whoever holds the lock may be on the way out: a killed process that the kernel still takes apart, or a child between fork and
/// exec, which shares every lock of its parent for a moment.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// An advisory lock on a folder, held until it is dropped or the process ends; see [`super::Fs::lock`].
#[derive(Debug)]
pub struct DirLock {
    kind: Kind,
}

#[derive(Debug)]
#[allow(dead_code, reason = "held for what dropping it does")]
enum Kind {
    Real(std::fs::File, PathBuf),
    /// Of a folder that nobody ever locked.
    NotThere,
    Sim(SimLock),
}

impl DirLock {
    pub(super) fn real(path: &Path) -> io::Result<Option<DirLock>> {
        let file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        DirLock::take(file, path, FlockOperation::NonBlockingLockExclusive)
    }

    pub(super) fn real_shared(path: &Path) -> io::Result<Option<DirLock>> {
        match std::fs::File::open(path) {
            Ok(file) => DirLock::take(file, path, FlockOperation::NonBlockingLockShared),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Ok(Some(DirLock { kind: Kind::NotThere }))
            }
            Err(e) => Err(e),
        }
    }

    fn take(
        file: std::fs::File,
        path: &Path,
        operation: FlockOperation,
    ) -> io::Result<Option<DirLock>> {
        for _ in 0..TRIES {
            match rustix::fs::flock(file.as_fd(), operation) {
                Ok(()) => return Ok(Some(DirLock { kind: Kind::Real(file, path.to_owned()) })),
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_to_be_read_without_a_write_by_many_and_by_none_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(DirLock::real_shared(&path).unwrap().is_some());
        assert!(!path.exists(), "nothing was created");
        // Nobody, root neither, may open the file of a running program for writing.
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &path).unwrap();
        assert!(DirLock::real(&path).is_err());
        assert!(DirLock::real_shared(&path).unwrap().is_some());
        std::fs::remove_file(&path).unwrap();
        let held = DirLock::real(&path).unwrap();
        assert!(held.is_some() && DirLock::real_shared(&path).unwrap().is_none());
        drop(held);
        let readers = [(); 2].map(|()| DirLock::real_shared(&path).unwrap());
        assert!(readers.iter().all(Option::is_some) && DirLock::real(&path).unwrap().is_none());
    }

    #[test]
    fn a_lock_is_had_once_and_waited_for_while_its_holder_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = DirLock::real(&path).unwrap();
        assert!(held.is_some());
        assert!(DirLock::real(&path).unwrap().is_none());
        std::thread::scope(|scope| {
            let next = scope.spawn(|| DirLock::real(&path).unwrap().is_some());
            drop(held);
            assert!(next.join().unwrap());
        });
    }
}
