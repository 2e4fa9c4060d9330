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
    /// Somebody asked for it: the tag is what they gave as the reason, and nothing is tried again.
    pub is_requested: bool,
    /// Waiting may help, and others may do well meanwhile: a file of this table cannot be read or written. The disk, its file system,
    /// descriptors, memory and the catalog belong to all.
    pub is_own: bool,
}

impl Trouble {
    /// Something that happened.
    pub(super) fn new(tag: ErrorTag, message: String) -> Trouble {
        Trouble { tag, message, is_requested: false, is_own: false }
    }

    /// What keeps the catalog from taking a commit.
    pub(super) fn of_catalog(error: &StorageError) -> Trouble {
        Trouble { is_own: false, ..Trouble::from(error) }
    }

    /// True while the table stands still and others may go on: it is suspended, or stuck.
    pub(super) fn is_standstill(&self) -> bool {
        self.is_own || !self.is_transient()
    }

    /// True when our own mistake leaves the table's state in doubt.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.tag == ErrorTag::Internal && !self.is_requested
    }

    /// True when waiting may help: see [`ErrorTag::is_transient`].
    pub fn is_transient(&self) -> bool {
        self.tag.is_transient() && !self.is_requested
    }
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

    /// The tag of this name, or of this error number of the operating system.
    pub fn named(name: &str) -> Option<ErrorTag> {
        use rustix::io::Errno;
        if let Ok(code) = name.parse() {
            return Some(ErrorTag::of_code(Errno::from_raw_os_error(code)));
        }
        let known = |tag: &ErrorTag| tag.to_string().eq_ignore_ascii_case(name);
        ALL.into_iter().find(known)
    }

    fn of_code(code: rustix::io::Errno) -> ErrorTag {
        use rustix::io::Errno;
        match code {
            Errno::NOSPC | Errno::DQUOT => ErrorTag::DiskFull,
            Errno::MFILE | Errno::NFILE => ErrorTag::TooManyOpenFiles,
            Errno::NOMEM => ErrorTag::OutOfMemory,
            _ => ErrorTag::Io,
        }
    }

    fn of_io(error: &IoError) -> ErrorTag {
        let code = error.source.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
        match code {
            _ if error.is_no_space() => ErrorTag::DiskFull,
            Some(code) => ErrorTag::of_code(code),
            None => ErrorTag::Io,
        }
    }
}

const ALL: [ErrorTag; 8] = [
    ErrorTag::DiskFull,
    ErrorTag::TooManyOpenFiles,
    ErrorTag::OutOfMemory,
    ErrorTag::Io,
    ErrorTag::CorruptWal,
    ErrorTag::CorruptPart,
    ErrorTag::OnRequest,
    ErrorTag::Internal,
];

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
        let (tag, is_own) = match error {
            WalError::Io(io) if !io.is_not_found() => (ErrorTag::of_io(io), !io.is_temporary()),
            _ => (ErrorTag::CorruptWal, false),
        };
        Trouble { is_own, ..Trouble::new(tag, error.to_string()) }
    }
}

impl From<&StorageError> for Trouble {
    fn from(error: &StorageError) -> Trouble {
        let (tag, is_own) = match error {
            StorageError::Io(io) => (ErrorTag::of_io(io), !io.is_temporary()),
            StorageError::Parquet { .. } | StorageError::DamagedPart { .. } => {
                (ErrorTag::CorruptPart, false)
            }
            _ => (ErrorTag::Internal, false),
        };
        Trouble { is_own, ..Trouble::new(tag, error.to_string()) }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.tag, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_by_its_name_and_by_error_numbers() {
        for tag in ALL {
            assert_eq!(ErrorTag::named(&tag.to_string().to_lowercase()), Some(tag));
        }
        let by_number = ["28", "24", "23", "12", "5"].map(ErrorTag::named);
        use ErrorTag::{DiskFull, Io, OutOfMemory, TooManyOpenFiles};
        let expect = [DiskFull, TooManyOpenFiles, TooManyOpenFiles, OutOfMemory, Io].map(Some);
        assert_eq!(by_number, expect);
        assert_eq!(ErrorTag::named("SOMETHING"), None);
    }
}
