//! From what an earlier life left on disk to a registry, an apply pool and a log that go on.
//!
//! The one place that reads WAL and log together. The catalog says what is flushed, the log says what was committed after that; segments
//! hold the rows, except for frames that only the log carries, which are written back first. What neither names was
//! never acknowledged and goes. The labels in comments are those of the tables in `docs/formats/`.

use super::identity::Identity;
use super::layout::{catalog_dir, log_dir};
use super::open::to_apply;
use super::replay::Replay;
use super::{EngineConfig, OpenError};
use crate::apply::{ApplyPaths, ApplyPool};
use crate::clock::Clock;
use crate::io::Fs;
use crate::planted::{Bug, is_planted};
use crate::schema::{Registry, Shape};
use crate::sequencer::{
    self, CarriedFrames, Committed, Frame, LogState, Recovered, ShelfFile, TableState, TxnKind,
};
use crate::storage::{self, Catalog, CatalogState, TableDir, orphans};
use crate::types::{SegmentId, SeqTxn, TableId, WriterId};
use crate::wal::{self, Ledger, SegmentReader, SeriesCursor, WalError};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Everything that an engine goes on with.
pub(super) struct Recovery {
    pub(super) catalog: Arc<Catalog>,
    pub(super) registry: Arc<Registry>,
    pub(super) apply: Arc<ApplyPool>,
    pub(super) log: LogState,
    /// The segments that writers of this life have open: none yet.
    pub(super) ledger: Ledger,
    /// The first writer that no earlier life has used.
    pub(super) first_writer: WriterId,
    /// Segments of earlier lives that still hold rows which are not flushed.
    pub(super) inherited: BTreeSet<(WriterId, SegmentId)>,
    /// What apply is to make visible again.
    pub(super) replay: Replay,
    /// Files with what waits for tables that were suspended.
    pub(super) shelves: Vec<ShelfFile>,
}

/// Reads everything and leaves the apply pool with what is not flushed; its threads are not started yet.
///
/// # Errors
/// Something cannot be read or written, or is damaged beyond a torn end.
pub(super) fn recover(
    config: &EngineConfig,
    fs: &Fs,
    clock: &Clock,
    identity: &Identity,
) -> Result<Recovery, OpenError> {
    let dir = &config.data_dir;
    let (wal_dir, tables_dir) = (dir.join("wal"), dir.join("tables"));
    let (catalog_dir, log_dir) = (catalog_dir(dir), log_dir(dir));
    for folder in [&wal_dir, &tables_dir, &log_dir] {
        fs.create_dir_all(folder)?;
    }
    forget_cached(fs, &log_dir)?;
    forget_cached(fs, &catalog_dir)?;
    for writer in wal::list_writers(fs, &wal_dir)? {
        forget_cached(fs, &wal_dir.join(writer.to_string()))?;
    }
    let known = Catalog::survey(fs, &catalog_dir, identity.uuid)?;
    let nothing = CatalogState::default();
    let state = known.as_ref().map_or(&nothing, |known| &known.state);
    let segments = Segments { fs, wal_dir: &wal_dir, identity };
    if let Some(torn) = known.as_ref().and_then(|known| known.torn.as_ref())
        && is_end_missed(fs, dir, identity, state)?
    {
        // Row C14, before anything is cut from the log for what the catalog lacks.
        return Err(torn.damaged().into());
    }
    let mut found = segments.read_log(&log_dir, state, Extent::Unflushed)?;
    if !found.is_complete {
        tracing::info!("reading the whole log: rows need definitions of earlier ones");
        found = segments.read_log(&log_dir, state, Extent::All)?;
    }
    // Its new chunk takes the place of a torn end, and parts that it does not name go: not before what is lost with it is known.
    let server = (identity.uuid, identity.epoch);
    let (catalog, state) = Catalog::begin(fs, &catalog_dir, server, known)?;
    let ReadLog { mut log, transactions, pending, needed, shelves, .. } = found;
    log.epoch = identity.epoch;
    let registry = registry(config, &state, &log, &transactions);
    // Row L19. A table whose drop is still to be applied needs no more numbers.
    for (id, table) in state.tables.iter().filter(|(id, _)| registry.by_id(**id).is_some()) {
        if log.table(*id).is_none_or(|known| known.seq_txn < table.flushed_txn) {
            let (name, flushed) = (&*table.shape.def.name, table.flushed_txn.0);
            tracing::warn!(
                table = name,
                flushed,
                "the log knows less of the table than the catalog: after a power cut under `async` or `nosync`, or \
                after a repair, that is as it should be; otherwise the device has lost what it said it kept"
            );
        }
        log.at_least(*id, &table.shape.def, table.flushed_txn);
    }
    for shelf in &shelves {
        // Without syncs, a power cut may have taken from the log what is on a shelf.
        if let Some(table) = registry.by_id(shelf.table) {
            log.at_least(shelf.table, &table.def(), shelf.last);
        }
    }
    let inherited = segments.keep(needed, !config.wal_retention.is_zero())?;
    let writers = wal::list_writers(fs, &wal_dir)?;
    let highest = writers.last().copied().unwrap_or_default();
    // The last folder stays, so that its number is never given again: a block of an old segment would verify in a new one.
    for writer in writers.into_iter().filter(|writer| *writer != highest) {
        wal::remove_writer(fs, &wal_dir, writer)?;
    }
    let first_writer = match WriterId(highest.max(log.highest_writer()).0 + 1) {
        _ if is_planted(Bug::WriterReused) => WriterId(1),
        next => next,
    };
    if !pending.is_empty() {
        tracing::info!(
            transactions = pending.len(),
            segments = inherited.len(),
            "replaying the WAL"
        );
    }
    let catalog = Arc::new(catalog);
    let ledger = Ledger::default();
    let (uuid, wal_dir) = (identity.uuid, wal_dir.clone());
    let paths = ApplyPaths { wal_dir, tables_dir, uuid, ledger: ledger.clone() };
    let config = config.apply.clone();
    let apply = ApplyPool::open(config, fs, clock, paths, catalog.clone(), &state)?;
    apply.submit(pending.iter().map(to_apply));
    let replay = Replay::of(&pending, &apply);
    let (registry, apply) = (Arc::new(registry), Arc::new(apply));
    Ok(Recovery { catalog, registry, apply, log, ledger, first_writer, inherited, replay, shelves })
}

/// Makes what is read next come from the device: the life before may have ended because of a failed sync, after which the page cache
/// shows what the device never got.
fn forget_cached(fs: &Fs, folder: &Path) -> Result<(), OpenError> {
    for file in fs.list(folder)?.iter().filter(|entry| !entry.is_dir) {
        fs.forget_cached(&folder.join(&file.name))?;
    }
    Ok(())
}

/// Every table that exists at the end of the log, as it is then.
fn registry(
    config: &EngineConfig,
    state: &CatalogState,
    log: &LogState,
    transactions: &[Committed],
) -> Registry {
    let registry = Registry::new(config.limits.schema());
    let dropped_later = transactions.iter().filter(|t| t.kind == TxnKind::Drop).map(|t| t.table);
    let gone: BTreeSet<TableId> = dropped_later.chain(state.dropped.iter().copied()).collect();
    let mut shapes: BTreeMap<TableId, Shape> = BTreeMap::new();
    for (id, table) in state.tables.iter().filter(|(id, _)| !gone.contains(id)) {
        shapes.insert(*id, table.shape.clone());
    }
    for txn in transactions.iter().filter(|t| !gone.contains(&t.table)) {
        if state.tables.get(&txn.table).is_some_and(|t| txn.seq_txn <= t.flushed_txn) {
            continue;
        }
        if let TxnKind::Create(def) = &txn.kind {
            shapes.insert(txn.table, Shape::new(def.clone(), Vec::new()));
        }
        let shape = shapes.get_mut(&txn.table).expect("a table is created before it changes");
        match &txn.kind {
            TxnKind::AddColumns(columns) => shape.add(columns),
            TxnKind::Alter(change) => shape.alter(change, txn.seq_txn),
            _ => {}
        }
    }
    for shape in shapes.into_values() {
        registry.restore(shape);
    }
    for id in gone.into_iter().chain([log.highest_table()]) {
        registry.never_reuse(id);
    }
    registry
}

/// The last transaction whose rows are in parts; the highest there is for a table that is gone.
pub(super) fn flushed(state: &CatalogState, table: TableId) -> SeqTxn {
    match state.tables.get(&table) {
        _ if state.dropped.contains(&table) => SeqTxn(u64::MAX),
        Some(table) => table.flushed_txn,
        None => SeqTxn::NONE,
    }
}

/// Transactions that are neither in parts nor in the log: a file of the WAL has been lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    pub(super) table: TableId,
    pub(super) name: String,
    pub(super) from: SeqTxn,
    pub(super) to: SeqTxn,
    /// The last transaction of the table.
    pub(super) last: SeqTxn,
}

impl Gap {
    pub(super) fn error(&self, log_dir: &Path) -> OpenError {
        let Gap { name, from, to, .. } = self;
        OpenError::Gap { table: name.clone(), from: *from, to: *to, dir: log_dir.to_owned() }
    }
}

/// The first gap of each table. Only what a shelf had can be missing without the chunks after it telling.
pub(super) fn gaps(transactions: &[Committed], state: &CatalogState, log: &LogState) -> Vec<Gap> {
    let mut tables: Vec<_> = log.tables().collect();
    tables.retain(|(id, table)| !table.dropped && !state.dropped.contains(id));
    let mut next: BTreeMap<TableId, SeqTxn> =
        tables.iter().map(|(id, _)| (*id, flushed(state, *id).next())).collect();
    let mut gaps = BTreeMap::new();
    for txn in transactions {
        let Some(next) = next.get_mut(&txn.table).filter(|next| **next <= txn.seq_txn) else {
            continue;
        };
        if *next < txn.seq_txn {
            gaps.entry(txn.table).or_insert((*next, SeqTxn(txn.seq_txn.0 - 1)));
        }
        *next = txn.seq_txn.next();
    }
    let gap = |(id, table): (TableId, &TableState)| {
        let missing_end = (next[&id] <= table.seq_txn).then_some((next[&id], table.seq_txn));
        let (from, to) = gaps.get(&id).copied().or(missing_end)?;
        Some(Gap { table: id, name: table.name.to_string(), from, to, last: table.seq_txn })
    };
    tables.into_iter().filter_map(gap).collect()
}

/// True when a catalog whose last commit does not verify lacks what nothing else has: transactions that are gone from the log, or whose segment
/// is while a part has them; a part in the place of others that are not there any more; a table that was dropped. WAL, parts and tables go
/// only behind the commit that says so, which thus was on the device.
///
/// What is missing without such a trace may have been so before: a segment (row S7), a part (P3). So may frames that were never synced.
///
/// # Errors
/// A folder cannot be listed, or it cannot be seen whether a file is there.
pub(super) fn is_end_missed(
    fs: &Fs,
    dir: &Path,
    identity: &Identity,
    state: &CatalogState,
) -> Result<bool, OpenError> {
    let applied = |table| flushed(state, table);
    let log = sequencer::survey_unflushed(fs, &log_dir(dir), &identity.uuid, &applied)?;
    let Some(log) = log else { return Ok(false) };
    if !gaps(&log.transactions, state, &log.state).is_empty() {
        return Ok(true);
    }
    let mut pending_of: BTreeMap<TableId, Vec<Committed>> = BTreeMap::new();
    for txn in pending(&log.transactions, state) {
        pending_of.entry(txn.table).or_default().push(txn);
    }
    let mut tables = state.tables.clone();
    for txn in pending_of.values().flatten() {
        if let TxnKind::Create(def) = &txn.kind {
            let shape = Shape::new(def.clone(), Vec::new());
            let state =
                storage::TableState { shape, parts: BTreeMap::new(), flushed_txn: SeqTxn::NONE };
            tables.insert(txn.table, Arc::new(state));
        }
    }
    let mut is_there: BTreeMap<(WriterId, SegmentId), bool> = BTreeMap::new();
    for (id, table) in &tables {
        let pending = pending_of.remove(id).unwrap_or_default();
        if pending.iter().any(|txn| txn.kind == TxnKind::Drop) {
            // Nothing of it is needed any more.
            continue;
        }
        if log.state.table(*id).is_some_and(|table| table.dropped) {
            return Ok(true);
        }
        let folder = TableDir::new(fs, &dir.join("tables"), &table.shape);
        let (orphans, _) = orphans(fs, folder.path(), table)?;
        if orphans.is_empty() {
            continue;
        }
        let by = table.shape.def.partition_by;
        for part in table.parts.keys().filter(|part| orphans.iter().any(|o| o.meets(part, by))) {
            if !fs.exists(&folder.part_path(part))? {
                return Ok(true);
            }
        }
        for txn in pending.iter().filter(|txn| orphans.iter().any(|o| o.covers(txn.seq_txn))) {
            let Some(frame) = txn.kind.frame() else { continue };
            let place = (frame.writer, frame.segment);
            let is_there = match is_there.entry(place) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(entry) => {
                    let segment = identity.segment(frame.writer, frame.segment);
                    *entry.insert(fs.exists(&segment.path(&dir.join("wal")))?)
                }
            };
            let is_in_doubt = log.unsynced.contains(&place);
            if !is_there && !is_in_doubt && log.carried_frame(frame).is_none() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What the catalog does not have yet.
fn pending(transactions: &[Committed], state: &CatalogState) -> Vec<Committed> {
    let is_pending = |txn: &&Committed| txn.seq_txn > flushed(state, txn.table);
    transactions.iter().filter(is_pending).cloned().collect()
}

/// How much of the log is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extent {
    /// From the first chunk on that has something which is not flushed.
    Unflushed,
    All,
}

/// What the log said.
struct ReadLog {
    log: LogState,
    transactions: Vec<Committed>,
    /// Those of them that the catalog does not have yet.
    pending: Vec<Committed>,
    /// Segments with rows that are not flushed. What of them only the log had is back in them.
    needed: BTreeSet<(WriterId, SegmentId)>,
    shelves: Vec<ShelfFile>,
    /// False when rows that are not flushed need definitions that neither their segments nor the chunks have that were read.
    is_complete: bool,
}

/// Segments whose frames are being looked for, and what is known of their tables' series; a log names the same few again and again.
type Readers = BTreeMap<(WriterId, SegmentId), (SegmentReader, BTreeMap<TableId, SeriesCursor>)>;

/// Each is an open file.
const READERS_MAX: usize = 128;

/// The segments of earlier lives.
struct Segments<'a> {
    fs: &'a Fs,
    wal_dir: &'a Path,
    identity: &'a Identity,
}

impl Segments<'_> {
    /// Reads the log, makes durable what it names and was in doubt, and gives segments back what only the log had.
    fn read_log(
        &self,
        log_dir: &Path,
        state: &CatalogState,
        extent: Extent,
    ) -> Result<ReadLog, OpenError> {
        let applied = |table| match extent {
            Extent::Unflushed => flushed(state, table),
            Extent::All => SeqTxn::NONE,
        };
        let mut readers = Readers::default();
        let mut unread = None;
        let uuid = self.identity.uuid;
        let found = sequencer::recover(self.fs, log_dir, &uuid, &applied, &mut |txn| {
            // A frame that cannot be read now is no frame that is lost: nothing may be cut for it.
            unread.is_some()
                || self.is_whole(txn, state, &mut readers).unwrap_or_else(|error| {
                    unread = Some(error);
                    true
                })
        })?;
        if let Some(error) = unread {
            // Row L13.
            return Err(error.into());
        }
        let Some(found) = found else {
            if !state.tables.is_empty() {
                return Err(OpenError::Missing(log_dir.to_owned()));
            }
            // Row L1.
            return Ok(ReadLog {
                log: LogState::new(uuid),
                transactions: Vec::new(),
                pending: Vec::new(),
                needed: BTreeSet::new(),
                shelves: Vec::new(),
                is_complete: true,
            });
        };
        let Recovered { state: log, transactions, unread: chunks, carried, unsynced, cut, shelves } =
            found;
        if let Some(cut) = cut {
            tracing::warn!(path = %cut.path.display(), at = cut.at, bytes = cut.bytes,
                "the log ended in what never reached the device as a whole, which was cut; under `sync` and `async` nothing in it was acknowledged");
        }
        self.sync(&unsynced)?;
        if let Some(gap) = gaps(&transactions, state, &log).into_iter().next() {
            // Row H6.
            return Err(gap.error(log_dir));
        }
        let pending = pending(&transactions, state);
        let needed = self.restore(&pending, &carried)?;
        let is_complete = chunks == 0 || self.have_definitions(&pending);
        if chunks > 0 {
            // Nobody knows what else those chunks carry: they may only go once the segments have it.
            self.sync(&needed)?;
        }
        Ok(ReadLog { log, transactions, pending, needed, shelves, is_complete })
    }

    /// Whether a transaction that may never have reached the device is there: its frame verifies, and so do those before it that
    /// define its series, or its rows are in a part.
    ///
    /// # Errors
    /// The segment is there and cannot be read.
    fn is_whole(
        &self,
        txn: &Committed,
        state: &CatalogState,
        readers: &mut Readers,
    ) -> Result<bool, WalError> {
        let is_flushed = state.dropped.contains(&txn.table)
            || state.tables.get(&txn.table).is_some_and(|t| txn.seq_txn <= t.flushed_txn);
        let Some(&Frame { writer, segment, offset, len, .. }) = txn.kind.frame() else {
            return Ok(true);
        };
        if is_flushed {
            return Ok(true);
        }
        let mut read = || {
            if readers.len() >= READERS_MAX {
                readers.clear();
            }
            let (reader, cursors) = match readers.entry((writer, segment)) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let identity = self.identity.segment(writer, segment);
                    let reader = SegmentReader::open(self.fs, self.wal_dir, &identity)?;
                    entry.insert((reader, BTreeMap::new()))
                }
            };
            // Rows of earlier frames may be in parts, and the frames gone.
            let known = cursors.entry(txn.table).or_default();
            reader.frame(offset, len)?.new_series(known).map(|_| ())
        };
        match read() {
            Ok(()) => Ok(true),
            Err(error) if error.is_unread() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Makes segments durable that the log names and that an earlier life may not have synced: what is read from here on must
    /// not vanish with the power.
    fn sync(&self, unsynced: &BTreeSet<(WriterId, SegmentId)>) -> Result<(), OpenError> {
        for &(writer, segment) in unsynced {
            let path = self.identity.segment(writer, segment).path(self.wal_dir);
            if self.fs.exists(&path)? {
                self.fs.open(&path)?.sync_data()?;
                self.fs.sync_dir(path.parent().unwrap_or(self.wal_dir))?;
            }
        }
        Ok(())
    }

    /// Puts carried frames back into the segments that apply will read, and returns those segments.
    fn restore(
        &self,
        pending: &[Committed],
        carried: &CarriedFrames,
    ) -> Result<BTreeSet<(WriterId, SegmentId)>, OpenError> {
        let place = |txn: &Committed| txn.kind.frame().map(|frame| (frame.writer, frame.segment));
        let needed: BTreeSet<_> = pending.iter().filter_map(place).collect();
        for &(writer, segment) in &needed {
            let opened =
                SegmentReader::open(self.fs, self.wal_dir, &self.identity.segment(writer, segment));
            if let Err(error @ WalError::FutureVersion { .. }) = opened {
                // Row S12. Other faults stop a table, once apply comes upon them.
                return Err(error.into());
            }
        }
        for (&(writer, segment), frames) in carried {
            if needed.contains(&(writer, segment)) && !is_planted(Bug::CarriedForgotten) {
                let identity = self.identity.segment(writer, segment);
                wal::restore(self.fs, self.wal_dir, &identity, self.identity.epoch - 1, frames)?;
            }
        }
        Ok(needed)
    }

    /// Whether the first row of each table that is not flushed finds the definitions of its series in its segment. A later
    /// row then does: the log was read from there on.
    fn have_definitions(&self, pending: &[Committed]) -> bool {
        let mut first: BTreeMap<(WriterId, SegmentId), BTreeMap<TableId, &Frame>> = BTreeMap::new();
        for (table, frame) in pending.iter().filter_map(|t| t.kind.frame().map(|f| (t.table, f))) {
            let frames = first.entry((frame.writer, frame.segment)).or_default();
            frames.entry(table).or_insert(frame);
        }
        first.into_iter().all(|((writer, segment), frames)| {
            let identity = self.identity.segment(writer, segment);
            let Ok(reader) = SegmentReader::open(self.fs, self.wal_dir, &identity) else {
                return false;
            };
            frames.into_values().all(|frame| {
                let mut none_known = SeriesCursor::default();
                reader.new_series(frame.offset, frame.len, &mut none_known).is_ok()
            })
        })
    }

    /// Removes the segments that apply will not read, unless all are to be kept for a while. Returns those that stay.
    fn keep(
        &self,
        mut needed: BTreeSet<(WriterId, SegmentId)>,
        keep_all: bool,
    ) -> Result<BTreeSet<(WriterId, SegmentId)>, OpenError> {
        for file in wal::list_segments(self.fs, self.wal_dir)? {
            if keep_all {
                needed.insert((file.writer, file.segment));
            } else if !needed.contains(&(file.writer, file.segment)) {
                wal::remove_segment(self.fs, self.wal_dir, file.writer, file.segment)?;
            }
        }
        Ok(needed)
    }
}
