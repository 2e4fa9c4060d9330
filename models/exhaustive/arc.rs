//! `std::sync::Arc` and `Weak` as far as segments use them, over loom's primitives: loom's own has no `Weak`. What is counted is freed late,
//! and nobody can get at it any more.

use loom::sync::atomic::{AtomicUsize, Ordering};
use std::ops::Deref;

#[derive(Debug)]
pub(crate) struct Arc<T>(std::sync::Arc<Counted<T>>);

#[derive(Debug)]
pub(crate) struct Weak<T>(Option<std::sync::Arc<Counted<T>>>);

#[derive(Debug)]
struct Counted<T> {
    owners: AtomicUsize,
    value: T,
}

impl<T> Arc<T> {
    pub(crate) fn new(value: T) -> Arc<T> {
        Arc(std::sync::Arc::new(Counted { owners: AtomicUsize::new(1), value }))
    }

    pub(crate) fn downgrade(this: &Arc<T>) -> Weak<T> {
        Weak(Some(this.0.clone()))
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Arc<T> {
        self.0.owners.fetch_add(1, Ordering::Relaxed);
        Arc(self.0.clone())
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        self.0.owners.fetch_sub(1, Ordering::Release);
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Weak<T> {
    pub(crate) fn upgrade(&self) -> Option<Arc<T>> {
        let counted = self.0.as_ref()?;
        let mut owners = counted.owners.load(Ordering::Relaxed);
        while owners != 0 {
            let more = counted.owners.compare_exchange_weak(
                owners,
                owners + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match more {
                Ok(_) => return Some(Arc(counted.clone())),
                Err(now) => owners = now,
            }
        }
        None
    }
}

impl<T> Default for Weak<T> {
    fn default() -> Weak<T> {
        Weak(None)
    }
}
