//! One connection under load: a thread that writes lines, and one that reads the answers.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::Clock;

use super::pace::Pace;
use super::reply::{Rejection, Reply};
use super::workload::Lines;

/// Bytes handed to the kernel at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// The longest sleep of a paced connection, so that lines go out evenly and not in bursts.
const NAP_MAX: Duration = Duration::from_millis(2);

/// How often a reader that waits looks at how long the server has been silent.
const READ_TICK: Duration = Duration::from_millis(200);

/// What all connections of a run share.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) clock: Clock,
    pub(super) pace: Pace,
    pub(super) duration: Option<Duration>,
    pub(super) ack_every: Option<u64>,
    pub(super) one_line_per_write: bool,
    /// How long the server may take nothing, or leave a half-closed connection without its FIN.
    pub(super) patience: Duration,
    /// Lines handed to the kernel so far.
    pub(super) sent: AtomicU64,
}

/// What became of one connection.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) sent: u64,
    pub(super) bytes: u64,
    /// When the last byte was with the kernel, by the run's clock.
    pub(super) sent_at: Duration,
    pub(super) answers: Answers,
    /// Why the connection did not come to a clean end.
    pub(super) failure: Option<String>,
}

/// What the server said on one connection.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) acknowledged: u64,
    pub(super) rejected: u64,
    pub(super) first_rejection: Option<String>,
    /// Microseconds from writing, or from when a line should have been written, to its answer.
    pub(super) latency_us: Histogram<u64>,
    /// When the server's FIN came, by the run's clock.
    pub(super) closed_at: Duration,
}

/// An acknowledgement asked for: its number, and when its answer's latency begins.
type Asked = (u64, Duration);

/// Writes up to `rows` lines, half-closes, and waits for the server's FIN.
pub(super) fn drive(
    stream: &TcpStream,
    lines: &mut dyn Lines,
    rows: Option<u64>,
    load: &Load,
) -> Outcome {
    let (asked, asks) = mpsc::channel();
    let half_closed = OnceLock::new();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut answers = Answers::new();
            let end = answers.read_to_fin(stream, asks, &half_closed, load);
            answers.closed_at = load.clock.monotonic();
            if end.is_err() {
                // A writer whose bytes nobody reads any more must not block.
                stream.shutdown(Shutdown::Both).ok();
            }
            (answers, end)
        });
        let mut writer = Writer { stream, load, asked, sent: 0, bytes: 0, asks: 0 };
        let written = writer.write_all(lines, rows);
        let sent_at = load.clock.monotonic();
        // Said before it is done: the FIN that answers may overtake us.
        half_closed.get_or_init(|| sent_at);
        let end = if written.is_ok() { Shutdown::Write } else { Shutdown::Both };
        let closed = written.and(stream.shutdown(end));
        let (answers, read) = reader.join().expect("the reader returns its errors");
        // What the server said explains what the socket did, so it comes first.
        let failure = match (read, closed) {
            (Err(reason), _) => Some(reason),
            (Ok(()), Err(source)) => Some(format!("cannot send: {source}")),
            (Ok(()), Ok(())) => None,
        };
        Outcome { sent: writer.sent, bytes: writer.bytes, sent_at, answers, failure }
    })
}

#[derive(Debug)]
struct Writer<'a> {
    stream: &'a TcpStream,
    load: &'a Load,
    asked: Sender<Asked>,
    /// Lines with the kernel or in the chunk under way.
    sent: u64,
    bytes: u64,
    /// Acknowledgements asked for.
    asks: u64,
}

impl Writer<'_> {
    fn write_all(&mut self, lines: &mut dyn Lines, rows: Option<u64>) -> io::Result<()> {
        let Load { clock, pace, .. } = self.load;
        self.stream.set_write_timeout(Some(self.load.patience))?;
        let start = clock.monotonic();
        let deadline = self.load.duration.map(|duration| start + duration);
        let mut chunk = Vec::with_capacity(CHUNK_BYTES * 2);
        let mut more = true;
        while more && rows.is_none_or(|rows| self.sent < rows) {
            let now = clock.monotonic();
            if deadline.is_some_and(|deadline| now >= deadline) {
                break;
            }
            let due = pace.due(now - start).unwrap_or(u64::MAX).min(rows.unwrap_or(u64::MAX));
            if due <= self.sent {
                let next = pace.intended(self.sent).unwrap_or_default() + start;
                thread::sleep(next.saturating_sub(now).min(NAP_MAX));
                continue;
            }
            let last = if self.load.one_line_per_write { self.sent + 1 } else { due };
            let before = self.sent;
            chunk.clear();
            more = self.fill(&mut chunk, lines, last, start)?;
            self.write_chunk(&chunk)?;
            self.load.sent.fetch_add(self.sent - before, Ordering::Relaxed);
        }
        if self.load.ack_every.is_some() {
            chunk.clear();
            self.ask(&mut chunk, start);
            self.write_chunk(&chunk)?;
        }
        Ok(())
    }

    /// Fills a chunk with lines up to the number `last`; `false` if there are no more to come.
    fn fill(
        &mut self,
        chunk: &mut Vec<u8>,
        lines: &mut dyn Lines,
        last: u64,
        start: Duration,
    ) -> io::Result<bool> {
        while chunk.len() < CHUNK_BYTES && self.sent < last {
            if !lines.next_line(chunk)? {
                return Ok(false);
            }
            self.sent += 1;
            if self.load.ack_every.is_some_and(|every| self.sent.is_multiple_of(every)) {
                self.ask(chunk, start);
            }
        }
        Ok(true)
    }

    /// Asks for an acknowledgement of all lines so far. Its latency begins when the last of them should have been
    /// written, or without a rate now, just before its chunk is.
    fn ask(&mut self, chunk: &mut Vec<u8>, start: Duration) {
        let Load { clock, pace, .. } = self.load;
        let last = self.sent.saturating_sub(1);
        let from = pace.intended(last).map_or_else(|| clock.monotonic(), |at| start + at);
        self.asks += 1;
        chunk.extend_from_slice(format!("# ack {}\n", self.asks).as_bytes());
        // A reader that is gone has its own reason to tell.
        self.asked.send((self.asks, from)).unwrap_or_default();
    }

    fn write_chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        (&mut &*self.stream).write_all(chunk)?;
        self.bytes += chunk.len() as u64;
        Ok(())
    }
}

impl Answers {
    fn new() -> Answers {
        Answers {
            acknowledged: 0,
            rejected: 0,
            first_rejection: None,
            latency_us: latency_histogram(),
            closed_at: Duration::ZERO,
        }
    }

    /// Takes answers until the server's FIN.
    ///
    /// # Errors
    /// With the reason why what was sent is not known to be durable.
    fn read_to_fin(
        &mut self,
        stream: &TcpStream,
        asks: Receiver<Asked>,
        half_closed: &OnceLock<Duration>,
        load: &Load,
    ) -> Result<(), String> {
        let lost = |source: io::Error| format!("the connection was lost: {source}");
        stream.set_read_timeout(Some(READ_TICK)).map_err(lost)?;
        let mut replies = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            match replies.read_until(b'\n', &mut line) {
                Ok(_) if line.ends_with(b"\n") => {
                    self.take(&line, &asks, load)?;
                    line.clear();
                }
                Ok(_) if !line.is_empty() => {
                    return Err("the server closed in the middle of a reply".to_owned());
                }
                Ok(_) if half_closed.get().is_none() => {
                    return Err("the server closed before everything was sent".to_owned());
                }
                Ok(_) => {
                    return match asks.try_recv() {
                        Ok((token, _)) => {
                            Err(format!("the server closed without an answer to # ack {token}"))
                        }
                        Err(_) => Ok(()),
                    };
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let waited = half_closed.get().map(|at| load.clock.monotonic() - *at);
                    if waited.is_some_and(|waited| waited > load.patience) {
                        return Err(format!("no FIN within {:?} of the half-close", load.patience));
                    }
                }
                Err(source) => return Err(lost(source)),
            }
        }
    }

    /// Books one answer, which must belong to the oldest question.
    fn take(&mut self, line: &[u8], asks: &Receiver<Asked>, load: &Load) -> Result<(), String> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        match Reply::parse(text) {
            Some(Reply::Ok { token, lines, rejected, first }) => {
                let (_, from) = asks
                    .try_recv()
                    .ok()
                    .filter(|(asked, _)| token == asked.to_string())
                    .ok_or_else(|| format!("the server answered what was not asked: {text}"))?;
                let latency = load.clock.monotonic().saturating_sub(from);
                self.latency_us.saturating_record(latency.as_micros() as u64);
                self.acknowledged += lines;
                self.rejected += rejected;
                if let (None, Some(Rejection { line, reason })) = (&self.first_rejection, first) {
                    self.first_rejection = Some(format!("line {line}: {reason}"));
                }
                Ok(())
            }
            Some(Reply::Err { reason, .. }) => Err(format!("the server gave up: {reason}")),
            None => Err(format!("the server sent a line that is no reply: {text}")),
        }
    }
}

/// Microseconds up to an hour, to three digits.
pub(super) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order")
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    /// Lines `a v=1i`, `a v=2i`, ….
    struct Counting(u64);

    impl Lines for Counting {
        fn next_line(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
            self.0 += 1;
            writeln!(out, "a v={}i", self.0)?;
            Ok(true)
        }
    }

    /// What a peer does with a connection whose lines it has read.
    type Peer = fn(&mut TcpStream, BufReader<TcpStream>);

    fn serve(peer: Peer) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let addr = listener.local_addr().expect("the listener is bound");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the client connects");
            let reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
            peer(&mut stream, reader);
        });
        addr
    }

    fn load(ack_every: Option<u64>) -> Load {
        Load {
            clock: Clock::real(),
            pace: Pace::new(None, 1),
            duration: None,
            ack_every,
            one_line_per_write: false,
            patience: Duration::from_secs(60),
            sent: AtomicU64::new(0),
        }
    }

    fn outcome(peer: Peer, rows: u64, ack_every: Option<u64>) -> Outcome {
        let stream = TcpStream::connect(serve(peer)).expect("the peer listens");
        drive(&stream, &mut Counting(0), Some(rows), &load(ack_every))
    }

    /// Answers every question, refusing the lines whose value ends in 7.
    fn honest(stream: &mut TcpStream, reader: BufReader<TcpStream>) {
        let (mut lines, mut rejected, mut number, mut first) = (0, 0, 0, String::new());
        for line in reader.lines().map_while(Result::ok) {
            if let Some(token) = line.strip_prefix("# ack ") {
                let reply = format!("ok {token} lines={lines} rejected={rejected}{first}\n");
                stream.write_all(reply.as_bytes()).expect("the client reads");
                (lines, rejected, first) = (0, 0, String::new());
                continue;
            }
            number += 1;
            if line.ends_with("7i") {
                rejected += 1;
                if first.is_empty() {
                    first = format!(" first={number}:unlucky");
                }
            } else {
                lines += 1;
            }
        }
    }

    #[test]
    fn acknowledged_and_refused_lines_add_up_over_all_answers() {
        let found = outcome(honest, 1_000, Some(64));
        assert_eq!(found.failure, None);
        assert_eq!(found.sent, 1_000);
        assert_eq!((found.answers.acknowledged, found.answers.rejected), (900, 100));
        assert_eq!(found.answers.first_rejection.as_deref(), Some("line 7: unlucky"));
        // One every 64 lines, and one at the end.
        assert_eq!(found.answers.latency_us.len(), 1_000 / 64 + 1);
    }

    #[test]
    fn a_server_that_knows_no_acks_is_sent_none() {
        let found = outcome(
            |_, reader| {
                assert!(reader.lines().map_while(Result::ok).all(|line| line.starts_with("a v=")))
            },
            500,
            None,
        );
        assert_eq!(found.failure, None);
        assert_eq!((found.sent, found.answers.acknowledged), (500, 0));
    }

    #[test]
    fn a_fin_in_the_place_of_an_answer_is_a_failure() {
        let found = outcome(|_, reader| drop(reader.lines().last()), 10, Some(100));
        assert_eq!(
            found.failure.as_deref(),
            Some("the server closed without an answer to # ack 1")
        );
    }

    #[test]
    fn an_err_says_why_the_run_failed() {
        let silly: Peer = |stream, mut reader| {
            let mut line = String::new();
            while !line.starts_with("# ack") {
                line.clear();
                reader.read_line(&mut line).expect("the client writes");
            }
            stream.write_all(b"err 1 disk full\n").expect("the client reads");
        };
        let found = outcome(silly, 10, Some(5));
        assert_eq!(found.failure.as_deref(), Some("the server gave up: disk full"));
    }

    #[test]
    fn an_answer_to_another_question_is_a_failure() {
        let found = outcome(
            |stream, reader| {
                stream.write_all(b"ok 9 lines=1 rejected=0\n").expect("the client reads");
                drop(reader.lines().last());
            },
            10,
            Some(100),
        );
        let failure = found.failure.expect("9 was never asked");
        assert!(failure.contains("ok 9 lines=1 rejected=0"), "{failure}");
    }
}
