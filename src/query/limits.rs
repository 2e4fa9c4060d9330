//! What keeps queries small: their threads, their memory, their temporary space.

use super::QueryConfig;
use datafusion::common::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Planning recurses once for each operator of an expression, and a stack that runs out ends the process: the statements that are
/// accepted fit, also without optimisation. It is reserved, not used.
const STACK_BYTES: usize = 256 << 20;

/// How many of the largest consumers an error about memory names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::MIN;

/// The threads that queries run on, and no others.
pub(super) fn threads(config: &QueryConfig) -> usize {
    match config.threads {
        0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
        given => given,
    }
}

/// The runtime that plans and runs every query.
pub(super) fn runtime(config: &QueryConfig) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads(config))
        .thread_name("query")
        .thread_stack_size(STACK_BYTES)
        .enable_time()
        .build()
}

/// The memory and the temporary space that all queries share.
pub(super) fn environment(config: &QueryConfig) -> Result<Arc<RuntimeEnv>> {
    let disk = match config.spill_bytes {
        0 => DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
        bytes => DiskManagerBuilder::default().with_max_temp_directory_size(bytes),
    };
    let pool = TrackConsumersPool::new(FairSpillPool::new(config.memory_bytes), CONSUMERS_NAMED);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .build_arc()
}
