//! One table's rows of one commit, column by column, as a session fills them.

use crate::types::{ColumnId, ColumnType, TableId};
use arrow::array::BooleanBufferBuilder;

/// Pending rows of one table. A row is there once its time and its series are; values that were pushed for the row after the last one
/// belong to a row under construction.
#[derive(Debug)]
pub struct Batch {
    /// Whose rows.
    pub table: TableId,
    /// When each row is, nanoseconds since 1970.
    pub time: Vec<i64>,
    /// The series of each row: its number in the writer's current segment.
    pub series: Vec<u32>,
    /// Fields, in the order in which the session added them.
    pub columns: Vec<ColumnBuffer>,
}

impl Batch {
    /// A batch without rows and columns.
    pub fn new(table: TableId) -> Batch {
        Batch { table, time: Vec::new(), series: Vec::new(), columns: Vec::new() }
    }

    /// Complete rows; also the number of the row under construction.
    #[inline]
    pub fn rows(&self) -> usize {
        self.time.len()
    }

    /// True when there is no complete row.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// Adds a column and returns its index in [`Batch::columns`]. Rows before have no value in it.
    ///
    /// # Panics
    /// For a tag: tags are series.
    pub fn add_column(&mut self, id: ColumnId, ty: ColumnType) -> usize {
        self.columns.push(ColumnBuffer::new(id, ty));
        self.columns.len() - 1
    }

    /// Completes the row under construction.
    #[inline]
    pub fn finish_row(&mut self, time: i64, series: u32) {
        self.time.push(time);
        self.series.push(series);
    }

    /// Drops all rows from `rows` on, and what was pushed for the row under construction.
    pub fn truncate(&mut self, rows: usize) {
        self.time.truncate(rows);
        self.series.truncate(rows);
        let rows = self.time.len();
        for column in &mut self.columns {
            column.truncate(rows);
        }
    }

    /// Memory that the rows take, near enough to limit a commit by. Walks the columns.
    pub fn bytes(&self) -> usize {
        let fixed = self.time.len() * (size_of::<i64>() + size_of::<u32>());
        fixed + self.columns.iter().map(ColumnBuffer::bytes).sum::<usize>()
    }

    /// Drops all rows; columns and capacity stay.
    pub fn clear(&mut self) {
        self.time.clear();
        self.series.clear();
        for column in &mut self.columns {
            column.clear();
        }
    }
}

/// The values of one column. Only rows that have one take room, so that a wide table of sparse rows stays small.
///
/// One cache line: with many connections of few rows each, what a row costs is to fetch its columns.
#[derive(Debug)]
#[repr(align(64))]
pub struct ColumnBuffer {
    id: ColumnId,
    ty: ColumnType,
    /// Rows that are decided: one past the last row with a value, and everything before that without one is null.
    rows: usize,
    pub(super) values: Values,
    /// A bit for each of `rows`; `None` while each of them has a value.
    pub(super) validity: Option<Box<BooleanBufferBuilder>>,
}

/// Values of the rows that have one, in order.
#[derive(Debug)]
pub(super) enum Values {
    Signed(Vec<i64>),
    Unsigned(Vec<u64>),
    Float(Vec<f64>),
    Boolean(Box<BooleanBufferBuilder>),
    Bytes(Box<ByteValues>),
}

/// Texts, or arrays of doubles.
#[derive(Debug, Default)]
pub(super) struct ByteValues {
    /// The length of each, in bytes.
    pub(super) lens: Vec<u32>,
    pub(super) bytes: Vec<u8>,
}

const _: () = assert!(size_of::<ColumnBuffer>() == 64);

impl ColumnBuffer {
    fn new(id: ColumnId, ty: ColumnType) -> ColumnBuffer {
        let values = match ty {
            ColumnType::Timestamp | ColumnType::Integer => Values::Signed(Vec::new()),
            ColumnType::Unsigned => Values::Unsigned(Vec::new()),
            ColumnType::Float => Values::Float(Vec::new()),
            ColumnType::Boolean => Values::Boolean(Box::new(BooleanBufferBuilder::new(0))),
            ColumnType::String | ColumnType::Array => Values::Bytes(Box::default()),
            ColumnType::Tag => panic!("tags are written as series, never as a column"),
        };
        ColumnBuffer { id, ty, rows: 0, values, validity: None }
    }

    /// Which column.
    pub fn id(&self) -> ColumnId {
        self.id
    }

    /// What it holds.
    pub fn ty(&self) -> ColumnType {
        self.ty
    }

    /// Rows that are decided: one past the last row with a value.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Sets the value of `row`, a time in nanoseconds or an integer. In this and the other pushes rows before `row` that were not pushed are
    /// null, and a second value for a row replaces the first.
    ///
    /// # Panics
    /// When the column holds something else, as do the other pushes: types are claimed before a row is built.
    #[inline]
    pub fn push_i64(&mut self, row: usize, value: i64) {
        self.reach(row);
        match &mut self.values {
            Values::Signed(values) => values.push(value),
            _ => wrong_type(self.ty),
        }
    }

    /// Sets the value of `row`.
    #[inline]
    pub fn push_u64(&mut self, row: usize, value: u64) {
        self.reach(row);
        match &mut self.values {
            Values::Unsigned(values) => values.push(value),
            _ => wrong_type(self.ty),
        }
    }

    /// Sets the value of `row`.
    #[inline]
    pub fn push_f64(&mut self, row: usize, value: f64) {
        self.reach(row);
        match &mut self.values {
            Values::Float(values) => values.push(value),
            _ => wrong_type(self.ty),
        }
    }

    /// Sets the value of `row`.
    #[inline]
    pub fn push_bool(&mut self, row: usize, value: bool) {
        self.reach(row);
        match &mut self.values {
            Values::Boolean(values) => values.append(value),
            _ => wrong_type(self.ty),
        }
    }

    /// Sets the value of `row`, of less than 4 GiB.
    #[inline]
    pub fn push_str(&mut self, row: usize, value: &str) {
        self.push_bytes(row, ColumnType::String, value.as_bytes());
    }

    /// Sets the value of `row` to the doubles of `elements`, eight little-endian bytes each, of less than 4 GiB.
    pub fn push_array(&mut self, row: usize, elements: &[u8]) {
        assert!(elements.len().is_multiple_of(size_of::<f64>()), "an array holds whole doubles");
        self.push_bytes(row, ColumnType::Array, elements);
    }

    #[inline]
    fn push_bytes(&mut self, row: usize, ty: ColumnType, value: &[u8]) {
        self.reach(row);
        match &mut self.values {
            Values::Bytes(values) if self.ty == ty => {
                values.lens.push(value.len() as u32);
                values.bytes.extend_from_slice(value);
            }
            _ => wrong_type(self.ty),
        }
    }

    /// Drops the values of `row` and all after it.
    pub fn truncate(&mut self, row: usize) {
        if row >= self.rows {
            return;
        }
        let dropped = match &mut self.validity {
            None => self.rows - row,
            Some(validity) => {
                let dropped = (row..self.rows).filter(|&r| validity.get_bit(r)).count();
                validity.truncate(row);
                dropped
            }
        };
        let keep = self.values.len() - dropped;
        self.values.truncate(keep);
        self.rows = row;
        if keep == row {
            self.validity = None;
        }
    }

    /// Memory that the values take.
    pub fn bytes(&self) -> usize {
        let validity = self.validity.as_ref().map_or(0, |bits| bits.len() / 8);
        validity
            + match &self.values {
                Values::Boolean(values) => values.len() / 8,
                Values::Bytes(values) => values.lens.len() * size_of::<u32>() + values.bytes.len(),
                fixed => fixed.len() * size_of::<u64>(),
            }
    }

    /// Drops all values; capacity stays.
    pub fn clear(&mut self) {
        self.values.truncate(0);
        self.validity = None;
        self.rows = 0;
    }

    /// Makes `row` the next to get a value.
    #[inline]
    fn reach(&mut self, row: usize) {
        if row == self.rows && self.validity.is_none() {
            self.rows = row + 1;
        } else {
            self.reach_with_nulls(row);
        }
    }

    #[inline(never)]
    fn reach_with_nulls(&mut self, row: usize) {
        self.truncate(row);
        let rows = self.rows;
        self.rows = row + 1;
        if row == rows && self.validity.is_none() {
            return;
        }
        let validity = self.validity.get_or_insert_with(|| {
            let mut bits = BooleanBufferBuilder::new(row + 1);
            bits.append_n(rows, true);
            Box::new(bits)
        });
        validity.append_n(row - rows, false);
        validity.append(true);
    }
}

impl Values {
    pub(super) fn len(&self) -> usize {
        match self {
            Values::Signed(values) => values.len(),
            Values::Unsigned(values) => values.len(),
            Values::Float(values) => values.len(),
            Values::Boolean(values) => values.len(),
            Values::Bytes(values) => values.lens.len(),
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Values::Signed(values) => values.truncate(len),
            Values::Unsigned(values) => values.truncate(len),
            Values::Float(values) => values.truncate(len),
            Values::Boolean(values) => values.truncate(len),
            Values::Bytes(values) => {
                let ByteValues { lens, bytes } = &mut **values;
                let dropped: usize = lens.iter().skip(len).map(|&n| n as usize).sum();
                bytes.truncate(bytes.len() - dropped);
                lens.truncate(len);
            }
        }
    }
}

#[cold]
#[inline(never)]
fn wrong_type(ty: ColumnType) -> ! {
    panic!("a value of another type for a column of type {}: its type was claimed", ty.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validity(column: &ColumnBuffer) -> Option<Vec<bool>> {
        column.validity.as_ref().map(|bits| (0..bits.len()).map(|i| bits.get_bit(i)).collect())
    }

    fn integers(column: &ColumnBuffer) -> &[i64] {
        match &column.values {
            Values::Signed(values) => values,
            other => panic!("integers, not {other:?}"),
        }
    }

    #[test]
    fn rows_without_a_value_take_no_room_but_a_bit() {
        let mut batch = Batch::new(TableId(1));
        let at = batch.add_column(ColumnId(1), ColumnType::Integer);
        let column = &mut batch.columns[at];
        column.push_i64(2, 20);
        column.push_i64(3, 30);
        column.push_i64(1000, 40);
        assert_eq!(integers(column), [20, 30, 40]);
        assert_eq!(column.bytes(), 3 * 8 + 1001 / 8);
    }

    #[test]
    fn rolling_back_a_row_leaves_no_trace_of_it() {
        let mut batch = Batch::new(TableId(1));
        batch.add_column(ColumnId(1), ColumnType::Integer);
        batch.add_column(ColumnId(2), ColumnType::String);
        batch.columns[0].push_i64(0, 1);
        batch.columns[1].push_str(0, "one");
        batch.finish_row(10, 0);
        batch.columns[0].push_i64(1, 2);
        batch.columns[1].push_str(1, "two");
        batch.truncate(1);
        assert_eq!((batch.rows(), integers(&batch.columns[0])), (1, &[1][..]));
        // The next row has no value in the first column, the one after has.
        batch.columns[1].push_str(1, "deux");
        batch.finish_row(11, 0);
        batch.columns[0].push_i64(2, 3);
        batch.finish_row(12, 0);
        assert_eq!(validity(&batch.columns[0]), Some(vec![true, false, true]));
        batch.truncate(1);
        assert_eq!(validity(&batch.columns[0]), None, "dense again");
        assert_eq!(batch.bytes(), 12 + 8 + 4 + 3);
    }

    #[test]
    fn a_second_value_of_a_row_replaces_the_first() {
        let mut batch = Batch::new(TableId(1));
        batch.add_column(ColumnId(1), ColumnType::Integer);
        let column = &mut batch.columns[0];
        column.push_i64(0, 1);
        column.push_i64(0, 2);
        column.push_i64(5, 3);
        column.push_i64(5, 4);
        assert_eq!(integers(column), [2, 4]);
        assert_eq!(validity(column), Some(vec![true, false, false, false, false, true]));
    }

    #[test]
    #[should_panic(expected = "its type was claimed")]
    fn a_value_of_another_type_is_a_broken_invariant() {
        let mut batch = Batch::new(TableId(1));
        batch.add_column(ColumnId(1), ColumnType::Integer);
        batch.columns[0].push_f64(0, 1.0);
    }
}
