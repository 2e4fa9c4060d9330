//! A chunk of the log or a shelf for people: every record that verifies, and the bytes between them that do not.

use super::format::{
    ChunkHeader, HEADER_BYTES, MAGIC, RecordKind, RecordView, SHELF_MAGIC, Seed, next_record,
    read_record,
};
use super::record::{Batch, decode_checkpoint};
use super::{Frame, LogError, LogState, ShelfFile, TxnKind};
use crate::types::Dump;
use bytes::Bytes;
use std::path::Path;

/// Prints the bytes of a chunk or a shelf.
pub fn inspect(bytes: &[u8], path: &Path) -> Dump {
    let mut dump = Dump::default();
    let is_shelf = bytes.starts_with(SHELF_MAGIC) || ShelfFile::is_at(path);
    let magic = if is_shelf { SHELF_MAGIC } else { MAGIC };
    let header = match ChunkHeader::decode_as(magic, bytes, path) {
        Ok(header) => header,
        Err(LogError::Damaged { from, to, what, .. }) => {
            dump.damaged(from, to.min(bytes.len() as u64), what);
            return dump;
        }
        Err(error) => {
            dump.damaged(0, HEADER_BYTES as u64, error.to_string());
            return dump;
        }
    };
    if is_shelf {
        dump.line(format!(
            "shelf of table {}, version 1, server {}, transactions {} to {}",
            header.chunk,
            uuid::Uuid::from_bytes(header.uuid),
            header.ordinal,
            header.epoch
        ));
        let table = u32::try_from(header.chunk).unwrap_or(u32::MAX);
        records(bytes, &header, Seed::of_shelf(&header.uuid, table, header.ordinal), 1, &mut dump);
        return dump;
    }
    dump.line(format!(
        "transaction log, chunk {}, version 1, server {}, start {}, durability {}, first record {}, created at {}",
        header.chunk, uuid::Uuid::from_bytes(header.uuid), header.epoch, header.durability.name(),
        header.ordinal, header.created,
    ));
    let seed = Seed::new(&header.uuid, header.chunk);
    records(bytes, &header, seed, header.ordinal, &mut dump);
    dump
}

/// Prints everything behind the header.
fn records(bytes: &[u8], header: &ChunkHeader, seed: Seed, first: u64, dump: &mut Dump) {
    let shared = Bytes::copy_from_slice(bytes);
    let (mut at, mut ordinal) = (HEADER_BYTES, first);
    while at < bytes.len() {
        if let Some(view) = read_record(&shared, at, seed) {
            if view.header.ordinal != ordinal {
                let what = format!("record {} stands where {ordinal} belongs", view.header.ordinal);
                dump.damaged(at as u64, view.end as u64, what);
            }
            record(at, &view, &shared, header, dump);
            (at, ordinal) = (view.end, view.header.ordinal + 1);
        } else if bytes[at..].iter().all(|byte| *byte == 0) {
            dump.line(format!("{at:>10}  {} bytes reserved and not used", bytes.len() - at));
            break;
        } else {
            let next = next_record(&shared, at, seed);
            let to = next.map_or(bytes.len(), |(next, _)| next);
            let what = match next {
                Some(_) => "no whole record",
                None => {
                    "no whole record, and none after it: a write that was cut short, if this is the last chunk"
                }
            };
            dump.damaged(at as u64, to as u64, what);
            at = to;
        }
    }
}

fn record(at: usize, view: &RecordView<'_>, bytes: &Bytes, chunk: &ChunkHeader, dump: &mut Dump) {
    let (number, durable) = (view.header.ordinal, view.header.durable);
    match view.header.kind {
        RecordKind::Checkpoint => {
            let mut state = LogState::new(chunk.uuid);
            if decode_checkpoint(view.body, &mut state).is_none() {
                dump.damaged(at as u64, view.end as u64, "the checkpoint is malformed");
                return;
            }
            dump.line(format!(
                "{at:>10}  record {number}: checkpoint of {} tables",
                state.tables.len()
            ));
            for (id, table) in state.tables() {
                let gone = if table.dropped { ", dropped" } else { "" };
                dump.line(format!(
                    "            table {id} {:?}.{:?}: transaction {}, reported up to {}, {} rows unreported{gone}",
                    table.database, table.name, table.seq_txn, table.reported_txn, table.unreported.rows,
                ));
            }
        }
        RecordKind::Batch => {
            let Some(batch) = Batch::decode(view.body, bytes) else {
                dump.damaged(at as u64, view.end as u64, "the record is malformed");
                return;
            };
            let count = batch.transactions.len();
            dump.line(format!("{at:>10}  record {number}: {count} transactions at {}, durable before it: {durable}", batch.at));
            for txn in &batch.transactions {
                dump.line(format!(
                    "            table {} transaction {}: {}",
                    txn.table,
                    txn.seq_txn,
                    what(&txn.kind)
                ));
            }
            for reported in &batch.reported {
                dump.line(format!(
                    "            reported: {} rows of table {} up to {}",
                    reported.rows, reported.table, reported.through
                ));
            }
            for synced in &batch.synced {
                dump.line(format!(
                    "            synced: {}/{}.wal up to byte {}",
                    synced.writer, synced.segment, synced.end
                ));
            }
            for carried in &batch.carried {
                let end = carried.offset + carried.bytes.len() as u64;
                dump.line(format!(
                    "            carried: {}/{}.wal bytes {} to {end}",
                    carried.writer, carried.segment, carried.offset
                ));
            }
        }
        RecordKind::Seal => dump.line(format!("{at:>10}  record {number}: seal: nothing follows")),
    }
}

fn what(kind: &TxnKind) -> String {
    match kind {
        TxnKind::Create(def) => format!("create {:?}.{:?}", def.database, def.name),
        TxnKind::AddColumns(columns) => {
            let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
            format!("add columns {names:?}")
        }
        TxnKind::Data(frame) => where_from(frame),
        TxnKind::Replace { from, to, frame } => {
            let rows = frame.as_ref().map_or("no rows".to_owned(), where_from);
            format!("rows from {from} to {to} give way to {rows}")
        }
        other => format!("{other:?}"),
    }
}

fn where_from(frame: &Frame) -> String {
    let Frame { writer, segment, offset, len, rows, min_time, max_time, .. } = frame;
    let end = offset + u64::from(*len);
    format!(
        "{rows} rows in {writer}/{segment}.wal bytes {offset} to {end}, times {min_time} to {max_time}"
    )
}
