//! Every key, once: type, default, and the sentence that documents it.

use super::ConfigError;
use crate::apply::{ApplyConfig, CompactionConfig};
use crate::codec::{Dialect, Precision};
use crate::engine::{CommitConfig, Duplicates, LimitsConfig, TableRule, TablesConfig};
use crate::hooks::HookConfig;
use crate::query::QueryConfig;
use crate::sequencer::{Durability, SequencerConfig};
use crate::types::PartitionBy;
use crate::wal::WalConfig;
use std::path::PathBuf;

/// The keys of one section and what they mean, for the reference page.
#[derive(Debug)]
pub(super) struct Help {
    /// The section's name; empty for the keys of the server.
    pub(super) section: &'static str,
    /// What the section is for.
    pub(super) about: &'static str,
    /// Key and meaning.
    pub(super) keys: &'static [(&'static str, &'static str)],
}

/// Declares sections as structs whose `Default` is the documented default, and [`HELP`] from the same words.
macro_rules! sections {
    ($(
        $(#[doc = $about:literal])*
        $section:literal $Section:ident {
            $( $(#[doc = $help:literal])* $key:ident: $type:ty = $default:expr, )*
        }
    )*) => {
        $(
            $(#[doc = $about])*
            #[derive(Clone, PartialEq, Debug, serde::Deserialize, serde::Serialize)]
            #[serde(default, deny_unknown_fields)]
            pub struct $Section { $( $(#[doc = $help])* pub $key: $type, )* }

            impl Default for $Section {
                fn default() -> $Section {
                    $Section { $( $key: $default, )* }
                }
            }
        )*

        /// Every section in the order of the reference page.
        pub(super) const HELP: &[Help] = &[ $(
            Help {
                section: $section,
                about: concat!($($about),*),
                keys: &[ $( (stringify!($key), concat!($($help),*)), )* ],
            },
        )* ];
    };
}

/// What happens to a connection that sent a bad line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The line is skipped, counted and logged; the connection lives.
    #[default]
    Skip,
    /// The connection is reset.
    Disconnect,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

sections! {
    /// Keys of the server as a whole, and its sections.
    "" Settings {
        /// Folder of everything that is kept. Created when it is missing; one server at a time.
        data_dir: PathBuf = PathBuf::from("./data"),
        /// `sync`: acknowledged means on the device. `async`: acknowledged means on the device, synced every `sequencer.async_interval_ms`. `nosync`: acknowledged means the kernel has it, which survives a kill and not a power cut.
        durability: Durability = Durability::default(),
        /// Whose backslashes, over TCP and HTTP: `v1` reads as InfluxDB 1.x and Telegraf write; in `v2` (the Go library) `\n`, `\r` and `\t` in a string are control characters; in `v3` (InfluxDB 3) `\\` in a name is one backslash.
        dialect: String = "v1".to_owned(),
        /// How long a stop may take: half for clients to pause, the rest to flush. What is not flushed stays in the WAL.
        shutdown_deadline_ms: u64 = 5_000,
        /// Threads for line-protocol connections, and as many for HTTP; 0 is one a core.
        threads: usize = 0,
        /// The line-protocol listener.
        ilp: Ilp = Ilp::default(),
        /// The HTTP listener.
        http: Http = Http::default(),
        /// The log on standard error.
        log: Log = Log::default(),
        /// What clients can make the server create.
        limits: Limits = Limits::default(),
        /// New tables.
        tables: Tables = Tables::default(),
        /// When rows leave a connection.
        commit: Commit = Commit::default(),
        /// Segments of the write-ahead log.
        wal: Wal = Wal::default(),
        /// The transaction log.
        sequencer: Sequencer = Sequencer::default(),
        /// From the log to Parquet.
        apply: Apply = Apply::default(),
        /// Flush reports.
        hook: Hook = Hook::default(),
        /// SQL.
        query: Query = Query::default(),
    }

    /// The line-protocol listener.
    "ilp" Ilp {
        /// Where it listens.
        addr: String = "127.0.0.1:9009".to_owned(),
        /// Database of its lines.
        database: String = "public".to_owned(),
        /// Unit of a timestamp without suffix: `ns`, `us`, `ms` or `s`.
        precision: String = "ns".to_owned(),
        /// `skip` a bad line, or `disconnect` who sent it.
        on_error: OnError = OnError::Skip,
        /// Largest receive buffer of a connection. Up to 16 KiB are its thread's, which all connections there use in turn; an idle connection has none.
        buffer_bytes_max: usize = 256 << 10,
        /// A connection that has been silent for this long gives its WAL writer back.
        idle_ms: u64 = 10_000,
    }

    /// The HTTP listener: writes, queries, metrics, health.
    "http" Http {
        /// Where it listens.
        addr: String = "127.0.0.1:9000".to_owned(),
        /// Connections at a time; one more is closed at once.
        connections_max: usize = 1_000,
        /// Largest body of a request, also after decompression; a larger one is answered 413.
        body_bytes_max: usize = 64 << 20,
        /// All bodies together; past it a write is answered 503 with `Retry-After`.
        buffered_bytes_max: usize = 256 << 20,
        /// A request whose body takes longer to arrive is answered 408; one whose headers do, or a client that does not read its answer for as long, is closed.
        timeout_ms: u64 = 30_000,
    }

    /// The log on standard error.
    "log" Log {
        /// `text` or `json`.
        format: LogFormat = LogFormat::Text,
        /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,headwater::apply=debug`.
        level: String = "info".to_owned(),
    }

    /// Bounds on what clients send, and on what they make the server create.
    "limits" Limits {
        /// Line-protocol connections at a time; one more is closed at once and counted.
        connections: usize = LimitsConfig::default().connections,
        /// Bytes of a line.
        line_bytes: usize = LimitsConfig::default().line_bytes,
        /// Bytes of a table or column name.
        name_bytes: usize = LimitsConfig::default().name_bytes,
        /// Bytes of a tag value or a string field.
        string_bytes: usize = LimitsConfig::default().string_bytes,
        /// Tags of a line.
        tags: usize = LimitsConfig::default().tags,
        /// Fields of a line.
        fields: usize = LimitsConfig::default().fields,
        /// Columns of a table, the designated timestamp included.
        columns: usize = LimitsConfig::default().columns,
        /// Tables of a database.
        tables: usize = LimitsConfig::default().tables,
        /// Tables of the server, all databases together.
        server_tables: usize = LimitsConfig::default().server_tables,
        /// Partitions of a table that rows come in for between two starts.
        partitions: usize = LimitsConfig::default().partitions,
        /// Refused lines that `system.rejected_lines` shows, in memory; the oldest go first. 0 keeps none.
        rejected_lines: usize = LimitsConfig::default().rejected_lines,
    }

    /// What a table gets when a line creates it, which times are taken, and how long rows live.
    "tables" Tables {
        /// Width of a partition of a new table: `hour`, `day`, `week`, `month` or `year`.
        partition_by: PartitionBy = TablesConfig::default().partition_by,
        /// Name of the designated timestamp of a new table.
        time_column: String = TablesConfig::default().time_column,
        /// What becomes of rows with one time and tag set in a new table: `append` keeps all, `replace` the last, `merge` makes them one row with the last value of each column.
        duplicates: Duplicates = TablesConfig::default().duplicates,
        /// Seconds after which whole partitions are dropped; 0 keeps them.
        ttl_s: u64 = TablesConfig::default().ttl_s,
        /// Longest that a table's rows wait in memory for late ones before they are flushed, milliseconds; 0 leaves it to `apply.flush_age_ms`.
        o3_max_lag_ms: u64 = TablesConfig::default().o3_max_lag_ms,
        /// Earliest time of a row, nanoseconds since 1970; earlier ones are refused.
        time_min: i64 = TablesConfig::default().time_min,
        /// Latest time of a row, nanoseconds since 1970; later ones are refused.
        time_max: i64 = TablesConfig::default().time_max,
        /// Whether a line creates the table that it names.
        new_tables: bool = TablesConfig::default().new_tables,
        /// Whether a line adds the columns that it names to a table that exists. A new table always has those of its first line.
        new_columns: bool = TablesConfig::default().new_columns,
        /// Exceptions by name, as `[[tables.rule]]` with `pattern` (`*` stands for any text) and any of `partition_by`, `duplicates`, `ttl_s`, `o3_max_lag_ms` and `segment_rows` (rows of the table at which a segment is followed by the next); for each, the first rule that matches and sets it holds.
        rule: Vec<TableRule> = Vec::new(),
    }

    /// When a connection's rows are committed, beside the ordinary moment: its socket runs dry and its last commit is done.
    "commit" Commit {
        /// Rows of one commit.
        rows: usize = CommitConfig::default().rows,
        /// Bytes of lines of one commit.
        bytes: usize = CommitConfig::default().bytes,
        /// Oldest that a row gets before it is committed while its connection keeps sending.
        interval_ms: u64 = CommitConfig::default().interval_ms,
    }

    /// Segments of the write-ahead log: one file a writer, one writer a busy connection.
    "wal" Wal {
        /// Bytes at which a segment is followed by the next.
        segment_bytes: u64 = WalConfig::default().segment_bytes,
        /// Rows at which a segment is followed by the next.
        segment_rows: u64 = WalConfig::default().segment_rows,
        /// Distinct tag sets at which a segment is followed by the next.
        segment_series: usize = WalConfig::default().segment_series,
        /// Bytes of tag sets at which a segment is followed by the next.
        series_bytes: usize = WalConfig::default().series_bytes,
        /// Seconds that segments, and chunks of the transaction log, stay after all their rows are in Parquet.
        retention_s: u64 = 0,
        /// Room on the disk that segments leave to the transaction log, to flushes and to the catalog, at most a sixteenth of the file system. Connections wait while there is less.
        free_bytes_min: u64 = WalConfig::default().free_bytes_min,
        /// Writers at a time; while all are lent, they go round between commits.
        writers_max: usize = WalConfig::default().writers_max,
        /// Largest commit, in bytes, that travels inside the transaction log, whose one sync then serves it.
        carry_bytes: usize = WalConfig::default().carry_bytes,
        /// Bytes of commits in the transaction log that a writer keeps in memory, for a second at most, before they are written to its segment.
        unwritten_bytes: usize = WalConfig::default().unwritten_bytes,
    }

    /// The transaction log.
    "sequencer" Sequencer {
        /// Time between syncs under `durability = "async"`.
        async_interval_ms: u64 = SequencerConfig::default().async_interval.as_millis() as u64,
        /// Bytes at which a chunk of the log is followed by the next.
        chunk_bytes: u64 = SequencerConfig::default().chunk_bytes,
    }

    /// From the log to Parquet.
    "apply" Apply {
        /// Threads that merge, flush and compact; 0 is one a core.
        workers: usize = ApplyConfig::default().workers,
        /// Memory of all tails together: past three quarters the largest are flushed, past all of it connections wait.
        memory_bytes: u64 = ApplyConfig::default().memory_budget,
        /// Bytes committed and not yet applied, past which connections wait.
        unapplied_bytes: u64 = ApplyConfig::default().unapplied_bytes,
        /// Bytes committed to suspended tables and to those in `IO ERROR`, past which connections that send to one of them wait.
        suspended_bytes: u64 = ApplyConfig::default().suspended_bytes,
        /// Memory of a table's tails at which they are flushed.
        flush_bytes: u64 = ApplyConfig::default().flush_bytes,
        /// Age of a table's oldest unflushed row at which its tails are flushed.
        flush_age_ms: u64 = ApplyConfig::default().flush_age_ms,
        /// Parts a second that are made only because of their age, so that ten thousand tables do not become files at once.
        flush_parts_per_s: u64 = ApplyConfig::default().flush_parts_per_s,
        /// Neighbouring parts of one order of magnitude that become one.
        compaction_fan_in: usize = CompactionConfig::default().fan_in,
        /// Parts of a partition, past which they are merged even where their sizes differ.
        compaction_parts: usize = CompactionConfig::default().parts_max,
        /// Largest part that a merge makes.
        compaction_part_bytes: u64 = CompactionConfig::default().part_bytes_max,
        /// Quiet time after which a partition that has ended becomes one part, whatever its size; longer where little is gained.
        compaction_close_after_ms: u64 = CompactionConfig::default().close_after_ms,
        /// Merges at a time; 0 switches compaction off.
        compaction_jobs: usize = CompactionConfig::default().jobs_max,
        /// Bytes of parts that a merge reads in a second at most, for disks that others share; 0 for no limit.
        compaction_bytes_per_s: u64 = CompactionConfig::default().bytes_per_s,
    }

    /// Flush reports: who wrote how much, to `write_reports`, metrics and log.
    "hook" Hook {
        /// Without reports, `write_reports` is a table like any other.
        enabled: bool = HookConfig::default().enabled,
        /// Time between reports.
        interval_ms: u64 = HookConfig::default().interval_ms,
        /// A table whose `row_count` is reported twice as large; empty for none.
        double_count_table: String = String::new(),
    }

    /// SQL.
    "query" Query {
        /// Memory of sorts, joins and aggregates of all queries together.
        memory_bytes: usize = QueryConfig::default().memory_bytes,
        /// Temporary files of all queries together; 0 allows none.
        spill_bytes: u64 = QueryConfig::default().spill_bytes,
        /// Longest that a query may run, up to the last row delivered.
        timeout_ms: u64 = QueryConfig::default().timeout_ms,
        /// Threads that queries run on; 0 is one for every two cores.
        threads: usize = QueryConfig::default().threads,
        /// Queries at a time; more wait, within their time.
        concurrent_max: usize = QueryConfig::default().concurrent_max,
    }
}

impl Ilp {
    /// The unit of timestamps.
    ///
    /// # Errors
    /// `ilp.precision` names none.
    pub fn precision(&self) -> Result<Precision, ConfigError> {
        let unknown =
            || wrong("ilp.precision", format!("must be ns, us, ms or s, not {:?}", self.precision));
        Precision::from_name(&self.precision).ok_or_else(unknown)
    }
}

impl Settings {
    /// The dialect of lines.
    ///
    /// # Errors
    /// `dialect` names none.
    pub fn dialect(&self) -> Result<Dialect, ConfigError> {
        let unknown = || wrong("dialect", format!("must be v1, v2 or v3, not {:?}", self.dialect));
        Dialect::from_name(&self.dialect).ok_or_else(unknown)
    }

    /// The settings as a file that would set them.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("settings are plain TOML values")
    }

    /// Judges what one key alone cannot tell.
    ///
    /// # Errors
    /// The first key found wanting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at_least: &[(&str, u64, u64)] = &[
            ("ilp.buffer_bytes_max", self.ilp.buffer_bytes_max as u64, 16 << 10),
            ("http.connections_max", self.http.connections_max as u64, 1),
            ("http.body_bytes_max", self.http.body_bytes_max as u64, 1),
            ("http.buffered_bytes_max", self.http.buffered_bytes_max as u64, 1 << 10),
            ("http.timeout_ms", self.http.timeout_ms, 1),
            ("limits.connections", self.limits.connections as u64, 1),
            ("limits.line_bytes", self.limits.line_bytes as u64, 64),
            ("limits.name_bytes", self.limits.name_bytes as u64, 1),
            ("limits.string_bytes", self.limits.string_bytes as u64, 1),
            ("limits.fields", self.limits.fields as u64, 1),
            ("limits.columns", self.limits.columns as u64, 2),
            ("limits.tables", self.limits.tables as u64, 1),
            ("limits.server_tables", self.limits.server_tables as u64, 1),
            ("limits.partitions", self.limits.partitions as u64, 1),
            ("commit.rows", self.commit.rows as u64, 1),
            ("commit.bytes", self.commit.bytes as u64, 1),
            ("commit.interval_ms", self.commit.interval_ms, 1),
            ("wal.segment_bytes", self.wal.segment_bytes, 1 << 20),
            ("wal.segment_rows", self.wal.segment_rows, 1),
            ("wal.segment_series", self.wal.segment_series as u64, 1),
            ("wal.writers_max", self.wal.writers_max as u64, 1),
            ("sequencer.async_interval_ms", self.sequencer.async_interval_ms, 1),
            ("sequencer.chunk_bytes", self.sequencer.chunk_bytes, 1 << 20),
            ("apply.memory_bytes", self.apply.memory_bytes, 1 << 20),
            ("apply.unapplied_bytes", self.apply.unapplied_bytes, 1 << 20),
            ("apply.flush_bytes", self.apply.flush_bytes, 1),
            ("apply.flush_parts_per_s", self.apply.flush_parts_per_s, 1),
            ("apply.compaction_fan_in", self.apply.compaction_fan_in as u64, 2),
            ("apply.compaction_parts", self.apply.compaction_parts as u64, 2),
            ("hook.interval_ms", self.hook.interval_ms, 1),
            ("query.memory_bytes", self.query.memory_bytes as u64, 1 << 20),
            ("query.timeout_ms", self.query.timeout_ms, 1),
            ("query.concurrent_max", self.query.concurrent_max as u64, 1),
        ];
        if let Some((key, _, least)) = at_least.iter().find(|(_, value, least)| value < least) {
            return Err(wrong(key, format!("must be at least {least}")));
        }
        for (key, is_empty) in [
            ("data_dir", self.data_dir.as_os_str().is_empty()),
            ("ilp.database", self.ilp.database.is_empty()),
        ] {
            if is_empty {
                return Err(wrong(key, "must not be empty"));
            }
        }
        self.ilp.precision()?;
        self.dialect()?;
        self.engine().tables.check().map_err(|(key, fault)| wrong(key, fault))
    }
}

fn wrong(key: &str, fault: impl Into<String>) -> ConfigError {
    ConfigError { place: key.to_owned(), fault: fault.into() }
}
