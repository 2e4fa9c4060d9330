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
    /// A clock that moves only when told to: nanoseconds since 1970, also used as monotonic time.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clocks.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn real() -> Clock {
        Clock(Source::Real(Instant::now()))
    }

    /// A clock that stands at `nanos` since 1970 until [`Clock::advance`] moves it.
    pub fn manual(nanos: i64) -> Clock {
        Clock(Source::Manual(Arc::new(AtomicI64::new(nanos))))
    }

    /// Wall clock, nanoseconds since 1970. May jump either way.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn wall_nanos(&self) -> i64 {
        match &self.0 {
            Source::Real(_) => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
                Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
            },
            Source::Manual(nanos) => nanos.load(Ordering::Relaxed),
        }
    }

    /// Time since this clock was made; never goes back.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::Real(start) => start.elapsed(),
            Source::Manual(nanos) => {
                Duration::from_nanos(nanos.load(Ordering::Relaxed).max(0).unsigned_abs())
            }
        }
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    /// On a real clock: only a test that made a manual one may call this.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::Real(_) => panic!("the machine's clock cannot be moved"),
            Source::Manual(nanos) => {
                let step = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
                nanos.fetch_add(step, Ordering::Relaxed);
            }
        }
    }
}
