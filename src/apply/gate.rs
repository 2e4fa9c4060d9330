//! The one bound on memory: what tails hold and what is committed and not yet applied.

use super::sync::{AtomicBool, AtomicU64, Mutex, Notify, Ordering, fence};
use crate::metrics;
use std::sync::PoisonError;

/// Lets connections read on while memory lasts. It closes past a bound and opens again once an eighth of the bound is
/// free, so that it does not flutter.
///
/// Counts are exact at rest: what is added is taken away by the same number. Counts and flag are Relaxed, since nothing else is read because
/// of them; what orders them among themselves is in [`Gate::update`].
#[derive(Debug)]
pub struct Gate {
    tail_bytes_max: u64,
    unapplied_bytes_max: u64,
    tail_bytes: AtomicU64,
    /// Of `tail_bytes`, what is frozen and on its way into parts.
    frozen_bytes: AtomicU64,
    /// Of `frozen_bytes`, what stays for now, because its table's flush fails and others' do not.
    stuck_bytes: AtomicU64,
    unapplied_bytes: AtomicU64,
    /// What waits for tables that stand still, which must not stop the others.
    apart_bytes: AtomicU64,
    closed: AtomicBool,
    /// Held while the flag changes, so that it never shows counts older than the last change.
    change: Mutex<()>,
    opened: Notify,
}

impl Gate {
    pub(super) fn new(tail_bytes_max: u64, unapplied_bytes_max: u64) -> Gate {
        metrics::TAIL_BUDGET_BYTES.set(tail_bytes_max as f64);
        Gate {
            tail_bytes_max,
            unapplied_bytes_max,
            tail_bytes: AtomicU64::new(0),
            frozen_bytes: AtomicU64::new(0),
            stuck_bytes: AtomicU64::new(0),
            unapplied_bytes: AtomicU64::new(0),
            apart_bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            change: Mutex::new(()),
            opened: Notify::new(),
        }
    }

    /// True while connections may read on.
    pub fn admitted(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// Returns once connections may read on.
    pub async fn wait(&self) {
        loop {
            let opened = self.opened.notified();
            let mut opened = std::pin::pin!(opened);
            opened.as_mut().enable();
            if self.admitted() {
                return;
            }
            opened.await;
        }
    }

    /// Memory held by tails, those that are being flushed included.
    pub fn tail_bytes(&self) -> u64 {
        self.tail_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of frames that are committed and not yet applied.
    pub fn unapplied_bytes(&self) -> u64 {
        self.unapplied_bytes.load(Ordering::Relaxed)
    }

    /// Of [`Gate::tail_bytes`], what is held by tables whose flush fails while others' do not.
    pub fn stuck_bytes(&self) -> u64 {
        self.stuck_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of frames that are committed to tables that stand still and not applied.
    pub fn apart_bytes(&self) -> u64 {
        self.apart_bytes.load(Ordering::Relaxed)
    }

    /// What tails take that are not stuck.
    fn moving_bytes(&self) -> u64 {
        self.tail_bytes().saturating_sub(self.stuck_bytes())
    }

    /// What they may take. Stuck ones may have half as much again beside it; what they have beyond that is taken from the others, so that
    /// the sum is bounded.
    fn moving_bytes_max(&self) -> u64 {
        let beyond = self.stuck_bytes().saturating_sub(self.tail_bytes_max / 2);
        self.tail_bytes_max.saturating_sub(beyond)
    }

    /// True when apply itself must let flushes go first.
    pub(super) fn is_over_budget(&self) -> bool {
        self.moving_bytes() > self.moving_bytes_max()
    }

    /// True when tails take more than they should in the long run.
    pub(super) fn is_under_pressure(&self) -> bool {
        // With nothing left for the others, one table at a time has to do.
        let max = self.moving_bytes_max();
        max == 0 || self.moving_bytes() > max / 4 * 3
    }

    /// How many bytes of open tails should be frozen now, beyond those that are.
    pub(super) fn excess(&self) -> u64 {
        let open = self.tail_bytes().saturating_sub(self.frozen_bytes.load(Ordering::Relaxed));
        let wanted = self.moving_bytes_max() / 4 * 3;
        if self.is_under_pressure() { open.saturating_sub(wanted / 2) } else { 0 }
    }

    pub(super) fn tail_grew(&self, before: u64, after: u64) {
        change(&self.tail_bytes, before, after);
        self.update();
    }

    pub(super) fn froze(&self, bytes: u64) {
        self.frozen_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn flushed(&self, bytes: u64) {
        self.frozen_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.tail_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.update();
    }

    /// What a table holds that is stuck goes from one number to another.
    pub(super) fn stuck(&self, before: u64, after: u64) {
        change(&self.stuck_bytes, before, after);
        self.update();
    }

    pub(super) fn committed(&self, bytes: u64, is_apart: bool) {
        self.unapplied(is_apart).fetch_add(bytes, Ordering::Relaxed);
        self.update();
    }

    pub(super) fn applied(&self, bytes: u64, is_apart: bool) {
        self.unapplied(is_apart).fetch_sub(bytes, Ordering::Relaxed);
        self.update();
    }

    /// What waits for a table is no longer counted with what waits for the others.
    pub(super) fn set_apart(&self, bytes: u64) {
        self.apart_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.unapplied_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.update();
    }

    fn unapplied(&self, is_apart: bool) -> &AtomicU64 {
        if is_apart { &self.apart_bytes } else { &self.unapplied_bytes }
    }

    /// Closes or opens by the counts as they are.
    ///
    /// Whoever changes the flag looks at the counts once more afterwards, and whoever changes a count looks at the flag afterwards; the
    /// fences between see to it that one of two who meet sees the other. Otherwise a gate could stay closed with nothing left to open it.
    fn update(&self) {
        fence(Ordering::SeqCst);
        if self.should_be_closed() == self.closed.load(Ordering::Relaxed) {
            return;
        }
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let closed = self.should_be_closed();
            if closed == self.closed.load(Ordering::Relaxed) {
                return;
            }
            self.closed.store(closed, Ordering::Relaxed);
            if !closed {
                self.opened.notify_waiters();
            }
            fence(Ordering::SeqCst);
        }
    }

    fn should_be_closed(&self) -> bool {
        let is_past = |share: fn(u64) -> u64| {
            self.moving_bytes() > share(self.moving_bytes_max())
                || self.unapplied_bytes() > share(self.unapplied_bytes_max)
        };
        if self.closed.load(Ordering::Relaxed) {
            is_past(|bound| bound / 8 * 7)
        } else {
            is_past(|bound| bound)
        }
    }
}

/// One of those who are counted goes from one number to another.
fn change(count: &AtomicU64, before: u64, after: u64) {
    if after >= before {
        count.fetch_add(after - before, Ordering::Relaxed);
    } else {
        count.fetch_sub(before - after, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_closes_past_its_bound_and_opens_when_an_eighth_is_free() {
        let gate = Gate::new(800, 80);
        gate.tail_grew(0, 800);
        assert!(gate.admitted());
        gate.tail_grew(800, 801);
        assert!(!gate.admitted());
        gate.froze(50);
        gate.flushed(50);
        assert!(!gate.admitted(), "751 of 800 is not yet an eighth free");
        gate.tail_grew(751, 700);
        assert!(gate.admitted());
        gate.committed(81, false);
        assert!(!gate.admitted());
        gate.applied(81, false);
        assert!(gate.admitted());
    }

    #[test]
    fn what_waits_for_a_suspended_table_does_not_close_the_gate() {
        let gate = Gate::new(800, 80);
        gate.committed(81, false);
        assert!(!gate.admitted());
        gate.set_apart(81);
        gate.committed(500, true);
        assert!(gate.admitted());
        assert_eq!((gate.unapplied_bytes(), gate.apart_bytes()), (0, 581));
        gate.applied(581, true);
        assert_eq!(gate.apart_bytes(), 0);
    }

    #[test]
    fn what_is_stuck_leaves_the_others_their_budget_until_it_is_more_than_half_of_it() {
        let gate = Gate::new(800, 80);
        let grow = |bytes: u64| gate.tail_grew(0, bytes);
        grow(900);
        gate.froze(900);
        assert!(gate.is_over_budget() && !gate.admitted());
        gate.stuck(0, 400);
        assert!(!gate.is_over_budget() && gate.admitted());
        grow(300);
        assert!(!gate.is_over_budget() && gate.is_under_pressure());
        gate.stuck(400, 900);
        assert_eq!((gate.tail_bytes(), gate.stuck_bytes()), (1200, 900));
        assert!(!gate.is_over_budget(), "300 are left to the others");
        assert_eq!(gate.excess(), 188, "of which three eighths may be open");
        grow(1);
        assert!(gate.is_over_budget() && !gate.admitted());
        grow(299);
        gate.froze(300);
        gate.stuck(900, 1200);
        assert!(gate.is_under_pressure(), "with nothing left, one table at a time grows");
        gate.flushed(300);
        gate.stuck(1200, 900);
        grow(1);
        gate.flushed(900);
        gate.stuck(900, 0);
        assert!(!gate.is_over_budget() && gate.admitted());
        assert_eq!((gate.tail_bytes(), gate.stuck_bytes()), (301, 0));
    }

    #[test]
    fn what_is_frozen_is_not_asked_for_again() {
        let gate = Gate::new(800, 80);
        gate.tail_grew(0, 600);
        assert_eq!(gate.excess(), 0, "three quarters are allowed");
        gate.tail_grew(600, 700);
        assert_eq!(gate.excess(), 400);
        gate.froze(400);
        assert_eq!(gate.excess(), 0);
    }
}
