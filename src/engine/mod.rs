//! Joins the stages: the only place that knows codec, WAL, sequencer, apply, storage and hooks together.
//!
//! # The way of a line
//!
//! ```text
//! Session::ingest   bytes ──codec──▶ line ──RowBuilder──▶ Batch       (per table, column by column)
//! Session::commit   batches ──WalWriter::append──▶ frames ──Receipt──▶ Sequencer
//! on_commit         published transactions ──▶ registry (what is logged), apply pool, reporter
//! housekeeper       flushed transactions ──▶ segments, log chunks and expired partitions go
//!                   what waits for suspended tables ──▶ shelves, and back when they are resumed
//! ```
//!
//! A session belongs to one connection and is used by one task at a time. It borrows a WalWriter at its first line and gives it
//! back when it ends or is idle, so that an idle connection costs no file. Nothing between the socket
//! and the sequencer takes a lock that another connection holds, except to claim a new name.
//!
//! # Start
//!
//! Lock the folder; read the identity and raise its epoch; catalog; transaction log; registry from both; carried frames back into
//! the segments that lost them; apply pool with what is not flushed; sequencer; reporter; housekeeper. Nothing listens before that.
//!
//! # Stop
//!
//! Sessions are gone (the server's duty); the reporter reports once more; the sequencer drains; apply catches up and flushes
//! until the deadline; log and catalog are sealed. What was not flushed stays in the WAL and is replayed.
//!
//! # Invariants
//!
//! - `purged_txn <= flushed_txn <= applied_txn <= seq_txn` for every table.
//! - A line's names, types and partition are claimed before its row enters a batch, all or none, after every other check.
//! - Recovered rows: acknowledged ⊆ recovered ⊆ sent, per connection a prefix, no row twice.

mod blocking;
mod config;
mod error;
mod identity;
mod layout;

mod excerpt;
mod rejects;
mod rows;
mod series_cache;
mod session;
mod stored;
mod tables;
mod write;

mod check;
mod fence;
mod insert;
mod inspect;
mod rebuild;
mod repair;
mod statements;
mod transactions;

mod housekeeper;
mod open;
mod recovery;
mod replay;
mod reports;
mod retention;
mod shelf;
mod source;
mod steps;

#[cfg(test)]
mod tests;

pub use crate::sequencer::Progress;
pub use check::{CheckReport, Finding, check};
pub use config::{CommitConfig, EngineConfig, LimitsConfig};
pub use error::{IngestError, OpenError};
pub use inspect::inspect;
pub use open::{CloseReport, DEFAULT_DATABASE, Engine};
pub use repair::repair;
pub use rows::{Outcome, RowBuilder};
pub use session::{AckRequest, Ingested, Origin, ReplyCounts, Session};
#[doc(hidden)]
pub use steps::{Actor, Steps};
pub use tables::{Duplicates, TablePolicies, TableRule, TablesConfig};
pub use write::{Rejected, WriteOutcome};
