//! The threads that line-protocol connections live on.
//!
//! A connection stays on the loop that it was given to. Where threads share their tasks, as those of one runtime do, a burst of small
//! commits wakes one thread after another to steal what the first was about to do, and a thread that waits for a processor
//! keeps the sockets of all of them unread.

use std::io;
use std::num::NonZero;
use tokio::runtime::{Builder, Handle, Runtime};

/// Event loops, each with a thread. Dropping them drops the connections that are left, and waits for nothing.
#[derive(Debug)]
pub(super) struct EventLoops {
    runtimes: Vec<Runtime>,
}

impl EventLoops {
    /// So many loops; 0 is one a core.
    ///
    /// # Errors
    /// The system gives no threads or no descriptors.
    pub(super) fn new(threads: usize) -> io::Result<EventLoops> {
        let count = match threads {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        };
        let runtimes = (0..count).map(|n| {
            // One worker rather than a current-thread runtime: that one writes to an eventfd for each wake from outside, and cannot
            // leave its tasks to another thread while one of them waits for the disk.
            Builder::new_multi_thread()
                .worker_threads(1)
                .event_interval(TURNS_BETWEEN_EVENTS)
                .thread_name(format!("ilp-{n}"))
                .enable_all()
                .build()
        });
        Ok(EventLoops { runtimes: runtimes.collect::<io::Result<_>>()? })
    }

    /// A way to each of them.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.runtimes.iter().map(|runtime| runtime.handle().clone()).collect()
    }
}

impl Drop for EventLoops {
    fn drop(&mut self) {
        self.runtimes.drain(..).for_each(Runtime::shutdown_background);
    }
}

/// Under full load a thread never parks, and looks for new events only between so many turns of tasks: a turn of a busy connection
/// reads and takes up to 256 KiB, which is some hundred microseconds.
pub(super) const TURNS_BETWEEN_EVENTS: u32 = 16;
