//! The write-ahead log as a whole: what goes in comes out, from its own place only, also after damage.

use super::format::{FRAME_HEADER_LEN, HEADER_LEN, fill_checksum};
use super::*;
use crate::io::Fs;
use crate::io::sim::SimDisk;
use crate::types::{ColumnId, ColumnType, SegmentId, TableId, WriterId};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Float64Builder, Int64Array, ListBuilder,
    StringArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field};
use bytes::Bytes;
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

const UUID: [u8; 16] = *b"a server, number";
const TABLE: TableId = TableId(5);
const HOST: ColumnId = ColumnId(1);
const VALUE: ColumnId = ColumnId(2);

/// A folder with a pool over it.
struct Wal {
    dir: TempDir,
    pool: WriterPool,
}

impl Wal {
    fn new(config: WalConfig) -> Wal {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        // Most tests look into files.
        let config = WalConfig { unwritten_bytes: 0, ..config };
        let pool =
            WriterPool::new(config, Fs::real(), path, UUID, 3, WriterId(1), Ledger::default());
        Wal { dir, pool }
    }

    fn identity(segment: u32) -> Identity {
        Identity { uuid: UUID, writer: WriterId(1), segment: SegmentId(segment) }
    }

    fn path(&self, segment: u32) -> PathBuf {
        Wal::identity(segment).path(self.dir.path())
    }

    fn reader(&self, segment: u32) -> Result<SegmentReader, WalError> {
        SegmentReader::open(&Fs::real(), self.dir.path(), &Wal::identity(segment))
    }

    /// Replaces the file of a segment.
    fn overwrite(&self, segment: u32, bytes: &[u8]) {
        Fs::real().replace(&self.path(segment), bytes).unwrap();
    }
}

/// A batch of integers under one series each.
fn batch(table: TableId, rows: &[(i64, u32, i64)]) -> Batch {
    let mut batch = Batch::new(table);
    batch.add_column(VALUE, ColumnType::Integer);
    for &(time, series, value) in rows {
        let row = batch.rows();
        batch.columns[0].push_i64(row, value);
        batch.finish_row(time, series);
    }
    batch
}

fn append(writer: &mut WalWriter, batches: &[&Batch]) -> Appended {
    writer.append(batches.iter().copied()).unwrap().expect("some batch has rows")
}

fn values(rows: &Rows) -> Vec<i64> {
    let (_, _, array) = &rows.columns[0];
    array.as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
}

fn names(definitions: &SeriesDefinitions) -> Vec<String> {
    let mut names = Vec::new();
    definitions.each(|number, tags| names.push(format!("{number}:{tags:?}")));
    names
}

/// Decodes one frame of a fresh reader without knowing any series.
fn read(wal: &Wal, frame: &FrameMeta) -> Result<Rows, WalError> {
    Ok(read_defined(wal, frame)?.1)
}

/// The same, with the definitions that it needs.
fn read_defined(wal: &Wal, frame: &FrameMeta) -> Result<(SeriesDefinitions, Rows), WalError> {
    let reader = wal.reader(0)?;
    let view = reader.frame(frame.offset, frame.len)?;
    assert_eq!((view.header().table, view.header().rows), (frame.table, frame.rows));
    decode(&view, &mut SeriesCursor::new())
}

/// What apply does with a frame: definitions, then rows.
fn decode(
    view: &FrameView<'_>,
    cursor: &mut SeriesCursor,
) -> Result<(SeriesDefinitions, Rows), WalError> {
    Ok((view.new_series(cursor)?, view.rows(*cursor)?))
}

type Cell = Option<u64>;

const COLUMNS: [ColumnType; 7] = [
    ColumnType::Timestamp,
    ColumnType::Integer,
    ColumnType::Unsigned,
    ColumnType::Float,
    ColumnType::Boolean,
    ColumnType::String,
    ColumnType::Array,
];

fn push(column: &mut ColumnBuffer, row: usize, bits: u64) {
    match column.ty() {
        ColumnType::Timestamp | ColumnType::Integer => column.push_i64(row, bits as i64),
        ColumnType::Unsigned => column.push_u64(row, bits),
        ColumnType::Float => column.push_f64(row, bits as f64 / 3.0),
        ColumnType::Boolean => column.push_bool(row, bits % 2 == 1),
        ColumnType::Array => column.push_array(
            row,
            elements(bits).map(f64::to_le_bytes).collect::<Vec<_>>().as_flattened(),
        ),
        _ => column.push_str(row, &text(bits)),
    }
}

fn text(bits: u64) -> String {
    "é".repeat((bits % 7) as usize) + &bits.to_string()
}

fn elements(bits: u64) -> impl Iterator<Item = f64> {
    (0..bits % 5).map(move |n| (bits / 3) as f64 / (n + 1) as f64)
}

fn array(ty: ColumnType, cells: &[Cell]) -> ArrayRef {
    let cells = cells.iter().copied();
    match ty {
        ColumnType::Timestamp => {
            Arc::new(TimestampNanosecondArray::from_iter(cells.map(|c| c.map(|bits| bits as i64))))
        }
        ColumnType::Integer => {
            Arc::new(Int64Array::from_iter(cells.map(|c| c.map(|bits| bits as i64))))
        }
        ColumnType::Unsigned => Arc::new(UInt64Array::from_iter(cells)),
        ColumnType::Float => {
            Arc::new(Float64Array::from_iter(cells.map(|c| c.map(|bits| bits as f64 / 3.0))))
        }
        ColumnType::Boolean => {
            Arc::new(BooleanArray::from_iter(cells.map(|c| c.map(|bits| bits % 2 == 1))))
        }
        ColumnType::Array => {
            let field = Field::new_list_field(DataType::Float64, false);
            let mut lists = ListBuilder::new(Float64Builder::new()).with_field(field);
            cells.for_each(|c| lists.append_option(c.map(|bits| elements(bits).map(Some))));
            Arc::new(lists.finish())
        }
        _ => Arc::new(StringArray::from_iter(cells.map(|c| c.map(text)))),
    }
}

/// Values of every width, so that each packing is met.
fn cell() -> impl Strategy<Value = Cell> {
    let bits = prop_oneof![
        Just(7),
        0..200u64,
        0..60_000u64,
        0..4_000_000_000u64,
        any::<u64>(),
        Just(i64::MIN as u64),
        Just(i64::MAX as u64),
    ];
    prop::option::weighted(0.7, bits)
}

/// A row's cells, and whether it is rolled back after they were pushed.
fn row() -> impl Strategy<Value = (Vec<Cell>, bool)> {
    (prop::collection::vec(cell(), COLUMNS.len()), prop::bool::weighted(0.2))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_type_comes_back_with_its_nulls_and_without_rolled_back_rows(
        rows in prop::collection::vec(row(), 1..40),
        times in prop::collection::vec(any::<i64>(), 40),
    ) {
        let wal = Wal::new(WalConfig::default());
        let mut writer = wal.pool.try_borrow().unwrap();
        let series = writer.series(TABLE, &[(HOST, "a")]);
        let mut batch = Batch::new(TABLE);
        for (n, ty) in COLUMNS.iter().enumerate() {
            batch.add_column(ColumnId(10 + n as u32), *ty);
        }
        let mut kept: Vec<&Vec<Cell>> = Vec::new();
        for (cells, rolled_back) in &rows {
            let row = batch.rows();
            for (column, cell) in batch.columns.iter_mut().zip(cells) {
                if let Some(bits) = cell {
                    push(column, row, *bits);
                }
            }
            if *rolled_back {
                batch.truncate(row);
            } else {
                batch.finish_row(times[row], series);
                kept.push(cells);
            }
        }
        let Some(appended) = writer.append([&batch]).unwrap() else {
            prop_assert!(kept.is_empty());
            return Ok(());
        };
        let rows = read(&wal, &appended.frames[0]).unwrap();
        prop_assert_eq!(&rows.time, &times[..kept.len()]);
        prop_assert_eq!(rows.series, vec![series; kept.len()]);
        let mut found = rows.columns.into_iter();
        for (n, ty) in COLUMNS.iter().enumerate() {
            let cells: Vec<Cell> = kept.iter().map(|cells| cells[n]).collect();
            if cells.iter().any(Option::is_some) {
                let (id, found_ty, found) = found.next().unwrap();
                prop_assert_eq!((id, found_ty), (ColumnId(10 + n as u32), *ty));
                prop_assert_eq!(&found, &array(*ty, &cells));
                found.to_data().validate_full().unwrap();
            }
        }
        prop_assert!(found.next().is_none(), "columns without a value are left out");
    }

    #[test]
    fn small_frames_joined_are_their_rows_one_after_the_other(
        frames in prop::collection::vec(prop::collection::vec(row(), 1..4), 1..12),
    ) {
        let wal = Wal::new(WalConfig::default());
        let mut writer = wal.pool.try_borrow().unwrap();
        let mut all: Vec<(i64, u32, &Vec<Cell>)> = Vec::new();
        let mut written: Vec<FrameMeta> = Vec::new();
        for (n, rows) in frames.iter().enumerate() {
            let mut batch = Batch::new(TABLE);
            // Frames name the columns in different orders, and leave out those without a value.
            let mut order: Vec<usize> = (0..COLUMNS.len()).collect();
            order.rotate_left(n % COLUMNS.len());
            for column in &order {
                batch.add_column(ColumnId(10 + *column as u32), COLUMNS[*column]);
            }
            let series = writer.series(TABLE, &[(HOST, &format!("h{}", n % 3))]);
            for (row, (cells, _)) in rows.iter().enumerate() {
                for (column, place) in batch.columns.iter_mut().zip(&order) {
                    if let Some(bits) = cells[*place] {
                        push(column, row, bits);
                    }
                }
                let time = all.len() as i64 * 7 - 3;
                batch.finish_row(time, series);
                all.push((time, series, cells));
            }
            written.extend(writer.append([&batch]).unwrap().unwrap().frames);
        }
        let reader = wal.reader(0).unwrap();
        let (mut cursor, mut joined) = (SeriesCursor::new(), JoinedRows::default());
        let mut defined = Vec::new();
        for frame in &written {
            let view = reader.frame(frame.offset, frame.len).unwrap();
            view.new_series(&mut cursor).unwrap().each(|_, tags| defined.push(tags[0].1.to_owned()));
            view.rows_onto(cursor, &mut joined).unwrap();
        }
        prop_assert_eq!(defined.len(), written.len(), "the writer numbers what it is given");
        let rows = joined.finish();
        prop_assert_eq!(rows.time, all.iter().map(|row| row.0).collect::<Vec<_>>());
        prop_assert_eq!(rows.series, all.iter().map(|row| row.1).collect::<Vec<_>>());
        let mut found = rows.columns.into_iter();
        for (n, ty) in COLUMNS.iter().enumerate() {
            let cells: Vec<Cell> = all.iter().map(|row| row.2[n]).collect();
            if cells.iter().any(Option::is_some) {
                let (id, found_ty, found) = found.next().unwrap();
                prop_assert_eq!((id, found_ty), (ColumnId(10 + n as u32), *ty));
                prop_assert_eq!(&found, &array(*ty, &cells));
                found.to_data().validate_full().unwrap();
            }
        }
        prop_assert!(found.next().is_none());
    }
}

#[test]
fn a_commit_of_several_tables_is_one_run_of_frames() {
    let wal = Wal::new(WalConfig::default());
    let mut writer = wal.pool.try_borrow().unwrap();
    assert!(writer.append([&Batch::new(TABLE)]).unwrap().is_none(), "no rows, no file");
    assert!(!Fs::real().exists(&wal.path(0)).unwrap());
    let one = batch(TableId(1), &[(5, 0, 50), (3, 0, 30)]);
    let two = batch(TableId(2), &[(7, 0, 70)]);
    writer.series(TableId(1), &[(HOST, "a")]);
    writer.series(TableId(2), &[(HOST, "b")]);
    let appended = append(&mut writer, &[&one, &Batch::new(TableId(3)), &two]);
    let [first, second] = appended.frames[..] else { panic!("two frames") };
    assert_eq!((appended.ordinal, appended.offset), (1, HEADER_LEN as u64));
    assert_eq!((first.min_time, first.max_time, first.rows), (3, 5, 2));
    assert_eq!(second.offset, first.offset + u64::from(first.len));
    assert_eq!(appended.len, u64::from(first.len) + u64::from(second.len));
    assert_eq!(values(&read(&wal, &first).unwrap()), [50, 30]);
    assert_eq!(values(&read(&wal, &second).unwrap()), [70]);
}

#[test]
fn a_reader_follows_a_segment_that_grows() {
    let wal = Wal::new(WalConfig::default());
    let mut writer = wal.pool.try_borrow().unwrap();
    writer.series(TABLE, &[]);
    let rows: Vec<_> = (0..100_000).map(|n| (n * 1_000_000_007, 0, n << 33)).collect();
    let rows = batch(TABLE, &rows);
    let first = append(&mut writer, &[&rows]);
    let reader = wal.reader(0).unwrap();
    assert_eq!(reader.epoch(), 3);
    let mut cursor = SeriesCursor::new();
    for appended in [first, append(&mut writer, &[&rows]), append(&mut writer, &[&rows])] {
        let frame = appended.frames[0];
        let view = reader.frame(frame.offset, frame.len).unwrap();
        let (_, rows) = decode(&view, &mut cursor).unwrap();
        assert_eq!(rows.time.len(), 100_000);
    }
}

#[test]
fn any_frame_can_be_read_first_for_definitions_form_a_chain() {
    let wal = Wal::new(WalConfig::default());
    let mut writer = wal.pool.try_borrow().unwrap();
    let mut frames = Vec::new();
    for n in 0..6i64 {
        // Another table between, and every third frame without news.
        writer.series(TableId(9), &[(HOST, "other")]);
        if n % 3 != 2 {
            let name = format!("host-{n}");
            let number = writer.series(TABLE, &[(HOST, &name)]);
            assert_eq!(i64::from(number), n - n / 3);
        }
        let (other, rows) = (batch(TableId(9), &[(n, 0, n)]), batch(TABLE, &[(n, 0, n)]));
        frames.push(append(&mut writer, &[&other, &rows]).frames[1]);
    }
    let expect: Vec<String> = ["host-0", "host-1", "host-3", "host-4"]
        .iter()
        .enumerate()
        .map(|(n, host)| format!("{n}:{:?}", [(HOST, host)]))
        .collect();
    let reader = wal.reader(0).unwrap();
    for first in 0..frames.len() {
        let mut cursor = SeriesCursor::new();
        let mut seen = Vec::new();
        for frame in &frames[first..] {
            let view = reader.frame(frame.offset, frame.len).unwrap();
            let unknown = view.rows(cursor);
            let new = reader.new_series(frame.offset, frame.len, &mut cursor).unwrap();
            assert_eq!(new.first() as usize, seen.len());
            assert_eq!(unknown.is_err(), !new.is_empty(), "rows need their series");
            assert_eq!(view.rows(cursor).unwrap().time.len(), 1);
            seen.extend(names(&new));
        }
        assert_eq!(seen, expect, "from frame {first}");
        assert_eq!(cursor.known(), 4);
        let again = reader.frame(frames[0].offset, frames[0].len).unwrap();
        assert!(decode(&again, &mut cursor).unwrap().0.is_empty());
    }
}

#[test]
fn rolling_begins_a_segment_with_series_from_0() {
    let wal = Wal::new(WalConfig { segment_rows: 3, ..WalConfig::default() });
    let mut writer = wal.pool.try_borrow().unwrap();
    let rows = batch(TABLE, &[(1, 0, 1), (2, 0, 2)]);
    assert_eq!(writer.series(TABLE, &[(HOST, "a")]), 0);
    append(&mut writer, &[&rows]);
    assert!(!writer.should_roll());
    assert_eq!(writer.series(TABLE, &[(HOST, "b")]), 1);
    append(&mut writer, &[&rows]);
    assert!(writer.should_roll());
    let generation = writer.generation();
    writer.roll();
    assert_ne!(writer.generation(), generation, "sessions forget their numbers");
    assert!(!writer.should_roll());
    assert_eq!(writer.series(TABLE, &[(HOST, "b")]), 0);
    let appended = append(&mut writer, &[&rows]);
    assert_eq!((appended.segment, appended.ordinal), (SegmentId(1), 3));

    let reader = wal.reader(0).unwrap();
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    let [Record::Frame(_), Record::Frame(_), Record::Seal(seal)] = &records[..] else {
        panic!("two frames and a seal: {records:?}")
    };
    assert_eq!(*seal, Seal { frames: 2, rows: 4, ordinal: 2 });
    let len = Fs::real().read(&wal.path(0)).unwrap().len();
    assert!(len < 1000, "a closed segment keeps no reserved room: {len}");
    let second = wal.reader(1).unwrap();
    assert_eq!(second.records().map(Result::unwrap).count(), 1, "zeros end an open segment");
}

#[test]
fn each_limit_of_a_segment_makes_it_roll() {
    for limit in [
        WalConfig { segment_bytes: 150, ..WalConfig::default() },
        WalConfig { segment_rows: 1, ..WalConfig::default() },
        WalConfig { segment_series: 1, ..WalConfig::default() },
        WalConfig { series_bytes: 5, ..WalConfig::default() },
    ] {
        let wal = Wal::new(limit.clone());
        let mut writer = wal.pool.try_borrow().unwrap();
        assert!(!writer.should_roll());
        writer.series(TABLE, &[(HOST, "abc")]);
        append(&mut writer, &[&batch(TABLE, &[(1, 0, 1)])]);
        assert!(writer.should_roll(), "{limit:?}");
    }
}

#[test]
fn frames_beyond_a_torn_tail_are_refused() {
    let wal = Wal::new(WalConfig::default());
    let mut writer = wal.pool.try_borrow().unwrap();
    writer.series(TABLE, &[(HOST, "a")]);
    let first = append(&mut writer, &[&batch(TABLE, &[(1, 0, 1)])]).frames[0];
    let second = append(&mut writer, &[&batch(TABLE, &[(2, 0, 2), (3, 0, 3)])]).frames[0];
    let whole = Fs::real().read(&wal.path(0)).unwrap();
    let end = (second.offset + u64::from(second.len)) as usize;
    for cut in second.offset as usize..end {
        // Zeros where the rest was: the size reached the disk, the bytes did not. Then cut short.
        let mut zeros = whole.clone();
        zeros[cut..].fill(0);
        for torn in [&zeros[..], &whole[..cut]] {
            wal.overwrite(0, torn);
            assert_eq!(values(&read(&wal, &first).unwrap()), [1]);
            let reader = wal.reader(0).unwrap();
            // A frame may end in zeros of its own.
            if torn.get(..end) != Some(&whole[..end]) {
                let error = reader.frame(second.offset, second.len).unwrap_err();
                assert!(
                    matches!(error, WalError::Damaged { offset, .. } if offset == second.offset)
                );
            }
            let mut records = reader.records();
            assert!(records.next().unwrap().is_ok());
            assert_eq!(records.offset(), second.offset);
        }
    }
}

#[test]
fn every_flipped_bit_of_a_frame_is_noticed() {
    let wal = Wal::new(WalConfig::default());
    let mut writer = wal.pool.try_borrow().unwrap();
    writer.series(TABLE, &[(HOST, "a")]);
    let frame = append(&mut writer, &[&batch(TABLE, &[(1, 0, 1), (2, 0, 2)])]).frames[0];
    let file = Fs::real().open(&wal.path(0)).unwrap();
    let reader = wal.reader(0).unwrap();
    let whole = Fs::real().read(&wal.path(0)).unwrap();
    let start = frame.offset as usize;
    for at in start..start + frame.len as usize {
        for bit in 0..8 {
            file.write_all_at(&[whole[at] ^ (1 << bit)], at as u64).unwrap();
            let found = reader.frame(frame.offset, frame.len);
            assert!(matches!(found, Err(WalError::Damaged { .. })), "byte {at} bit {bit}");
        }
        file.write_all_at(&whole[at..=at], at as u64).unwrap();
    }
    assert!(reader.frame(frame.offset, frame.len).is_ok());
}

#[test]
fn a_frame_in_another_place_never_verifies() {
    let wal = Wal::new(WalConfig::default());
    let mut writer = wal.pool.try_borrow().unwrap();
    writer.series(TABLE, &[(HOST, "a")]);
    let rows = batch(TABLE, &[(1, 0, 1)]);
    let frame = append(&mut writer, &[&rows]).frames[0];
    writer.roll();
    writer.series(TABLE, &[(HOST, "a")]);
    let same = append(&mut writer, &[&rows]).frames[0];
    assert_eq!((same.offset, same.len), (frame.offset, frame.len));

    let reader = wal.reader(0).unwrap();
    let bytes = reader.frame(frame.offset, frame.len).unwrap().bytes().to_vec();
    let other = wal.reader(1).unwrap();
    let file = Fs::real().open(&wal.path(1)).unwrap();
    for offset in [same.offset, same.offset + 1, same.offset + 4096] {
        file.write_all_at(&bytes, offset).unwrap();
        let found = other.frame(offset, frame.len);
        assert!(matches!(found, Err(WalError::Damaged { .. })), "at {offset}");
    }
    // A whole segment under another one's name.
    let segment = Fs::real().read(&wal.path(0)).unwrap();
    wal.overwrite(1, &segment);
    assert!(matches!(wal.reader(1), Err(WalError::Misplaced { .. })));
}

#[test]
fn a_frame_that_does_not_add_up_is_an_error_even_when_its_checksum_holds() {
    let wal = Wal::new(WalConfig::default());
    let mut writer = wal.pool.try_borrow().unwrap();
    writer.series(TABLE, &[(HOST, "a")]);
    let mut rows = Batch::new(TABLE);
    for (n, ty) in COLUMNS.iter().enumerate() {
        let at = rows.add_column(ColumnId(10 + n as u32), *ty);
        push(&mut rows.columns[at], 1, 300);
    }
    rows.finish_row(1, 0);
    rows.finish_row(2, 0);
    let frame = append(&mut writer, &[&rows]).frames[0];
    let whole = Fs::real().read(&wal.path(0)).unwrap();
    let start = frame.offset as usize;
    let bytes = &whole[start..start + frame.len as usize];
    let file = Fs::real().open(&wal.path(0)).unwrap();
    let reader = wal.reader(0).unwrap();
    let mut refused = 0;
    for at in 12..bytes.len() {
        for value in [0, 1, 0x7f, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1)] {
            let mut bad = bytes.to_vec();
            bad[at] = value;
            fill_checksum(&mut bad, Wal::identity(0).seed(), frame.offset);
            file.write_all_at(&bad, frame.offset).unwrap();
            let decoded = reader
                .frame(frame.offset, frame.len)
                .and_then(|view| decode(&view, &mut SeriesCursor::new()));
            refused += usize::from(decoded.is_err());
        }
    }
    assert!(refused > FRAME_HEADER_LEN, "{refused}");
}

#[test]
fn a_version_from_the_future_is_refused_by_name() {
    let wal = Wal::new(WalConfig::default());
    let mut writer = wal.pool.try_borrow().unwrap();
    writer.series(TABLE, &[]);
    append(&mut writer, &[&batch(TABLE, &[(1, 0, 1)])]);
    let file = Fs::real().open(&wal.path(0)).unwrap();
    file.write_all_at(&[2], 8).unwrap();
    file.write_all_at(&[0xff; 8], 20).unwrap();
    let error = wal.reader(0).unwrap_err().to_string();
    assert!(error.contains("has format version 2, this release reads up to 1"), "{error}");
}

#[test]
fn a_lost_segment_comes_back_from_carried_frames() {
    let wal = Wal::new(WalConfig::default());
    let mut writer = wal.pool.try_borrow().unwrap();
    let commits: Vec<Appended> = (0..3)
        .map(|n| {
            writer.series(TABLE, &[(HOST, "a")]);
            append(&mut writer, &[&batch(TABLE, &[(n, n as u32, n)])])
        })
        .collect();
    let carried: Vec<(u64, Bytes)> =
        commits.iter().map(|c| (c.offset, c.bytes.clone().unwrap())).collect();
    let whole = Fs::real().read(&wal.path(0)).unwrap();
    let end = (commits[2].offset + commits[2].len) as usize;
    let fs = Fs::real();
    for kept in [0, 10, HEADER_LEN, HEADER_LEN + 30, end - 1, end] {
        wal.overwrite(0, &whole[..kept]);
        if kept == 0 {
            fs.remove_dir_all(wal.path(0).parent().unwrap()).unwrap();
        }
        for _ in 0..2 {
            restore(&fs, wal.dir.path(), &Wal::identity(0), 3, &carried).unwrap();
            assert_eq!(fs.read(&wal.path(0)).unwrap(), whole[..end], "{kept} bytes were left");
        }
        let (new, _) = read_defined(&wal, &commits[2].frames[0]).unwrap();
        assert_eq!(names(&new).len(), 3);
    }
    // Another server's segment is left alone.
    let stranger = Identity { uuid: [1; 16], ..Wal::identity(0) };
    let refused = restore(&fs, wal.dir.path(), &stranger, 3, &carried);
    assert!(matches!(refused, Err(WalError::Misplaced { .. })));
}

#[test]
fn small_commits_come_back_as_bytes_and_large_ones_ask_for_the_folder() {
    let wal = Wal::new(WalConfig { carry_bytes: 300, ..WalConfig::default() });
    let mut writer = wal.pool.try_borrow().unwrap();
    writer.series(TABLE, &[]);
    let small = batch(TABLE, &[(1, 0, 1)]);
    let times: Vec<_> = (0..100).map(|n| (n, 0, n)).collect();
    let large = batch(TABLE, &times);
    let seen = [&small, &large, &small, &large].map(|batch| {
        let appended = append(&mut writer, &[batch]);
        if let Some(bytes) = &appended.bytes {
            let reader = wal.reader(0).unwrap();
            let frame = appended.frames[0];
            assert_eq!(bytes, reader.frame(frame.offset, frame.len).unwrap().bytes());
        }
        (appended.bytes.is_some(), appended.is_new_file)
    });
    assert_eq!(seen, [(true, true), (false, true), (true, false), (false, false)]);
}

#[test]
fn a_commit_that_finds_no_room_can_be_tried_again() {
    let wal = Wal::new(WalConfig::default());
    let fs = Fs::real();
    let mut writer = wal.pool.try_borrow().unwrap();
    let number = writer.series(TABLE, &[(HOST, "a")]);
    let rows = batch(TABLE, &[(1, number, 10)]);
    // A file where the writer's folder should be.
    let in_the_way = wal.path(0).parent().unwrap().to_owned();
    fs.create(&in_the_way).unwrap();
    for _ in 0..2 {
        assert!(matches!(writer.append([&rows]), Err(WalError::Io(_))));
        assert_eq!((rows.rows(), writer.ordinal()), (1, 0));
    }
    fs.remove(&in_the_way).unwrap();
    let appended = append(&mut writer, &[&rows]);
    let (new, rows) = read_defined(&wal, &appended.frames[0]).unwrap();
    assert_eq!((values(&rows), names(&new).len()), (vec![10], 1));
}

#[test]
fn a_segment_is_there_before_its_first_commit_and_is_not_touched_by_it_twice() {
    let wal = Wal::new(WalConfig::default());
    let mut writer = wal.pool.try_borrow().unwrap();
    assert!(
        !writer.has_segment() && list_segments(&Fs::real(), wal.dir.path()).unwrap().is_empty()
    );
    for _ in 0..2 {
        writer.prepare().unwrap();
        assert!(writer.has_segment());
        assert_eq!(std::fs::metadata(wal.path(0)).unwrap().len(), 64 << 10, "small first");
    }
    let number = writer.series(TABLE, &[(HOST, "a")]);
    let appended = append(&mut writer, &[&batch(TABLE, &[(1, number, 10)])]);
    assert!(appended.is_new_file, "its name is not durable yet");
    assert_eq!(values(&read_defined(&wal, &appended.frames[0]).unwrap().1), vec![10]);
    assert_eq!(std::fs::metadata(wal.path(0)).unwrap().len(), 64 << 10);

    writer.roll();
    writer.prepare().unwrap();
    assert!(wal.path(1).exists());
    writer.roll();
    assert_eq!(std::fs::metadata(wal.path(1)).unwrap().len(), 0, "one without a commit ends empty");
}

#[test]
fn a_segment_that_cannot_be_prepared_is_created_by_the_commit() {
    let wal = Wal::new(WalConfig::default());
    let fs = Fs::real();
    let mut writer = wal.pool.try_borrow().unwrap();
    let in_the_way = wal.path(0).parent().unwrap().to_owned();
    fs.create(&in_the_way).unwrap();
    assert!(matches!(writer.prepare(), Err(WalError::Io(_))));
    assert!(!writer.has_segment());
    fs.remove(&in_the_way).unwrap();
    let number = writer.series(TABLE, &[(HOST, "a")]);
    let appended = append(&mut writer, &[&batch(TABLE, &[(1, number, 10)])]);
    assert_eq!(values(&read_defined(&wal, &appended.frames[0]).unwrap().1), vec![10]);
}

#[tokio::test]
async fn a_writer_that_comes_back_goes_on_in_its_segment() {
    let wal = Wal::new(WalConfig { writers_max: 2, ..WalConfig::default() });
    let mut writer = wal.pool.borrow().await;
    let number = writer.series(TABLE, &[(HOST, "a")]);
    append(&mut writer, &[&batch(TABLE, &[(1, number, 1)])]);
    let generation = writer.generation();
    let other = wal.pool.try_borrow().unwrap();
    assert_eq!((writer.id(), other.id()), (WriterId(1), WriterId(2)));
    assert!(wal.pool.try_borrow().is_none(), "two are out");
    let waiting = wal.pool.borrow();
    drop(writer);
    let mut writer = waiting.await;
    assert_eq!((writer.id(), writer.ordinal()), (WriterId(1), 1));
    assert_ne!(writer.generation(), generation);
    assert_eq!(writer.series(TABLE, &[(HOST, "a")]), 1, "numbers go on");
    assert_eq!(wal.pool.open_segments(), [(WriterId(1), SegmentId(0))]);
    append(&mut writer, &[&batch(TABLE, &[(1, 1, 1)])]);
    drop(writer);

    wal.pool.close_idle();
    assert!(wal.pool.open_segments().is_empty());
    let closed =
        ClosedSegment { writer: WriterId(1), segment: SegmentId(0), ordinal: 2, frames: 2 };
    assert_eq!(wal.pool.closed_segments(), [closed]);
    wal.pool.purge(WriterId(1), SegmentId(0)).unwrap();
    assert!(wal.pool.closed_segments().is_empty());
    assert!(list_segments(&Fs::real(), wal.dir.path()).unwrap().is_empty());
}

#[test]
fn segments_leave_room_on_the_disk_and_go_on_when_there_is_more() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    let dir = PathBuf::from("/wal");
    fs.create_dir_all(&dir).unwrap();
    disk.set_capacity(4 << 20);
    // A sixteenth of the disk, since that is less than what is asked for.
    let config = WalConfig { free_bytes_min: 1 << 30, ..WalConfig::default() };
    let reserve = config.reserve(fs.room(&dir).unwrap());
    assert_eq!(reserve, (4 << 20) / 16);
    let ledger = Ledger::default();
    let pool = WriterPool::new(config, fs.clone(), dir.clone(), [7; 16], 1, WriterId(1), ledger);
    let mut writer = pool.try_borrow().unwrap();
    let series = writer.series(TableId(1), &[]);
    let rows: Vec<(i64, u32, i64)> = (0..5000).map(|n| (n * n, series, n)).collect();
    let batch = batch(TableId(1), &rows);
    let mut kept = Vec::new();
    let error = loop {
        match writer.append([&batch]) {
            Ok(appended) => kept.push(appended.unwrap()),
            Err(error) => break error,
        }
    };
    assert!(error.is_temporary(), "{error}");
    assert!(kept.len() > 3 && fs.room(&dir).unwrap().free >= reserve, "{}", kept.len());
    disk.set_capacity(16 << 20);
    kept.push(writer.append([&batch]).unwrap().unwrap());
    let identity = Identity { uuid: [7; 16], writer: WriterId(1), segment: SegmentId(0) };
    let reader = SegmentReader::open(&fs, &dir, &identity).unwrap();
    for appended in &kept {
        let frame = appended.frames[0];
        assert_eq!(reader.frame(frame.offset, frame.len).unwrap().header().rows, 5000);
    }
}
