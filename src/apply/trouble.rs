//! Why a table does not move on.

use crate::io::IoError;
use crate::storage::StorageError;
use crate::types::SeqTxn;
use crate::wal::WalError;
use std::fmt;

/// What kind of trouble a table is in, in the words of `wal_tables()`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorTag {
    /// The disk or the quota is full.
    DiskFull,
    /// No more files may be open.
    TooManyOpenFiles,
    /// No more memory, or no more maps.
    OutOfMemory,
    /// Another file operation failed.
    Io,
    /// A frame is not what was written, or its segment is gone.
    CorruptWal,
    /// A part is not what was written.
    CorruptPart,
    /// Somebody asked for it.
    OnRequest,
    /// Our own mistake: an invariant does not hold.
    Internal,
}

/// Why a table is not resumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// Nothing is skipped of a table that goes on by itself.
    #[error("the table is not suspended")]
    NotSuspended,
    /// The table's state is in doubt after our own mistake: only a start reads it anew.
    #[error("an internal error stopped the table; it goes on after the next start")]
    InDoubt,
    /// Only transactions that are committed and not visible can be skipped.
    #[error("the next transaction must be one of {first} to {last}")]
    OutOfRange {
        /// The first that is not visible.
        first: SeqTxn,
        /// The one after the last committed.
        last: SeqTxn,
    },
}

/// A failure that keeps a table's rows from being visible or flushed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// What kind.
    pub tag: ErrorTag,
    /// What happened, with path and place.
    pub message: String,
}

impl ErrorTag {
    /// True when waiting may help: the work is tried again after a pause. Otherwise the table is suspended until
    /// somebody resumes it.
    pub fn is_transient(self) -> bool {
        match self {
            ErrorTag::DiskFull
            | ErrorTag::TooManyOpenFiles
            | ErrorTag::OutOfMemory
            | ErrorTag::Io => true,
            ErrorTag::CorruptWal
            | ErrorTag::CorruptPart
            | ErrorTag::OnRequest
            | ErrorTag::Internal => false,
        }
    }

    fn of_io(error: &IoError) -> ErrorTag {
        use rustix::io::Errno;
        match error.source.raw_os_error().map(Errno::from_raw_os_error) {
            _ if error.is_no_space() => ErrorTag::DiskFull,
            Some(Errno::MFILE | Errno::NFILE) => ErrorTag::TooManyOpenFiles,
            Some(Errno::NOMEM) => ErrorTag::OutOfMemory,
            _ => ErrorTag::Io,
        }
    }
}

impl fmt::Display for ErrorTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorTag::DiskFull => "DISK FULL",
            ErrorTag::TooManyOpenFiles => "TOO MANY OPEN FILES",
            ErrorTag::OutOfMemory => "OUT OF MEMORY",
            ErrorTag::Io => "IO ERROR",
            ErrorTag::CorruptWal => "CORRUPT WAL",
            ErrorTag::CorruptPart => "CORRUPT PART",
            ErrorTag::OnRequest => "ON REQUEST",
            ErrorTag::Internal => "INTERNAL ERROR",
        })
    }
}

impl From<&WalError> for Trouble {
    fn from(error: &WalError) -> Trouble {
        let tag = match error {
            WalError::Io(io) if !io.is_not_found() => ErrorTag::of_io(io),
            _ => ErrorTag::CorruptWal,
        };
        Trouble { tag, message: error.to_string() }
    }
}

impl From<&StorageError> for Trouble {
    fn from(error: &StorageError) -> Trouble {
        let tag = match error {
            StorageError::Io(io) => ErrorTag::of_io(io),
            StorageError::Parquet { .. } | StorageError::DamagedPart { .. } => {
                ErrorTag::CorruptPart
            }
            _ => ErrorTag::Internal,
        };
        Trouble { tag, message: error.to_string() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.tag, self.message)
    }
}
