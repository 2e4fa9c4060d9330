//! Flush reports become rows: ordinary commits of a writer of the engine's own, whose receipts also say what they report.
//!
//! Rows and bookkeeping are one record of the log, so a report is either written and counted as reported, or neither.

use super::open::Shared;
use crate::hooks::{FlushReport, REPORTS_TABLE, ReportError, ReportRow, ReportSink};
use crate::schema::{Claim, ClaimError, ColumnDef, Table};
use crate::sequencer::{Committed, Frame, LogState, Progress, Receipt, Reported};
use crate::types::{ColumnId, ColumnType, SeqTxn, TableId};
use crate::wal::{Batch, Lease};
use std::collections::HashMap;
use std::sync::Arc;

/// What `write_reports` has beside its time.
const COLUMNS: [(&str, ColumnType); 2] =
    [("table_name", ColumnType::Tag), ("row_count", ColumnType::Integer)];

/// The columns that `write_reports` gets with its first row.
pub(super) fn report_columns() -> Vec<ColumnDef> {
    let ids = (1..).map(ColumnId);
    let def =
        |(id, (name, ty)): (ColumnId, (&str, ColumnType))| ColumnDef { id, name: name.into(), ty };
    ids.zip(COLUMNS).map(def).collect()
}

/// The sink that writes to `write_reports` of each database.
#[derive(Debug)]
pub(super) struct ReportWriter {
    shared: Arc<Shared>,
    writer: Lease,
    /// Series numbers in the writer's segment, by table and reported name.
    series: HashMap<(TableId, Arc<str>), u32>,
    progress: Arc<Progress>,
    ordinal: u64,
}

/// One database's `write_reports` in a run.
struct Reports {
    table: Arc<Table>,
    table_name: ColumnId,
    batch: Batch,
}

impl ReportWriter {
    pub(super) fn new(shared: Arc<Shared>, writer: Lease) -> ReportWriter {
        let (series, progress) = (HashMap::new(), Progress::new());
        ReportWriter { shared, writer, series, progress, ordinal: 0 }
    }

    /// The batch of one database, empty.
    fn reports(&self, database: &Arc<str>, at: i64) -> Result<Reports, ClaimError> {
        let registry = &self.shared.registry;
        let policy = self.shared.policies.of(REPORTS_TABLE);
        let claim = Claim { columns: &COLUMNS, time: at, may_add_columns: true };
        let table = registry.table_or_claim(database, REPORTS_TABLE, &policy, &claim, at)?;
        registry.claim(&table, &claim)?;
        let schema = table.schema();
        let id = |name| schema.get(name).expect("claimed just now").id();
        let mut batch = Batch::new(table.id());
        batch.add_column(id("row_count"), ColumnType::Integer);
        Ok(Reports { table_name: id("table_name"), batch, table })
    }

    fn fill(&mut self, at: i64, rows: &[ReportRow]) -> Result<Vec<Reports>, ClaimError> {
        let mut all: Vec<Reports> = Vec::new();
        for row in rows {
            // Rows come in order of their databases.
            let same = |r: &&Reports| r.table.def().database == row.database;
            if all.last().filter(same).is_none() {
                all.push(self.reports(&row.database, at)?);
            }
            let reports = all.last_mut().expect("pushed just above");
            let table = reports.table.id();
            let (writer, tag) = (&mut self.writer, reports.table_name);
            let series = *self
                .series
                .entry((table, row.table_name.clone()))
                .or_insert_with(|| writer.series(table, &[(tag, &row.table_name)]));
            let n = reports.batch.rows();
            reports.batch.columns[0].push_i64(n, row.row_count);
            reports.batch.finish_row(at, series);
        }
        Ok(all)
    }
}

impl ReportSink for ReportWriter {
    fn write(
        &mut self,
        at: i64,
        rows: &[ReportRow],
        counted: &[FlushReport],
    ) -> Result<(), ReportError> {
        let all = self.fill(at, rows)?;
        let appended = self.writer.append(all.iter().map(|r| &r.batch))?.ok_or("no rows")?;
        self.ordinal += 1;
        let receipt = self.shared.receipt(appended, self.progress.clone(), self.ordinal);
        let mut definitions = Vec::new();
        all.iter().for_each(|r| definitions.extend(r.table.unlogged()));
        let reported = |r: &FlushReport| Reported {
            table: r.table,
            through: r.last_txn,
            rows: r.rows,
            bytes: r.bytes,
        };
        let reported = counted.iter().map(reported).collect();
        self.shared.sequencer.push(Receipt { definitions, reported, ..receipt });
        if self.writer.should_roll() {
            self.writer.roll();
            self.series.clear();
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.progress.committed() >= self.ordinal
    }

    fn settle(&self) {
        self.progress.wait(self.ordinal);
    }
}

/// What transactions of one table add to the next report, if any of them holds rows.
pub(super) fn counted(
    txns: &[Committed],
    table: impl FnOnce(TableId) -> Option<Arc<Table>>,
) -> Option<FlushReport> {
    let mut with_rows = txns.iter().filter_map(|txn| Some((txn.seq_txn, txn.kind.frame()?)));
    let (first_txn, first) = with_rows.next()?;
    let table = table(txns[0].table)?;
    let mut report = FlushReport {
        table: table.id(),
        database: table.def().database.clone(),
        table_name: table.def().name.clone(),
        rows: u64::from(first.rows),
        bytes: first.bytes,
        min_time: first.min_time,
        max_time: first.max_time,
        first_txn,
        last_txn: first_txn,
    };
    for (txn, &Frame { rows, bytes, min_time, max_time, .. }) in with_rows {
        report.add(u64::from(rows), bytes, (min_time, max_time), (txn, txn));
    }
    Some(report)
}

/// What an earlier life committed and did not report.
pub(super) fn unreported(log: &LogState) -> impl Iterator<Item = FlushReport> {
    log.tables().filter(|(_, state)| state.unreported.rows > 0).map(|(table, state)| FlushReport {
        table,
        database: state.database.clone(),
        table_name: state.name.clone(),
        rows: state.unreported.rows,
        bytes: state.unreported.bytes,
        min_time: state.unreported.min_time,
        max_time: state.unreported.max_time,
        first_txn: SeqTxn(state.reported_txn.0 + 1),
        last_txn: state.seq_txn,
    })
}
