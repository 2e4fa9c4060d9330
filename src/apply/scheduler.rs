//! What the threads do next: queues of tables with transactions, of tails to flush, of tables to compact.
//!
//! A table is in the turn queue at most once and goes to the back after its turn, so that none starves. Flushes take up to half
//! of the workers, or all of them while nothing waits for a turn. A worker without a job helps a turn to read its frames. After a
//! short turn a worker rests for a moment unless something is queued, so that more comes together for the next one. While
//! memory is short, one table at a time has a turn and all other workers flush. Compaction has threads of its own, of low
//! priority, so that it is never in front of apply.

use super::flush::FlushTask;
use super::merge::Reading;
use super::progress::Stage;
use super::table::ApplyTable;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Small tails are flushed together, so that they share a commit of the catalog: up to so many ...
const FLUSH_TASKS_MAX: usize = 256;
/// ... of up to so many bytes together.
const FLUSH_BYTES_MAX: u64 = 4 << 20;

/// Longest pause of a compaction between two batches, which take it about half as long: it slows down and does not stop.
const GIVE_WAY_MAX: Duration = Duration::from_millis(20);

/// What a worker does next.
#[derive(Debug)]
pub(super) enum Job {
    /// Apply transactions of a table.
    Turn(Arc<ApplyTable>),
    /// Write and publish parts.
    Flush(Vec<FlushTask>),
    /// Help another worker's turn with its frames.
    Read(Arc<Reading>),
}

/// The queues of all threads.
#[derive(Debug)]
pub(super) struct Scheduler {
    queues: Mutex<Queues>,
    /// Something for a worker was queued, or the pool stops.
    work: Condvar,
    /// The same for the threads of compaction and the ticker.
    background: Condvar,
    /// A busy turn asks workers that rest for help, or the pool stops.
    resting: Condvar,
    /// Workers that may flush while tables wait for a turn.
    flushers_max: usize,
}

#[derive(Debug, Default)]
struct Queues {
    turns: VecDeque<Arc<ApplyTable>>,
    flushes: VecDeque<FlushTask>,
    /// Turns that want help: an entry for each worker that was idle.
    readings: Vec<Arc<Reading>>,
    /// Workers that wait for a job.
    idle: usize,
    /// Flushes that failed and are tried again after a pause.
    failed_flushes: Vec<FlushTask>,
    /// Tables that have a turn.
    turning: usize,
    /// Flushes that a worker is at.
    flushing: usize,
    compactions: VecDeque<Arc<ApplyTable>>,
    failed_compactions: Vec<Arc<ApplyTable>>,
    compacting: usize,
    is_stopping: bool,
}

impl Scheduler {
    pub(super) fn new(workers: usize) -> Scheduler {
        Scheduler {
            queues: Mutex::default(),
            work: Condvar::new(),
            background: Condvar::new(),
            resting: Condvar::new(),
            flushers_max: (workers / 2).max(1),
        }
    }

    /// Queues a table for a turn. The table sees to it that it is queued once.
    pub(super) fn push_turn(&self, table: Arc<ApplyTable>) {
        self.lock().turns.push_back(table);
        self.work.notify_one();
    }

    /// Asks workers that have nothing to do to take groups of a turn.
    pub(super) fn share(&self, reading: &Arc<Reading>) {
        let others = reading.waiting().saturating_sub(1);
        if others > 0 {
            let mut queues = self.lock();
            let helpers = others.min(queues.idle.saturating_sub(queues.readings.len()));
            queues.readings.extend(std::iter::repeat_n(reading, helpers).cloned());
            (0..helpers).for_each(|_| self.work.notify_one());
            self.resting.notify_all();
        }
    }

    /// Queues tails to flush.
    pub(super) fn push_flushes(&self, tasks: Vec<FlushTask>) {
        self.lock().flushes.extend(tasks);
        self.work.notify_all();
    }

    /// Keeps a failed flush until its pause is over.
    pub(super) fn set_flush_aside(&self, task: FlushTask) {
        self.lock().failed_flushes.push(task);
    }

    /// Queues a table for compaction.
    pub(super) fn push_compaction(&self, table: Arc<ApplyTable>) {
        self.lock().compactions.push_back(table);
        self.background.notify_all();
    }

    /// Keeps a failed compaction until its pause is over.
    pub(super) fn set_compaction_aside(&self, table: Arc<ApplyTable>) {
        self.lock().failed_compactions.push(table);
    }

    /// Queues again what failed and has waited long enough.
    pub(super) fn retry(&self, now: Duration) {
        let mut queues = self.lock();
        let queues = &mut *queues;
        let is_due = |table: &ApplyTable, stage| table.retry(stage, |retry| retry.is_due(now));
        let flushes = &mut queues.failed_flushes;
        queues.flushes.extend(flushes.extract_if(.., |f| is_due(&f.table, Stage::Flush)));
        let compactions = &mut queues.failed_compactions;
        queues.compactions.extend(compactions.extract_if(.., |t| is_due(t, Stage::Compact)));
        self.work.notify_all();
        self.background.notify_all();
    }

    /// The next job of a worker, for which it waits; `None` when the pool stops. `is_short` tells whether memory is.
    pub(super) fn next_job(&self, is_short: impl Fn() -> bool) -> Option<Job> {
        let mut queues = self.lock();
        loop {
            if queues.is_stopping {
                return None;
            }
            if let Some(job) = queues.next_job(self.flushers_max, is_short()) {
                return Some(job);
            }
            queues.idle += 1;
            queues = self.work.wait(queues).unwrap_or_else(PoisonError::into_inner);
            queues.idle -= 1;
        }
    }

    /// The next job of a worker, if there is one.
    pub(super) fn try_job(&self, is_short: bool) -> Option<Job> {
        self.lock().next_job(self.flushers_max, is_short)
    }

    /// The next table to compact, if there is one.
    pub(super) fn try_compaction(&self) -> Option<Arc<ApplyTable>> {
        self.lock().next_compaction()
    }

    /// The next table to compact, for which the caller waits; `None` when the pool stops.
    pub(super) fn next_compaction(&self) -> Option<Arc<ApplyTable>> {
        let mut queues = self.lock();
        loop {
            if queues.is_stopping {
                return None;
            }
            if let Some(table) = queues.next_compaction() {
                return Some(table);
            }
            queues = self.background.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A worker is done with a turn.
    pub(super) fn finished_turn(&self) {
        let mut queues = self.lock();
        queues.turning -= 1;
        self.wake_for(&queues);
    }

    /// A worker is done with so many flushes.
    pub(super) fn finished_flushes(&self, count: usize) {
        let mut queues = self.lock();
        queues.flushing -= count;
        self.wake_for(&queues);
    }

    /// What is queued may have waited for what has just ended.
    fn wake_for(&self, queues: &Queues) {
        if !queues.turns.is_empty() || !queues.flushes.is_empty() {
            self.work.notify_one();
        }
    }

    /// A thread is done with a compaction.
    pub(super) fn finished_compaction(&self) {
        self.lock().compacting -= 1;
    }

    /// True while a flush is queued or under way, or waits to be tried again: memory is about to come free, or will not
    /// before there is room on the disk. For those of a stuck table nobody else waits.
    pub(super) fn is_flushing(&self) -> bool {
        let queues = self.lock();
        queues.flushing > 0
            || !queues.flushes.is_empty()
            || queues.failed_flushes.iter().any(|task| !task.table.is_stuck(Stage::Flush))
    }

    /// True while a compaction is queued or under way.
    pub(super) fn is_compacting(&self) -> bool {
        let queues = self.lock();
        queues.compacting > 0
            || !queues.compactions.is_empty()
            || !queues.failed_compactions.is_empty()
    }

    /// Sleeps for `period`, or less when the pool stops: then it returns false.
    pub(super) fn sleep(&self, period: Duration) -> bool {
        let queues = self.lock();
        let woken = self.background.wait_timeout_while(queues, period, |q| !q.is_stopping);
        !woken.unwrap_or_else(PoisonError::into_inner).0.is_stopping
    }

    /// Waits for `period`, unless something is queued already, a busy turn asks for help, or the pool stops.
    pub(super) fn rest(&self, period: Duration) {
        let mut queues = self.lock();
        if queues.turns.is_empty() && queues.flushes.is_empty() {
            queues.idle += 1;
            let goes_on = |queues: &mut Queues| !queues.is_stopping && queues.readings.is_empty();
            let rested = self.resting.wait_timeout_while(queues, period, goes_on);
            rested.unwrap_or_else(PoisonError::into_inner).0.idle -= 1;
        }
    }

    /// Lets workers go first: waits a moment while anything is queued for them. True when the pool stops.
    pub(super) fn give_way(&self) -> bool {
        let queues = self.lock();
        let is_busy = |q: &mut Queues| {
            let has_work = !q.turns.is_empty() || !q.flushes.is_empty();
            has_work && !q.is_stopping
        };
        let waited = self.background.wait_timeout_while(queues, GIVE_WAY_MAX, is_busy);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_stopping
    }

    /// Lets every thread end after what it is at.
    pub(super) fn stop(&self) {
        self.lock().is_stopping = true;
        self.work.notify_all();
        self.background.notify_all();
        self.resting.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn next_compaction(&mut self) -> Option<Arc<ApplyTable>> {
        let table = self.compactions.pop_front()?;
        self.compacting += 1;
        Some(table)
    }

    fn next_job(&mut self, flushers_max: usize, is_short: bool) -> Option<Job> {
        if let Some(reading) = self.readings.pop() {
            return Some(Job::Read(reading));
        }
        let may_turn = !is_short || self.turning == 0;
        if self.flushing < flushers_max || self.turns.is_empty() || !may_turn {
            let tasks = self.next_flushes();
            if !tasks.is_empty() {
                return Some(Job::Flush(tasks));
            }
        }
        let table = self.turns.pop_front_if(|_| may_turn)?;
        self.turning += 1;
        Some(Job::Turn(table))
    }

    /// One large flush or several small ones.
    fn next_flushes(&mut self) -> Vec<FlushTask> {
        let (mut tasks, mut bytes) = (Vec::new(), 0);
        while let Some(task) = self.flushes.front() {
            bytes += task.bytes;
            if !tasks.is_empty() && (bytes > FLUSH_BYTES_MAX || tasks.len() >= FLUSH_TASKS_MAX) {
                break;
            }
            tasks.extend(self.flushes.pop_front());
        }
        self.flushing += tasks.len();
        tasks
    }
}
