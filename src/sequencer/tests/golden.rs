//! Version 1 of the format, byte for byte.

use super::*;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/txnlog-v1.log");

/// Every kind of entry, in an order that one producer fixes.
fn write() -> Bed {
    let bed = Bed::new();
    let sequencer = bed.start(SequencerConfig::default());
    let path = bed.folder.path().join("0.wal");
    let file = Arc::new(Fs::real().create(&path).expect("a segment"));
    let mut producer = Producer::new(3);
    let mut first = producer.rows(&[(1, 2), (2, 1)]);
    first.definitions = vec![create(1), create(2), add_column(1, 1), add_column(1, 2)];
    producer.commit(&sequencer, first);
    let mut large = producer.rows(&[(1, 5)]);
    (large.carried, large.file) = (None, Some(file));
    producer.commit(&sequencer, large);
    let mut report = producer.rows(&[(2, 1)]);
    report.reported = vec![Reported { table: TableId(1), through: SeqTxn(3), rows: 2, bytes: 20 }];
    producer.commit(&sequencer, report);
    let mut expire = producer.empty();
    expire.change = Some(Change::RemoveBefore { table: TableId(1), time: NOW });
    producer.commit(&sequencer, expire);
    let changes = [
        Alteration::Rename("u".into()),
        Alteration::RenameColumn { column: ColumnId(1), name: "d".into() },
        Alteration::RetypeColumn {
            column: ColumnId(1),
            to: ColumnDef { id: ColumnId(3), name: "d".into(), ty: ColumnType::String },
        },
        Alteration::DropColumn(ColumnId(2)),
        Alteration::Options(TableOptions {
            dedup: Dedup::Replace(Keys::Columns(vec![ColumnId(3)])),
            ttl_s: Some(86_400),
            o3_max_lag_ms: Some(600_000),
            segment_rows: None,
        }),
    ];
    for alteration in changes {
        let mut alter = producer.empty();
        alter.change = Some(Change::Alter { table: TableId(1), alteration });
        producer.commit(&sequencer, alter);
    }
    let mut replace = producer.rows(&[(1, 4)]);
    replace.change = Some(Change::Replace { table: TableId(1), from: -7, to: NOW });
    producer.commit(&sequencer, replace);
    for change in [
        Change::Replace { table: TableId(1), from: 1, to: 2 },
        Change::Truncate { table: TableId(1) },
    ] {
        let mut without_rows = producer.empty();
        without_rows.change = Some(change);
        producer.commit(&sequencer, without_rows);
    }
    let mut drop_table = producer.empty();
    drop_table.change = Some(Change::Drop { table: TableId(2) });
    producer.commit(&sequencer, drop_table);
    sequencer.shutdown().expect("a seal");
    bed
}

#[test]
fn a_log_is_written_as_the_golden_file_of_version_1() {
    let bed = write();
    let found = bed.chunk(1);
    if std::fs::read(FIXTURE).ok().as_ref() != Some(&found) {
        let path = std::env::temp_dir().join("txnlog.log");
        std::fs::write(&path, found).expect("a temporary file");
        panic!("the format changed: raise its version, keep the old file, add {}", path.display());
    }
}

#[test]
fn the_golden_file_of_version_1_is_read() {
    let golden = std::fs::read(FIXTURE).expect("the golden file");
    let recovered = Bed::of(&[&golden]).recovered();
    assert_eq!(recovered.transactions, write().committed());
    assert_eq!(recovered.cut, None);
    let state = recovered.state;
    assert_eq!((state.uuid, state.epoch), (UUID, 2));
    let one = state.table(TableId(1)).expect("table 1");
    assert_eq!((one.seq_txn, one.reported_txn, one.unreported.rows), (SeqTxn(13), SeqTxn(3), 9));
    assert!(state.table(TableId(2)).is_some_and(|table| table.dropped));
    assert_eq!(recovered.carried[&(WriterId(3), SegmentId(0))].len(), 2);
}

const SHELF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/shelf-v1.shelf");

/// Table 1 of the log, on a shelf, and the bytes of that.
fn shelved() -> (tempfile::TempDir, ShelfFile, Vec<u8>) {
    let golden = std::fs::read(FIXTURE).expect("the golden file");
    let recovered = Bed::of(&[&golden]).recovered();
    let is_first = |txn: &&Committed| txn.table == TableId(1);
    let txns: Vec<Committed> = recovered.transactions.iter().filter(is_first).cloned().collect();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let shelved = shelve(&Fs::real(), dir.path(), &UUID, &txns, recovered.carried);
    let file = shelved.expect("room");
    let bytes = std::fs::read(&file.path).expect("the shelf");
    (dir, file, bytes)
}

#[test]
fn a_shelf_is_written_as_the_golden_file_of_version_1() {
    let (_dir, _, found) = shelved();
    if std::fs::read(SHELF).ok().as_ref() != Some(&found) {
        let path = std::env::temp_dir().join("a.shelf");
        std::fs::write(&path, found).expect("a temporary file");
        panic!("the format changed: raise its version, keep the old file, add {}", path.display());
    }
}

#[test]
fn the_golden_shelf_of_version_1_is_read() {
    let (dir, file, _) = shelved();
    std::fs::copy(SHELF, &file.path).expect("the golden file");
    assert_eq!(shelf_files(&Fs::real(), dir.path()).expect("a folder").len(), 1);
    let shelf = read_shelf(&Fs::real(), &file, &UUID).expect("a shelf");
    let log = Bed::of(&[&std::fs::read(FIXTURE).expect("the golden file")]).recovered();
    let of_one = log.transactions.iter().filter(|txn| txn.table == TableId(1));
    assert!(shelf.transactions.iter().eq(of_one));
    assert_eq!((shelf.carried, shelf.file), (log.carried, file));
    let printed = inspect(&std::fs::read(SHELF).expect("the golden file"), Path::new(SHELF));
    assert_eq!(printed.damage, []);
    assert!(printed.lines[0].starts_with("shelf of table 1"), "{:?}", printed.lines[0]);
}
