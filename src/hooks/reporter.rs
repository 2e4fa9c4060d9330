//! The reporter's thread and one run of it.

use super::{FlushReport, REPORTS_TABLE, ReportRow, Sums};
use crate::clock::Clock;
use crate::metrics;
use crate::planted::{Bug, is_planted};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How tables are reported.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize, serde::Serialize)]
#[serde(default)]
pub struct HookConfig {
    /// Whether anything is reported.
    pub enabled: bool,
    /// Milliseconds between two runs.
    pub interval_ms: u64,
    /// A table whose row counts are doubled, by exact name.
    pub double_count_table: Option<String>,
}

/// Why a sink failed.
pub type ReportError = Box<dyn std::error::Error + Send + Sync>;

/// Where reports go.
pub trait ReportSink: Send {
    /// Hands in the rows of one run, all with the timestamp `at` (nanoseconds since 1970), and marks as reported what they count:
    /// both or neither, in one record of the log. `counted` has entries without a row, for `write_reports` itself.
    /// Does not wait for the record.
    ///
    /// # Errors
    /// Nothing was written or marked; the next run brings the same counts again, with those that came meanwhile.
    fn write(
        &mut self,
        at: i64,
        rows: &[ReportRow],
        counted: &[FlushReport],
    ) -> Result<(), ReportError>;

    /// True when what was handed in is in the log.
    fn is_settled(&self) -> bool;

    /// Waits until it is.
    fn settle(&self);
}

/// The running reporter. Dropping it ends it without a last report; the log remembers what is not reported.
pub struct Reporter {
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<ReportRuns>>>,
}

/// What the reporter's thread does, run by run.
pub struct ReportRuns {
    config: HookConfig,
    clock: Clock,
    sums: Arc<Sums>,
    sink: Box<dyn ReportSink>,
    /// The timestamp of the last run.
    last_at: i64,
}

impl Default for HookConfig {
    fn default() -> HookConfig {
        HookConfig { enabled: true, interval_ms: 1000, double_count_table: None }
    }
}

impl Reporter {
    /// Starts the thread. Sums that an earlier run left are reported at once.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn start(mut runs: ReportRuns) -> std::io::Result<Reporter> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("reporter".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                runs.report();
                // One run at a time: a log that cannot be written must not be given more and more.
                runs.sink.settle();
                std::thread::park_timeout(Duration::from_millis(runs.config.interval_ms.max(1)));
            }
            runs
        })?;
        Ok(Reporter { stop, thread: Mutex::new(Some(thread)) })
    }

    /// Reports what is there for the last time and ends the thread. To be called once nothing more is committed and while the sink
    /// still works. A second call does nothing.
    pub fn stop(&self) {
        if let Some(mut runs) = self.end() {
            runs.report();
            runs.sink.settle();
        }
    }

    fn end(&self) -> Option<ReportRuns> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        thread.thread().unpark();
        match thread.join() {
            Ok(run) => Some(run),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

impl fmt::Debug for ReportRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportRuns").field("last_at", &self.last_at).finish_non_exhaustive()
    }
}

impl ReportRuns {
    /// Runs over `sums`, none made yet.
    pub fn new(
        config: HookConfig,
        clock: Clock,
        sums: Arc<Sums>,
        sink: Box<dyn ReportSink>,
    ) -> ReportRuns {
        ReportRuns { config, clock, sums, sink, last_at: i64::MIN }
    }

    /// True when the last run is in the log, so that the next may be made.
    pub fn is_settled(&self) -> bool {
        self.sink.is_settled()
    }

    /// One run: all tables with rows, once.
    pub fn report(&mut self) {
        let sums = self.sums.take();
        let mut counted: Vec<FlushReport> = sums.into_values().filter(|r| r.rows > 0).collect();
        let key = |r: &FlushReport| (r.database.clone(), r.table_name.clone(), r.table);
        counted.sort_by_key(key);
        let reports = || counted.iter().filter(|report| *report.table_name != *REPORTS_TABLE);
        let rows: Vec<ReportRow> = reports().map(|report| self.row(report)).collect();
        if rows.is_empty() {
            // Reports of reports alone would go on for ever; they wait for a run that has more to say.
            self.sums.add(counted);
            return;
        }
        let start = self.clock.monotonic();
        let at = self.clock.wall_nanos().max(self.last_at.saturating_add(1));
        match self.sink.write(at, &rows, &counted) {
            Ok(()) => {
                self.last_at = at;
                if is_planted(Bug::ReportedTwice) {
                    self.sums.add(counted.iter().cloned());
                }
                reports().for_each(tell);
            }
            Err(error) => {
                metrics::HOOK_FAILURES.increment(1);
                tracing::warn!(%error, tables = rows.len(), "flush reports could not be written; their counts go into the next run");
                self.sums.add(counted);
            }
        }
        metrics::HOOK_DURATION.record((self.clock.monotonic() - start).as_secs_f64());
    }

    fn row(&self, report: &FlushReport) -> ReportRow {
        let doubled = self.config.double_count_table.as_deref() == Some(&*report.table_name);
        let rows = i64::try_from(report.rows).unwrap_or(i64::MAX);
        ReportRow {
            database: report.database.clone(),
            table_name: report.table_name.clone(),
            row_count: if doubled { rows.saturating_mul(2) } else { rows },
        }
    }
}

/// Tells metrics and log of one report.
fn tell(report: &FlushReport) {
    metrics::HOOK_REPORTS.increment(1);
    metrics::HOOK_ROWS.increment(report.rows);
    let table = metrics::table(&report.database, &report.table_name);
    table.rows.increment(report.rows);
    table.bytes.increment(report.bytes);
    tracing::debug!(
        database = &*report.database,
        table = &*report.table_name,
        rows = report.rows,
        bytes = report.bytes,
        min_time = report.min_time,
        max_time = report.max_time,
        first_txn = report.first_txn.0,
        last_txn = report.last_txn.0,
        "flush report"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{SeqTxn, TableId};

    type Runs = Arc<Mutex<Vec<(i64, Vec<ReportRow>, Vec<FlushReport>)>>>;

    /// Keeps what it is given; fails as long as told to.
    struct Kept {
        runs: Runs,
        failing: Arc<AtomicBool>,
    }

    impl ReportSink for Kept {
        fn write(
            &mut self,
            at: i64,
            rows: &[ReportRow],
            counted: &[FlushReport],
        ) -> Result<(), ReportError> {
            if self.failing.load(Ordering::Relaxed) {
                return Err("the disk is full".into());
            }
            self.runs.lock().expect("no panic").push((at, rows.to_vec(), counted.to_vec()));
            Ok(())
        }

        fn is_settled(&self) -> bool {
            true
        }

        fn settle(&self) {}
    }

    fn rows_of(table: u32, name: &str, rows: u64, txn: u64) -> FlushReport {
        FlushReport {
            table: TableId(table),
            database: "public".into(),
            table_name: name.into(),
            rows,
            bytes: rows * 100,
            min_time: txn as i64,
            max_time: txn as i64 + 1,
            first_txn: SeqTxn(txn),
            last_txn: SeqTxn(txn),
        }
    }

    fn run(config: HookConfig) -> (ReportRuns, Runs, Arc<AtomicBool>) {
        let (runs, failing) = (Runs::default(), Arc::new(AtomicBool::new(false)));
        let sink = Kept { runs: runs.clone(), failing: failing.clone() };
        let clock = Clock::manual(1_000);
        let sums = Arc::new(Sums::default());
        (ReportRuns::new(config, clock, sums, Box::new(sink)), runs, failing)
    }

    fn counts(rows: &[ReportRow]) -> Vec<(&str, i64)> {
        rows.iter().map(|row| (&*row.table_name, row.row_count)).collect()
    }

    #[test]
    fn commits_between_two_runs_become_one_report_a_table() {
        let (mut run, runs, _) = run(HookConfig::default());
        run.sums.add([rows_of(1, "cpu", 2, 3), rows_of(2, "mem", 5, 9)]);
        run.sums.add([rows_of(1, "cpu", 1, 4)]);
        run.report();
        let runs = runs.lock().expect("no panic");
        let (_, rows, counted) = &runs[0];
        assert_eq!(counts(rows), [("cpu", 3), ("mem", 5)]);
        assert_eq!((counted[0].first_txn, counted[0].last_txn), (SeqTxn(3), SeqTxn(4)));
        assert_eq!((counted[0].min_time, counted[0].max_time, counted[0].bytes), (3, 5, 300));
    }

    #[test]
    fn a_run_without_rows_writes_nothing() {
        let (mut run, runs, _) = run(HookConfig::default());
        run.report();
        run.sums.add([rows_of(1, "cpu", 0, 3)]);
        run.report();
        assert!(runs.lock().expect("no panic").is_empty());
    }

    #[test]
    fn reports_are_not_reported_but_count_as_reported_with_the_next_run() {
        let (mut run, runs, _) = run(HookConfig::default());
        run.sums.add([rows_of(7, "write_reports", 4, 5)]);
        run.report();
        assert!(runs.lock().expect("no panic").is_empty());
        run.sums.add([rows_of(1, "cpu", 1, 2)]);
        run.report();
        let runs = runs.lock().expect("no panic");
        assert_eq!(counts(&runs[0].1), [("cpu", 1)]);
        let counted: Vec<_> = runs[0].2.iter().map(|report| report.rows).collect();
        assert_eq!(counted, [1, 4]);
    }

    #[test]
    fn only_the_configured_table_counts_twice_and_never_write_reports() {
        let doubled = |name: &str| HookConfig {
            double_count_table: Some(name.to_owned()),
            ..HookConfig::default()
        };
        let (mut cpu, runs, _) = run(doubled("cpu"));
        cpu.sums.add([rows_of(1, "cpu", 3, 2), rows_of(2, "Cpu", 3, 2)]);
        cpu.report();
        assert_eq!(counts(&runs.lock().expect("no panic")[0].1), [("Cpu", 3), ("cpu", 6)]);
        let (mut reports, runs, _) = run(doubled(REPORTS_TABLE));
        reports.sums.add([rows_of(7, REPORTS_TABLE, 3, 2)]);
        reports.report();
        assert!(runs.lock().expect("no panic").is_empty());
    }

    #[test]
    fn a_failing_sink_gets_the_counts_again_in_the_next_run() {
        let (mut run, runs, failing) = run(HookConfig::default());
        failing.store(true, Ordering::Relaxed);
        run.sums.add([rows_of(1, "cpu", 2, 3)]);
        run.report();
        run.sums.add([rows_of(1, "cpu", 5, 4)]);
        failing.store(false, Ordering::Relaxed);
        run.report();
        let runs = runs.lock().expect("no panic");
        assert_eq!(runs.len(), 1);
        assert_eq!(counts(&runs[0].1), [("cpu", 7)]);
    }

    #[test]
    fn every_run_has_a_later_timestamp_even_when_the_clock_stands() {
        let (mut run, runs, _) = run(HookConfig::default());
        for txn in 2..5 {
            run.sums.add([rows_of(1, "cpu", 1, txn)]);
            run.report();
        }
        let times: Vec<_> = runs.lock().expect("no panic").iter().map(|run| run.0).collect();
        assert_eq!(times, [1_000, 1_001, 1_002]);
    }

    #[test]
    fn stopping_reports_what_is_there_and_recovered_sums_are_in_it() {
        let (runs, failing) = (Runs::default(), Arc::new(AtomicBool::new(false)));
        let sink = Kept { runs: runs.clone(), failing };
        let sums = Sums::new([rows_of(1, "cpu", 2, 3)]);
        let config = HookConfig { interval_ms: u64::MAX, ..HookConfig::default() };
        let made = ReportRuns::new(config, Clock::manual(5), sums.clone(), Box::new(sink));
        let reporter = Reporter::start(made);
        let reporter = reporter.expect("a thread");
        sums.add([rows_of(1, "cpu", 1, 4)]);
        reporter.stop();
        reporter.stop();
        let runs = runs.lock().expect("no panic");
        let total: i64 = runs.iter().flat_map(|run| &run.1).map(|row| row.row_count).sum();
        assert_eq!(total, 3);
    }
}
