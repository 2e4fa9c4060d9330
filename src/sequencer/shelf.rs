//! What waits for a suspended table, in files of its own: its transactions and every frame that they need, so that neither
//! segments nor chunks have to stay for them. `docs/formats/shelf.md` is the contract.
//!
//! A shelf is written whole, under its name or not at all, and never changed. Those of a table follow one another without a gap; one whose
//! name comes back may overlap others.

use super::format::{
    self, ChunkHeader, HEADER_BYTES, RecordHeader, RecordKind, SHELF_MAGIC, Seed, read_record,
};
use super::record::{Batch, Carried};
use super::recovery::{CarriedFrames, collect};
use super::{Committed, Durability, LogError};
use crate::io::{Fs, synced};
use crate::types::{SeqTxn, TableId};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

/// Where one shelf is, and what it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShelfFile {
    /// The file.
    pub path: PathBuf,
    /// Whose transactions it has.
    pub table: TableId,
    /// The first of them.
    pub first: SeqTxn,
    /// The last of them.
    pub last: SeqTxn,
}

/// A shelf, read whole.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// Where it is.
    pub file: ShelfFile,
    /// The table's transactions, dense.
    pub transactions: Vec<Committed>,
    /// Their frames, and those that define their series.
    pub carried: CarriedFrames,
}

impl ShelfFile {
    fn new(dir: &Path, table: TableId, first: SeqTxn, last: SeqTxn) -> ShelfFile {
        let path = dir.join(format!("{table}-{first}-{last}.shelf"));
        ShelfFile { path, table, first, last }
    }

    /// The shelf of this name; `None` when it is no name of one.
    fn named(dir: &Path, name: &str) -> Option<ShelfFile> {
        let mut parts = name.strip_suffix(".shelf")?.splitn(3, '-');
        let table = TableId(parts.next()?.parse().ok()?);
        let (first, last) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let file = ShelfFile::new(dir, table, SeqTxn(first), SeqTxn(last));
        file.path.ends_with(name).then_some(file)
    }

    /// True when the path is that of a shelf.
    pub fn is_at(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == "shelf")
    }
}

/// The shelves in `dir` by their names, in order of tables and first transactions, the longest of those with the same one first.
///
/// # Errors
/// The folder cannot be listed.
pub fn shelf_files(fs: &Fs, dir: &Path) -> Result<Vec<ShelfFile>, LogError> {
    let entries = fs.list(dir)?;
    let mut files: Vec<ShelfFile> =
        entries.iter().filter_map(|entry| ShelfFile::named(dir, &entry.name)).collect();
    files.sort_by_key(|file| (file.table, file.first, Reverse(file.last)));
    Ok(files)
}

/// Writes a shelf, durably: on return it is there whole. Ends the process when a sync fails: nobody knows then whether it is there.
///
/// # Errors
/// A file operation failed; then nothing is there.
///
/// # Panics
/// The transactions are none, of several tables, or not dense.
pub fn shelve(
    fs: &Fs,
    dir: &Path,
    uuid: &[u8; 16],
    transactions: &[Committed],
    carried: CarriedFrames,
) -> Result<ShelfFile, LogError> {
    let (first, last) = match (transactions.first(), transactions.last()) {
        (Some(first), Some(last)) => (first, last),
        _ => unreachable!("a shelf has transactions"),
    };
    for pair in transactions.windows(2) {
        assert_eq!(pair[1].seq_txn, pair[0].seq_txn.next(), "a shelf's transactions are dense");
        assert_eq!(pair[1].table, pair[0].table, "a shelf is of one table");
    }
    let file = ShelfFile::new(dir, first.table, first.seq_txn, last.seq_txn);
    let mut out = header_of(uuid, &file).encode_as(SHELF_MAGIC);
    let seed = Seed::of_shelf(uuid, file.table.0, file.first.0);
    let mut ordinal = 1;
    for batch in batches(transactions, carried) {
        let mut record = Vec::new();
        format::begin_record(&mut record);
        batch.encode(&mut record);
        append(&mut out, record, RecordKind::Batch, ordinal, seed);
        ordinal += 1;
    }
    let mut seal = Vec::new();
    format::begin_record(&mut seal);
    append(&mut out, seal, RecordKind::Seal, ordinal, seed);
    synced(fs.replace(&file.path, &out))?;
    Ok(file)
}

fn append(out: &mut Vec<u8>, mut record: Vec<u8>, kind: RecordKind, ordinal: u64, seed: Seed) {
    let offset = out.len() as u64;
    let header = RecordHeader { kind, ordinal, durable: offset };
    format::finish_record(&mut record, header, seed, offset);
    out.append(&mut record);
}

/// Transactions of one commit time are one record; the frames are in one of their own.
fn batches(transactions: &[Committed], carried: CarriedFrames) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for txn in transactions {
        if batches.last().is_none_or(|last| last.at != txn.at) {
            batches.push(Batch { at: txn.at, ..Batch::default() });
        }
        batches.last_mut().expect("pushed just above").transactions.push(txn.clone());
    }
    let carried = carried.into_iter().flat_map(|((writer, segment), frames)| {
        frames.into_iter().map(move |(offset, bytes)| Carried { writer, segment, offset, bytes })
    });
    batches.push(Batch { carried: carried.collect(), ..Batch::default() });
    batches
}

fn header_of(uuid: &[u8; 16], file: &ShelfFile) -> ChunkHeader {
    ChunkHeader {
        uuid: *uuid,
        epoch: file.last.0,
        chunk: u64::from(file.table.0),
        ordinal: file.first.0,
        durability: Durability::Sync,
        reports: false,
        created: 0,
    }
}

/// Reads a shelf whole.
///
/// # Errors
/// It cannot be read, is damaged, of another server, or of a newer release.
pub fn read_shelf(fs: &Fs, file: &ShelfFile, uuid: &[u8; 16]) -> Result<Shelf, LogError> {
    let bytes = Bytes::from(fs.read_from_device(&file.path)?);
    let damaged = |from: usize, to: usize, what| LogError::Damaged {
        path: file.path.clone(),
        from: from as u64,
        to: to as u64,
        what,
    };
    // Rows H2 and H5.
    let header = ChunkHeader::decode_as(SHELF_MAGIC, &bytes, &file.path)?;
    if header != header_of(uuid, file) {
        // Row H4.
        let what = "it is of another server, or its name is not what it was written under";
        return Err(LogError::Foreign { path: file.path.clone(), what });
    }
    let seed = Seed::of_shelf(uuid, file.table.0, file.first.0);
    let mut shelf =
        Shelf { file: file.clone(), transactions: Vec::new(), carried: BTreeMap::new() };
    let (mut at, mut ordinal) = (HEADER_BYTES, 1);
    loop {
        // Row H3: a shelf is written before it has its name, so that nothing of it is a torn write.
        let record = read_record(&bytes, at, seed).filter(|r| r.header.ordinal == ordinal);
        let record = record.ok_or_else(|| damaged(at, bytes.len(), "a record does not verify"))?;
        match record.header.kind {
            RecordKind::Batch => {
                let batch = Batch::decode(record.body, &bytes)
                    .ok_or_else(|| damaged(at, record.end, "the record is malformed"))?;
                shelf.transactions.extend(batch.transactions);
                collect(batch.carried, &mut shelf.carried);
            }
            RecordKind::Seal if record.end == bytes.len() => break,
            RecordKind::Seal | RecordKind::Checkpoint => {
                return Err(damaged(at, record.end, "the record does not belong here"));
            }
        }
        (at, ordinal) = (record.end, ordinal + 1);
    }
    let is_next =
        |(txn, number): (&Committed, u64)| txn.seq_txn.0 == number && txn.table == file.table;
    let is_whole = shelf.transactions.iter().zip(file.first.0..).all(is_next)
        && shelf.transactions.last().is_some_and(|last| last.seq_txn == file.last);
    if !is_whole {
        return Err(damaged(
            HEADER_BYTES,
            bytes.len(),
            "the transactions are not those of its name",
        ));
    }
    Ok(shelf)
}

/// Removes a shelf of which everything is in parts. Ends the process when a sync fails.
///
/// # Errors
/// A file operation failed. Done again, it goes on.
pub fn remove_shelf(fs: &Fs, file: &ShelfFile) -> Result<(), LogError> {
    if fs.exists(&file.path)? {
        fs.remove(&file.path)?;
    }
    let dir = file.path.parent().unwrap_or(Path::new("."));
    Ok(synced(fs.sync_dir(dir))?)
}

/// Adds what a shelf has to what those before it have, in the order of [`shelf_files`]: each transaction once.
///
/// # Errors
/// Another shelf has another transaction of the same number.
pub(super) fn add_shelved(into: &mut Vec<Committed>, shelf: &mut Shelf) -> Result<(), LogError> {
    for txn in std::mem::take(&mut shelf.transactions) {
        let place = into.binary_search_by_key(&(txn.table, txn.seq_txn), |t| (t.table, t.seq_txn));
        match place {
            // Those before begin no later and have no gaps, so what none of them has is behind them all.
            Err(_) => into.push(txn),
            // Row H8.
            Ok(place) if into[place] == txn => {}
            Ok(_) => {
                // Row H9.
                let what = "another shelf has another transaction of the same number";
                return Err(LogError::Foreign { path: shelf.file.path.clone(), what });
            }
        }
    }
    Ok(())
}

/// What shelves and log have together, each table's transactions in order. Where both have one, it is the same. Without syncs, a power cut
/// may have taken from the log what is on a shelf; the log then goes on behind it.
pub(super) fn joined(shelved: Vec<Committed>, logged: Vec<Committed>) -> Vec<Committed> {
    let mut all = Vec::with_capacity(shelved.len() + logged.len());
    let mut waiting: BTreeMap<TableId, VecDeque<Committed>> = BTreeMap::new();
    for txn in shelved {
        waiting.entry(txn.table).or_default().push_back(txn);
    }
    for txn in logged {
        if let Some(shelved) = waiting.get_mut(&txn.table) {
            while let Some(earlier) = shelved.pop_front_if(|next| next.seq_txn < txn.seq_txn) {
                all.push(earlier);
            }
            shelved.pop_front_if(|next| next.seq_txn == txn.seq_txn);
        }
        all.push(txn);
    }
    all.extend(waiting.into_values().flatten());
    all
}
