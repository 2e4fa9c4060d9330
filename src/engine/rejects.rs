//! What happened to refused lines: counted always, logged at a bounded rate.

use crate::clock::Clock;
use crate::codec::LineError;
use crate::metrics;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Log lines about refused lines in one [`WINDOW`], all connections together.
const LOGGED_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);
/// Bytes of a refused line that a log line shows.
const EXCERPT_BYTES: usize = 64;

/// The log of refused lines.
#[derive(Debug)]
pub(super) struct RejectLog {
    clock: Clock,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    start: Duration,
    logged: u32,
    silent: u64,
}

/// Where a refused line was.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) database: &'a str,
    pub(super) peer: &'a str,
    /// Line of the connection or request, from 1.
    pub(super) line: u64,
    /// Byte of the connection or request at which the line began.
    pub(super) offset: u64,
}

impl RejectLog {
    pub(super) fn new(clock: Clock) -> RejectLog {
        RejectLog { clock, window: Mutex::default() }
    }

    /// Counts a refused line, and logs it unless many were logged just now.
    pub(super) fn record(&self, place: &Place<'_>, text: &[u8], error: &LineError) {
        metrics::lines_rejected(error.reason.as_str()).increment(1);
        let Some(silent) = self.admit() else { return };
        if silent > 0 {
            tracing::warn!(lines = silent, "more lines were refused than are logged");
        }
        tracing::warn!(
            database = place.database,
            peer = place.peer,
            line = place.line,
            offset = place.offset + error.offset as u64,
            reason = error.reason.as_str(),
            detail = %error.detail,
            text = %excerpt(text),
            "line refused"
        );
    }

    /// `None` when this one is not logged; else how many were not since the last that was.
    fn admit(&self) -> Option<u64> {
        let now = self.clock.monotonic();
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(window.start) >= WINDOW {
            window.start = now;
            window.logged = 0;
        }
        if window.logged == LOGGED_MAX {
            window.silent += 1;
            return None;
        }
        window.logged += 1;
        Some(std::mem::take(&mut window.silent))
    }
}

/// The start of a line, with every byte that a terminal could act on escaped.
pub(super) fn excerpt(text: &[u8]) -> String {
    let cut = text.len().min(EXCERPT_BYTES);
    let mut shown = text[..cut].escape_ascii().to_string();
    if cut < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_says_how_much_it_left_out() {
        let clock = Clock::manual(0);
        let log = RejectLog::new(clock.clone());
        let admitted = (0..100).filter(|_| log.admit().is_some()).count();
        assert_eq!(admitted, LOGGED_MAX as usize);
        clock.advance(WINDOW);
        assert_eq!(log.admit(), Some(90));
    }
}
