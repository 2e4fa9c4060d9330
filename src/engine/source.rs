//! The engine as queries see it.

use super::Engine;
use super::open::{DEFAULT_DATABASE, Shared};
use super::reports::report_columns;
use crate::query::{
    Command, CommandError, Pending, RejectedLine, Source, Suspension, TableStatus, Transaction,
};
use crate::schema::{Table, TableDef, TableOptions};
use crate::storage::{Snapshot, TableSchema};
use crate::types::{SeqTxn, TableId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Engine {
    /// Where queries get their tables from.
    pub fn source(&self) -> Arc<dyn Source> {
        Arc::new(EngineSource(self.shared.clone()))
    }
}

struct EngineSource(Arc<Shared>);

impl Source for EngineSource {
    fn databases(&self) -> Vec<String> {
        let tables = self.0.registry.all();
        let used = tables.iter().filter(|t| t.is_logged()).map(|t| t.def().database.to_string());
        let names: BTreeSet<String> = used.chain([DEFAULT_DATABASE.to_owned()]).collect();
        names.into_iter().collect()
    }

    fn tables(&self, database: &str) -> Vec<String> {
        let tables = self.0.registry.all();
        let here = tables.iter().filter(|t| t.is_logged() && *t.def().database == *database);
        let mut names: Vec<String> = here.map(|t| t.def().name.to_string()).collect();
        names.sort_unstable();
        names
    }

    fn snapshot(&self, database: &str, table: &str) -> Option<Arc<Snapshot>> {
        self.0.snapshot(database, table).or_else(|| self.0.no_reports_yet(database, table))
    }

    fn table_status(&self) -> Vec<TableStatus> {
        let pressure = self.0.memory_pressure();
        let mut status: Vec<TableStatus> = self
            .0
            .registry
            .all()
            .iter()
            .filter_map(|table| self.0.status(table, pressure))
            .collect();
        status.sort_unstable_by(|a, b| (&a.database, &a.name).cmp(&(&b.database, &b.name)));
        status
    }

    fn rejected_lines(&self) -> Vec<Arc<RejectedLine>> {
        self.0.rejects.kept()
    }

    fn transactions(&self, database: &str, table: &str) -> Result<Vec<Transaction>, CommandError> {
        let found = self.0.logged_table_folded(database, table);
        let found = found.ok_or_else(|| CommandError::NoSuchTable(table.to_owned()))?;
        self.0.transactions(&found).map_err(CommandError::Failed)
    }

    fn execute<'a>(
        &'a self,
        database: &'a str,
        command: Command,
    ) -> Pending<'a, Result<(), CommandError>> {
        Box::pin(self.0.execute(database, command))
    }
}

impl Shared {
    /// `write_reports` before its first row: a table without rows, not an unknown one.
    fn no_reports_yet(&self, database: &str, table: &str) -> Option<Arc<Snapshot>> {
        if !self.policies.is_reserved(table) {
            return None;
        }
        let def = TableDef {
            id: TableId::default(),
            database: database.into(),
            name: table.into(),
            partition_by: self.policies.of(table).partition_by,
            time_column: self.policies.of(table).time_column,
            time_place: u32::MAX,
            created: 0,
            options: TableOptions::default(),
        };
        let schema = Arc::new(TableSchema::new(def, report_columns()));
        Some(Arc::new(Snapshot::flushed(schema, Arc::default(), SeqTxn::NONE)))
    }

    fn status(&self, table: &Table, memory_pressure: u8) -> Option<TableStatus> {
        let progress = self.apply.progress(table.id())?;
        let suspended = progress
            .trouble()
            .map(|trouble| Suspension { tag: trouble.tag.to_string(), message: trouble.message });
        // From behind: each number can only rise while the next is read.
        let flushed_txn = progress.flushed_txn();
        let applied_txn = progress.applied_txn();
        Some(TableStatus {
            id: table.id(),
            database: table.def().database.clone(),
            name: table.def().name.clone(),
            seq_txn: progress.seq_txn(),
            applied_txn,
            flushed_txn,
            lag_rows: progress.unapplied_rows(),
            lag_time: self.lag_time(table.id()),
            skipped_txns: progress.skipped_txns(),
            suspended,
            memory_pressure,
        })
    }

    fn lag_time(&self, table: TableId) -> Duration {
        let waits = |since| self.clock.wall_nanos().saturating_sub(since).max(0).unsigned_abs();
        Duration::from_nanos(self.apply.waiting_since(table).map_or(0, waits))
    }

    /// 0 when memory is no concern, 1 when tails are flushed early and less is done at once for it, 2 when connections wait.
    fn memory_pressure(&self) -> u8 {
        match self.apply.gate().admitted() {
            false => 2,
            true => u8::from(self.apply.is_short_of_memory()),
        }
    }
}
