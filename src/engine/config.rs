//! What an engine needs to know; each stage defines its own part.

use super::tables::TablesConfig;
use crate::apply::ApplyConfig;
use crate::codec;
use crate::hooks::HookConfig;
use crate::schema::SchemaLimits;
use crate::sequencer::SequencerConfig;
use crate::wal::WalConfig;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Everything an engine is opened with.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where everything lives.
    pub data_dir: PathBuf,
    /// Whose backslashes lines are read with.
    pub dialect: codec::Dialect,
    /// When a connection's rows become a commit.
    pub commit: CommitConfig,
    /// Bounds on what clients send and create.
    pub limits: LimitsConfig,
    /// What new tables get.
    pub tables: TablesConfig,
    /// Segments and writers.
    pub wal: WalConfig,
    /// How long segments and log chunks stay after all their rows are flushed.
    pub wal_retention: Duration,
    /// Time between two looks for partitions and parts of the WAL that are done with.
    pub housekeeping: Duration,
    /// Group commit and its durability.
    pub sequencer: SequencerConfig,
    /// Tails, flushes, compaction.
    pub apply: ApplyConfig,
    /// Flush reports.
    pub hook: HookConfig,
}

impl EngineConfig {
    /// The defaults, over a folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> EngineConfig {
        EngineConfig {
            data_dir: data_dir.into(),
            dialect: codec::Dialect::default(),
            commit: CommitConfig::default(),
            limits: LimitsConfig::default(),
            tables: TablesConfig::default(),
            wal: WalConfig::default(),
            wal_retention: Duration::ZERO,
            housekeeping: Duration::from_secs(1),
            sequencer: SequencerConfig::default(),
            apply: ApplyConfig::default(),
            hook: HookConfig::default(),
        }
    }
}

/// `[commit]`: the bounds of one connection's commit. A connection that runs dry commits at once; these hold under load.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct CommitConfig {
    /// Pending rows at which a commit is made.
    pub rows: usize,
    /// Bytes of pending lines at which a commit is made.
    pub bytes: usize,
    /// Longest time a row stays pending while its connection keeps sending.
    pub interval_ms: u64,
}

/// `[limits]`: bounds on what clients send and create. What exceeds one is refused and counted.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct LimitsConfig {
    /// Bytes of a line.
    pub line_bytes: usize,
    /// Bytes of a table or column name.
    pub name_bytes: usize,
    /// Bytes of a tag value or string field.
    pub string_bytes: usize,
    /// Tags of a line.
    pub tags: usize,
    /// Fields of a line.
    pub fields: usize,
    /// Columns of a table, the designated timestamp included.
    pub columns: usize,
    /// Tables of a database.
    pub tables: usize,
    /// Tables of the server, all databases together.
    pub server_tables: usize,
    /// Partitions of a table that rows come in for between two starts.
    pub partitions: usize,
    /// Line-protocol connections at a time.
    pub connections: usize,
    /// Refused lines that `system.rejected_lines` shows; the oldest go first.
    pub rejected_lines: usize,
}

impl Default for CommitConfig {
    fn default() -> CommitConfig {
        CommitConfig { rows: 65_536, bytes: 16 << 20, interval_ms: 100 }
    }
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        let line = codec::Limits::default();
        LimitsConfig {
            line_bytes: line.line_bytes,
            name_bytes: line.name_bytes,
            string_bytes: line.string_bytes,
            tags: line.tags,
            fields: line.fields,
            columns: 2048,
            tables: 10_000,
            server_tables: 20_000,
            partitions: 10_000,
            connections: 10_000,
            rejected_lines: 10_000,
        }
    }
}

impl LimitsConfig {
    /// The part that concerns one line.
    pub fn codec(&self) -> codec::Limits {
        codec::Limits {
            line_bytes: self.line_bytes,
            name_bytes: self.name_bytes,
            string_bytes: self.string_bytes,
            tags: self.tags,
            fields: self.fields,
        }
    }

    /// The part that concerns names.
    pub fn schema(&self) -> SchemaLimits {
        SchemaLimits {
            name_bytes: self.name_bytes,
            columns: self.columns,
            tables: self.tables,
            server_tables: self.server_tables,
            partitions: self.partitions,
        }
    }
}
