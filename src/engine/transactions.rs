//! The transactions of a table as `wal_transactions('t')` lists them.

use super::layout::log_dir;
use super::open::Shared;
use crate::query::Transaction;
use crate::schema::{Alteration, Dedup, Table, TableOptions};
use crate::sequencer::{self, Committed, TxnKind};
use crate::types::{SegmentId, SeqTxn, WriterId};
use std::collections::BTreeMap;

impl Shared {
    /// What the log still holds of a table, committed ones only.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn transactions(&self, table: &Table) -> Result<Vec<Transaction>, String> {
        let Some(progress) = self.apply.progress(table.id()) else { return Ok(Vec::new()) };
        let (applied, last) = (progress.applied_txn(), progress.seq_txn());
        let dir = log_dir(&self.config.data_dir);
        let all = sequencer::transactions(&self.fs, &dir, &self.identity.uuid, table.id());
        let all = all.map_err(|error| error.to_string())?;
        // How often the table's shape changed before is known when its first transaction is still there.
        let mut version = all.first().filter(|txn| txn.seq_txn == SeqTxn(1)).map(|_| 0);
        let mut options: Option<TableOptions> = None;
        let mut listed = Vec::with_capacity(all.len());
        let mut places = Places { is_complete: version.is_some(), last: BTreeMap::new() };
        for txn in all.iter().filter(|txn| txn.seq_txn <= last) {
            let is_structural = matches!(txn.kind, TxnKind::AddColumns(_) | TxnKind::Alter(_));
            version = version.map(|version| version + u64::from(is_structural));
            let command = command_code(&txn.kind, options.as_ref());
            match &txn.kind {
                TxnKind::Create(def) => options = Some(def.options.clone()),
                TxnKind::Alter(Alteration::Options(next)) => options = Some(next.clone()),
                _ => {}
            }
            let mut next = row(txn, version, command, txn.seq_txn <= applied);
            next.place_in_segment = next.place.and_then(|place| places.next(place));
            listed.push(next);
        }
        Ok(listed)
    }
}

/// Counts a table's transactions by segment. A writer fills one segment after the other.
struct Places {
    /// The log has all transactions of the table.
    is_complete: bool,
    /// By writer: the segment it was last met with, and the number of the next transaction there if it is known.
    last: BTreeMap<WriterId, (SegmentId, Option<u32>)>,
}

impl Places {
    fn next(&mut self, (writer, segment): (WriterId, SegmentId)) -> Option<u32> {
        let first = (segment, self.is_complete.then_some(0));
        let last = self.last.entry(writer).or_insert(first);
        if last.0 != segment {
            *last = (segment, Some(0));
        }
        let number = last.1;
        last.1 = number.map(|number| number + 1);
        number
    }
}

fn row(
    txn: &Committed,
    version: Option<u64>,
    command: Option<i16>,
    is_applied: bool,
) -> Transaction {
    let frame = txn.kind.frame();
    Transaction {
        seq_txn: txn.seq_txn,
        at: txn.at,
        place: frame.map(|frame| (frame.writer, frame.segment)),
        place_in_segment: None,
        structure_version: version,
        times: frame.map(|frame| (frame.min_time, frame.max_time)),
        rows: frame.map(|frame| u64::from(frame.rows)),
        command,
        kind: kind(&txn.kind),
        is_applied,
    }
}

fn kind(kind: &TxnKind) -> &'static str {
    match kind {
        TxnKind::Create(_) => "create",
        TxnKind::AddColumns(_) => "add columns",
        TxnKind::Data(_) => "data",
        TxnKind::Drop => "drop",
        TxnKind::RemoveBefore(_) => "expire",
        TxnKind::Truncate => "truncate",
        TxnKind::Replace { .. } => "replace range",
        TxnKind::Alter(Alteration::Rename(_)) => "rename",
        TxnKind::Alter(Alteration::DropColumn(_)) => "drop column",
        TxnKind::Alter(Alteration::RenameColumn { .. }) => "rename column",
        TxnKind::Alter(Alteration::RetypeColumn { .. }) => "retype column",
        TxnKind::Alter(Alteration::Options(_)) => "options",
    }
}

/// QuestDB's number for what a transaction alters; `None` for rows and for what QuestDB has no number for.
fn command_code(kind: &TxnKind, before: Option<&TableOptions>) -> Option<i16> {
    Some(match kind {
        TxnKind::AddColumns(_) => 1,
        TxnKind::Alter(Alteration::DropColumn(_)) => 8,
        TxnKind::Alter(Alteration::RenameColumn { .. }) => 9,
        TxnKind::Alter(Alteration::Rename(_)) => 14,
        TxnKind::Alter(Alteration::RetypeColumn { .. }) => 17,
        TxnKind::Alter(Alteration::Options(after)) => {
            let before = before?;
            match () {
                () if before.dedup != after.dedup && after.dedup == Dedup::Append => 16,
                () if before.dedup != after.dedup => 15,
                () if before.ttl_s != after.ttl_s => 21,
                () if before.o3_max_lag_ms != after.o3_max_lag_ms => 11,
                () => return None,
            }
        }
        _ => return None,
    })
}
