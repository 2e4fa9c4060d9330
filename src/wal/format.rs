//! The fixed bytes of a segment: its header, frame headers, the seal, and the checksum that ties each to its place.
//!
//! `docs/formats/segment.md` is the page to read; this file is the same in Rust.

use crate::types::wire::{Put, Take};
use crate::types::{SegmentId, TableId, WriterId};
use std::path::{Path, PathBuf};

/// The format version that this release writes, and the newest that it reads.
pub const VERSION: u16 = 1;

pub(super) const HEADER_LEN: usize = 64;
pub(super) const FRAME_HEADER_LEN: usize = 64;
pub(super) const SEAL_LEN: usize = 40;
/// Bytes of a frame or a seal before its own fields: checksum, kind, length.
pub(super) const PREFIX_LEN: usize = 12;
/// Where the checksummed bytes of a frame or a seal begin: all of it but the checksum.
pub(super) const CHECKED_FROM: usize = 4;
/// Bytes before the values of each column of a frame.
pub(super) const COLUMN_HEADER_LEN: usize = 16;
/// Rows of a frame. Commits are limited far below; a reader refuses more, whatever a header says.
pub(super) const FRAME_ROWS_MAX: u32 = 1 << 24;

pub(super) const KIND_FRAME: [u8; 4] = *b"FRAM";
pub(super) const KIND_SEAL: [u8; 4] = *b"SEAL";

const MAGIC: [u8; 8] = *b"HWSEGMNT";
const _: () = assert!(SEAL_LEN < FRAME_HEADER_LEN && PREFIX_LEN < SEAL_LEN);

/// Which segment of which server a file is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// The server's own number, made with its data directory.
    pub uuid: [u8; 16],
    /// Whose segment.
    pub writer: WriterId,
    /// Which of the writer's.
    pub segment: SegmentId,
}

impl Identity {
    /// The file below the folder `wal`.
    pub fn path(&self, wal_dir: &Path) -> PathBuf {
        writer_dir(wal_dir, self.writer).join(format!("{}.wal", self.segment))
    }

    /// Where the checksums of this segment begin.
    pub fn seed(&self) -> Seed {
        let parts: [&[u8]; 4] =
            [&MAGIC, &self.uuid, &self.writer.0.to_le_bytes(), &self.segment.0.to_le_bytes()];
        Seed(parts.into_iter().fold(0, crc32c::crc32c_append))
    }
}

/// The folder of a writer's segments.
pub(super) fn writer_dir(wal_dir: &Path, writer: WriterId) -> PathBuf {
    wal_dir.join(writer.to_string())
}

/// The checksum state of a segment before the offset of a record: no record verifies in another place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seed(u32);

impl Seed {
    /// The checksum of `bytes`, all of a record but the checksum itself, for a record at `offset`.
    pub(super) fn checksum(self, offset: u64, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.0, &offset.to_le_bytes()), bytes)
    }
}

/// Why the first bytes of a file are not the header of the segment that was looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeaderFault {
    Damaged(&'static str),
    FutureVersion(u16),
    Misplaced,
}

/// Appends the header of a segment.
pub(super) fn put_header(out: &mut Vec<u8>, identity: &Identity, epoch: u64) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.put_u16(VERSION);
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&identity.uuid);
    out.put_u64(epoch);
    out.put_u32(identity.writer.0);
    out.put_u32(identity.segment.0);
    out.extend_from_slice(&[0; 12]);
    let crc = identity.seed().checksum(0, &out[start..]);
    out.put_u32(crc);
    assert_eq!(out.len() - start, HEADER_LEN);
}

/// The epoch in the header of the segment `identity`, or why it is not that.
pub(super) fn check_header(bytes: &[u8], identity: &Identity) -> Result<u64, HeaderFault> {
    let short = HeaderFault::Damaged("the header is cut short");
    let header = bytes.first_chunk::<HEADER_LEN>().ok_or(short)?;
    let mut take = Take(header);
    if take.slice(MAGIC.len()) != Some(&MAGIC) {
        return Err(HeaderFault::Damaged("it does not begin as a segment does"));
    }
    // Before the checksum: a later version may keep its checksum elsewhere. Row S12, unless the checksum says that it was ours.
    match take.u16() {
        Some(VERSION) => {}
        _ if held_identity(&with_version(header)).is_some() => {
            return Err(HeaderFault::Damaged("the version is not what was written"));
        }
        Some(version) if version > VERSION => return Err(HeaderFault::FutureVersion(version)),
        _ => return Err(HeaderFault::Damaged("no version has this number")),
    }
    let (held, epoch, crc) = take_fields(&mut take).ok_or(short)?;
    if held.seed().checksum(0, &header[..HEADER_LEN - 4]) != crc {
        return Err(HeaderFault::Damaged("the header's checksum does not hold"));
    }
    if held == *identity { Ok(epoch) } else { Err(HeaderFault::Misplaced) }
}

/// A header with our version in it.
fn with_version(header: &[u8; HEADER_LEN]) -> [u8; HEADER_LEN] {
    let mut mended = *header;
    mended[8..10].copy_from_slice(&VERSION.to_le_bytes());
    mended
}

/// Takes what follows the version: which segment, its epoch, the checksum.
fn take_fields(take: &mut Take<'_>) -> Option<(Identity, u64, u32)> {
    take.slice(6)?;
    let uuid = *take.slice(16)?.first_chunk()?;
    let epoch = take.u64()?;
    let held = Identity { uuid, writer: WriterId(take.u32()?), segment: SegmentId(take.u32()?) };
    take.slice(12)?;
    Some((held, epoch, take.u32()?))
}

/// Which segment a header says that it is the header of, if its checksum holds.
pub(super) fn held_identity(bytes: &[u8]) -> Option<Identity> {
    let header = bytes.first_chunk::<HEADER_LEN>()?;
    let mut take = Take(header);
    take.slice(MAGIC.len() + 2)?;
    let (held, _, crc) = take_fields(&mut take)?;
    (held.seed().checksum(0, &header[..HEADER_LEN - 4]) == crc).then_some(held)
}

/// What stands before the rows of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// Bytes of the frame, header included.
    pub len: u32,
    /// Whose rows.
    pub table: TableId,
    /// How many rows.
    pub rows: u32,
    /// How many columns beside time and series.
    pub columns: u32,
    /// The earliest row, nanoseconds since 1970.
    pub min_time: i64,
    /// The latest row, nanoseconds since 1970.
    pub max_time: i64,
    /// The commit of the writer that the frame is part of: dense, from 1.
    pub ordinal: u64,
    /// Where the table's frame before this one that has definitions begins; 0 when there is none.
    pub chain: u64,
    /// Series of the table that earlier frames define: the number of the first one that this frame defines.
    pub first_series: u32,
    /// How many series this frame defines.
    pub new_series: u32,
}

impl FrameHeader {
    /// Appends the header with a checksum of 0, to be filled in when the frame is whole.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(0);
        out.extend_from_slice(&KIND_FRAME);
        out.put_u32(self.len);
        out.put_u32(self.table.0);
        out.put_u32(self.rows);
        out.put_u32(self.columns);
        out.put_i64(self.min_time);
        out.put_i64(self.max_time);
        out.put_u64(self.ordinal);
        out.put_u64(self.chain);
        out.put_u32(self.first_series);
        out.put_u32(self.new_series);
        assert_eq!(out.len() - start, FRAME_HEADER_LEN);
    }

    /// Takes the header of a frame whose checksum holds; `None` when its numbers cannot be.
    pub(super) fn take(frame: &[u8]) -> Option<FrameHeader> {
        let mut take = Take(frame);
        take.slice(PREFIX_LEN)?;
        let header = FrameHeader {
            len: u32::try_from(frame.len()).ok()?,
            table: TableId(take.u32()?),
            rows: take.u32()?,
            columns: take.u32()?,
            min_time: take.i64()?,
            max_time: take.i64()?,
            ordinal: take.u64()?,
            chain: take.u64()?,
            first_series: take.u32()?,
            new_series: take.u32()?,
        };
        let sane = header.rows <= FRAME_ROWS_MAX && header.series_after().is_some();
        sane.then_some(header)
    }

    /// Series of the table that are defined once this frame is read.
    pub(super) fn series_after(&self) -> Option<u32> {
        self.first_series.checked_add(self.new_series)
    }
}

/// The last record of a segment that was closed in peace. A segment without one is as good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seal {
    /// Frames before it.
    pub frames: u64,
    /// Rows in them.
    pub rows: u64,
    /// The last commit in them.
    pub ordinal: u64,
}

impl Seal {
    /// Appends the seal, which stands at `offset` of its segment.
    pub(super) fn put(&self, out: &mut Vec<u8>, seed: Seed, offset: u64) {
        let start = out.len();
        out.put_u32(0);
        out.extend_from_slice(&KIND_SEAL);
        out.put_u32(SEAL_LEN as u32);
        out.put_u32(0);
        out.put_u64(self.frames);
        out.put_u64(self.rows);
        out.put_u64(self.ordinal);
        assert_eq!(out.len() - start, SEAL_LEN);
        fill_checksum(&mut out[start..], seed, offset);
    }

    /// Takes a seal whose checksum holds.
    pub(super) fn take(record: &[u8]) -> Option<Seal> {
        let mut take = Take(record);
        take.slice(PREFIX_LEN + 4)?;
        let seal = Seal { frames: take.u64()?, rows: take.u64()?, ordinal: take.u64()? };
        take.is_empty().then_some(seal)
    }
}

/// Puts the checksum in front of a record that is otherwise whole.
pub(super) fn fill_checksum(record: &mut [u8], seed: Seed, offset: u64) {
    let crc = seed.checksum(offset, &record[CHECKED_FROM..]);
    record[..CHECKED_FROM].copy_from_slice(&crc.to_le_bytes());
}

/// True when the checksum in front of a record holds at `offset`.
pub(super) fn verifies(record: &[u8], seed: Seed, offset: u64) -> bool {
    record
        .split_first_chunk::<CHECKED_FROM>()
        .is_some_and(|(crc, checked)| u32::from_le_bytes(*crc) == seed.checksum(offset, checked))
}

/// Appends a small number: seven bits a byte, low ones first, the high bit set on all but the last.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Takes what [`put_varint`] wrote; `None` past 32 bits or past the end.
pub(super) fn take_varint(take: &mut Take<'_>) -> Option<u32> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = take.u8()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Identity = Identity { uuid: [7; 16], writer: WriterId(3), segment: SegmentId(9) };

    #[test]
    fn a_header_is_read_by_its_own_segment_only() {
        let mut header = Vec::new();
        put_header(&mut header, &HERE, 42);
        assert_eq!(check_header(&header, &HERE), Ok(42));
        let other = Identity { segment: SegmentId(10), ..HERE };
        assert_eq!(check_header(&header, &other), Err(HeaderFault::Misplaced));
        assert!(matches!(check_header(&header[..63], &HERE), Err(HeaderFault::Damaged(_))));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let mut header = Vec::new();
        put_header(&mut header, &HERE, 42);
        for bit in 0..HEADER_LEN * 8 {
            header[bit / 8] ^= 1 << (bit % 8);
            assert!(check_header(&header, &HERE).is_err(), "bit {bit}");
            header[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_version_from_the_future_is_named_whatever_follows_it_but_our_own_checksum() {
        let mut header = Vec::new();
        put_header(&mut header, &HERE, 42);
        header[8] = 2;
        assert!(matches!(check_header(&header, &HERE), Err(HeaderFault::Damaged(_))));
        header[30] ^= 1;
        assert_eq!(check_header(&header, &HERE), Err(HeaderFault::FutureVersion(2)));
    }

    #[test]
    fn a_varint_comes_back_and_a_long_one_is_refused() {
        for value in [0, 1, 127, 128, 300, u32::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(take_varint(&mut Take(&bytes)), Some(value));
            assert_eq!(take_varint(&mut Take(&bytes[..bytes.len() - 1])), None);
        }
        assert_eq!(take_varint(&mut Take(&[0xff; 6])), None);
    }
}
