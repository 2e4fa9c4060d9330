//! How much of the machine queries may use.

use serde::Deserialize;

/// The bounds of all queries together, and of each one.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default)]
pub struct QueryConfig {
    /// Memory of sorts, joins and aggregates of all queries together. 256 MiB.
    pub memory_bytes: usize,
    /// Temporary files of all queries together; 0 keeps them from spilling at all. 1 GiB.
    pub spill_bytes: u64,
    /// Time of one query, from the request to the last row delivered. 60 s.
    pub timeout_ms: u64,
    /// Threads that queries run on; 0 stands for half of the cores, at least one.
    pub threads: usize,
    /// Queries that run at once; more wait, within their time. 8.
    pub concurrent_max: usize,
}

impl Default for QueryConfig {
    fn default() -> QueryConfig {
        QueryConfig {
            memory_bytes: 256 << 20,
            spill_bytes: 1 << 30,
            timeout_ms: 60_000,
            threads: 0,
            concurrent_max: 8,
        }
    }
}
