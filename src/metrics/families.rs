//! The table of families, and one static handle for each that has no labels.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::sync::LazyLock;

/// What kind of number a family is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only rises, from 0 at the start.
    Counter,
    /// A level.
    Gauge,
    /// A distribution in fixed buckets.
    Histogram,
}

/// One metric family as it is exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// Full name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Label names, in order.
    pub labels: &'static [&'static str],
    /// What it tells, one sentence.
    pub help: &'static str,
}

macro_rules! families {
    (
        plain { $($kind:ident $handle:ident $name:literal $help:literal;)* }
        labelled { $($lkind:ident $lname:literal [$($label:literal),*] $lhelp:literal;)* }
    ) => {
        $(
            #[doc = $help]
            pub static $handle: LazyLock<families!(@type $kind)> = LazyLock::new(|| families!(@make $kind $name));
        )*

        /// Every family, those without labels first.
        pub const FAMILIES: &[Family] = &[
            $(Family { name: $name, kind: families!(@kind $kind), labels: &[], help: $help },)*
            $(Family { name: $lname, kind: families!(@kind $lkind), labels: &[$($label),*], help: $lhelp },)*
        ];

        /// Registers every handle, so that it is exported before anything happens.
        pub(super) fn touch_all() {
            $(families!(@touch $kind $handle);)*
        }
    };
    (@type counter) => { Counter };
    (@type gauge) => { Gauge };
    (@type histogram) => { Histogram };
    (@make counter $name:literal) => { counter!($name) };
    (@make gauge $name:literal) => { gauge!($name) };
    (@make histogram $name:literal) => { histogram!($name) };
    (@kind counter) => { Kind::Counter };
    (@kind gauge) => { Kind::Gauge };
    (@kind histogram) => { Kind::Histogram };
    (@touch counter $handle:ident) => { $handle.increment(0) };
    (@touch gauge $handle:ident) => { $handle.increment(0.0) };
    // A histogram registers when its handle is made; its first sample must be a real one.
    (@touch histogram $handle:ident) => { LazyLock::force(&$handle) };
}

families! {
    plain {
        counter LINES "headwater_lines_total" "Lines read that were neither blank nor comments, refused ones included.";
        counter ROWS "headwater_rows_total" "Rows committed.";
        counter RECEIVED_BYTES "headwater_received_bytes_total" "Bytes of line protocol read from clients.";
        gauge CONNECTIONS "headwater_connections" "Line-protocol connections open now.";
        counter CONNECTIONS_ACCEPTED "headwater_connections_accepted_total" "Line-protocol connections accepted.";
        counter CONNECTIONS_REFUSED "headwater_connections_refused_total" "Line-protocol connections closed at once because the limit was reached.";
        counter CONNECTIONS_RESET "headwater_connections_reset_total" "Connections that ended with a reset, so that their last lines are not acknowledged.";
        counter INCOMPLETE_LINES "headwater_incomplete_lines_total" "Last lines without a newline, dropped when their connection closed.";
        counter BACKPRESSURE_SECONDS "headwater_backpressure_seconds_total" "Whole seconds that connections together waited for memory, disk or a writer.";

        counter WAL_COMMITS "headwater_wal_commits_total" "Commits appended to segments.";
        counter WAL_BYTES "headwater_wal_bytes_total" "Bytes of frames appended to segments.";
        gauge WAL_SEGMENTS "headwater_wal_segments" "Segment files on disk.";
        gauge SHELF_FILES "headwater_wal_shelf_files" "Files that hold what waits for suspended tables, apart from the segments.";
        gauge WAL_WRITERS "headwater_wal_writers" "WalWriters lent to connections now.";
        counter WAL_SYNCS "headwater_wal_syncs_total" "Syncs of segments and of the transaction log.";
        histogram WAL_SYNC_DURATION "headwater_wal_sync_duration_seconds" "Time of one sync of a segment or of the transaction log.";

        gauge DISK_FREE_BYTES "headwater_disk_free_bytes" "Bytes free on the file system of the data directory.";
        gauge DISK_RESERVE_BYTES "headwater_disk_reserve_bytes" "Free bytes that segments leave to the log, flushes and the catalog; below it, connections wait.";

        counter SEQUENCER_BATCHES "headwater_sequencer_batches_total" "Group commits: records appended to the transaction log.";
        histogram SEQUENCER_BATCH_RECEIPTS "headwater_sequencer_batch_receipts" "Receipts in one group commit.";
        counter SEQUENCER_CARRIED "headwater_sequencer_carried_total" "Commits whose frames were carried in the log record, so that one sync served them.";
        histogram COMMIT_DURATION "headwater_commit_duration_seconds" "Time from a receipt's arrival at the sequencer until it was published.";
        counter TRANSACTIONS "headwater_transactions_total" "Table transactions sequenced.";
        counter ROWS_DROPPED_WITH_TABLE "headwater_rows_dropped_with_table_total" "Rows acknowledged for a table that had just been dropped.";

        counter APPLY_ROWS "headwater_apply_rows_total" "Rows made visible to queries.";
        counter APPLY_TRANSACTIONS "headwater_apply_transactions_total" "Transactions made visible to queries.";
        counter APPLY_SKIPPED "headwater_apply_skipped_transactions_total" "Transactions passed over unread, because a later one took all their rows away.";
        gauge APPLY_LAG_TRANSACTIONS "headwater_apply_lag_transactions" "Transactions committed and not yet visible, all tables together.";
        gauge APPLY_LAG_ROWS "headwater_apply_lag_rows" "Rows committed and not yet visible, all tables together.";
        gauge APPLY_LAG_SECONDS "headwater_apply_lag_seconds" "Age of the oldest transaction that is committed and not yet visible.";
        gauge TAIL_BYTES "headwater_tail_bytes" "Memory held by tails: rows that are visible and not yet in Parquet.";
        gauge TAIL_BUDGET_BYTES "headwater_tail_budget_bytes" "The bound of headwater_tail_bytes, past which connections wait; tables that cannot be flushed have half as much beside it.";
        counter FLUSHES "headwater_flushes_total" "Tails of a table written out as Parquet parts.";
        counter FLUSHED_ROWS "headwater_flushed_rows_total" "Rows written to Parquet for the first time.";
        histogram FLUSH_DURATION "headwater_flush_duration_seconds" "Time from freezing a table's tails until their parts were published.";
        counter COMPACTIONS "headwater_compactions_total" "Merges of several parts into one.";
        counter COMPACTED_ROWS "headwater_compacted_rows_total" "Rows rewritten by compaction.";
        counter WRITTEN_ROWS "headwater_written_rows_total" "Rows written to Parquet, rewritten ones included; over headwater_apply_rows_total it is the write amplification.";
        gauge WRITE_AMPLIFICATION "headwater_write_amplification" "How often a row was written to Parquet on average since the start: 1 is the flush alone.";
        counter ORPHANS_REMOVED "headwater_orphans_removed_total" "Files and folders of unfinished flushes and compactions that the start removed.";
        gauge PARTS "headwater_parts" "Parquet parts in the catalog.";
        gauge TABLES "headwater_tables" "Tables that exist.";
        gauge TABLES_SUSPENDED "headwater_tables_suspended" "Tables that are suspended by an error.";
        counter PARTITIONS_EXPIRED "headwater_partitions_expired_total" "Partitions dropped because they had outlived their table's TTL.";

        counter HOOK_REPORTS "headwater_hook_reports_total" "Flush reports emitted, one a table and interval.";
        counter HOOK_ROWS "headwater_hook_rows_total" "Rows counted by flush reports, before double_count_table.";
        counter HOOK_FAILURES "headwater_hook_failures_total" "Report runs that failed; their counts are kept for the next run.";
        histogram HOOK_DURATION "headwater_hook_duration_seconds" "Time of one run of the flush hook.";

        gauge QUERIES_ACTIVE "headwater_queries_active" "Queries running now.";
        histogram QUERY_DURATION "headwater_query_duration_seconds" "Time of one query.";

        gauge START_TIME "headwater_start_time_seconds" "When the server started, seconds since 1970.";
        gauge RECOVERY_PROGRESS "headwater_recovery_progress_ratio" "Part of the transactions that the last start found in the WAL and that is visible again; 1 for all.";
        gauge RECOVERY_DURATION "headwater_recovery_duration_seconds" "Time the last start took from opening the data directory until it was ready.";
    }
    labelled {
        counter "headwater_lines_rejected_total" ["reason"] "Lines refused, by reason.";
        counter "headwater_acks_total" ["result"] "Replies to `# ack` lines, by result.";
        counter "headwater_queries_total" ["result"] "Queries ended, by result.";
        counter "headwater_http_requests_total" ["endpoint", "code"] "HTTP requests answered, by endpoint and class of status code.";
        gauge "headwater_build_info" ["version", "durability"] "Always 1; the labels say what is running.";
        counter "headwater_table_rows_total" ["database", "table"] "Rows committed to a table, as flush reports count them.";
        counter "headwater_table_bytes_total" ["database", "table"] "Bytes of frames committed to a table, as flush reports count them.";
        gauge "process_start_time_seconds" [] "Start time of the process, seconds since 1970.";
        gauge "process_cpu_seconds" [] "User and system CPU time spent by the process.";
        gauge "process_resident_memory_bytes" [] "Resident memory.";
        gauge "process_anonymous_memory_bytes" [] "Resident memory that no file backs.";
        gauge "process_open_fds" [] "Open file descriptors.";
        gauge "process_max_fds" [] "Limit of open file descriptors.";
    }
}

/// Counts lines refused for one reason.
pub fn lines_rejected(reason: &'static str) -> Counter {
    counter!("headwater_lines_rejected_total", "reason" => reason)
}

/// Counts replies to `# ack` lines; `result` is `ok` or `err`.
pub fn acks(result: &'static str) -> Counter {
    counter!("headwater_acks_total", "result" => result)
}

/// What [`acks`] gives for `ok`, found once: a small commit has a reply of its own.
pub static ACKS_OK: LazyLock<Counter> = LazyLock::new(|| acks("ok"));

/// Counts ended queries; `result` is `ok`, `error`, `timeout` or `cancelled`.
pub fn queries(result: &'static str) -> Counter {
    counter!("headwater_queries_total", "result" => result)
}

/// Counts answered HTTP requests; `code` is a class such as `2xx`.
pub fn http_requests(endpoint: &'static str, code: &'static str) -> Counter {
    counter!("headwater_http_requests_total", "endpoint" => endpoint, "code" => code)
}
