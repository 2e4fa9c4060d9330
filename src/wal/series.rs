//! Series: distinct tag sets, defined once a segment and table, then named by a number.

use super::format::{put_varint, take_varint};
use crate::types::wire::Take;
use crate::types::{ColumnId, TableId};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::ops::Range;

/// What a writer knows of the series of its segment.
#[derive(Debug, Default)]
pub(super) struct SegmentSeries {
    tables: HashMap<TableId, TableSeries, RandomState>,
    /// Series of all tables, and the bytes of their definitions.
    pub(super) count: usize,
    pub(super) bytes: usize,
}

/// The series of one table in a segment. `written <= next`; definitions from `written` on are pending.
#[derive(Debug, Default)]
pub(super) struct TableSeries {
    /// Rows that are written.
    rows: u64,
    next: u32,
    /// Series that frames of this segment define.
    pub(super) written: u32,
    /// Definitions that the next frame takes along.
    pub(super) pending: Vec<u8>,
    /// The last frame with definitions; 0 when there is none.
    pub(super) chain: u64,
}

impl SegmentSeries {
    /// Gives a tag set the next number of its table and keeps its definition for the next frame.
    pub(super) fn define(&mut self, table: TableId, tags: &[(ColumnId, &str)]) -> u32 {
        let series = self.tables.entry(table).or_default();
        let before = series.pending.len();
        put_definition(&mut series.pending, tags);
        self.count += 1;
        self.bytes += series.pending.len() - before;
        let number = series.next;
        series.next = number.checked_add(1).expect("a segment rolls long before 4 billion series");
        number
    }

    /// The series of a table that has rows in this segment.
    pub(super) fn table(&mut self, table: TableId) -> &TableSeries {
        self.tables.entry(table).or_default()
    }

    /// Rows of a table that are written.
    pub(super) fn rows_of(&self, table: TableId) -> u64 {
        self.tables.get(&table).map_or(0, |series| series.rows)
    }

    /// Says that a frame of `rows` rows at `offset`, with all pending definitions of the table, is written.
    pub(super) fn mark_written(&mut self, table: TableId, offset: u64, rows: u32) {
        let series = self.tables.entry(table).or_default();
        series.rows += u64::from(rows);
        if series.written < series.next {
            assert!(series.chain < offset, "a frame with definitions comes after those before it");
            series.written = series.next;
            series.chain = offset;
            series.pending.clear();
        }
    }
}

impl TableSeries {
    /// How many definitions are pending.
    pub(super) fn new_series(&self) -> u32 {
        self.next - self.written
    }
}

/// One definition: the number of tags, then column, length and text of each.
fn put_definition(out: &mut Vec<u8>, tags: &[(ColumnId, &str)]) {
    let small = |n: usize| u32::try_from(n).expect("a line's limits keep tags short and few");
    put_varint(out, small(tags.len()));
    for (column, value) in tags {
        put_varint(out, column.0);
        put_varint(out, small(value.len()));
        out.extend_from_slice(value.as_bytes());
    }
}

/// How much a reader knows of the series of one table in one segment: all below a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SeriesCursor {
    pub(super) known: u32,
}

impl SeriesCursor {
    /// Knows nothing yet.
    pub fn new() -> SeriesCursor {
        SeriesCursor::default()
    }

    /// The number of the first series that is not known yet.
    pub fn known(&self) -> u32 {
        self.known
    }
}

/// Definitions of consecutive series.
#[derive(Debug, Default)]
pub struct SeriesDefinitions {
    first: u32,
    /// Where the tags of each series end.
    ends: Vec<usize>,
    tags: Vec<(ColumnId, Range<usize>)>,
    text: String,
}

impl SeriesDefinitions {
    pub(super) fn starting_at(first: u32) -> SeriesDefinitions {
        SeriesDefinitions { first, ..SeriesDefinitions::default() }
    }

    /// The number of the first one.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Calls `visit` with the number and the tags of each series, in order.
    pub fn each(&self, mut visit: impl FnMut(u32, &[(ColumnId, &str)])) {
        let mut from = 0;
        let mut tags = Vec::new();
        for (number, &end) in (self.first..).zip(&self.ends) {
            let spans = self.tags.get(from..end).unwrap_or_default();
            tags.clear();
            tags.extend(
                spans.iter().map(|(column, span)| {
                    (*column, self.text.get(span.clone()).unwrap_or_default())
                }),
            );
            visit(number, &tags);
            from = end;
        }
    }

    /// Takes the definitions of the series `numbers` and keeps those that are not known; `None` when they are damaged.
    pub(super) fn extend(&mut self, take: &mut Take<'_>, numbers: Range<u32>) -> Option<()> {
        for number in numbers {
            let next = self.first as usize + self.ends.len();
            let wanted = number as usize == next;
            for _ in 0..take_varint(take)? {
                let column = ColumnId(take_varint(take)?);
                let len = take_varint(take)? as usize;
                let value = simdutf8::basic::from_utf8(take.slice(len)?).ok()?;
                if wanted {
                    let start = self.text.len();
                    self.text.push_str(value);
                    self.tags.push((column, start..self.text.len()));
                }
            }
            if wanted {
                self.ends.push(self.tags.len());
            }
        }
        Some(())
    }
}

/// Passes over so many definitions; `None` when they do not add up.
pub(super) fn skip_definitions(take: &mut Take<'_>, count: u32) -> Option<()> {
    for _ in 0..count {
        for _ in 0..take_varint(take)? {
            take_varint(take)?;
            let len = take_varint(take)? as usize;
            take.slice(len)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: [&[(ColumnId, &str)]; 3] =
        [&[(ColumnId(1), "a"), (ColumnId(200), "Straße")], &[], &[(ColumnId(1), "")]];

    fn bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        TAGS.iter().for_each(|tags| put_definition(&mut bytes, tags));
        bytes
    }

    #[test]
    fn definitions_come_back_and_known_ones_are_passed_over() {
        for known in 0..4 {
            let bytes = bytes();
            let mut definitions = SeriesDefinitions::starting_at(known);
            let mut take = Take(&bytes);
            definitions.extend(&mut take, 0..3).unwrap();
            assert!(take.is_empty());
            let mut seen = Vec::new();
            definitions.each(|number, tags| {
                assert_eq!(tags, TAGS[number as usize]);
                seen.push(number);
            });
            assert_eq!(seen, (known..3).collect::<Vec<_>>());
        }
    }

    #[test]
    fn definitions_that_are_cut_short_are_damaged() {
        let bytes = bytes();
        for len in 0..bytes.len() {
            let mut definitions = SeriesDefinitions::starting_at(0);
            assert_eq!(definitions.extend(&mut Take(&bytes[..len]), 0..3), None, "{len}");
        }
    }

    #[test]
    fn numbers_are_dense_in_each_table_and_pend_until_written() {
        let mut series = SegmentSeries::default();
        assert_eq!(series.define(TableId(1), TAGS[0]), 0);
        assert_eq!(series.define(TableId(2), TAGS[0]), 0);
        assert_eq!(series.define(TableId(1), TAGS[1]), 1);
        series.mark_written(TableId(1), 64, 1);
        assert_eq!(series.define(TableId(1), TAGS[2]), 2);
        let table = series.table(TableId(1));
        assert_eq!((table.written, table.new_series(), table.chain), (2, 1, 64));
        assert_eq!(series.count, 4);
    }
}
