//! A stopped data directory, looked at as a whole: what is damaged, what that costs, and the way on. Changes nothing.

use super::OpenError;
use super::identity::Identity;
use super::layout::{Found, catalog_dir, log_dir, misfits};
use super::rebuild::rebuild;
use super::recovery::{flushed, gaps, is_end_missed};
use crate::io::{self, DirLock, Fs};
use crate::sequencer::{self, Committed, Frame, LogError, Recovered, ShelfFile, TableState};
use crate::storage::{Catalog, CatalogState, PartFile, PartId, StorageError, TableDir, TornEnd};
use crate::types::{SeqTxn, TableId};
use crate::wal::{self, SegmentReader, SeriesCursor, WalError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What is wrong with which file and bytes.
    pub what: String,
    /// What cannot be had back, if anything.
    pub lost: Vec<String>,
    /// What a start does with it, or what a repair would do.
    pub way_on: String,
    pub(super) mend: Mend,
}

impl Finding {
    /// True when a repair does something about it, or the server starts in spite of it.
    pub fn is_mendable(&self) -> bool {
        self.mend != Mend::None
    }
}

/// How a finding is mended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Mend {
    /// Not by us: only a newer release or a backup helps.
    None,
    Identity(Identity),
    Log,
    Catalog,
    /// The file is kept, for the rows are given up with a statement.
    Keep(PathBuf),
    /// What has this name has no business there.
    Move(PathBuf),
    Part(TableId, PartId, PathBuf),
    /// What is not in parts of the table up to this transaction is given up.
    GiveUp(TableId, SeqTxn),
}

/// What a check came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    /// What is there, in numbers.
    pub summary: Vec<String>,
    /// What is wrong; nothing when the directory is sound.
    pub findings: Vec<Finding>,
    /// A log ends in a write that a crash cut short.
    pub cut_short: bool,
}

/// Looks at every file of a stopped server that a start would rely on.
///
/// # Errors
/// The directory is in use, or cannot be read at all. Damage is no error: it is in the report.
pub fn check(fs: &Fs, dir: &Path) -> Result<CheckReport, OpenError> {
    // A folder that may only be read can be looked at, too.
    let _lock = hold(fs, dir, Fs::lock_shared)?;
    look(fs, dir)
}

/// Takes a lock of a folder that is there.
pub(super) fn hold(
    fs: &Fs,
    dir: &Path,
    lock: impl FnOnce(&Fs, &Path) -> io::Result<Option<DirLock>>,
) -> Result<DirLock, OpenError> {
    // Listing tells a wrong path from an empty directory: taking the lock may create a file.
    if !fs.exists(dir)? {
        return Err(OpenError::NoDirectory(dir.to_owned()));
    }
    lock(fs, dir)?.ok_or_else(|| OpenError::Locked(dir.to_owned()))
}

pub(super) fn look(fs: &Fs, dir: &Path) -> Result<CheckReport, OpenError> {
    let mut report = CheckReport::default();
    for path in misfits(fs, dir)? {
        let way_on = "the start is refused; a repair moves it to quarantine/, then looks again";
        report.add(OpenError::NotAFile(path.clone()), way_on, Mend::Move(path));
    }
    if !report.findings.is_empty() {
        return Ok(report);
    }
    let Some(identity) = report.identity(fs, dir)? else { return Ok(report) };
    let (mut catalog, torn) = report.catalog(fs, dir, &identity)?.unzip();
    if let (Some(state), Some(torn)) = (&catalog, torn.flatten()) {
        // A log that is damaged is judged below, and after its repair this is looked at again.
        let is_missed = match is_end_missed(fs, dir, &identity, state) {
            Err(OpenError::Log(error)) if !matches!(error, LogError::Io(_)) => false,
            found => found?,
        };
        if report.torn_end(&torn, is_missed) {
            catalog = None;
        }
    }
    let log = report.log(fs, dir, catalog.as_ref(), &identity)?;
    let state = match (catalog, &log) {
        (Some(state), _) => {
            report.parts(fs, dir, &state)?;
            Some(state)
        }
        (None, Some(log)) => report.rebuilt(fs, dir, &identity, log)?,
        (None, None) => None,
    };
    if let (Some(state), Some(log)) = (state, &log) {
        report.gaps(dir, log, &state);
        report.segments(fs, dir, &identity, log, &state);
    }
    Ok(report)
}

impl CheckReport {
    fn add(&mut self, what: impl ToString, way_on: &str, mend: Mend) -> &mut Finding {
        let (what, way_on) = (what.to_string(), way_on.to_owned());
        self.findings.push(Finding { what, lost: Vec::new(), way_on, mend });
        self.findings.last_mut().expect("pushed just above")
    }

    fn identity(&mut self, fs: &Fs, dir: &Path) -> Result<Option<Identity>, OpenError> {
        let by_log = sequencer::newest_header(fs, &log_dir(dir))?;
        let by_catalog = Catalog::newest_header(fs, &catalog_dir(dir))?;
        let named: Vec<_> = by_log.into_iter().chain(by_catalog).collect();
        let (what, is_there) = match Identity::read(fs, dir) {
            Ok(Some(found))
                if named.iter().all(|(uuid, _)| *uuid != found.uuid) && !named.is_empty() =>
            {
                let path = dir.join("identity");
                (format!("{} is of another server than the logs", path.display()), true)
            }
            Ok(Some(identity)) => {
                let uuid = uuid::Uuid::from_bytes(identity.uuid);
                self.summary.push(format!("server {uuid}, start {}", identity.epoch));
                return Ok(Some(identity));
            }
            Ok(None) => (OpenError::Missing(dir.join("identity")).to_string(), false),
            Err(error @ OpenError::Identity { .. }) => (error.to_string(), true),
            Err(error @ OpenError::FutureIdentity { .. }) => {
                self.add(error, "use a newer release", Mend::None);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let Some(&(uuid, _)) = named.first() else {
            if is_there {
                let way_on =
                    "the start is refused; no log is left to say what it was: restore a backup";
                self.add(what, way_on, Mend::None);
            } else {
                self.summary.push("an empty data directory".to_owned());
            }
            return Ok(None);
        };
        let epochs = named.iter().filter(|(named, _)| *named == uuid).map(|(_, epoch)| *epoch);
        let identity = Identity { uuid, epoch: epochs.max().unwrap_or(0) };
        let way_on =
            "the start is refused; a repair writes it anew from the logs' headers; nothing is lost";
        self.add(what, way_on, Mend::Identity(identity));
        Ok(Some(identity))
    }

    fn catalog(
        &mut self,
        fs: &Fs,
        dir: &Path,
        identity: &Identity,
    ) -> Result<Option<(CatalogState, Option<TornEnd>)>, OpenError> {
        let path = catalog_dir(dir);
        let error = match Catalog::survey(fs, &path, identity.uuid) {
            Ok(None) if Found::of(fs, dir)?.is_catalog_lost() => OpenError::Missing(path),
            Ok(found) => {
                let (state, torn) = found.map(|f| (f.state, f.torn)).unwrap_or_default();
                let parts: usize = state.tables.values().map(|table| table.parts.len()).sum();
                self.summary.push(format!("catalog: {} tables, {parts} parts", state.tables.len()));
                return Ok(Some((state, torn)));
            }
            Err(StorageError::Io(error)) => return Err(StorageError::Io(error).into()),
            Err(error @ StorageError::Future { .. }) => {
                self.add(error, "use a newer release", Mend::None);
                return Ok(None);
            }
            Err(error) => error.into(),
        };
        self.add(error, NEW_CATALOG, Mend::Catalog);
        Ok(None)
    }

    /// Says what the end of the catalog that does not verify is; true when it is damage.
    fn torn_end(&mut self, torn: &TornEnd, is_missed: bool) -> bool {
        if is_missed {
            self.add(OpenError::from(torn.damaged()), NEW_CATALOG, Mend::Catalog);
        } else {
            self.cut_short = true;
            self.summary.push(format!(
                "the catalog ends in {} bytes of a commit that was cut short: it was never confirmed, the next start leaves it out",
                torn.to - torn.from
            ));
        }
        is_missed
    }

    /// Adds to what is wrong with the catalog what a new one would cost.
    fn rebuilt(
        &mut self,
        fs: &Fs,
        dir: &Path,
        identity: &Identity,
        log: &Recovered,
    ) -> Result<Option<CatalogState>, OpenError> {
        let damaged = self.findings.iter_mut().find(|finding| finding.mend == Mend::Catalog);
        let Some(damaged) = damaged else { return Ok(None) };
        let rebuilt = rebuild(fs, dir, identity, log)?;
        damaged.lost = rebuilt.lost;
        let parts: usize = rebuilt.state.tables.values().map(|table| table.parts.len()).sum();
        let tables = rebuilt.state.tables.len();
        self.summary.push(format!("a new catalog would have {tables} tables, {parts} parts"));
        Ok(Some(rebuilt.state))
    }

    fn log(
        &mut self,
        fs: &Fs,
        dir: &Path,
        catalog: Option<&CatalogState>,
        identity: &Identity,
    ) -> Result<Option<Recovered>, OpenError> {
        let log_dir = log_dir(dir);
        let mut is_whole = |txn: &Committed| {
            // Without a catalog nobody knows what is flushed, and so what may be gone.
            let Some(state) = catalog else { return true };
            let is_flushed = txn.seq_txn <= flushed(state, txn.table);
            let lost = |error: &WalError| !error.is_unread();
            is_flushed || !verifies(fs, dir, identity, txn).is_err_and(|error| lost(&error))
        };
        let error = match sequencer::survey(fs, &log_dir, &identity.uuid, &mut is_whole) {
            Ok(Some(log)) => {
                self.summary.push(format!("log: {} transactions", log.transactions.len()));
                if let Some(cut) = &log.cut {
                    self.cut_short = true;
                    self.summary.push(format!(
                        "{} ends in {} bytes of a write that was cut short: nothing in them was acknowledged, the next start cuts them",
                        cut.path.display(), cut.bytes
                    ));
                }
                return Ok(Some(log));
            }
            Ok(None) => {
                let has_tables = catalog.is_some_and(|state| !state.tables.is_empty());
                if has_tables || Found::of(fs, dir)?.is_log_lost() {
                    let way_on = "the start is refused; restore a backup, or let a repair begin a new log: it keeps the segments in quarantine/";
                    let lost = "all rows that are not in parts".to_owned();
                    self.add(OpenError::Missing(log_dir), way_on, Mend::Log).lost.push(lost);
                }
                return Ok(None);
            }
            Err(LogError::Io(error)) => return Err(LogError::Io(error).into()),
            Err(error @ LogError::FutureVersion { .. }) => {
                self.add(error, "use a newer release", Mend::None);
                return Ok(None);
            }
            Err(error) => error,
        };
        if let Some((path, _)) = sequencer::place_of(&error).filter(|(p, _)| ShelfFile::is_at(p)) {
            let lost = format!("what {} holds for a table that was suspended", path.display());
            let way_on = "the start is refused; restore the file from a backup, or let a repair move it to quarantine/, then look again";
            self.add(error, way_on, Mend::Move(path)).lost.push(lost);
            return Ok(None);
        }
        if let Some(chunk) = done_with(fs, &log_dir, identity, catalog, &error)? {
            let way_on = "all rows in it are in parts, and a start reads it only if later rows need definitions from it; a repair moves it to quarantine/, with the \
                chunks before it";
            self.add(error, way_on, Mend::Move(chunk));
            return Ok(None);
        }
        let way_on = "the start is refused; restore a backup, or let a repair cut the log there: it keeps copies in quarantine/, and what is \
            listed as lost is lost";
        let lost = sequencer::beyond(fs, &log_dir, &error)?;
        self.add(error, way_on, Mend::Log).lost = lost;
        Ok(None)
    }

    fn parts(&mut self, fs: &Fs, dir: &Path, state: &CatalogState) -> Result<(), OpenError> {
        let (mut count, mut bytes) = (0, 0);
        for (id, table) in &state.tables {
            let folder = TableDir::new(fs, &dir.join("tables"), &table.shape);
            for part in table.parts.values() {
                let path = folder.part_path(&part.id);
                match PartFile::open(fs, &path).and_then(|file| file.verify(part)) {
                    Ok(()) => (count, bytes) = (count + 1, bytes + part.bytes),
                    Err(error) => {
                        let way_on = "queries that read it fail; restore the file from a backup, or let a repair take it out of the catalog";
                        let mend = Mend::Part(*id, part.id, path);
                        self.add(error, way_on, mend).lost.push(format!(
                            "{} rows of {:?}.{:?} between {} and {} (ns since 1970)",
                            part.rows,
                            table.shape.def.database,
                            table.shape.def.name,
                            part.min_time,
                            part.max_time
                        ));
                    }
                }
            }
        }
        self.summary.push(format!("parts: {count} whole, {bytes} bytes"));
        Ok(())
    }

    /// Transactions that are nowhere.
    fn gaps(&mut self, dir: &Path, log: &Recovered, catalog: &CatalogState) {
        for gap in gaps(&log.transactions, catalog, &log.state) {
            let way_on = "the start is refused; restore the file from a backup, or let a repair give up what is not in parts of this table";
            let after = log.transactions.iter().filter(|txn| txn.table == gap.table);
            let after = after.filter(|txn| txn.seq_txn > flushed(catalog, txn.table));
            let rows = after.filter_map(|txn| txn.kind.frame()).map(|f| u64::from(f.rows));
            let lost = format!(
                "all of table {:?} that is not in parts, up to transaction {}: the missing transactions, and {} rows of others",
                gap.name,
                gap.last,
                rows.sum::<u64>()
            );
            let error = gap.error(&log_dir(dir));
            self.add(error, way_on, Mend::GiveUp(gap.table, gap.last)).lost.push(lost);
        }
    }

    /// Frames of transactions that are not in parts yet.
    fn segments(
        &mut self,
        fs: &Fs,
        dir: &Path,
        identity: &Identity,
        log: &Recovered,
        catalog: &CatalogState,
    ) {
        let mut whole = 0;
        let mut broken: BTreeMap<(PathBuf, TableId, String), Broken> = BTreeMap::new();
        for txn in &log.transactions {
            let Some(frame) = txn.kind.frame() else { continue };
            let Frame { writer, segment, rows, .. } = *frame;
            if txn.seq_txn <= flushed(catalog, txn.table) {
                continue;
            }
            let path = identity.segment(writer, segment).path(&dir.join("wal"));
            match verifies(fs, dir, identity, txn) {
                Ok(()) => whole += 1,
                Err(error @ WalError::FutureVersion { .. }) => {
                    self.once(error, "the start is refused; use a newer release", Mend::None);
                }
                Err(error @ WalError::Misplaced { .. })
                    if log.carried.contains_key(&(writer, segment)) =>
                {
                    let way_on = "the start is refused; a repair moves it to quarantine/, and the next start writes the segment anew from the log";
                    self.once(error, way_on, Mend::Move(path));
                }
                Err(_) if carries(log, identity, frame) => {}
                Err(error) => {
                    let key = (path, txn.table, reason(&error));
                    let broken = broken.entry(key).or_insert_with(|| Broken::new(&error, txn));
                    broken.add(&error, txn.seq_txn, rows);
                }
            }
        }
        for ((path, table, _), broken) in broken {
            self.broken(path, log.state.table(table), &broken);
        }
        self.summary.push(format!("segments: {whole} frames that are not in parts yet are whole"));
    }

    /// Adds what is wrong with frames of one table in one segment, in one way.
    fn broken(&mut self, path: PathBuf, table: Option<&TableState>, broken: &Broken) {
        let (database, name) = table.map_or(("", ""), |table| (&*table.database, &*table.name));
        let next = broken.last.next();
        if broken.is_unread {
            let way_on = format!(
                "what it holds is not known: make it readable, then look again. Where the server starts without it, `ALTER TABLE \"{name}\" SUSPEND WAL` and then \
                `RESUME WAL FROM TXN {next}` give the rows up"
            );
            self.add(broken.what(), &way_on, Mend::None);
            return;
        }
        let way_on = format!(
            "the server starts and suspends this table only; `ALTER TABLE \"{name}\" RESUME WAL FROM TXN {next}` gives the rows up, with all before them that are not \
            visible. A repair keeps a copy of the segment in quarantine/"
        );
        let lost = broken.lost(database, name);
        self.add(broken.what(), &way_on, Mend::Keep(path)).lost.push(lost);
    }

    /// Adds what concerns a whole file, however many transactions run into it.
    fn once(&mut self, what: WalError, way_on: &str, mend: Mend) {
        let what = what.to_string();
        if self.findings.iter().all(|finding| finding.what != what) {
            self.add(what, way_on, mend);
        }
    }
}

/// The way on with a damaged catalog.
const NEW_CATALOG: &str = "the start is refused; restore a backup, or let a repair write the catalog anew from the records before the \
    damage, the parts and the log: it keeps what was there in quarantine/";

/// Transactions of one table whose frames in one segment cannot be had, for one reason.
struct Broken {
    /// The first error, which names a place.
    first_error: String,
    /// The last one, and how many differ: as many as there are places.
    last_error: String,
    places: u64,
    is_unread: bool,
    transactions: u64,
    rows: u64,
    first: SeqTxn,
    last: SeqTxn,
}

impl Broken {
    /// Nothing yet.
    fn new(error: &WalError, txn: &Committed) -> Broken {
        Broken {
            first_error: error.to_string(),
            last_error: String::new(),
            places: 0,
            is_unread: error.is_unread(),
            transactions: 0,
            rows: 0,
            first: txn.seq_txn,
            last: txn.seq_txn,
        }
    }

    fn add(&mut self, error: &WalError, seq_txn: SeqTxn, rows: u32) {
        let error = error.to_string();
        if error != self.last_error {
            (self.last_error, self.places) = (error, self.places + 1);
        }
        (self.transactions, self.rows) = (self.transactions + 1, self.rows + u64::from(rows));
        self.last = seq_txn;
    }

    fn what(&self) -> String {
        let Broken { first_error, last_error, places, .. } = self;
        match places {
            0 | 1 => first_error.clone(),
            _ => format!("{first_error}; the last of {places} such places: {last_error}"),
        }
    }

    fn lost(&self, database: &str, name: &str) -> String {
        let Broken { transactions, rows, first, last, .. } = self;
        let which = match transactions {
            0 | 1 => format!("transaction {first}"),
            _ => format!("{transactions} transactions from {first} to {last}"),
        };
        format!("{rows} rows of {database:?}.{name:?}, {which}")
    }
}

/// What errors have in common that differ in their places only.
fn reason(error: &WalError) -> String {
    match error {
        WalError::Damaged { what, .. } => (*what).to_owned(),
        WalError::Io(error) => format!("{}: {}", error.operation, error.source.kind()),
        error => error.to_string(),
    }
}

/// The newest chunk at the error's place or before it, where everything up to there is flushed or on shelves.
fn done_with(
    fs: &Fs,
    log_dir: &Path,
    identity: &Identity,
    catalog: Option<&CatalogState>,
    error: &LogError,
) -> Result<Option<PathBuf>, OpenError> {
    let (Some(state), Some((place, _))) = (catalog, sequencer::place_of(error)) else {
        return Ok(None);
    };
    let flushed = |table| flushed(state, table);
    Ok(sequencer::done_at(fs, log_dir, &identity.uuid, &flushed, &place)?)
}

/// True when the log or a shelf has the frame, whole.
fn carries(log: &Recovered, identity: &Identity, frame: &Frame) -> bool {
    let segment = identity.segment(frame.writer, frame.segment);
    log.carried_frame(frame).is_some_and(|bytes| wal::is_frame(&segment, frame.offset, &bytes))
}

fn verifies(fs: &Fs, dir: &Path, identity: &Identity, txn: &Committed) -> Result<(), WalError> {
    let Some(&Frame { writer, segment, offset, len, .. }) = txn.kind.frame() else {
        return Ok(());
    };
    let reader = SegmentReader::open(fs, &dir.join("wal"), &identity.segment(writer, segment))?;
    let frame = reader.frame(offset, len)?;
    let mut cursor = SeriesCursor::new();
    frame.new_series(&mut cursor)?;
    frame.rows(cursor).map(|_| ())
}
