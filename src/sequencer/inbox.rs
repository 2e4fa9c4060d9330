//! Where many threads hand values in and one takes them out, sleeps when there are none, and ends when it is told to.

use super::intake::Intake;
use super::sync::{AtomicIsize, AtomicU8, Ordering, Thread, park, park_timeout};
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::Duration;

/// Values on their way to one consumer, and its orders.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    intake: Intake<T>,
    /// An [`Order`]; only rises. Release in [`Inbox::give`]; pairs with the Acquire in [`Inbox::order`], so that whoever obeys
    /// sees every value that was pushed before the order.
    order: AtomicU8,
    /// While the consumer waits for company: how many more pushes until it is woken. Else 0 or less. A hint without an order of its own, but
    /// for its end, which whoever pushes after the next drain must see: that push has to wake the consumer.
    missing: AtomicIsize,
    /// Whom a push wakes; nobody while there is no thread.
    consumer: OnceLock<Thread>,
}

/// What the consumer is to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(super) enum Order {
    /// Go on.
    Run = 0,
    /// Take what has been pushed, and end well.
    Finish = 1,
    /// End now.
    Abandon = 2,
}

/// The one who takes the values.
pub(super) trait Consumer<T> {
    type Error;

    /// How many values are worth waiting for once there is one, and how long at most.
    fn expects(&self) -> Option<(usize, Duration)> {
        None
    }

    /// Monotonic time.
    fn now(&self) -> Duration;

    /// Takes some of the values, at least one of those there are.
    fn turn(&mut self, waiting: &mut VecDeque<T>) -> Result<(), Self::Error>;

    /// Does what has become due by itself; returns how long to sleep at most when nothing comes in.
    fn idle(&mut self) -> Result<Option<Duration>, Self::Error>;

    /// Nothing will come in any more.
    fn finish(&mut self) -> Result<(), Self::Error>;
}

/// What came of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TurnEnd {
    /// Something was committed; there may be more.
    Worked,
    /// There was nothing to do. The next turn is due after a push, or after this time.
    Idle(Option<Duration>),
    /// The log has ended, as it was told to.
    Ended,
}

impl<T> Inbox<T> {
    pub(super) fn new() -> Inbox<T> {
        Inbox {
            intake: Intake::new(),
            order: AtomicU8::new(Order::Run as u8),
            missing: AtomicIsize::new(0),
            consumer: OnceLock::new(),
        }
    }

    /// Says whom to wake from now on, and wakes it: values may be waiting already.
    pub(super) fn attend(&self, consumer: &Thread) {
        self.consumer.get_or_init(|| consumer.clone()).unpark();
    }

    /// Hands a value in, and wakes the consumer when it may be asleep and this is what it waits for.
    pub(super) fn push(&self, value: T) {
        let is_first = self.intake.push(value);
        let is_awaited = match self.missing.load(Ordering::Relaxed) {
            1.. => self.missing.fetch_sub(1, Ordering::Relaxed) == 1,
            _ => is_first,
        };
        if is_awaited {
            self.wake();
        }
    }

    /// Tells the consumer what to do from now on. An order is never taken back.
    pub(super) fn give(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Release);
        self.wake();
    }

    pub(super) fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Run,
            1 => Order::Finish,
            _ => Order::Abandon,
        }
    }

    /// The consumer's life.
    pub(super) fn serve<C: Consumer<T>>(
        &self,
        consumer: &mut C,
        waiting: &mut VecDeque<T>,
    ) -> Result<(), C::Error> {
        loop {
            self.gather(consumer, waiting);
            match self.turn(consumer, waiting)? {
                TurnEnd::Worked => {}
                TurnEnd::Ended => return Ok(()),
                // A push or an order between that look and this park makes the park return at once.
                TurnEnd::Idle(Some(pause)) => park_timeout(pause),
                TurnEnd::Idle(None) => park(),
            }
        }
    }

    /// Waits for company of the first values. The push that completes it ends the wait, and no other.
    fn gather<C: Consumer<T>>(&self, consumer: &C, waiting: &mut VecDeque<T>) {
        let Some((wanted, patience)) = consumer.expects() else { return };
        self.intake.drain(waiting);
        if waiting.is_empty() || waiting.len() >= wanted {
            return;
        }
        self.missing.store((wanted - waiting.len()) as isize, Ordering::Relaxed);
        let until = consumer.now() + patience;
        // A push before may have left a wake behind, which ends the first pause at once.
        for _ in 0..2 {
            let left = until.saturating_sub(consumer.now());
            if left.is_zero()
                || self.missing.load(Ordering::Relaxed) <= 0
                || self.order() != Order::Run
            {
                break;
            }
            park_timeout(left);
        }
        self.missing.store(0, Ordering::Relaxed);
    }

    /// One look at orders and values. `waiting` is what earlier turns have left.
    pub(super) fn turn<C: Consumer<T>>(
        &self,
        consumer: &mut C,
        waiting: &mut VecDeque<T>,
    ) -> Result<TurnEnd, C::Error> {
        // Before the look at orders and values: it may wait for threads of its own, which takes away the wake of what comes meanwhile.
        let due = consumer.idle()?;
        // The order before the drain: what was pushed before the order is in the drain.
        let order = self.order();
        if order == Order::Abandon {
            return Ok(TurnEnd::Ended);
        }
        self.intake.drain(waiting);
        let is_idle = waiting.is_empty();
        if !is_idle {
            consumer.turn(waiting)?;
        } else if order == Order::Finish {
            consumer.finish()?;
            return Ok(TurnEnd::Ended);
        }
        // Idle only after a look that found nothing: the order to finish wakes the thread once, and may have done so already.
        Ok(if is_idle { TurnEnd::Idle(due) } else { TurnEnd::Worked })
    }

    fn wake(&self) {
        if let Some(consumer) = self.consumer.get() {
            consumer.unpark();
        }
    }
}
