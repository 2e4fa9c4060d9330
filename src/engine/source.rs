//! The engine as queries see it.

use super::Engine;
use super::open::{DEFAULT_DATABASE, Shared};
use super::reports::report_columns;
use crate::apply::ResumeError;
use crate::query::{Command, CommandError, Pending, RejectedLine, Source, Suspension, TableStatus};
use crate::schema::{Table, TableDef};
use crate::sequencer::{Change, Progress, Receipt};
use crate::storage::{Snapshot, TableSchema};
use crate::types::{SeqTxn, TableId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often a flush looks whether compaction has come to rest.
const COMPACTION_POLL: Duration = Duration::from_millis(10);

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

    fn execute<'a>(
        &'a self,
        database: &'a str,
        command: Command,
    ) -> Pending<'a, Result<(), CommandError>> {
        Box::pin(async move {
            let changes_nothing =
                matches!(command, Command::Flush { .. } | Command::ApplyWal { .. });
            if self.0.is_stopping() && !changes_nothing {
                // Nobody is left to carry it out, so waiting for that would have no end.
                let why = "nothing can be changed: the server has stopped or is about to";
                return Err(CommandError::Refused(why.to_owned()));
            }
            match command {
                Command::DropTable { if_exists, name } => {
                    match self.0.logged_table(database, &name) {
                        Some(table) => self.0.drop_table(&table).await,
                        None if if_exists => Ok(()),
                        None => Err(CommandError::NoSuchTable(name)),
                    }
                }
                Command::Flush { table: Some(name) } => {
                    let table = self.table(database, name)?;
                    self.0.flush(Some(table)).await
                }
                Command::Flush { table: None } => self.0.flush(None).await,
                Command::SuspendWal { name } => {
                    let table = self.table(database, name)?;
                    self.0.apply.suspend(table.id(), "a statement asked for it");
                    Ok(())
                }
                Command::ResumeWal { name, from } => {
                    let table = self.table(database, name)?;
                    self.0.resume(&table, from).await
                }
                Command::ApplyWal { name } => {
                    let table = self.table(database, name)?;
                    self.0.applied(&table).await
                }
            }
        })
    }
}

impl EngineSource {
    fn table(&self, database: &str, name: String) -> Result<Arc<Table>, CommandError> {
        self.0.logged_table(database, &name).ok_or(CommandError::NoSuchTable(name))
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
            created: 0,
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
            suspended,
            memory_pressure,
        })
    }

    /// 0 when memory is no concern, 1 when tails are flushed early for it, 2 when connections wait.
    fn memory_pressure(&self) -> u8 {
        let gate = self.apply.gate();
        match gate.tail_bytes() {
            _ if !gate.admitted() => 2,
            held if held > self.config.apply.memory_budget / 4 * 3 => 1,
            _ => 0,
        }
    }

    /// Sequences the drop of a table; its name is free on return.
    async fn drop_table(&self, table: &Table) -> Result<(), CommandError> {
        if self.policies.is_reserved(&table.def().name) {
            let why = "the server writes this table itself; switch the hook off to drop it";
            return Err(CommandError::Refused(why.to_owned()));
        }
        let progress = Progress::new();
        let receipt = Receipt::without_frames(progress.clone(), 1);
        let change = Change::Drop { table: table.id() };
        self.sequencer.push(Receipt { change: Some(change), ..receipt });
        progress.reached(1).await;
        Ok(())
    }

    /// Lets a suspended table go on. Where rows are to be skipped, returns once that is on the device: a start would try them again.
    async fn resume(&self, table: &Table, from: Option<SeqTxn>) -> Result<(), CommandError> {
        let resumed = self.apply.resume(table.id(), from);
        match (resumed, from) {
            // Resuming what goes on by itself changes nothing.
            (Ok(()) | Err(ResumeError::NotSuspended), None) => Ok(()),
            (Err(error), _) => Err(CommandError::Refused(error.to_string())),
            (Ok(()), Some(from)) => {
                let Some(progress) = self.apply.progress(table.id()) else { return Ok(()) };
                let flushed = progress.wait_flushed(SeqTxn(from.0.saturating_sub(1))).await;
                flushed.map_err(|trouble| CommandError::Failed(trouble.to_string()))
            }
        }
    }

    /// Returns once all that is committed to the table now is visible.
    async fn applied(&self, table: &Table) -> Result<(), CommandError> {
        let Some(progress) = self.apply.progress(table.id()) else { return Ok(()) };
        let applied = progress.wait_applied(progress.seq_txn()).await;
        applied.map_err(|trouble| CommandError::Failed(trouble.to_string()))
    }

    /// Returns once all that is committed now, in one table or in all, is in Parquet and no compaction is due.
    async fn flush(&self, table: Option<Arc<Table>>) -> Result<(), CommandError> {
        let flushed = match table {
            Some(table) => self.apply.flush(table.id()).await,
            None => self.apply.flush_all().await,
        };
        flushed.map_err(|trouble| CommandError::Failed(trouble.to_string()))?;
        while self.apply.is_compacting() {
            tokio::time::sleep(COMPACTION_POLL).await;
        }
        Ok(())
    }
}
