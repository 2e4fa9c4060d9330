//! What can be wrong with the transaction log.

use crate::io::IoError;
use std::path::PathBuf;

/// Why the transaction log cannot be read or written. Nothing has been changed on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A file operation failed. Whether to try again depends on the operation: see [`IoError`].
    #[error(transparent)]
    Io(#[from] IoError),
    /// Bytes that were once acknowledged do not verify. Not to be tried again: the log must be repaired or restored.
    #[error("transaction log {} is damaged in bytes {from}..{to}: {what}; `headwater check --repair` offers the way on", path.display())]
    Damaged {
        /// The chunk.
        path: PathBuf,
        /// First byte in doubt.
        from: u64,
        /// First byte that is not in doubt any more.
        to: u64,
        /// What does not hold.
        what: &'static str,
    },
    /// The chunk was written by a newer release.
    #[error("transaction log {} has format version {version}, this release reads up to {newest}: it was written by a newer headwater, or is damaged; use a newer release, or restore a backup", path.display())]
    FutureVersion {
        /// The chunk.
        path: PathBuf,
        /// Its version.
        version: u16,
        /// The newest version that this release reads.
        newest: u16,
    },
    /// A chunk in the middle is not there.
    #[error("transaction log chunk {} is missing, though later ones are there; `headwater check --repair` offers the way on", path.display())]
    MissingChunk {
        /// Where it should be.
        path: PathBuf,
    },
    /// A chunk belongs to another server or to an older life of this one.
    #[error("transaction log {} does not belong to the chunks before it: {what}; `headwater check --repair` offers the way on", path.display())]
    Foreign {
        /// The chunk.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// The system refuses another thread.
    #[error("start the sequencer's thread: {source}")]
    Thread {
        /// What it said.
        source: std::io::Error,
    },
}
