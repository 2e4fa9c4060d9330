//! What a row costs from the segment to the snapshot, and from there into a synced part: TSBS `cpu` rows, ten tags and ten
//! integers of 4,000 hosts, one worker. Nanoseconds a row are the reciprocal of the throughput.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use headwater::apply::{ApplyConfig, ApplyPaths, ApplyPool, CompactionConfig, Data, Txn, TxnKind};
use headwater::clock::Clock;
use headwater::io::Fs;
use headwater::schema::{ColumnDef, TableDef, TableOptions};
use headwater::storage::Catalog;
use headwater::types::{ColumnId, ColumnType, PartitionBy, SeqTxn, TableId, WriterId};
use headwater::wal::{Batch, Ledger, WalConfig, WriterPool};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const HOSTS: u32 = 4000;
const TABLE: TableId = TableId(1);
const UUID: [u8; 16] = [1; 16];

fn apply(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for (name, rows_a_commit, commits) in
        [("large", 8000, 50), ("medium", 500, 400), ("one", 1, 5000)]
    {
        let dir = tempfile::tempdir().expect("a folder");
        let txns = fill(dir.path(), rows_a_commit, commits);
        let last = txns.last().expect("there are some").seq_txn;
        let mut group = criterion.benchmark_group(format!("commits_of_{name}"));
        group.throughput(Throughput::Elements(u64::from(rows_a_commit * commits)));
        group.sample_size(10);
        group.bench_function("apply", |bencher| {
            let setup = || (start(&dir), txns.clone());
            let run = |(pool, txns): (ApplyPool, Vec<Txn>)| {
                pool.submit(txns);
                let progress = pool.progress(TABLE).expect("it was submitted");
                runtime.block_on(progress.wait_applied(last)).expect("it is whole");
                pool
            };
            bencher.iter_batched(setup, run, BatchSize::PerIteration);
        });
        group.bench_function("flush", |bencher| {
            let setup = || {
                let pool = start(&dir);
                pool.submit(txns.clone());
                let progress = pool.progress(TABLE).expect("it was submitted");
                runtime.block_on(progress.wait_applied(last)).expect("it is whole");
                pool
            };
            let run = |pool: ApplyPool| {
                runtime.block_on(pool.flush(TABLE)).expect("there is room");
                pool
            };
            bencher.iter_batched(setup, run, BatchSize::PerIteration);
        });
        group.finish();
    }
}

/// A pool that knows nothing yet, on a folder of tables of its own.
fn start(dir: &TempDir) -> ApplyPool {
    let fs = Fs::real();
    let fresh = dir.path().join("fresh");
    fs.remove_dir_all(&fresh).expect("removed");
    let (catalog, state) = Catalog::open(&fs, &fresh.join("catalog"), UUID, 1).expect("new");
    let config = ApplyConfig {
        workers: 1,
        flush_bytes: u64::MAX,
        memory_budget: u64::MAX,
        tick_ms: 0,
        compaction: CompactionConfig { jobs_max: 0, ..CompactionConfig::default() },
        ..ApplyConfig::default()
    };
    let (wal_dir, tables_dir) = (dir.path().join("wal"), fresh.join("tables"));
    let paths = ApplyPaths { wal_dir, tables_dir, uuid: UUID, ledger: Ledger::default() };
    let catalog = Arc::new(catalog);
    let pool =
        ApplyPool::open(config, &fs, &Clock::real(), paths, catalog, &state).expect("started");
    pool.spawn().expect("threads");
    pool
}

/// Writes commits of consecutive rows to a segment.
fn fill(dir: &Path, rows_a_commit: u32, commits: u32) -> Vec<Txn> {
    let config = WalConfig { segment_bytes: u64::MAX, unwritten_bytes: 0, ..WalConfig::default() };
    let pool = WriterPool::new(
        config,
        Fs::real(),
        dir.join("wal"),
        UUID,
        1,
        WriterId(0),
        Ledger::default(),
    );
    let mut writer = pool.try_borrow().expect("nobody else has one");
    let def = TableDef {
        id: TABLE,
        database: "public".into(),
        name: "cpu".into(),
        partition_by: PartitionBy::Day,
        time_column: "time".into(),
        time_place: u32::MAX,
        created: 0,
        options: TableOptions::default(),
    };
    let columns = (1..=20).map(|n| ColumnDef {
        id: ColumnId(n),
        name: format!("column_{n}").into(),
        ty: if n <= 10 { ColumnType::Tag } else { ColumnType::Integer },
    });
    let mut kinds = vec![TxnKind::Create(def), TxnKind::AddColumns(columns.collect())];
    let mut batch = Batch::new(TABLE);
    for n in 11..=20 {
        batch.add_column(ColumnId(n), ColumnType::Integer);
    }
    let mut series: Vec<Option<u32>> = vec![None; HOSTS as usize];
    for commit in 0..commits {
        for row in 0..rows_a_commit {
            let n = commit * rows_a_commit + row;
            let host = n % HOSTS;
            let number = *series[host as usize].get_or_insert_with(|| {
                let values: Vec<String> =
                    (1..=10).map(|tag| format!("{}", host % (tag * 400))).collect();
                let tags: Vec<(ColumnId, &str)> =
                    (1..=10).map(ColumnId).zip(values.iter().map(String::as_str)).collect();
                writer.series(TABLE, &tags)
            });
            for (place, column) in batch.columns.iter_mut().enumerate() {
                column.push_i64(row as usize, i64::from((n * 7 + place as u32 * 13) % 101));
            }
            batch.finish_row(i64::from(n / HOSTS) * 10_000_000_000, number);
        }
        let appended = writer.append([&batch]).expect("there is room").expect("it has rows");
        let frame = &appended.frames[0];
        kinds.push(TxnKind::Data(Data {
            writer: appended.writer,
            segment: appended.segment,
            offset: frame.offset,
            len: frame.len,
            rows: frame.rows,
            min_time: frame.min_time,
            max_time: frame.max_time,
        }));
        batch.clear();
    }
    let number = |(kind, n)| Txn { table: TABLE, seq_txn: SeqTxn(n), at: 0, kind };
    kinds.into_iter().zip(1..).map(number).collect()
}

criterion_group!(benches, apply);
criterion_main!(benches);
