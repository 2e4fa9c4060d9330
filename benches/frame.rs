//! Rows into a batch, a batch into a frame, a frame into Arrow arrays: throughput in bytes of row values, as columns hold them.
//!
//! The rows are those of the `cpu` workload: 4,000 series, ten integers up to 100, ten seconds apart; and the same with
//! random floats, which cannot be narrowed.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater::io::Fs;
use headwater::types::{ColumnId, ColumnType, SegmentId, TableId, WriterId};
use headwater::wal::{
    Batch, Identity, Ledger, Place, SegmentReader, SeriesCursor, WalConfig, WriterPool,
    encode_frame,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::hint::black_box;

const ROWS: usize = 10_000;
const FIELDS: u32 = 10;
const TABLE: TableId = TableId(1);
/// Time, series, and ten fields.
const ROW_BYTES: usize = 8 + 4 + 8 * FIELDS as usize;

fn fill(batch: &mut Batch, values: &[u64]) {
    for (row, values) in values.chunks_exact(FIELDS as usize).enumerate() {
        for (column, &value) in batch.columns.iter_mut().zip(values) {
            match column.ty() {
                ColumnType::Integer => column.push_i64(row, (value % 101) as i64),
                _ => column.push_f64(row, value as f64),
            }
        }
        let step = (row / 4000) as i64;
        batch.finish_row(1_763_769_600_000_000_000 + step * 10_000_000_000, row as u32 % 4000);
    }
}

fn frames(c: &mut Criterion) {
    let mut random = StdRng::seed_from_u64(1);
    let values: Vec<u64> = (0..ROWS * FIELDS as usize).map(|_| random.random()).collect();
    let dir = tempfile::tempdir().expect("a folder for the segment");
    let pool = WriterPool::new(
        WalConfig { unwritten_bytes: 0, ..WalConfig::default() },
        Fs::real(),
        dir.path().to_owned(),
        [0; 16],
        1,
        WriterId(0),
        Ledger::default(),
    );
    let identity = Identity { uuid: [0; 16], writer: WriterId(0), segment: SegmentId(0) };
    let mut writer = pool.try_borrow().expect("nobody else borrows");
    for _ in 0..4000 {
        writer.series(TABLE, &[(ColumnId(100), "host")]);
    }
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Bytes((ROWS * ROW_BYTES) as u64));
    for (name, ty) in [("integers", ColumnType::Integer), ("floats", ColumnType::Float)] {
        let mut batch = Batch::new(TABLE);
        (0..FIELDS).for_each(|n| {
            batch.add_column(ColumnId(n + 1), ty);
        });
        group.bench_function(format!("push/{name}"), |b| {
            b.iter(|| {
                batch.clear();
                fill(&mut batch, black_box(&values));
            });
        });
        let place = Place {
            seed: identity.seed(),
            offset: 64,
            ordinal: 1,
            chain: 0,
            first_series: 4000,
            new_series: 0,
            definitions: &[],
        };
        let mut out = Vec::new();
        group.bench_function(format!("encode/{name}"), |b| {
            b.iter(|| {
                out.clear();
                encode_frame(&mut out, black_box(&batch), &place)
            });
        });
        let appended = writer.append([&batch]).expect("room for a frame").expect("rows");
        let frame = appended.frames[0];
        let reader = SegmentReader::open(&Fs::real(), dir.path(), &identity).expect("just written");
        let mut cursor = SeriesCursor::new();
        reader.new_series(frame.offset, frame.len, &mut cursor).expect("just written");
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| {
                let frame = reader.frame(frame.offset, frame.len).expect("just written");
                frame.rows(cursor).expect("just written")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
