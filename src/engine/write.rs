//! A request that brings lines as a whole and wants to know what became of each.

use super::{Engine, IngestError, Origin};
use crate::codec::{LineError, Precision};
use crate::schema::check_table_name;
use bytes::BytesMut;
use std::sync::Arc;

/// Refused lines that one answer names; the rest are counted.
const REJECTED_KEPT_MAX: usize = 100;
/// Bytes of each of them that the answer repeats.
const TEXT_BYTES_MAX: usize = 1024;

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
    /// The start of the line as it came; what is not UTF-8 is replaced.
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
                text: start_of(text),
            });
        }
    }
}

/// The start of a line, up to the end of a character.
fn start_of(line: &[u8]) -> String {
    let is_inside = |at: &usize| line.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let cut = (0..=line.len().min(TEXT_BYTES_MAX)).rev().find(|at| !is_inside(at)).unwrap_or(0);
    String::from_utf8_lossy(&line[..cut]).into_owned()
}

impl Engine {
    /// Checks the name of a database that came from outside; the rules are those of tables.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn check_database(&self, name: &str) -> Result<(), &'static str> {
        check_table_name(name, self.config().limits.name_bytes)
    }

    /// Takes all lines of `body`, of which the last needs no newline, and returns once what could be written is durable.
    ///
    /// # Errors
    /// The WAL refuses the append, or a suspended table has no room for more. Lines before may have been committed.
    pub async fn write_lines(
        &self,
        database: Arc<str>,
        peer: Arc<str>,
        precision: Precision,
        body: &[u8],
    ) -> Result<WriteOutcome, IngestError> {
        let mut session = self.session(database, Origin { peer, precision });
        session.keep_rejected();
        session.ready().await;
        let mut body = BytesMut::from(body);
        // An `# ack` in a request needs no reply of its own: the answer is one. Its counts must not be lost.
        session.ingest(&mut body)?;
        if session.is_held_up() {
            return Err(IngestError::HeldUp);
        }
        session.finish(&mut body, true)?;
        let ordinal = session.commit()?;
        session.progress().reached(ordinal).await;
        let last = session.take_counts();
        let acks = session.take_acks();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_line_is_repeated_as_it_came_up_to_a_whole_character() {
        assert_eq!(start_of("m é=\"x\" \\".as_bytes()), "m é=\"x\" \\");
        assert_eq!(start_of(b"m \xff=1"), "m \u{fffd}=1");
        let long = format!("{}é", "x".repeat(TEXT_BYTES_MAX - 1));
        assert_eq!(start_of(long.as_bytes()), long[..TEXT_BYTES_MAX - 1]);
        assert_eq!(start_of(&[0x80; 2 * TEXT_BYTES_MAX]), "");
    }
}
