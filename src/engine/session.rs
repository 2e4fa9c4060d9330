//! One connection's way in: bytes to rows to a commit, and the numbers that say what became of them.
//!
//! The only place that knows both a line and a WalWriter. Used by one task at a time; takes no lock that another session holds,
//! except to claim a name.

use super::IngestError;
use super::blocking::blocking;
use super::open::Shared;
use super::rejects::Place;
use super::rows::{Outcome, RowBuilder};
use super::tables::TablePolicies;
use super::write::Rejected;
use crate::codec::{LineError, LineSplitter, Parser, Precision, Reason, Split};
use crate::metrics;
use crate::schema::Definition;
use crate::sequencer::{FrameRef, Progress, Receipt};
use crate::types::TableId;
use crate::wal::{Appended, FrameMeta, Lease, WalWriter};
use bytes::{Buf, BytesMut};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where a session's lines come from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The peer's address, for logs and `system.rejected_lines`.
    pub peer: Arc<str>,
    /// The unit of timestamps without a suffix.
    pub precision: Precision,
}

/// What one call of [`Session::ingest`] met.
#[derive(Debug, Default)]
pub struct Ingested {
    /// Lines that were neither blank nor comments, refused ones included.
    pub lines: u64,
    /// Lines refused.
    pub rejected: u64,
}

/// A `# ack TOKEN` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AckRequest {
    /// The client's word for it.
    pub token: String,
    /// The commit that must be durable before the reply.
    pub ordinal: u64,
    /// What the reply says.
    pub counts: ReplyCounts,
}

/// What happened since the reply before.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ReplyCounts {
    /// Rows committed.
    pub lines: u64,
    /// Lines refused.
    pub rejected: u64,
    /// The first refused line, counted from 1 on this connection, and why.
    pub first: Option<(u64, Reason)>,
}

/// One connection's way in.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    origin: Origin,
    /// Its number since the start.
    number: u64,
    database: Arc<str>,
    splitter: LineSplitter,
    rows: RowBuilder,
    /// Borrowed at the first line, given back at the end or when idle.
    writer: Option<Lease>,
    progress: Arc<Progress>,
    /// The last receipt pushed; 0 before the first.
    ordinal: u64,
    /// Memory of the receipts pushed since all were numbered.
    under_way_bytes: usize,
    registry_epoch: u64,
    /// Lines seen and bytes consumed on this connection.
    line: u64,
    offset: u64,
    /// How the over-long line begins of which the rest is being skipped.
    skipped: Vec<u8>,
    /// Bytes of lines in the pending rows: what bounds a commit.
    pending_bytes: usize,
    pending_since: Option<Duration>,
    counts: ReplyCounts,
    /// Requests for a reply that nobody has taken yet.
    acks: Vec<AckRequest>,
    /// Tables of the last commit, noted while suspended tables hold up who sends to them.
    last_tables: Vec<TableId>,
    /// Whether a refused line ends a call of [`Session::ingest`].
    stops_at_refused: bool,
    /// Refused lines, kept for a caller that answers with them.
    kept: Option<Vec<Rejected>>,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, database: Arc<str>, origin: Origin) -> Session {
        let limits = shared.config.limits.codec();
        let parser = Parser::new(limits, origin.precision).with_dialect(shared.config.dialect);
        let policies: Arc<TablePolicies> = shared.policies.clone();
        let rows = RowBuilder::new(parser, shared.registry.clone(), policies, database.clone());
        Session {
            number: shared.sessions.fetch_add(1, Ordering::Relaxed) + 1,
            skipped: Vec::new(),
            registry_epoch: shared.registry.epoch(),
            splitter: LineSplitter::new(limits.line_bytes),
            rows,
            writer: None,
            progress: Progress::new(),
            ordinal: 0,
            under_way_bytes: 0,
            line: 0,
            offset: 0,
            pending_bytes: 0,
            pending_since: None,
            counts: ReplyCounts::default(),
            acks: Vec::new(),
            last_tables: Vec::new(),
            stops_at_refused: false,
            kept: None,
            shared,
            origin,
            database,
        }
    }

    /// Makes a refused line end the call of [`Session::ingest`] that meets it: nothing behind it is taken.
    pub fn stop_at_refused(&mut self) {
        self.stops_at_refused = true;
    }

    /// Keeps refused lines for [`Session::take_rejected`]; a request does, a connection does not.
    pub(super) fn keep_rejected(&mut self) {
        self.kept = Some(Vec::new());
    }

    pub(super) fn take_rejected(&mut self) -> Vec<Rejected> {
        self.kept.take().unwrap_or_default()
    }

    /// Requests for a reply that were met since this was last called, in order. Each is due once its ordinal is durable.
    pub fn take_acks(&mut self) -> impl Iterator<Item = AckRequest> {
        self.acks.drain(..)
    }

    /// True when the session holds a WalWriter, or waits for none.
    pub fn has_writer(&self) -> bool {
        self.writer.is_some()
    }

    /// True when the session holds a WalWriter and may give it back: no row needs it.
    pub fn may_release(&self) -> bool {
        self.has_writer() && !self.has_pending()
    }

    /// True when whoever has a WalWriter should not keep it: all of them are lent. Whoever holds the last one passes it on after each
    /// commit, so that those who keep theirs keep nobody waiting for good.
    pub fn should_pass_on(&self) -> bool {
        self.shared.writers.is_exhausted()
    }

    /// True when [`Session::ready`] has nothing to do.
    pub fn is_ready(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.has_segment())
    }

    /// Borrows a WalWriter; waits while all are lent, and for its segment. Call it before [`Session::ingest`] whenever there are bytes.
    pub async fn ready(&mut self) {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let writer = none.insert(self.shared.writers.borrow().await);
                metrics::WAL_WRITERS.increment(1.0);
                writer
            }
        };
        if !writer.has_segment()
            && let Err(error) = blocking(|| writer.prepare())
        {
            tracing::debug!(%error, "no segment yet; the first commit tries again");
        }
    }

    /// Gives the WalWriter back, and the memory of rows: an idle connection holds neither.
    ///
    /// # Panics
    /// With pending rows: they must have been committed.
    pub fn release(&mut self) {
        if self.writer.take().is_some() {
            metrics::WAL_WRITERS.decrement(1.0);
            // The next writer numbers series anew.
            self.rows.forget_tables();
            self.acks.shrink_to_fit();
        }
    }

    /// Takes every whole line at the start of `buf` and drops it from there. Commits by itself when the pending rows reach a
    /// limit.
    ///
    /// # Errors
    /// Rows could not be appended to the WAL. They are still pending, and nothing of `buf` is lost.
    ///
    /// # Panics
    /// Without a writer: see [`Session::ready`].
    pub fn ingest(&mut self, buf: &mut BytesMut) -> Result<Ingested, IngestError> {
        self.forget_changed()?;
        let mut result = Ingested::default();
        let now = self.shared.clock.wall_nanos();
        let mut at = 0;
        let outcome = loop {
            if self.is_full()
                && let Err(e) = self.commit()
            {
                break Err(e);
            }
            at += self.fast_lines(&buf[at..], now, &mut result);
            if self.is_full() {
                continue;
            }
            self.remember_start(&buf[at..]);
            let step = self.splitter.next(&buf[at..]);
            if step == Split::Incomplete {
                break Ok(());
            }
            let (consumed, taken) = self.general_line(step, now, &mut result);
            at += consumed;
            if let Err(e) = taken {
                break Err(e);
            }
            if self.stops_at_refused && result.rejected > 0 {
                break Ok(());
            }
        };
        buf.advance(at);
        if self.rows.pending() > 0 && self.pending_since.is_none() {
            self.pending_since = Some(self.shared.clock.monotonic());
        }
        metrics::LINES.increment(result.lines);
        outcome.map(|()| result)
    }

    /// The stream has ended and every whole line of it was taken. With `complete` the last line needs no newline; else what is left
    /// is dropped and counted, since `v=12` may be the head of `v=123`. Returns true when nothing was dropped.
    ///
    /// # Errors
    /// As [`Session::ingest`].
    pub fn finish(&mut self, buf: &mut BytesMut, complete: bool) -> Result<bool, IngestError> {
        if !complete {
            let clean = buf.is_empty() && !self.splitter.is_skipping();
            if !clean {
                // All of it is one line: an open string may hold what looks like further ones.
                metrics::INCOMPLETE_LINES.increment(1);
                self.line += 1;
                self.reject(self.offset, &buf[..], &incomplete());
                buf.clear();
            }
            return Ok(clean);
        }
        let mut result = Ingested::default();
        let now = self.shared.clock.wall_nanos();
        let mut outcome = Ok(());
        while outcome.is_ok() {
            self.remember_start(&buf[..]);
            let step = self.splitter.finish(&buf[..]);
            if step == Split::Incomplete {
                break;
            }
            let (consumed, taken) = self.general_line(step, now, &mut result);
            outcome = taken;
            buf.advance(consumed);
        }
        metrics::LINES.increment(result.lines);
        outcome.map(|()| true)
    }

    /// Appends the pending rows to the WAL and hands their receipt to the sequencer. Returns the ordinal that becomes durable;
    /// with nothing pending, that of the last commit.
    ///
    /// # Errors
    /// The WAL refuses the append, for want of room most likely; the rows are still pending.
    pub fn commit(&mut self) -> Result<u64, IngestError> {
        if !self.is_under_way() {
            self.under_way_bytes = 0;
        }
        let Some(writer) = self.writer.as_mut().filter(|_| self.rows.pending() > 0) else {
            return Ok(self.ordinal);
        };
        let appended = writer.append(self.rows.batches())?.expect("there are pending rows");
        let tables: SmallVec<[TableId; 4]> = appended.frames.iter().map(|f| f.table).collect();
        let definitions = definitions(&mut self.rows);
        let rows = self.rows.pending() as u64;
        self.ordinal += 1;
        metrics::WAL_COMMITS.increment(1);
        metrics::WAL_BYTES.increment(appended.len);
        let mut receipt = self.shared.receipt(appended, self.progress.clone(), self.ordinal);
        receipt.definitions = definitions;
        let carried = receipt.carried.as_ref().map_or(0, |bytes| bytes.len());
        self.under_way_bytes += RECEIPT_BYTES + carried;
        self.shared.sequencer.push(receipt);
        self.last_tables.clear();
        if self.shared.apply.is_holding_up() {
            self.last_tables.extend(pending_tables(&self.rows));
        }
        self.rows.clear();
        self.counts.lines += rows;
        self.pending_bytes = 0;
        self.pending_since = None;
        if writer.should_roll() || reaches_own_limit(&self.shared, writer, &tables) {
            writer.roll();
            self.rows.forget_series();
        }
        Ok(self.ordinal)
    }

    /// True when the session must take no more lines for now: it sends to a suspended table for which too much waits already.
    pub fn is_held_up(&self) -> bool {
        let apply = &self.shared.apply;
        let recent = self.last_tables.iter().copied();
        apply.is_holding_up()
            && recent.chain(pending_tables(&self.rows)).any(|table| apply.is_held_up(table))
    }

    /// Rows that no commit has taken yet.
    pub fn has_pending(&self) -> bool {
        self.rows.pending() > 0
    }

    /// Time on the engine's monotonic clock since which the oldest pending row waits.
    pub fn pending_since(&self) -> Option<Duration> {
        self.pending_since
    }

    /// Receipts pushed and not yet durable.
    pub fn in_flight(&self) -> u64 {
        self.ordinal - self.progress.committed()
    }

    /// True when a receipt has been pushed that is not yet numbered.
    pub fn is_under_way(&self) -> bool {
        self.progress.published() < self.ordinal
    }

    /// True when receipts that are not yet numbered hold so much memory that no more lines may be taken before the last of them is.
    pub fn is_behind(&self) -> bool {
        self.under_way_bytes >= UNDER_WAY_BYTES_MAX && self.is_under_way()
    }

    /// The last ordinal given out.
    pub fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// The watermark of this session's commits, to wait on without holding the session.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// What happened since this was last called.
    pub fn take_counts(&mut self) -> ReplyCounts {
        std::mem::take(&mut self.counts)
    }

    /// Bytes and lines consumed so far, for messages.
    pub fn position(&self) -> (u64, u64) {
        (self.line, self.offset)
    }

    /// Takes lines by the fast path for as long as they allow it. Returns the bytes consumed.
    #[inline]
    fn fast_lines(&mut self, buf: &[u8], now: i64, result: &mut Ingested) -> usize {
        if !self.splitter.is_fresh() {
            return 0;
        }
        let mut at = 0;
        let mut lines = 0;
        while !self.is_full() {
            let Some(end) = memchr::memchr(b'\n', &buf[at..]) else { break };
            let writer = self.writer.as_mut().expect("ready() was awaited before");
            if !self.rows.fast(writer, &buf[at..at + end], now) {
                break;
            }
            at += end + 1;
            lines += 1;
            self.pending_bytes += end;
        }
        self.line += lines;
        self.offset += at as u64;
        result.lines += lines;
        at
    }

    /// Takes one line by the general path. Returns the bytes consumed.
    fn general_line(
        &mut self,
        step: Split<'_>,
        now: i64,
        result: &mut Ingested,
    ) -> (usize, Result<(), IngestError>) {
        let (text, consumed) = match step {
            Split::Line { text, consumed } => (text, consumed),
            Split::Skipped { consumed, total, ends, in_string } => {
                self.offset += consumed as u64;
                if ends {
                    self.line += 1;
                    result.lines += 1;
                    result.rejected += 1;
                    let head = std::mem::take(&mut self.skipped);
                    self.reject(self.offset - total, &head, &too_long(total, in_string));
                }
                return (consumed, Ok(()));
            }
            Split::Incomplete => return (0, Ok(())),
        };
        self.line += 1;
        let writer = self.writer.as_mut().expect("ready() was awaited before");
        let outcome = match self.rows.general(writer, text, now) {
            Ok(Outcome::Row) => {
                result.lines += 1;
                self.pending_bytes += text.len();
                Ok(())
            }
            Ok(Outcome::Nothing) => Ok(()),
            Ok(Outcome::Ack(token)) => self.commit().map(|ordinal| {
                let counts = self.take_counts();
                self.acks.push(AckRequest { token, ordinal, counts });
            }),
            Err(error) => {
                result.lines += 1;
                result.rejected += 1;
                self.reject(self.offset, text, &error);
                Ok(())
            }
        };
        if outcome.is_err() {
            // The line is still in the buffer and comes again.
            self.line -= 1;
            return (0, outcome);
        }
        self.line += memchr::memchr_iter(b'\n', text).count() as u64;
        self.offset += consumed as u64;
        (consumed, outcome)
    }

    /// Keeps the start of a line that the splitter may skip: by the time that its end is known, the start is gone.
    fn remember_start(&mut self, buf: &[u8]) {
        let limit = self.shared.config.limits.line_bytes;
        if !self.splitter.is_skipping() && buf.len() > limit {
            self.skipped.clear();
            self.skipped.extend_from_slice(&buf[..limit.min(EXCERPT_BYTES)]);
        }
    }

    /// Says of a peer that speaks something else what there is to say, once.
    pub fn reject_foreign(&mut self, received: &[u8], what: &'static str) {
        self.line += 1;
        self.reject(self.offset, received, &LineError::new(Reason::NotLineProtocol, 0, what));
    }

    /// Counts, keeps and logs a refused line that began at `offset` of the connection.
    fn reject(&mut self, offset: u64, text: &[u8], error: &LineError) {
        self.counts.rejected += 1;
        self.counts.first.get_or_insert((self.line, error.reason));
        let place = Place {
            database: &self.database,
            peer: &self.origin.peer,
            connection: self.number,
            line: self.line,
            offset,
        };
        self.shared.rejects.record(&place, text, error);
        if let Some(kept) = &mut self.kept {
            Rejected::keep(kept, self.line, text, error);
        }
    }

    #[inline]
    fn is_full(&self) -> bool {
        let limit = &self.shared.config.commit;
        self.rows.pending() >= limit.rows || self.pending_bytes >= limit.bytes
    }

    /// Lets go of tables that were dropped or changed since the last call, after committing what is pending for them.
    fn forget_changed(&mut self) -> Result<(), IngestError> {
        let epoch = self.shared.registry.epoch();
        if epoch != self.registry_epoch {
            self.commit()?;
            self.rows.forget_changed();
            self.registry_epoch = epoch;
        }
        Ok(())
    }
}

impl Drop for Session {
    /// Rows that were never committed were never promised; the writer goes back for the next connection.
    fn drop(&mut self) {
        self.rows.clear();
        self.release();
    }
}

impl Shared {
    /// The receipt of a commit.
    pub(super) fn receipt(
        &self,
        appended: Appended,
        progress: Arc<Progress>,
        ordinal: u64,
    ) -> Receipt {
        let frame = |f: &FrameMeta| FrameRef {
            table: f.table,
            offset: f.offset,
            len: f.len,
            rows: f.rows,
            bytes: u64::from(f.len),
            min_time: f.min_time,
            max_time: f.max_time,
        };
        Receipt {
            writer: appended.writer,
            segment: appended.segment,
            end: appended.offset + appended.len,
            frames: appended.frames.iter().map(frame).collect(),
            carried: appended.bytes,
            file: Some(appended.file),
            is_new_file: appended.is_new_file,
            ..Receipt::without_frames(progress, ordinal)
        }
    }
}

/// The tables that a commit would have rows of.
fn pending_tables(rows: &RowBuilder) -> impl Iterator<Item = TableId> {
    rows.batches().filter(|batch| batch.rows() > 0).map(|batch| batch.table)
}

/// True when one of these tables has as many rows in the open segment as it may.
fn reaches_own_limit(shared: &Shared, writer: &WalWriter, tables: &[TableId]) -> bool {
    tables.iter().any(|id| {
        let table = shared.registry.by_id(*id);
        let limit = table.and_then(|table| shared.policies.segment_rows(&table.def()));
        limit.is_some_and(|limit| writer.rows_of(*id) >= limit)
    })
}

/// All that the log does not hold yet of the tables in this commit.
fn definitions(rows: &mut RowBuilder) -> Vec<Definition> {
    let mut definitions = Vec::new();
    rows.unlogged().for_each(|table| definitions.extend(table.unlogged()));
    definitions
}

fn incomplete() -> LineError {
    LineError::new(Reason::IncompleteLine, 0, "the connection closed before the newline")
}

fn too_long(total: u64, in_string: bool) -> LineError {
    let (reason, what) = if in_string {
        (Reason::UnterminatedString, "a string was open at the limit of a line; ")
    } else {
        (Reason::LineTooLong, "")
    };
    LineError::new(reason, 0, format!("{what}{total} bytes were skipped to the next newline"))
}

/// What receipts on their way to the sequencer may hold, each with what the log is to carry. Much less would not keep the log busy for one
/// connection that asks for each line's acknowledgement. Tests do with what a writer keeps in memory.
const UNDER_WAY_BYTES_MAX: usize = if cfg!(test) { 16 << 10 } else { 4 << 20 };
/// A receipt without what it carries, about.
const RECEIPT_BYTES: usize = 512;
/// Bytes of an over-long line that are kept to show it by.
const EXCERPT_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::engine::{DEFAULT_DATABASE, Engine, EngineConfig};
    use crate::io::sim::SimDisk;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_session_that_gave_its_writer_back_holds_no_memory_of_rows() {
        let disk = SimDisk::new(1);
        let engine = Engine::open(EngineConfig::new("/data"), disk.fs(), Clock::real()).unwrap();
        let origin = Origin { peer: "test".into(), precision: Precision::Nanosecond };
        let mut session = engine.session(DEFAULT_DATABASE.into(), origin);
        for n in 0..2 {
            session.ready().await;
            session.ingest(&mut BytesMut::from(&b"a v=1i\nb v=2i\n"[..])).unwrap();
            assert_eq!(session.commit().unwrap(), n + 1);
            assert_eq!(session.rows.batches().count(), 2);
            session.release();
            assert_eq!(session.rows.batches().count(), 0);
        }
        session.progress().reached(2).await;
    }
}
