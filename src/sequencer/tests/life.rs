//! Starts, stops, chunks that end and go.

use super::super::purge::{ChunkUse, Closed};
use super::*;
use crate::io::sim::{Ended, Fault, FaultKind, SimDisk};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Commits of two tables, each a batch of its own.
fn commits(bed: &Bed, config: SequencerConfig, count: u32) -> Sequencer {
    let sequencer = bed.start(config);
    let mut producer = Producer::new(1);
    for n in 0..count {
        let mut receipt = producer.rows(&[(1, n + 1), (2, 1)]);
        receipt.definitions = vec![create(1), create(2)];
        if n % 4 == 3 {
            let through = bed.committed().last().expect("a commit").seq_txn;
            receipt.reported = vec![Reported { table: TableId(2), through, rows: 1, bytes: 10 }];
        }
        producer.commit(&sequencer, receipt);
    }
    sequencer
}

#[test]
fn a_shutdown_commits_everything_that_was_pushed_and_seals() {
    let bed = Bed::new();
    let sequencer = bed.start(SequencerConfig::default());
    let mut producer = Producer::new(1);
    for _ in 0..500 {
        let mut receipt = producer.rows(&[(1, 1)]);
        receipt.definitions = vec![create(1)];
        sequencer.push(receipt);
    }
    sequencer.shutdown().expect("a seal");
    sequencer.shutdown().expect("nothing left to do");
    assert_eq!(producer.progress.committed(), 500);
    assert_eq!(numbers(&bed.committed(), 1).len(), 501);
    let records = records(&bed.chunk(1));
    assert_eq!(records.last().map(|record| record.0), Some(RecordKind::Seal));
    assert_eq!(bed.recovered().cut, None);
}

#[test]
fn numbers_go_on_after_a_kill_and_the_epoch_rises() {
    let bed = Bed::new();
    drop(commits(&bed, SequencerConfig::default(), 3));
    assert_eq!(bed.recovered().state.epoch, 2);
    drop(commits(&bed, SequencerConfig::default(), 3));
    let recovered = bed.recovered();
    assert_eq!(recovered.state.epoch, 3);
    assert_eq!(numbers(&recovered.transactions, 1), (1..=7).collect::<Vec<_>>());
    assert_eq!(recovered.transactions, bed.committed());
    assert_eq!(recovered.state.highest_table(), TableId(2));
    assert_eq!(recovered.state.highest_writer(), WriterId(1));
}

#[test]
fn checkpoints_restore_exactly_what_the_records_before_them_say() {
    let (whole, split) = (Bed::new(), Bed::new());
    drop(commits(&whole, chunks_of(1 << 20), 10));
    let sequencer = commits(&split, chunks_of(1), 10);
    let expect = whole.recovered();
    let found = split.recovered();
    assert_eq!(found.transactions, expect.transactions);
    assert_eq!(found.state.tables, expect.state.tables);
    let purged = sequencer.purge(|_| SeqTxn(u64::MAX), |_, _, _| true).expect("a folder");
    assert_eq!(purged, 9);
    let found = split.recovered();
    assert_eq!(found.transactions.len(), 2, "the last chunk has the last commit");
    assert_eq!(found.state.tables, expect.state.tables);
    let sum = expect.state.table(TableId(2)).expect("a table").unreported;
    assert_eq!((sum.rows, sum.bytes), (8, 80));
}

#[test]
fn a_chunk_goes_only_when_flushed_and_settled_and_never_before_an_older_one() {
    let bed = Bed::new();
    let sequencer = commits(&bed, chunks_of(1), 5);
    let purge = |flushed: u64, settled: u64| {
        let settled = |_, _, end| end <= settled;
        sequencer.purge(|_| SeqTxn(flushed), settled).expect("a folder")
    };
    assert_eq!(purge(1, u64::MAX), 0, "chunk 1 has transactions 1 and 2 of each table");
    assert_eq!(purge(u64::MAX, 0), 0, "the segment may lose what chunk 1 carries");
    assert_eq!(purge(u64::MAX, 264), 1, "chunk 2 carries more");
    assert_eq!(purge(3, u64::MAX), 1);
    assert_eq!(purge(3, u64::MAX), 0);
    assert_eq!(purge(u64::MAX, u64::MAX), 2, "the open chunk stays");
    assert_eq!(numbers(&bed.recovered().transactions, 1), [6]);
}

#[test]
fn a_purge_holds_up_no_commit_and_leaves_chunks_that_end_meanwhile() {
    let bed = Bed::new();
    let sequencer = commits(&bed, chunks_of(1), 3);
    let mut producer = Producer::new(2);
    let settled = |_, _, _| {
        // Ends a chunk, while whoever settles waits for the device.
        let mut receipt = producer.rows(&[(1, 1)]);
        receipt.definitions = vec![create(1)];
        producer.commit(&sequencer, receipt);
        true
    };
    assert_eq!(sequencer.purge(|_| SeqTxn(u64::MAX), settled).expect("a folder"), 2);
    assert_eq!(numbers(&bed.recovered().transactions, 1), [4, 5, 6]);
}

#[test]
fn a_failed_sync_of_a_shelf_or_after_a_removal_ends_the_process() {
    let txn = Committed { table: TableId(1), seq_txn: SeqTxn(4), at: NOW, kind: TxnKind::Truncate };
    let shelve = |fs: &Fs| {
        shelve(fs, Path::new("/log"), &UUID, std::slice::from_ref(&txn), CarriedFrames::new())
    };
    let write = |fs: &Fs| drop(shelve(fs));
    let remove = |fs: &Fs| drop(remove_shelf(fs, &shelf_files(fs, Path::new("/log")).unwrap()[0]));
    let purge = |fs: &Fs| {
        let closed = Closed::new(fs.clone(), PathBuf::from("/log"), vec![ChunkUse::new(1)]);
        drop(closed.purge(|_| SeqTxn::NONE, |_, _, _| true));
    };
    // A shelf has two syncs, its bytes' and its name's.
    for (act, nth) in [(&write as &dyn Fn(&Fs), 1), (&write, 2), (&remove, 1), (&purge, 1)] {
        let disk = SimDisk::new(1);
        let fs = disk.fs();
        fs.create_dir_all(Path::new("/log")).expect("a folder");
        shelve(&fs).expect("a shelf");
        disk.plan(&[Fault { kind: FaultKind::Sync, nth, persistent: false }]);
        let ended = catch_unwind(AssertUnwindSafe(|| act(&fs))).expect_err("it ends");
        assert_eq!(ended.downcast_ref::<Ended>(), Some(&Ended::FailedSync));
    }
}

#[test]
fn carried_frames_come_back_until_their_segment_is_synced_past_them() {
    let bed = Bed::new();
    let sequencer = bed.start(SequencerConfig::default());
    let path = bed.folder.path().join("0.wal");
    let file = Arc::new(Fs::real().create(&path).expect("a segment"));
    let (mut one, mut two) = (Producer::new(1), Producer::new(2));
    for producer in [&mut one, &mut two] {
        let mut receipt = producer.rows(&[(1, 1), (2, 1)]);
        receipt.definitions = vec![create(1), create(2)];
        producer.commit(&sequencer, receipt);
    }
    let mut large = two.rows(&[(1, 1)]);
    (large.carried, large.file) = (None, Some(file));
    large.is_new_file = true;
    two.commit(&sequencer, large);
    drop(sequencer);
    let carried = bed.recovered().carried;
    let expect = (WriterId(1), SegmentId(0));
    assert_eq!(carried.keys().copied().collect::<Vec<_>>(), [expect]);
    assert_eq!(carried[&expect], [(64, Bytes::from(vec![1; 200]))]);
}

#[test]
fn async_publishes_at_once_and_commits_when_the_interval_is_over() {
    let bed = Bed::new();
    let config = SequencerConfig {
        durability: Durability::Async,
        async_interval: std::time::Duration::from_millis(1),
        ..SequencerConfig::default()
    };
    let sequencer = bed.start(config.clone());
    let mut producer = Producer::new(1);
    let mut receipt = producer.rows(&[(1, 1)]);
    receipt.definitions = vec![create(1)];
    sequencer.push(receipt);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(std::future::poll_fn(|cx| producer.progress.poll_sequenced(cx, 1)));
    assert_eq!(producer.progress.committed(), 0, "the clock stands still");
    bed.clock.advance(config.async_interval);
    producer.progress.wait(1);
    assert_eq!(bed.committed().len(), 2);
}

#[test]
fn nosync_commits_without_a_sync_and_carries_nothing() {
    let bed = Bed::new();
    let config = SequencerConfig { durability: Durability::NoSync, ..SequencerConfig::default() };
    drop(commits(&bed, config, 3));
    let recovered = bed.recovered();
    assert_eq!(recovered.transactions, bed.committed());
    assert!(recovered.carried.is_empty());
    assert_eq!(recovered.unsynced.into_iter().collect::<Vec<_>>(), [(WriterId(1), SegmentId(0))]);
}

#[test]
fn dropped_tables_are_forgotten_at_a_start_once_nothing_speaks_of_them() {
    let bed = Bed::new();
    let sequencer = commits(&bed, SequencerConfig::default(), 1);
    let mut producer = Producer::new(2);
    let mut drop_table = producer.empty();
    drop_table.change = Some(Change::Drop { table: TableId(2) });
    producer.commit(&sequencer, drop_table);
    drop(sequencer);
    drop(bed.start(SequencerConfig::default()));
    let state = bed.recovered().state;
    assert_eq!(state.table(TableId(2)).map(|table| table.unreported.rows), Some(1));
    drop(bed.start(SequencerConfig { reports: false, ..SequencerConfig::default() }));
    drop(bed.start(SequencerConfig::default()));
    let state = bed.recovered().state;
    assert_eq!(state.table(TableId(2)), None);
    assert_eq!(state.highest_table(), TableId(2));
    assert_eq!(state.table(TableId(1)).map(|table| table.unreported), Some(Sum::NONE));
}

#[test]
fn a_table_whose_flushed_rows_the_log_lost_goes_on_behind_them() {
    let bed = Bed::new();
    drop(commits(&bed, SequencerConfig::default(), 1));
    let mut state = bed.recovered().state;
    let Definition::Create(def) = create(1) else { unreachable!() };
    state.at_least(TableId(1), &def, SeqTxn(9));
    let Definition::Create(def) = create(2) else { unreachable!() };
    state.at_least(TableId(2), &def, SeqTxn(1));
    assert_eq!(state.table(TableId(1)).map(|table| table.seq_txn), Some(SeqTxn(9)));
    assert_eq!(state.table(TableId(2)).map(|table| table.seq_txn), Some(SeqTxn(2)));
}
