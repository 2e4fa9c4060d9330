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
    /// The system gives no descriptors.
    ///
    /// # Panics
    /// When it gives no threads, as tokio does.
    pub(super) fn new(threads: usize) -> io::Result<EventLoops> {
        let count = match threads {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        };
        // Filled here, so that those there are end as they should when another one cannot be had.
        let mut loops = EventLoops { runtimes: Vec::with_capacity(count) };
        for n in 0..count {
            // One worker rather than a current-thread runtime: that one writes to an eventfd for each wake from outside, and cannot
            // leave its tasks to another thread while one of them waits for a new segment.
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .event_interval(TURNS_BETWEEN_EVENTS)
                .thread_name(format!("ilp-{n}"))
                .enable_all()
                .build()?;
            loops.runtimes.push(runtime);
        }
        Ok(loops)
    }

    /// A way to each of them.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.runtimes.iter().map(|runtime| runtime.handle().clone()).collect()
    }
}

impl Drop for EventLoops {
    /// Also within a runtime, where a plain drop of another one would panic.
    fn drop(&mut self) {
        self.runtimes.drain(..).for_each(Runtime::shutdown_background);
    }
}

/// Under full load a thread never parks, and looks for new events only between so many turns of tasks: a turn of a busy connection
/// reads and takes up to 256 KiB, which is some hundred microseconds.
const TURNS_BETWEEN_EVENTS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::listener::Acceptor;
    use std::time::Duration;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    #[tokio::test]
    async fn a_connection_goes_to_the_loop_with_the_fewest_and_ends_with_it() {
        let loops = EventLoops::new(2).unwrap();
        let runtimes = loops.handles();
        let counts = || -> Vec<usize> {
            loops.runtimes.iter().map(|runtime| runtime.metrics().num_alive_tasks()).collect()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let acceptor = Acceptor { name: "test", connections_max: 9, runtimes, on_refused: || {} };
        let serve = |mut stream: TcpStream, _, _| async move {
            drop(stream.read_to_end(&mut Vec::new()).await);
        };
        tokio::spawn(acceptor.run(listener, stop.clone(), tasks.clone(), serve));
        let mut streams = Vec::new();
        for (open, expected) in [(4, [2, 2]), (2, [0, 2]), (4, [2, 2])] {
            if open < streams.len() {
                // Every other one is on the first loop.
                streams.remove(2);
                streams.remove(0);
            }
            while streams.len() < open {
                let placed = counts().iter().sum::<usize>();
                streams.push(TcpStream::connect(addr).await.unwrap());
                until(|| counts().iter().sum::<usize>() > placed).await;
            }
            until(|| counts() == expected).await;
        }
        stop.cancel();
        drop(loops);
        for mut stream in streams {
            drop(stream.read_to_end(&mut Vec::new()).await);
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn until(is_so: impl Fn() -> bool) {
        for _ in 0..1000 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not come about");
    }
}
