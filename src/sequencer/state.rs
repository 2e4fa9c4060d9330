//! What the log says about every table at one moment: the state that checkpoints hold and records change.

use super::record::Batch;
use super::{Committed, Reported, TxnKind};
use crate::schema::{Alteration, TableDef};
use crate::sequencer::purge::ChunkUse;
use crate::types::{SeqTxn, TableId, WriterId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where the log stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogState {
    /// The server's identity, the same for the life of a data directory.
    pub uuid: [u8; 16],
    /// Rises at every start; this start's.
    pub epoch: u64,
    /// The number of the next record.
    pub(super) ordinal: u64,
    /// The number of the next chunk.
    pub(super) chunk: u64,
    /// False when nothing reports: then every row counts as reported.
    pub(super) reports: bool,
    pub(super) highest_table: TableId,
    pub(super) highest_writer: WriterId,
    pub(super) tables: BTreeMap<TableId, TableState>,
    /// The chunks on disk and who still needs them.
    pub(super) chunks: Vec<ChunkUse>,
}

/// Where one table stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableState {
    /// The namespace it lives in.
    pub database: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its last transaction.
    pub seq_txn: SeqTxn,
    /// True once its drop has been numbered.
    pub dropped: bool,
    /// The last transaction that reports have counted.
    pub reported_txn: SeqTxn,
    /// What was committed after that.
    pub unreported: Sum,
}

/// Rows committed and not yet reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sum {
    /// How many.
    pub rows: u64,
    /// Their bytes, as receipts count them.
    pub bytes: u64,
    /// Not later than the earliest of them; `i64::MAX` when there are none.
    pub min_time: i64,
    /// Not earlier than the latest of them; `i64::MIN` when there are none.
    pub max_time: i64,
}

impl Sum {
    /// No rows.
    pub const NONE: Sum = Sum { rows: 0, bytes: 0, min_time: i64::MAX, max_time: i64::MIN };
}

impl LogState {
    /// The state of a new data directory, before its first start.
    pub fn new(uuid: [u8; 16]) -> LogState {
        LogState {
            uuid,
            epoch: 1,
            ordinal: 1,
            chunk: 1,
            reports: true,
            highest_table: TableId(0),
            highest_writer: WriterId(0),
            tables: BTreeMap::new(),
            chunks: Vec::new(),
        }
    }

    /// Every table that the log remembers, dropped ones with unreported rows included.
    pub fn tables(&self) -> impl Iterator<Item = (TableId, &TableState)> {
        self.tables.iter().map(|(id, table)| (*id, table))
    }

    /// One table.
    pub fn table(&self, id: TableId) -> Option<&TableState> {
        self.tables.get(&id)
    }

    /// The highest table id that was ever logged. It and all before it are taken, whether the tables still exist or not.
    pub fn highest_table(&self) -> TableId {
        self.highest_table
    }

    /// The highest writer id that was ever logged. New writers must be numbered above it: the log may still carry frames for a
    /// segment of an old writer after the segment is gone.
    pub fn highest_writer(&self) -> WriterId {
        self.highest_writer
    }

    /// Makes sure that the table is known and that its next transaction comes after `txn`: the catalog may know flushed
    /// transactions that a log has lost, in a power cut when it was written without syncs, or in a repair.
    pub fn at_least(&mut self, id: TableId, def: &TableDef, txn: SeqTxn) {
        let created = || TableState::created(def.database.clone(), def.name.clone());
        let table = self.tables.entry(id).or_insert_with(created);
        table.seq_txn = table.seq_txn.max(txn);
        self.highest_table = self.highest_table.max(id);
    }

    /// Forgets dropped tables that nothing will speak of again. At a start only: later, frames of before the drop may still
    /// arrive.
    pub(super) fn forget_dropped(&mut self) {
        self.tables.retain(|_, table| !table.dropped || table.unreported.rows > 0);
    }

    /// Says whether rows wait for reports. Without reports, everything counts as reported.
    pub(super) fn set_reports(&mut self, reports: bool) {
        self.reports = reports;
        if !reports {
            for table in self.tables.values_mut() {
                table.all_reported();
            }
        }
    }

    /// Takes a whole record into account.
    ///
    /// # Errors
    /// Says what does not follow from the state before.
    pub(super) fn apply(&mut self, batch: &Batch) -> Result<(), &'static str> {
        for txn in &batch.transactions {
            self.step(txn)?;
        }
        batch.reported.iter().try_for_each(|reported| self.report(reported))
    }

    /// Takes one transaction into account.
    pub(super) fn step(&mut self, txn: &Committed) -> Result<(), &'static str> {
        if let TxnKind::Create(def) = &txn.kind {
            if txn.seq_txn != SeqTxn::NONE.next() || self.tables.contains_key(&txn.table) {
                return Err("a table is created twice");
            }
            let table = TableState::created(def.database.clone(), def.name.clone());
            self.tables.insert(txn.table, table);
            self.highest_table = self.highest_table.max(txn.table);
        } else {
            let table = self.tables.get_mut(&txn.table).ok_or("a table is used, not created")?;
            if txn.seq_txn != table.seq_txn.next() {
                return Err("a transaction number is not the next one of its table");
            }
            if table.dropped {
                return Err("a table is used after its drop");
            }
            table.seq_txn = txn.seq_txn;
            if let Some(frame) = txn.kind.frame() {
                let rows = u64::from(frame.rows);
                table.unreported.add(rows, frame.bytes, frame.min_time, frame.max_time);
                self.highest_writer = self.highest_writer.max(frame.writer);
            }
            match &txn.kind {
                TxnKind::Drop => table.dropped = true,
                TxnKind::Alter(Alteration::Rename(name)) => table.name = name.clone(),
                _ => {}
            }
        }
        if !self.reports
            && let Some(table) = self.tables.get_mut(&txn.table)
        {
            table.all_reported();
        }
        Ok(())
    }

    /// Takes a report into account.
    pub(super) fn report(&mut self, reported: &Reported) -> Result<(), &'static str> {
        if !self.reports {
            return Ok(());
        }
        let table = self.tables.get_mut(&reported.table).ok_or("a report names no table")?;
        let sum = &mut table.unreported;
        sum.rows = sum.rows.checked_sub(reported.rows).ok_or("a report counts too many rows")?;
        sum.bytes =
            sum.bytes.checked_sub(reported.bytes).ok_or("a report counts too many bytes")?;
        if sum.rows == 0 {
            *sum = Sum::NONE;
        }
        table.reported_txn = table.reported_txn.max(reported.through);
        Ok(())
    }
}

impl TableState {
    fn created(database: Arc<str>, name: Arc<str>) -> TableState {
        TableState {
            database,
            name,
            seq_txn: SeqTxn::NONE.next(),
            dropped: false,
            reported_txn: SeqTxn::NONE,
            unreported: Sum::NONE,
        }
    }

    fn all_reported(&mut self) {
        self.reported_txn = self.seq_txn;
        self.unreported = Sum::NONE;
    }
}

impl Sum {
    fn add(&mut self, rows: u64, bytes: u64, min_time: i64, max_time: i64) {
        self.rows = self.rows.saturating_add(rows);
        self.bytes = self.bytes.saturating_add(bytes);
        self.min_time = self.min_time.min(min_time);
        self.max_time = self.max_time.max(max_time);
    }
}
