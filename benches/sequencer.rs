//! Acknowledged one-line commits per second under `sync`, against one `fdatasync` per commit of the same size.
//!
//! Each producer has one commit outstanding, as a connection has that waits for its acknowledgement: it pushes a
//! receipt that carries its frame, waits for its watermark, and pushes the next. The yardstick writes the same bytes to one file and
//! syncs after each. Both write to the same disk in the same run, alternately; only their ratio means anything.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater::clock::Clock;
use headwater::io::{File, Fs};
use headwater::schema::{Definition, TableDef, TableOptions};
use headwater::sequencer::{FrameRef, LogState, Progress, Receipt, Sequencer, SequencerConfig};
use headwater::types::{PartitionBy, TableId, WriterId};
use std::path::Path;
use std::time::{Duration, Instant};

/// About what one line of ten tags and ten fields takes as a frame.
const FRAME_BYTES: usize = 300;
/// What the record around it takes in the log.
const RECORD_BYTES: usize = FRAME_BYTES + 150;
const TABLE: TableId = TableId(1);

fn definition() -> Definition {
    Definition::Create(TableDef {
        id: TABLE,
        database: "public".into(),
        name: "cpu".into(),
        partition_by: PartitionBy::Day,
        time_column: "time".into(),
        time_place: u32::MAX,
        created: 0,
        options: TableOptions::default(),
    })
}

/// Commits `count` frames, one after the other.
fn produce(sequencer: &Sequencer, writer: u32, count: u64) {
    let progress = Progress::new();
    let frame = Bytes::from(vec![0x5a; FRAME_BYTES]);
    for ordinal in 1..=count {
        let offset = ordinal * FRAME_BYTES as u64;
        let frame_ref = FrameRef {
            table: TABLE,
            offset,
            len: FRAME_BYTES as u32,
            rows: 1,
            bytes: FRAME_BYTES as u64,
            min_time: 0,
            max_time: 0,
        };
        let mut receipt = Receipt::without_frames(progress.clone(), ordinal);
        receipt.writer = WriterId(writer);
        receipt.end = offset + FRAME_BYTES as u64;
        receipt.frames.push(frame_ref);
        receipt.carried = Some(frame.clone());
        receipt.definitions = vec![definition()];
        sequencer.push(receipt);
        progress.wait(ordinal);
    }
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn commits(sequencer: &Sequencer, producers: u32, count: u64) -> Duration {
    let share = count.div_ceil(u64::from(producers));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for writer in 1..=producers {
            scope.spawn(move || produce(sequencer, writer, share));
        }
    });
    // Criterion asked for `count`; shares are rounded up.
    start.elapsed().mul_f64(count as f64 / (share * u64::from(producers)) as f64)
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn syncs(file: &File, end: &mut u64, count: u64) -> Duration {
    let bytes = vec![0x5a; RECORD_BYTES];
    let start = Instant::now();
    for _ in 0..count {
        file.write_all_at(&bytes, *end).expect("room on the disk");
        file.sync_data().expect("a sync");
        *end += bytes.len() as u64;
    }
    start.elapsed()
}

fn acknowledged(c: &mut Criterion) {
    // Beside the build, not in a temporary folder: that may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut group = c.benchmark_group("acknowledged_commits");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    let file = Fs::real().create(&folder.path().join("yardstick")).expect("a file");
    let mut end = 0;
    group.bench_function("fdatasync_each", |b| b.iter_custom(|n| syncs(&file, &mut end, n)));
    let sequencer = start(&folder.path().join("txnlog"));
    for producers in [1, 8, 64] {
        group.bench_function(format!("sequencer_{producers}"), |b| {
            b.iter_custom(|n| commits(&sequencer, producers, n))
        });
    }
    sequencer.shutdown().expect("a seal");
    group.bench_function("fdatasync_each_again", |b| b.iter_custom(|n| syncs(&file, &mut end, n)));
    group.finish();
}

fn start(dir: &Path) -> Sequencer {
    let state = LogState::new([1; 16]);
    let config = SequencerConfig { reports: false, ..SequencerConfig::default() };
    Sequencer::start(config, Fs::real(), dir, Clock::real(), state, Box::new(|_| {}))
        .expect("a new log")
}

criterion_group!(benches, acknowledged);
criterion_main!(benches);
