//! How long a committed row stays invisible while the server is under load.
//!
//! One thread writes a row every 100 ms on a connection of its own, another counts. The writer keeps its schedule
//! whatever the reader sees, so a slow second costs ten rows their freshness and not one.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::Clock;

use super::connection::latency_histogram;
use super::http::{Http, HttpError};

/// The table of the probe's rows.
pub(super) const TABLE: &str = "bench_probe";

const WRITE_INTERVAL: Duration = Duration::from_millis(100);
const COUNT_INTERVAL: Duration = Duration::from_millis(10);

/// Rows of this probe that are written and not yet seen, oldest first, by when they were due.
type Unseen = Mutex<VecDeque<Duration>>;

/// Why freshness could not be measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("write a probe row: {0}")]
    Write(#[from] io::Error),
    #[error("count the probe's rows: {0}")]
    Count(#[from] HttpError),
    #[error("{0} rows of the probe were not seen within {1:?}")]
    Unseen(usize, Duration),
}

/// Writes and counts until `stop` is set and all rows are seen; microseconds from writing a row to seeing it.
pub(super) fn measure(
    stream: &TcpStream,
    http: &Http,
    clock: &Clock,
    stop: &AtomicBool,
    patience: Duration,
) -> Result<Histogram<u64>, ProbeError> {
    let unseen = Unseen::default();
    let seen_before = http.count(&[TABLE])?;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let written = write_rows(stream, clock, stop, &unseen);
            // The reader's end, also if the writer failed.
            stop.store(true, Ordering::Release);
            written
        });
        let read = read_counts(http, clock, stop, &unseen, seen_before, patience);
        stop.store(true, Ordering::Release);
        writer.join().expect("the writer returns its errors")?;
        read
    })
}

fn write_rows(
    mut stream: &TcpStream,
    clock: &Clock,
    stop: &AtomicBool,
    unseen: &Unseen,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut due = clock.monotonic();
    while !stop.load(Ordering::Acquire) {
        let row =
            format!("{TABLE},probe=freshness due_ms={}i {}\n", due.as_millis(), clock.wall_nanos());
        unseen.lock().expect("no holder panics").push_back(due);
        stream.write_all(row.as_bytes())?;
        due += WRITE_INTERVAL;
        thread::sleep(due.saturating_sub(clock.monotonic()));
    }
    stream.shutdown(Shutdown::Write)
}

fn read_counts(
    http: &Http,
    clock: &Clock,
    stop: &AtomicBool,
    unseen: &Unseen,
    mut seen: u64,
    patience: Duration,
) -> Result<Histogram<u64>, ProbeError> {
    let mut freshness_us = latency_histogram();
    let mut stopped_at = None;
    loop {
        let stopped = stop.load(Ordering::Acquire);
        let count = http.count(&[TABLE])?;
        let now = clock.monotonic();
        let waiting = {
            let mut unseen = unseen.lock().expect("no holder panics");
            // One table's rows of one connection become visible in the order in which they were written.
            for due in (seen..count).map_while(|_| unseen.pop_front()) {
                freshness_us.saturating_record(now.saturating_sub(due).as_micros() as u64);
            }
            unseen.len()
        };
        seen = seen.max(count);
        if stopped {
            let since = *stopped_at.get_or_insert(now);
            if waiting == 0 {
                return Ok(freshness_us);
            } else if now - since > patience {
                return Err(ProbeError::Unseen(waiting, patience));
            }
        }
        thread::sleep(COUNT_INTERVAL);
    }
}
