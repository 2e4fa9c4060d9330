//! When work that failed is tried again: after a pause that doubles with every failure.

use std::time::Duration;

/// The pause after the first failure.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// One kind of work of one table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Retry {
    /// When the work may be tried again, monotonic; `None` while nothing failed.
    at: Option<Duration>,
    pause: Duration,
    /// The last failure, with no success since, was of this table alone: see [`super::Trouble::is_own`].
    is_stuck: bool,
}

impl Retry {
    /// The work failed once more; `is_own` when for a reason of this table alone.
    pub(super) fn failed(&mut self, now: Duration, is_own: bool) {
        self.is_stuck = is_own;
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        self.at = Some(now.saturating_add(self.pause));
    }

    /// True until the work succeeds, or fails for a reason that is everybody's, once it has failed for one of this table alone.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Lets the work be tried at once. Only success says that it is not stuck any more.
    pub(super) fn try_at_once(&mut self) {
        *self = Retry { is_stuck: self.is_stuck, ..Retry::default() };
    }

    /// True when the work may be tried.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_success() {
        let mut retry = Retry::default();
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert!(retry.is_due(now));
            retry.failed(now, true);
            let pause = retry.at.unwrap() - now;
            assert!(!retry.is_due(now + pause - Duration::from_nanos(1)));
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        retry.try_at_once();
        assert!(retry.is_due(now) && retry.is_stuck());
        retry.failed(now, false);
        assert!(retry.is_due(now + PAUSE_MIN));
    }
}
