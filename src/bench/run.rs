//! A run from the first connection to the verdict.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::Clock;

use super::args::BenchArgs;
use super::connection::{Load, Outcome, drive, latency_histogram};
use super::file::{FileLines, Plan};
use super::http::{Http, HttpError};
use super::pace::Pace;
use super::probe;
use super::report::{Grouped, Latency, Phase, Report};
use super::workload::{Lines, Share};

/// How long a run lasts when nobody says.
const DURATION_DEFAULT: Duration = Duration::from_secs(10);

/// How often the count is asked for while rows are not all visible.
const COUNT_INTERVAL: Duration = Duration::from_millis(20);

const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(
        "cannot connect to {addr}: {source}; is the server running? `headwater serve` starts one"
    )]
    Connect { addr: String, source: io::Error },
    #[error("read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("write {path}: {source}")]
    Write { path: String, source: io::Error },
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Loads a server and prints what it held; failure if it cannot be reached, if it broke its word, or, under
/// `--verify`, if any line is not accounted for.
pub fn run(args: BenchArgs) -> ExitCode {
    match bench(&args) {
        Ok(report) => {
            print!("{report}");
            let agreed = report.verdict().1;
            if args.verify && !agreed {
                eprintln!("error: the server does not hold what was sent");
            }
            let good = report.failures.is_empty() && (agreed || !args.verify);
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What to send, and where it will be counted.
struct Source {
    name: String,
    tables: Vec<String>,
    /// By connection.
    lines: Vec<Box<dyn Lines>>,
    /// The most rows to send over all connections.
    rows: Option<u64>,
    /// Rows to show progress against.
    rows_expected: Option<u64>,
}

/// What to count, and up to where.
struct Counted {
    tables: Vec<String>,
    before: u64,
    expected: u64,
}

fn bench(args: &BenchArgs) -> Result<Report, BenchError> {
    let mut source = open(args)?;
    let http = Http::new(&args.http_addr, args.wait);
    let before = if args.no_count { 0 } else { http.count(&source.tables)? };
    let connect = || {
        TcpStream::connect(&args.addr)
            .map_err(|source| BenchError::Connect { addr: args.addr.clone(), source })
    };
    let streams: Vec<TcpStream> =
        (0..args.connections).map(|_| connect()).collect::<Result<_, _>>()?;
    let probe_stream = if args.freshness { Some(connect()?) } else { None };
    let unlimited = args.rows.is_none() && args.file.is_none();
    let load = Load {
        clock: Clock::real(),
        pace: Pace::new(args.rate, args.connections),
        duration: args.duration.or_else(|| unlimited.then_some(DURATION_DEFAULT)),
        ack_every: (!args.no_ack).then_some(args.ack_every),
        one_line_per_write: args.file.is_none() && args.workload.one_line_per_write(),
        patience: args.wait,
        sent: AtomicU64::new(0),
    };

    let stop = AtomicBool::new(false);
    let (start, outcomes, freshness) = thread::scope(|scope| {
        let (load, http, stop) = (&load, &http, &stop);
        let probe = probe_stream.as_ref().map(|stream| {
            scope.spawn(move || probe::measure(stream, http, &load.clock, stop, args.wait))
        });
        let (start, outcomes) = send(&mut source, &streams, load);
        stop.store(true, Ordering::Release);
        let freshness = probe.map(|probe| probe.join().expect("the probe returns its errors"));
        (start, outcomes, freshness)
    });

    let mut report = summary(args, &source, &load.clock, start, &outcomes);
    match freshness {
        Some(Ok(freshness_us)) => report.freshness = Latency::of(&freshness_us),
        Some(Err(error)) => report.failures.push(error.to_string()),
        None => {}
    }
    if !args.no_count {
        let expected = report.acknowledged.unwrap_or(report.sent).rows;
        let counted = Counted { tables: source.tables, before, expected };
        // What was measured until here is worth a report, whatever the count meets.
        if let Err(error) = count(args, &load.clock, start, &http, &counted, &mut report) {
            report.failures.push(error.to_string());
        }
    }
    if let Some(path) = &args.json {
        let failed = |source| BenchError::Write { path: path.display().to_string(), source };
        let file = File::create(path).map_err(failed)?;
        serde_json::to_writer_pretty(file, &report).map_err(|e| failed(e.into()))?;
    }
    Ok(report)
}

fn open(args: &BenchArgs) -> Result<Source, BenchError> {
    if let Some(path) = &args.file {
        let failed = |source| BenchError::Read { path: path.display().to_string(), source };
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let plan = Plan::new(file, bytes, args.connections).map_err(failed)?;
        let mut lines: Vec<Box<dyn Lines>> = Vec::new();
        for range in plan.ranges {
            lines.push(Box::new(FileLines::open(path, range).map_err(failed)?));
        }
        let tables = plan.tables.into_iter().collect();
        return Ok(Source {
            name: path.display().to_string(),
            tables,
            lines,
            rows: None,
            rows_expected: Some(plan.rows),
        });
    }
    let share = |connection| Share {
        seed: args.seed,
        connection,
        connections: args.connections,
        start_nanos: args.start.timestamp_nanos_opt().unwrap_or_default(),
    };
    let name =
        args.workload.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
    Ok(Source {
        name,
        tables: args.workload.tables().iter().map(|table| (*table).to_owned()).collect(),
        lines: (0..args.connections).map(|c| args.workload.lines(share(c))).collect(),
        rows: args.rows,
        rows_expected: args.rows,
    })
}

/// Drives all connections at once; also says when they began.
fn send(source: &mut Source, streams: &[TcpStream], load: &Load) -> (Duration, Vec<Outcome>) {
    let connections = streams.len() as u64;
    let rows_of = |index: u64| {
        source.rows.map(|rows| rows / connections + u64::from(index < rows % connections))
    };
    let barrier = Barrier::new(streams.len() + 1);
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(streams.len());
        for (index, (stream, lines)) in streams.iter().zip(&mut source.lines).enumerate() {
            let rows = rows_of(index as u64);
            let barrier = &barrier;
            threads.push(scope.spawn(move || {
                barrier.wait();
                drive(stream, lines.as_mut(), rows, load)
            }));
        }
        let start = load.clock.monotonic();
        barrier.wait();
        show_progress(source.rows_expected, load, start, || {
            threads.iter().all(|thread| thread.is_finished())
        });
        let outcomes =
            threads.into_iter().map(|t| t.join().expect("a connection returns its errors"));
        (start, outcomes.collect())
    })
}

/// Shows on the terminal how far the run is, until it is `done`.
fn show_progress(rows: Option<u64>, load: &Load, start: Duration, done: impl Fn() -> bool) {
    let millis = load.duration.map(|duration| duration.as_millis() as u64);
    let style = if rows.or(millis).is_some() {
        "{elapsed:>4} [{bar:40}] {percent:>3}% {msg}"
    } else {
        "{elapsed:>4} {spinner} {msg}"
    };
    let bar = rows.or(millis).map_or_else(ProgressBar::no_length, ProgressBar::new);
    bar.set_style(ProgressStyle::with_template(style).expect("the templates are valid"));
    while !done() {
        let elapsed = load.clock.monotonic() - start;
        let sent = load.sent.load(Ordering::Relaxed);
        bar.set_position(if rows.is_some() { sent } else { elapsed.as_millis() as u64 });
        let rate = sent as f64 / elapsed.as_secs_f64().max(1e-9);
        bar.set_message(format!("{} lines, {} lines/s", Grouped(sent), Grouped(rate as u64)));
        thread::sleep(PROGRESS_INTERVAL);
    }
    bar.finish_and_clear();
}

/// What the connections found; rates count from `start`.
fn summary(
    args: &BenchArgs,
    source: &Source,
    clock: &Clock,
    start: Duration,
    outcomes: &[Outcome],
) -> Report {
    let since_start = |last: Option<Duration>| last.unwrap_or(start).saturating_sub(start);
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let mut latency_us = latency_histogram();
    for outcome in outcomes {
        latency_us.add(&outcome.answers.latency_us).expect("all histograms have the same bounds");
    }
    let sent_at = since_start(outcomes.iter().map(|o| o.sent_at).max());
    let closed_at = since_start(outcomes.iter().map(|o| o.answers.closed_at).max());
    let asked = !args.no_ack;
    let failure = |(index, outcome): (usize, &Outcome)| {
        outcome.failure.as_ref().map(|failure| format!("connection {index}: {failure}"))
    };
    Report {
        source: source.name.clone(),
        addr: args.addr.clone(),
        connections: args.connections,
        seed: args.seed,
        started_at_unix_seconds: (clock.wall_nanos() as f64 / 1e9)
            - (clock.monotonic() - start).as_secs_f64(),
        rate: args.rate,
        sent: Phase::new(sum(|o| o.sent), sent_at),
        acknowledged: asked.then(|| Phase::new(sum(|o| o.answers.acknowledged), closed_at)),
        visible: None,
        settled: None,
        bytes: sum(|o| o.bytes),
        rejected: asked.then(|| sum(|o| o.answers.rejected)),
        first_rejection: outcomes.iter().find_map(|o| o.answers.first_rejection.clone()),
        ack_latency: Latency::of(&latency_us),
        freshness: None,
        failures: outcomes.iter().enumerate().filter_map(failure).collect(),
    }
}

/// Counts until `expected` new rows are visible, then asks the server to settle.
fn count(
    args: &BenchArgs,
    clock: &Clock,
    start: Duration,
    http: &Http,
    counted: &Counted,
    report: &mut Report,
) -> Result<(), HttpError> {
    let waiting_since = clock.monotonic();
    // Of lines that a server without acknowledgements cut off, nobody knows how many will ever be visible.
    let patience =
        if args.no_ack && !report.failures.is_empty() { Duration::ZERO } else { args.wait };
    let visible = loop {
        let rows = http.count(&counted.tables)?.saturating_sub(counted.before);
        let now = clock.monotonic();
        let visible = Phase::new(rows, now.saturating_sub(start));
        if rows >= counted.expected {
            break visible;
        }
        if now - waiting_since > patience {
            let missing = counted.expected - rows;
            report.failures.push(format!(
                "{} rows are not visible within {:?}",
                Grouped(missing),
                patience
            ));
            break visible;
        }
        thread::sleep(COUNT_INTERVAL);
    };
    report.visible = Some(visible);
    if !args.no_ack {
        http.flush()?;
        report.settled = Some(Phase::new(visible.rows, clock.monotonic().saturating_sub(start)));
    }
    Ok(())
}
