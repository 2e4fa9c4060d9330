//! The way in: a lock-free stack that many threads push to and one drains as a whole.
//!
//! R. K. Treiber, "Systems Programming: Coping with Parallelism" (1986). Nobody ever pops a single node, the drain takes all
//! of them at once, so the ABA problem of that stack does not exist here: a pusher that is late links to whatever head it
//! then finds. The drained list is newest first and is turned round, which gives the order of arrival, and with it each
//! producer's own order.
//!
//! Cost: one allocation and, without contention, one compare-and-swap per push; one swap per drain.

use super::sync::{AtomicPtr, Ordering};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Mutex;

/// A queue of many producers and one consumer.
#[derive(Debug)]
pub(super) struct Intake<T> {
    head: AtomicPtr<Node<T>>,
    /// Values move between threads, as through a mutex: shareable exactly when `T` can be sent.
    _values: PhantomData<Mutex<T>>,
}

#[derive(Debug)]
struct Node<T> {
    value: T,
    next: *mut Node<T>,
}

impl<T> Intake<T> {
    pub(super) fn new() -> Intake<T> {
        Intake { head: AtomicPtr::new(ptr::null_mut()), _values: PhantomData }
    }

    /// Adds a value. True when nothing was waiting: the consumer may be asleep, and this producer is the one to wake it.
    #[allow(unsafe_code, reason = "a linked stack of raw nodes")]
    pub(super) fn push(&self, value: T) -> bool {
        let node = Box::into_raw(Box::new(Node { value, next: ptr::null_mut() }));
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: `node` came from `Box::into_raw` and is shared with nobody until the exchange below succeeds.
            unsafe { (*node).next = head };
            // Release: the node's contents come before the pointer to it; pairs with the Acquire in `drain`. A later
            // push continues this release sequence, so the drain sees every node below the head too. Acquire: the first
            // push after a drain sees what the consumer did before it.
            let swapped =
                self.head.compare_exchange_weak(head, node, Ordering::AcqRel, Ordering::Relaxed);
            match swapped {
                Ok(_) => return head.is_null(),
                Err(now) => head = now,
            }
        }
    }

    /// Appends everything that has been pushed to `into`, in order of arrival. One thread at a time.
    #[allow(unsafe_code, reason = "a linked stack of raw nodes")]
    pub(super) fn drain(&self, into: &mut impl Extend<T>) {
        let newest = self.head.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: the swap took the whole list out of reach of others.
        let mut node = unsafe { turn_round(newest) };
        into.extend(std::iter::from_fn(|| {
            if node.is_null() {
                return None;
            }
            // SAFETY: every pointer in the list came from `Box::into_raw` in `push`; the swap took the whole list out of
            // reach of others, and each node is taken from it once.
            let owned = unsafe { Box::from_raw(node) };
            node = owned.next;
            Some(owned.value)
        }));
    }
}

/// Turns a list round, so that its oldest node is the first.
///
/// # Safety
/// The nodes come from [`Intake::push`], and nobody else can reach them.
#[allow(unsafe_code, reason = "a linked stack of raw nodes")]
unsafe fn turn_round<T>(mut newest: *mut Node<T>) -> *mut Node<T> {
    let mut oldest = ptr::null_mut();
    while !newest.is_null() {
        // SAFETY: a pointer in the list is a node's, and only the caller has the list.
        let next = unsafe { std::mem::replace(&mut (*newest).next, oldest) };
        oldest = std::mem::replace(&mut newest, next);
    }
    oldest
}

impl<T> Drop for Intake<T> {
    fn drop(&mut self) {
        self.drain(&mut Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn values_come_out_in_order_and_only_the_first_push_wakes() {
        let intake = Intake::new();
        assert!(intake.push(1));
        assert!(!intake.push(2));
        let mut out = Vec::new();
        intake.drain(&mut out);
        assert_eq!(out, [1, 2]);
        assert!(intake.push(3));
        intake.drain(&mut out);
        assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn values_that_nobody_drained_are_dropped_with_the_intake() {
        let value = Arc::new(());
        let intake = Intake::new();
        intake.push(value.clone());
        intake.push(value.clone());
        drop(intake);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn every_producer_keeps_its_order_and_nothing_is_lost() {
        const PRODUCERS: usize = 8;
        const EACH: usize = 10_000;
        let intake = Intake::new();
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let intake = &intake;
                scope.spawn(move || {
                    for n in 0..EACH {
                        intake.push((producer, n));
                    }
                });
            }
            while seen.len() < PRODUCERS * EACH {
                intake.drain(&mut seen);
            }
        });
        let mut next = [0; PRODUCERS];
        for (producer, n) in seen {
            assert_eq!(n, next[producer]);
            next[producer] += 1;
        }
        assert_eq!(next, [EACH; PRODUCERS]);
    }
}
