//! One line-protocol connection, from its first byte to the FIN or the reset that ends it.
//!
//! The task waits for whatever comes first, does what is due, and waits again. It reads until the socket runs dry, hands every
//! whole line to its [`Session`], and commits when the socket is dry and no receipt is under way, when the oldest
//! pending row is `commit.interval_ms` old, and before it waits for anything that only a commit can bring.
//!
//! Memory: the task itself. The receive buffer of 16 KiB is the thread's. A connection has one of its own while it holds the beginning of a
//! line, and once reads or a line filled that, until it is idle: it doubles while they do.

use super::foreign;
use super::ilp::IlpContext;
use super::listener::end_with_fin;
use super::replies::Replies;
use crate::clock::Clock;
use crate::codec::{Foreign, Greeting};
use crate::engine::{IngestError, Progress, Session};
use crate::metrics;
use bytes::BytesMut;
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// A connection and all it has in hand.
pub(super) struct Connection {
    context: Arc<IlpContext>,
    stream: TcpStream,
    peer: SocketAddr,
    session: Session,
    /// How far the session's commits are.
    progress: Arc<Progress>,
    replies: Replies,
    received: BytesMut,
    /// Bytes that the next read asks for.
    chunk: usize,
    /// The last read found the socket empty.
    dry: bool,
    /// When the task last woke, on the engine's monotonic clock, as are all other times here.
    now: Duration,
    /// Time of the last byte.
    last_byte: Duration,
    /// Set while the WAL has no room: when to try again, and the pause after that.
    full_disk: Option<Retry>,
    /// When the writer was borrowed.
    borrowed: Duration,
    /// Set by a stop: when to end at the latest.
    draining: Option<Duration>,
    /// Time spent not reading, less than a second of it: whole seconds have been counted.
    stalled: Duration,
    /// Bytes taken since the task last gave way to others.
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Duration,
    pause: Duration,
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client half-closed and all it sent is durable: a FIN says so.
    Durable,
    /// Anything else: a reset says that something may be missing.
    Reset(&'static str),
    /// The socket failed.
    Socket(io::Error),
    /// The WAL failed: nothing that waits will be acknowledged.
    Wal(IngestError),
    /// The peer speaks something else.
    Foreign(Foreign),
}

/// What ended a wait.
enum Wake {
    Readable,
    /// The server stops; when to end at the latest.
    Stop(Duration),
    /// Something may be due.
    Due,
}

impl Connection {
    pub(super) fn new(context: Arc<IlpContext>, stream: TcpStream, peer: SocketAddr) -> Connection {
        let session = context.session(peer);
        let now = context.clock.monotonic();
        Connection {
            now,
            last_byte: now,
            progress: session.progress(),
            context,
            stream,
            peer,
            session,
            replies: Replies::default(),
            received: BytesMut::new(),
            chunk: CHUNK_MIN,
            dry: true,
            full_disk: None,
            borrowed: now,
            draining: None,
            stalled: Duration::ZERO,
            turn: 0,
        }
    }

    /// Serves the connection until it ends, and ends it.
    ///
    /// Boxed: a task holds a future once for each level that awaits it, and there may be ten thousand idle ones.
    pub(super) async fn serve(mut self: Box<Self>) {
        let end = match self.run().await {
            Ok(()) => End::Durable,
            Err(end) => end,
        };
        self.close(end).await;
    }

    /// Returns `Ok` when the client half-closed and everything is durable and answered.
    async fn run(&mut self) -> Result<(), End> {
        let context = self.context.clone();
        // Listened to once for the life of the connection: it wakes the task, which then finds the stop by looking.
        let mut stopped = pin!(context.stopped());
        poll_fn(|cx| Poll::Ready(stopped.as_mut().poll(cx).is_ready())).await;
        let mut alarm = Alarm { sleep: pin!(tokio::time::sleep(Duration::ZERO)), at: None };
        loop {
            self.settle()?;
            match self.wait(&mut alarm).await? {
                Wake::Readable => {
                    if self.read().await? == Read::End {
                        return self.half_closed().await;
                    }
                }
                Wake::Stop(until) => self.draining = Some(until),
                Wake::Due => {}
            }
            if self.draining.is_some_and(|until| self.is_drained(until)) {
                self.finish_commits().await?;
                // Replies fit into the socket of a client that reads; one that does not must not hold up the stop.
                self.replies.send(&self.stream).map_err(End::Socket)?;
                return Err(End::Reset("the server stops"));
            }
        }
    }

    /// Does what is due: replies whose commits are durable, a commit, the return of a writer that is idle or that somebody waits for.
    fn settle(&mut self) -> Result<(), End> {
        self.replies.settle(self.progress.committed());
        self.replies.send(&self.stream).map_err(End::Socket)?;
        if self.commit_is_due() {
            self.commit()?;
        }
        let is_idle = self.silent_for() >= self.context.idle;
        if self.session.may_release() && (is_idle || self.session.should_pass_on()) {
            self.session.release();
        }
        if self.dry && self.is_settled() {
            // Whoever commits a line at a time would get the same buffers again and again.
            if !self.session.has_writer() && self.received.is_empty() {
                self.received = BytesMut::new();
                self.chunk = CHUNK_MIN;
                self.replies.shrink();
            }
        }
        Ok(())
    }

    fn commit_is_due(&self) -> bool {
        if let Some(retry) = self.full_disk {
            return self.now >= retry.at;
        }
        let Some(since) = self.session.pending_since() else { return false };
        let interval = self.context.commit_interval;
        // Whoever sends without a pause commits full batches by itself, and would never be without rows.
        let is_over = |since| self.now.saturating_sub(since) >= interval;
        let others_wait = || is_over(self.borrowed) && self.session.should_pass_on();
        (self.dry && !self.session.is_under_way()) || is_over(since) || others_wait()
    }

    /// Commits what is pending. A full disk is no failure: the rows stay pending and nothing more is read until there is room. The same
    /// goes for a process out of files and a disk that is read-only for the moment.
    fn commit(&mut self) -> Result<(), End> {
        match self.session.commit() {
            Ok(_) => self.full_disk = None,
            Err(error) => self.postpone(error)?,
        }
        // Lines may be left from when the disk was full.
        if self.full_disk.is_none() && !self.received.is_empty() {
            self.ingest()?;
        }
        Ok(())
    }

    fn postpone(&mut self, error: IngestError) -> Result<(), End> {
        if !matches!(&error, IngestError::Wal(wal) if wal.is_temporary()) {
            return Err(End::Wal(error));
        }
        let pause = self.full_disk.map_or(RETRY_MIN, |retry| (retry.pause * 2).min(RETRY_MAX));
        if self.full_disk.is_none() {
            tracing::warn!(peer = %self.peer, %error, "the WAL cannot grow now; the connection waits until it can");
        }
        self.full_disk = Some(Retry { at: self.context.clock.monotonic() + pause, pause });
        Ok(())
    }

    /// Waits until the socket can be read, or something may be due.
    ///
    /// By hand rather than with a `select!` of futures: one that is made, listed and taken off a list for each event and wait costs more
    /// than the event.
    async fn wait(&mut self, alarm: &mut Alarm<'_>) -> Result<Wake, End> {
        let gate = self.context.engine.gate();
        let admitted = gate.admitted();
        // No event tells when a suspended table lets go: the timer that counts the wait looks again.
        let held_up = self.session.is_behind() || self.session.is_held_up();
        let stalled = self.full_disk.is_some() || !admitted || held_up;
        let may_read = !stalled && self.replies.has_room();
        if stalled {
            self.now = self.context.clock.monotonic();
        }
        let before = self.now;
        let under_way = self.next_step();
        let due = self.next_due(stalled);
        // Only a wake can be the alarm's.
        let mut is_woken = due.is_some_and(|due| alarm.may_ring(due, before));
        let wake = {
            let mut opened = pin!(gate.wait());
            poll_fn(|cx| {
                if self.draining.is_none()
                    && let Some(until) = self.context.drain_until()
                {
                    return Poll::Ready(Ok(Wake::Stop(until)));
                }
                if may_read && let Poll::Ready(ready) = self.stream.poll_read_ready(cx) {
                    return Poll::Ready(ready.map(|()| Wake::Readable));
                }
                let replies = self.replies.next_ordinal();
                let is_due = !admitted && opened.as_mut().poll(cx).is_ready()
                    || replies.is_some_and(|n| self.progress.poll_reached(cx, n).is_ready())
                    || under_way.is_some_and(|n| self.progress.poll_sequenced(cx, n).is_ready());
                if is_due {
                    return Poll::Ready(Ok(Wake::Due));
                }
                if !self.replies.all_sent()
                    && let Poll::Ready(ready) = self.stream.poll_write_ready(cx)
                {
                    return Poll::Ready(ready.map(|()| Wake::Due));
                }
                let rings = std::mem::replace(&mut is_woken, true)
                    && due.is_some_and(|due| alarm.poll(cx, &self.context.clock, due).is_ready());
                if rings { Poll::Ready(Ok(Wake::Due)) } else { Poll::Pending }
            })
            .await
        }
        .map_err(End::Socket)?;
        self.now = self.context.clock.monotonic();
        if stalled {
            count_stall(&mut self.stalled, self.now.saturating_sub(before));
        }
        Ok(wake)
    }

    /// The receipt whose numbering lets pending rows go, or lets the connection be read again.
    fn next_step(&self) -> Option<u64> {
        let waits = self.session.is_under_way() && self.session.has_pending();
        (waits || self.session.is_behind()).then(|| self.session.ordinal())
    }

    /// When something is due that no event announces.
    fn next_due(&self, stalled: bool) -> Option<Duration> {
        let commit = self.session.pending_since().map(|since| since + self.context.commit_interval);
        let is_settled = self.is_settled();
        let may_release = self.session.may_release();
        let idle = may_release.then_some(self.last_byte + self.context.idle);
        let quiet = self.draining.map(|until| match is_settled {
            true => until.min(self.last_byte + QUIET),
            false => until,
        });
        let retry = self.full_disk.map(|retry| retry.at);
        let count = stalled.then_some(self.now + STALL_STEP);
        let commit = commit.filter(|_| retry.is_none());
        [retry, commit, idle, quiet, count].into_iter().flatten().min()
    }

    /// Reads once and takes the lines.
    async fn read(&mut self) -> Result<Read, End> {
        if self.shares_buffer() {
            self.received = RECEIVED.take();
        }
        let read = self.receive().await?;
        if self.shares_buffer() {
            RECEIVED.set(std::mem::take(&mut self.received));
        }
        // A sender that is always ahead of us must not keep its thread from the other connections.
        if self.turn >= TURN_BYTES {
            self.turn = 0;
            tokio::task::yield_now().await;
            self.now = self.context.clock.monotonic();
        }
        Ok(read)
    }

    async fn receive(&mut self) -> Result<Read, End> {
        if self.received.is_empty() {
            // It begins anew: whoever sends a line at a time would else have each one put where memory is cold.
            self.received.reserve(self.chunk);
        } else if self.received.capacity() - self.received.len() < self.chunk / 4 {
            self.grow_chunk();
            self.received.reserve(self.chunk);
        }
        let room = self.received.capacity() - self.received.len();
        // Polled once: unlike `try_read`, this knows a socket to be dry that gave less than there was room for.
        let mut read = pin!(self.stream.read_buf(&mut self.received));
        let len = match poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await {
            Poll::Ready(Ok(0)) => return Ok(Read::End),
            Poll::Ready(Ok(len)) => len,
            Poll::Ready(Err(e)) => return Err(End::Socket(e)),
            Poll::Pending => {
                self.dry = true;
                return Ok(Read::Open);
            }
        };
        self.dry = len < room;
        self.last_byte = self.now;
        metrics::RECEIVED_BYTES.increment(len as u64);
        if len == room {
            self.grow_chunk();
        }
        if self.session.position() == (0, 0) {
            match Greeting::of(&self.received) {
                Greeting::Foreign(spoken) => return Err(End::Foreign(spoken)),
                Greeting::Unknown => return Ok(Read::Open),
                Greeting::Lines => {}
            }
        }
        if !self.session.is_ready() {
            self.borrow_writer().await?;
        }
        self.ingest()?;
        self.turn += len;
        Ok(Read::Open)
    }

    /// True when the buffer of the thread does. Whoever needs a larger one has its own.
    fn shares_buffer(&self) -> bool {
        self.received.is_empty() && self.chunk == CHUNK_MIN
    }

    fn grow_chunk(&mut self) {
        self.chunk = (self.chunk * 2).min(self.context.buffer_bytes_max);
    }

    /// Waits for a WalWriter when all are lent, and for its segment to be created. A stop waits for those who have one, not for those who wait for one.
    async fn borrow_writer(&mut self) -> Result<(), End> {
        let clock = &self.context.clock;
        let mut ready = pin!(self.session.ready());
        let borrowed = loop {
            let borrowed = tokio::select! {
                // One that is free is taken during a stop, too.
                biased;
                () = ready.as_mut() => Some(Ok(())),
                () = self.context.stop.cancelled() => Some(Err(End::Reset("the server stops"))),
                () = tokio::time::sleep(STALL_STEP) => None,
            };
            let before = std::mem::replace(&mut self.now, clock.monotonic());
            count_stall(&mut self.stalled, self.now.saturating_sub(before));
            if let Some(borrowed) = borrowed {
                break borrowed;
            }
        };
        // The client was not silent meanwhile; it was not read.
        self.last_byte = self.now;
        self.borrowed = self.now;
        borrowed
    }

    fn ingest(&mut self) -> Result<(), End> {
        let taken = self.session.ingest(&mut self.received);
        // Those before what could not be committed are due all the same.
        self.replies.expect(self.session.take_acks());
        match taken {
            Ok(taken) => {
                if taken.rejected > 0 && self.context.disconnect_on_error {
                    // What came before the bad line is kept.
                    self.session.commit().map_err(End::Wal)?;
                    return Err(End::Reset("a line was refused and ilp.on_error is disconnect"));
                }
                Ok(())
            }
            Err(error) => self.postpone(error),
        }
    }

    /// Nothing more comes: everything becomes durable and every reply is sent before the FIN.
    async fn half_closed(&mut self) -> Result<(), End> {
        let clean = loop {
            while self.full_disk.is_some() {
                self.retry_commit().await?;
            }
            match self.session.finish(&mut self.received, false) {
                Ok(clean) => break clean,
                Err(error) => self.postpone(error)?,
            }
        };
        self.finish_commits().await?;
        self.session.release();
        self.replies.send_all(&self.stream).await.map_err(End::Socket)?;
        if clean { Ok(()) } else { Err(End::Reset("the last line has no newline")) }
    }

    /// Commits what is pending and waits until it is durable. Every reply is then due.
    async fn finish_commits(&mut self) -> Result<(), End> {
        self.commit()?;
        while self.full_disk.is_some() {
            self.retry_commit().await?;
        }
        let ordinal = self.session.ordinal();
        self.progress.reached(ordinal).await;
        self.replies.settle(ordinal);
        Ok(())
    }

    async fn retry_commit(&mut self) -> Result<(), End> {
        if let Some(retry) = self.full_disk {
            if self.draining.is_some_and(|until| self.now >= until) {
                return Err(End::Reset("the server stops and the disk is full"));
            }
            tokio::time::sleep(retry.at.saturating_sub(self.now)).await;
            self.now = self.context.clock.monotonic();
        }
        self.commit()
    }

    /// True when no row and no reply is in hand.
    fn is_settled(&self) -> bool {
        !self.session.has_pending() && self.replies.none_waiting() && self.replies.all_sent()
    }

    /// True when a stopping server need not read on: the client pauses, or the time is up.
    fn is_drained(&self, until: Duration) -> bool {
        let quiet = self.dry && self.is_settled() && self.silent_for() >= QUIET;
        quiet || self.now >= until
    }

    fn silent_for(&self) -> Duration {
        self.now.saturating_sub(self.last_byte)
    }

    /// Ends the connection. The socket resets when it is dropped, unless it is told otherwise here.
    async fn close(mut self: Box<Self>, end: End) {
        let peer = self.peer;
        let closed = match end {
            End::Durable => end_with_fin(&self.stream),
            End::Foreign(spoken) => {
                tracing::warn!(%peer, ?spoken, "the peer does not speak line protocol");
                let what = match spoken {
                    Foreign::Http => "an HTTP request; HTTP has a port of its own",
                    Foreign::Tls => "a TLS hello; this port takes plain TCP",
                };
                self.session.reject_foreign(&self.received, what);
                foreign::answer(self.stream, spoken, self.context.http_addr).await
            }
            End::Wal(error) => {
                tracing::error!(%peer, %error, "connection ends: its rows cannot be written to the WAL");
                if self.replies.fail("wal_failed") {
                    let sent = self.replies.send(&self.stream);
                    // A FIN after an `err` promises nothing, and lets the reply arrive. Where the `err` is stuck, there is none.
                    match sent.is_ok() && self.replies.all_sent() {
                        true => end_with_fin(&self.stream),
                        false => sent.inspect(|()| metrics::CONNECTIONS_RESET.increment(1)),
                    }
                } else {
                    metrics::CONNECTIONS_RESET.increment(1);
                    Ok(())
                }
            }
            End::Reset(why) => {
                metrics::CONNECTIONS_RESET.increment(1);
                tracing::debug!(%peer, why, "connection reset");
                Ok(())
            }
            End::Socket(error) => {
                metrics::CONNECTIONS_RESET.increment(1);
                Err(error)
            }
        };
        if let Err(error) = closed {
            tracing::debug!(%peer, %error, "connection lost");
        }
    }
}

/// Adds time spent not reading to what is not counted yet, and counts whole seconds of it.
fn count_stall(stalled: &mut Duration, time: Duration) {
    *stalled += time;
    metrics::BACKPRESSURE_SECONDS.increment(stalled.as_secs());
    *stalled -= Duration::from_secs(stalled.as_secs());
}

/// A timer that is set anew only when something is due before it rings: whoever is waited for usually comes long before.
struct Alarm<'a> {
    sleep: Pin<&'a mut Sleep>,
    /// When it rings, if it is set: it then wakes the task, also when nobody polls it meanwhile.
    at: Option<Duration>,
}

impl Alarm<'_> {
    /// False when it is set to wake the task at `due` or before, and had not yet done so at `now`.
    fn may_ring(&self, due: Duration, now: Duration) -> bool {
        self.at.is_none_or(|at| due < at || at <= now)
    }

    /// Ready at `due` or before.
    fn poll(&mut self, cx: &mut Context<'_>, clock: &Clock, due: Duration) -> Poll<()> {
        if self.at.is_none_or(|at| due < at) {
            self.at = Some(due);
            self.sleep.set(tokio::time::sleep(due.saturating_sub(clock.monotonic())));
        }
        let rings = self.sleep.as_mut().poll(cx);
        // A task that has had its share is not listened to by a timer.
        if rings.is_ready() || !tokio::task::coop::has_budget_remaining() {
            self.at = None;
        }
        rings
    }
}

/// What a read left of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Read {
    /// More may come.
    Open,
    /// The client half-closed.
    End,
}

thread_local! {
    /// What connections without the beginning of a line receive into: among many that send a line at a time, each one's own would be cold.
    static RECEIVED: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// Bytes of the first read of a connection, and of the first after it was idle.
const CHUNK_MIN: usize = 16 << 10;
/// Bytes after which the task gives way to others.
const TURN_BYTES: usize = 256 << 10;
/// A client that sends nothing for this long pauses, as far as a stopping server is concerned.
const QUIET: Duration = Duration::from_millis(200);
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// A connection that waits counts its time this often.
const STALL_STEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::engine::{AckRequest, Engine, EngineConfig, ReplyCounts};
    use crate::io::sim::{Fault, FaultKind, SimDisk};
    use socket2::SockRef;
    use std::path::Path;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    /// A connection to an engine over `disk`, with a writer, and its client.
    async fn connected(disk: &SimDisk, commit_rows: usize) -> (Connection, TcpStream) {
        let clock = Clock::real();
        let mut config = EngineConfig::new("/data");
        config.commit.rows = commit_rows;
        let engine = Engine::open(config, disk.fs(), clock.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        SockRef::from(&listener).set_linger(Some(Duration::ZERO)).unwrap();
        let addr = listener.local_addr().unwrap();
        let client = TcpStream::connect(addr).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let (settings, stop) = (Settings::default(), CancellationToken::new());
        let context = IlpContext::new(&settings, engine, clock, stop, addr).unwrap();
        let mut connection = Connection::new(Arc::new(context), stream, peer);
        connection.session.ready().await;
        (connection, client)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reply_is_due_although_rows_behind_its_request_find_no_room() {
        let disk = SimDisk::new(1);
        let (mut connection, _client) = connected(&disk, 2).await;
        disk.set_capacity(0);
        // The first row fits into what the segment has reserved, the others do not.
        let text = "x".repeat(40 << 10);
        let lines = format!("t v=1i 1\n# ack a\nt s=\"{text}\" 2\nt s=\"{text}\" 3\n");
        connection.received = BytesMut::from(lines.as_str());
        connection.ingest().unwrap();
        assert!(connection.full_disk.is_some() && connection.received.is_empty());
        assert_eq!(connection.replies.next_ordinal(), Some(1));
        disk.set_capacity(u64::MAX);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_is_not_read_while_the_sequencer_is_behind() {
        let disk = SimDisk::new(1);
        let (mut connection, mut client) = connected(&disk, 1000).await;
        // Its segment has been begun: what is small then stays in memory at first.
        connection.received = BytesMut::from("t v=1i 1\n# ack a\n");
        connection.ingest().unwrap();
        connection.progress.reached(1).await;
        disk.plan(&[Fault { kind: FaultKind::Io, nth: 1, persistent: true }]);
        while !connection.session.is_behind() {
            connection.received = BytesMut::from("t v=1i 2\n# ack a\n");
            connection.ingest().unwrap();
        }
        client.write_all(b"t v=2i 1\n").await.unwrap();
        let mut alarm = Alarm { sleep: pin!(tokio::time::sleep(Duration::ZERO)), at: None };
        let early = Duration::from_millis(100);
        let early = tokio::time::timeout(early, connection.wait(&mut alarm)).await;
        assert!(!matches!(early, Ok(Ok(Wake::Readable))));
        disk.heal();
        while !matches!(connection.wait(&mut alarm).await, Ok(Wake::Readable)) {
            connection.settle().unwrap();
        }
        assert!(!connection.session.is_behind());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failed_reply_that_does_not_fit_into_the_socket_ends_with_a_reset() {
        let disk = SimDisk::new(1);
        let (mut connection, mut client) = connected(&disk, 1000).await;
        SockRef::from(&connection.stream).set_send_buffer_size(4096).unwrap();
        SockRef::from(&client).set_recv_buffer_size(4096).unwrap();
        let counts = ReplyCounts::default;
        let token = "x".repeat(1 << 20);
        connection.replies.expect([AckRequest { token, ordinal: 1, counts: counts() }]);
        connection.replies.settle(1);
        connection.replies.expect([AckRequest { token: "y".into(), ordinal: 2, counts: counts() }]);
        let error = disk.fs().open(Path::new("/data/none")).unwrap_err();
        Box::new(connection).close(End::Wal(IngestError::Wal(error.into()))).await;
        let end = client.read_to_end(&mut Vec::new()).await;
        assert_eq!(end.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
    }
}
