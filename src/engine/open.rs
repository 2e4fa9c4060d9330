//! The engine: what runs, and the order in which it starts and stops.

use super::housekeeper::Housekeeper;
use super::identity::Identity;
use super::layout::{examine, log_dir};
use super::recovery::{Recovery, recover};
use super::rejects::RejectLog;
use super::reports::{ReportWriter, counted, unreported};
use super::shelf::Shelves;
use super::tables::TablePolicies;
use super::{EngineConfig, OpenError, Origin, Session};
use crate::apply::{ApplyPool, Gate, Txn};
use crate::clock::Clock;
use crate::hooks::{ReportRuns, Reporter, Sums};
use crate::io::{DirLock, EndOnPanic, Fs};
use crate::metrics;
use crate::planted::{Bug, is_planted};
use crate::schema::{Alteration, Registry, Table};
use crate::sequencer::{
    Committed, Durability, Frame, OnCommit, Sequencer, SequencerTurns, TxnKind,
};
use crate::storage::{Catalog, Snapshot};
use crate::wal::WriterPool;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The database of whoever names none.
pub const DEFAULT_DATABASE: &str = "public";

/// How often a start looks whether the WAL is replayed.
const CATCH_UP_POLL: Duration = Duration::from_millis(2);

/// A running server below its sockets.
#[derive(Debug)]
pub struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) catalog: Arc<Catalog>,
    threads: Mutex<Option<Threads>>,
    _lock: Arc<DirLock>,
}

/// The threads that a stop ends; the others belong to sequencer and apply pool.
#[derive(Debug)]
struct Threads {
    housekeeper: JoinHandle<Housekeeper>,
    reporter: Option<Reporter>,
}

/// The work of the threads, before anybody does it.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) sequencer: SequencerTurns,
    pub(super) reporter: Option<ReportRuns>,
    pub(super) housekeeper: Housekeeper,
}

/// What sessions, housekeeper and queries have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: EngineConfig,
    pub(super) fs: Fs,
    pub(super) clock: Clock,
    pub(super) identity: Identity,
    pub(super) wal_dir: PathBuf,
    pub(super) registry: Arc<Registry>,
    pub(super) policies: Arc<TablePolicies>,
    pub(super) writers: WriterPool,
    pub(super) sequencer: Sequencer,
    pub(super) apply: Arc<ApplyPool>,
    pub(super) rejects: RejectLog,
    /// Taken before any lock of the apply pool.
    pub(super) shelves: Mutex<Shelves>,
    /// Sessions begun since the start.
    pub(super) sessions: AtomicU64,
    stopping: AtomicBool,
}

/// What a stop came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseReport {
    /// True when every row is in Parquet; else the rest is in the WAL and the next start replays it.
    pub flushed: bool,
}

impl Engine {
    /// Opens a data directory, recovers what an earlier life left, and starts every thread.
    ///
    /// Blocks for as long as recovery takes; call it before any listener opens.
    ///
    /// # Errors
    /// The folder is in use, cannot be read or written, is damaged, or was written by a newer program.
    pub fn open(config: EngineConfig, fs: Fs, clock: Clock) -> Result<Arc<Engine>, OpenError> {
        let began = clock.monotonic();
        let (engine, work) = Engine::open_idle(config, fs, clock)?;
        let shared = &engine.shared;
        shared.apply.spawn().map_err(OpenError::Thread)?;
        shared.sequencer.spawn(work.sequencer)?;
        let threads = Threads::start(work.reporter, work.housekeeper)?;
        *engine.threads.lock().unwrap_or_else(PoisonError::into_inner) = Some(threads);
        let took = shared.clock.monotonic().saturating_sub(began).as_secs_f64();
        tracing::info!(seconds = took, epoch = shared.identity.epoch, "the data directory is open");
        Ok(engine)
    }

    /// Opens a data directory and recovers it, but starts nothing: the caller has the work of every thread in hand.
    pub(super) fn open_idle(
        mut config: EngineConfig,
        fs: Fs,
        clock: Clock,
    ) -> Result<(Arc<Engine>, Work), OpenError> {
        let dir = config.data_dir.clone();
        fs.create_dir_all(&dir)?;
        let lock = Arc::new(fs.lock(&dir)?.ok_or_else(|| OpenError::Locked(dir.clone()))?);
        // A killed life leaves names and bytes that only the kernel has. Nothing may be built on them before the device has them.
        fs.sync_all(&dir)?;
        examine(&fs, &dir)?;
        let identity = Identity::next(&fs, &dir)?;
        config.sequencer.reports = config.hook.enabled;
        if config.sequencer.durability != Durability::Sync {
            config.wal.carry_bytes = 0;
        }
        let recovered = recover(&config, &fs, &clock, &identity)?;
        let Recovery {
            catalog,
            registry,
            apply,
            log,
            ledger,
            first_writer,
            inherited,
            replay,
            shelves,
        } = recovered;
        let wal_dir = dir.join("wal");
        let (uuid, epoch) = (identity.uuid, identity.epoch);
        let wal = config.wal.clone();
        let segments = wal_dir.clone();
        let writers = WriterPool::new(wal, fs.clone(), segments, uuid, epoch, first_writer, ledger);
        let sums = Sums::new(
            unreported(&log)
                .filter(|_| config.hook.enabled && !is_planted(Bug::UnreportedForgotten)),
        );
        let (sequencer, turns) = Sequencer::open(
            config.sequencer.clone(),
            fs.clone(),
            &log_dir(&dir),
            clock.clone(),
            log,
            on_commit(registry.clone(), apply.clone(), config.hook.enabled.then(|| sums.clone())),
        )?;
        let policies = Arc::new(TablePolicies::new(config.tables.clone(), config.hook.enabled));
        let rejects = RejectLog::new(clock.clone(), config.limits.rejected_lines);
        let stopping = AtomicBool::new(false);
        let shared = Shared {
            config,
            fs,
            clock,
            identity,
            wal_dir,
            registry,
            policies,
            writers,
            sequencer,
            apply,
            rejects,
            shelves: Mutex::new(Shelves::new(shelves)),
            sessions: AtomicU64::new(0),
            stopping,
        };
        let shared = Arc::new(shared);
        let work = Work {
            sequencer: turns,
            reporter: shared.report_runs(sums),
            housekeeper: Housekeeper::new(shared.clone(), inherited, replay, lock.clone()),
        };
        let engine = Engine { shared, catalog, threads: Mutex::new(None), _lock: lock };
        Ok((Arc::new(engine), work))
    }

    /// A way in for one connection. Costs no file and no writer until its first line.
    pub fn session(&self, database: Arc<str>, origin: Origin) -> Session {
        Session::new(self.shared.clone(), database, origin)
    }

    /// What a table holds now.
    pub fn snapshot(&self, database: &str, table: &str) -> Option<Arc<Snapshot>> {
        self.shared.snapshot(database, table)
    }

    /// What lets connections read on, or makes them wait.
    pub fn gate(&self) -> &Gate {
        self.shared.apply.gate()
    }

    /// Returns once queries see what was committed before, or something is in the way that may last: a full disk, say.
    pub async fn caught_up(&self) {
        let marks = self.shared.apply.marks();
        while self.shared.apply.is_behind(&marks) {
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
    }

    /// What it was opened with.
    pub fn config(&self) -> &EngineConfig {
        &self.shared.config
    }

    /// The clock that everything here goes by.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Stops: the last report, every receipt, then what can be applied and flushed within `deadline`, then the seals. Sessions
    /// must be gone. A second call does nothing.
    ///
    /// Blocks; call it off the runtime's threads.
    pub fn close(&self, deadline: Duration) -> CloseReport {
        let shared = &self.shared;
        let until = shared.clock.monotonic().saturating_add(deadline);
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(threads) = threads else { return CloseReport { flushed: false } };
        let housekeeper = threads.stop(shared);
        let sealed = shared.sequencer.shutdown();
        if let Err(error) = &sealed {
            tracing::error!(%error, "the transaction log could not be sealed");
        }
        let flushed = shared.flush_until(until);
        shared.apply.stop();
        if flushed && sealed.is_ok() {
            housekeeper.last_round();
        }
        if let Err(error) = self.catalog.seal() {
            tracing::warn!(%error, "the catalog ends without a seal");
        }
        CloseReport { flushed }
    }
}

impl Threads {
    fn start(reporter: Option<ReportRuns>, housekeeper: Housekeeper) -> Result<Threads, OpenError> {
        let reporter = reporter.map(Reporter::start).transpose().map_err(OpenError::Thread)?;
        let housekeeper = std::thread::Builder::new()
            .name("housekeeper".to_owned())
            .spawn(move || {
                // Nothing would be purged any more, until the disk is full.
                let _ends = EndOnPanic::unless(housekeeper.is_simulated());
                housekeeper.run()
            })
            .map_err(OpenError::Thread)?;
        Ok(Threads { housekeeper, reporter })
    }

    /// Ends both, the reporter with a last report.
    fn stop(self, shared: &Shared) -> Housekeeper {
        shared.stopping.store(true, Ordering::Release);
        self.housekeeper.thread().unpark();
        let housekeeper = match self.housekeeper.join() {
            Ok(housekeeper) => housekeeper,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        if let Some(reporter) = self.reporter {
            reporter.stop();
        }
        housekeeper
    }
}

impl Drop for Engine {
    /// Without [`Engine::close`], ends as a kill would: nothing is sealed, and the next start replays the WAL.
    fn drop(&mut self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Threads { housekeeper, reporter }) = threads {
            self.shared.stopping.store(true, Ordering::Release);
            housekeeper.thread().unpark();
            drop(reporter);
            if housekeeper.join().is_err() {
                tracing::error!("the housekeeper ended with a panic");
            }
        }
    }
}

impl Shared {
    /// A table that has its first transaction: others exist in a claim only.
    pub(super) fn logged_table(&self, database: &str, name: &str) -> Option<Arc<Table>> {
        self.registry.get(&database.into(), name).filter(|t| t.is_logged())
    }

    /// A table that has its first transaction, also by a name that differs from its own by case only.
    pub(super) fn logged_table_folded(&self, database: &str, name: &str) -> Option<Arc<Table>> {
        self.registry.get_folded(&database.into(), name).filter(|t| t.is_logged())
    }

    pub(super) fn snapshot(&self, database: &str, table: &str) -> Option<Arc<Snapshot>> {
        let table = self.logged_table(database, table)?;
        Some(self.apply.table(table.id())?.store.load())
    }

    /// Flushes everything until a time on the monotonic clock. True when all is flushed.
    fn flush_until(&self, until: Duration) -> bool {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "nothing is flushed; the next start replays the WAL");
                return false;
            }
        };
        let left = until.saturating_sub(self.clock.monotonic());
        let flush = async { tokio::time::timeout(left, self.apply.flush_all()).await };
        match runtime.block_on(flush) {
            Ok(Ok(())) => true,
            Ok(Err(trouble)) => {
                tracing::error!(%trouble, "not everything could be flushed; it stays in the WAL");
                false
            }
            Err(_) => {
                tracing::info!("the deadline has come; what is not flushed stays in the WAL");
                false
            }
        }
    }

    /// Reports to be made; none when they are switched off.
    fn report_runs(self: &Arc<Shared>, sums: Arc<Sums>) -> Option<ReportRuns> {
        let config = self.config.hook.clone();
        if !config.enabled {
            return None;
        }
        let sink = Box::new(ReportWriter::new(self.clone(), self.writers.lend_for_good()));
        Some(ReportRuns::new(config, self.clock.clone(), sums, sink))
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// What runs on the sequencer's thread for every group commit, before anybody hears of it: the registry learns what is logged, apply
/// gets the transactions, the reporter counts the rows.
fn on_commit(registry: Arc<Registry>, apply: Arc<ApplyPool>, sums: Option<Arc<Sums>>) -> OnCommit {
    Box::new(move |committed| {
        let mut rows_committed = 0;
        for txn in committed {
            match &txn.kind {
                TxnKind::Create(_) => {
                    if let Some(table) = registry.by_id(txn.table) {
                        table.mark_logged();
                    }
                }
                TxnKind::AddColumns(columns) => {
                    if let Some(table) = registry.by_id(txn.table) {
                        let schema = table.schema();
                        for column in columns.iter().filter_map(|c| schema.by_id(c.id)) {
                            column.mark_logged();
                        }
                    }
                }
                TxnKind::Alter(Alteration::RetypeColumn { to, .. }) => {
                    if let Some(table) = registry.by_id(txn.table)
                        && let Some(column) = table.schema().by_id(to.id)
                    {
                        column.mark_logged();
                    }
                }
                _ => {}
            }
            rows_committed += txn.kind.frame().map_or(0, |frame| u64::from(frame.rows));
        }
        metrics::ROWS.increment(rows_committed);
        if let Some(sums) = &sums {
            let tables = committed.chunk_by(|a, b| a.table == b.table);
            sums.add(tables.filter_map(|txns| counted(txns, |id| registry.by_id(id))));
        }
        // A drop comes last for its table, and its rows before it are counted above by the name it still has.
        for txn in committed.iter().filter(|txn| txn.kind == TxnKind::Drop) {
            registry.drop_table(txn.table);
        }
        apply.submit(committed.iter().map(to_apply));
    })
}

/// A transaction in the words of the apply pool, which does not know the sequencer.
pub(super) fn to_apply(txn: &Committed) -> Txn {
    use crate::apply::{Data, TxnKind as Apply};
    let data = |frame: &Frame| Data {
        writer: frame.writer,
        segment: frame.segment,
        offset: frame.offset,
        len: frame.len,
        rows: frame.rows,
        min_time: frame.min_time,
        max_time: frame.max_time,
    };
    let kind = match &txn.kind {
        TxnKind::Create(def) => Apply::Create(def.clone()),
        TxnKind::AddColumns(columns) => Apply::AddColumns(columns.clone()),
        TxnKind::Data(frame) => Apply::Data(data(frame)),
        TxnKind::Replace { from, to, frame } => {
            Apply::Replace { from: *from, to: *to, data: frame.as_ref().map(data) }
        }
        TxnKind::Truncate => Apply::Truncate,
        TxnKind::Alter(alteration) => Apply::Alter(alteration.clone()),
        TxnKind::RemoveBefore(time) => Apply::RemoveBefore(*time),
        TxnKind::Drop => Apply::Drop,
    };
    Txn { table: txn.table, seq_txn: txn.seq_txn, at: txn.at, kind }
}
