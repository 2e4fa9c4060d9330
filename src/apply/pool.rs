//! The apply pool as the rest of the server sees it.

use super::gate::Gate;
use super::segments::Segments;
use super::shared::Shared;
use super::suspension::WaitingApart;
use super::table::ApplyTable;
use super::{ApplyConfig, ErrorTag, ResumeError, TableProgress, Trouble, Txn, TxnKind};
use crate::clock::Clock;
use crate::io::Fs;
use crate::metrics;
use crate::schema::TableDef;
use crate::storage::{
    Catalog, CatalogState, Part, PartMeta, Snapshot, StorageError, TableDir, TableSchema,
    TableState, TableStore, remove_orphans,
};
use crate::types::{SegmentId, SeqTxn, TableId, WriterId};
use crate::wal::Ledger;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where the pool finds what it works on.
#[derive(Clone, Debug)]
pub struct ApplyPaths {
    /// The folder of the writers' folders.
    pub wal_dir: PathBuf,
    /// The folder of the tables' folders.
    pub tables_dir: PathBuf,
    /// The server's own number, which seeds the checksums of segments.
    pub uuid: [u8; 16],
    /// The segments that are being written.
    pub ledger: Ledger,
}

/// A table as the rest of the server sees it.
#[derive(Clone, Debug)]
pub struct TableView {
    /// How far it is.
    pub progress: Arc<TableProgress>,
    /// Its snapshots.
    pub store: Arc<TableStore>,
}

/// Threads that make committed transactions visible and then durable in parts. Dropped, it stops.
#[derive(Debug)]
pub struct ApplyPool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl ApplyPool {
    /// Removes files that the catalog does not name and takes its tables in. Transactions behind `flushed_txn` are then
    /// submitted from the log. Nothing moves before [`ApplyPool::spawn`] starts the threads, or somebody takes the steps.
    ///
    /// # Errors
    /// The folder of the tables cannot be read, or what does not belong there cannot be removed.
    pub fn open(
        mut config: ApplyConfig,
        fs: &Fs,
        clock: &Clock,
        paths: ApplyPaths,
        catalog: Arc<Catalog>,
        state: &CatalogState,
    ) -> Result<ApplyPool, StorageError> {
        if config.workers == 0 {
            config.workers = std::thread::available_parallelism().map_or(1, |n| n.get());
        }
        let removed = remove_orphans(fs, &paths.tables_dir, state)?;
        if removed > 0 {
            metrics::ORPHANS_REMOVED.increment(removed);
            tracing::info!(removed, "removed files that no flush or compaction finished");
        }
        let ApplyPaths { wal_dir, tables_dir, uuid, ledger } = paths;
        let segments = Segments::new(fs.clone(), wal_dir, uuid, ledger, config.segment_readers);
        let shared = Shared::new(config, fs.clone(), clock.clone(), tables_dir, catalog, segments);
        shared.adopt(fs, state);
        let pool = ApplyPool { shared: Arc::new(shared), threads: Mutex::default() };
        for table in pool.shared.all_tables() {
            pool.shared.compact_if_due(&table);
        }
        Ok(pool)
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no room for one; those before it end with the pool.
    pub fn spawn(&self) -> std::io::Result<()> {
        spawn_threads(&self.shared, &mut super::table::lock(&self.threads))
    }

    /// Does the next job of a worker, if there is one. For whoever goes without threads.
    pub fn step(&self) -> bool {
        let job = self.shared.scheduler.try_job(self.shared.is_short_of_memory());
        job.map(|job| self.shared.run(job)).is_some()
    }

    /// Does the next compaction, if one is due. For whoever goes without threads.
    pub fn step_compaction(&self) -> bool {
        let table = self.shared.scheduler.try_compaction();
        table.map(|table| self.shared.run_compaction(&table, &|| false)).is_some()
    }

    /// Takes in transactions that are committed, in order for each table. Those that are flushed already are passed over, so that a
    /// start may submit all that the log has.
    ///
    /// # Panics
    /// A transaction of a table is missing: the sequencer numbers them without gaps.
    pub fn submit(&self, txns: impl IntoIterator<Item = Txn>) {
        for table in self.take_in(txns) {
            table.schedule(&self.shared);
        }
    }

    /// Like [`ApplyPool::submit`], but tells no worker: the next tick must find the transactions.
    #[doc(hidden)]
    pub fn submit_without_notice(&self, txns: impl IntoIterator<Item = Txn>) {
        self.take_in(txns);
    }

    fn take_in(&self, txns: impl IntoIterator<Item = Txn>) -> Vec<Arc<ApplyTable>> {
        let mut touched: Vec<Arc<ApplyTable>> = Vec::new();
        let mut txns = txns.into_iter().peekable();
        while let Some(first) = txns.next() {
            let table = self.find(&first);
            // One-row commits come by the dozen to one table: what has a lock is locked once for all of them.
            let mut run = vec![first];
            while let Some(txn) = txns.next_if(|txn| txn.table == run[0].table) {
                run.push(txn);
            }
            let Some(table) = table else {
                tracing::debug!(table = %run[0].table, txn = %run[0].seq_txn, "transactions of a dropped table");
                continue;
            };
            self.shared.take_in(&table, run);
            touched.push(table);
        }
        touched
    }

    fn find(&self, txn: &Txn) -> Option<Arc<ApplyTable>> {
        match self.shared.table(txn.table) {
            Some(table) => Some(table),
            None if matches!(txn.kind, TxnKind::Create(_)) && !self.is_dropped(txn.table) => {
                Some(self.shared.table_or_new(txn.table))
            }
            None => None,
        }
    }

    fn is_dropped(&self, table: TableId) -> bool {
        self.shared.flushed_txn(table) == SeqTxn(u64::MAX)
    }

    /// A table, once its transaction 1 is applied and until its drop is.
    pub fn table(&self, id: TableId) -> Option<TableView> {
        self.shared.table(id)?.view()
    }

    /// All tables, in order of their ids.
    pub fn tables(&self) -> Vec<TableView> {
        let mut tables = self.shared.all_tables();
        tables.sort_by_key(|table| table.id);
        tables.iter().filter_map(|table| table.view()).collect()
    }

    /// How far a table has come, from its first committed transaction on.
    pub fn progress(&self, id: TableId) -> Option<Arc<TableProgress>> {
        Some(self.shared.table(id)?.progress.clone())
    }

    /// All rows of the table up to here are in synced parts: the log may forget them. A dropped table needs nothing any
    /// more, which is said with the highest number there is.
    pub fn flushed_txn(&self, id: TableId) -> SeqTxn {
        self.shared.flushed_txn(id)
    }

    /// The gate that connections ask before they read on.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.shared.gate
    }

    /// True while a committed transaction of this segment is not flushed. The caller knows which transactions are
    /// not committed yet.
    pub fn is_segment_needed(&self, writer: WriterId, segment: SegmentId) -> bool {
        self.shared.segments.is_needed((writer, segment))
    }

    /// True while committed rows are on their way to queries and nothing stands in theirs: tables that stand still are left aside,
    /// and a full disk or the like, which may last, makes it false.
    pub fn is_behind(&self, marks: &[(Arc<TableProgress>, SeqTxn)]) -> bool {
        let able = || marks.iter().filter(|(progress, _)| !progress.is_standing_still());
        able().all(|(progress, _)| progress.trouble().is_none())
            && able().any(|(progress, txn)| progress.applied_txn() < *txn)
    }

    /// Every table and its last committed transaction.
    pub fn marks(&self) -> Vec<(Arc<TableProgress>, SeqTxn)> {
        let tables = self.shared.all_tables();
        tables.iter().map(|table| (table.progress.clone(), table.progress.seq_txn())).collect()
    }

    /// Flushes everything that is committed for a table now, and returns when it is in synced parts. A table that is not
    /// there (any more) has nothing to flush.
    ///
    /// # Errors
    /// The table is suspended.
    pub async fn flush(&self, id: TableId) -> Result<(), Trouble> {
        match self.shared.table(id) {
            Some(table) => self.begin_flush(&table).await,
            None => Ok(()),
        }
    }

    /// Flushes everything that is committed now.
    ///
    /// # Errors
    /// A table is suspended; the others are flushed.
    pub async fn flush_all(&self) -> Result<(), Trouble> {
        let tables = self.shared.all_tables();
        let flushes: Vec<_> = tables.iter().map(|table| self.begin_flush(table)).collect();
        let mut result = Ok(());
        for flush in flushes {
            result = result.and(flush.await);
        }
        result
    }

    /// Asks for everything that is visible to be flushed soon.
    pub fn want_flush_all(&self) {
        for table in self.shared.all_tables() {
            table.want_flush(table.progress.applied_txn());
            table.schedule(&self.shared);
        }
    }

    /// Asks for the flush at once; the future waits for it.
    fn begin_flush(
        &self,
        table: &Arc<ApplyTable>,
    ) -> impl Future<Output = Result<(), Trouble>> + Send + use<> {
        let committed = table.progress.seq_txn();
        if !table.progress.is_suspended() {
            table.want_flush(committed);
            table.schedule(&self.shared);
        }
        let progress = table.progress.clone();
        async move { progress.wait_flushed(committed).await }
    }

    /// True while parts are being merged or are about to be.
    pub fn is_compacting(&self) -> bool {
        self.shared.scheduler.is_compacting()
    }

    /// Stops a table: what is committed to it waits until it is resumed. `tag` and `message` are the reason that its status gives. True
    /// when it was going.
    pub fn suspend(&self, id: TableId, tag: ErrorTag, message: &str) -> bool {
        let table = self.shared.table(id);
        table.is_some_and(|table| self.shared.suspend(&table, tag, message.to_owned()))
    }

    /// What waits for each table that stands still until somebody resumes it, where it is not shelved yet.
    pub fn waiting_apart(&self) -> Vec<WaitingApart> {
        let tables = self.shared.all_tables();
        tables.iter().filter_map(|table| self.shared.waiting_apart(table)).collect()
    }

    /// The transactions of a suspended table up to `upto` are kept outside the WAL: they need no segment until
    /// [`ApplyPool::unshelve`]. False when the table is not at rest, and nothing has changed.
    pub fn shelved(&self, id: TableId, upto: SeqTxn) -> bool {
        self.shared.table(id).is_some_and(|table| self.shared.shelved(&table, upto))
    }

    /// The transactions that were shelved need their segments again. The caller puts the frames there before the table is resumed.
    pub fn unshelve(&self, id: TableId) {
        if let Some(table) = self.shared.table(id) {
            self.shared.unshelve(&table);
        }
    }

    /// The wall clock at the commit of the first transaction of a table that queries do not see, nanoseconds since 1970.
    pub fn waiting_since(&self, id: TableId) -> Option<i64> {
        self.shared.table(id)?.waiting_since()
    }

    /// True while less is done at once, for want of memory.
    pub fn is_short_of_memory(&self) -> bool {
        self.shared.is_short_of_memory()
    }

    /// Lets a suspended table try again what suspended it. With `from` it goes on with that transaction: the rows of those before
    /// that are not visible are skipped for good once `flushed_txn` has passed them.
    ///
    /// # Errors
    /// It is not suspended, stopped by our own mistake, or `from` is not one of the transactions that wait.
    pub fn resume(&self, id: TableId, from: Option<SeqTxn>) -> Result<(), ResumeError> {
        let table = self.shared.table(id).ok_or(ResumeError::NotSuspended)?;
        self.shared.resume(&table, from)
    }

    /// True when too much waits for suspended tables: whoever sends to one of them must wait.
    pub fn is_holding_up(&self) -> bool {
        self.shared.is_holding_up()
    }

    /// True when whoever sends to this table must wait, because it is suspended and too much waits already.
    pub fn is_held_up(&self, id: TableId) -> bool {
        self.shared.table(id).is_some_and(|table| self.shared.is_held_up(&table))
    }

    /// The tables that have partitions beyond their time to live, each with the end of the last such partition: the caller
    /// commits a [`TxnKind::RemoveBefore`] of it.
    ///
    /// A partition is beyond when it ends at or before the smaller of wall clock and newest row, less the time to live: a table
    /// that gets no new rows keeps those it has.
    pub fn expired(&self, ttl: impl Fn(&TableDef) -> Option<Duration>) -> Vec<(TableId, i64)> {
        let now = self.shared.clock.wall_nanos();
        let expired = |view: TableView| {
            let snapshot = view.store.load();
            let def = snapshot.schema.def();
            Some((def.id, expired_end(&snapshot, now, ttl(def)?)?))
        };
        self.tables().into_iter().filter_map(expired).collect()
    }

    /// Says how old a table's oldest row that is not flushed may get, where that differs from `flush_age_ms`.
    pub fn set_max_lags(&self, max_lag: impl Fn(&TableDef) -> Option<Duration>) {
        for table in self.shared.all_tables() {
            let Some(store) = table.store() else { continue };
            let max_lag = max_lag(store.load().schema.def());
            super::table::lock(&table.queue).max_lag = max_lag;
        }
    }

    /// What the ticker does: tries again what failed, flushes what is old, finds every table with work, counts.
    pub fn tick(&self) {
        self.shared.tick();
    }

    /// Stops the threads after what they are at. What is not flushed stays in the WAL. Doing it again does nothing.
    pub fn stop(&self) {
        self.shared.scheduler.stop();
        let threads = std::mem::take(&mut *super::table::lock(&self.threads));
        for thread in threads {
            // A thread catches the panics of its jobs; one of its own is in the log.
            drop(thread.join());
        }
    }
}

impl Drop for ApplyPool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl ApplyTable {
    fn view(&self) -> Option<TableView> {
        Some(TableView { progress: self.progress.clone(), store: self.store()?.clone() })
    }
}

/// The end of the last partition that ends at or before the time to live allows.
fn expired_end(snapshot: &Snapshot, now: i64, ttl: Duration) -> Option<i64> {
    let by = snapshot.schema.def().partition_by;
    let in_parts = snapshot.parts.iter().map(|part| part.meta().max_time);
    let runs = snapshot.tails().flat_map(|tail| tail.partitions().values().flat_map(|r| r.iter()));
    let newest = in_parts.chain(runs.map(|run| run.max_time())).max()?;
    let limit = newest.min(now).saturating_sub(i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX));
    let in_parts = snapshot.parts.iter().map(|part| part.meta().id.partition);
    let in_tails = snapshot.tails().flat_map(|tail| tail.partitions().keys().copied());
    let ends = in_parts.chain(in_tails).map(|key| by.range(key).1);
    ends.filter(|end| *end <= limit).max()
}

impl Shared {
    /// Takes in the tables of the catalog.
    fn adopt(&self, fs: &Fs, state: &CatalogState) {
        super::table::lock(&self.dropped).extend(state.dropped.iter().copied());
        let mut tables = self.tables.write().expect("nobody else has it yet");
        for (id, state) in &state.tables {
            let store = recovered_store(fs, &self.tables_dir, state);
            tables.insert(*id, Arc::new(ApplyTable::recovered(*id, store)));
        }
    }

    /// Counts transactions of one table and queues them.
    fn take_in(&self, table: &ApplyTable, mut txns: Vec<Txn>) {
        let known = table.last();
        txns.retain(|txn| txn.seq_txn > known);
        self.segments.committed(txns.iter().filter_map(Txn::data));
        if txns.last().is_some_and(|last| last.kind == TxnKind::Drop) {
            // What stopped it does not matter any more.
            table.progress.resume();
        }
        table.push(txns, &self.gate);
    }

    fn tick(&self) {
        self.scheduler.retry(self.clock.monotonic());
        self.flush_aged();
        self.relieve_memory();
        self.compact_closed();
        self.schedule_all();
        self.measure();
    }
}

fn recovered_store(fs: &Fs, tables_dir: &Path, state: &TableState) -> TableStore {
    let dir = TableDir::new(fs, tables_dir, &state.shape);
    let parts = state.parts.values().map(|meta| Arc::new(Part::new(&dir, PartMeta::clone(meta))));
    let schema = Arc::new(TableSchema::of(state.shape.clone()));
    let snapshot = Snapshot::flushed(schema, parts.collect(), state.flushed_txn);
    TableStore::new(dir, snapshot)
}

fn spawn_threads(shared: &Arc<Shared>, threads: &mut Vec<JoinHandle<()>>) -> std::io::Result<()> {
    let spawn = |name: String, life: fn(&Shared)| {
        let shared = shared.clone();
        std::thread::Builder::new().name(name).spawn(move || life(&shared))
    };
    for n in 0..shared.config.workers {
        threads.push(spawn(format!("apply-{n}"), Shared::work)?);
    }
    for n in 0..shared.config.compaction.jobs_max {
        threads.push(spawn(format!("compact-{n}"), Shared::compact)?);
    }
    if shared.config.tick_ms > 0 {
        threads.push(spawn("apply-tick".to_owned(), |shared| {
            while shared.scheduler.sleep(Duration::from_millis(shared.config.tick_ms)) {
                shared.tick();
            }
        })?);
    }
    Ok(())
}
