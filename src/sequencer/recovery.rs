//! Reading the log at a start. `docs/formats/txn-log.md` has the decision table; its labels stand in the comments here.

use super::format::{
    ChunkHeader, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordKind, Seed, next_record,
    read_record, record_bytes,
};
use super::log::{chunk_numbers, chunk_path};
use super::purge::ChunkUse;
use super::record::{Batch, Carried, decode_checkpoint};
use super::shelf::{ShelfFile, add_shelved, joined, read_shelf, shelf_files};
use super::{Committed, Durability, Frame, LogError, LogState};
use crate::io::Fs;
use crate::types::{SegmentId, SeqTxn, TableId, WriterId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What the log holds.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Where it stands after its last record, ready for [`super::Sequencer::start`].
    pub state: LogState,
    /// Every transaction of the chunks that were read and of the shelves, in order. Many of them may be flushed already.
    pub transactions: Vec<Committed>,
    /// How many chunks were not read, since everything in them is flushed. Frames that are not flushed may need definitions
    /// that only these chunks carry.
    pub unread: usize,
    /// Frames that the log carries and whose segment was not synced past them, by segment, in order of their offsets. Where
    /// a segment is still needed, they go back into it before anybody reads it.
    pub carried: CarriedFrames,
    /// Segments that the log names and that may not be on the device. They must be synced before
    /// [`super::Sequencer::start`], which puts them beyond doubt.
    pub unsynced: BTreeSet<(WriterId, SegmentId)>,
    /// What was cut from the end, if anything.
    pub cut: Option<Cut>,
    /// What lies in files of its own, for tables that were suspended. It is among the transactions and the carried frames.
    pub shelves: Vec<ShelfFile>,
}

impl Recovered {
    /// A frame that the log itself has, or a shelf, wherever its segment is.
    pub fn carried_frame(&self, frame: &Frame) -> Option<Bytes> {
        let (from, to) = (frame.offset, frame.offset + u64::from(frame.len));
        let carried = self.carried.get(&(frame.writer, frame.segment));
        let mut stretches = carried.into_iter().flatten();
        let (at, bytes) =
            stretches.find(|(at, bytes)| *at <= from && to <= at + bytes.len() as u64)?;
        Some(bytes.slice((from - at) as usize..(to - at) as usize))
    }
}

/// Bytes of frames and their offsets, by segment.
pub type CarriedFrames = BTreeMap<(WriterId, SegmentId), Vec<(u64, Bytes)>>;

/// The end of an unsealed log that was not whole. Nothing in it was acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The chunk.
    pub path: PathBuf,
    /// Where it ends now.
    pub at: u64,
    /// How many bytes went.
    pub bytes: u64,
}

/// Reads the log in `dir` of the server `uuid`; `None` when there is none. A torn end is cut from the file, durably; nothing else is
/// changed.
///
/// Chunks at the beginning of the log whose every transaction is `flushed` are not read: row L20. A caller that knows of
/// nothing flushed has all of them read.
///
/// `is_whole` is asked about frames that the log names and that may never have reached the device: those that
/// `async` and `nosync` wrote after their last sync. It answers true for a frame that verifies and for one whose rows
/// are in a part already. The log ends before the first record that names another.
///
/// # Errors
/// [`LogError::Damaged`] and its like: bytes that were acknowledged do not verify. [`LogError::Io`]: try again.
pub fn recover(
    fs: &Fs,
    dir: &Path,
    uuid: &[u8; 16],
    flushed: &dyn Fn(TableId) -> SeqTxn,
    is_whole: &mut dyn FnMut(&Committed) -> bool,
) -> Result<Option<Recovered>, LogError> {
    remove_unfinished(fs, dir)?;
    read(fs, dir, uuid, flushed, is_whole, true)
}

/// Reads the whole log as [`recover`] does, and changes nothing.
///
/// # Errors
/// As [`recover`].
pub fn survey(
    fs: &Fs,
    dir: &Path,
    uuid: &[u8; 16],
    is_whole: &mut dyn FnMut(&Committed) -> bool,
) -> Result<Option<Recovered>, LogError> {
    read(fs, dir, uuid, &|_| SeqTxn::NONE, is_whole, false)
}

/// What of the log a start reads, before it does and as if all frames were whole. Changes nothing.
///
/// # Errors
/// As [`recover`].
pub fn survey_unflushed(
    fs: &Fs,
    dir: &Path,
    uuid: &[u8; 16],
    flushed: &dyn Fn(TableId) -> SeqTxn,
) -> Result<Option<Recovered>, LogError> {
    read(fs, dir, uuid, flushed, &mut |_| true, false)
}

fn read(
    fs: &Fs,
    dir: &Path,
    uuid: &[u8; 16],
    flushed: &dyn Fn(TableId) -> SeqTxn,
    is_whole: &mut dyn FnMut(&Committed) -> bool,
    may_cut: bool,
) -> Result<Option<Recovered>, LogError> {
    let mut reading: Option<Reading> = None;
    let shelves = Shelves::read(fs, dir, uuid)?;
    let chunks = list_chunks(fs, dir)?;
    let (unread, in_use) = find_done(fs, dir, uuid, &chunks, flushed, &shelves)?;
    for (n, number) in chunks.iter().enumerate().skip(unread) {
        let path = chunk_path(dir, *number);
        let bytes = Bytes::from(fs.read_from_device(&path)?);
        let header = ChunkHeader::decode(&bytes, &path)?;
        let reading = reading.get_or_insert_with(|| {
            let mut reading = Reading::new(uuid, &header, &shelves);
            reading.skip(&chunks[..unread], &in_use);
            reading
        });
        let chunk = Chunk { path, bytes, header, is_last: n + 1 == chunks.len() };
        reading.chunk(&chunk, *number, is_whole)?;
        if chunk.is_last {
            let end = reading.cut_at.take().unwrap_or(chunk.bytes.len());
            reading.cut = chunk.cut_at(end);
            if may_cut {
                chunk.end_at(fs, end)?;
            }
        }
    }
    let recovered = reading.map(|reading| Recovered { unread, ..reading.finish() });
    Ok(recovered.map(|recovered| shelves.join(recovered)))
}

/// Row L20: how many chunks at the beginning are done with, and the last transactions in them. The newest checkpoint of which
/// everything is done tells; the last chunk is always read.
fn find_done(
    fs: &Fs,
    dir: &Path,
    uuid: &[u8; 16],
    chunks: &[u64],
    flushed: &dyn Fn(TableId) -> SeqTxn,
    shelves: &Shelves,
) -> Result<(usize, BTreeMap<TableId, SeqTxn>), LogError> {
    let shelved = shelves.last();
    let done = |table| flushed(table).max(shelved.get(&table).copied().unwrap_or_default());
    for (n, number) in chunks.iter().enumerate().skip(1).rev() {
        // A head that does not verify is reported by whoever reads the chunk.
        let Some(tables) = read_checkpoint(fs, &chunk_path(dir, *number), uuid, *number)? else {
            break;
        };
        if tables.iter().all(|(table, last)| done(*table) >= *last) {
            return Ok((n, tables));
        }
    }
    Ok((0, BTreeMap::new()))
}

/// The last transaction of each table before a chunk; `None` when its head does not verify.
fn read_checkpoint(
    fs: &Fs,
    path: &Path,
    uuid: &[u8; 16],
    number: u64,
) -> Result<Option<BTreeMap<TableId, SeqTxn>>, LogError> {
    let file = fs.open_read(path)?;
    file.forget_cached()?;
    let len = file.len()?;
    let mut head = vec![0; HEADER_BYTES + RECORD_HEADER_BYTES];
    if len < head.len() as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut head, 0)?;
    let size =
        record_bytes(&head[HEADER_BYTES..]).filter(|size| *size <= len - HEADER_BYTES as u64);
    let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else { return Ok(None) };
    let is_ours = |header: ChunkHeader| header.uuid == *uuid && header.chunk == number;
    if !ChunkHeader::decode(&head, path).is_ok_and(is_ours) {
        return Ok(None);
    }
    head.resize(HEADER_BYTES + size, 0);
    file.read_exact_at(&mut head, 0)?;
    let mut state = LogState::new(*uuid);
    let record = read_record(&head, HEADER_BYTES, Seed::new(uuid, number))
        .filter(|record| record.header.kind == RecordKind::Checkpoint);
    let is_whole =
        record.is_some_and(|record| decode_checkpoint(record.body, &mut state).is_some());
    Ok(is_whole.then(|| state.tables().map(|(id, table)| (id, table.seq_txn)).collect()))
}

/// The newest chunk at `place` or before it, where a start reads no chunk up to there: see [`recover`].
///
/// # Errors
/// As [`recover`].
pub fn done_at(
    fs: &Fs,
    dir: &Path,
    uuid: &[u8; 16],
    flushed: &dyn Fn(TableId) -> SeqTxn,
    place: &Path,
) -> Result<Option<PathBuf>, LogError> {
    let shelves = Shelves::read(fs, dir, uuid)?;
    let chunks = chunk_numbers(fs, dir)?;
    let (done, _) = find_done(fs, dir, uuid, &chunks, flushed, &shelves)?;
    let mut paths: Vec<PathBuf> = chunks.iter().map(|number| chunk_path(dir, *number)).collect();
    let is_done = paths.get(done).is_some_and(|needed| place < needed);
    paths.truncate(done);
    Ok(paths.into_iter().rfind(|path| is_done && path <= place))
}

/// Adds frames of a record.
pub(super) fn collect(carried: Vec<Carried>, into: &mut CarriedFrames) {
    for Carried { writer, segment, offset, bytes } in carried {
        into.entry((writer, segment)).or_default().push((offset, bytes));
    }
}

/// What lies in files of its own.
#[derive(Default)]
struct Shelves {
    files: Vec<ShelfFile>,
    /// In order of tables and numbers, each once.
    transactions: Vec<Committed>,
    carried: CarriedFrames,
}

impl Shelves {
    fn read(fs: &Fs, dir: &Path, uuid: &[u8; 16]) -> Result<Shelves, LogError> {
        let mut shelves = Shelves::default();
        for file in shelf_files(fs, dir)? {
            let mut shelf = read_shelf(fs, &file, uuid)?;
            add_shelved(&mut shelves.transactions, &mut shelf)?;
            for (segment, frames) in shelf.carried {
                shelves.carried.entry(segment).or_default().extend(frames);
            }
            shelves.files.push(file);
        }
        Ok(shelves)
    }

    /// The last transaction of each table that is on a shelf.
    fn last(&self) -> BTreeMap<TableId, SeqTxn> {
        self.transactions.iter().map(|txn| (txn.table, txn.seq_txn)).collect()
    }

    /// Row H1.
    fn join(self, mut recovered: Recovered) -> Recovered {
        recovered.shelves = self.files;
        for (segment, frames) in self.carried {
            recovered.carried.entry(segment).or_default().extend(frames);
        }
        recovered.transactions = joined(self.transactions, recovered.transactions);
        recovered
    }
}

/// Row L2: what a creation left.
fn remove_unfinished(fs: &Fs, dir: &Path) -> Result<(), LogError> {
    for entry in fs.list(dir)?.iter().filter(|entry| entry.name.ends_with(".tmp")) {
        fs.remove(&dir.join(&entry.name))?;
    }
    Ok(())
}

/// The numbers of the chunks, ascending.
fn list_chunks(fs: &Fs, dir: &Path) -> Result<Vec<u64>, LogError> {
    let chunks = chunk_numbers(fs, dir)?;
    for pair in chunks.windows(2) {
        // Row L6.
        if pair[0] + 1 != pair[1] {
            return Err(LogError::MissingChunk { path: chunk_path(dir, pair[0] + 1) });
        }
    }
    Ok(chunks)
}

/// One file of the log, read whole.
struct Chunk {
    path: PathBuf,
    bytes: Bytes,
    header: ChunkHeader,
    is_last: bool,
}

struct Record {
    header: RecordHeader,
    offset: usize,
    body: Range<usize>,
}

impl Chunk {
    fn damaged(&self, range: Range<usize>, what: &'static str) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            from: range.start as u64,
            to: range.end as u64,
            what,
        }
    }

    /// The records that verify, and where the first bytes begin that do not.
    fn records(&self) -> Result<(Vec<Record>, usize), LogError> {
        let seed = Seed::new(&self.header.uuid, self.header.chunk);
        let mut records: Vec<Record> = Vec::new();
        let mut at = HEADER_BYTES;
        while let Some(view) = read_record(&self.bytes, at, seed) {
            let body = view.end - view.body.len()..view.end;
            records.push(Record { header: view.header, offset: at, body });
            at = view.end;
        }
        // A whole seal is row L15, one that does not verify row L16: no row lies in it.
        let sealed = records.last().is_some_and(|last| last.header.kind == RecordKind::Seal);
        let after = std::iter::successors(next_record(&self.bytes, at, seed), |(found, _)| {
            next_record(&self.bytes, *found, seed)
        })
        .find(|(_, view)| view.header.durable > at as u64);
        if let Some((next, _)) = after {
            // Row L8: a later record says that these bytes had been synced.
            return Err(self.damaged(at..next, "a record does not verify, and later ones do"));
        }
        let must_be_whole = sealed || !self.is_last;
        if records.is_empty() || (must_be_whole && at < self.bytes.len()) {
            // Rows L7 and L9.
            return Err(self.damaged(at..self.bytes.len(), "a record does not verify"));
        }
        Ok((records, at))
    }

    /// Ends the file at `end` and makes durable what is before: a kill may have left a whole record that was never synced,
    /// and the next start adds a chunk behind it. Zeros that go are room that was reserved, not a cut.
    fn end_at(&self, fs: &Fs, end: usize) -> Result<(), LogError> {
        let file = fs.open(&self.path)?;
        file.set_len(end as u64)?;
        Ok(file.sync_data()?)
    }

    /// What is lost by it.
    fn cut_at(&self, end: usize) -> Option<Cut> {
        let tail = &self.bytes[end..];
        let bytes = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let cut = Cut { path: self.path.clone(), at: end as u64, bytes };
        (bytes > 0).then_some(cut)
    }
}

/// The log so far.
struct Reading {
    /// The last transaction of each table that is on a shelf.
    shelved: BTreeMap<TableId, SeqTxn>,
    state: LogState,
    transactions: Vec<Committed>,
    carried: CarriedFrames,
    synced: BTreeMap<(WriterId, SegmentId), u64>,
    unsynced: BTreeSet<(WriterId, SegmentId)>,
    /// Where the chunk at hand has to end.
    cut_at: Option<usize>,
    cut: Option<Cut>,
}

impl Reading {
    fn new(uuid: &[u8; 16], first: &ChunkHeader, shelves: &Shelves) -> Reading {
        let mut state = LogState::new(*uuid);
        state.ordinal = first.ordinal;
        Reading {
            shelved: shelves.last(),
            state,
            transactions: Vec::new(),
            carried: BTreeMap::new(),
            synced: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            cut_at: None,
            cut: None,
        }
    }

    /// Takes chunks into account that are done with. What they carry nobody needs, or the caller reads them after all.
    fn skip(&mut self, chunks: &[u64], last: &BTreeMap<TableId, SeqTxn>) {
        for chunk in chunks {
            let in_use = ChunkUse { last: last.clone(), ..ChunkUse::new(*chunk) };
            self.state.chunks.push(in_use);
        }
    }

    fn chunk(
        &mut self,
        chunk: &Chunk,
        number: u64,
        is_whole: &mut dyn FnMut(&Committed) -> bool,
    ) -> Result<(), LogError> {
        let foreign = |what| Err(LogError::Foreign { path: chunk.path.clone(), what });
        let header = &chunk.header;
        // Row L5.
        if header.uuid != self.state.uuid {
            return foreign("it names another server");
        }
        if header.chunk != number {
            return foreign("its number is not the one in its name");
        }
        if header.epoch < self.state.epoch {
            return foreign("it is of an earlier start than the chunk before it");
        }
        if header.ordinal != self.state.ordinal {
            return foreign("its first record is not the next one");
        }
        self.state.epoch = header.epoch;
        self.state.chunk = number + 1;
        self.state.set_reports(header.reports);
        let (records, end) = chunk.records()?;
        // Beyond this, `async` and `nosync` may have lost frames that a record names.
        let mark = records.iter().map(|record| record.header.durable).max().unwrap_or(0);
        let mut in_use = ChunkUse::new(number);
        for record in &records {
            let doubtful = header.durability != Durability::Sync
                && chunk.is_last
                && record.body.end as u64 > mark;
            let asked = doubtful.then_some(&mut *is_whole);
            if !self.record(chunk, record, asked, &mut in_use)? {
                // Row L12.
                self.cut_at = Some(record.offset);
                break;
            }
        }
        if self.cut_at.is_none() && end < chunk.bytes.len() {
            // Rows L10 and L11.
            self.cut_at = Some(end);
        }
        self.state.chunks.push(in_use);
        Ok(())
    }

    /// Takes one record into account; false when it names a frame that is lost.
    fn record(
        &mut self,
        chunk: &Chunk,
        record: &Record,
        is_whole: Option<&mut (dyn FnMut(&Committed) -> bool + '_)>,
        in_use: &mut ChunkUse,
    ) -> Result<bool, LogError> {
        let damaged = |what| chunk.damaged(record.offset..record.body.end, what);
        // Row L14, here and below.
        if record.header.ordinal != self.state.ordinal {
            return Err(damaged("the record is not the next one"));
        }
        let is_first = record.offset == HEADER_BYTES;
        if is_first != (record.header.kind == RecordKind::Checkpoint) {
            return Err(damaged("a chunk has one checkpoint, and it comes first"));
        }
        let body = &chunk.bytes[record.body.clone()];
        match record.header.kind {
            RecordKind::Checkpoint => {
                decode_checkpoint(body, &mut self.state)
                    .ok_or_else(|| damaged("the checkpoint is malformed"))?;
            }
            RecordKind::Batch => {
                let batch = Batch::decode(body, &chunk.bytes)
                    .ok_or_else(|| damaged("the record is malformed"))?;
                if let Some(is_whole) = is_whole {
                    for txn in &batch.transactions {
                        let Some(frame) = txn.kind.frame() else { continue };
                        if self.shelved.get(&txn.table) >= Some(&txn.seq_txn) {
                            continue;
                        }
                        if !is_whole(txn) {
                            return Ok(false);
                        }
                        self.unsynced.insert((frame.writer, frame.segment));
                    }
                }
                self.state.apply(&batch).map_err(damaged)?;
                in_use.add(&batch);
                self.keep(batch);
            }
            // Nothing follows a seal: a start opens a new chunk.
            RecordKind::Seal if record.body.end == chunk.bytes.len() => {}
            RecordKind::Seal => return Err(damaged("the seal is not the end of the chunk")),
        }
        self.state.ordinal += 1;
        Ok(true)
    }

    fn keep(&mut self, batch: Batch) {
        self.transactions.extend(batch.transactions);
        for synced in batch.synced {
            let end = self.synced.entry((synced.writer, synced.segment)).or_default();
            *end = (*end).max(synced.end);
        }
        collect(batch.carried, &mut self.carried);
    }

    fn finish(mut self) -> Recovered {
        for (segment, synced) in &self.synced {
            if let Some(frames) = self.carried.get_mut(segment) {
                frames.retain(|(offset, bytes)| offset + bytes.len() as u64 > *synced);
            }
        }
        self.carried.retain(|_, frames| !frames.is_empty());
        self.state.epoch += 1;
        Recovered {
            state: self.state,
            transactions: self.transactions,
            unread: 0,
            carried: self.carried,
            unsynced: self.unsynced,
            cut: self.cut,
            shelves: Vec::new(),
        }
    }
}
