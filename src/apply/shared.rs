//! What all threads of the pool share.

use super::flush::flush;
use super::gate::Gate;
use super::progress::Stage;
use super::scheduler::{Job, Scheduler};
use super::segments::Segments;
use super::table::{ApplyTable, lock};
use super::written::Written;
use super::{ApplyConfig, ErrorTag, Trouble, compaction};
use crate::clock::Clock;
use crate::io::Fs;
use crate::metrics;
use crate::storage::Catalog;
use crate::types::{SeqTxn, TableId};
use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// How long a worker that has done a short turn waits before it looks for the next one, if nothing is queued: small commits come by the dozen a
/// millisecond, and a turn for each dozen costs twice as much as one for all.
const COMPANY: Duration = Duration::from_millis(2);

/// The pool without its threads.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: ApplyConfig,
    pub(super) fs: Fs,
    pub(super) clock: Clock,
    /// The folder of all tables' folders.
    pub(super) tables_dir: PathBuf,
    pub(super) catalog: Arc<Catalog>,
    pub(super) segments: Arc<Segments>,
    pub(super) gate: Arc<Gate>,
    pub(super) scheduler: Scheduler,
    /// In order, so that the same events give the same work.
    pub(super) tables: RwLock<BTreeMap<TableId, Arc<ApplyTable>>>,
    /// Tables that are gone: nothing of theirs is needed any more.
    pub(super) dropped: Mutex<HashSet<TableId>>,
    /// A table waits until a flush gives memory back. Relaxed: the scheduler's lock, which is taken after it is set and before it is taken, orders it.
    parked: AtomicBool,
    /// Monotonic nanoseconds until which less is done at once, since the system refused memory. Relaxed: a hint.
    short_until: AtomicU64,
    pub(super) written: Written,
    /// When the pool was opened, monotonic.
    pub(super) opened: Duration,
    /// Parts that may be made because of their age.
    aged: Mutex<Allowance>,
}

/// How long less is done at once after the system refused memory.
const SHORT_OF_MEMORY: Duration = Duration::from_secs(60);

/// What may be used up, so much a second and at most a second's worth at once.
#[derive(Debug)]
struct Allowance {
    left: f64,
    since: Duration,
}

impl Shared {
    pub(super) fn new(
        config: ApplyConfig,
        fs: Fs,
        clock: Clock,
        tables_dir: PathBuf,
        catalog: Arc<Catalog>,
        segments: Segments,
    ) -> Shared {
        Shared {
            opened: clock.monotonic(),
            aged: Mutex::new(Allowance {
                left: config.flush_parts_per_s as f64,
                since: clock.monotonic(),
            }),
            written: Written::default(),
            gate: Arc::new(Gate::new(config.memory_budget, config.unapplied_bytes)),
            scheduler: Scheduler::new(config.workers),
            config,
            fs,
            clock,
            tables_dir,
            catalog,
            segments: Arc::new(segments),
            tables: RwLock::default(),
            dropped: Mutex::default(),
            parked: AtomicBool::new(false),
            short_until: AtomicU64::new(0),
        }
    }

    pub(super) fn table(&self, id: TableId) -> Option<Arc<ApplyTable>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(super) fn all_tables(&self) -> Vec<Arc<ApplyTable>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The table of this id, made when it is new.
    pub(super) fn table_or_new(&self, id: TableId) -> Arc<ApplyTable> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.entry(id).or_insert_with(|| Arc::new(ApplyTable::new(id))).clone()
    }

    /// The table is dropped.
    pub(super) fn forget(&self, id: TableId) {
        lock(&self.dropped).insert(id);
        self.tables.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Queues every table that has work: no notification is needed for progress.
    pub(super) fn schedule_all(&self) {
        for table in self.all_tables() {
            table.schedule(self);
        }
    }

    /// True while tails hold more than the budget and a flush is about to give some of it back. Who is told so
    /// is scheduled again after the flush.
    pub(super) fn must_wait_for_memory(&self) -> bool {
        if !self.gate.is_over_budget() {
            return false;
        }
        // Set before the flushes are looked at, under the lock under which they end: the last of them sees it or is seen.
        self.parked.store(true, Ordering::Relaxed);
        self.scheduler.is_flushing()
    }

    /// True while fewer things should be done at once: tails take most of their budget, or the system refused memory a moment ago.
    pub(super) fn is_short_of_memory(&self) -> bool {
        let until = Duration::from_nanos(self.short_until.load(Ordering::Relaxed));
        self.gate.is_under_pressure() || (!until.is_zero() && self.clock.monotonic() < until)
    }

    /// The system refused memory.
    pub(super) fn ran_out_of_memory(&self) {
        let until = self.clock.monotonic() + SHORT_OF_MEMORY;
        self.short_until
            .store(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// True once for everybody that waited for memory. To be asked after a flush has ended in the scheduler.
    pub(super) fn take_parked(&self) -> bool {
        self.parked.swap(false, Ordering::Relaxed)
    }

    /// Asks the largest tails to be flushed when memory runs short.
    pub(super) fn relieve_memory(&self) {
        let mut excess = self.gate.excess();
        if excess == 0 {
            return;
        }
        let mut tables: Vec<(u64, Arc<ApplyTable>)> = self
            .all_tables()
            .into_iter()
            .filter_map(|table| Some((table.store()?.load().tail.bytes(), table)))
            .collect();
        tables.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (bytes, table) in tables {
            if excess == 0 {
                return;
            }
            table.want_flush(table.progress.applied_txn());
            table.schedule(self);
            excess = excess.saturating_sub(bytes);
        }
    }

    /// Asks tails to be flushed whose oldest transaction is old enough, the oldest first, and no more than the disk can take.
    pub(super) fn flush_aged(&self) {
        let now = self.clock.monotonic();
        let default = Duration::from_millis(self.config.flush_age_ms);
        let overdue = |table: Arc<ApplyTable>| {
            let queue = lock(&table.queue);
            let overdue = queue.tail_age(now)?.checked_sub(queue.max_lag.unwrap_or(default))?;
            drop(queue);
            Some((overdue, table))
        };
        let mut tables: Vec<_> = self.all_tables().into_iter().filter_map(overdue).collect();
        tables.sort_by_key(|(overdue, _)| std::cmp::Reverse(*overdue));
        let mut allowance = lock(&self.aged);
        let per_second = self.config.flush_parts_per_s as f64;
        let earned = now.saturating_sub(allowance.since).as_secs_f64() * per_second;
        allowance.left = (allowance.left + earned).min(per_second);
        allowance.since = now;
        for (_, table) in tables {
            if allowance.left < 1.0 {
                return;
            }
            let parts = table.store().map_or(0, |store| store.load().tail.partitions().len());
            allowance.left -= parts.max(1) as f64;
            table.want_flush(table.progress.applied_txn());
        }
    }

    /// Queues tables for compaction of whose partitions one has become quiet.
    pub(super) fn compact_closed(&self) {
        for table in self.all_tables() {
            self.compact_if_due(&table);
        }
    }

    /// How far the table is flushed; all the way when it is dropped.
    pub(super) fn flushed_txn(&self, id: TableId) -> SeqTxn {
        match self.table(id) {
            Some(table) => table.progress.flushed_txn(),
            None if lock(&self.dropped).contains(&id) => SeqTxn(u64::MAX),
            None => SeqTxn::NONE,
        }
    }

    /// A worker's life.
    pub(super) fn work(&self) {
        while let Some(job) = self.scheduler.next_job(|| self.is_short_of_memory()) {
            let is_turn = matches!(job, Job::Turn(_));
            let start = self.clock.monotonic();
            self.run(job);
            if is_turn && self.clock.monotonic().saturating_sub(start) < COMPANY {
                self.scheduler.rest(COMPANY);
            }
        }
    }

    pub(super) fn run(&self, job: Job) {
        match job {
            Job::Turn(table) => {
                self.guard(slice::from_ref(&table), || table.take_turn(self));
                self.scheduler.finished_turn();
            }
            Job::Flush(tasks) => {
                let count = tasks.len();
                let tables: Vec<Arc<ApplyTable>> =
                    tasks.iter().map(|task| task.table.clone()).collect();
                self.guard(&tables, || flush(tasks, self));
                self.scheduler.finished_flushes(count);
                if self.take_parked() {
                    self.schedule_all();
                }
            }
            Job::Read(reading) => while reading.read_next() {},
        }
    }

    /// The life of a compaction thread.
    pub(super) fn compact(&self) {
        // Of this thread only: apply and connections go first.
        if let Err(error) = rustix::process::nice(10) {
            tracing::debug!(%error, "compaction has the priority of apply");
        }
        while let Some(table) = self.scheduler.next_compaction() {
            self.run_compaction(&table, &|| self.scheduler.give_way());
        }
    }

    /// Merges what is due of a table, once. `is_stopping` is asked now and then.
    pub(super) fn run_compaction(&self, table: &Arc<ApplyTable>, is_stopping: &dyn Fn() -> bool) {
        self.guard(slice::from_ref(table), || compaction::compact(table, self, is_stopping));
        self.scheduler.finished_compaction();
    }

    /// Runs a job. A panic is our own mistake: it stops the tables that it was about, and no others.
    fn guard(&self, tables: &[Arc<ApplyTable>], job: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
            let message = panic_message(panic.as_ref());
            for table in tables {
                let message = message.clone();
                let trouble = Trouble::new(ErrorTag::Internal, message);
                self.fail(table, Stage::Apply, trouble);
            }
        }
    }

    /// Refreshes the gauges.
    pub(super) fn measure(&self) {
        let (mut lag_txns, mut lag_rows, mut parts, mut suspended) = (0, 0, 0, 0);
        let mut oldest = i64::MAX;
        let tables = self.all_tables();
        for table in &tables {
            let progress = &table.progress;
            lag_txns += progress.seq_txn().0.saturating_sub(progress.applied_txn().0);
            lag_rows += progress.unapplied_rows();
            suspended += u64::from(progress.is_suspended());
            parts += table.store().map_or(0, |store| store.load().parts.len());
            oldest = oldest.min(table.waiting_since().unwrap_or(i64::MAX));
        }
        let lag_nanos = self.clock.wall_nanos().saturating_sub(oldest).max(0);
        metrics::APPLY_LAG_TRANSACTIONS.set(lag_txns as f64);
        metrics::APPLY_LAG_ROWS.set(lag_rows as f64);
        metrics::APPLY_LAG_SECONDS.set(lag_nanos as f64 / 1e9);
        metrics::TAIL_BYTES.set(self.gate.tail_bytes() as f64);
        metrics::WRITE_AMPLIFICATION.set(self.written.amplification());
        metrics::PARTS.set(parts as f64);
        metrics::TABLES.set(tables.len() as f64);
        metrics::TABLES_SUSPENDED.set(suspended as f64);
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
