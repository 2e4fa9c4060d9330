//! Binding an address, and accepting from it up to a limit.

use super::StartError;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a socket of this listener ends when nobody says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Close {
    /// With a reset. The kernel closes the sockets of a killed process, and where a FIN means "durable" it must not
    /// send one. Accepted sockets inherit this from before they are accepted, so there is no gap in which
    /// a kill would send a FIN.
    Reset,
    /// With a FIN.
    Fin,
}

/// An address that is ours, on which nobody can connect yet.
///
/// Binding comes before recovery, so that a port in use is said at once; listening comes after it.
#[derive(Debug)]
pub(super) struct Bound {
    socket: Socket,
}

impl Bound {
    /// Binds the first address that `addr` (`host:port`) stands for. `key` names the setting in messages.
    pub(super) fn new(key: &'static str, addr: &str, close: Close) -> Result<Bound, StartError> {
        let fail = |source| StartError::Bind { key, addr: addr.to_owned(), source };
        let first = addr.to_socket_addrs().map_err(fail)?.next();
        let first = first.ok_or_else(|| fail(io::Error::other("stands for no address")))?;
        let bind = || {
            let domain = Domain::for_address(first);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            if close == Close::Reset {
                socket.set_linger(Some(Duration::ZERO))?;
            }
            let probes = TcpKeepalive::new().with_time(QUIET).with_interval(PROBES);
            socket.set_tcp_keepalive(&probes)?;
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(DEAF))?;
            socket.set_nonblocking(true)?;
            socket.bind(&first.into())?;
            Ok(socket)
        };
        Ok(Bound { socket: bind().map_err(fail)? })
    }

    /// The address, also when the port was left to the system.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.socket.local_addr()?.as_socket();
        addr.ok_or_else(|| io::Error::other("the socket has no address"))
    }

    /// Begins to listen. Must be called on a tokio runtime.
    pub(super) fn listen(self) -> io::Result<TcpListener> {
        self.socket.listen(BACKLOG)?;
        TcpListener::from_std(self.socket.into())
    }
}

/// Clears what [`Close::Reset`] gave an accepted socket: from here on, closing it sends a FIN.
pub(super) fn end_with_fin(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(None)
}

/// A connection that is quiet for this long is asked whether its peer is still there. Hosts that lose power and tables of addresses that forget
/// say nothing, and would keep connections from others.
const QUIET: Duration = Duration::from_secs(60);
/// Asked again so often.
const PROBES: Duration = Duration::from_secs(15);
/// A peer that neither answers nor takes what it is sent for this long is gone, or as good as gone. Accepted sockets inherit both.
const DEAF: Duration = Duration::from_secs(120);

/// What a listener serves, and how much of it.
pub(super) struct Acceptor {
    /// For log lines.
    pub(super) name: &'static str,
    /// Connections at a time.
    pub(super) connections_max: usize,
    /// The runtimes that connections are given to, each to the one with the fewest tasks; at least one.
    pub(super) runtimes: Vec<Handle>,
    /// Called for each connection beyond the limit, which is closed at once.
    pub(super) on_refused: fn(),
}

impl Acceptor {
    /// Accepts until `stop` and whoever has connected by then, and runs `serve` for each connection as a task of `tasks`.
    pub(super) async fn run<S, F>(
        self,
        listener: TcpListener,
        stop: CancellationToken,
        tasks: TaskTracker,
        serve: S,
    ) where
        S: Fn(TcpStream, SocketAddr, CancellationToken) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let permits = Arc::new(Semaphore::new(self.connections_max.min(Semaphore::MAX_PERMITS)));
        let admit = |stream: std::net::TcpStream, peer| {
            let Ok(permit) = permits.clone().try_acquire_owned() else {
                (self.on_refused)();
                tracing::debug!(listener = self.name, %peer, "connection refused: the limit is reached");
                return;
            };
            let fewest = self.runtimes.iter().min_by_key(|h| h.metrics().num_alive_tasks());
            let runtime = fewest.expect("there is at least one runtime");
            let registered = {
                let _inside = runtime.enter();
                stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream))
            };
            match registered {
                Ok(stream) => {
                    let serving = Box::pin(serve(stream, peer, stop.clone()));
                    tasks.spawn_on(hold(permit, serving), runtime);
                }
                Err(error) => {
                    tracing::debug!(listener = self.name, %peer, %error, "the connection could not be taken");
                }
            }
        };
        let mut pause = PAUSE_MIN;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let accepted = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
            match accepted {
                Ok((stream, peer)) => {
                    pause = PAUSE_MIN;
                    admit(stream, peer);
                }
                Err(error) if is_of_one_peer(&error) => {}
                Err(error) => {
                    // Out of descriptors or memory: accepting again at once would only spin.
                    tracing::warn!(listener = self.name, %error, pause_ms = pause.as_millis(), "cannot accept; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        if let Err(error) = admit_waiting(listener, admit) {
            tracing::debug!(listener = self.name, %error, "connections that nobody has accepted are reset");
        }
    }
}

/// Accepts whoever has connected already, once: they may have sent lines, which a stop takes. The kernel is asked directly, since the
/// runtime may not have heard of them.
fn admit_waiting(
    listener: TcpListener,
    admit: impl Fn(std::net::TcpStream, SocketAddr),
) -> io::Result<()> {
    let listener = listener.into_std()?;
    // No more than may have waited: others go on coming.
    for _ in 0..BACKLOG {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(true)?;
                admit(stream, peer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if is_of_one_peer(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn hold(permit: OwnedSemaphorePermit, serving: impl Future<Output = ()>) {
    serving.await;
    drop(permit);
}

/// Errors of `accept` that tell of a connection that is gone already, not of us.
fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

const BACKLOG: i32 = 4096;
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_end_with_a_reset_and_notice_that_their_peer_is_gone() {
        let bound = Bound::new("ilp.addr", "127.0.0.1:0", Close::Reset).unwrap();
        let listener = bound.listen().unwrap();
        let addr = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
        let (_client, (stream, _)) = (client.unwrap(), accepted.unwrap());
        let socket = SockRef::from(&stream);
        assert_eq!(socket.linger().unwrap(), Some(Duration::ZERO));
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), QUIET);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(DEAF));
    }
}
