//! From keys to the configuration that each stage defines for itself.

use super::Settings;
use crate::apply::{ApplyConfig, CompactionConfig};
use crate::engine::{CommitConfig, EngineConfig, LimitsConfig, TablesConfig};
use crate::hooks::HookConfig;
use crate::query::QueryConfig;
use crate::sequencer::{Durability, SequencerConfig};
use crate::wal::WalConfig;
use std::time::Duration;

impl Settings {
    /// What the engine is opened with.
    #[must_use]
    pub fn engine(&self) -> EngineConfig {
        EngineConfig {
            // `validate` has refused what names none.
            dialect: self.dialect().unwrap_or_default(),
            commit: CommitConfig {
                rows: self.commit.rows,
                bytes: self.commit.bytes,
                interval_ms: self.commit.interval_ms,
            },
            limits: LimitsConfig {
                line_bytes: self.limits.line_bytes,
                name_bytes: self.limits.name_bytes,
                string_bytes: self.limits.string_bytes,
                tags: self.limits.tags,
                fields: self.limits.fields,
                columns: self.limits.columns,
                tables: self.limits.tables,
                server_tables: self.limits.server_tables,
                partitions: self.limits.partitions,
                connections: self.limits.connections,
                rejected_lines: self.limits.rejected_lines,
            },
            tables: TablesConfig {
                partition_by: self.tables.partition_by,
                time_column: self.tables.time_column.clone(),
                duplicates: self.tables.duplicates,
                ttl_s: self.tables.ttl_s,
                o3_max_lag_ms: self.tables.o3_max_lag_ms,
                time_min: self.tables.time_min,
                time_max: self.tables.time_max,
                new_tables: self.tables.new_tables,
                new_columns: self.tables.new_columns,
                rule: self.tables.rule.clone(),
            },
            wal: self.wal(),
            wal_retention: Duration::from_secs(self.wal.retention_s),
            sequencer: SequencerConfig {
                durability: self.durability,
                async_interval: Duration::from_millis(self.sequencer.async_interval_ms),
                chunk_bytes: self.sequencer.chunk_bytes,
                reports: self.hook.enabled,
            },
            apply: self.apply(),
            hook: self.hook(),
            ..EngineConfig::new(&self.data_dir)
        }
    }

    fn wal(&self) -> WalConfig {
        WalConfig {
            segment_bytes: self.wal.segment_bytes,
            segment_rows: self.wal.segment_rows,
            segment_series: self.wal.segment_series,
            series_bytes: self.wal.series_bytes,
            free_bytes_min: self.wal.free_bytes_min,
            writers_max: self.wal.writers_max,
            unwritten_bytes: self.wal.unwritten_bytes,
            // The log's sync carries a commit only where the log is synced for each.
            carry_bytes: if self.durability == Durability::Sync { self.wal.carry_bytes } else { 0 },
        }
    }

    fn apply(&self) -> ApplyConfig {
        ApplyConfig {
            workers: self.apply.workers,
            memory_budget: self.apply.memory_bytes,
            unapplied_bytes: self.apply.unapplied_bytes,
            suspended_bytes: self.apply.suspended_bytes,
            flush_bytes: self.apply.flush_bytes,
            flush_age_ms: self.apply.flush_age_ms,
            flush_parts_per_s: self.apply.flush_parts_per_s,
            compaction: CompactionConfig {
                fan_in: self.apply.compaction_fan_in,
                parts_max: self.apply.compaction_parts,
                part_bytes_max: self.apply.compaction_part_bytes,
                close_after_ms: self.apply.compaction_close_after_ms,
                jobs_max: self.apply.compaction_jobs,
                bytes_per_s: self.apply.compaction_bytes_per_s,
            },
            ..ApplyConfig::default()
        }
    }

    fn hook(&self) -> HookConfig {
        let double = &self.hook.double_count_table;
        HookConfig {
            enabled: self.hook.enabled,
            interval_ms: self.hook.interval_ms,
            double_count_table: (!double.is_empty()).then(|| double.clone()),
        }
    }

    /// What the query engine is started with.
    #[must_use]
    pub fn query(&self) -> QueryConfig {
        QueryConfig {
            memory_bytes: self.query.memory_bytes,
            spill_bytes: self.query.spill_bytes,
            timeout_ms: self.query.timeout_ms,
            threads: self.query.threads,
            concurrent_max: self.query.concurrent_max,
        }
    }

    /// The durability mode as the command line spells it.
    #[must_use]
    pub fn durability_name(&self) -> &'static str {
        match self.durability {
            Durability::Sync => "sync",
            Durability::Async => "async",
            Durability::NoSync => "nosync",
        }
    }
}
