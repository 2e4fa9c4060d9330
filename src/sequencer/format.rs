//! Bytes of a chunk: its header, and the frame around each record. `docs/formats/txn-log.md` is the contract.

use super::{Durability, LogError};
use crate::planted::{Bug, is_planted};
use crate::types::wire::{Put, Take};
use std::path::Path;

pub(super) const MAGIC: &[u8; 8] = b"HWTXNLOG";
/// What a shelf begins with; the rest of its header is that of a chunk.
pub(super) const SHELF_MAGIC: &[u8; 8] = b"HWTSHELF";
pub(super) const VERSION: u16 = 1;
/// Bytes of a chunk before its first record.
pub(super) const HEADER_BYTES: usize = 64;
/// Bytes of a record before its body.
pub(super) const RECORD_HEADER_BYTES: usize = 32;
const RECORD_MAGIC: &[u8; 4] = b"HWTR";
const CRC_AT: usize = 12;
const RECORD_CRC_AT: usize = 8;

const _: () = assert!(CRC_AT + 4 <= HEADER_BYTES && RECORD_CRC_AT + 4 <= RECORD_HEADER_BYTES);

/// What a chunk says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChunkHeader {
    pub(super) uuid: [u8; 16],
    pub(super) epoch: u64,
    /// The number in the file's name.
    pub(super) chunk: u64,
    /// The number of the first record.
    pub(super) ordinal: u64,
    /// The promise under which every record of this chunk was acknowledged.
    pub(super) durability: Durability,
    /// Whether rows wait for reports.
    pub(super) reports: bool,
    /// Wall clock, nanoseconds since 1970.
    pub(super) created: i64,
}

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum RecordKind {
    /// The state of all tables; the first record of every chunk.
    Checkpoint = 1,
    /// One group commit.
    Batch = 2,
    /// The end of the log after a clean stop.
    Seal = 3,
}

/// The fields of a record's header that are not implied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordHeader {
    pub(super) kind: RecordKind,
    /// Dense over all chunks of the log.
    pub(super) ordinal: u64,
    /// Bytes of this chunk that were on the device before this record was written: whoever reads this record knows that
    /// damage before that point is no torn write.
    pub(super) durable: u64,
}

/// A record that verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordView<'a> {
    pub(super) header: RecordHeader,
    pub(super) body: &'a [u8],
    /// Where the next record begins.
    pub(super) end: usize,
}

/// What checksums of a chunk start from, so that bytes of another server, chunk or place never verify.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(u32);

impl Seed {
    pub(super) fn new(uuid: &[u8; 16], chunk: u64) -> Seed {
        let crc = crc32c::crc32c(MAGIC);
        let crc = crc32c::crc32c_append(crc, uuid);
        Seed(crc32c::crc32c_append(crc, &chunk.to_le_bytes()))
    }

    /// The same for the shelf of a table that begins with a transaction.
    pub(super) fn of_shelf(uuid: &[u8; 16], table: u32, first: u64) -> Seed {
        let crc = crc32c::crc32c_append(crc32c::crc32c(SHELF_MAGIC), uuid);
        let crc = crc32c::crc32c_append(crc, &table.to_le_bytes());
        Seed(crc32c::crc32c_append(crc, &first.to_le_bytes()))
    }

    /// The checksum of a record at `offset`: everything but the checksum itself.
    fn crc(self, offset: usize, head: &[u8], rest: &[u8]) -> u32 {
        let crc = crc32c::crc32c_append(self.0, &(offset as u64).to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c_append(crc, head), rest)
    }
}

impl ChunkHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        self.encode_as(MAGIC)
    }

    /// The header of a chunk or a shelf.
    pub(super) fn encode_as(&self, magic: &[u8; 8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(magic);
        out.put_u16(VERSION);
        out.put_u8(self.durability as u8);
        out.put_u8(u8::from(self.reports));
        out.put_u32(0);
        out.extend_from_slice(&self.uuid);
        out.put_u64(self.epoch);
        out.put_u64(self.chunk);
        out.put_u64(self.ordinal);
        out.put_i64(self.created);
        assert_eq!(out.len(), HEADER_BYTES);
        let crc = header_crc(&out);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header of the chunk at `path`. The version is judged before the checksum, since a later one may have another; a
    /// version that the checksum contradicts is damage.
    pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<ChunkHeader, LogError> {
        ChunkHeader::decode_as(MAGIC, bytes, path)
    }

    /// The header of a chunk or a shelf, as [`ChunkHeader::decode`] reads it.
    pub(super) fn decode_as(
        magic: &[u8; 8],
        bytes: &[u8],
        path: &Path,
    ) -> Result<ChunkHeader, LogError> {
        let damaged = |what| LogError::Damaged {
            path: path.to_owned(),
            from: 0,
            to: HEADER_BYTES as u64,
            what,
        };
        let bytes = bytes.get(..HEADER_BYTES).ok_or_else(|| damaged("no room for a header"))?;
        let mut take = Take(bytes);
        if take.slice(magic.len()) != Some(magic) {
            return Err(damaged("the header does not begin as one of a transaction log"));
        }
        // Rows L3 and L4.
        match take.u16().unwrap_or(0) {
            VERSION => {}
            _ if ChunkHeader::with_version(bytes).is_some() => {
                let (path, what) = (path.to_owned(), "the version is not what was written");
                return Err(LogError::Damaged { path, from: 8, to: 10, what });
            }
            version if version > VERSION => {
                let (path, newest) = (path.to_owned(), VERSION);
                return Err(LogError::FutureVersion { path, version, newest });
            }
            _ => return Err(damaged("no version has this number")),
        }
        let flags = (take.u8(), take.u8());
        if take.u32() != Some(header_crc(bytes)) {
            return Err(damaged("the header's checksum differs"));
        }
        let header = (|| {
            Some(ChunkHeader {
                durability: Durability::from_byte(flags.0?)?,
                reports: flags.1? != 0,
                uuid: take.slice(16)?.try_into().ok()?,
                epoch: take.u64()?,
                chunk: take.u64()?,
                ordinal: take.u64()?,
                created: take.i64()?,
            })
        })();
        header.ok_or_else(|| damaged("the header holds an unknown value"))
    }
}

impl ChunkHeader {
    /// The header in `chunk` with our version in it, where the checksum says that it had that once and has another now.
    pub(super) fn with_version(chunk: &[u8]) -> Option<[u8; HEADER_BYTES]> {
        let found = *chunk.first_chunk::<HEADER_BYTES>()?;
        let mut mended = found;
        mended[8..10].copy_from_slice(&VERSION.to_le_bytes());
        let crc = header_crc(&mended).to_le_bytes();
        let has_magic = found.starts_with(MAGIC) || found.starts_with(SHELF_MAGIC);
        let is_ours = has_magic && found[CRC_AT..CRC_AT + 4] == crc;
        (is_ours && mended != found).then_some(mended)
    }
}

fn header_crc(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..CRC_AT]), &header[CRC_AT + 4..])
}

/// Begins a record in an empty buffer; the body follows.
pub(super) fn begin_record(out: &mut Vec<u8>) {
    out.clear();
    out.resize(RECORD_HEADER_BYTES, 0);
}

/// Fills in the header of the record in `out`, which will lie at `offset` of its chunk.
///
/// # Panics
/// When the body is larger than 4 GiB; batches are bounded far below.
pub(super) fn finish_record(out: &mut [u8], header: RecordHeader, seed: Seed, offset: u64) {
    let len = u32::try_from(out.len() - RECORD_HEADER_BYTES).expect("batches are bounded");
    out[0..4].copy_from_slice(RECORD_MAGIC);
    out[4..8].copy_from_slice(&len.to_le_bytes());
    out[12..16].copy_from_slice(&[header.kind as u8, 0, 0, 0]);
    out[16..24].copy_from_slice(&header.ordinal.to_le_bytes());
    out[24..32].copy_from_slice(&header.durable.to_le_bytes());
    let offset = usize::try_from(offset).expect("a chunk fits into memory");
    let crc = seed.crc(offset, &out[..RECORD_CRC_AT], &out[RECORD_CRC_AT + 4..]);
    out[RECORD_CRC_AT..RECORD_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
}

/// How many bytes the record has, header included, whose header is at hand; `None` when no record begins so.
pub(super) fn record_bytes(header: &[u8]) -> Option<u64> {
    let mut take = Take(header);
    let has_magic = take.slice(4)? == RECORD_MAGIC;
    let body = take.u32()?;
    has_magic.then_some(RECORD_HEADER_BYTES as u64 + u64::from(body))
}

/// The record at `offset` of a chunk, if a whole one is there.
pub(super) fn read_record(chunk: &[u8], offset: usize, seed: Seed) -> Option<RecordView<'_>> {
    let from = chunk.get(offset..)?;
    let mut take = Take(from);
    if take.slice(4)? != RECORD_MAGIC {
        return None;
    }
    let len = usize::try_from(take.u32()?).ok()?;
    let crc = take.u32()?;
    let size = RECORD_HEADER_BYTES.checked_add(len)?;
    let record = from.get(..size)?;
    if !is_planted(Bug::RecordWithoutChecksum)
        && crc != seed.crc(offset, &record[..RECORD_CRC_AT], &record[RECORD_CRC_AT + 4..])
    {
        return None;
    }
    let kind = RecordKind::from_byte(take.u8()?)?;
    take.slice(3)?;
    let header = RecordHeader { kind, ordinal: take.u64()?, durable: take.u64()? };
    Some(RecordView { header, body: &record[RECORD_HEADER_BYTES..], end: offset + size })
}

/// The first whole record that begins after `offset`, with its place.
pub(super) fn next_record(
    chunk: &[u8],
    offset: usize,
    seed: Seed,
) -> Option<(usize, RecordView<'_>)> {
    let after = chunk.get(offset + 1..)?;
    memchr::memmem::find_iter(after, RECORD_MAGIC)
        .map(|at| offset + 1 + at)
        .find_map(|at| Some((at, read_record(chunk, at, seed)?)))
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<RecordKind> {
        Some(match byte {
            1 => RecordKind::Checkpoint,
            2 => RecordKind::Batch,
            3 => RecordKind::Seal,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_from_the_future_is_refused_by_name() {
        let header = ChunkHeader {
            uuid: [7; 16],
            epoch: 1,
            chunk: 1,
            ordinal: 1,
            durability: Durability::Sync,
            reports: true,
            created: 0,
        };
        let mut bytes = header.encode();
        assert_eq!(ChunkHeader::decode(&bytes, Path::new("1.log")).expect("a header"), header);
        bytes[8..10].copy_from_slice(&(VERSION + 1).to_le_bytes());
        let crc = header_crc(&bytes);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        match ChunkHeader::decode(&bytes, Path::new("1.log")) {
            Err(error @ LogError::FutureVersion { version: 2, newest: 1, .. }) => {
                assert!(error.to_string().contains("version 2"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_verifies_only_in_its_own_place() {
        let mut record = Vec::new();
        begin_record(&mut record);
        record.extend_from_slice(b"body");
        let header = RecordHeader { kind: RecordKind::Batch, ordinal: 5, durable: 64 };
        let seed = Seed::new(&[1; 16], 3);
        finish_record(&mut record, header, seed, 8);
        let mut chunk = vec![0; 8];
        chunk.extend_from_slice(&record);
        let view = read_record(&chunk, 8, seed).expect("a record");
        assert_eq!((view.header, view.body, view.end), (header, &b"body"[..], chunk.len()));
        assert!(read_record(&record, 0, seed).is_none(), "another offset");
        assert!(read_record(&chunk, 8, Seed::new(&[1; 16], 4)).is_none(), "another chunk");
        assert!(read_record(&chunk, 8, Seed::new(&[2; 16], 3)).is_none(), "another server");
    }
}
