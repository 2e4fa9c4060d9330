//! A catalog from what is left when it cannot be read: the records before the damage, the footers of the parts, and the log.
//!
//! What the log and the segments still have need not be in parts, so the point up to which a table is flushed is the last one that the WAL
//! cannot give back. Parts up to there count; what a part after it has comes from the WAL again. A part that reaches over the point moves
//! it: its rows were flushed together; so does one beyond the end of a log that was cut, for nothing else has its rows. A flush that was cut off is never taken for one that was committed, since the WAL goes only
//! behind commits.

use super::OpenError;
use super::identity::Identity;
use super::layout::catalog_dir;
use crate::io::Fs;
use crate::schema::{Alteration, ColumnDef, Shape};
use crate::sequencer::{Committed, Recovered, TxnKind};
use crate::storage::{
    Catalog, CatalogState, FoundPart, PartId, PartMeta, StorageError, TableState, list_tables,
    read_back,
};
use crate::types::{SeqTxn, TableId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A catalog that is as good as can be had.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pub(super) state: CatalogState,
    /// What it cost, or may have cost.
    pub(super) lost: Vec<String>,
    /// Files below `tables/` that it does not name.
    pub(super) left_out: Vec<PathBuf>,
    /// Tables that it does not name, since the log creates them and has all that they got.
    pub(super) in_log: Vec<String>,
    /// True when segments have rows of tables that nothing describes any more.
    pub(super) leaves_rows: bool,
}

/// The parts that are there, by table, and the files that are none.
#[derive(Debug, Default)]
struct OnDisk {
    parts: BTreeMap<TableId, Vec<(PathBuf, FoundPart)>>,
    unreadable: Vec<(PathBuf, StorageError)>,
}

/// Works out what the catalog should say. Changes nothing.
///
/// # Errors
/// A folder cannot be listed, or the catalog's file cannot be read at all.
pub(super) fn rebuild(
    fs: &Fs,
    dir: &Path,
    identity: &Identity,
    log: &Recovered,
) -> Result<Rebuilt, OpenError> {
    let (base, is_all) = Catalog::salvage(fs, &catalog_dir(dir), identity.uuid)?;
    if is_all {
        let lost = vec!["nothing: every record of it can be read".to_owned()];
        return Ok(Rebuilt { lost, ..Rebuilt::of(base) });
    }
    let on_disk = OnDisk::read(fs, &dir.join("tables"))?;
    let dropped = base.dropped.clone();
    let mut rebuilt = Rebuilt::of(CatalogState { tables: BTreeMap::new(), dropped });
    for (path, error) in on_disk.unreadable {
        rebuilt.lost.push(format!("the rows of {}: {error}", path.display()));
        rebuilt.left_out.push(path);
    }
    let mut transactions: BTreeMap<TableId, Vec<&Committed>> = BTreeMap::new();
    for txn in &log.transactions {
        transactions.entry(txn.table).or_default().push(txn);
    }
    let logged = log.state.tables().map(|(id, _)| id);
    let ids = base.tables.keys().chain(on_disk.parts.keys()).copied().chain(logged);
    for id in ids.collect::<BTreeSet<TableId>>() {
        let own = transactions.remove(&id).unwrap_or_default();
        let last = log.state.table(id).map_or(SeqTxn::NONE, |table| table.seq_txn);
        let history = History::of(own, last, |txn| is_there(fs, dir, identity, log, txn));
        let parts = on_disk.parts.get(&id).map_or(&[][..], |parts| parts);
        rebuilt.table(id, &history, base.tables.get(&id).map(|table| &**table), parts, log);
    }
    rebuilt.lost.push(
        "the certainty that what was removed of late is gone: replaced ranges, rows past their TTL, dropped tables".to_owned(),
    );
    rebuilt.lost.push(
        "changes of names, columns and options that came after a table's last part and are no longer in the log".to_owned(),
    );
    rebuilt.lost.push(
        "the checksums of the parts: they are taken anew from the files as they are".to_owned(),
    );
    Ok(rebuilt)
}

impl OnDisk {
    fn read(fs: &Fs, tables: &Path) -> Result<OnDisk, OpenError> {
        let mut found = OnDisk::default();
        for table in list_tables(fs, tables)? {
            let table = tables.join(table);
            for partition in fs.list(&table)?.into_iter().filter(|entry| entry.is_dir) {
                let partition = table.join(partition.name);
                for file in fs.list(&partition)? {
                    let path = partition.join(file.name);
                    match read_back(fs, &path) {
                        Ok(part) => {
                            found.parts.entry(part.shape.def.id).or_default().push((path, part));
                        }
                        Err(error) => found.unreadable.push((path, error)),
                    }
                }
            }
        }
        Ok(found)
    }
}

/// What the log still has of a table.
struct History<'a> {
    transactions: Vec<&'a Committed>,
    /// The last transaction that the WAL cannot give back.
    gone: SeqTxn,
}

impl<'a> History<'a> {
    /// `last` is the table's last transaction, also where none of them is left.
    fn of(
        transactions: Vec<&'a Committed>,
        last: SeqTxn,
        is_there: impl Fn(&Committed) -> bool,
    ) -> History<'a> {
        let before = transactions.first().map_or(last, |first| SeqTxn(first.seq_txn.0 - 1));
        let gone = transactions.iter().filter(|txn| !is_there(txn)).map(|txn| txn.seq_txn).max();
        History { gone: gone.map_or(before, |gone| gone.max(before)), transactions }
    }

    /// Rows between what was known to be flushed and what counts as flushed now of which no part can have any, for people.
    fn given_up(
        &self,
        held: SeqTxn,
        flushed: SeqTxn,
        parts: &BTreeMap<PartId, Arc<PartMeta>>,
    ) -> Option<String> {
        let is_covered =
            |txn: SeqTxn| parts.keys().any(|part| part.first_txn <= txn && txn <= part.last_txn);
        let given_up = self
            .transactions
            .iter()
            .filter(|txn| held < txn.seq_txn && txn.seq_txn <= flushed && !is_covered(txn.seq_txn));
        let mut frames = given_up.filter_map(|txn| Some((txn, txn.kind.frame()?))).peekable();
        let (first, _) = *frames.peek()?;
        let (mut last, mut rows) = (first.seq_txn, 0);
        for (txn, frame) in frames {
            (last, rows) = (txn.seq_txn, rows + u64::from(frame.rows));
        }
        let Committed { table, seq_txn, .. } = first;
        Some(format!(
            "{rows} rows of table {table}, of transactions {seq_txn} to {last}, unless they were removed: a later one is gone from the WAL and \
            no part has them; those of their segments that are there are kept"
        ))
    }

    /// The shape that the log alone gives at a transaction; `None` unless it has the table's creation.
    fn shape_at(&self, txn: SeqTxn) -> Option<Shape> {
        let TxnKind::Create(def) = &self.transactions.first()?.kind else { return None };
        let mut shape = Shape::new(def.clone(), Vec::new());
        self.bring_to(&mut shape, txn);
        Some(shape)
    }

    /// Brings a shape, whenever it was taken, to a transaction: what the log has up to there takes effect, what it adds later is
    /// not there yet.
    fn bring_to(&self, shape: &mut Shape, txn: SeqTxn) {
        let mut later: Vec<&ColumnDef> = Vec::new();
        for change in &self.transactions {
            let is_later = change.seq_txn > txn;
            match &change.kind {
                TxnKind::AddColumns(columns) if is_later => later.extend(columns),
                TxnKind::Alter(Alteration::RetypeColumn { to, .. }) if is_later => later.push(to),
                TxnKind::AddColumns(columns) => {
                    let new = columns.iter().filter(|c| c.id >= shape.next_column).cloned();
                    let new: Vec<ColumnDef> = new.collect();
                    shape.add(&new);
                }
                TxnKind::Alter(Alteration::RetypeColumn { to, .. })
                    if to.id < shape.next_column => {}
                TxnKind::Alter(alteration) if !is_later => {
                    shape.alter(alteration, change.seq_txn);
                }
                _ => {}
            }
        }
        shape.columns.retain(|column| later.iter().all(|later| later.id != column.id));
    }
}

/// Whether the WAL has what a transaction brought.
fn is_there(fs: &Fs, dir: &Path, identity: &Identity, log: &Recovered, txn: &Committed) -> bool {
    let Some(frame) = txn.kind.frame() else { return true };
    let path = identity.segment(frame.writer, frame.segment).path(&dir.join("wal"));
    log.carried_frame(frame).is_some() || fs.exists(&path).unwrap_or(true)
}

impl Rebuilt {
    fn of(state: CatalogState) -> Rebuilt {
        let (lost, left_out, in_log) = (Vec::new(), Vec::new(), Vec::new());
        Rebuilt { state, lost, left_out, in_log, leaves_rows: false }
    }

    fn table(
        &mut self,
        id: TableId,
        history: &History<'_>,
        base: Option<&TableState>,
        found: &[(PathBuf, FoundPart)],
        log: &Recovered,
    ) {
        let logged = log.state.table(id);
        if self.state.dropped.contains(&id) || logged.is_some_and(|table| table.dropped) {
            self.state.dropped.insert(id);
            return;
        }
        let held = base.map_or(SeqTxn::NONE, |table| table.flushed_txn);
        // A log that was cut, or begun anew, knows less than the parts: what they have beyond it, nothing else has.
        let known = logged.map_or(SeqTxn::NONE, |table| table.seq_txn);
        let in_parts = found.iter().map(|(_, part)| part.meta.id.last_txn).max();
        let beyond = in_parts.filter(|last| *last > known).unwrap_or_default();
        let flushed_txn = flushed(history.gone.max(held).max(beyond), found);
        let Adopted { parts, left_out, lost } = adopt(flushed_txn, base, found);
        if let Some(lost) = history.given_up(held, flushed_txn, &parts) {
            self.leaves_rows = true;
            self.lost.push(lost);
        }
        self.left_out.extend(left_out);
        self.lost.extend(lost);
        let is_created_later = flushed_txn == SeqTxn::NONE;
        let shape = history.shape_at(flushed_txn).or_else(|| {
            let mut shape = newest_shape(base, found)?;
            history.bring_to(&mut shape, flushed_txn);
            Some(shape)
        });
        match shape {
            Some(shape) if is_created_later => {
                self.in_log.push(format!("{id} {:?}.{:?}", shape.def.database, shape.def.name));
            }
            Some(shape) => {
                self.state.tables.insert(id, Arc::new(TableState { shape, parts, flushed_txn }));
            }
            None => {
                let name =
                    logged.map_or_else(String::new, |t| format!(" {:?}.{:?}", t.database, t.name));
                let rows = history.transactions.iter().filter_map(|txn| txn.kind.frame());
                let rows: u64 = rows.map(|frame| u64::from(frame.rows)).sum();
                self.leaves_rows |= rows > 0;
                self.lost.push(format!(
                    "table {id}{name}: nothing says what it looked like; {rows} rows of it are in segments that are kept"
                ));
                self.state.dropped.insert(id);
            }
        }
    }
}

/// Up to where a table is flushed, given what the WAL cannot give back.
fn flushed(gone: SeqTxn, found: &[(PathBuf, FoundPart)]) -> SeqTxn {
    let mut upto = gone;
    while let Some(last) = found
        .iter()
        .map(|(_, part)| part.meta.id)
        .filter(|part| part.first_txn <= upto && upto < part.last_txn)
        .map(|part| part.last_txn)
        .max()
    {
        upto = last;
    }
    upto
}

/// What becomes of the parts of a table.
#[derive(Debug, Default)]
struct Adopted {
    /// Those that count.
    parts: BTreeMap<PartId, Arc<PartMeta>>,
    /// The files of the others: a larger part has taken them in, or the WAL has their rows, or they are damaged.
    left_out: Vec<PathBuf>,
    lost: Vec<String>,
}

fn adopt(
    flushed_txn: SeqTxn,
    base: Option<&TableState>,
    found: &[(PathBuf, FoundPart)],
) -> Adopted {
    let Adopted { mut parts, mut left_out, mut lost } = Adopted::default();
    let mut by_size: Vec<_> = found.iter().collect();
    by_size.sort_by_key(|(_, part)| {
        std::cmp::Reverse((part.meta.id.level, part.meta.id.attempt, part.meta.id.last_txn))
    });
    for (path, part) in by_size {
        let id = part.meta.id;
        // What the catalog knew of a file, it must still be.
        let differs = base
            .and_then(|table| table.parts.get(&id))
            .is_some_and(|known| (known.crc, known.bytes) != (part.meta.crc, part.meta.bytes));
        if id.last_txn > flushed_txn || parts.keys().any(|other| meet(other, &id)) {
            left_out.push(path.clone());
        } else if differs {
            left_out.push(path.clone());
            lost.push(format!("{} rows of {}, which is damaged", part.meta.rows, path.display()));
        } else {
            parts.insert(id, Arc::new(part.meta.clone()));
        }
    }
    for known in base.iter().flat_map(|table| table.parts.values()) {
        let is_found = found.iter().any(|(_, part)| part.meta.id == known.id);
        if !is_found && !parts.keys().any(|other| meet(other, &known.id)) {
            lost.push(format!(
                "{} rows between {} and {} (ns since 1970), unless they were removed: their part {:?} is not there",
                known.rows, known.min_time, known.max_time, known.id
            ));
        }
    }
    Adopted { parts, left_out, lost }
}

/// Whether two parts are of one partition and have transactions in common.
fn meet(one: &PartId, other: &PartId) -> bool {
    one.partition == other.partition
        && one.first_txn <= other.last_txn
        && other.first_txn <= one.last_txn
}

/// The latest shape that anything has.
fn newest_shape(base: Option<&TableState>, found: &[(PathBuf, FoundPart)]) -> Option<Shape> {
    let of_base = base.map(|table| (table.flushed_txn, &table.shape));
    let of_parts = found.iter().map(|(_, part)| (part.meta.id.last_txn, &part.shape));
    let age = |(txn, shape): &(SeqTxn, &Shape)| {
        (shape.next_column, shape.rules.len(), shape.became.len(), *txn)
    };
    of_parts.chain(of_base).max_by_key(age).map(|(_, shape)| shape.clone())
}
