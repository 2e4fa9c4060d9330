//! The process around the server: log, descriptors, signals, allocation.

use crate::config::{ConfigError, Log, LogFormat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, IsTerminal};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Sends log lines to standard error.
///
/// # Errors
/// `log.level` is no level and no filter.
pub(super) fn init_log(log: &Log) -> Result<(), ConfigError> {
    let wrong = |why: &dyn std::fmt::Display| ConfigError {
        place: "log.level".to_owned(),
        fault: format!("{:?} is no level and no filter: {why}", log.level),
    };
    // A bare word would be taken for a module of that name, and a misspelt level would silence the log.
    let is_word = |directive: &&str| !directive.contains(['=', ':', '[']);
    for word in log.level.split(',').map(str::trim).filter(is_word) {
        word.parse::<LevelFilter>().map_err(|e| wrong(&e))?;
    }
    let filter = EnvFilter::try_new(&log.level).map_err(|e| wrong(&e))?;
    // Colours are for eyes: in a file they would be escape codes between the words.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let set = match log.format {
        LogFormat::Text => subscriber.with_target(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    // Another subscriber is there already only in tests, which may keep theirs.
    drop(set);
    Ok(())
}

/// Raises the limit of open descriptors as far as it may be raised: each connection needs one, each busy one two. Returns
/// the limit in force.
pub(super) fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// How many of `wanted` connections there may be, so that descriptors are left for what they bring about: a segment that is written, a segment
/// that is read, parts. `others` is what segments, HTTP and the rest need at most; a process with few descriptors keeps three
/// quarters for them.
pub(super) fn connections_within_limit(wanted: usize, others: usize) -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return wanted };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    wanted.min(limit - others.min(limit / 4 * 3)).max(1)
}

/// How many segments may be kept open for reading: an eighth of the descriptors, within reason.
pub(super) fn segment_readers() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 8).unwrap_or(usize::MAX).clamp(256, 4096)
}

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next of them.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
