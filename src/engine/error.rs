//! What can go wrong when the engine opens, and while a session takes lines.

use crate::io::IoError;
use crate::wal::WalError;
use std::path::PathBuf;

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process serves this folder.
    #[error("{} is in use by another headwater; stop it, or give this one another --data-dir", .0.display())]
    Locked(PathBuf),
    /// A folder to look at is not there.
    #[error("{} is not there", .0.display())]
    NoDirectory(PathBuf),
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The identity file is damaged, or of a version that this program does not know.
    #[error("{}: {what}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The catalog, or the folder of the tables, cannot be read.
    #[error(transparent)]
    Catalog(#[from] crate::storage::StorageError),
    /// The transaction log cannot be read.
    #[error(transparent)]
    Log(#[from] crate::sequencer::LogError),
    /// A segment cannot be made whole again.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A thread could not be started.
    #[error("start a thread: {0}")]
    Thread(std::io::Error),
}

/// Why a session cannot go on. What was committed before stays committed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// Rows could not be appended to the WAL; they are still pending and a later commit may succeed.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A table of the request is suspended and too much waits for it already.
    #[error("a table of this request is suspended, and too much waits for it already")]
    HeldUp,
}
