//! SQL over snapshots: what an analyst asks, answered by DataFusion from parts and tails, without touching ingest.
//!
//! A query takes one snapshot of each table that it names and reads only that: every row of transactions `1..=n` once, none of `n + 1`,
//! however long it runs. A table is the union of its immutable Parquet parts and of the sorted runs of its tails; parts and runs
//! that a filter on the timestamp excludes are left out before anything is opened, `count(*)`, `min(time)` and `max(time)`
//! without a filter are answered from what the snapshot knows. A column that a part or run does not have yet is null there; columns are found
//! by their ids, so that one of another name or type today is read from where it was written.
//!
//! Where a rule for duplicates was ever in force, parts and runs that share times are read together and resolved; a part that shares its times with no other
//! is read as ever.
//!
//! # Limits, so that no SELECT stops ingest
//! Queries run on a runtime of their own with few threads, at most [`QueryConfig::concurrent_max`] at a time. Their sorts, joins and
//! aggregates share one memory pool and spill to a bounded temporary space; past both, the query fails, and only it. A query ends
//! at its time limit, which counts from the request to the last row delivered, and as soon as its caller goes away.
//! Rows stream out in batches: a slow reader holds back its own query and nothing else.
//!
//! # Statements
//! `SELECT`, `EXPLAIN`, `DESCRIBE`, `SHOW …`; and those that change something, which become a [`Command`] to the [`Source`]: `CREATE`, `ALTER`,
//! `RENAME`, `TRUNCATE` and `DROP TABLE`, `INSERT INTO … VALUES`, `REPLACE RANGE`, `FLUSH`. Their grammar is QuestDB's where QuestDB has them.
//! Everything else is refused by name, and no statement reads or writes a file.
//! Databases are SQL schemas; the request names the default one. Names keep their case; a table is also found by a name that
//! differs from its own by case only. Beside the tables there are `tables()`, `wal_tables()`, `table_columns('t')`,
//! `table_partitions('t')`, `wal_transactions('t')`, `information_schema`, and `system.rejected_lines`, the lines that were refused of late.
//!
//! # Errors
//! A [`QueryError`] is the caller's (a bad statement, with its position when it is known), a limit's, or ours.
//!
//! Not here: who serves the bytes (`server`), how snapshots come to be (`storage`, `apply`). Without the cargo feature `query` only
//! the interface to the engine and the HTTP client of `headwater query` are compiled.

mod client;
mod config;
mod source;

#[cfg(feature = "query")]
mod clusters;
#[cfg(feature = "query")]
mod command;
#[cfg(feature = "query")]
mod engine;
#[cfg(feature = "query")]
mod error;
#[cfg(feature = "query")]
mod evolution;
#[cfg(feature = "query")]
mod format;
#[cfg(feature = "query")]
mod limits;
#[cfg(feature = "query")]
mod output;
#[cfg(feature = "query")]
mod parts;
#[cfg(feature = "query")]
mod pruning;
#[cfg(feature = "query")]
mod rejected;
#[cfg(feature = "query")]
mod schemas;
#[cfg(feature = "query")]
mod statement;
#[cfg(feature = "query")]
mod system;
#[cfg(feature = "query")]
mod table;
#[cfg(feature = "query")]
mod tails;

#[cfg(all(test, feature = "query"))]
mod tests;

pub use client::{QueryArgs, query};
pub use config::QueryConfig;
pub use source::{
    Command, CommandError, CreateTable, Pending, RejectedLine, SYSTEM_DATABASE, Source, Suspension,
    TableStatus, Transaction, Value,
};

#[cfg(feature = "query")]
pub use engine::QueryEngine;
#[cfg(feature = "query")]
pub use error::{ErrorKind, QueryError};
#[cfg(feature = "query")]
pub use format::{Body, Format, Page};
#[cfg(feature = "query")]
pub use output::{Output, Rows};
