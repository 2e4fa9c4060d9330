//! Why a table does not move on.

use crate::io::IoError;
use crate::storage::StorageError;
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
    /// Our own mistake: an invariant does not hold.
    Internal,
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
    /// True when waiting may help: the work is tried again at every tick. Otherwise the table is suspended until
    /// somebody resumes it.
    pub fn is_transient(self) -> bool {
        match self {
            ErrorTag::DiskFull
            | ErrorTag::TooManyOpenFiles
            | ErrorTag::OutOfMemory
            | ErrorTag::Io => true,
            ErrorTag::CorruptWal | ErrorTag::CorruptPart | ErrorTag::Internal => false,
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
            StorageError::Parquet { .. } => ErrorTag::CorruptPart,
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
