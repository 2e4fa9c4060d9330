//! Why a server does not start: one line, which says what to do.

use crate::config::ConfigError;
use crate::engine::OpenError;
use std::io;

/// Why a server does not start. All of them end the process with code 2.
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
