//! The bytes of a frame become Arrow arrays.
//!
//! The checksum has been verified, but nothing here relies on it: every number is checked before it is used, and
//! a frame that does not add up gives `None`.

use super::encode::{Packing, Whole};
use super::format::FrameHeader;
use crate::types::wire::Take;
use crate::types::{ColumnId, ColumnType};
use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Float64Array, Int64Array, ListArray, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, Field};
use std::sync::Arc;

/// The rows of a frame, in the order in which they came.
#[derive(Debug)]
pub struct Rows {
    /// When each row is, nanoseconds since 1970.
    pub time: Vec<i64>,
    /// The series of each row: its number in the segment.
    pub series: Vec<u32>,
    /// The columns that have a value in some row, one entry a row, nulls as validity: `Timestamp(ns)`, `Float64`, `Int64`, `UInt64`, `Boolean`, `Utf8` or a `List` of `Float64`.
    pub columns: Vec<(ColumnId, ColumnType, ArrayRef)>,
}

/// Takes all that follows the header and the definitions; `None` when it does not add up.
pub(super) fn take_rows(take: &mut Take<'_>, header: &FrameHeader) -> Option<Rows> {
    let rows = header.rows as usize;
    let time = ColumnHeader::take(take).filter(|c| c.ty == ColumnType::Timestamp && !c.nulls)?;
    let time = take_packed(take, rows, time.packing)?;
    let series = ColumnHeader::take(take).filter(|c| c.ty == ColumnType::Tag && !c.nulls)?;
    let series: Vec<u32> = take_packed(take, rows, series.packing)?;
    if series.iter().max().is_some_and(|&last| header.series_after().is_none_or(|n| last >= n)) {
        return None;
    }
    let mut columns = Vec::new();
    for _ in 0..header.columns {
        let column = ColumnHeader::take(take)?;
        columns.push((column.id, column.ty, take_column(take, &column, rows)?));
    }
    take.is_empty().then_some(Rows { time, series, columns })
}

pub(super) struct ColumnHeader {
    pub(super) id: ColumnId,
    pub(super) ty: ColumnType,
    pub(super) nulls: bool,
    pub(super) packing: Packing,
}

impl ColumnHeader {
    pub(super) fn take(take: &mut Take<'_>) -> Option<ColumnHeader> {
        let id = ColumnId(take.u32()?);
        let ty = ColumnType::from_byte(take.u8()?)?;
        let nulls = match take.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let width = take.u8()?;
        take.u8()?;
        Some(ColumnHeader { id, ty, nulls, packing: Packing { base: take.u64()?, width } })
    }
}

fn take_column(take: &mut Take<'_>, column: &ColumnHeader, rows: usize) -> Option<ArrayRef> {
    let nulls = if column.nulls { Some(take_validity(take, rows)?) } else { None };
    let count = nulls.as_ref().map_or(rows, |nulls| rows - nulls.null_count());
    let nulls = nulls.as_ref();
    Some(match column.ty {
        ColumnType::Timestamp => {
            let values = spread(take_packed::<i64>(take, count, column.packing)?, nulls);
            Arc::new(TimestampNanosecondArray::try_new(values, nulls.cloned()).ok()?)
        }
        ColumnType::Integer => {
            let values = spread(take_packed::<i64>(take, count, column.packing)?, nulls);
            Arc::new(Int64Array::try_new(values, nulls.cloned()).ok()?)
        }
        ColumnType::Unsigned => {
            let values = spread(take_packed::<u64>(take, count, column.packing)?, nulls);
            Arc::new(UInt64Array::try_new(values, nulls.cloned()).ok()?)
        }
        ColumnType::Float => {
            let floats =
                take_chunks(take, count, |bytes| f64::from_bits(u64::from_le_bytes(bytes)));
            Arc::new(Float64Array::try_new(spread(floats?, nulls), nulls.cloned()).ok()?)
        }
        ColumnType::Boolean => Arc::new(take_booleans(take, rows, count, nulls)?),
        ColumnType::String => {
            let offsets = take_lens(take, count, column.packing, nulls)?;
            let text = Buffer::from(take.slice(last(&offsets)?)?);
            Arc::new(StringArray::try_new(offsets, text, nulls.cloned()).ok()?)
        }
        ColumnType::Array => Arc::new(take_arrays(take, count, column.packing, nulls)?),
        ColumnType::Tag => return None,
    })
}

pub(super) fn take_validity(take: &mut Take<'_>, rows: usize) -> Option<NullBuffer> {
    let bits = Buffer::from(take.slice(rows.div_ceil(8))?);
    Some(NullBuffer::new(BooleanBuffer::new(bits, 0, rows)))
}

pub(super) fn take_packed<T: Whole>(
    take: &mut Take<'_>,
    count: usize,
    packing: Packing,
) -> Option<Vec<T>> {
    let mut values = Vec::new();
    extend_packed(take, count, packing, &mut values)?;
    Some(values)
}

/// Appends `count` whole numbers.
pub(super) fn extend_packed<T: Whole>(
    take: &mut Take<'_>,
    count: usize,
    packing: Packing,
    out: &mut Vec<T>,
) -> Option<()> {
    let value = |distance: u64| T::from_bits(packing.base.wrapping_add(distance));
    match packing.width {
        0 => out.extend(std::iter::repeat_n(value(0), count)),
        1 => extend_chunks(take, count, out, |b| value(u64::from(u8::from_le_bytes(b))))?,
        2 => extend_chunks(take, count, out, |b| value(u64::from(u16::from_le_bytes(b))))?,
        4 => extend_chunks(take, count, out, |b| value(u64::from(u32::from_le_bytes(b))))?,
        8 => extend_chunks(take, count, out, |b| value(u64::from_le_bytes(b)))?,
        _ => return None,
    }
    Some(())
}

fn extend_chunks<T, const N: usize>(
    take: &mut Take<'_>,
    count: usize,
    out: &mut Vec<T>,
    value: impl Fn([u8; N]) -> T,
) -> Option<()> {
    let (chunks, _) = take.slice(count.checked_mul(N)?)?.as_chunks::<N>();
    out.extend(chunks.iter().map(|chunk| value(*chunk)));
    Some(())
}

fn take_chunks<T, const N: usize>(
    take: &mut Take<'_>,
    count: usize,
    value: impl Fn([u8; N]) -> T,
) -> Option<Vec<T>> {
    let (chunks, _) = take.slice(count.checked_mul(N)?)?.as_chunks::<N>();
    Some(chunks.iter().map(|chunk| value(*chunk)).collect())
}

/// One entry a row from one entry a value.
fn spread<T: ArrowNativeType>(values: Vec<T>, nulls: Option<&NullBuffer>) -> ScalarBuffer<T> {
    let Some(nulls) = nulls else { return values.into() };
    let mut spread = vec![T::default(); nulls.len()];
    for (row, value) in nulls.valid_indices().zip(values) {
        if let Some(slot) = spread.get_mut(row) {
            *slot = value;
        }
    }
    spread.into()
}

fn take_booleans(
    take: &mut Take<'_>,
    rows: usize,
    count: usize,
    nulls: Option<&NullBuffer>,
) -> Option<BooleanArray> {
    let bits = BooleanBuffer::new(Buffer::from(take.slice(count.div_ceil(8))?), 0, count);
    let Some(nulls) = nulls else { return Some(BooleanArray::new(bits, None)) };
    let mut spread = BooleanBufferBuilder::new(rows);
    spread.append_n(rows, false);
    for (row, value) in nulls.valid_indices().zip(bits.iter()) {
        spread.set_bit(row, value);
    }
    Some(BooleanArray::new(spread.finish(), Some(nulls.clone())))
}

/// The offsets of values that have each a length.
fn take_lens(
    take: &mut Take<'_>,
    count: usize,
    packing: Packing,
    nulls: Option<&NullBuffer>,
) -> Option<OffsetBuffer<i32>> {
    let lens = spread_lens(take_packed(take, count, packing)?, nulls);
    let mut offsets = Vec::with_capacity(lens.len() + 1);
    let mut end = 0i32;
    offsets.push(end);
    for len in lens {
        end = end.checked_add(i32::try_from(len).ok()?)?;
        offsets.push(end);
    }
    Some(OffsetBuffer::new(offsets.into()))
}

fn last(offsets: &[i32]) -> Option<usize> {
    usize::try_from(*offsets.last()?).ok()
}

/// Arrays of doubles, whose lengths are in bytes.
fn take_arrays(
    take: &mut Take<'_>,
    count: usize,
    packing: Packing,
    nulls: Option<&NullBuffer>,
) -> Option<ListArray> {
    const WIDTH: usize = size_of::<f64>();
    let bytes = take_lens(take, count, packing, nulls)?;
    if bytes.iter().any(|&offset| !(offset as usize).is_multiple_of(WIDTH)) {
        return None;
    }
    let offsets: Vec<i32> = bytes.iter().map(|offset| offset / WIDTH as i32).collect();
    let elements =
        take_chunks(take, last(&offsets)?, |bytes| f64::from_bits(u64::from_le_bytes(bytes)))?;
    let elements = Arc::new(Float64Array::from(elements));
    let field = Arc::new(Field::new_list_field(DataType::Float64, false));
    let offsets = OffsetBuffer::new(offsets.into());
    ListArray::try_new(field, offsets, elements, nulls.cloned()).ok()
}

fn spread_lens(lens: Vec<u32>, nulls: Option<&NullBuffer>) -> Vec<u32> {
    let Some(nulls) = nulls else { return lens };
    let mut lens = lens.into_iter();
    nulls.iter().map(|valid| if valid { lens.next().unwrap_or(0) } else { 0 }).collect()
}
