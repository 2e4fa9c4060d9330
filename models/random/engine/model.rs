//! Writers, sequencer, apply and housekeeper at once: what is acknowledged is numbered, and what is purged is needed no more.

use super::fence::Fences;
use crate::clock::Clock;
use crate::io::Fs;
use crate::schema::{Definition, TableDef, TableOptions};
use crate::sequencer::{
    Committed, FrameRef, LogState, Progress, Receipt, Sequencer, SequencerConfig, TxnKind, recover,
};
use crate::types::{PartitionBy, SegmentId, SeqTxn, TableId, WriterId};
use bytes::Bytes;
use shuttle::sync::Mutex;
use shuttle::thread;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const WRITERS: u32 = 2;
const COMMITS: u64 = 4;
const COMMITS_OF_A_SEGMENT: u64 = 2;
const ROUNDS: usize = 6;
const TABLE: TableId = TableId(1);

type Key = (WriterId, SegmentId);

/// What apply and the writers' ledger know, in the simplest form.
#[derive(Debug, Default)]
struct World {
    /// Transactions with a number, by segment.
    numbered: BTreeMap<Key, u64>,
    /// Of these, not flushed.
    unflushed: BTreeMap<Key, u64>,
    /// Committed and not flushed, in order.
    queue: Vec<(SeqTxn, Option<Key>)>,
    flushed: SeqTxn,
    /// How far the log was told that it may forget.
    forgettable: SeqTxn,
    last: SeqTxn,
    closed: Vec<Key>,
    purged: Vec<Key>,
}

pub(crate) fn purge_never_outruns_a_commit() {
    let folder =
        tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." })
            .unwrap();
    let dir = folder.path().join("txnlog");
    let world = Arc::new(Mutex::new(World::default()));
    let sequencer = Arc::new(start(&dir, world.clone()));
    let writers = (1..=WRITERS).map(|writer| {
        let (sequencer, world, folder) =
            (sequencer.clone(), world.clone(), folder.path().to_owned());
        thread::spawn(move || write(WriterId(writer), &sequencer, &world, &folder))
    });
    let writers: Vec<_> = writers.collect();
    let (of, flushing) = (world.clone(), u64::from(WRITERS) * COMMITS + 1);
    let apply = thread::spawn(move || flush(&of, SeqTxn(flushing)));
    let (of, log) = (world.clone(), sequencer.clone());
    let housekeeper = thread::spawn(move || keep_house(&log, &of));
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    apply.join().unwrap();
    housekeeper.join().unwrap();
    // Pushed and not waited for: a shutdown commits it.
    let last = Progress::new();
    sequencer.push(Receipt::without_frames(last.clone(), 1));
    sequencer.shutdown().unwrap();
    assert_eq!(last.committed(), 1);
    check_log(&dir, &world.lock().unwrap());
}

fn start(dir: &Path, world: Arc<Mutex<World>>) -> Sequencer {
    // Chunks end after a record or two, so that they are purged while others are written.
    let config = SequencerConfig { reports: false, chunk_bytes: 300, ..SequencerConfig::default() };
    let on_commit = Box::new(move |committed: &[Committed]| {
        let mut world = world.lock().unwrap();
        for txn in committed {
            assert_eq!(txn.seq_txn, world.last.next(), "numbers are dense");
            world.last = txn.seq_txn;
            let key = match txn.kind {
                TxnKind::Data(frame) => Some((frame.writer, frame.segment)),
                _ => None,
            };
            if let Some(key) = key {
                assert!(
                    !world.purged.contains(&key),
                    "{key:?} was purged before its last commit was numbered"
                );
                *world.numbered.entry(key).or_default() += 1;
                *world.unflushed.entry(key).or_default() += 1;
            }
            world.queue.push((txn.seq_txn, key));
        }
    });
    Sequencer::start(config, Fs::real(), dir, Clock::real(), LogState::new([1; 16]), on_commit)
        .unwrap()
}

/// A connection's life: commits, each awaited, small ones carried and others synced; its segments roll.
fn write(writer: WriterId, sequencer: &Sequencer, world: &Mutex<World>, folder: &Path) {
    let fs = Fs::real();
    let progress = Progress::new();
    let mut segment = SegmentId(0);
    let file = |segment: SegmentId| {
        Arc::new(fs.create(&folder.join(format!("{}-{}", writer.0, segment.0))).unwrap())
    };
    let mut open = file(segment);
    for ordinal in 1..=COMMITS {
        let mut receipt = Receipt::without_frames(progress.clone(), ordinal);
        (receipt.writer, receipt.segment, receipt.file) = (writer, segment, Some(open.clone()));
        let offset = 64 * ordinal;
        receipt.frames.push(FrameRef {
            table: TABLE,
            offset,
            len: 64,
            rows: 1,
            bytes: 64,
            min_time: 0,
            max_time: 0,
        });
        receipt.end = offset + 64;
        receipt.carried = (ordinal % 2 == 0).then(|| Bytes::from_static(&[7; 64]));
        receipt.definitions = vec![definition()];
        sequencer.push(receipt);
        if ordinal % COMMITS_OF_A_SEGMENT == 0 {
            // As when a connection is reset: closed while its last receipt is under way.
            world.lock().unwrap().closed.push((writer, segment));
            segment = SegmentId(segment.0 + 1);
            open = file(segment);
        }
        if ordinal % 2 == 1 {
            progress.wait(ordinal);
            assert!(
                world.lock().unwrap().numbered.values().sum::<u64>() >= 1,
                "acknowledged, and apply has not heard of it"
            );
        }
    }
    progress.wait(COMMITS);
    let numbered = &world.lock().unwrap().numbered;
    let own: u64 =
        numbered.iter().filter(|((of, _), _)| *of == writer).map(|(_, count)| count).sum();
    assert_eq!(own, COMMITS, "acknowledged, and apply has not heard of it");
}

/// Flushes one transaction after the other.
fn flush(world: &Mutex<World>, last: SeqTxn) {
    loop {
        let mut held = world.lock().unwrap();
        if held.flushed == last {
            return;
        }
        if !held.queue.is_empty() {
            let (txn, key) = held.queue.remove(0);
            held.flushed = txn;
            if let Some(key) = key {
                *held.unflushed.get_mut(&key).unwrap() -= 1;
            }
        }
        drop(held);
        thread::yield_now();
    }
}

fn keep_house(sequencer: &Sequencer, world: &Mutex<World>) {
    let progress = Progress::new();
    let mut fences = Fences::default();
    let mut ordinal = 0;
    for _ in 0..ROUNDS {
        let closed = world.lock().unwrap().closed.clone();
        fences.close(closed, || {
            ordinal += 1;
            sequencer.push(Receipt::without_frames(progress.clone(), ordinal));
            ordinal
        });
        thread::yield_now();
        fences.purge(
            progress.published(),
            |writer, segment| {
                world.lock().unwrap().unflushed.get(&(writer, segment)).is_some_and(|n| *n > 0)
            },
            |writer, segment| {
                let mut world = world.lock().unwrap();
                let numbered = world.numbered.get(&(writer, segment)).copied();
                assert_eq!(numbered, Some(COMMITS_OF_A_SEGMENT), "purged with a receipt under way");
                assert_eq!(
                    world.unflushed.get(&(writer, segment)),
                    Some(&0),
                    "purged before it was flushed"
                );
                world.closed.retain(|key| *key != (writer, segment));
                world.purged.push((writer, segment));
                true
            },
        );
        let flushed = |_| {
            let mut world = world.lock().unwrap();
            world.forgettable = world.flushed;
            world.flushed
        };
        sequencer.purge(flushed, |_, _, _| true).unwrap();
        thread::yield_now();
    }
}

/// What the log still holds is a gapless end of what was committed.
fn check_log(dir: &Path, world: &World) {
    let recovered = recover(&Fs::real(), dir, &[1; 16], &|_| SeqTxn::NONE, &mut |_| true).unwrap().expect("a log");
    let numbers: Vec<u64> = recovered.transactions.iter().map(|txn| txn.seq_txn.0).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    assert!(
        numbers.first().is_none_or(|n| *n <= world.forgettable.next().0),
        "{numbers:?}: the log forgot too much"
    );
    assert!(!numbers.is_empty() || world.forgettable == world.last, "the log forgot too much");
    assert_eq!(recovered.state.table(TABLE).map(|t| t.seq_txn), Some(world.last));
}

fn definition() -> Definition {
    Definition::Create(TableDef {
        id: TABLE,
        database: "public".into(),
        name: "t".into(),
        partition_by: PartitionBy::Day,
        time_column: "time".into(),
        time_place: u32::MAX,
        created: 0,
        options: TableOptions::default(),
    })
}
