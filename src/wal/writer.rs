//! The writer of one connection: batches in, frames in its segment out.

use super::Batch;
use super::config::WalConfig;
use super::encode::{FrameMeta, Place, encode_frame};
use super::error::WalError;
use super::format::{Identity, Seal, put_header, writer_dir};
use super::ledger::{ClosedSegment, Ledger};
use super::segment::{RESERVE_MIN, Segment};
use super::series::SegmentSeries;
use crate::io::{File, Fs, IoError, Operation, synced};
use crate::types::{ColumnId, SegmentId, TableId, WriterId};
use bytes::Bytes;
use smallvec::SmallVec;
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

/// The largest buffer that a thread keeps between two appends: what lines of a commit's usual limit become at most.
const BUFFER_BYTES_MAX: usize = 16 << 20;

thread_local! {
    /// Where a thread encodes commits, whoever's: among many writers of small ones, each writer's own would be cold.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Appends the commits of one connection at a time. Holds no file until somebody prepares one, or the first commit.
#[derive(Debug)]
pub struct WalWriter {
    config: Arc<WalConfig>,
    fs: Fs,
    wal_dir: PathBuf,
    epoch: u64,
    ledger: Ledger,
    /// The segment that is open or comes next.
    identity: Identity,
    segment: Option<Segment>,
    series: SegmentSeries,
    rows: u64,
    frames: u64,
    ordinal: u64,
    generation: u64,
}

/// A commit that is in the segment, or with `bytes` perhaps in its writer's memory only, and not yet durable.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Whose segment.
    pub writer: WriterId,
    /// Which segment.
    pub segment: SegmentId,
    /// The writer's number of this commit: dense, from 1.
    pub ordinal: u64,
    /// Where the frames begin.
    pub offset: u64,
    /// Bytes of all frames; they follow each other. Durable once the first `offset + len` bytes of the file are.
    pub len: u64,
    /// The frames, one a batch that had rows.
    pub frames: SmallVec<[FrameMeta; 1]>,
    /// The bytes of all frames, when they are at most `carry_bytes`.
    pub bytes: Option<Bytes>,
    /// The file to sync, for a commit without `bytes`.
    pub file: Arc<File>,
    /// The file's name may not be durable: whoever syncs the file syncs its folder, too.
    /// Set until a commit without `bytes` has been returned, for only such commits make their caller sync the segment.
    pub is_new_file: bool,
}

impl WalWriter {
    pub(super) fn new(
        config: Arc<WalConfig>,
        fs: Fs,
        wal_dir: PathBuf,
        epoch: u64,
        ledger: Ledger,
        identity: Identity,
    ) -> WalWriter {
        WalWriter {
            config,
            fs,
            wal_dir,
            epoch,
            ledger,
            identity,
            segment: None,
            series: SegmentSeries::default(),
            rows: 0,
            frames: 0,
            ordinal: 0,
            generation: 0,
        }
    }

    /// Its number.
    pub fn id(&self) -> WriterId {
        self.identity.writer
    }

    /// The segment that the next commit goes to.
    pub fn segment(&self) -> SegmentId {
        self.identity.segment
    }

    /// The last commit's number; 0 before the first.
    pub fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Rises whenever series numbers that a session remembers are void: when the segment rolls, and when the writer
    /// changes hands.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Gives a tag set of `table` its number in this segment; its definition goes into the table's next frame. The caller
    /// remembers the number: asked again, the set gets another one.
    pub fn series(&mut self, table: TableId, tags: &[(ColumnId, &str)]) -> u32 {
        self.series.define(table, tags)
    }

    /// True when the segment is there that the next commit goes to.
    pub fn has_segment(&self) -> bool {
        self.segment.is_some()
    }

    /// Creates the segment that the next commit goes to, with a little room, unless it is there. An append does so where nobody
    /// has, but a folder to make and to sync is better waited for where nobody else waits.
    ///
    /// # Errors
    /// As [`WalWriter::append`], which then tries again.
    pub fn prepare(&mut self) -> Result<(), WalError> {
        if self.segment.is_none() {
            self.check_room(RESERVE_MIN)?;
            self.segment.insert(self.create_segment()?).prepare()?;
        }
        Ok(())
    }

    /// Appends one frame for each batch that has rows, all with one call. `None` when no batch has rows.
    ///
    /// What the log will carry may stay in memory; what it will not is in the segment, and everything before it.
    ///
    /// The batches are only read: the caller clears them after success. Nothing is synced.
    ///
    /// # Errors
    /// [`WalError::Io`], also when less than `free_bytes_min` would be left on the disk. The segment is as it was, and the same batches
    /// may be appended again.
    pub fn append<'a>(
        &mut self,
        batches: impl IntoIterator<Item = &'a Batch>,
    ) -> Result<Option<Appended>, WalError> {
        let mut buffer = BUFFER.take();
        let appended = self.append_with(&mut buffer, batches);
        if buffer.capacity() <= BUFFER_BYTES_MAX {
            BUFFER.set(buffer);
        }
        appended
    }

    fn append_with<'a>(
        &mut self,
        buffer: &mut Vec<u8>,
        batches: impl IntoIterator<Item = &'a Batch>,
    ) -> Result<Option<Appended>, WalError> {
        let start = self.segment.as_ref().map_or(0, Segment::end);
        let frames = self.encode(buffer, start, batches);
        let Some(first) = frames.first() else { return Ok(None) };
        let offset = first.offset;
        let head = (offset - start) as usize;
        let len = buffer.len() as u64;
        match self.segment.as_ref().map_or(len, |segment| segment.takes(len)) {
            0 => {}
            more => self.check_room(more)?,
        }
        if self.segment.is_none() {
            self.segment = Some(self.create_segment()?);
        }
        let segment = self.segment.as_mut().expect("created just above");
        let bytes = &buffer[head..];
        let carried =
            (bytes.len() <= self.config.carry_bytes).then(|| Bytes::copy_from_slice(bytes));
        match &carried {
            // Whoever opens the segment finds its header.
            Some(commit) if head == 0 => {
                segment.append_carried(commit, self.config.unwritten_bytes)?;
            }
            _ => segment.append(buffer)?,
        }

        self.ordinal += 1;
        self.frames += frames.len() as u64;
        for frame in &frames {
            self.rows += u64::from(frame.rows);
            self.series.mark_written(frame.table, frame.offset, frame.rows);
        }
        let is_new_file = segment.is_new;
        segment.is_new &= carried.is_some();
        Ok(Some(Appended {
            writer: self.identity.writer,
            segment: self.identity.segment,
            ordinal: self.ordinal,
            offset,
            len: len - head as u64,
            frames,
            bytes: carried,
            file: segment.file().clone(),
            is_new_file,
        }))
    }

    /// True when the segment has reached a limit. The caller commits what it has, then calls [`WalWriter::roll`].
    pub fn should_roll(&self) -> bool {
        let limits = &self.config;
        self.segment.as_ref().is_some_and(|segment| segment.end() >= limits.segment_bytes)
            || self.rows >= limits.segment_rows
            || self.series.count >= limits.segment_series
            || self.series.bytes >= limits.series_bytes
    }

    /// Rows of one table in the segment: a table may have a limit of its own.
    pub fn rows_of(&self, table: TableId) -> u64 {
        self.series.rows_of(table)
    }

    /// Closes the segment; the next commit begins another one. Series start at 0 again, so no batch may hold rows now.
    ///
    /// The seal is a courtesy to whoever inspects the file: when it cannot be written, that is logged and nothing else. But a segment that
    /// lacks commits stays open: call this again.
    pub fn roll(&mut self) {
        if let Err(error) = self.write_out() {
            tracing::warn!(%error, "a segment stays open: it lacks commits that only the log has");
            return;
        }
        self.generation += 1;
        self.series = SegmentSeries::default();
        let Some(mut segment) = self.segment.take() else { return };
        if segment.end() > 0 {
            let seal = Seal { frames: self.frames, rows: self.rows, ordinal: self.ordinal };
            let mut bytes = Vec::new();
            seal.put(&mut bytes, self.identity.seed(), segment.end());
            if let Err(error) = segment.append(&bytes) {
                tracing::warn!(%error, "a segment is closed without a seal");
            }
        }
        segment.cut_back();
        self.ledger.closed(ClosedSegment {
            writer: self.identity.writer,
            segment: self.identity.segment,
            ordinal: self.ordinal,
            frames: self.frames,
        });
        self.identity.segment = SegmentId(self.identity.segment.0 + 1);
        self.rows = 0;
        self.frames = 0;
    }

    /// Writes the commits to the segment that it does not have yet.
    fn write_out(&self) -> Result<(), IoError> {
        self.segment.as_ref().map_or(Ok(()), |segment| segment.unwritten().write(&[]))
    }

    /// Prepares for the next borrower, who knows none of the series. Nobody may come for a long time, so nothing is kept in memory.
    pub(super) fn change_hands(&mut self) {
        if let Err(error) = self.write_out() {
            tracing::warn!(%error, "a segment lacks commits that only the log has");
        }
        self.generation += 1;
    }

    /// Fills the buffer with what goes to `start`: before the first frame of a segment, its header.
    fn encode<'a>(
        &mut self,
        buffer: &mut Vec<u8>,
        start: u64,
        batches: impl IntoIterator<Item = &'a Batch>,
    ) -> SmallVec<[FrameMeta; 1]> {
        buffer.clear();
        if start == 0 {
            put_header(buffer, &self.identity, self.epoch);
        }
        let seed = self.identity.seed();
        let mut frames = SmallVec::new();
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            let series = self.series.table(batch.table);
            let place = Place {
                seed,
                offset: start + buffer.len() as u64,
                ordinal: self.ordinal + 1,
                chain: series.chain,
                first_series: series.written,
                new_series: series.new_series(),
                definitions: &series.pending,
            };
            frames.push(encode_frame(buffer, batch, &place));
        }
        frames
    }

    /// Refuses to take what the log, flushes and the catalog need, as a full disk would: these free segments, so that the refusal ends by
    /// itself.
    fn check_room(&self, more: u64) -> Result<(), WalError> {
        let room = self.fs.room(&self.wal_dir)?;
        if room.free.saturating_sub(more) < self.config.reserve(room) {
            let path = self.identity.path(&self.wal_dir);
            return Err(IoError::no_space(Operation::Allocate, &path).into());
        }
        Ok(())
    }

    fn create_segment(&self) -> Result<Segment, WalError> {
        // Tried again, it would find the folder there and never sync its name.
        synced(self.fs.create_dir_all(&writer_dir(&self.wal_dir, self.identity.writer)))?;
        let segment = Segment::create(&self.fs, &self.identity.path(&self.wal_dir))?;
        let unwritten = segment.unwritten().clone();
        self.ledger.opened(self.identity.writer, self.identity.segment, unwritten);
        Ok(segment)
    }
}
