//! The way on from a damaged log: what lies beyond the damage, cutting the log before it, and beginning a new one where none is left.

use super::LogError;
use super::format::{ChunkHeader, HEADER_BYTES, RecordKind, Seed, next_record, read_record};
use super::log::{chunk_numbers, chunk_path, create_chunk};
use super::record::Batch;
use super::{LogState, SequencerConfig};
use crate::io::Fs;
use crate::types::{SeqTxn, TableId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the log has to end for the error to be gone: a chunk, and the bytes of it that stay. `None` when cutting does not help.
pub fn place_of(error: &LogError) -> Option<(PathBuf, u64)> {
    match error {
        LogError::Damaged { path, from, .. } => Some((path.clone(), *from)),
        LogError::MissingChunk { path } | LogError::Foreign { path, .. } => Some((path.clone(), 0)),
        _ => None,
    }
}

/// The chunks from `path` on that are there, ascending.
///
/// # Errors
/// The folder cannot be listed.
pub fn chunks_from(fs: &Fs, dir: &Path, path: &Path) -> Result<Vec<PathBuf>, LogError> {
    let paths = chunk_numbers(fs, dir)?.into_iter().map(|number| chunk_path(dir, number));
    Ok(paths.filter(|found| found.as_path() >= path).collect())
}

/// Ends the log after `len` bytes of the chunk at `path`: what follows goes, durably, and with it a chunk of which no whole checkpoint
/// would be left. Where only the version of the chunk's header is wrong, that is put right instead. Says what was done.
///
/// # Errors
/// A file operation failed. Done again, it goes on.
pub fn cut(fs: &Fs, dir: &Path, path: &Path, len: u64) -> Result<String, LogError> {
    if let Some(header) = misversioned(fs, path)? {
        let file = fs.open(path)?;
        file.write_all_at(&header, 0)?;
        file.sync_data()?;
        return Ok(format!("wrote the version of {} anew", path.display()));
    }
    let mut chunks = chunks_from(fs, dir, path)?;
    let mut said = format!("ended the log before {}", path.display());
    if chunks.first().is_some_and(|first| first == path) && holds_checkpoint(fs, path, len)? {
        chunks.remove(0);
        said = format!("ended the log after byte {len} of {}", path.display());
    }
    // From behind, so that no gap is left when this is cut off.
    for chunk in chunks.iter().rev() {
        fs.remove(chunk)?;
        fs.sync_dir(dir)?;
    }
    if fs.exists(path)? {
        let file = fs.open(path)?;
        file.set_len(len)?;
        file.sync_data()?;
    }
    Ok(said)
}

/// Begins a log that knows nothing, for the server `uuid` in its start `epoch`: what the catalog has comes
/// before what it will number. Its time of creation is not known to anybody.
///
/// # Errors
/// A file operation failed.
pub fn begin(fs: &Fs, dir: &Path, uuid: &[u8; 16], epoch: u64) -> Result<(), LogError> {
    fs.create_dir_all(dir)?;
    let mut state = LogState { epoch, ..LogState::new(*uuid) };
    create_chunk(fs, dir, &SequencerConfig::default(), &mut state, 0)?;
    Ok(())
}

/// The header that the chunk at `path` should have, where it differs in its version alone.
fn misversioned(fs: &Fs, path: &Path) -> Result<Option<[u8; HEADER_BYTES]>, LogError> {
    if !fs.exists(path)? {
        return Ok(None);
    }
    Ok(ChunkHeader::with_version(&fs.read(path)?))
}

fn holds_checkpoint(fs: &Fs, path: &Path, len: u64) -> Result<bool, LogError> {
    let bytes = fs.read(path)?;
    let bytes = bytes.get(..usize::try_from(len).unwrap_or(usize::MAX)).unwrap_or(&bytes);
    let Ok(header) = ChunkHeader::decode(bytes, path) else { return Ok(false) };
    let first = read_record(bytes, HEADER_BYTES, Seed::new(&header.uuid, header.chunk));
    Ok(first.is_some_and(|first| first.header.kind == RecordKind::Checkpoint))
}

/// What a cut at the error's place would lose: for each table the transactions of whole records beyond, and their rows.
///
/// # Errors
/// A chunk cannot be read.
pub fn beyond(fs: &Fs, dir: &Path, error: &LogError) -> Result<Vec<String>, LogError> {
    let Some((path, from)) = place_of(error) else { return Ok(Vec::new()) };
    if misversioned(fs, &path)?.is_some() {
        return Ok(vec!["nothing: only the version in the header is wrong".to_owned()]);
    }
    let mut lost: BTreeMap<TableId, (SeqTxn, SeqTxn, u64)> = BTreeMap::new();
    for chunk in chunks_from(fs, dir, &path)? {
        let bytes = Bytes::from(fs.read(&chunk)?);
        let Ok(header) = ChunkHeader::decode(&bytes, &chunk) else { continue };
        let seed = Seed::new(&header.uuid, header.chunk);
        let mut at = if chunk == path { (from as usize).max(HEADER_BYTES) } else { HEADER_BYTES };
        loop {
            let here = read_record(&bytes, at, seed).map(|view| (at, view));
            let Some((_, view)) = here.or_else(|| next_record(&bytes, at, seed)) else { break };
            at = view.end;
            let batch =
                Batch::decode(view.body, &bytes).filter(|_| view.header.kind == RecordKind::Batch);
            for txn in batch.iter().flat_map(|batch| &batch.transactions) {
                let rows = txn.kind.frame().map_or(0, |frame| u64::from(frame.rows));
                let sum = lost.entry(txn.table).or_insert((txn.seq_txn, txn.seq_txn, 0));
                *sum = (sum.0.min(txn.seq_txn), sum.1.max(txn.seq_txn), sum.2 + rows);
            }
        }
    }
    let said = lost.iter().map(|(table, (first, last, rows))| {
        format!(
            "table {table}: what is not in parts of transactions {first} to {last}, {rows} rows"
        )
    });
    Ok(said.chain(["what the damaged bytes themselves held".to_owned()]).collect())
}

/// Server and start that the newest readable chunk names.
///
/// # Errors
/// A chunk cannot be read.
pub fn newest_header(fs: &Fs, dir: &Path) -> Result<Option<([u8; 16], u64)>, LogError> {
    let mut newest = None;
    for path in chunks_from(fs, dir, Path::new(""))? {
        if let Ok(header) = ChunkHeader::decode(&fs.read(&path)?, &path) {
            newest = Some((header.uuid, header.epoch));
        }
    }
    Ok(newest)
}
