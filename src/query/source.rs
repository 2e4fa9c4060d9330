//! What queries need from the server around them: names, snapshots, progress, and who carries out commands.

use crate::schema::{DedupRule, TableChange};
use crate::storage::Snapshot;
use crate::types::{ColumnType, PartitionBy, SegmentId, SeqTxn, TableId, WriterId};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

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

    /// The transactions of a table that the log still holds, in order.
    ///
    /// # Errors
    /// There is no such table, or the log cannot be read.
    fn transactions(&self, database: &str, table: &str) -> Result<Vec<Transaction>, CommandError>;

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
    /// How long ago the first of them, or of other transactions that are not visible, was committed; 0 when there is none.
    pub lag_time: Duration,
    /// Transactions since the start that were passed over, because a later one took all their rows away.
    pub skipped_txns: u64,
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

/// A transaction of a table: a row of `wal_transactions('t')`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// Its number.
    pub seq_txn: SeqTxn,
    /// When it was committed, nanoseconds since 1970.
    pub at: i64,
    /// The writer and the segment that have its rows, if it has any.
    pub place: Option<(WriterId, SegmentId)>,
    /// How many transactions of the table before it have their rows in that segment; `None` when the log no longer knows.
    pub place_in_segment: Option<u32>,
    /// How often the table's shape has changed up to it; `None` when the log no longer knows.
    pub structure_version: Option<u64>,
    /// Its earliest and latest row.
    pub times: Option<(i64, i64)>,
    /// How many rows it brings.
    pub rows: Option<u64>,
    /// QuestDB's number for what it alters.
    pub command: Option<i16>,
    /// What it does, in a word or two.
    pub kind: &'static str,
    /// True when queries see it.
    pub is_applied: bool,
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
    /// Create a table.
    CreateTable(CreateTable),
    /// Change a table's name, columns or options.
    Alter {
        /// Which table.
        table: String,
        /// How.
        change: TableChange,
    },
    /// Take all rows away.
    Truncate {
        /// A table that does not exist is no error.
        if_exists: bool,
        /// Its name within the database.
        name: String,
    },
    /// Add rows, in one transaction.
    Insert {
        /// To which table.
        table: String,
        /// The columns that the values are of; all of them, as `SELECT *` has them, when nothing is said.
        columns: Option<Vec<String>>,
        /// The rows.
        rows: Vec<Vec<Value>>,
        /// The range of times, `[from, to)` in nanoseconds since 1970, of which all rows go first. The new ones are all of it.
        range: Option<(i64, i64)>,
    },
    /// Let what is committed to a table wait.
    SuspendWal {
        /// Its name within the database.
        name: String,
        /// The reason that its status gives: a tag, or an error number of the operating system, and a message.
        reason: Option<(String, String)>,
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

/// A table to be created; what is not said is as the server's configuration has it for its name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CreateTable {
    /// A table that exists is no error.
    pub if_not_exists: bool,
    /// Its name within the database.
    pub name: String,
    /// Its columns, the designated timestamp among them.
    pub columns: Vec<(String, ColumnType)>,
    /// The designated timestamp; without it, the only column that is a timestamp, or else one of the configured name.
    pub time_column: Option<String>,
    /// The width of its partitions.
    pub partition_by: Option<PartitionBy>,
    /// What becomes of duplicates.
    pub dedup: Option<DedupRule>,
    /// Seconds after which partitions go; 0 keeps them.
    pub ttl_s: Option<u64>,
    /// Milliseconds that late rows are waited for.
    pub o3_max_lag_ms: Option<u64>,
    /// Rows after which a segment ends.
    pub segment_rows: Option<u64>,
}

/// A value of a row to be inserted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Boolean(bool),
    /// A number, as it was written.
    Number(String),
    /// Text.
    Text(String),
    /// The time at which the statement is carried out.
    Now,
}

/// Why a command was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no such table.
    #[error("table '{0}' does not exist")]
    NoSuchTable(String),
    /// There is such a table.
    #[error("table '{0}' exists")]
    TableExists(String),
    /// The table may not be changed by a statement.
    #[error("{0}")]
    Refused(String),
    /// It was tried and failed; the message says what holds now.
    #[error("{0}")]
    Failed(String),
}
