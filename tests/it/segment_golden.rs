//! The segment format stays what it was: the golden file reads as it did, and the same rows still give the same bytes.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType, UInt64Type};
use headwater::io::Fs;
use headwater::types::{ColumnId, ColumnType, SegmentId, TableId, WriterId};
use headwater::wal::{
    Batch, Identity, Ledger, Record, SegmentReader, SeriesCursor, WalConfig, WriterPool,
};
use std::path::{Path, PathBuf};

const IDENTITY: Identity =
    Identity { uuid: *b"golden-segment-1", writer: WriterId(3), segment: SegmentId(0) };

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/segment-v1")
}

/// Every type, every width, nulls, a column without values, two tables, definitions in the first and third frame.
fn write(wal_dir: &Path) {
    let config = WalConfig::default();
    let (uuid, writer) = (IDENTITY.uuid, IDENTITY.writer);
    let ledger = Ledger::default();
    let pool = WriterPool::new(config, Fs::real(), wal_dir.to_owned(), uuid, 7, writer, ledger);
    let mut writer = pool.try_borrow().unwrap();
    let mut wide = Batch::new(TableId(1));
    for (id, ty) in (3..).zip([
        ColumnType::Timestamp,
        ColumnType::Float,
        ColumnType::Integer,
        ColumnType::Unsigned,
        ColumnType::Boolean,
        ColumnType::String,
        ColumnType::String,
    ]) {
        wide.add_column(ColumnId(id), ty);
    }
    let hosts = [
        writer.series(TableId(1), &[(ColumnId(1), "host-1"), (ColumnId(2), "Zürich")]),
        writer.series(TableId(1), &[(ColumnId(1), "host-2")]),
    ];
    for row in 0..9 {
        let n = row as i64;
        wide.columns[0].push_i64(row, n * 70_000);
        if row % 3 != 1 {
            wide.columns[1].push_f64(row, n as f64 / 4.0);
        }
        wide.columns[2].push_i64(row, n - 4);
        if row > 4 {
            wide.columns[3].push_u64(row, u64::MAX - row as u64 * 300);
        }
        wide.columns[4].push_bool(row, row % 2 == 0);
        if row < 2 {
            wide.columns[5].push_str(row, ["", "zwölf Boxkämpfer"][row]);
        }
        wide.finish_row(1_763_769_600_000_000_000 + n * 10_000_000_000, hosts[row % 2]);
    }
    let mut narrow = Batch::new(TableId(2));
    narrow.add_column(ColumnId(1), ColumnType::Integer);
    let empty = writer.series(TableId(2), &[]);
    narrow.columns[0].push_i64(0, i64::MIN);
    narrow.finish_row(-1, empty);
    writer.append([&wide, &narrow]).unwrap().unwrap();

    narrow.clear();
    let late = writer.series(TableId(2), &[(ColumnId(2), "late")]);
    narrow.columns[0].push_i64(0, i64::MAX);
    narrow.finish_row(i64::MIN, late);
    narrow.finish_row(i64::MAX, empty);
    writer.append([&narrow]).unwrap().unwrap();
    writer.roll();
}

#[test]
fn the_same_rows_give_the_bytes_of_the_golden_file() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let written = Fs::real().read(&IDENTITY.path(dir.path())).unwrap();
    let golden = Fs::real().read(&IDENTITY.path(&fixture())).unwrap();
    assert!(written == golden, "the format changed: raise its version and add a golden file");
}

#[test]
fn the_golden_file_reads_as_it_did() {
    let reader = SegmentReader::open(&Fs::real(), &fixture(), &IDENTITY).unwrap();
    assert_eq!(reader.epoch(), 7);
    let mut frames = Vec::new();
    for record in reader.records() {
        match record.unwrap() {
            Record::Frame(frame) => frames.push(frame),
            Record::Seal(seal) => assert_eq!((seal.frames, seal.rows, seal.ordinal), (3, 12, 2)),
        }
    }
    let mut cursor = SeriesCursor::new();
    let definitions = frames[0].new_series(&mut cursor).unwrap();
    let wide = frames[0].rows(cursor).unwrap();
    assert_eq!(frames[0].header().table, TableId(1));
    assert_eq!(wide.time[8], 1_763_769_680_000_000_000);
    assert_eq!(wide.series, [0, 1, 0, 1, 0, 1, 0, 1, 0]);
    let ids: Vec<u32> = wide.columns.iter().map(|(id, _, _)| id.0).collect();
    assert_eq!(ids, [3, 4, 5, 6, 7, 8], "the column without values is left out");
    let column = |n: usize| &wide.columns[n].2;
    assert_eq!(column(0).as_primitive::<TimestampNanosecondType>().value(8), 560_000);
    let floats: Vec<_> = column(1).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(floats[..3], [Some(0.0), None, Some(0.5)]);
    assert_eq!(column(2).as_primitive::<Int64Type>().values()[..2], [-4, -3]);
    let unsigned: Vec<_> = column(3).as_primitive::<UInt64Type>().iter().collect();
    assert_eq!(unsigned[4..6], [None, Some(u64::MAX - 1500)]);
    let bits: Vec<_> = column(4).as_boolean().iter().collect();
    assert_eq!(bits[..3], [Some(true), Some(false), Some(true)]);
    let text: Vec<_> = column(5).as_string::<i32>().iter().collect();
    assert_eq!(text[..3], [Some(""), Some("zwölf Boxkämpfer"), None]);
    let mut series = Vec::new();
    definitions.each(|number, tags| series.push(format!("{number} {tags:?}")));
    let expect = [
        r#"0 [(ColumnId(1), "host-1"), (ColumnId(2), "Zürich")]"#,
        r#"1 [(ColumnId(1), "host-2")]"#,
    ];
    assert_eq!(series, expect);

    let mut cursor = SeriesCursor::new();
    let new_series = frames[2].new_series(&mut cursor).unwrap();
    let last = frames[2].rows(cursor).unwrap();
    assert_eq!((last.time, last.series), (vec![i64::MIN, i64::MAX], vec![1, 0]));
    assert_eq!(new_series.len(), 2, "the frame before defines the first");
}

#[test]
#[ignore = "checks nothing: writes the golden file, to be run by hand when the format gets a new version"]
fn write_the_golden_file() {
    write(&fixture());
}
