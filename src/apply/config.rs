//! The limits of the apply pool.

use std::time::Duration;

/// Limits of apply, flush and compaction.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(default)]
pub struct ApplyConfig {
    /// Worker threads; 0 means one a core.
    pub workers: usize,
    /// Memory for the tails of all tables. Past three quarters of it the largest are flushed, past all of it connections
    /// wait. Tails of stuck tables may take half as much beside it.
    pub memory_budget: u64,
    /// Bytes of frames that may be committed and not yet applied, all tables together. Past it connections wait.
    pub unapplied_bytes: u64,
    /// Bytes of frames that may be committed to stuck and suspended tables. Past it connections that send to one of them wait.
    pub suspended_bytes: u64,
    /// A table's tail is flushed when it takes this much memory.
    pub flush_bytes: u64,
    /// A partition of a tail is cut into pieces of no less than this, one a worker, so that all cores help one hot table.
    pub flush_piece_bytes: u64,
    /// A table's tail is flushed when its oldest transaction is this old; tables may differ, see
    /// [`super::ApplyPool::set_max_lags`].
    pub flush_age_ms: u64,
    /// Parts a second that are made only because of their age: ten thousand tables must not all become files at once.
    pub flush_parts_per_s: u64,
    /// How long a table may keep a worker while others wait.
    pub turn_ms: u64,
    /// How often ages are looked at, failed work is tried again and lost notifications are found. 0 leaves that to calls of
    /// [`super::ApplyPool::tick`].
    pub tick_ms: u64,
    /// Segments that are kept open for reading; each costs a descriptor and a map. Fewer than there are connections which commit a few
    /// rows at a time means an opening for nearly every commit.
    pub segment_readers: usize,
    /// When parts are merged.
    pub compaction: CompactionConfig,
}

/// When the parts of a partition are merged.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(default)]
pub struct CompactionConfig {
    /// So many neighbouring parts of one order of magnitude become one.
    pub fan_in: usize,
    /// A partition with more parts than this is merged even where their sizes differ.
    pub parts_max: usize,
    /// A merge makes no part larger than this.
    pub part_bytes_max: u64,
    /// A partition that has ended, and into which nothing was flushed for this long, becomes one part, whatever its size.
    pub close_after_ms: u64,
    /// Merges at the same time; 0 switches compaction off.
    pub jobs_max: usize,
    /// Bytes of parts that one merge reads in a second at most; 0 for no limit.
    pub bytes_per_s: u64,
}

impl CompactionConfig {
    pub(super) fn close_after(&self) -> Duration {
        Duration::from_millis(self.close_after_ms)
    }
}

impl Default for ApplyConfig {
    fn default() -> ApplyConfig {
        ApplyConfig {
            workers: 0,
            memory_budget: 512 << 20,
            unapplied_bytes: 256 << 20,
            suspended_bytes: 512 << 20,
            flush_bytes: 128 << 20,
            flush_piece_bytes: 24 << 20,
            flush_age_ms: 60_000,
            flush_parts_per_s: 200,
            turn_ms: 20,
            tick_ms: 1000,
            segment_readers: 256,
            compaction: CompactionConfig::default(),
        }
    }
}

impl Default for CompactionConfig {
    fn default() -> CompactionConfig {
        CompactionConfig {
            fan_in: 8,
            parts_max: 32,
            part_bytes_max: 512 << 20,
            close_after_ms: 600_000,
            jobs_max: 1,
            bytes_per_s: 0,
        }
    }
}
