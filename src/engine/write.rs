//! A request that brings lines as a whole and wants to know what became of each.

use super::rejects::excerpt;
use super::{Engine, IngestError, Origin};
use crate::codec::{LineError, Precision};
use bytes::BytesMut;
use std::sync::Arc;

/// Refused lines that one answer names; the rest are counted.
const REJECTED_KEPT_MAX: usize = 100;

/// What became of a request's lines.
#[derive(Debug, Default)]
pub struct WriteOutcome {
    /// Rows committed, durable as the server's mode says.
    pub written: u64,
    /// Lines refused.
    pub rejected: u64,
    /// The first of them.
    pub lines: Vec<Rejected>,
}

/// A refused line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// Line of the request from 1, blank lines and comments counted.
    pub line: u64,
    /// Byte of the line from 1.
    pub column: u64,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub detail: String,
    /// The start of the line, escaped.
    pub text: String,
}

impl Rejected {
    pub(super) fn keep(kept: &mut Vec<Rejected>, line: u64, text: &[u8], error: &LineError) {
        if kept.len() < REJECTED_KEPT_MAX {
            kept.push(Rejected {
                line,
                column: error.offset as u64 + 1,
                reason: error.reason.as_str(),
                detail: error.detail.to_string(),
                text: excerpt(text),
            });
        }
    }
}

impl Engine {
    /// Takes all lines of `body`, of which the last needs no newline, and returns once what could be written is durable.
    ///
    /// # Errors
    /// The WAL refuses the append, or a suspended table has no room for more. Lines before may have been committed.
    pub async fn write_lines(
        &self,
        database: Arc<str>,
        peer: String,
        precision: Precision,
        body: &[u8],
    ) -> Result<WriteOutcome, IngestError> {
        let mut session = self.session(database, Origin { peer, precision });
        session.keep_rejected();
        session.ready().await;
        let mut body = BytesMut::from(body);
        // An `# ack` in a request needs no reply of its own: the answer is one. Its counts must not be lost.
        let taken = session.ingest(&mut body)?;
        if session.is_held_up() {
            return Err(IngestError::HeldUp);
        }
        session.finish(&mut body, true)?;
        let ordinal = session.commit()?;
        session.progress().reached(ordinal).await;
        let last = session.take_counts();
        let acks = taken.acks.into_iter().chain(session.take_acks());
        let counts: Vec<_> = acks.map(|ack| ack.counts).chain([last]).collect();
        let mut outcome =
            WriteOutcome { lines: session.take_rejected(), ..WriteOutcome::default() };
        for count in counts {
            outcome.written += count.lines;
            outcome.rejected += count.rejected;
        }
        Ok(outcome)
    }
}
