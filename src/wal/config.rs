//! The limits of segments and writers.

use crate::io::Room;

/// Limits of the write-ahead log.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(default)]
pub struct WalConfig {
    /// A segment with this many bytes is followed by the next one.
    pub segment_bytes: u64,
    /// A segment with this many rows is followed by the next one.
    pub segment_rows: u64,
    /// A segment with this many series, of all its tables, is followed by the next one: it bounds the series caches of writer
    /// and reader.
    pub segment_series: usize,
    /// A segment whose series definitions have this many bytes is followed by the next one.
    pub series_bytes: usize,
    /// Room on the disk that segments leave to the log, to flushes and to the catalog, which free segments. Of a small file
    /// system, at most a sixteenth.
    pub free_bytes_min: u64,
    /// Writers in all: connections beyond that wait for one.
    pub writers_max: usize,
    /// A commit with at most this many bytes of frames hands them to the caller, so that the log can carry them; 0 for
    /// durabilities that carry nothing.
    pub carry_bytes: usize,
    /// Bytes of commits that the log carries and that a writer keeps in memory before it writes them to its segment, all with one call;
    /// 0 where every commit is to be in its segment at once.
    pub unwritten_bytes: usize,
}

impl WalConfig {
    /// What segments leave free on a file system of this size.
    pub fn reserve(&self, room: Room) -> u64 {
        self.free_bytes_min.min(room.total / 16)
    }
}

impl Default for WalConfig {
    fn default() -> WalConfig {
        WalConfig {
            segment_bytes: 64 << 20,
            segment_rows: 4_000_000,
            segment_series: 1_000_000,
            series_bytes: 64 << 20,
            free_bytes_min: 256 << 20,
            writers_max: 1024,
            carry_bytes: 32 << 10,
            unwritten_bytes: 8 << 10,
        }
    }
}
