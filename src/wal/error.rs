//! What can go wrong with a segment.

use crate::io::IoError;
use std::path::PathBuf;

/// A failed operation on the write-ahead log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// A file operation failed. A writer has cut its segment back to the last good byte and may try again.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The bytes are not what was written. Trying again does not help; what the range held is lost.
    #[error("segment {} is damaged at bytes {offset} to {end}: {what}; `headwater check --repair` offers the way on", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The first byte in doubt.
        offset: u64,
        /// The byte after the last one in doubt.
        end: u64,
        /// What does not hold.
        what: &'static str,
    },
    /// A newer release wrote the segment.
    #[error("segment {} has format version {found}, this release reads up to {newest}: it was written by a newer headwater, or is damaged; use a newer release, or restore a backup", path.display())]
    FutureVersion {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The newest version that this release knows.
        newest: u16,
    },
    /// The file is whole, but is the segment of another server, writer or place.
    #[error("{} is another segment than its name says: it was moved or copied here", path.display())]
    Misplaced {
        /// The file.
        path: PathBuf,
    },
}

impl WalError {
    /// True when the operation may be tried again: see [`IoError::is_temporary`].
    pub fn is_temporary(&self) -> bool {
        matches!(self, WalError::Io(error) if error.is_temporary())
    }

    /// True when the file is there and could not be read, by this release at least, which says nothing of what it holds.
    pub fn is_unread(&self) -> bool {
        match self {
            WalError::Io(error) => !error.is_not_found(),
            WalError::FutureVersion { .. } => true,
            WalError::Damaged { .. } | WalError::Misplaced { .. } => false,
        }
    }

    /// True when the segment's file is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, WalError::Io(error) if error.is_not_found())
    }
}
