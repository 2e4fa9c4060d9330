//! Statements that change something: each becomes a receipt like any other, and is answered when it is durable and, where nothing
//! stands in the way, visible.

use super::blocking::blocking;
use super::open::Shared;
use crate::apply::{ErrorTag, ResumeError};
use crate::query::{Command, CommandError, CreateTable};
use crate::schema::{
    AlterError, ClaimError, CreateError, Dedup, DedupRule, Keys, Table, TableChange, TableDef,
    TableOptions,
};
use crate::sequencer::{Change, Progress, Receipt};
use crate::types::{ColumnType, SeqTxn, TableId};
use std::sync::Arc;
use std::time::Duration;

/// How often a flush looks whether compaction has come to rest.
const COMPACTION_POLL: Duration = Duration::from_millis(10);

impl Shared {
    /// Carries out a statement of a database.
    pub(super) async fn execute(
        &self,
        database: &str,
        command: Command,
    ) -> Result<(), CommandError> {
        let changes_nothing = matches!(command, Command::Flush { .. } | Command::ApplyWal { .. });
        if self.is_stopping() && !changes_nothing {
            // Nobody is left to carry it out, so waiting for that would have no end.
            let why = "nothing can be changed: the server has stopped or is about to";
            return Err(CommandError::Refused(why.to_owned()));
        }
        match command {
            Command::DropTable { if_exists, name } => match self.table_of(database, &name) {
                Ok(table) => self.drop_table(&table).await,
                Err(CommandError::NoSuchTable(_)) if if_exists => Ok(()),
                Err(error) => Err(error),
            },
            Command::Flush { table: Some(name) } => {
                let table = self.table_of(database, &name)?;
                self.flush(Some(table)).await
            }
            Command::Flush { table: None } => self.flush(None).await,
            Command::CreateTable(create) => self.create_table(database, &create).await,
            Command::Alter { table, change } => {
                let table = self.changeable(database, &table)?;
                self.alter(&table, &change).await
            }
            Command::Truncate { if_exists, name } => match self.changeable(database, &name) {
                Ok(table) => {
                    let change = Change::Truncate { table: table.id() };
                    self.commit_change(&table, change).await
                }
                Err(CommandError::NoSuchTable(_)) if if_exists => Ok(()),
                Err(error) => Err(error),
            },
            Command::Insert { table, columns, rows, range } => {
                let table = self.changeable(database, &table)?;
                self.insert(&table, columns.as_deref(), &rows, range).await
            }
            Command::SuspendWal { name, reason } => {
                let table = self.table_of(database, &name)?;
                let (tag, message) = match &reason {
                    None => (ErrorTag::OnRequest, "a statement asked for it"),
                    Some((tag, message)) => {
                        let unknown = || CommandError::Refused(format!("there is no tag '{tag}'"));
                        (ErrorTag::named(tag).ok_or_else(unknown)?, message.as_str())
                    }
                };
                self.apply.suspend(table.id(), tag, message);
                Ok(())
            }
            Command::ResumeWal { name, from } => {
                let table = self.table_of(database, &name)?;
                self.resume(&table, from).await
            }
            Command::ApplyWal { name } => {
                let table = self.table_of(database, &name)?;
                self.applied(&table).await
            }
        }
    }

    fn table_of(&self, database: &str, name: &str) -> Result<Arc<Table>, CommandError> {
        let table = self.logged_table_folded(database, name);
        table.ok_or_else(|| CommandError::NoSuchTable(name.to_owned()))
    }

    /// A table that statements may change.
    fn changeable(&self, database: &str, name: &str) -> Result<Arc<Table>, CommandError> {
        let table = self.table_of(database, name)?;
        self.refuse_reserved(&table.def().name)?;
        Ok(table)
    }

    fn refuse_reserved(&self, name: &str) -> Result<(), CommandError> {
        if self.policies.is_reserved(name) {
            let why = "the server writes this table itself; switch the hook off to change it";
            return Err(CommandError::Refused(why.to_owned()));
        }
        Ok(())
    }

    async fn create_table(&self, database: &str, create: &CreateTable) -> Result<(), CommandError> {
        self.refuse_reserved(&create.name)?;
        let policy = self.policies.of(&create.name);
        let (time_column, time_place) = time_column(create)?;
        let def = TableDef {
            id: TableId::default(),
            database: database.into(),
            name: create.name.as_str().into(),
            partition_by: create.partition_by.unwrap_or(policy.partition_by),
            time_column: time_column.map_or(policy.time_column, Into::into),
            time_place,
            created: self.clock.wall_nanos(),
            options: TableOptions {
                dedup: Dedup::Append,
                ttl_s: create.ttl_s,
                o3_max_lag_ms: create.o3_max_lag_ms,
                segment_rows: create.segment_rows,
            },
        };
        let columns = create.columns.iter().map(|(name, ty)| (name.as_str(), *ty)).enumerate();
        let columns = columns.filter(|(n, _)| u32::try_from(*n) != Ok(time_place));
        let columns: Vec<(&str, ColumnType)> = columns.map(|(_, column)| column).collect();
        let rule = create.dedup.clone().unwrap_or_else(|| rule_of(&policy.dedup));
        let table = match self.registry.create(def, &columns, &rule) {
            Ok(table) => table,
            Err(CreateError::Exists(table)) => {
                // A line may have claimed it a moment ago, or never have come to use it.
                self.define(&table).await;
                return match create.if_not_exists {
                    true => Ok(()),
                    false => Err(CommandError::TableExists(table.def().name.to_string())),
                };
            }
            Err(error) => return Err(CommandError::Refused(error.to_string())),
        };
        self.define(&table).await;
        self.visible(&table).await
    }

    /// Makes sure that the log has a table.
    async fn define(&self, table: &Table) {
        let progress = Progress::new();
        let receipt = Receipt::without_frames(progress.clone(), 1);
        self.sequencer.push(Receipt { definitions: table.unlogged(), ..receipt });
        progress.reached(1).await;
    }

    async fn alter(&self, table: &Table, change: &TableChange) -> Result<(), CommandError> {
        if let TableChange::Rename(name) = change {
            self.refuse_reserved(name)?;
        }
        let progress = Progress::new();
        let changed = self.registry.alter(table, change, |definitions, alteration| {
            let receipt = Receipt::without_frames(progress.clone(), 1);
            let change =
                alteration.map(|alteration| Change::Alter { table: table.id(), alteration });
            self.sequencer.push(Receipt { definitions, change, ..receipt });
        });
        match changed {
            Ok(false) => Ok(()),
            Ok(true) => {
                progress.reached(1).await;
                self.visible(table).await
            }
            Err(AlterError::Claim(ClaimError::Dropped)) => Err(gone(table)),
            Err(error) => Err(CommandError::Refused(error.to_string())),
        }
    }

    async fn commit_change(&self, table: &Table, change: Change) -> Result<(), CommandError> {
        let progress = Progress::new();
        let receipt = Receipt::without_frames(progress.clone(), 1);
        self.sequencer.push(Receipt { change: Some(change), ..receipt });
        progress.reached(1).await;
        self.visible(table).await
    }

    /// Returns once queries see all that is committed for a table now. Where it is suspended, or has trouble with a file, they will later.
    pub(super) async fn visible(&self, table: &Table) -> Result<(), CommandError> {
        if table.is_dropped() {
            return Err(gone(table));
        }
        if let Some(progress) = self.apply.progress(table.id()) {
            drop(progress.wait_applied(progress.seq_txn()).await);
        }
        Ok(())
    }

    /// Lets a suspended table go on. Where rows are to be skipped, returns once that is on the device: a start would try them again.
    async fn resume(&self, table: &Table, from: Option<SeqTxn>) -> Result<(), CommandError> {
        let resumed = blocking(|| self.resume_table(table.id(), from));
        let resumed = resumed.map_err(|error| CommandError::Failed(error.to_string()))?;
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

    /// Sequences the drop of a table; its name is free on return.
    async fn drop_table(&self, table: &Table) -> Result<(), CommandError> {
        self.refuse_reserved(&table.def().name)?;
        let progress = Progress::new();
        let receipt = Receipt::without_frames(progress.clone(), 1);
        let change = Change::Drop { table: table.id() };
        self.sequencer.push(Receipt { change: Some(change), ..receipt });
        progress.reached(1).await;
        Ok(())
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

pub(super) fn gone(table: &Table) -> CommandError {
    CommandError::NoSuchTable(table.def().name.to_string())
}

/// The designated timestamp's name, unless the configuration's holds, and its place among the columns.
fn time_column(create: &CreateTable) -> Result<(Option<&str>, u32), CommandError> {
    let is_time = |(_, ty): &&(String, ColumnType)| *ty == ColumnType::Timestamp;
    let found = match &create.time_column {
        Some(name) => {
            let same =
                |(other, _): &&(String, ColumnType)| other.to_lowercase() == name.to_lowercase();
            let column = create.columns.iter().find(same);
            let column = column
                .ok_or_else(|| CommandError::Refused(format!("column '{name}' does not exist")))?;
            if column.1 != ColumnType::Timestamp {
                let why = format!("the designated timestamp '{name}' must be a TIMESTAMP");
                return Err(CommandError::Refused(why));
            }
            Some(column)
        }
        None if create.columns.iter().filter(is_time).count() == 1 => {
            create.columns.iter().find(is_time)
        }
        None => None,
    };
    let Some(found) = found else { return Ok((None, u32::MAX)) };
    let place = create.columns.iter().position(|column| std::ptr::eq(column, found));
    let place = place.and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX);
    Ok((Some(&found.0), place))
}

/// A configured rule in the words of a statement.
fn rule_of(dedup: &Dedup) -> DedupRule {
    match dedup {
        Dedup::Append | Dedup::Replace(Keys::Columns(_)) => DedupRule::Append,
        Dedup::Replace(Keys::Tags) => DedupRule::ReplaceByTags,
        Dedup::Merge => DedupRule::Merge,
    }
}
