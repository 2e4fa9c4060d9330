//! Mending a stopped data directory. What is about to be changed goes to `quarantine/` first, so that nothing is gone that was there.
//!
//! In order: what has no business there is moved away; a lost identity is written anew; the log is cut before its first damaged
//! record; a damaged catalog is made anew from what is left; parts that cannot be read are taken out of it,
//! and tables of which transactions are missing are cut off at their parts.

use super::OpenError;
use super::check::{CheckReport, Mend, hold, look};
use super::identity::Identity;
use super::layout::{catalog_dir, log_dir};
use super::rebuild::rebuild;
use crate::io::Fs;
use crate::sequencer;
use crate::storage::{Catalog, Edit};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where what is taken away is kept.
const QUARANTINE: &str = "quarantine";

/// Looks, and mends what can be mended. What it changes is copied to `quarantine/` first. Returns what was wrong, and what was done.
///
/// # Errors
/// As [`super::check()`], and a copy or a change failed: what was not reached is as it was.
pub fn repair(fs: &Fs, dir: &Path) -> Result<(CheckReport, Vec<String>), OpenError> {
    let _lock = hold(fs, dir, Fs::lock)?;
    let mut work = Repair { fs, dir, kept: BTreeSet::new(), done: Vec::new() };
    let mut report = look(fs, dir)?;
    let mut mended = Vec::new();
    while work.move_away(&report)? || work.identity(&report)? || work.log(&report)? {
        // What was behind it can be seen now.
        mended.append(&mut report.findings);
        report = look(fs, dir)?;
    }
    let is_damaged = |mend: &Mend| report.findings.iter().any(|finding| finding.mend == *mend);
    if is_damaged(&Mend::Catalog) {
        work.catalog()?;
    }
    work.parts(&report)?;
    report.findings.splice(0..0, mended);
    Ok((report, work.done))
}

struct Repair<'a> {
    fs: &'a Fs,
    dir: &'a Path,
    /// What was copied as it was before anything was changed.
    kept: BTreeSet<PathBuf>,
    /// What was done, for people.
    done: Vec<String>,
}

impl Repair<'_> {
    /// True when something was moved.
    fn move_away(&mut self, report: &CheckReport) -> Result<bool, OpenError> {
        let mut moved = false;
        for finding in &report.findings {
            if let Mend::Move(path) = &finding.mend {
                self.move_to_quarantine(path)?;
                moved = true;
            }
        }
        Ok(moved)
    }

    /// True when one was written.
    fn identity(&mut self, report: &CheckReport) -> Result<bool, OpenError> {
        let mut written = false;
        for finding in &report.findings {
            if let Mend::Identity(identity) = &finding.mend {
                self.keep(&self.dir.join("identity"))?;
                identity.write(self.fs, self.dir)?;
                self.say("wrote a new identity file from the logs' headers");
                written = true;
            }
        }
        Ok(written)
    }

    /// Cuts a damaged log until what is left of it is whole; true when it did. Where nothing is left, a new one is begun: a directory
    /// with data has a log.
    fn log(&mut self, report: &CheckReport) -> Result<bool, OpenError> {
        if report.findings.iter().all(|finding| finding.mend != Mend::Log) {
            return Ok(false);
        }
        let identity = self.read_identity()?;
        let log_dir = log_dir(self.dir);
        // What is cut may name the only frames of its rows.
        self.keep_segments(&identity)?;
        loop {
            match sequencer::survey(self.fs, &log_dir, &identity.uuid, &mut |_| true) {
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {
                    sequencer::begin(self.fs, &log_dir, &identity.uuid, identity.epoch)?;
                    self.say("began a new log");
                    return Ok(true);
                }
                Err(error) => {
                    let Some((path, from)) = sequencer::place_of(&error) else {
                        return Err(error.into());
                    };
                    for chunk in sequencer::chunks_from(self.fs, &log_dir, &path)? {
                        self.keep(&chunk)?;
                    }
                    let said = sequencer::cut(self.fs, &log_dir, &path, from)?;
                    self.say(said);
                }
            }
        }
    }

    fn catalog(&mut self) -> Result<(), OpenError> {
        let identity = self.read_identity()?;
        let log = sequencer::survey(self.fs, &log_dir(self.dir), &identity.uuid, &mut |_| true)?;
        let log = log.ok_or_else(|| OpenError::Missing(log_dir(self.dir)))?;
        let rebuilt = rebuild(self.fs, self.dir, &identity, &log)?;
        if rebuilt.leaves_rows {
            self.keep_segments(&identity)?;
        }
        for path in Catalog::files(self.fs, &catalog_dir(self.dir))? {
            self.keep(&path)?;
        }
        // Before the new catalog: the next start removes every part that it does not name.
        for path in &rebuilt.left_out {
            self.move_to_quarantine(path)?;
        }
        let server = (identity.uuid, identity.epoch);
        Catalog::write_anew(self.fs, &catalog_dir(self.dir), server, &rebuilt.state)?;
        for (id, table) in &rebuilt.state.tables {
            let rows: u64 = table.parts.values().map(|part| part.rows).sum();
            self.say(format!(
                "wrote table {id} {:?}.{:?} into a new catalog: {} parts, {rows} rows, flushed up to {}",
                table.shape.def.database,
                table.shape.def.name,
                table.parts.len(),
                table.flushed_txn
            ));
        }
        for table in &rebuilt.in_log {
            self.say(format!("left table {table} to the log, which has all of it"));
        }
        for lost in &rebuilt.lost {
            self.say(format!("wrote it without {lost}"));
        }
        Ok(())
    }

    fn parts(&mut self, report: &CheckReport) -> Result<(), OpenError> {
        let (mut edits, mut given_up) = (Vec::new(), Vec::new());
        for finding in &report.findings {
            match &finding.mend {
                Mend::Keep(path) => self.keep(path)?,
                Mend::Part(table, part, path) => {
                    self.keep(path)?;
                    let (remove, add) = (vec![*part], Vec::new());
                    edits.push(Edit::Replace { table: *table, remove, add });
                    self.say(format!("took {} out of the catalog", path.display()));
                }
                Mend::GiveUp(table, through) => given_up.push((*table, *through)),
                Mend::None | Mend::Log | Mend::Catalog | Mend::Move(_) | Mend::Identity(_) => {}
            }
        }
        if !edits.is_empty() || !given_up.is_empty() {
            let Identity { uuid, epoch } = self.read_identity()?;
            let (catalog, state) = Catalog::open(self.fs, &catalog_dir(self.dir), uuid, epoch)?;
            for (table, flushed_txn) in given_up {
                // What was never in the catalog is gone as a whole.
                edits.push(match state.tables.contains_key(&table) {
                    true => Edit::Flush { table, parts: Vec::new(), flushed_txn },
                    false => Edit::Drop(table),
                });
                self.say(format!(
                    "gave up what was not in parts of table {table} up to transaction {flushed_txn}"
                ));
            }
            catalog.commit(edits)?;
            catalog.seal()?;
        }
        Ok(())
    }

    fn read_identity(&self) -> Result<Identity, OpenError> {
        let identity = Identity::read(self.fs, self.dir)?;
        identity.ok_or_else(|| OpenError::Missing(self.dir.join("identity")))
    }

    fn keep_segments(&mut self, identity: &Identity) -> Result<(), OpenError> {
        let wal = self.dir.join("wal");
        for file in crate::wal::list_segments(self.fs, &wal)? {
            self.keep(&identity.segment(file.writer, file.segment).path(&wal))?;
        }
        Ok(())
    }

    /// Copies a file into the quarantine, durably and once; one that is not there needs none, nor one that an earlier repair copied and that
    /// has not changed since. A folder in its place is moved.
    fn keep(&mut self, path: &Path) -> Result<(), OpenError> {
        if self.kept.contains(path) {
            return Ok(());
        }
        if self.is_folder(path)? {
            return self.move_to_quarantine(path);
        }
        let bytes = match self.fs.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let (copies, copy) = self.places_of(path)?;
        self.kept.insert(path.to_owned());
        for earlier in copies {
            if self.has_bytes(&earlier, &bytes) {
                self.say(format!("{} is kept already, as {}", path.display(), earlier.display()));
                return Ok(());
            }
        }
        self.fs.replace(&copy, &bytes)?;
        self.say(format!("copied {} to {}", path.display(), copy.display()));
        Ok(())
    }

    fn move_to_quarantine(&mut self, path: &Path) -> Result<(), OpenError> {
        let (_, place) = self.places_of(path)?;
        self.fs.rename(path, &place)?;
        self.fs.sync_dir(place.parent().unwrap_or(self.dir))?;
        self.fs.sync_dir(path.parent().unwrap_or(self.dir))?;
        self.say(format!("moved {} to {}", path.display(), place.display()));
        Ok(())
    }

    /// What the quarantine has of a file already, and the next name for it, which is free, below folders that are there.
    fn places_of(&self, path: &Path) -> Result<(Vec<PathBuf>, PathBuf), OpenError> {
        let below = path.strip_prefix(self.dir).unwrap_or(path);
        let mut place = self.dir.join(QUARANTINE).join(below);
        let mut taken = Vec::new();
        while self.fs.exists(&place)? {
            let name = format!("{}.{}", below.display(), taken.len() + 1);
            taken.push(std::mem::replace(&mut place, self.dir.join(QUARANTINE).join(name)));
        }
        self.fs.create_dir_all(place.parent().unwrap_or(self.dir))?;
        Ok((taken, place))
    }

    /// True for a file with exactly these bytes. One that cannot be read keeps nothing.
    fn has_bytes(&self, path: &Path, bytes: &[u8]) -> bool {
        let len = self.fs.open_read(path).and_then(|file| file.len());
        len.is_ok_and(|len| len == bytes.len() as u64)
            && self.fs.read(path).is_ok_and(|found| found == bytes)
    }

    fn is_folder(&self, path: &Path) -> Result<bool, OpenError> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(false);
        };
        let entries = self.fs.list(folder)?;
        Ok(entries.iter().any(|entry| entry.is_dir && name == entry.name.as_str()))
    }

    fn say(&mut self, what: impl Into<String>) {
        self.done.push(what.into());
    }
}
