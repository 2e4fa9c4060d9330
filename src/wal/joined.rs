//! Many small frames become one array a column: an array for each column of a one-row frame costs more than all else that happens to
//! the row.

use super::decode::{ColumnHeader, Rows, extend_packed, take_packed, take_validity};
use super::format::FrameHeader;
use crate::types::wire::Take;
use crate::types::{ColumnId, ColumnType};
use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Float64Array, Int64Array, ListArray, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use std::sync::Arc;

/// Rows of consecutive frames of one table, in the order in which they came.
#[derive(Debug, Default)]
pub struct JoinedRows {
    time: Vec<i64>,
    series: Vec<u32>,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    id: ColumnId,
    ty: ColumnType,
    len: usize,
    values: Values,
    /// By row whether it has a value; `None` while all have.
    valid: Option<BooleanBufferBuilder>,
}

/// One entry a row, whatever it is where there is no value.
#[derive(Debug)]
enum Values {
    Signed(Vec<i64>),
    Unsigned(Vec<u64>),
    Float(Vec<f64>),
    Boolean(BooleanBufferBuilder),
    Text { offsets: Vec<i32>, bytes: Vec<u8> },
    Array { offsets: Vec<i32>, elements: Vec<f64> },
}

impl JoinedRows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.time.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// The series of the rows from `row` on, for whoever numbers them anew.
    pub fn series_from(&mut self, row: usize) -> &mut [u32] {
        self.series.get_mut(row..).unwrap_or_default()
    }

    /// The rows as arrays.
    pub fn finish(mut self) -> Rows {
        let rows = self.len();
        self.columns.sort_by_key(|column| column.id);
        let array = |mut column: Column| {
            column.pad(rows);
            (column.id, column.ty, column.finish())
        };
        let columns = self.columns.into_iter().map(array).collect();
        Rows { time: self.time, series: self.series, columns }
    }

    /// Appends all that follows the definitions of a frame. When it does not add up, returns `None` and is to be thrown away.
    pub(super) fn take(&mut self, take: &mut Take<'_>, header: &FrameHeader) -> Option<()> {
        let (base, rows) = (self.len(), header.rows as usize);
        let time =
            ColumnHeader::take(take).filter(|c| c.ty == ColumnType::Timestamp && !c.nulls)?;
        extend_packed(take, rows, time.packing, &mut self.time)?;
        let series = ColumnHeader::take(take).filter(|c| c.ty == ColumnType::Tag && !c.nulls)?;
        extend_packed(take, rows, series.packing, &mut self.series)?;
        let last = self.series.get(base..)?.iter().max();
        if last.is_some_and(|&last| header.series_after().is_none_or(|n| last >= n)) {
            return None;
        }
        for n in 0..header.columns as usize {
            let frame = ColumnHeader::take(take)?;
            // Frames of one table tend to have the same columns in the same order.
            let is_it = |c: &Column| c.id == frame.id;
            let at = match self.columns.get(n).is_some_and(is_it) {
                true => n,
                false => match self.columns.iter().position(is_it) {
                    Some(at) => at,
                    None => {
                        self.columns.push(Column::new(frame.id, frame.ty)?);
                        self.columns.len() - 1
                    }
                },
            };
            let column = self.columns.get_mut(at).filter(|c| c.ty == frame.ty && c.len <= base)?;
            column.pad(base);
            column.take(take, &frame, rows)?;
        }
        take.is_empty().then_some(())
    }
}

impl Column {
    fn new(id: ColumnId, ty: ColumnType) -> Option<Column> {
        let values = match ty {
            ColumnType::Timestamp | ColumnType::Integer => Values::Signed(Vec::new()),
            ColumnType::Unsigned => Values::Unsigned(Vec::new()),
            ColumnType::Float => Values::Float(Vec::new()),
            ColumnType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            ColumnType::String => Values::Text { offsets: vec![0], bytes: Vec::new() },
            ColumnType::Array => Values::Array { offsets: vec![0], elements: Vec::new() },
            ColumnType::Tag => return None,
        };
        Some(Column { id, ty, len: 0, values, valid: None })
    }

    /// Rows without a value up to `rows`.
    fn pad(&mut self, rows: usize) {
        let missing = rows - self.len;
        if missing == 0 {
            return;
        }
        self.validity().append_n(missing, false);
        match &mut self.values {
            Values::Signed(values) => values.resize(rows, 0),
            Values::Unsigned(values) => values.resize(rows, 0),
            Values::Float(values) => values.resize(rows, 0.0),
            Values::Boolean(values) => values.append_n(missing, false),
            Values::Text { offsets, .. } | Values::Array { offsets, .. } => {
                offsets.resize(rows + 1, offsets.last().copied().unwrap_or(0));
            }
        }
        self.len = rows;
    }

    fn validity(&mut self) -> &mut BooleanBufferBuilder {
        let len = self.len;
        self.valid.get_or_insert_with(|| {
            let mut valid = BooleanBufferBuilder::new(len);
            valid.append_n(len, true);
            valid
        })
    }

    fn take(&mut self, take: &mut Take<'_>, frame: &ColumnHeader, rows: usize) -> Option<()> {
        let nulls = if frame.nulls { Some(take_validity(take, rows)?) } else { None };
        let count = nulls.as_ref().map_or(rows, |nulls| rows - nulls.null_count());
        match &nulls {
            Some(nulls) => self.validity().append_buffer(nulls.inner()),
            None => self.valid.iter_mut().for_each(|valid| valid.append_n(rows, true)),
        }
        let nulls = nulls.as_ref();
        match &mut self.values {
            Values::Signed(values) => {
                extend_packed(take, count, frame.packing, values)?;
                spread(values, self.len, nulls);
            }
            Values::Unsigned(values) => {
                extend_packed(take, count, frame.packing, values)?;
                spread(values, self.len, nulls);
            }
            Values::Float(values) => {
                let (chunks, _) = take.slice(count.checked_mul(8)?)?.as_chunks::<8>();
                values.extend(chunks.iter().map(|c| f64::from_bits(u64::from_le_bytes(*c))));
                spread(values, self.len, nulls);
            }
            Values::Boolean(values) => {
                let bits = take.slice(count.div_ceil(8))?;
                let bits = BooleanBuffer::new(bits.to_vec().into(), 0, count);
                let mut bits = bits.iter();
                for row in 0..rows {
                    let has_value = nulls.is_none_or(|nulls| nulls.is_valid(row));
                    values.append(has_value && bits.next()?);
                }
            }
            Values::Text { offsets, bytes } => {
                let lens: Vec<u32> = take_packed(take, count, frame.packing)?;
                let added = extend_offsets(offsets, lens.into_iter(), rows, nulls)?;
                bytes.extend_from_slice(take.slice(added)?);
                // Each value must begin and end between characters, which only a check of each tells.
                let first = offsets.len() - 1 - rows;
                let mut ends = offsets.get(first..)?.windows(2);
                let is_text = |pair: &[i32]| {
                    let range = usize::try_from(pair[0]).ok()?..usize::try_from(pair[1]).ok()?;
                    simdutf8::basic::from_utf8(bytes.get(range)?).ok()
                };
                if !ends.all(|pair| is_text(pair).is_some()) {
                    return None;
                }
            }
            Values::Array { offsets, elements } => {
                let lens: Vec<u32> = take_packed(take, count, frame.packing)?;
                if lens.iter().any(|bytes| !bytes.is_multiple_of(8)) {
                    return None;
                }
                let counts = lens.into_iter().map(|bytes| bytes / 8);
                let added = extend_offsets(offsets, counts, rows, nulls)?;
                let (chunks, _) = take.slice(added.checked_mul(8)?)?.as_chunks::<8>();
                elements.extend(chunks.iter().map(|c| f64::from_bits(u64::from_le_bytes(*c))));
            }
        }
        self.len += rows;
        Some(())
    }

    fn finish(self) -> ArrayRef {
        let nulls = self.valid.map(|mut valid| NullBuffer::new(valid.finish()));
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        match self.values {
            Values::Signed(values) if self.ty == ColumnType::Timestamp => {
                Arc::new(TimestampNanosecondArray::new(values.into(), nulls))
            }
            Values::Signed(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Values::Unsigned(values) => Arc::new(UInt64Array::new(values.into(), nulls)),
            Values::Float(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Values::Boolean(mut values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Text { offsets, bytes } => {
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(StringArray::new(offsets, bytes.into(), nulls))
            }
            Values::Array { offsets, elements } => {
                let field = Arc::new(Field::new_list_field(DataType::Float64, false));
                let elements = Arc::new(Float64Array::from(elements));
                Arc::new(ListArray::new(field, OffsetBuffer::new(offsets.into()), elements, nulls))
            }
        }
    }
}

/// Appends where each row's value ends, given the lengths of those that have one. Returns how much they are together.
fn extend_offsets(
    offsets: &mut Vec<i32>,
    mut lens: impl Iterator<Item = u32>,
    rows: usize,
    nulls: Option<&NullBuffer>,
) -> Option<usize> {
    let start = offsets.last().copied()?;
    let mut end = start;
    for row in 0..rows {
        if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            end = end.checked_add(i32::try_from(lens.next()?).ok()?)?;
        }
        offsets.push(end);
    }
    usize::try_from(end - start).ok()
}

/// The values from `base` on, of which there is one for each valid row, become one entry a row.
fn spread<T: Copy + Default>(values: &mut Vec<T>, base: usize, nulls: Option<&NullBuffer>) {
    let Some(nulls) = nulls else { return };
    let dense = values.split_off(base);
    let mut dense = dense.into_iter();
    let row = |valid: bool| if valid { dense.next().unwrap_or_default() } else { T::default() };
    values.extend(nulls.iter().map(row));
}
