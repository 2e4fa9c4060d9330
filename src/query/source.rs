//! What queries need from the server around them: names, snapshots, progress, and the commands.

use crate::storage::Snapshot;
use crate::types::{SeqTxn, TableId};
use std::pin::Pin;
use std::sync::Arc;

/// The database of what the server says of itself. No line is taken for it.
pub const SYSTEM_DATABASE: &str = "system";

/// A future of a [`Source`].
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where tables come from. Every answer is of the moment it is given.
pub trait Source: Send + Sync + 'static {
    /// The names of the databases, the default one among them even when it has no table.
    fn databases(&self) -> Vec<String>;

    /// The names of a database's tables; none for a database that does not exist.
    fn tables(&self, database: &str) -> Vec<String>;

    /// What a table holds now.
    fn snapshot(&self, database: &str, table: &str) -> Option<Arc<Snapshot>>;

    /// How far each table of each database is.
    fn table_status(&self) -> Vec<TableStatus>;

    /// Refused lines that are still kept, oldest first.
    fn rejected_lines(&self) -> Vec<Arc<RejectedLine>>;

    /// Carries out a command; returns when it is done.
    fn execute<'a>(
        &'a self,
        database: &'a str,
        command: Command,
    ) -> Pending<'a, Result<(), CommandError>>;
}

/// How far one table is: a row of `wal_tables()`.
///
/// `flushed_txn <= applied_txn <= seq_txn`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableStatus {
    /// Which table.
    pub id: TableId,
    /// The database it is in.
    pub database: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The last transaction committed.
    pub seq_txn: SeqTxn,
    /// The last transaction that queries see.
    pub applied_txn: SeqTxn,
    /// The last transaction in synced Parquet.
    pub flushed_txn: SeqTxn,
    /// Rows committed and not yet visible.
    pub lag_rows: u64,
    /// Why it is not applied any further, if it is not.
    pub suspended: Option<Suspension>,
    /// 0 when memory is no concern, 1 when its tails are flushed early, 2 when connections wait for that.
    pub memory_pressure: u8,
}

/// A line that was refused: a row of `system.rejected_lines`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RejectedLine {
    /// When, nanoseconds since 1970.
    pub time: i64,
    /// The database that it was for.
    pub database: Arc<str>,
    /// The table that it was for, as far as it says.
    pub table: Option<String>,
    /// Who sent it.
    pub peer: Arc<str>,
    /// Number of the connection or request since the server's start.
    pub connection: u64,
    /// Line of the connection or request, from 1.
    pub line: u64,
    /// Byte of the connection or request at which it is wrong.
    pub offset: u64,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub detail: String,
    /// The line around that byte, escaped.
    pub excerpt: String,
}

/// Why a table is suspended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suspension {
    /// A word from a small set, such as `DISK FULL`.
    pub tag: String,
    /// What happened.
    pub message: String,
}

/// A statement that changes something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Drop a table.
    DropTable {
        /// A table that does not exist is no error.
        if_exists: bool,
        /// Its name within the database.
        name: String,
    },
    /// Write what is in memory to Parquet and wait until that is done.
    Flush {
        /// Of one table, or of every table of the server.
        table: Option<String>,
    },
    /// Let what is committed to a table wait.
    SuspendWal {
        /// Its name within the database.
        name: String,
    },
    /// Let a suspended table go on.
    ResumeWal {
        /// Its name within the database.
        name: String,
        /// The transaction to go on with: the rows of those before are skipped.
        from: Option<SeqTxn>,
    },
    /// Wait until all that is committed to a table now is visible.
    ApplyWal {
        /// Its name within the database.
        name: String,
    },
}

/// Why a command was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no such table.
    #[error("table '{0}' does not exist")]
    NoSuchTable(String),
    /// The table may not be changed by a statement.
    #[error("{0}")]
    Refused(String),
    /// It was tried and failed; the message says what holds now.
    #[error("{0}")]
    Failed(String),
}
