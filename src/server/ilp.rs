//! The line-protocol listener: what its connections share.

use super::connection::Connection;
use super::listener::Acceptor;
use crate::clock::Clock;
use crate::codec::Precision;
use crate::config::{ConfigError, OnError, Settings};
use crate::engine::{Engine, Origin, Session};
use crate::metrics;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What every connection knows of the server around it.
pub(super) struct IlpContext {
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
    pub(super) http_addr: SocketAddr,
    pub(super) commit_interval: Duration,
    pub(super) idle: Duration,
    pub(super) buffer_bytes_max: usize,
    pub(super) disconnect_on_error: bool,
    database: Arc<str>,
    precision: Precision,
    drain: Duration,
    drain_until: OnceLock<Duration>,
    draining: Notify,
}

impl IlpContext {
    /// # Errors
    /// A setting of the listener is wrong.
    pub(super) fn new(
        settings: &Settings,
        engine: Arc<Engine>,
        clock: Clock,
        stop: CancellationToken,
        http_addr: SocketAddr,
    ) -> Result<IlpContext, ConfigError> {
        Ok(IlpContext {
            engine,
            clock,
            stop,
            http_addr,
            commit_interval: Duration::from_millis(settings.commit.interval_ms),
            idle: Duration::from_millis(settings.ilp.idle_ms),
            buffer_bytes_max: settings.ilp.buffer_bytes_max,
            disconnect_on_error: settings.ilp.on_error == OnError::Disconnect,
            database: settings.ilp.database.as_str().into(),
            precision: settings.ilp.precision()?,
            drain: Duration::from_millis(settings.shutdown_deadline_ms / 2),
            drain_until: OnceLock::new(),
            draining: Notify::new(),
        })
    }

    pub(super) fn session(&self, peer: SocketAddr) -> Session {
        let origin = Origin { peer: peer.to_string().into(), precision: self.precision };
        let mut session = self.engine.session(self.database.clone(), origin);
        if self.disconnect_on_error {
            session.stop_at_refused();
        }
        session
    }

    /// Tells every connection that the server stops.
    fn begin_to_drain(&self) {
        self.drain_until.get_or_init(|| self.clock.monotonic() + self.drain);
        self.draining.notify_waiters();
    }

    /// While the server stops: when connections end at the latest.
    ///
    /// A look that costs next to nothing, unlike one at the token, whose lock all connections share.
    pub(super) fn drain_until(&self) -> Option<Duration> {
        self.drain_until.get().copied()
    }

    /// Returns once [`IlpContext::drain_until`] says something. Listens from the first poll on.
    pub(super) async fn stopped(&self) {
        self.draining.notified().await;
    }
}

/// Accepts until `stop`, and gives the connections to the runtimes.
pub(super) async fn serve(
    context: Arc<IlpContext>,
    connections_max: usize,
    runtimes: Vec<Handle>,
    listener: TcpListener,
    tasks: TaskTracker,
) {
    let acceptor = Acceptor {
        name: "line protocol",
        connections_max,
        runtimes,
        on_refused: || metrics::CONNECTIONS_REFUSED.increment(1),
    };
    let shared = context.clone();
    let serve = move |stream: TcpStream, peer, _| {
        let context = shared.clone();
        async move {
            let _open = Open::new();
            Box::new(Connection::new(context, stream, peer)).serve().await;
        }
    };
    let tell = async {
        context.stop.cancelled().await;
        context.begin_to_drain();
    };
    tokio::join!(acceptor.run(listener, context.stop.clone(), tasks, serve), tell);
}

/// Counts a connection for as long as it is open.
struct Open;

impl Open {
    fn new() -> Open {
        metrics::CONNECTIONS_ACCEPTED.increment(1);
        metrics::CONNECTIONS.increment(1.0);
        Open
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::CONNECTIONS.decrement(1.0);
    }
}
