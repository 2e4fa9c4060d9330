//! The only door to time: the wall clock that stamps rows, and the monotonic clock that paces work.
//!
//! Everything that asks for the time holds a [`Clock`], so that a test can hold the hands of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time. Clones share one state.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The machine's clocks; the instant is where the monotonic count begins.
    Real(Instant),
    /// A clock that moves only when told to.
    Manual(Arc<Hands>),
}

#[derive(Debug)]
struct Hands {
    /// Nanoseconds; never goes back.
    monotonic: AtomicI64,
    /// What the wall clock shows beyond that.
    wall_offset: AtomicI64,
}

impl Clock {
    /// The machine's clocks.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn real() -> Clock {
        Clock(Source::Real(Instant::now()))
    }

    /// A clock that stands at `nanos` since 1970 until [`Clock::advance`] moves it. Its monotonic time is the same number.
    pub fn manual(nanos: i64) -> Clock {
        let hands = Hands { monotonic: AtomicI64::new(nanos), wall_offset: AtomicI64::new(0) };
        Clock(Source::Manual(Arc::new(hands)))
    }

    /// Wall clock, nanoseconds since 1970. May jump either way.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn wall_nanos(&self) -> i64 {
        match &self.0 {
            Source::Real(_) => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
                Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
            },
            Source::Manual(hands) => {
                let offset = hands.wall_offset.load(Ordering::Relaxed);
                hands.monotonic.load(Ordering::Relaxed).saturating_add(offset)
            }
        }
    }

    /// Time since this clock was made; never goes back.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::Real(start) => start.elapsed(),
            Source::Manual(hands) => {
                let nanos = hands.monotonic.load(Ordering::Relaxed);
                Duration::from_nanos(nanos.max(0).unsigned_abs())
            }
        }
    }

    /// Returns once so much time has passed: blocks the thread, or moves a manual clock.
    pub fn sleep(&self, time: Duration) {
        match &self.0 {
            Source::Real(_) => std::thread::sleep(time),
            Source::Manual(_) => self.advance(time),
        }
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    /// On a real clock: only a test that made a manual one may call this.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::Real(_) => panic!("the machine's clock cannot be moved"),
            Source::Manual(hands) => {
                let step = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
                hands.monotonic.fetch_add(step, Ordering::Relaxed);
            }
        }
    }

    /// Moves the wall clock of a manual clock, either way; monotonic time stays.
    ///
    /// # Panics
    /// On a real clock: only a test that made a manual one may call this.
    pub fn step_wall(&self, nanos: i64) {
        match &self.0 {
            Source::Real(_) => panic!("the machine's clock cannot be moved"),
            Source::Manual(hands) => {
                hands.wall_offset.fetch_add(nanos, Ordering::Relaxed);
            }
        }
    }
}
