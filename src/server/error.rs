//! Why a server does not start: one line, which says what to do.

use crate::config::ConfigError;
use crate::engine::OpenError;
use crate::io::{EXIT_SYNC_FAILED, IoError, Operation};
use std::io;

/// Why a server does not start. All of them end the process with code 2, but for a failed sync.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error("cannot listen on {addr}: {}; choose another address with --{}", explain(source), key.replace('.', "-"))]
    Bind {
        /// The setting.
        key: &'static str,
        /// Its value.
        addr: String,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system gives no threads, no signals, or no metrics recorder.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl StartError {
    /// What a process that ends with it says of itself. A failed sync is told apart, since a supervisor that starts the process again
    /// should not do so before somebody has looked at the device.
    pub fn exit_code(&self) -> u8 {
        if self.is_failed_sync() { EXIT_SYNC_FAILED as u8 } else { EXIT_NOT_STARTED }
    }

    /// What to do about it, where the message does not say so.
    pub fn way_on(&self) -> &'static str {
        match self {
            _ if self.is_failed_sync() => {
                "; check the device, then start again: recovery reads what the device holds"
            }
            StartError::Open(error) if error.io().is_some_and(IoError::is_no_space) => {
                "; make room there, then start again: nothing is lost"
            }
            _ => "",
        }
    }

    fn is_failed_sync(&self) -> bool {
        matches!(self, StartError::Open(error)
            if error.io().is_some_and(|error| error.operation == Operation::Sync))
    }
}

/// As a shell reports a command that was used wrongly.
const EXIT_NOT_STARTED: u8 = 2;

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "not permitted (ports below 1024 need a privilege)".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "the address is not one of this machine".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{Fault, FaultKind, SimDisk};
    use std::path::Path;

    #[test]
    fn a_start_that_fails_says_by_its_code_whether_a_sync_did_and_by_its_message_what_to_do() {
        let refused = |kind, act: fn(&crate::io::Fs) -> crate::io::Result<()>| {
            let disk = SimDisk::new(1);
            disk.plan(&[Fault { kind, nth: 1, persistent: true }]);
            StartError::from(OpenError::from(act(&disk.fs()).expect_err("a fault")))
        };
        let failed_sync = refused(FaultKind::Sync, |fs| fs.sync_dir(Path::new("/")));
        assert_eq!(failed_sync.exit_code(), 74);
        assert!(failed_sync.way_on().contains("check the device"));
        let no_room = refused(FaultKind::NoSpace, |fs| fs.create(Path::new("/f")).map(drop));
        assert_eq!(no_room.exit_code(), 2);
        assert!(no_room.way_on().contains("make room"));
        let other = refused(FaultKind::NoDescriptors, |fs| fs.create(Path::new("/f")).map(drop));
        assert_eq!((other.exit_code(), other.way_on()), (2, ""));
    }
}
