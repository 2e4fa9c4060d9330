//! A server that is up: engine, listeners, and how they come and go.

use super::StartError;
use super::event_loops::EventLoops;
use super::http::{self, App};
use super::ilp::{self, IlpContext};
use super::listener::{Bound, Close};
use super::process::{connections_within_limit, segment_readers};
use crate::clock::Clock;
use crate::codec::Reason;
use crate::config::Settings;
use crate::engine::{CloseReport, Engine};
use crate::io::Fs;
use crate::metrics;
#[cfg(feature = "query")]
use crate::query::QueryEngine;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A server that accepts connections. Dropped without [`Server::stop`], it goes on with HTTP only: the connections of line protocol are reset.
#[derive(Debug)]
pub struct Server {
    engine: Arc<Engine>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Dropped last: a connection that has not ended in time may yet hear what became of its rows.
    event_loops: EventLoops,
    ilp_addr: SocketAddr,
    http_addr: SocketAddr,
    deadline: Duration,
}

impl Server {
    /// Binds, recovers what the data directory holds, and listens. Returns when clients can connect. Must be called on a tokio
    /// runtime.
    ///
    /// # Errors
    /// Nothing listens and the data directory is closed again.
    pub async fn start(settings: &Settings) -> Result<Server, StartError> {
        let reasons: Vec<&'static str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        let exporter = metrics::install(&reasons).map_err(io::Error::other)?;
        exporter.set_build_info(env!("CARGO_PKG_VERSION"), settings.durability_name());
        // Ports first: one that is in use is said before a recovery that may take minutes.
        let ilp = Bound::new("ilp.addr", &settings.ilp.addr, Close::Reset)?;
        let http = Bound::new("http.addr", &settings.http.addr, Close::Fin)?;
        let clock = Clock::real();
        let began = clock.monotonic();
        let engine = open(settings, clock.clone()).await?;
        #[cfg(feature = "query")]
        let query = Arc::new(QueryEngine::new(settings.query(), engine.source())?);

        let http_addr = http.local_addr()?;
        let ilp = ilp.listen()?;
        let ilp_addr = ilp.local_addr()?;
        let event_loops = EventLoops::new(settings.threads)?;
        let runtimes = event_loops.handles();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let deadline = Duration::from_millis(settings.shutdown_deadline_ms);

        let context =
            IlpContext::new(settings, engine.clone(), clock.clone(), stop.clone(), http_addr)?;
        let writers_and_readers = settings.wal.writers_max + segment_readers();
        let others = writers_and_readers
            + settings.http.connections_max
            + DESCRIPTORS_OF_A_LOOP * runtimes.len()
            + OTHER_DESCRIPTORS;
        let connections = connections_within_limit(settings.limits.connections, others);
        // Rows are safe to take from here on: what is replayed has its numbers, so nothing new comes before it.
        tasks.spawn(ilp::serve(Arc::new(context), connections, runtimes, ilp, tasks.clone()));
        // Whoever asks after a restart finds every row that was acknowledged before it.
        engine.caught_up().await;
        metrics::RECOVERY_DURATION.set(clock.monotonic().saturating_sub(began).as_secs_f64());
        let http = http.listen()?;
        let app = App::new(
            settings,
            engine.clone(),
            #[cfg(feature = "query")]
            query,
            exporter,
            stop.clone(),
        );
        let timeout = Duration::from_millis(settings.http.timeout_ms);
        let serving = http::serve(
            app,
            http,
            settings.http.connections_max,
            timeout,
            deadline / 2,
            tasks.clone(),
        );
        tasks.spawn(serving);
        Ok(Server { engine, stop, tasks, event_loops, ilp_addr, http_addr, deadline })
    }

    /// Where line protocol is taken.
    pub fn ilp_addr(&self) -> SocketAddr {
        self.ilp_addr
    }

    /// Where HTTP is spoken.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Stops accepting, reads on until clients pause, commits, and flushes, all within `shutdown_deadline_ms`. What is not
    /// flushed by then stays in the WAL, for the next start.
    pub async fn stop(self) -> CloseReport {
        let began = tokio::time::Instant::now();
        self.stop.cancel();
        self.tasks.close();
        // Connections keep to half of the deadline by themselves. What they then wait for, clients that do not read their
        // replies among it, must leave time to flush.
        if tokio::time::timeout(self.deadline / 4 * 3, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "connections did not end in time; what they sent last is not acknowledged"
            );
        }
        let left = self.deadline.saturating_sub(began.elapsed());
        let engine = self.engine;
        let closed = tokio::task::spawn_blocking(move || engine.close(left)).await;
        // Connections that are left end now or with the process, as those of a killed one do.
        drop(self.event_loops);
        closed.unwrap_or(CloseReport { flushed: false })
    }
}

/// Opens the data directory away from the runtime's threads: recovery reads and writes files.
async fn open(settings: &Settings, clock: Clock) -> Result<Arc<Engine>, StartError> {
    let mut config = settings.engine();
    config.apply.segment_readers = segment_readers();
    let opening = tokio::task::spawn_blocking(move || Engine::open(config, Fs::real(), clock));
    Ok(opening.await.map_err(io::Error::other)??)
}

/// Of tokio's: epoll, the eventfd that wakes it, and a handle of each for others.
const DESCRIPTORS_OF_A_LOOP: usize = 4;
/// Descriptors beside connections and segments: parts, logs, sockets.
const OTHER_DESCRIPTORS: usize = 256;
