//! What went wrong with which file, and the one error that ends the process.

use super::sim::SimFs;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What was being done when an operation failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Creating a file or a folder.
    Create,
    /// Opening a file or a folder.
    Open,
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Reserving space.
    Allocate,
    /// Changing a file's length.
    Truncate,
    /// Making bytes or names durable.
    Sync,
    /// Renaming a file.
    Rename,
    /// Removing a file or a folder.
    Remove,
    /// Listing a folder.
    List,
    /// Mapping a file into memory.
    Map,
    /// Taking the lock of a folder.
    Lock,
    /// Asking how large something is or how much room is left.
    Measure,
}

/// A failed file operation.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {source}", path.display())]
pub struct IoError {
    /// What was being done.
    pub operation: Operation,
    /// To which file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
    /// The simulated file system that said so.
    sim: Option<SimFs>,
}

impl IoError {
    pub(super) fn new(operation: Operation, path: &Path, source: std::io::Error) -> IoError {
        IoError { operation, path: path.to_owned(), source, sim: None }
    }

    pub(super) fn of_sim(self, fs: &SimFs) -> IoError {
        IoError { sim: Some(fs.clone()), ..self }
    }

    /// What a full disk says.
    pub(crate) fn no_space(operation: Operation, path: &Path) -> IoError {
        IoError::new(operation, path, rustix::io::Errno::NOSPC.into())
    }

    /// True when the disk or the quota is full: room may come back, so the operation may be tried again.
    pub fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    }

    /// True when the operation may succeed later by itself, or once somebody has made room, closed files or made the disk
    /// writable again: nothing is broken.
    pub fn is_temporary(&self) -> bool {
        use rustix::io::Errno;
        let errno = self.source.raw_os_error().map(Errno::from_raw_os_error);
        self.is_no_space()
            || matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::ROFS))
    }

    /// True when the file or folder is not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == ErrorKind::NotFound
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Create => "create",
            Operation::Open => "open",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Allocate => "reserve space in",
            Operation::Truncate => "set the length of",
            Operation::Sync => "sync",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::List => "list",
            Operation::Map => "map",
            Operation::Lock => "lock",
            Operation::Measure => "measure",
        })
    }
}

/// Ends the process after a failed sync.
///
/// After a failed sync the page cache may show bytes that the device does not hold, and a second sync may
/// succeed without writing them. Nothing that was in doubt has been acknowledged; a fresh start
/// reads what the device has. In a simulation it is the simulated process that ends.
///
/// The process ends with [`EXIT_SYNC_FAILED`]; the kernel resets every connection on which a FIN would be a promise.
pub fn abort_on_failed_sync(error: &IoError) -> ! {
    if let Some(fs) = &error.sim {
        fs.abort();
    }
    tracing::error!(%error, "a sync failed, so what it covered is in doubt; stopping without acknowledging it. \
        Check the device, then start again: recovery reads what the device holds");
    end(EXIT_SYNC_FAILED)
}

/// Ends the process when what failed was a sync: nobody knows then what the device holds.
pub fn synced<T>(result: super::Result<T>) -> super::Result<T> {
    if let Err(error) = &result
        && error.operation == Operation::Sync
    {
        abort_on_failed_sync(error);
    }
    result
}

/// Ends the process when the data directory is no longer the one that was locked: what is written from here on would be lost, or
/// go between the files of somebody else.
pub fn abort_on_lost_directory(dir: &Path) -> ! {
    tracing::error!(dir = %dir.display(), "the data directory was removed or replaced while in use; stopping. \
        What was acknowledged is where that folder went: put it back, then start again");
    end(EXIT_DIRECTORY_LOST)
}

/// Held by a thread that the process cannot do without: ends the process when the thread panics, as a kill would. A start then
/// goes on from the files, where a process without that thread would take rows that it never acknowledges.
#[derive(Debug)]
pub struct EndOnPanic(());

impl EndOnPanic {
    /// None in a simulation, whose threads end by panics.
    pub fn unless(is_simulated: bool) -> Option<EndOnPanic> {
        (!is_simulated).then_some(EndOnPanic(()))
    }
}

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "a thread that everything depends on has panicked; stopping. \
                Start again: what was acknowledged is in the data directory. Please report what it said above"
            );
            end(EXIT_PANICKED)
        }
    }
}

/// Exit status after a broken invariant: the "internal software error" of sysexits.
pub const EXIT_PANICKED: i32 = 70;
/// Exit status after a failed sync: the "input/output error" of sysexits.
pub const EXIT_SYNC_FAILED: i32 = 74;
/// Exit status when the data directory went away: the "cannot open input" of sysexits.
pub const EXIT_DIRECTORY_LOST: i32 = 66;

#[allow(clippy::disallowed_methods, reason = "the one place that ends the process on purpose")]
fn end(status: i32) -> ! {
    std::process::exit(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_panic_of_a_thread_that_everything_depends_on_ends_the_process() {
        const IN_CHILD: &str = "ENDS_ON_PANIC";
        if std::env::var_os(IN_CHILD).is_some() {
            let panics = || {
                let _ends = EndOnPanic::unless(false);
                panic!("as the test wants");
            };
            drop(std::thread::spawn(panics).join());
            return;
        }
        let name = std::thread::current().name().expect("a test's thread has its name").to_owned();
        let itself = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(itself);
        let output = child.args(["--exact", &name]).env(IN_CHILD, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(EXIT_PANICKED));
    }

    #[test]
    fn what_may_pass_is_told_from_what_is_broken() {
        for (errno, is_temporary) in [
            (Errno::NOSPC, true),
            (Errno::DQUOT, true),
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOMEM, true),
            (Errno::ROFS, true),
            (Errno::IO, false),
            (Errno::NOENT, false),
            (Errno::ACCESS, false),
        ] {
            let error = IoError::new(Operation::Write, Path::new("f"), errno.into());
            assert_eq!(error.is_temporary(), is_temporary, "{errno}");
        }
    }
}
