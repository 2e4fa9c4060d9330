//! A segment for people: every record that verifies, and the bytes between them that do not.

use super::format::{
    FrameHeader, HEADER_LEN, HeaderFault, Identity, KIND_FRAME, KIND_SEAL, PREFIX_LEN, Seal, Seed,
    check_header, held_identity, verifies,
};
use crate::types::Dump;
use crate::types::wire::Take;
use std::path::Path;

/// Prints the bytes of a segment. Where the header is damaged, `uuid` and the path `<writer>/<segment>.wal` say which one it was.
pub fn inspect(bytes: &[u8], path: &Path, uuid: Option<[u8; 16]>) -> Dump {
    let mut dump = Dump::default();
    let by_name = uuid.and_then(|uuid| identity_of(path, uuid));
    let held = held_identity(bytes);
    let Some(identity) = held.or(by_name) else {
        dump.damaged(0, bytes.len() as u64, "no segment: the header does not name one");
        return dump;
    };
    let end = HEADER_LEN.min(bytes.len()) as u64;
    match check_header(bytes, &identity) {
        Ok(epoch) => dump.line(format!(
            "segment {} of writer {}, version 1, server {}, start {epoch}",
            identity.segment,
            identity.writer,
            uuid::Uuid::from_bytes(identity.uuid)
        )),
        Err(HeaderFault::Damaged(what)) => dump.damaged(0, end, what),
        Err(HeaderFault::FutureVersion(version)) => {
            dump.damaged(0, end, format!("format version {version}: use a newer release"));
            return dump;
        }
        Err(HeaderFault::Misplaced) => dump.damaged(0, end, "it is another segment"),
    }
    if let Some(named) = by_name.filter(|named| held.is_some_and(|held| held != *named)) {
        let what =
            format!("it lies where segment {} of writer {} belongs", named.segment, named.writer);
        dump.damaged(0, end, what);
    }
    records(bytes, identity.seed(), &mut dump);
    dump
}

fn records(bytes: &[u8], seed: Seed, dump: &mut Dump) {
    let (mut at, mut frames, mut rows) = (HEADER_LEN, 0u64, 0u64);
    while at < bytes.len() {
        match record_at(bytes, at, seed) {
            Some(Record::Frame(header)) => {
                dump.line(format!(
                    "{at:>10}  frame of {} bytes: table {}, {} rows, {} columns, commit {}, times {} to {}, series {} to {}",
                    header.len, header.table, header.rows, header.columns, header.ordinal,
                    header.min_time, header.max_time,
                    header.first_series, u64::from(header.first_series) + u64::from(header.new_series),
                ));
                frames += 1;
                rows += u64::from(header.rows);
                at += header.len as usize;
            }
            Some(Record::Seal(seal, len)) => {
                dump.line(format!(
                    "{at:>10}  seal: {} frames, {} rows, up to commit {}",
                    seal.frames, seal.rows, seal.ordinal
                ));
                at += len;
            }
            None if bytes[at..].iter().all(|byte| *byte == 0) => {
                dump.line(format!("{at:>10}  {} bytes reserved and not used", bytes.len() - at));
                break;
            }
            None => {
                let next = next_record(bytes, at, seed).unwrap_or(bytes.len());
                dump.damaged(at as u64, next as u64, "no whole record");
                at = next;
            }
        }
    }
    dump.line(format!("{frames} frames that verify, {rows} rows"));
}

enum Record {
    Frame(FrameHeader),
    Seal(Seal, usize),
}

/// The record at `at`, if a whole one is there.
fn record_at(bytes: &[u8], at: usize, seed: Seed) -> Option<Record> {
    let mut take = Take(bytes.get(at..)?);
    take.u32()?;
    let kind = *take.slice(4)?.first_chunk::<4>()?;
    let len = take.u32()? as usize;
    let record = bytes.get(at..at.checked_add(len)?).filter(|record| record.len() >= PREFIX_LEN)?;
    if !verifies(record, seed, at as u64) {
        return None;
    }
    match kind {
        KIND_FRAME => FrameHeader::take(record).map(Record::Frame),
        KIND_SEAL => Seal::take(record).map(|seal| Record::Seal(seal, len)),
        _ => None,
    }
}

/// Where the next whole record after `at` begins.
fn next_record(bytes: &[u8], at: usize, seed: Seed) -> Option<usize> {
    (at + 1..bytes.len().checked_sub(PREFIX_LEN)? + 1)
        .filter(|at| [KIND_FRAME, KIND_SEAL].iter().any(|kind| bytes[at + 4..at + 8] == *kind))
        .find(|at| record_at(bytes, *at, seed).is_some())
}

/// Which segment belongs at a path.
fn identity_of(path: &Path, uuid: [u8; 16]) -> Option<Identity> {
    let number = |name: &std::ffi::OsStr| name.to_str()?.parse::<u32>().ok();
    let segment = crate::types::SegmentId(number(path.file_stem()?)?);
    let writer = crate::types::WriterId(number(path.parent()?.file_name()?)?);
    Some(Identity { uuid, writer, segment })
}
