//! A batch becomes the bytes of a frame.
//!
//! Whole numbers are stored as distances from the column's smallest in 0, 1, 2, 4 or 8 bytes each, whatever the largest needs:
//! one pass for the bounds, one to narrow, both over plain slices so that the compiler makes vectors of them.

use super::batch::{Batch, ColumnBuffer, Values};
use super::format::{COLUMN_HEADER_LEN, FRAME_ROWS_MAX, FrameHeader, Seed, fill_checksum};
use crate::types::wire::Put;
use crate::types::{ColumnId, ColumnType, TableId};
use arrow::array::BooleanBufferBuilder;

/// Where a frame goes and what it takes along.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The checksum state of the segment.
    pub seed: Seed,
    /// Offset in the segment.
    pub offset: u64,
    /// The commit of the writer.
    pub ordinal: u64,
    /// The table's last frame with definitions; 0 when there is none.
    pub chain: u64,
    /// Series that frames before define.
    pub first_series: u32,
    /// Series that this frame defines, and their definitions.
    pub new_series: u32,
    /// As the writer gathered them.
    pub definitions: &'a [u8],
}

/// A frame that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameMeta {
    /// Whose rows.
    pub table: TableId,
    /// Offset in the segment.
    pub offset: u64,
    /// Bytes, header included.
    pub len: u32,
    /// How many rows.
    pub rows: u32,
    /// The earliest row, nanoseconds since 1970.
    pub min_time: i64,
    /// The latest row, nanoseconds since 1970.
    pub max_time: i64,
}

/// Appends the frame of a batch that has rows.
///
/// # Panics
/// Without rows, with a row under construction that was finished in `time` or `series` only, or past 16 million rows or 4 GiB: commits are limited far below.
pub fn encode_frame(out: &mut Vec<u8>, batch: &Batch, place: &Place<'_>) -> FrameMeta {
    let rows = batch.rows();
    assert!(rows > 0 && rows <= FRAME_ROWS_MAX as usize, "a frame has rows, and a commit few");
    assert_eq!(rows, batch.series.len(), "every row has a time and a series");
    let start = out.len();
    let time = Bounds::of(&batch.time);
    let columns = || batch.columns.iter().filter(|column| column.values.len() > 0);
    let header = FrameHeader {
        len: 0,
        table: batch.table,
        rows: rows as u32,
        columns: columns().count() as u32,
        min_time: time.min,
        max_time: time.max,
        ordinal: place.ordinal,
        chain: place.chain,
        first_series: place.first_series,
        new_series: place.new_series,
    };
    header.put(out);
    out.extend_from_slice(place.definitions);
    put_column_header(out, ColumnId::TIME, ColumnType::Timestamp, false, time.packing());
    put_packed(out, &batch.time, time.packing());
    let series = Bounds::of(&batch.series).packing();
    put_column_header(out, ColumnId::TIME, ColumnType::Tag, false, series);
    put_packed(out, &batch.series, series);
    for column in columns() {
        put_column(out, column, rows);
    }
    let len = u32::try_from(out.len() - start).expect("a commit's limits keep frames below 4 GiB");
    let frame = &mut out[start..];
    frame[8..12].copy_from_slice(&len.to_le_bytes());
    fill_checksum(frame, place.seed, place.offset);
    FrameMeta {
        table: batch.table,
        offset: place.offset,
        len,
        rows: header.rows,
        min_time: time.min,
        max_time: time.max,
    }
}

fn put_column(out: &mut Vec<u8>, column: &ColumnBuffer, rows: usize) {
    let packing = match &column.values {
        Values::Signed(values) => Bounds::of(values).packing(),
        Values::Unsigned(values) => Bounds::of(values).packing(),
        Values::Bytes(values) => Bounds::of(&values.lens).packing(),
        Values::Float(_) | Values::Boolean(_) => Packing::default(),
    };
    let nulls = column.values.len() < rows;
    put_column_header(out, column.id(), column.ty(), nulls, packing);
    if nulls {
        put_validity(out, column, rows);
    }
    match &column.values {
        Values::Signed(values) => put_packed(out, values, packing),
        Values::Unsigned(values) => put_packed(out, values, packing),
        Values::Float(values) => put_chunks(out, values, |value| value.to_bits().to_le_bytes()),
        Values::Boolean(values) => out.extend_from_slice(values.as_slice()),
        Values::Bytes(values) => {
            put_packed(out, &values.lens, packing);
            out.extend_from_slice(&values.bytes);
        }
    }
}

fn put_column_header(
    out: &mut Vec<u8>,
    id: ColumnId,
    ty: ColumnType,
    nulls: bool,
    packing: Packing,
) {
    let start = out.len();
    out.put_u32(id.0);
    out.put_u8(ty as u8);
    out.put_u8(u8::from(nulls));
    out.put_u8(packing.width);
    out.put_u8(0);
    out.put_u64(packing.base);
    assert_eq!(out.len() - start, COLUMN_HEADER_LEN);
}

/// A bit for each row: the buffer's own, then nulls up to the batch's last row.
fn put_validity(out: &mut Vec<u8>, column: &ColumnBuffer, rows: usize) {
    let end = out.len() + rows.div_ceil(8);
    match &column.validity {
        Some(bits) => out.extend_from_slice(bits.as_slice()),
        None => {
            let mut bits = BooleanBufferBuilder::new(rows);
            bits.append_n(column.values.len(), true);
            out.extend_from_slice(bits.as_slice());
        }
    }
    out.resize(end, 0);
}

/// A whole number that is stored by its distance from a smaller one.
pub(super) trait Whole: Copy + Ord {
    fn to_bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
}

impl Whole for i64 {
    fn to_bits(self) -> u64 {
        self as u64
    }
    fn from_bits(bits: u64) -> i64 {
        bits as i64
    }
}

impl Whole for u64 {
    fn to_bits(self) -> u64 {
        self
    }
    fn from_bits(bits: u64) -> u64 {
        bits
    }
}

impl Whole for u32 {
    fn to_bits(self) -> u64 {
        u64::from(self)
    }
    fn from_bits(bits: u64) -> u32 {
        bits as u32
    }
}

/// How whole numbers are stored: `width` bytes each, added to `base` modulo 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Packing {
    pub(super) base: u64,
    pub(super) width: u8,
}

#[derive(Clone, Copy, Debug)]
struct Bounds<T> {
    min: T,
    max: T,
}

impl<T: Whole> Bounds<T> {
    /// The bounds of values that are not empty.
    fn of(values: &[T]) -> Bounds<T> {
        let first = values[0];
        values.iter().fold(Bounds { min: first, max: first }, |bounds, &value| Bounds {
            min: bounds.min.min(value),
            max: bounds.max.max(value),
        })
    }

    fn packing(self) -> Packing {
        let base = self.min.to_bits();
        let width = match self.max.to_bits().wrapping_sub(base) {
            0 => 0,
            1..=0xff => 1,
            0x100..=0xffff => 2,
            0x1_0000..=0xffff_ffff => 4,
            _ => 8,
        };
        Packing { base, width }
    }
}

fn put_packed<T: Whole>(out: &mut Vec<u8>, values: &[T], packing: Packing) {
    let distance = |value: T| value.to_bits().wrapping_sub(packing.base);
    match packing.width {
        0 => {}
        1 => put_chunks(out, values, |v| (distance(v) as u8).to_le_bytes()),
        2 => put_chunks(out, values, |v| (distance(v) as u16).to_le_bytes()),
        4 => put_chunks(out, values, |v| (distance(v) as u32).to_le_bytes()),
        _ => put_chunks(out, values, |v| distance(v).to_le_bytes()),
    }
}

/// Appends `N` bytes a value. Room first, then stores at known places: an append each would not become vectors.
fn put_chunks<T: Copy, const N: usize>(
    out: &mut Vec<u8>,
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
) {
    let start = out.len();
    out.resize(start + values.len() * N, 0);
    let (chunks, _) = out[start..].as_chunks_mut::<N>();
    for (chunk, &value) in chunks.iter_mut().zip(values) {
        *chunk = bytes(value);
    }
}
