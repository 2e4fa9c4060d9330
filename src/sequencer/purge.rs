//! Which chunks of the log nobody needs any more.

use super::LogError;
use super::log::chunk_path;
use super::record::Batch;
use super::sync::{Mutex, MutexGuard};
use crate::io::{Fs, synced};
use crate::planted::{Bug, is_planted};
use crate::types::{SegmentId, SeqTxn, TableId, WriterId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

/// What has to happen before a chunk can go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ChunkUse {
    pub(super) chunk: u64,
    /// The last transaction of each table that the chunk holds: all must be flushed.
    pub(super) last: BTreeMap<TableId, SeqTxn>,
    /// How far the chunk carries frames of each segment: later frames need the definitions in them, so the segment must be
    /// synced that far, or be gone.
    pub(super) carried: BTreeMap<(WriterId, SegmentId), u64>,
}

impl ChunkUse {
    pub(super) fn new(chunk: u64) -> ChunkUse {
        ChunkUse { chunk, last: BTreeMap::new(), carried: BTreeMap::new() }
    }

    /// Takes a record of the chunk into account.
    pub(super) fn add(&mut self, batch: &Batch) {
        for txn in &batch.transactions {
            let last = self.last.entry(txn.table).or_default();
            *last = (*last).max(txn.seq_txn);
        }
        for carried in &batch.carried {
            let end = self.carried.entry((carried.writer, carried.segment)).or_default();
            *end = (*end).max(carried.offset + carried.bytes.len() as u64);
        }
    }

    fn is_done(
        &self,
        flushed: &mut impl FnMut(TableId) -> SeqTxn,
        settled: &mut impl FnMut(WriterId, SegmentId, u64) -> bool,
    ) -> bool {
        let is_flushed = |(table, last): (&TableId, &SeqTxn)| flushed(*table) >= *last;
        let planted = is_planted(Bug::LogPurgedEarly) || is_planted(Bug::CarriedPurgedEarly);
        (is_planted(Bug::LogPurgedEarly) || self.last.iter().all(is_flushed))
            && (planted
                || self
                    .carried
                    .iter()
                    .all(|((writer, segment), end)| settled(*writer, *segment, *end)))
    }
}

/// The chunks that are complete, oldest first. The one that is being written is not among them.
#[derive(Debug)]
pub(super) struct Closed {
    fs: Fs,
    dir: PathBuf,
    /// Held for moments: the sequencer waits for it when a chunk ends, and everybody for the sequencer.
    chunks: Mutex<Vec<Arc<ChunkUse>>>,
    /// Held by whoever purges, for as long as the device takes.
    purging: Mutex<()>,
}

impl Closed {
    pub(super) fn new(fs: Fs, dir: PathBuf, chunks: Vec<ChunkUse>) -> Closed {
        let chunks = chunks.into_iter().map(Arc::new).collect();
        Closed { fs, dir, chunks: Mutex::new(chunks), purging: Mutex::new(()) }
    }

    pub(super) fn push(&self, chunk: ChunkUse) {
        self.chunks().push(Arc::new(chunk));
    }

    /// Removes the oldest chunks as long as they are done; a chunk that is not keeps all after it. Returns how many went. Ends
    /// the process when a sync fails.
    ///
    /// Only chunks are judged that were complete when this began: what they carry had been appended to its segment before. So a segment that
    /// is settled for one of them is settled for all.
    pub(super) fn purge(
        &self,
        mut flushed: impl FnMut(TableId) -> SeqTxn,
        mut settled: impl FnMut(WriterId, SegmentId, u64) -> bool,
    ) -> Result<usize, LogError> {
        let _purging = self.purging.lock().unwrap_or_else(PoisonError::into_inner);
        let complete = self.chunks().clone();
        let mut removed = 0;
        for first in complete {
            if !first.is_done(&mut flushed, &mut settled) {
                break;
            }
            self.fs.remove(&chunk_path(&self.dir, first.chunk))?;
            // One at a time: after a power cut, no chunk may be there again without the one after it.
            synced(self.fs.sync_dir(&self.dir))?;
            self.chunks().remove(0);
            removed += 1;
        }
        Ok(removed)
    }

    fn chunks(&self) -> MutexGuard<'_, Vec<Arc<ChunkUse>>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
