//! A stopped data directory, looked at as a whole: what is damaged, what that costs, and the way on.
//!
//! [`check`] changes nothing. [`repair`] first copies what it is about to change into `quarantine/`, so that nothing is gone
//! that was there; then it cuts the log before its first damaged record, rewrites a lost identity, and takes parts out of the catalog that
//! cannot be read.

use super::OpenError;
use super::identity::Identity;
use super::recovery::flushed;
use crate::io::{DirLock, Fs};
use crate::sequencer::{self, Committed, Frame, LogError, Recovered};
use crate::storage::{Catalog, CatalogState, Edit, PartFile, StorageError, TableDir};
use crate::types::TableId;
use crate::wal::{SegmentReader, WalError};
use std::path::{Path, PathBuf};

/// Where [`repair`] keeps what it takes away.
const QUARANTINE: &str = "quarantine";

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What is wrong with which file and bytes.
    pub what: String,
    /// What cannot be had back, if anything.
    pub lost: Vec<String>,
    /// What a start does with it, or what a repair would do.
    pub way_on: String,
    mend: Mend,
}

impl Finding {
    /// True when a repair does something about it, or the server starts in spite of it.
    pub fn is_mendable(&self) -> bool {
        self.mend != Mend::None
    }
}

/// How a finding is mended.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Mend {
    /// Not by us: the start deals with it, or only a backup can.
    None,
    Identity(Identity),
    Log,
    /// The file is kept, for the rows are given up with a statement.
    Keep(PathBuf),
    Part(TableId, crate::storage::PartId, PathBuf),
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
    let _lock = lock(fs, dir)?;
    look(fs, dir)
}

/// Looks, and mends what can be mended. What it changes is copied to `quarantine/` first. Returns what was wrong, and what was done.
///
/// # Errors
/// As [`check`], and a copy or a change failed: what was not reached is as it was.
pub fn repair(fs: &Fs, dir: &Path) -> Result<(CheckReport, Vec<String>), OpenError> {
    let _lock = lock(fs, dir)?;
    let report = look(fs, dir)?;
    let mut done = Vec::new();
    // Identity first, then the log: the catalog is opened with the one, and must not run ahead of the other.
    for finding in &report.findings {
        if let Mend::Identity(identity) = &finding.mend {
            keep(fs, dir, &dir.join("identity"), &mut done)?;
            identity.write(fs, dir)?;
            done.push("wrote a new identity file from the logs' headers".to_owned());
        }
    }
    if report.findings.iter().any(|finding| finding.mend == Mend::Log) {
        mend_log(fs, dir, &mut done)?;
    }
    let mut edits = Vec::new();
    for finding in &report.findings {
        match &finding.mend {
            Mend::Keep(path) => keep(fs, dir, path, &mut done)?,
            Mend::Part(table, part, path) => {
                keep(fs, dir, path, &mut done)?;
                let (remove, add) = (vec![*part], Vec::new());
                edits.push(Edit::Replace { table: *table, remove, add });
                done.push(format!("took {} out of the catalog", path.display()));
            }
            Mend::None | Mend::Log | Mend::Identity(_) => {}
        }
    }
    if !edits.is_empty() {
        let identity = Identity::read(fs, dir)?.ok_or(OpenError::Locked(dir.to_owned()))?;
        let opened = Catalog::open(fs, &dir.join("catalog"), identity.uuid, identity.epoch)?;
        opened.0.commit(edits)?;
        opened.0.seal()?;
    }
    Ok((report, done))
}

fn lock(fs: &Fs, dir: &Path) -> Result<DirLock, OpenError> {
    // Listing tells a wrong path from an empty directory: taking the lock would create a file.
    if !fs.exists(dir)? {
        return Err(OpenError::NoDirectory(dir.to_owned()));
    }
    fs.lock(dir)?.ok_or_else(|| OpenError::Locked(dir.to_owned()))
}

fn look(fs: &Fs, dir: &Path) -> Result<CheckReport, OpenError> {
    let mut report = CheckReport::default();
    let identity = report.identity(fs, dir)?;
    let catalog = report.catalog(fs, dir)?;
    let log = report.log(fs, dir, catalog.as_ref(), identity)?;
    if let Some(state) = &catalog {
        report.parts(fs, dir, state)?;
    }
    if let (Some(identity), Some(log)) = (identity, &log) {
        report.segments(fs, dir, identity, log, catalog.unwrap_or_default());
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
        let found = match Identity::read(fs, dir) {
            Ok(Some(identity)) => {
                let uuid = uuid::Uuid::from_bytes(identity.uuid);
                self.summary.push(format!("server {uuid}, start {}", identity.epoch));
                return Ok(Some(identity));
            }
            Ok(None) => "there is no identity file".to_owned(),
            Err(error @ OpenError::Identity { .. }) => error.to_string(),
            Err(error) => return Err(error),
        };
        let by_logs = sequencer::newest_header(fs, &dir.join("wal/txnlog"))?;
        let Some((uuid, epoch)) = by_logs else {
            if fs.list(&dir.join("catalog"))?.is_empty() {
                self.summary.push("an empty data directory".to_owned());
            } else {
                self.add(found, "restore it from a backup", Mend::None);
            }
            return Ok(None);
        };
        let identity = Identity { uuid, epoch };
        let way_on = "a repair writes it anew from the logs' headers; nothing is lost";
        self.add(found, way_on, Mend::Identity(identity));
        Ok(Some(identity))
    }

    fn catalog(&mut self, fs: &Fs, dir: &Path) -> Result<Option<CatalogState>, OpenError> {
        match Catalog::survey(fs, &dir.join("catalog")) {
            Ok(found) => {
                let (state, torn_bytes) = found.unwrap_or_default();
                if torn_bytes > 0 {
                    self.cut_short = true;
                    self.summary.push(format!(
                        "the catalog ends in {torn_bytes} bytes of a commit that was cut short: it was never confirmed, the next start leaves it out"
                    ));
                }
                let parts: usize = state.tables.values().map(|table| table.parts.len()).sum();
                self.summary.push(format!("catalog: {} tables, {parts} parts", state.tables.len()));
                Ok(Some(state))
            }
            Err(StorageError::Io(error)) => Err(StorageError::Io(error).into()),
            Err(error) => {
                let way_on = "the start is refused; restore the folder catalog together with tables and wal from a backup. The \
                    Parquet files below tables/ are whole by themselves and any reader takes them";
                self.add(error, way_on, Mend::None);
                Ok(None)
            }
        }
    }

    fn log(
        &mut self,
        fs: &Fs,
        dir: &Path,
        catalog: Option<&CatalogState>,
        identity: Option<Identity>,
    ) -> Result<Option<Recovered>, OpenError> {
        let log_dir = dir.join("wal/txnlog");
        let mut is_whole = |txn: &Committed| {
            let is_flushed = catalog.is_some_and(|state| txn.seq_txn <= flushed(state, txn.table));
            let Some(identity) = identity else { return is_flushed };
            let lost = |error: &WalError| !error.is_unread();
            is_flushed || !verifies(fs, dir, &identity, txn).is_err_and(|error| lost(&error))
        };
        match sequencer::survey(fs, &log_dir, &mut is_whole) {
            Ok(Some(log)) => {
                self.summary.push(format!("log: {} transactions", log.transactions.len()));
                if let Some(cut) = &log.cut {
                    self.cut_short = true;
                    self.summary.push(format!(
                        "{} ends in {} bytes of a write that was cut short: nothing in them was acknowledged, the next start cuts them",
                        cut.path.display(), cut.bytes
                    ));
                }
                Ok(Some(log))
            }
            Ok(None) => Ok(None),
            Err(LogError::Io(error)) => Err(LogError::Io(error).into()),
            Err(error @ LogError::FutureVersion { .. }) => {
                self.add(error, "use a newer release", Mend::None);
                Ok(None)
            }
            Err(error) => {
                let way_on = "the start is refused; restore a backup, or let a repair cut the log there: it keeps copies in quarantine/, and what is \
                    listed as lost is lost";
                let lost = sequencer::beyond(fs, &log_dir, &error)?;
                self.add(error, way_on, Mend::Log).lost = lost;
                Ok(None)
            }
        }
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

    /// Frames of transactions that are not in parts yet.
    fn segments(
        &mut self,
        fs: &Fs,
        dir: &Path,
        identity: Identity,
        log: &Recovered,
        catalog: CatalogState,
    ) {
        let mut whole = 0;
        for txn in &log.transactions {
            let Some(&Frame { writer, segment, offset, len, rows, .. }) = txn.kind.frame() else {
                continue;
            };
            let carried = log.carried.get(&(writer, segment));
            let is_carried = carried.is_some_and(|frames| {
                frames.iter().any(|(at, bytes)| {
                    *at <= offset && offset + u64::from(len) <= at + bytes.len() as u64
                })
            });
            if txn.seq_txn <= flushed(&catalog, txn.table) || is_carried {
                continue;
            }
            match verifies(fs, dir, &identity, txn) {
                Ok(()) => whole += 1,
                Err(error) => {
                    let named = log.state.table(txn.table);
                    let (database, name) =
                        named.map_or(("", ""), |table| (&*table.database, &*table.name));
                    let next = txn.seq_txn.next();
                    let way_on = format!(
                        "the server starts and suspends this table only; `ALTER TABLE \"{name}\" RESUME WAL FROM TXN {next}` gives the rows up. A repair keeps a copy of \
                        the segment in quarantine/"
                    );
                    let path = identity.segment(writer, segment).path(&dir.join("wal"));
                    self.add(error, &way_on, Mend::Keep(path)).lost.push(format!(
                        "{rows} rows of {database:?}.{name:?}, transaction {}",
                        txn.seq_txn
                    ));
                }
            }
        }
        self.summary.push(format!("segments: {whole} frames that are not in parts yet are whole"));
    }
}

fn verifies(fs: &Fs, dir: &Path, identity: &Identity, txn: &Committed) -> Result<(), WalError> {
    let Some(&Frame { writer, segment, offset, len, .. }) = txn.kind.frame() else {
        return Ok(());
    };
    let reader = SegmentReader::open(fs, &dir.join("wal"), &identity.segment(writer, segment))?;
    let frame = reader.frame(offset, len)?;
    frame.decode(&mut crate::wal::SeriesCursor::default()).map(|_| ())
}

/// Cuts the log until what is left of it is whole.
fn mend_log(fs: &Fs, dir: &Path, done: &mut Vec<String>) -> Result<(), OpenError> {
    let log_dir = dir.join("wal/txnlog");
    // What is cut may name the only frames of its rows.
    for file in crate::wal::list_segments(fs, &dir.join("wal"))? {
        let path =
            dir.join("wal").join(file.writer.to_string()).join(format!("{}.wal", file.segment));
        keep(fs, dir, &path, done)?;
    }
    while let Err(error) = sequencer::survey(fs, &log_dir, &mut |_| true) {
        let (mut keep_copy, log_dir) = (|path: &Path| keep(fs, dir, path, done), &log_dir);
        let Some(cut) = sequencer::place_of(&error) else { return Err(error.into()) };
        for path in sequencer::chunks_from(fs, log_dir, &cut.0)? {
            keep_copy(&path)?;
        }
        done.push(sequencer::cut(fs, log_dir, &cut.0, cut.1)?);
    }
    Ok(())
}

/// Copies a file into the quarantine, durably; one that is not there needs none.
fn keep(fs: &Fs, dir: &Path, path: &Path, done: &mut Vec<String>) -> Result<(), OpenError> {
    let bytes = match fs.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let below = path.strip_prefix(dir).unwrap_or(path);
    let mut copy = dir.join(QUARANTINE).join(below);
    let mut attempt = 0;
    while fs.exists(&copy)? {
        attempt += 1;
        copy = dir.join(QUARANTINE).join(format!("{}.{attempt}", below.display()));
    }
    fs.create_dir_all(copy.parent().unwrap_or(dir))?;
    fs.replace(&copy, &bytes)?;
    done.push(format!("copied {} to {}", path.display(), copy.display()));
    Ok(())
}
