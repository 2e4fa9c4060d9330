//! How far a writer's commits have come: two watermarks that only rise.

use super::sync::{AtomicU64, Notify, Ordering, Thread, current, park};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

/// The watermarks of one stream of commits: `committed <= published`, both in ordinals of that stream.
///
/// Shared by the stream's one producer, the sequencer, and anybody who waits.
#[derive(Debug, Default)]
pub struct Progress {
    /// Highest ordinal that has numbers and is on its way to `apply`. Under `sync` and `nosync` the same as `committed`.
    published: AtomicU64,
    /// Highest ordinal that may be acknowledged. Release in [`Progress::commit`]; pairs with the Acquire in
    /// [`Progress::committed`], so that whoever sees the number sees what `on_commit` did for it.
    committed: AtomicU64,
    changed: Notify,
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
        self.until(|| self.committed() >= ordinal).await;
    }

    /// Returns once `ordinal` has its transaction numbers.
    pub async fn sequenced(&self, ordinal: u64) {
        self.until(|| self.published() >= ordinal).await;
    }

    /// Blocks the thread until `ordinal` may be acknowledged. Never call it on a runtime's thread.
    pub fn wait(&self, ordinal: u64) {
        let waker = Waker::from(Arc::new(Unpark(current())));
        let mut context = Context::from_waker(&waker);
        let mut reached = pin!(self.reached(ordinal));
        while reached.as_mut().poll(&mut context).is_pending() {
            park();
        }
    }

    async fn until(&self, done: impl Fn() -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Listen before looking: a step between the two must not be missed.
            changed.as_mut().enable();
            if done() {
                return;
            }
            changed.await;
        }
    }

    /// Release; pairs with the Acquire in [`Progress::published`]. Not a step that may be acknowledged.
    pub(super) fn publish(&self, ordinal: u64) {
        self.published.fetch_max(ordinal, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(super) fn commit(&self, ordinal: u64) {
        self.published.fetch_max(ordinal, Ordering::Release);
        self.committed.fetch_max(ordinal, Ordering::Release);
        self.changed.notify_waiters();
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
            for ordinal in 1..=4 {
                let progress = progress.clone();
                scope.spawn(move || {
                    progress.wait(ordinal);
                    assert!(progress.committed() >= ordinal);
                });
            }
            for ordinal in 1..=4 {
                progress.commit(ordinal);
            }
        });
    }
}
