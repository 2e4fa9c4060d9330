//! The log as it is written: one open chunk, appended to record by record.

use super::format::{self, ChunkHeader, HEADER_BYTES, RecordHeader, RecordKind, Seed};
use super::purge::{ChunkUse, Closed};
use super::record::{Batch, encode_checkpoint};
use super::state::LogState;
use super::thread::SequencerConfig;
use super::{Durability, LogError};
use crate::io::{File, Fs, abort_on_failed_sync};
use crate::metrics;
use crate::planted::{Bug, is_planted};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Room that is reserved at once, or as much as a chunk has, so that an append seldom has to ask the file system for blocks.
const RESERVE_BYTES: u64 = 4 << 20;
/// Zeros that go in behind a record, once nothing is left of those before, under `sync`.
///
/// A block that is reserved and was never written has to be marked as written, and the inode with it, by the sync of its first write: two
/// writes more to the device, one after the other. Records of a group commit take new blocks every time; with blocks
/// that have been written before, their syncs take two thirds of the time. Zeros are what was there, as far as anybody can see.
const ZEROED_BYTES: u64 = 256 << 10;

/// Where chunk `n` of the log in `dir` lies.
pub(super) fn chunk_path(dir: &Path, chunk: u64) -> PathBuf {
    dir.join(format!("{chunk:08}.log"))
}

/// The numbers of the chunks in `dir`, ascending.
pub(super) fn chunk_numbers(fs: &Fs, dir: &Path) -> Result<Vec<u64>, LogError> {
    let number = |name: &str| name.strip_suffix(".log")?.parse().ok();
    let mut numbers: Vec<u64> =
        fs.list(dir)?.iter().filter_map(|entry| number(&entry.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The open chunk.
///
/// `durable <= end <= written <= reserved`, all in bytes of the chunk.
#[derive(Debug)]
pub(super) struct Log {
    fs: Fs,
    dir: PathBuf,
    config: SequencerConfig,
    seed: Seed,
    file: File,
    durable: u64,
    end: u64,
    /// The end of the zeros behind the last record.
    written: u64,
    reserved: u64,
    /// The record that is being written, whole.
    record: Vec<u8>,
    in_use: ChunkUse,
    closed: Arc<Closed>,
    last_sync: Duration,
}

impl Log {
    /// Opens a chunk after those that `state` knows, beginning with a checkpoint of it.
    pub(super) fn create(
        fs: &Fs,
        dir: &Path,
        config: &SequencerConfig,
        state: &mut LogState,
        now: i64,
    ) -> Result<Log, LogError> {
        fs.create_dir_all(dir)?;
        let closed = Closed::new(fs.clone(), dir.to_owned(), std::mem::take(&mut state.chunks));
        let chunk = state.chunk;
        let (file, end) = create_chunk(fs, dir, config, state, now)?;
        Ok(Log {
            fs: fs.clone(),
            dir: dir.to_owned(),
            config: config.clone(),
            seed: Seed::new(&state.uuid, chunk),
            file,
            durable: end,
            end,
            written: end,
            reserved: end,
            record: Vec::new(),
            in_use: ChunkUse::new(chunk),
            closed: Arc::new(closed),
            last_sync: Duration::ZERO,
        })
    }

    /// How long the last sync took.
    pub(super) fn last_sync(&self) -> Duration {
        self.last_sync
    }

    /// The chunks before the open one.
    pub(super) fn closed(&self) -> Arc<Closed> {
        self.closed.clone()
    }

    /// True when the next record belongs into a new chunk. A chunk with a checkpoint alone is never full, however many tables
    /// it has.
    pub(super) fn is_full(&self) -> bool {
        self.end >= self.config.chunk_bytes && !self.in_use.last.is_empty()
    }

    /// Makes the record of a batch ready for [`Log::write`].
    pub(super) fn stage(&mut self, batch: &Batch, state: &LogState) {
        format::begin_record(&mut self.record);
        batch.encode(&mut self.record);
        self.finish(RecordKind::Batch, state.ordinal);
        self.in_use.add(batch);
    }

    /// Writes the staged record. After an error nothing of it is in the log, and it may be written again.
    pub(super) fn write(&mut self, state: &mut LogState) -> Result<(), LogError> {
        let end = self.end + self.record.len() as u64;
        let written = self.append(end);
        if let Err(error) = written
            && !is_planted(Bug::ShortWriteIgnored)
        {
            // Gives blocks back to whoever makes room; should this fail too, the next try writes over what is there.
            if let Err(cut) = self.file.set_len(self.end) {
                tracing::debug!(error = %cut, "a failed append could not be cut back");
            }
            (self.written, self.reserved) = (self.end, self.end);
            return Err(error);
        }
        self.end = end;
        state.ordinal += 1;
        Ok(())
    }

    /// Makes everything written durable. Ends the process when that fails.
    pub(super) fn sync(&mut self, clock: &crate::clock::Clock) {
        if self.durable < self.end {
            let start = clock.monotonic();
            self.file.sync_data().unwrap_or_else(|error| {
                if !is_planted(Bug::SyncRetried) || self.file.sync_data().is_err() {
                    abort_on_failed_sync(&error)
                }
            });
            metrics::WAL_SYNCS.increment(1);
            self.last_sync = clock.monotonic() - start;
            metrics::WAL_SYNC_DURATION.record(self.last_sync.as_secs_f64());
            self.durable = self.end;
        }
    }

    /// Ends the chunk and opens the next one with a checkpoint. The caller has made durable what the chunk's records
    /// name. After an error the open chunk is still the same, and this may be called again.
    pub(super) fn roll(
        &mut self,
        state: &mut LogState,
        clock: &crate::clock::Clock,
    ) -> Result<(), LogError> {
        self.sync(clock);
        self.trim()?;
        let chunk = state.chunk;
        let now = clock.wall_nanos();
        let (file, end) = create_chunk(&self.fs, &self.dir, &self.config, state, now)?;
        self.seed = Seed::new(&state.uuid, chunk);
        self.file = file;
        (self.durable, self.end, self.written, self.reserved) = (end, end, end, end);
        self.closed.push(std::mem::replace(&mut self.in_use, ChunkUse::new(chunk)));
        Ok(())
    }

    /// Ends the log: everything before the seal is durable, and so is the seal.
    pub(super) fn seal(
        &mut self,
        state: &mut LogState,
        clock: &crate::clock::Clock,
    ) -> Result<(), LogError> {
        self.sync(clock);
        self.trim()?;
        format::begin_record(&mut self.record);
        self.finish(RecordKind::Seal, state.ordinal);
        self.file.write_all_at(&self.record, self.end)?;
        self.end += self.record.len() as u64;
        state.ordinal += 1;
        self.sync(clock);
        Ok(())
    }

    fn finish(&mut self, kind: RecordKind, ordinal: u64) {
        let header = RecordHeader { kind, ordinal, durable: self.durable };
        format::finish_record(&mut self.record, header, self.seed, self.end);
    }

    /// Writes the staged record up to `end`, and more zeros behind it when it reaches beyond those there are.
    fn append(&mut self, end: u64) -> Result<(), LogError> {
        self.reserve(end)?;
        let len = self.record.len();
        // The sync of a large record is not about a block more or less.
        let is_small = (len as u64) < ZEROED_BYTES / 4;
        let is_due = self.written < end && is_small && self.config.durability == Durability::Sync;
        let zeros = if is_due { ZEROED_BYTES.min(self.reserved - end) } else { 0 };
        self.record.resize(len + zeros as usize, 0);
        let written = self.file.write_all_at(&self.record, self.end);
        self.record.truncate(len);
        written?;
        self.written = self.written.max(end + zeros);
        Ok(())
    }

    fn reserve(&mut self, end: u64) -> Result<(), LogError> {
        if self.reserved < end {
            let len = (end - self.reserved).max(RESERVE_BYTES.min(self.config.chunk_bytes));
            self.file.allocate(self.reserved, len)?;
            self.reserved += len;
        }
        Ok(())
    }

    /// Cuts what was reserved and not written: only the last chunk of a log may end in zeros.
    fn trim(&mut self) -> Result<(), LogError> {
        self.file.set_len(self.end)?;
        (self.written, self.reserved) = (self.end, self.end);
        self.file.sync_data().unwrap_or_else(|error| abort_on_failed_sync(&error));
        Ok(())
    }
}

/// Creates the next chunk, whole or not at all: a chunk under its own name always has its header and checkpoint.
pub(super) fn create_chunk(
    fs: &Fs,
    dir: &Path,
    config: &SequencerConfig,
    state: &mut LogState,
    now: i64,
) -> Result<(File, u64), LogError> {
    let header = ChunkHeader {
        uuid: state.uuid,
        epoch: state.epoch,
        chunk: state.chunk,
        ordinal: state.ordinal,
        durability: config.durability,
        reports: config.reports,
        created: now,
    };
    let mut record = Vec::new();
    format::begin_record(&mut record);
    encode_checkpoint(state, &mut record);
    let offset = HEADER_BYTES as u64;
    let head =
        RecordHeader { kind: RecordKind::Checkpoint, ordinal: state.ordinal, durable: offset };
    format::finish_record(&mut record, head, Seed::new(&state.uuid, state.chunk), offset);
    let mut bytes = header.encode();
    bytes.append(&mut record);
    let path = chunk_path(dir, state.chunk);
    let file = fs.replace(&path, &bytes)?;
    state.ordinal += 1;
    state.chunk += 1;
    Ok((file, bytes.len() as u64))
}
