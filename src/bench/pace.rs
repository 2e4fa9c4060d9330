//! When a line should be written: what makes a latency count from the schedule, and not from when the server let us.

use std::time::Duration;

/// A connection's schedule: evenly spaced lines, or none at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    lines_per_second: Option<f64>,
}

impl Pace {
    /// One connection's part of `lines_per_second` over all `connections`.
    pub(super) fn new(lines_per_second: Option<u64>, connections: u16) -> Pace {
        let part = |total: u64| total as f64 / f64::from(connections);
        Pace { lines_per_second: lines_per_second.map(part) }
    }

    /// How many lines should have been written at `elapsed` since the start; `None` if as many as possible.
    pub(super) fn due(self, elapsed: Duration) -> Option<u64> {
        // The first line is due at once.
        self.lines_per_second.map(|rate| (elapsed.as_secs_f64() * rate) as u64 + 1)
    }

    /// When line `index`, from 0, should be written, counted from the start; `None` if as soon as possible.
    pub(super) fn intended(self, index: u64) -> Option<Duration> {
        self.lines_per_second.map(|rate| Duration::from_secs_f64(index as f64 / rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_spread_evenly_over_the_second_and_the_connections() {
        let pace = Pace::new(Some(1_000), 4);
        assert_eq!(pace.due(Duration::ZERO), Some(1));
        assert_eq!(pace.due(Duration::from_millis(500)), Some(126));
        assert_eq!(pace.intended(0), Some(Duration::ZERO));
        assert_eq!(pace.intended(250), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_line_is_due_when_its_time_has_come() {
        let pace = Pace::new(Some(8), 1);
        for index in 0..100 {
            let at = pace.intended(index).expect("there is a rate");
            assert_eq!(pace.due(at), Some(index + 1));
        }
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let pace = Pace::new(None, 4);
        assert_eq!(pace.due(Duration::from_secs(9)), None);
        assert_eq!(pace.intended(9), None);
    }
}
