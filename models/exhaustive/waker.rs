//! `atomic_waker::AtomicWaker` as far as watermarks use it, over loom's primitives: what came before a wake is seen by whoever registers
//! after it.

use loom::sync::Mutex;
use std::task::Waker;

#[derive(Debug, Default)]
pub(crate) struct AtomicWaker(Mutex<Option<Waker>>);

impl AtomicWaker {
    pub(crate) fn register(&self, waker: &Waker) {
        *self.0.lock().unwrap() = Some(waker.clone());
    }

    pub(crate) fn wake(&self) {
        let waker = self.0.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
