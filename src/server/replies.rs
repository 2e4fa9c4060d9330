//! Replies to `# ack TOKEN` lines: first they wait for durability, then for the socket.

use crate::engine::{AckRequest, ReplyCounts};
use crate::metrics;
use bytes::{Buf, BufMut, BytesMut};
use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::io;
use tokio::net::TcpStream;

/// The replies that a connection owes, in the order of their requests.
#[derive(Default, Debug)]
pub(super) struct Replies {
    /// Not durable yet; ordinals rise.
    waiting: VecDeque<AckRequest>,
    /// Due, but not yet taken by the socket.
    out: BytesMut,
}

impl Replies {
    pub(super) fn expect(&mut self, requests: impl IntoIterator<Item = AckRequest>) {
        self.waiting.extend(requests);
    }

    /// False while the connection should not be read: a client that asks and never reads its answers must not fill our memory.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX && self.out.len() < OUT_BYTES_MAX
    }

    /// True when nothing waits for durability.
    pub(super) fn none_waiting(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True when the socket has taken all that is due.
    pub(super) fn all_sent(&self) -> bool {
        self.out.is_empty()
    }

    /// The commit that the first waiting reply waits for.
    pub(super) fn next_ordinal(&self) -> Option<u64> {
        self.waiting.front().map(|request| request.ordinal)
    }

    /// Makes replies due whose commits are durable.
    pub(super) fn settle(&mut self, durable: u64) {
        while let Some(request) = self.waiting.pop_front_if(|request| request.ordinal <= durable) {
            let ReplyCounts { lines, rejected, first } = request.counts;
            let token = &request.token;
            let mut write = |text: fmt::Arguments<'_>| {
                self.out.write_fmt(text).expect("a buffer takes everything");
            };
            write(format_args!("ok {token} lines={lines} rejected={rejected}"));
            if let Some((line, reason)) = first {
                write(format_args!(" first={line}:{reason}"));
            }
            self.out.put_u8(b'\n');
            metrics::ACKS_OK.increment(1);
        }
    }

    /// Makes every waiting reply a failed one. Nothing may be promised after that. False when nobody waits for one.
    pub(super) fn fail(&mut self, reason: &str) -> bool {
        let is_awaited = !self.waiting.is_empty();
        for request in self.waiting.drain(..) {
            self.out.extend_from_slice(format!("err {} {reason}\n", request.token).as_bytes());
            metrics::acks("err").increment(1);
        }
        is_awaited
    }

    /// Gives the socket as much as it takes now.
    pub(super) fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.out.is_empty() {
            match stream.try_write(&self.out) {
                Ok(n) => self.out.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Gives the memory of what was sent back; an idle connection keeps no buffer.
    pub(super) fn shrink(&mut self) {
        self.waiting.shrink_to_fit();
        if self.out.is_empty() {
            self.out = BytesMut::new();
        }
    }

    /// Gives the socket all of it.
    pub(super) async fn send_all(&mut self, stream: &TcpStream) -> io::Result<()> {
        self.send(stream)?;
        while !self.out.is_empty() {
            stream.writable().await?;
            self.send(stream)?;
        }
        Ok(())
    }
}

const WAITING_MAX: usize = 1024;
const OUT_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Reason;

    fn request(token: &str, ordinal: u64, rejected: Option<(u64, Reason)>) -> AckRequest {
        let counts =
            ReplyCounts { lines: 7, rejected: u64::from(rejected.is_some()), first: rejected };
        AckRequest { token: token.to_owned(), ordinal, counts }
    }

    #[test]
    fn a_reply_is_due_when_its_commit_is_durable_and_not_before() {
        let mut replies = Replies::default();
        replies.expect([request("a", 1, None), request("b", 2, Some((3, Reason::TypeConflict)))]);
        replies.settle(0);
        assert!(replies.all_sent());
        replies.settle(1);
        assert_eq!(&replies.out[..], b"ok a lines=7 rejected=0\n");
        assert_eq!(replies.next_ordinal(), Some(2));
        replies.settle(2);
        assert!(replies.out.ends_with(b"ok b lines=7 rejected=1 first=3:type_conflict\n"));
    }

    #[test]
    fn a_failure_answers_every_waiting_token_and_none_twice() {
        let mut replies = Replies::default();
        replies.expect([request("a", 1, None), request("b", 2, None)]);
        replies.settle(1);
        assert!(replies.fail("stopped"));
        assert!(
            !replies.fail("stopped"),
            "a FIN would be taken for a yes by whoever gets no reply"
        );
        assert_eq!(&replies.out[..], b"ok a lines=7 rejected=0\nerr b stopped\n");
        assert!(replies.none_waiting());
    }
}
