//! Connections of the HTTP listener.

use super::App;
use crate::server::listener::Acceptor;
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Who sent a request, for handlers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Bounds of one connection.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// For headers to arrive, and for the peer to take what was sent.
    timeout: Duration,
    /// For requests in progress once the server stops.
    drain: Duration,
}

/// Accepts and serves until `stop`; requests in progress may then take `drain` more.
pub(in crate::server) async fn serve(
    app: App,
    listener: TcpListener,
    connections_max: usize,
    timeout: Duration,
    drain: Duration,
    tasks: TaskTracker,
) {
    let stop = app.stop.clone();
    let router = app.router();
    let bounds = Bounds { timeout, drain };
    let runtimes = vec![Handle::current()];
    let acceptor = Acceptor { name: "http", connections_max, runtimes, on_refused: || {} };
    let serve =
        move |stream, peer, stop| connection(router.clone(), stream, Peer(peer), bounds, stop);
    acceptor.run(listener, stop, tasks, serve).await;
}

async fn connection(
    router: Router,
    stream: TcpStream,
    peer: Peer,
    bounds: Bounds,
    stop: CancellationToken,
) {
    // A peer that stops reading leaves its answer in our memory; the kernel ends the connection then.
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(bounds.timeout)) {
        tracing::debug!(%error, "http: no time limit on sends");
    }
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.timeout)
        .max_buf_size(BUFFER_BYTES_MAX);
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        inner.call(request)
    });
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(bounds.drain, serving).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "http connection lost");
    }
}

/// Headers and the read-ahead of a body.
const BUFFER_BYTES_MAX: usize = 64 << 10;
