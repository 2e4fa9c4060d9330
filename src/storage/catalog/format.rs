//! The bytes of a catalog chunk: a header, then records. `docs/formats/catalog-log.md` is the map.
//!
//! Every record's checksum starts from the chunk's identity and the record's offset, so that bytes of another file, another
//! place or an earlier life of the disk block never verify.

use crate::storage::StorageError;
use crate::types::wire::{Put, Take};
use std::path::Path;

/// The newest format version, which this program writes.
pub(in crate::storage) const VERSION: u16 = 1;
/// Length of a chunk's header.
pub(super) const HEADER_LEN: usize = 48;
/// Length of a record before its payload.
pub(super) const RECORD_HEADER_LEN: usize = 17;

const MAGIC: &[u8; 8] = b"HWCATLOG";
/// How far the ordinal of a record after damaged bytes can be ahead: each record takes at least its header.
const ORDINAL_REACH: u64 = (1 << 40) / RECORD_HEADER_LEN as u64;

/// What a chunk says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// The server.
    pub(super) uuid: [u8; 16],
    /// The start that wrote the chunk.
    pub(super) epoch: u64,
    /// The number in its name.
    pub(super) chunk: u64,
}

/// What a record holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum RecordKind {
    /// Edits that make the whole state from nothing; the first record of a chunk and no other.
    Checkpoint = 1,
    /// The edits of one commit.
    Edits = 2,
    /// Nothing: the server stopped cleanly, and nothing follows.
    Seal = 3,
}

/// One whole record.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: RecordKind,
    pub(super) ordinal: u64,
    pub(super) payload: &'a [u8],
    /// Where it is in the file.
    pub(super) range: (u64, u64),
}

/// The good part of a chunk.
#[derive(Debug)]
pub(super) struct Records<'a> {
    pub(super) header: Header,
    pub(super) records: Vec<Record<'a>>,
    /// Bytes after the last good record: a commit that was under way when the power went.
    pub(super) torn_bytes: u64,
}

impl Header {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.extend_from_slice(&self.uuid);
        out.put_u64(self.epoch);
        out.put_u64(self.chunk);
        let crc = crc32c::crc32c(&out[start..]);
        out.put_u32(crc);
        assert_eq!(out.len() - start, HEADER_LEN);
    }

    /// Takes what [`Header::encode`] wrote. The version is judged before the checksum: a future one may have another.
    pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Header, StorageError> {
        let fault = |fault| damaged(path, 0, HEADER_LEN as u64, fault);
        let mut from = Take(bytes);
        if from.slice(MAGIC.len()) != Some(MAGIC) {
            return Err(fault("the file does not begin as a catalog does"));
        }
        // Rows C3 and C4.
        match from.u16() {
            Some(VERSION) => {}
            _ if Header::with_version(bytes).is_some() => {
                return Err(damaged(path, 8, 10, "the version is not what was written"));
            }
            Some(version) if version > VERSION => {
                return Err(StorageError::Future { path: path.to_owned(), version });
            }
            _ => return Err(fault("the header names no version")),
        }
        let take = |mut from: Take<'_>| {
            let zero = from.u16()?;
            let uuid = *from.slice(16)?.first_chunk::<16>()?;
            let header = Header { uuid, epoch: from.u64()?, chunk: from.u64()? };
            let crc = crc32c::crc32c(bytes.get(..HEADER_LEN - 4)?);
            (zero == 0 && from.u32()? == crc).then_some(header)
        };
        take(from).ok_or_else(|| fault("the header's checksum does not fit"))
    }

    /// The chunk with our version in its header, where the checksum says that it had that once and has another now.
    pub(super) fn with_version(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut mended = bytes.get(..HEADER_LEN)?.to_vec();
        mended[8..10].copy_from_slice(&VERSION.to_le_bytes());
        let crc = crc32c::crc32c(&mended[..HEADER_LEN - 4]).to_le_bytes();
        let is_ours = mended.starts_with(MAGIC) && mended.ends_with(&crc);
        if !is_ours || bytes.starts_with(&mended) {
            return None;
        }
        mended.extend_from_slice(&bytes[HEADER_LEN..]);
        Some(mended)
    }

    /// Where the checksum of the record at `offset` starts from.
    fn seed(&self, offset: u64) -> u32 {
        let seed = crc32c::crc32c(&self.uuid);
        let seed = crc32c::crc32c_append(seed, MAGIC);
        let seed = crc32c::crc32c_append(seed, &self.chunk.to_le_bytes());
        crc32c::crc32c_append(seed, &offset.to_le_bytes())
    }

    /// Appends a record that will be at `offset` of the file.
    pub(super) fn put_record(
        &self,
        kind: RecordKind,
        ordinal: u64,
        offset: u64,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        out.put_u32(0);
        out.put_u32(u32::try_from(payload.len()).expect("a commit is far below 4 GiB"));
        out.put_u64(ordinal);
        out.put_u8(kind as u8);
        out.extend_from_slice(payload);
        let crc = crc32c::crc32c_append(self.seed(offset), &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// The record at `offset`, if a whole one is there.
    pub(super) fn record<'a>(&self, bytes: &'a [u8], offset: usize) -> Option<Record<'a>> {
        let mut from = Take(bytes.get(offset..)?);
        let crc = from.u32()?;
        let len = usize::try_from(from.u32()?).ok()?;
        let ordinal = from.u64()?;
        let kind = match from.u8()? {
            1 => RecordKind::Checkpoint,
            2 => RecordKind::Edits,
            3 => RecordKind::Seal,
            _ => return None,
        };
        let payload = from.slice(len)?;
        let end = offset + RECORD_HEADER_LEN + len;
        let found = crc32c::crc32c_append(self.seed(offset as u64), &bytes[offset + 4..end]);
        (found == crc).then_some(Record {
            kind,
            ordinal,
            payload,
            range: (offset as u64, end as u64),
        })
    }
}

/// Reads a chunk. Bytes after the last good record are torn when nothing good follows them, and damage otherwise.
pub(super) fn read<'a>(bytes: &'a [u8], path: &Path) -> Result<Records<'a>, StorageError> {
    let header = Header::decode(bytes, path)?;
    let mut records: Vec<Record<'a>> = Vec::new();
    let mut offset = HEADER_LEN;
    let len = bytes.len() as u64;
    while offset < bytes.len() {
        let Some(record) = header.record(bytes, offset) else { break };
        let is_first = records.is_empty();
        // Row C10, and C9 where it comes after a seal.
        let fault = match records.last() {
            Some(last) if last.kind == RecordKind::Seal => Some("a record follows the seal"),
            Some(last) if last.ordinal + 1 != record.ordinal => Some("a record is missing before"),
            _ if is_first != (record.kind == RecordKind::Checkpoint) => {
                Some("only the first record is a checkpoint")
            }
            _ => None,
        };
        if let Some(fault) = fault {
            return Err(damaged(path, record.range.0, record.range.1, fault));
        }
        offset += RECORD_HEADER_LEN + record.payload.len();
        records.push(record);
    }
    let from = offset as u64;
    match records.last() {
        // Row C6: a chunk gets its name after its checkpoint is on the device.
        None => Err(damaged(path, from, len, "the checkpoint's checksum does not fit")),
        // Row C9.
        Some(last) if last.kind == RecordKind::Seal && from < len => {
            Err(damaged(path, from, len, "bytes follow the seal"))
        }
        // Rows C8 and C7.
        Some(last) => match good_record_after(&header, bytes, offset, last.ordinal) {
            Some(next) => Err(damaged(path, from, next, "a record's checksum does not fit")),
            None => Ok(Records { header, records, torn_bytes: len - from }),
        },
    }
}

/// Where the next whole record after `offset` begins, whatever its ordinal.
pub(super) fn next_record(header: &Header, bytes: &[u8], offset: usize) -> Option<usize> {
    (offset + 1..bytes.len()).find(|at| header.record(bytes, *at).is_some())
}

/// Where the first good record after `offset` is. A commit is written after the one before it is on the device, so
/// such a record proves that the bytes before it were good once.
fn good_record_after(header: &Header, bytes: &[u8], offset: usize, ordinal: u64) -> Option<u64> {
    (offset + 1..bytes.len()).find_map(|at| {
        // The ordinal rules out almost every place without a checksum.
        let found = Take(bytes.get(at + 8..)?).u64()?;
        let is_later = found > ordinal && found - ordinal < ORDINAL_REACH;
        (is_later && header.record(bytes, at).is_some()).then_some(at as u64)
    })
}

pub(super) fn damaged(path: &Path, from: u64, to: u64, fault: &'static str) -> StorageError {
    StorageError::Damaged { path: path.to_owned(), from, to, fault }
}
