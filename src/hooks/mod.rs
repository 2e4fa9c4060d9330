//! What leaves beside the rows: reports of who wrote how much.
//!
//! Every group commit adds what it committed to [`Sums`], one entry a table: a lock, a lookup, an addition, on the sequencer's
//! thread. The [`Reporter`]'s own thread takes the sums once per interval and emits one report for each table with rows:
//! 1. to the [`ReportSink`], which writes them to `write_reports` and marks them as reported in **one** record of the log;
//! 2. as metrics;
//! 3. as a tracing event.
//!
//! # What holds
//! - Commits never wait for a report. A sink that sleeps makes the next report larger, not the commits slower: sums
//!   merge, so counts are never lost and memory is one entry per table with unreported rows.
//! - The rows of a table's reports add up to the rows committed to it, through any crash: the log holds the sum of what is not
//!   reported, and a start begins with it. `double_count_table` is the only thing that changes a count.
//! - The table `write_reports` is never reported, by exact name, in any database. Its rows still count as reported, in the
//!   next run that has something to say.
//! - All reports of a run share one timestamp, and every run has a later one than the run before.
//! - A sink that fails is logged and counted; the sums go into the next run.
//!
//! Not here: how a report becomes a row (`engine` implements the sink), other kinds of triggers.

mod report;
mod reporter;

pub use report::{FlushReport, ReportRow, Sums};
pub use reporter::{HookConfig, ReportError, ReportRuns, ReportSink, Reporter};

/// The table that reports go to, in each database that has something to report. Its own rows are not reported.
pub const REPORTS_TABLE: &str = "write_reports";
