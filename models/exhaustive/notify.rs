//! `tokio::sync::Notify` as far as apply uses it, over loom's primitives: a future made before `notify_waiters` is woken by it.

use loom::sync::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
pub(crate) struct Notify(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    calls: u64,
    waiting: Vec<Waker>,
}

#[derive(Debug)]
pub(crate) struct Notified<'a> {
    of: &'a Notify,
    seen: u64,
}

impl Notify {
    pub(crate) fn new() -> Notify {
        Notify::default()
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified { of: self, seen: self.0.lock().unwrap().calls }
    }

    pub(crate) fn notify_waiters(&self) {
        let waiting = {
            let mut state = self.0.lock().unwrap();
            state.calls += 1;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Notified<'_> {
    /// Making the future enabled it.
    pub(crate) fn enable(self: Pin<&mut Self>) -> bool {
        false
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.of.0.lock().unwrap();
        if state.calls != self.seen {
            return Poll::Ready(());
        }
        state.waiting.push(context.waker().clone());
        Poll::Pending
    }
}
