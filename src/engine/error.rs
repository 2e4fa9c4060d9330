//! What can go wrong when the engine opens, and while a session takes lines.

use crate::io::IoError;
use crate::sequencer::LogError;
use crate::storage::StorageError;
use crate::types::SeqTxn;
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
    /// The identity file is damaged.
    #[error("{} is damaged: {what}; `headwater check --repair` offers the way on", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The identity file was written by a newer release.
    #[error("{} has format version {version}, this release reads up to {newest}: it was written by a newer headwater, or is damaged; use a newer release, or restore a backup", path.display())]
    FutureIdentity {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u16,
        /// The newest version that this release reads.
        newest: u16,
    },
    /// Files are there that were never made before this one.
    #[error("{} is missing, though files are there that come after it; `headwater check --repair` offers the way on", .0.display())]
    Missing(PathBuf),
    /// Transactions of a table are nowhere.
    #[error("transactions {from} to {to} of table {table:?} are neither in parts nor in the WAL: a file of {} has been lost; `headwater check --repair` offers the way on", dir.display())]
    Gap {
        /// Whose they are.
        table: String,
        /// The first of them.
        from: SeqTxn,
        /// The last of them.
        to: SeqTxn,
        /// Where they were last.
        dir: PathBuf,
    },
    /// A folder has the name of a file.
    #[error("{} is a folder, and must be a file; `headwater check --repair` offers the way on", .0.display())]
    NotAFile(PathBuf),
    /// The catalog, or the folder of the tables, cannot be read.
    #[error(transparent)]
    Catalog(#[from] StorageError),
    /// The transaction log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A segment cannot be made whole again.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A thread could not be started.
    #[error("start a thread: {0}")]
    Thread(std::io::Error),
}

impl OpenError {
    /// The file operation that failed, if it was one.
    pub fn io(&self) -> Option<&IoError> {
        match self {
            OpenError::Io(error)
            | OpenError::Log(LogError::Io(error))
            | OpenError::Wal(WalError::Io(error)) => Some(error),
            OpenError::Catalog(StorageError::Io(error)) => Some(error),
            _ => None,
        }
    }
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
