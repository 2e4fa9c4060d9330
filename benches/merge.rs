//! Rows per second of one core through storage: sorting a late batch, merging runs, writing a part, merging parts.
//!
//! The rows have the shape of the TSBS `cpu` workload: ten tags of 4,000 hosts and ten integers.

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use headwater::io::Fs;
use headwater::schema::{ColumnDef, TableDef, TableOptions};
use headwater::storage::{
    Part, PartSync, Rows, Run, SeriesSet, TableDir, TableSchema, merge_parts, write_part,
};
use headwater::types::{ColumnId, ColumnType, PartitionBy, PartitionKey, SeqTxn, TableId};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::Arc;

const HOSTS: u32 = 4_000;
const TAGS: u32 = 10;
const FIELDS: u32 = 10;
const ROWS: usize = 1 << 19;
/// Connections that send side by side, each a host of its own at a time.
const SOURCES: usize = 8;

fn schema() -> TableSchema {
    let column = |id: u32| {
        let ty = if id <= TAGS { ColumnType::Tag } else { ColumnType::Integer };
        ColumnDef { id: ColumnId(id), name: format!("column_{id}").into(), ty }
    };
    let def = TableDef {
        id: TableId(1),
        database: "public".into(),
        name: "cpu".into(),
        partition_by: PartitionBy::Day,
        time_column: "time".into(),
        time_place: u32::MAX,
        created: 0,
        options: TableOptions::default(),
    };
    TableSchema::new(def, (1..=TAGS + FIELDS).map(column).collect())
}

fn series() -> SeriesSet {
    let set = SeriesSet::default();
    for host in 0..HOSTS {
        let values: Vec<String> = (0..TAGS).map(|tag| format!("tag-{}", host >> tag)).collect();
        let tags: Vec<(ColumnId, &str)> =
            (1..).map(ColumnId).zip(values.iter().map(String::as_str)).collect();
        set.intern(&tags);
    }
    set
}

/// The rows that one of the sources sends: every host in turn, then the next ten seconds.
fn rows(source: usize, count: usize, late_share: f64) -> Rows {
    let mut rng = StdRng::seed_from_u64(source as u64);
    let place = |row: usize| row * SOURCES + source;
    let mut time: Vec<i64> =
        (0..count).map(|row| (place(row) / HOSTS as usize) as i64 * 10_000_000_000).collect();
    for t in &mut time {
        if rng.random_bool(late_share) {
            *t = (*t - 3_600_000_000_000).max(0);
        }
    }
    let series = (0..count).map(|row| (place(row) % HOSTS as usize) as u32).collect();
    let field = |_| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..count).map(|_| rng.random_range(0..100))))
    };
    let columns =
        (TAGS + 1..=TAGS + FIELDS).map(ColumnId).zip((0..FIELDS).map(field).collect::<Vec<_>>());
    Rows { time, series, columns: columns.collect() }
}

fn run(source: usize, count: usize) -> Run {
    let txn = SeqTxn(source as u64 + 1);
    rows(source, count, 0.0).into_runs(PartitionBy::Year, txn, txn).remove(0).1
}

fn sort(c: &mut Criterion) {
    let mut group = c.benchmark_group("sort");
    group.throughput(Throughput::Elements((ROWS / SOURCES) as u64));
    for (name, late_share) in [("in order", 0.0), ("a tenth late", 0.1), ("half late", 0.5)] {
        let make = || rows(0, ROWS / SOURCES, late_share);
        group.bench_function(name, |b| {
            b.iter_batched(
                make,
                |rows| rows.into_runs(PartitionBy::Year, SeqTxn(1), SeqTxn(1)),
                BatchSize::LargeInput,
            );
        });
    }
}

fn merge(c: &mut Criterion) {
    let runs: Vec<Run> = (0..SOURCES).map(|n| run(n, ROWS / SOURCES)).collect();
    let runs: Vec<&Run> = runs.iter().collect();
    let mut group = c.benchmark_group("merge");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
    group.bench_function("8 runs side by side", |b| b.iter(|| Run::merge(&runs)));
}

fn parts(c: &mut Criterion) {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let (schema, series) = (Arc::new(schema()), Arc::new(series()));
    let dir = TableDir::new(&Fs::real(), temporary.path(), schema.shape());
    let runs: Vec<Arc<Run>> = (0..SOURCES).map(|n| Arc::new(run(n, ROWS / SOURCES))).collect();
    let write = |runs: &[Arc<Run>]| {
        let meta = write_part(&dir, &schema, PartitionKey(0), runs, &series, PartSync::Own)
            .expect("a part");
        let part = Part::new(&dir, meta);
        part.mark_removed();
        Arc::new(part)
    };
    println!("bytes a row: {:.1}", write(&runs).meta().bytes as f64 / ROWS as f64);
    let parts: Vec<Arc<Part>> = runs.iter().map(|run| write(std::slice::from_ref(run))).collect();
    let mut group = c.benchmark_group("part");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10);
    group.bench_function("write 8 runs", |b| b.iter(|| write(&runs)));
    group.bench_function("merge 8 parts", |b| {
        b.iter(|| {
            let meta = merge_parts(&dir, &schema, &parts, &|_| false).expect("a part");
            Part::new(&dir, meta).mark_removed();
        });
    });
    group.bench_function("the same rows through arrow-rs alone", |b| {
        b.iter(|| plain(&runs, &schema, &series))
    });
    group.finish();
}

/// The yardstick: merged rows as batches of dictionary arrays into the library's own writer, in memory.
fn plain(runs: &[Arc<Run>], schema: &TableSchema, series: &SeriesSet) -> usize {
    let merged = Run::merge(&runs.iter().map(|r| &**r).collect::<Vec<_>>());
    let batch: RecordBatch = merged.to_batch(schema, series, None).expect("a batch");
    let level = parquet::basic::ZstdLevel::try_new(1).expect("a level");
    let props = parquet::file::properties::WriterProperties::builder()
        .set_compression(parquet::basic::Compression::ZSTD(level))
        .build();
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), Some(props))
        .expect("a writer");
    writer.write(&batch).expect("a row group");
    writer.into_inner().expect("a file").len()
}

criterion_group!(benches, sort, merge, parts);
criterion_main!(benches);
