//! What happened to refused lines: counted always, logged and kept for `system.rejected_lines` at a bounded rate.
//!
//! Kept means in memory and in a ring: whoever sends rubbish can neither fill the disk nor the memory, and the counters
//! miss nothing.

use super::excerpt::{around, measurement};
use crate::clock::Clock;
use crate::codec::LineError;
use crate::metrics;
use crate::query::RejectedLine;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Log lines about refused lines in one [`WINDOW`], all connections together.
const LOGGED_MAX: u32 = 10;
/// Lines kept in one [`WINDOW`]: a flood must not push out at once what came before it.
const KEPT_MAX: u32 = 1_000;
const WINDOW: Duration = Duration::from_secs(1);

/// The log of refused lines.
#[derive(Debug)]
pub(super) struct RejectLog {
    clock: Clock,
    /// Lines kept in all.
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    start: Duration,
    logged: u32,
    silent: u64,
    kept_in_window: u32,
    kept: VecDeque<Arc<RejectedLine>>,
}

/// Where a refused line was.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) database: &'a Arc<str>,
    pub(super) peer: &'a Arc<str>,
    /// Number of the connection or request since the start.
    pub(super) connection: u64,
    /// Line of the connection or request, from 1.
    pub(super) line: u64,
    /// Byte of the connection or request at which the line began.
    pub(super) offset: u64,
}

impl RejectLog {
    pub(super) fn new(clock: Clock, capacity: usize) -> RejectLog {
        RejectLog { clock, capacity, state: Mutex::default() }
    }

    /// Counts a refused line; keeps it, and logs it, unless many were kept or logged just now.
    pub(super) fn record(&self, place: &Place<'_>, text: &[u8], error: &LineError) {
        metrics::lines_rejected(error.reason.as_str()).increment(1);
        let Admitted { keep, log } = self.admit();
        if !keep && log.is_none() {
            return;
        }
        let line = Arc::new(RejectedLine {
            time: self.clock.wall_nanos(),
            database: place.database.clone(),
            table: measurement(text),
            peer: place.peer.clone(),
            connection: place.connection,
            line: place.line,
            offset: place.offset + error.offset as u64,
            reason: error.reason.as_str(),
            detail: error.detail.to_string(),
            excerpt: around(text, error.offset),
        });
        if let Some(silent) = log {
            if silent > 0 {
                tracing::warn!(lines = silent, "more lines were refused than are logged");
            }
            tracing::warn!(
                database = &*line.database,
                peer = &*line.peer,
                line = line.line,
                offset = line.offset,
                reason = line.reason,
                detail = %line.detail,
                text = %line.excerpt,
                "line refused"
            );
        }
        if keep {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.kept.len() >= self.capacity {
                state.kept.pop_front();
            }
            state.kept.push_back(line);
        }
    }

    /// The lines kept, oldest first.
    pub(super) fn kept(&self) -> Vec<Arc<RejectedLine>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.kept.iter().cloned().collect()
    }

    fn admit(&self) -> Admitted {
        let now = self.clock.monotonic();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(state.start) >= WINDOW {
            (state.start, state.logged, state.kept_in_window) = (now, 0, 0);
        }
        let keep = self.capacity > 0 && state.kept_in_window < KEPT_MAX;
        state.kept_in_window += u32::from(keep);
        let log = if state.logged < LOGGED_MAX {
            state.logged += 1;
            Some(std::mem::take(&mut state.silent))
        } else {
            state.silent += 1;
            None
        };
        Admitted { keep, log }
    }
}

/// What is done with a line.
#[derive(Debug)]
struct Admitted {
    keep: bool,
    /// Logged; and how many were not since the last that was.
    log: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Reason;

    fn refuse(log: &RejectLog, line: u64) {
        let (database, peer) = ("public".into(), "1.2.3.4:5".into());
        let place = Place { database: &database, peer: &peer, connection: 1, line, offset: 10 };
        log.record(&place, b"cpu v=x", &LineError::new(Reason::BadValue, 6, "no value"));
    }

    #[test]
    fn the_log_is_bounded_and_says_how_much_it_left_out() {
        let clock = Clock::manual(0);
        let log = RejectLog::new(clock.clone(), 1);
        let admitted = (0..100).filter(|_| log.admit().log.is_some()).count();
        assert_eq!(admitted, LOGGED_MAX as usize);
        clock.advance(WINDOW);
        assert_eq!(log.admit().log, Some(90));
    }

    #[test]
    fn lines_are_kept_up_to_a_number_and_a_rate() {
        let clock = Clock::manual(0);
        let log = RejectLog::new(clock.clone(), 1_500);
        (0..5_000).for_each(|line| refuse(&log, line));
        let kept = log.kept();
        assert_eq!((kept.len(), kept[0].line), (KEPT_MAX as usize, 0));
        assert_eq!((kept[0].offset, kept[0].table.as_deref()), (16, Some("cpu")));
        clock.advance(WINDOW);
        (0..5_000).for_each(|line| refuse(&log, line));
        let kept = log.kept();
        assert_eq!((kept.len(), kept[0].line), (1_500, 500));
    }
}
