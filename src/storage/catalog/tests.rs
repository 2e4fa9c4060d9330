//! The catalog through its files: what comes back, what is cut, what is refused.

use super::*;
use crate::io::Fs;
use crate::schema::{Alteration, ColumnDef, Dedup, Keys, Shape, TableDef, TableOptions};
use crate::storage::{PartId, PartMeta, Refusal, StorageError};
use crate::types::{ColumnId, ColumnType, PartitionBy, PartitionKey, SeqTxn, TableId};
use std::path::{Path, PathBuf};

const UUID: [u8; 16] = *b"0123456789abcdef";
const T: TableId = TableId(7);

fn def(id: u32) -> TableDef {
    TableDef {
        id: TableId(id),
        database: "public".into(),
        name: format!("t{id}").into(),
        partition_by: PartitionBy::Day,
        time_column: "time".into(),
        time_place: u32::MAX,
        created: 1_763_819_999_000_000_000,
        options: TableOptions::default(),
    }
}

fn column(id: u32, name: &str, ty: ColumnType) -> ColumnDef {
    ColumnDef { id: ColumnId(id), name: name.into(), ty }
}

fn shape(columns: Vec<ColumnDef>) -> Shape {
    Shape::new(def(7), columns)
}

/// After one change of each kind.
fn altered(mut shape: Shape) -> Shape {
    let to = |id, name: &str, ty| column(id, name, ty);
    shape.add(&[column(2, "b", ColumnType::Float), column(3, "c", ColumnType::Integer)]);
    let changes = [
        Alteration::RetypeColumn { column: ColumnId(2), to: to(4, "b", ColumnType::String) },
        Alteration::DropColumn(ColumnId(3)),
        Alteration::RenameColumn { column: ColumnId(4), name: "d".into() },
        Alteration::Rename("u7".into()),
        Alteration::Options(TableOptions { dedup: Dedup::Merge, ..TableOptions::default() }),
        Alteration::Options(TableOptions {
            dedup: Dedup::Replace(Keys::Columns(vec![ColumnId(1)])),
            ttl_s: Some(3600),
            ..TableOptions::default()
        }),
    ];
    for (n, change) in changes.iter().enumerate() {
        shape.alter(change, SeqTxn(3 + n as u64));
    }
    shape
}

fn part(first: u64, last: u64, level: u8) -> PartMeta {
    PartMeta {
        id: PartId {
            partition: PartitionKey(86_400_000_000_000),
            first_txn: SeqTxn(first),
            last_txn: SeqTxn(last),
            level,
            attempt: 0,
        },
        rows: 10,
        bytes: 1000,
        crc: 77,
        min_time: -5,
        max_time: 5,
        columns: vec![ColumnId(1), ColumnId(3)],
    }
}

fn flush(parts: &[PartMeta], txn: u64) -> Edit {
    Edit::Flush { table: T, parts: parts.to_vec(), flushed_txn: SeqTxn(txn) }
}

/// One commit of each kind.
fn commits() -> Vec<Vec<Edit>> {
    let columns = vec![column(3, "b", ColumnType::Float), column(1, "\u{e9}", ColumnType::Tag)];
    vec![
        vec![Edit::Create(def(7)), Edit::Create(def(8)), Edit::Define(shape(columns))],
        vec![flush(&[part(1, 2, 0)], 2)],
        vec![
            Edit::Define(altered(shape(vec![column(1, "\u{e9}", ColumnType::Tag)]))),
            flush(&[part(3, 9, 0)], 9),
            Edit::Drop(TableId(8)),
        ],
        vec![Edit::Replace {
            table: T,
            remove: vec![part(1, 2, 0).id, part(3, 9, 0).id],
            add: vec![part(1, 9, 1)],
        }],
    ]
}

fn open(dir: &Path) -> Result<(Catalog, CatalogState), StorageError> {
    Catalog::open(&Fs::real(), dir, UUID, 3)
}

/// A folder whose catalog holds these commits, and the state after each.
fn written(dir: &Path, is_sealed: bool) -> Vec<CatalogState> {
    let (catalog, empty) = open(dir).unwrap();
    let mut states = vec![empty];
    for commit in commits() {
        catalog.commit(commit).unwrap();
        states.push(Catalog::read(&Fs::real(), dir).unwrap().unwrap());
    }
    if is_sealed {
        catalog.seal().unwrap();
    }
    states
}

fn chunk(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("{n}.log"))
}

/// What a catalog with these bytes says.
fn read_bytes(bytes: &[u8]) -> Result<CatalogState, StorageError> {
    let dir = tempfile::tempdir().unwrap();
    let file = Fs::real().create(&chunk(dir.path(), 0)).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    Ok(Catalog::read(&Fs::real(), dir.path())?.unwrap())
}

#[test]
fn what_was_committed_is_there_after_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let states = written(dir.path(), true);
    let last = states.last().unwrap();
    let table = &last.tables[&T];
    let columns = vec![column(1, "\u{e9}", ColumnType::Tag)];
    assert_eq!(table.shape, altered(shape(columns)));
    assert_eq!(table.parts.values().map(|p| (**p).clone()).collect::<Vec<_>>(), [part(1, 9, 1)]);
    assert_eq!((table.flushed_txn, last.tables.len()), (SeqTxn(9), 1));
    assert!(last.dropped.contains(&TableId(8)));
    for start in 1..4 {
        assert_eq!(&open(dir.path()).unwrap().1, last);
        let names = Fs::real().list(dir.path()).unwrap();
        assert_eq!(names.len(), 1, "old chunks go");
        assert_eq!(names[0].name, format!("{start}.log"));
    }
}

#[test]
fn a_commit_that_was_cut_off_is_left_out_wherever_the_cut_is() {
    let dir = tempfile::tempdir().unwrap();
    let states = written(dir.path(), false);
    let bytes = Fs::real().read(&chunk(dir.path(), 0)).unwrap();
    let records = format::read(&bytes, dir.path()).unwrap().records;
    let (from, to) = records.last().unwrap().range;
    for cut in from..to {
        let mut torn = bytes[..cut as usize].to_vec();
        assert_eq!(read_bytes(&torn).unwrap(), states[3], "cut at {cut}");
        torn.resize(bytes.len() + 100, 0);
        // A record may end in zeros of its own.
        let is_whole = torn.starts_with(&bytes);
        let expect = &states[if is_whole { 4 } else { 3 }];
        assert_eq!(&read_bytes(&torn).unwrap(), expect, "zeros from {cut}");
    }
}

#[test]
fn commits_that_waited_together_are_there_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, empty) = open(dir.path()).unwrap();
    let before = Fs::real().read(&chunk(dir.path(), 0)).unwrap().len();
    let create = |id| vec![Edit::Create(def(id))];
    // The third is refused, and none of it is there.
    let answers =
        catalog.commit_together(vec![create(1), create(2), [create(3), create(1)].concat()]);
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    let bytes = Fs::real().read(&chunk(dir.path(), 0)).unwrap();
    let both = read_bytes(&bytes).unwrap();
    assert_eq!(both.tables.keys().copied().collect::<Vec<_>>(), [TableId(1), TableId(2)]);
    for cut in before..bytes.len() {
        assert_eq!(read_bytes(&bytes[..cut]).unwrap(), empty, "cut at {cut}");
        // A block of the write is on the device, and one before it is not.
        let mut holed = bytes.clone();
        holed[before..=cut].fill(0);
        assert_eq!(read_bytes(&holed).unwrap(), empty, "zeros up to {cut}");
    }
    catalog.commit(create(3)).unwrap();
}

#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let states = written(dir.path(), true);
    let bytes = Fs::real().read(&chunk(dir.path(), 0)).unwrap();
    let records = format::read(&bytes, dir.path()).unwrap().records;
    let (seal, _) = records.last().unwrap().range;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        match read_bytes(&flipped) {
            Err(error) => {
                let is_named = matches!(
                    &error,
                    StorageError::Damaged { from, to, .. } if (*from..*to).contains(&(at as u64))
                );
                assert!(is_named, "byte {at}: {error}");
            }
            // Without its seal the log only looks as if the server had been killed.
            Ok(state) => {
                assert!(at as u64 >= seal && &state == states.last().unwrap(), "byte {at}")
            }
        }
    }
}

#[test]
fn a_record_moved_to_another_place_or_file_never_verifies() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), false);
    let bytes = Fs::real().read(&chunk(dir.path(), 0)).unwrap();
    let records = format::read(&bytes, dir.path()).unwrap().records;
    let (from, to) = records[1].range;
    let mut moved = bytes.clone();
    moved.extend_from_slice(&bytes[from as usize..to as usize]);
    let read = format::read(&moved, dir.path()).unwrap();
    assert_eq!((read.records.len(), read.torn_bytes), (records.len(), to - from));
}

#[test]
fn a_version_from_the_future_and_another_servers_catalog_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), true);
    let other = Catalog::open(&Fs::real(), dir.path(), [9; 16], 3);
    assert!(matches!(other, Err(StorageError::Foreign { .. })));
    let mut bytes = Fs::real().read(&chunk(dir.path(), 0)).unwrap();
    bytes[8] = 2;
    let error = read_bytes(&bytes).unwrap_err();
    assert!(matches!(error, StorageError::Damaged { from: 8, to: 10, .. }), "the rest is ours");
    bytes[20] ^= 1;
    let error = read_bytes(&bytes).unwrap_err();
    assert!(matches!(error, StorageError::Future { version: 2, .. }));
    assert!(error.to_string().contains("0.log"));
}

#[test]
fn a_whole_record_that_does_not_follow_is_refused_with_its_range() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), false);
    let bytes = Fs::real().read(&chunk(dir.path(), 0)).unwrap();
    let found = format::read(&bytes, dir.path()).unwrap();
    let (header, next) = (found.header, found.records.last().unwrap().ordinal + 1);
    let twice = found.records[1].payload;
    // A gap, a second checkpoint, no edits, edits that were there.
    let wrong: [(format::RecordKind, u64, &[u8]); 4] = [
        (format::RecordKind::Edits, next + 1, twice),
        (format::RecordKind::Checkpoint, next, twice),
        (format::RecordKind::Edits, next, b"none"),
        (format::RecordKind::Edits, next, twice),
    ];
    for (n, (kind, ordinal, payload)) in wrong.into_iter().enumerate() {
        let mut damaged = bytes.clone();
        header.put_record(kind, ordinal, bytes.len() as u64, payload, &mut damaged);
        match read_bytes(&damaged).unwrap_err() {
            StorageError::Damaged { from, to, .. } => {
                let expect = (bytes.len() as u64, damaged.len() as u64);
                assert_eq!((from, to), expect, "row {}, {n}", "C10");
            }
            other => panic!("{n}: {other}"),
        }
    }
}

#[test]
fn an_edit_that_does_not_fit_is_refused_with_all_of_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, _) = open(dir.path()).unwrap();
    for commit in commits() {
        catalog.commit(commit).unwrap();
    }
    let before = Catalog::read(&Fs::real(), dir.path()).unwrap();
    let gone = part(1, 2, 0);
    let replace = |remove: PartMeta, add: PartMeta| Edit::Replace {
        table: T,
        remove: vec![remove.id],
        add: vec![add],
    };
    let name = |part: &PartMeta| part.id.path(PartitionBy::Day).into();
    let again = Edit::Define(shape(vec![]));
    let missing = Edit::Define(Shape::new(def(8), vec![]));
    let shape_back = Refusal::ShapeBackwards { held: ColumnId(5), sent: ColumnId(1) };
    let back = Refusal::FlushedBackwards { held: SeqTxn(9), sent: SeqTxn(8) };
    let cases = [
        (Edit::Create(def(7)), Refusal::TableExists),
        (Edit::Create(def(8)), Refusal::TableExists),
        (again, shape_back),
        (flush(&[], 8), back),
        (flush(&[part(1, 9, 1)], 10), Refusal::PartExists(name(&part(1, 9, 1)))),
        (replace(gone.clone(), part(5, 5, 2)), Refusal::NoPart(name(&gone))),
        (missing, Refusal::NoTable),
    ];
    for (edit, expect) in cases {
        let commit = vec![Edit::Create(def(9)), edit];
        match catalog.commit(commit) {
            Err(StorageError::Refused { refusal, .. }) => assert_eq!(refusal, expect),
            other => panic!("{expect}: {other:?}"),
        }
        assert_eq!(Catalog::read(&Fs::real(), dir.path()).unwrap(), before);
    }
    catalog.commit(vec![flush(&[part(10, 11, 0)], 11)]).unwrap();
}

#[test]
fn a_long_log_goes_on_in_a_new_chunk_and_old_ones_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, _) = open(dir.path()).unwrap();
    catalog.commit(commits().remove(0)).unwrap();
    let old = Fs::real().read(&chunk(dir.path(), 0)).unwrap();
    catalog.roll_at(1);
    catalog.commit(commits().remove(1)).unwrap();
    catalog.commit(commits().remove(2)).unwrap();
    assert!(!Fs::real().exists(&chunk(dir.path(), 0)).unwrap());
    // A crash between the new chunk's rename and the old one's removal leaves both.
    Fs::real().create(&chunk(dir.path(), 0)).unwrap().write_all_at(&old, 0).unwrap();
    Fs::real().create(&dir.path().join("2.log.tmp")).unwrap();
    let (_, state) = open(dir.path()).unwrap();
    assert_eq!(state.tables[&T].flushed_txn, SeqTxn(9));
    assert_eq!(state.tables[&T].parts.len(), 2);
}

#[test]
fn commits_of_many_threads_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, _) = open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let catalog = &catalog;
            scope.spawn(move || {
                for n in 0..20 {
                    catalog.commit(vec![Edit::Create(def(thread * 100 + n))]).unwrap();
                    let twice = catalog.commit(vec![Edit::Create(def(thread * 100 + n))]);
                    assert!(matches!(twice, Err(StorageError::Refused { .. })));
                }
            });
        }
    });
    drop(catalog);
    assert_eq!(open(dir.path()).unwrap().1.tables.len(), 160);
}

/// A change of these bytes is a change of the format: it needs a new version, a new file beside this one, and a line in
/// the changelog.
#[test]
fn version_1_is_read_and_written_as_in_the_golden_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/catalog-v1.log");
    let golden = Fs::real().read(&path).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let states = written(dir.path(), true);
    assert_eq!(Fs::real().read(&chunk(dir.path(), 0)).unwrap(), golden);
    assert_eq!(&read_bytes(&golden).unwrap(), states.last().unwrap());
}
