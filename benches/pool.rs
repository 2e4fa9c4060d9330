//! The apply pool as a machine: ratios of one run, and absolute figures only beside them. `cargo bench --no-default-features --bench pool` runs
//! all of it, `-- backlog late` only these:
//!
//! | name | is |
//! |---|---|
//! | `backlog` | one hot table's unapplied WAL, applied and flushed by two workers against one |
//! | `tags` | the share of a flush that ten tag columns cost |
//! | `late` | a tenth of the rows an hour late, against all in order |
//! | `tiny` | one row a commit from 16 connections, against commits of 8,000 rows: CPU seconds of apply and flush |
//! | `tables` | the same rows for 1, 10, 100, 1,000 and 10,000 tables, which share the hosts out |
//! | `duplicates` | tables under `replace` and `merge`, without duplicates and with every row sent twice, against `append`: flush and compaction included |
//! | `settle` | flush and compaction of a day in many parts, against its first flush alone |
//!
//! `HEADWATER_BENCH_ROWS` (1,000,000) sets the rows of each. Every figure is the best of three, in turns.

use headwater::apply::{ApplyConfig, ApplyPaths, ApplyPool, CompactionConfig, Data, Txn, TxnKind};
use headwater::clock::Clock;
use headwater::io::Fs;
use headwater::schema::{ColumnDef, Dedup, Keys, TableDef, TableOptions};
use headwater::storage::Catalog;
use headwater::types::{ColumnId, ColumnType, PartitionBy, SeqTxn, TableId, WriterId};
use headwater::wal::{Batch, Lease, Ledger, WalConfig, WriterPool};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const HOSTS: u64 = 4000;
const TAGS: u32 = 10;
const FIELDS: u32 = 10;
const UUID: [u8; 16] = [1; 16];
const ROUNDS: usize = 3;
const HOUR_NS: i64 = 3_600_000_000_000;

/// A name for the command line, and what runs with so many rows.
type Bench = (&'static str, fn(u64));

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let rows = std::env::var("HEADWATER_BENCH_ROWS").ok().and_then(|n| n.parse().ok());
    let rows: u64 = rows.unwrap_or(1_000_000);
    let benches: [Bench; 7] = [
        ("backlog", backlog),
        ("tags", tags),
        ("late", late),
        ("tiny", tiny),
        ("tables", tables),
        ("duplicates", duplicates),
        ("settle", settle),
    ];
    for (name, bench) in benches {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            bench(rows);
        }
    }
}

fn backlog(rows: u64) {
    let load = Load::new(&Shape::new(4 * rows));
    let run = |workers| move |load: &Load| load.run(&ApplyConfig { workers, ..pool_config() }).wall;
    let [one, two] = rounds(&load, &[&run(1), &run(2)]);
    println!(
        "backlog: 2 workers {:.2}x 1 worker ({} against {} rows/s, applied and flushed)",
        one.as_secs_f64() / two.as_secs_f64(),
        rate(4 * rows, two),
        rate(4 * rows, one)
    );
}

fn tags(rows: u64) {
    let config = ApplyConfig { workers: 1, ..pool_config() };
    let whole = Load::new(&Shape::new(rows));
    let plain = Load::new(&Shape { tags: 0, ..Shape::new(rows) });
    let best = |load: &Load| (0..ROUNDS).map(|_| load.run(&config).flush).min().expect("rounds");
    let (whole, plain) = (best(&whole), best(&plain));
    println!(
        "tags: {:.0} % of a flush is ten tag columns ({:.0} of {:.0} ns a row)",
        100.0 * (1.0 - plain.as_secs_f64() / whole.as_secs_f64()),
        nanos(rows, whole.saturating_sub(plain)),
        nanos(rows, whole)
    );
}

fn late(rows: u64) {
    let in_order = Load::new(&Shape::new(rows));
    let late = Load::new(&Shape { late: true, ..Shape::new(rows) });
    let config = ApplyConfig { workers: 2, ..pool_config() };
    let best = |load: &Load| (0..ROUNDS).map(|_| load.run(&config).wall).min().expect("rounds");
    let (in_order, late) = (best(&in_order), best(&late));
    println!(
        "late: {:.2}x the rate of rows in order ({} against {} rows/s)",
        in_order.as_secs_f64() / late.as_secs_f64(),
        rate(rows, late),
        rate(rows, in_order)
    );
}

fn tiny(rows: u64) {
    let config = ApplyConfig { workers: 2, ..pool_config() };
    let big = Load::new(&Shape::new(rows));
    let tiny = Load::new(&Shape { rows_a_commit: 1, connections: 16, ..Shape::new(rows) });
    let best = |load: &Load| (0..ROUNDS).map(|_| load.run(&config).cpu).min().expect("rounds");
    let (big, tiny) = (best(&big), best(&tiny));
    println!(
        "tiny: one-row commits take {:.2}x the CPU of large ones ({:.0} against {:.0} ns a row)",
        tiny.as_secs_f64() / big.as_secs_f64(),
        nanos(rows, tiny),
        nanos(rows, big)
    );
}

fn tables(rows: u64) {
    let mut one = None;
    for tables in [1, 10, 100, 1_000, 10_000] {
        let rows_a_commit = (rows / u64::from(tables) / 10).clamp(1, 8000);
        let load = Load::new(&Shape { tables, rows_a_commit, ..Shape::new(rows) });
        let config = ApplyConfig { workers: 2, ..pool_config() };
        let run = (0..ROUNDS).map(|_| load.run(&config)).min_by_key(|r| r.wall).expect("rounds");
        let one = one.get_or_insert(run.wall);
        println!(
            "tables: {tables:>6} tables {:.2}x one ({} rows/s visible and flushed, {} visible)",
            one.as_secs_f64() / run.wall.as_secs_f64(),
            rate(rows, run.wall),
            rate(rows, run.wall.saturating_sub(run.flush))
        );
    }
}

fn duplicates(rows: u64) {
    let config = ApplyConfig {
        workers: 2,
        flush_bytes: 8 << 20,
        compaction: CompactionConfig::default(),
        ..pool_config()
    };
    let append = Load::new(&Shape::new(rows));
    for (name, dedup) in [("replace", Dedup::Replace(Keys::Tags)), ("merge", Dedup::Merge)] {
        for (what, twice) in [("without duplicates", false), ("every row twice", true)] {
            let load = Load::new(&Shape { twice, dedup: dedup.clone(), ..Shape::new(rows) });
            let (mut best, mut plain) = (Duration::MAX, Duration::MAX);
            for _ in 0..ROUNDS {
                plain = plain.min(append.run(&config).wall);
                best = best.min(load.run(&config).wall);
            }
            println!(
                "duplicates: {name}, {what}: {:.2}x append ({} against {} rows/s)",
                plain.as_secs_f64() / best.as_secs_f64(),
                rate(rows, best),
                rate(rows, plain)
            );
        }
    }
}

fn settle(rows: u64) {
    let load = Load::new(&Shape::new(rows));
    let flush_bytes = 8 << 20;
    let never = CompactionConfig { jobs_max: 0, ..CompactionConfig::default() };
    let flushed = ApplyConfig { workers: 1, flush_bytes, compaction: never, ..pool_config() };
    let settled = ApplyConfig { compaction: CompactionConfig::default(), ..flushed.clone() };
    let [flushed, settled] =
        rounds(&load, &[&|l: &Load| l.run(&flushed).cpu, &|l: &Load| l.run(&settled).cpu]);
    println!(
        "settle: compaction costs {:.2}x the CPU of apply and flush ({:.0} on {:.0} ns a row)",
        settled.as_secs_f64() / flushed.as_secs_f64() - 1.0,
        nanos(rows, settled.saturating_sub(flushed)),
        nanos(rows, flushed)
    );
}

/// What the rows of a load are like: TSBS `cpu`, 4,000 hosts, every ten seconds.
#[derive(Clone)]
struct Shape {
    rows: u64,
    rows_a_commit: u64,
    connections: usize,
    tables: u32,
    tags: u32,
    /// A tenth of the rows are an hour late.
    late: bool,
    /// Every commit is sent twice.
    twice: bool,
    dedup: Dedup,
}

impl Shape {
    fn new(rows: u64) -> Shape {
        Shape {
            rows,
            rows_a_commit: 8000,
            connections: 4,
            tables: 1,
            tags: TAGS,
            late: false,
            twice: false,
            dedup: Dedup::Append,
        }
    }
}

/// Committed transactions on disk, which a pool may be given any number of times.
struct Load {
    dir: TempDir,
    txns: Vec<Txn>,
}

/// What a run took.
struct Run {
    /// Until everything was applied and flushed, and no compaction was due.
    wall: Duration,
    /// Of that, from everything applied on.
    flush: Duration,
    /// Of all threads.
    cpu: Duration,
}

impl Load {
    fn new(shape: &Shape) -> Load {
        let dir = tempfile::tempdir().expect("a folder");
        Fs::real().create_dir_all(&dir.path().join("wal")).expect("a folder");
        let txns = fill(dir.path(), shape);
        Load { dir, txns }
    }

    /// Applies and flushes everything in a pool that knows nothing yet.
    fn run(&self, config: &ApplyConfig) -> Run {
        let pool = start(&self.dir, config);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let txns = self.txns.clone();
        let clock = Clock::real();
        let (begin, cpu) = (clock.monotonic(), cpu_time());
        pool.submit(txns);
        let mut last: HashMap<TableId, SeqTxn> = HashMap::new();
        last.extend(self.txns.iter().map(|txn| (txn.table, txn.seq_txn)));
        runtime.block_on(async {
            for (table, txn) in last {
                let progress = pool.progress(table).expect("it was submitted");
                progress.wait_applied(txn).await.expect("it is whole");
            }
        });
        let applied = clock.monotonic() - begin;
        runtime.block_on(pool.flush_all()).expect("there is room");
        while pool.is_compacting() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let wall = clock.monotonic() - begin;
        Run { wall, flush: wall - applied, cpu: cpu_time() - cpu }
    }
}

/// The best time of each, run in turns.
fn rounds<const N: usize>(load: &Load, runs: &[&dyn Fn(&Load) -> Duration; N]) -> [Duration; N] {
    let mut best = [Duration::MAX; N];
    for _ in 0..ROUNDS {
        for (best, run) in best.iter_mut().zip(runs) {
            *best = (*best).min(run(load));
        }
    }
    best
}

fn pool_config() -> ApplyConfig {
    ApplyConfig {
        unapplied_bytes: u64::MAX,
        tick_ms: 100,
        compaction: CompactionConfig { jobs_max: 0, ..CompactionConfig::default() },
        ..ApplyConfig::default()
    }
}

fn start(dir: &TempDir, config: &ApplyConfig) -> ApplyPool {
    let fs = Fs::real();
    let fresh = dir.path().join("fresh");
    fs.remove_dir_all(&fresh).expect("removed");
    let (catalog, state) = Catalog::open(&fs, &fresh.join("catalog"), UUID, 1).expect("new");
    let (wal_dir, tables_dir) = (dir.path().join("wal"), fresh.join("tables"));
    let paths = ApplyPaths { wal_dir, tables_dir, uuid: UUID, ledger: Ledger::default() };
    let catalog = Arc::new(catalog);
    let pool = ApplyPool::open(config.clone(), &fs, &Clock::real(), paths, catalog, &state)
        .expect("started");
    pool.spawn().expect("threads");
    pool
}

/// One connection: its writer, and the series it has in its segment.
struct Connection {
    writer: Lease,
    series: HashMap<(u32, u64), u32>,
}

/// Writes the commits to segments, from all connections in turn.
fn fill(dir: &Path, shape: &Shape) -> Vec<Txn> {
    let bounds = (u64::MAX, u64::MAX, usize::MAX);
    let config = WalConfig {
        segment_bytes: bounds.0,
        segment_rows: bounds.1,
        segment_series: bounds.2,
        series_bytes: bounds.2,
        unwritten_bytes: 0,
        ..WalConfig::default()
    };
    let pool = WriterPool::new(
        config,
        Fs::real(),
        dir.join("wal"),
        UUID,
        1,
        WriterId(0),
        Ledger::default(),
    );
    let lend = |_| Connection {
        writer: pool.try_borrow().expect("there are enough"),
        series: HashMap::new(),
    };
    let mut connections: Vec<Connection> = (0..shape.connections).map(lend).collect();
    let mut txns = Vec::new();
    let mut last = vec![SeqTxn(0); shape.tables as usize];
    let mut push = |table: u32, kind| {
        let seq_txn = &mut last[table as usize];
        *seq_txn = seq_txn.next();
        txns.push(Txn { table: TableId(table), seq_txn: *seq_txn, at: 0, kind });
    };
    for table in 0..shape.tables {
        push(table, TxnKind::Create(definition(table, shape)));
        push(table, TxnKind::AddColumns(columns(shape.tags)));
    }
    let mut batches: Vec<Batch> = (0..shape.tables).map(batch).collect();
    let commits = shape.rows / shape.rows_a_commit;
    let hosts = (HOSTS / u64::from(shape.tables)).max(1);
    for commit in 0..commits {
        let connection = &mut connections[commit as usize % shape.connections];
        let table = (commit % u64::from(shape.tables)) as u32;
        let batch = &mut batches[table as usize];
        for row in 0..shape.rows_a_commit {
            let sent = if shape.twice { commit / 2 } else { commit };
            let n = sent / u64::from(shape.tables) * shape.rows_a_commit + row;
            let series = connection.series(table, n % hosts, shape.tags);
            for (place, column) in batch.columns.iter_mut().enumerate() {
                column.push_i64(row as usize, value(n, place as u64));
            }
            let time = (n / hosts) as i64 * 10_000_000_000 + 2 * HOUR_NS;
            let is_late = shape.late && n.is_multiple_of(10);
            batch.finish_row(if is_late { time - HOUR_NS } else { time }, series);
        }
        let appended = connection.writer.append([&*batch]).expect("there is room");
        let appended = appended.expect("it has rows");
        let frame = &appended.frames[0];
        push(
            table,
            TxnKind::Data(Data {
                writer: appended.writer,
                segment: appended.segment,
                offset: frame.offset,
                len: frame.len,
                rows: frame.rows,
                min_time: frame.min_time,
                max_time: frame.max_time,
            }),
        );
        batch.clear();
    }
    txns
}

impl Connection {
    fn series(&mut self, table: u32, host: u64, tags: u32) -> u32 {
        if let Some(known) = self.series.get(&(table, host)) {
            return *known;
        }
        let values: Vec<String> =
            (1..=u64::from(tags)).map(|tag| format!("value_{}", host % (tag * 400))).collect();
        let tags: Vec<(ColumnId, &str)> =
            (1..).map(ColumnId).zip(values.iter().map(String::as_str)).collect();
        let number = self.writer.series(TableId(table), &tags);
        self.series.insert((table, host), number);
        number
    }
}

fn definition(table: u32, shape: &Shape) -> TableDef {
    TableDef {
        id: TableId(table),
        database: "public".into(),
        name: format!("cpu_{table}").into(),
        partition_by: PartitionBy::Day,
        time_column: "time".into(),
        time_place: u32::MAX,
        created: 0,
        options: TableOptions { dedup: shape.dedup.clone(), ..TableOptions::default() },
    }
}

fn columns(tags: u32) -> Vec<ColumnDef> {
    let column = |n: u32| ColumnDef {
        id: ColumnId(n),
        name: format!("column_{n}").into(),
        ty: if n <= TAGS { ColumnType::Tag } else { ColumnType::Integer },
    };
    (1..=tags).chain(TAGS + 1..=TAGS + FIELDS).map(column).collect()
}

fn batch(table: u32) -> Batch {
    let mut batch = Batch::new(TableId(table));
    for n in TAGS + 1..=TAGS + FIELDS {
        batch.add_column(ColumnId(n), ColumnType::Integer);
    }
    batch
}

/// Numbers from 0 to 100 without a pattern that compression would find.
fn value(row: u64, column: u64) -> i64 {
    let mixed = (row * 10 + column).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (((mixed >> 32) * 101) >> 32) as i64
}

/// User and system time of all threads.
#[allow(clippy::disallowed_methods, reason = "/proc is no data file")]
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |n: usize| after.split_whitespace().nth(n).and_then(|t| t.parse::<u64>().ok());
    let ticks = ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0);
    Duration::from_millis(ticks * 10)
}

fn rate(rows: u64, time: Duration) -> u64 {
    (rows as f64 / time.as_secs_f64()) as u64
}

fn nanos(rows: u64, time: Duration) -> f64 {
    time.as_nanos() as f64 / rows as f64
}
