//! How far a writer's commits have come: two watermarks that only rise.

use super::sync::{AtomicU64, AtomicWaker, Ordering, Thread, current, park};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// The watermarks of one stream of commits: `committed <= published`, both in ordinals of that stream.
///
/// Shared by the stream's one producer, the sequencer, and whoever waits: one at a time, since whoever comes later takes the place of the
/// one before.
#[derive(Debug, Default)]
pub struct Progress {
    /// Highest ordinal that has numbers and is on its way to `apply`. Under `sync` and `nosync` the same as `committed`.
    published: AtomicU64,
    /// Highest ordinal that may be acknowledged. Release in [`Progress::commit`]; pairs with the Acquire in
    /// [`Progress::committed`], so that whoever sees the number sees what `on_commit` did for it.
    committed: AtomicU64,
    waiter: AtomicWaker,
}

impl Progress {
    /// Nothing committed yet.
    pub fn new() -> Arc<Progress> {
        Arc::default()
    }

    /// The highest ordinal that may be acknowledged, by the promise of the durability mode.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// The highest ordinal that has its transaction numbers. Under `async` it runs ahead of [`Progress::committed`].
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Returns once `ordinal` may be acknowledged.
    pub async fn reached(&self, ordinal: u64) {
        poll_fn(|context| self.poll_reached(context, ordinal)).await;
    }

    /// Ready once `ordinal` may be acknowledged.
    pub fn poll_reached(&self, context: &Context<'_>, ordinal: u64) -> Poll<()> {
        self.poll_until(context, || self.committed() >= ordinal)
    }

    /// Ready once `ordinal` has its transaction numbers.
    pub fn poll_sequenced(&self, context: &Context<'_>, ordinal: u64) -> Poll<()> {
        self.poll_until(context, || self.published() >= ordinal)
    }

    /// Blocks the thread until `ordinal` may be acknowledged. Never call it on a runtime's thread.
    pub fn wait(&self, ordinal: u64) {
        let waker = Waker::from(Arc::new(Unpark(current())));
        let context = Context::from_waker(&waker);
        while self.poll_reached(&context, ordinal).is_pending() {
            park();
        }
    }

    fn poll_until(&self, context: &Context<'_>, done: impl Fn() -> bool) -> Poll<()> {
        if done() {
            return Poll::Ready(());
        }
        // Listen before the look that counts: a step between the two must not be missed.
        self.waiter.register(context.waker());
        if done() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Release; pairs with the Acquire in [`Progress::published`]. Not a step that may be acknowledged.
    pub(super) fn publish(&self, ordinal: u64) {
        self.published.fetch_max(ordinal, Ordering::Release);
        self.waiter.wake();
    }

    pub(super) fn commit(&self, ordinal: u64) {
        self.published.fetch_max(ordinal, Ordering::Release);
        self.committed.fetch_max(ordinal, Ordering::Release);
        self.waiter.wake();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_never_fall() {
        let progress = Progress::default();
        progress.publish(3);
        assert_eq!((progress.published(), progress.committed()), (3, 0));
        progress.commit(2);
        progress.commit(1);
        assert_eq!((progress.published(), progress.committed()), (3, 2));
    }

    #[test]
    fn a_waiter_wakes_when_its_ordinal_is_reached() {
        let progress = Progress::new();
        std::thread::scope(|scope| {
            let waiting = progress.clone();
            scope.spawn(move || {
                for ordinal in 1..=4 {
                    waiting.wait(ordinal);
                    assert!(waiting.committed() >= ordinal);
                }
            });
            for ordinal in 1..=4 {
                progress.commit(ordinal);
            }
        });
    }
}
