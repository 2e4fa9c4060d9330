//! An apply pool on a folder of its own, fed by real writers, and the model that its snapshots are held to.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use headwater::apply::{ApplyConfig, ApplyPaths, ApplyPool, CompactionConfig, Data, Txn, TxnKind};
use headwater::clock::Clock;
use headwater::io::Fs;
use headwater::schema::{ColumnDef, TableDef, TableOptions};
use headwater::storage::{Catalog, Snapshot};
use headwater::types::{ColumnId, ColumnType, PartitionBy, SeqTxn, TableId};
use headwater::wal::{Batch, Lease, Ledger, WalConfig, WriterPool};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Rows of every data transaction: so the snapshot at transaction n has `(n - 2) * ROWS` rows, since 1 creates the table
/// and 2 its columns.
pub(crate) const ROWS: usize = 10;
pub(crate) const HOUR: i64 = 3_600_000_000_000;
/// The value column, numbered on over all rows of a table.
const VALUE: ColumnId = ColumnId(2);
const HOST: ColumnId = ColumnId(1);
const UUID: [u8; 16] = [7; 16];

/// A data directory with a pool on it.
pub(crate) struct Lab {
    dir: TempDir,
    pub(crate) clock: Clock,
    config: ApplyConfig,
    pool: Option<ApplyPool>,
    writers: WriterPool,
    leases: Vec<Lease>,
    epoch: u64,
    /// All that was ever committed.
    log: Vec<Txn>,
    last: HashMap<TableId, SeqTxn>,
    rows: HashMap<TableId, i64>,
}

/// Nothing happens by itself but what a test is about: no ticks, no ages, no compaction.
pub(crate) fn quiet() -> ApplyConfig {
    ApplyConfig {
        workers: 2,
        tick_ms: 0,
        compaction: CompactionConfig { jobs_max: 0, ..CompactionConfig::default() },
        ..ApplyConfig::default()
    }
}

impl Lab {
    pub(crate) fn new(config: ApplyConfig) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(0);
        let fs = Fs::real();
        fs.create_dir_all(&dir.path().join("wal")).unwrap();
        fs.create_dir_all(&dir.path().join("tables")).unwrap();
        let pool = open(&dir, &config, &clock, 1);
        let wal = dir.path().join("wal");
        let first = headwater::types::WriterId(0);
        let at_once = WalConfig { unwritten_bytes: 0, ..WalConfig::default() };
        let writers = WriterPool::new(at_once, fs, wal, UUID, 1, first, Ledger::default());
        let leases = (0..3).map(|_| writers.try_borrow().unwrap()).collect();
        let (log, last, rows) = (Vec::new(), HashMap::new(), HashMap::new());
        let pool = Some(pool);
        Lab { dir, clock, config, pool, writers, leases, epoch: 1, log, last, rows }
    }

    pub(crate) fn pool(&self) -> &ApplyPool {
        self.pool.as_ref().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Stops the pool as a kill would, and starts another that is given the whole log.
    pub(crate) fn restart(&mut self) {
        self.pool = None;
        self.epoch += 1;
        self.pool = Some(open(&self.dir, &self.config, &self.clock, self.epoch));
        self.pool().submit(self.log.clone());
    }

    /// Like [`Lab::restart`], but no worker is told of the log.
    pub(crate) fn restart_without_notice(&mut self) {
        self.pool = None;
        self.epoch += 1;
        self.pool = Some(open(&self.dir, &self.config, &self.clock, self.epoch));
        self.pool().submit_without_notice(self.log.clone());
    }

    /// Creates a table with a tag and a value.
    pub(crate) fn create(&mut self, id: u32) -> TableId {
        let table = TableId(id);
        let def = TableDef {
            id: table,
            database: "public".into(),
            name: format!("t{id}").into(),
            partition_by: PartitionBy::Hour,
            time_column: "time".into(),
            time_place: u32::MAX,
            created: 0,
            options: TableOptions::default(),
        };
        let columns = [(HOST, "host", ColumnType::Tag), (VALUE, "n", ColumnType::Integer)];
        let columns = columns.map(|(id, name, ty)| ColumnDef { id, name: name.into(), ty });
        self.commit(table, TxnKind::Create(def));
        self.commit(table, TxnKind::AddColumns(columns.to_vec()));
        table
    }

    /// Commits a transaction of any kind.
    pub(crate) fn commit(&mut self, table: TableId, kind: TxnKind) -> SeqTxn {
        let txn = self.log_txn(table, kind);
        let seq_txn = txn.seq_txn;
        self.pool().submit([txn]);
        seq_txn
    }

    /// Commits [`ROWS`] rows, a nanosecond apart from `time` on.
    pub(crate) fn write(&mut self, table: TableId, time: i64) -> SeqTxn {
        self.write_spread(table, time, 1)
    }

    /// Commits [`ROWS`] rows, `step` apart from `time` on.
    pub(crate) fn write_spread(&mut self, table: TableId, time: i64, step: i64) -> SeqTxn {
        let data = self.append(table, time, step);
        self.commit(table, TxnKind::Data(data))
    }

    /// Commits [`ROWS`] rows and tells no worker.
    pub(crate) fn write_without_notice(&mut self, table: TableId, time: i64) -> SeqTxn {
        self.queue(table, time).0
    }

    /// The same, and says where the frame is.
    pub(crate) fn queue(&mut self, table: TableId, time: i64) -> (SeqTxn, Data) {
        let data = self.append(table, time, 1);
        let txn = self.log_txn(table, TxnKind::Data(data));
        let seq_txn = txn.seq_txn;
        self.pool().submit_without_notice([txn]);
        (seq_txn, data)
    }

    /// Appends a frame with one of the writers in turn.
    pub(crate) fn append(&mut self, table: TableId, time: i64, step: i64) -> Data {
        let first = self.rows.entry(table).or_default();
        let mut batch = Batch::new(table);
        let value = batch.add_column(VALUE, ColumnType::Integer);
        let turn = usize::try_from(*first).unwrap() / ROWS % self.leases.len();
        let writer = &mut self.leases[turn];
        let host = format!("host_{}", *first % 7);
        let series = writer.series(table, &[(HOST, &host)]);
        for row in 0..ROWS {
            let place = i64::try_from(row).unwrap();
            batch.columns[value].push_i64(row, *first + place);
            batch.finish_row(time + place * step, series);
        }
        *first += ROWS as i64;
        let appended = writer.append([&batch]).unwrap().unwrap();
        let frame = &appended.frames[0];
        let (writer, segment) = (appended.writer, appended.segment);
        Data {
            writer,
            segment,
            offset: frame.offset,
            len: frame.len,
            rows: frame.rows,
            min_time: frame.min_time,
            max_time: frame.max_time,
        }
    }

    fn log_txn(&mut self, table: TableId, kind: TxnKind) -> Txn {
        let last = self.last.entry(table).or_default();
        *last = last.next();
        let txn = Txn { table, seq_txn: *last, at: self.clock.wall_nanos(), kind };
        self.log.push(txn.clone());
        txn
    }

    /// Waits until queries see all that is committed.
    pub(crate) fn applied(&self, table: TableId) -> Arc<Snapshot> {
        let progress = self.pool().progress(table).unwrap();
        block_on(progress.wait_applied(self.last[&table])).unwrap();
        self.snapshot(table)
    }

    pub(crate) fn flush(&self, table: TableId) -> Arc<Snapshot> {
        block_on(self.pool().flush(table)).unwrap();
        self.snapshot(table)
    }

    pub(crate) fn snapshot(&self, table: TableId) -> Arc<Snapshot> {
        self.pool().table(table).unwrap().store.load()
    }

    /// Waits until no compaction is due.
    pub(crate) fn compacted(&self, table: TableId) -> Arc<Snapshot> {
        while self.pool().is_compacting() {
            std::thread::yield_now();
        }
        self.snapshot(table)
    }

    /// Ends the writers' segments, so that nothing holds them but transactions.
    pub(crate) fn close_writers(&mut self) {
        self.leases.clear();
        self.writers.close_idle();
    }
}

fn open(dir: &TempDir, config: &ApplyConfig, clock: &Clock, epoch: u64) -> ApplyPool {
    let fs = Fs::real();
    let (catalog, state) = Catalog::open(&fs, &dir.path().join("catalog"), UUID, epoch).unwrap();
    let paths = ApplyPaths {
        wal_dir: dir.path().join("wal"),
        tables_dir: dir.path().join("tables"),
        uuid: UUID,
        ledger: Ledger::default(),
    };
    let catalog = Arc::new(catalog);
    let pool = ApplyPool::open(config.clone(), &fs, clock, paths, catalog, &state).unwrap();
    pool.spawn().unwrap();
    pool
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The values of all rows: part by part and run by run, each in its order.
pub(crate) fn values(snapshot: &Snapshot) -> Vec<Vec<i64>> {
    let mut sources = Vec::new();
    for part in snapshot.parts.iter() {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(part.path()).unwrap());
        let mut all = Vec::new();
        for batch in reader.unwrap().build().unwrap() {
            let batch = batch.unwrap();
            all.extend(batch["n"].as_primitive::<Int64Type>().values());
        }
        sources.push(all);
    }
    for tail in snapshot.tails() {
        for run in tail.partitions().values().flat_map(|runs| runs.iter()) {
            let column = run.column(VALUE).unwrap();
            sources.push(column.as_primitive::<Int64Type>().values().to_vec());
        }
    }
    sources
}

/// All values, sorted.
pub(crate) fn sorted_values(snapshot: &Snapshot) -> Vec<i64> {
    let mut all = values(snapshot).concat();
    all.sort_unstable();
    all
}

/// Holds a snapshot to its transaction: every row of 1..=n once, none of a later one.
#[track_caller]
pub(crate) fn check_whole(snapshot: &Snapshot) {
    let txns = usize::try_from(snapshot.applied_txn.0).unwrap().saturating_sub(2);
    let expect: Vec<i64> = (0..(txns * ROWS) as i64).collect();
    assert_eq!(sorted_values(snapshot), expect, "at {}", snapshot.applied_txn);
    assert_eq!(snapshot.rows(), (txns * ROWS) as u64);
}
