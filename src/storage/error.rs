//! What can go wrong in storage. Nothing here is caused by a row: rows were checked before they were acknowledged.

use crate::io::IoError;
use crate::types::{ColumnId, SeqTxn, TableId};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A failure of storage. Cheap to clone: one failed group commit is told to all who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A file operation failed. May be tried again when [`IoError::is_no_space`]; nothing was published.
    #[error(transparent)]
    Io(Arc<IoError>),
    /// A part could not be encoded or decoded. Trying again gives the same.
    #[error("part {}: {source}", path.display())]
    Parquet {
        /// The part.
        path: PathBuf,
        /// What the Parquet library said.
        source: Arc<parquet::errors::ParquetError>,
    },
    /// A part's file differs from its checksum in the catalog. Its rows cannot be trusted; the table must be suspended.
    #[error("part {} is damaged: its length or checksum differs from the catalog's", path.display())]
    DamagedPart {
        /// The part.
        path: PathBuf,
    },
    /// A catalog file holds bytes that were not written there. Nothing is skipped: the start must be refused.
    #[error("catalog {} is damaged at bytes {from}..{to}: {fault}; `headwater check --repair` offers the way on", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first byte in doubt.
        from: u64,
        /// The byte after the last one in doubt.
        to: u64,
        /// What does not fit.
        fault: &'static str,
    },
    /// A catalog file was written by a later version of this program.
    #[error("catalog {} has format version {version}, this release reads up to {}: it was written by a newer headwater, or is damaged; use a newer release, or restore a backup", path.display(), super::catalog::VERSION)]
    Future {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// A catalog file belongs to another server's data directory.
    #[error("catalog {} belongs to another data directory; `headwater check --repair` offers the way on", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The catalog does not take an edit, because what it builds on is gone or there already. Nothing of the commit
    /// was published.
    #[error("the catalog refuses an edit of table {table}: {refusal}")]
    Refused {
        /// Which table.
        table: TableId,
        /// Why.
        refusal: Refusal,
    },
    /// A long piece of work was asked to stop. Nothing was published.
    #[error("stopped on request")]
    Stopped,
}

/// Why the catalog does not take an edit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such table, or no longer.
    #[error("there is no such table")]
    NoTable,
    /// There is, or was, a table with this id.
    #[error("the table exists or existed")]
    TableExists,
    /// The table's next column id would go back, or its partitions would get another width.
    #[error("the definition is not a later one: the next column is {sent}, not {held}")]
    ShapeBackwards {
        /// What the catalog holds.
        held: ColumnId,
        /// What the edit says.
        sent: ColumnId,
    },
    /// A part that should be removed is not there.
    #[error("part {0} is not there")]
    NoPart(Arc<str>),
    /// A part that should be added is there.
    #[error("part {0} exists")]
    PartExists(Arc<str>),
    /// The flushed transaction would go back.
    #[error("flushed_txn cannot go from {held} to {sent}")]
    FlushedBackwards {
        /// What the catalog holds.
        held: SeqTxn,
        /// What the edit says.
        sent: SeqTxn,
    },
}

impl StorageError {
    /// True when the disk or the quota is full: room may come back.
    pub fn is_no_space(&self) -> bool {
        matches!(self, StorageError::Io(error) if error.is_no_space())
    }

    pub(super) fn parquet(path: &Path, source: parquet::errors::ParquetError) -> StorageError {
        StorageError::Parquet { path: path.to_owned(), source: Arc::new(source) }
    }
}

impl From<IoError> for StorageError {
    fn from(error: IoError) -> StorageError {
        StorageError::Io(Arc::new(error))
    }
}
