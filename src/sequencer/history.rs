//! What the log on disk holds of one table, for whoever asks while it is being written.

use super::format::{ChunkHeader, HEADER_BYTES, RecordKind, Seed, read_record};
use super::record::Batch;
use super::shelf::{add_shelved, joined, read_shelf, shelf_files};
use super::{Committed, LogError};
use crate::io::Fs;
use crate::types::TableId;
use bytes::Bytes;
use std::path::Path;

/// The transactions of a table that the log of the server `uuid` in `dir` holds, in order: those of chunks and shelves that are not
/// purged. Changes nothing. The last ones may not be committed yet: the caller knows how far the table is.
///
/// # Errors
/// A file cannot be read, or two contradict each other. One that is purged meanwhile is passed over.
pub fn transactions(
    fs: &Fs,
    dir: &Path,
    uuid: &[u8; 16],
    table: TableId,
) -> Result<Vec<Committed>, LogError> {
    let mut shelved = Vec::new();
    for file in shelf_files(fs, dir)?.iter().filter(|file| file.table == table) {
        match read_shelf(fs, file, uuid) {
            Ok(mut shelf) => add_shelved(&mut shelved, &mut shelf)?,
            Err(LogError::Io(error)) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(joined(shelved, logged(fs, dir, table)?))
}

/// Like [`transactions`], without those of shelves.
///
/// # Errors
/// A chunk cannot be read. One that is purged meanwhile is passed over.
pub fn logged(fs: &Fs, dir: &Path, table: TableId) -> Result<Vec<Committed>, LogError> {
    let mut names: Vec<String> = fs.list(dir)?.into_iter().map(|entry| entry.name).collect();
    names.retain(|name| name.ends_with(".log"));
    names.sort_by_key(|name| (name.len(), name.clone()));
    let mut found = Vec::new();
    for name in names {
        let path = dir.join(name);
        let bytes = match fs.read(&path) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error.into()),
        };
        let header = ChunkHeader::decode(&bytes, &path)?;
        let seed = Seed::new(&header.uuid, header.chunk);
        let mut at = HEADER_BYTES;
        // The first bytes that do not verify are where the log is being written, or where it was cut off.
        while let Some(record) = read_record(&bytes, at, seed) {
            at = record.end;
            if record.header.kind == RecordKind::Batch
                && let Some(batch) = Batch::decode(record.body, &bytes)
            {
                found.extend(batch.transactions.into_iter().filter(|txn| txn.table == table));
            }
        }
    }
    Ok(found)
}
