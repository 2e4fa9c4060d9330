//! A chunk of the catalog for people: every record that verifies, and the bytes between them that do not.

use super::edit::{Edit, decode_edits};
use super::format::{HEADER_LEN, Header, RecordKind, next_record};
use crate::storage::StorageError;
use crate::types::Dump;
use std::path::Path;

/// Prints the bytes of a chunk.
pub fn inspect_catalog(bytes: &[u8], path: &Path) -> Dump {
    let mut dump = Dump::default();
    let header = match Header::decode(bytes, path) {
        Ok(header) => header,
        Err(StorageError::Damaged { from, to, fault, .. }) => {
            dump.damaged(from, to.min(bytes.len() as u64), fault);
            return dump;
        }
        Err(error) => {
            dump.damaged(0, HEADER_LEN as u64, error.to_string());
            return dump;
        }
    };
    dump.line(format!(
        "catalog log, chunk {}, version 1, server {}, start {}",
        header.chunk,
        uuid::Uuid::from_bytes(header.uuid),
        header.epoch,
    ));
    let (mut at, mut ordinal) = (HEADER_LEN, None);
    while at < bytes.len() {
        let Some(record) = header.record(bytes, at) else {
            let next = next_record(&header, bytes, at);
            let what = match next {
                Some(_) => "no whole record",
                None => {
                    "no whole record, and none after it: a write that was cut short, unless the log was sealed"
                }
            };
            let to = next.unwrap_or(bytes.len());
            dump.damaged(at as u64, to as u64, what);
            at = to;
            continue;
        };
        if ordinal.is_some_and(|ordinal| ordinal != record.ordinal) {
            dump.damaged(record.range.0, record.range.1, "a record is missing before");
        }
        let kind = match record.kind {
            RecordKind::Checkpoint => "checkpoint",
            RecordKind::Edits => "edits",
            RecordKind::Seal => "seal of a clean stop",
        };
        dump.line(format!("{at:>10}  record {}: {kind}", record.ordinal));
        if record.kind != RecordKind::Seal {
            match decode_edits(record.payload) {
                Some(edits) => edits.iter().for_each(|edit| line(edit, &mut dump)),
                None => dump.damaged(record.range.0, record.range.1, "the edits do not decode"),
            }
        }
        (at, ordinal) = (record.range.1 as usize, Some(record.ordinal + 1));
    }
    dump
}

fn line(edit: &Edit, dump: &mut Dump) {
    let table = edit.table();
    let parts = |parts: &[crate::storage::PartMeta]| {
        let parts = parts.iter().map(|part| {
            let id = &part.id;
            format!(
                "{}: {} rows, {} bytes, CRC {:08x}",
                id_text(id),
                part.rows,
                part.bytes,
                part.crc
            )
        });
        parts.map(|part| format!("              + {part}")).collect::<Vec<_>>()
    };
    match edit {
        Edit::Create(def) => dump
            .line(format!("            table {table}: create {:?}.{:?}", def.database, def.name)),
        Edit::Define(shape) => dump.line(format!("            table {table}: {shape:?}")),
        Edit::Flush { parts: added, flushed_txn, .. } => {
            dump.line(format!(
                "            table {table}: flushed up to {flushed_txn}, {} parts",
                added.len()
            ));
            dump.lines.extend(parts(added));
        }
        Edit::Replace { remove, add, .. } => {
            dump.line(format!(
                "            table {table}: {} parts go, {} come",
                remove.len(),
                add.len()
            ));
            dump.lines.extend(remove.iter().map(|id| format!("              - {}", id_text(id))));
            dump.lines.extend(parts(add));
        }
        Edit::Drop(_) => dump.line(format!("            table {table}: gone")),
    }
}

fn id_text(id: &crate::storage::PartId) -> String {
    let (first, last) = (id.first_txn, id.last_txn);
    format!("part-{first}-{last}-{}-{} of partition {}", id.level, id.attempt, id.partition.0)
}
