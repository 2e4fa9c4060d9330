//! Waiting for the disk on a thread of the runtime.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does what may take a while. Where the runtime has several threads, its other tasks go on with another one.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
