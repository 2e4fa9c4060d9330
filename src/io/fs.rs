//! Names: creating, opening, listing, renaming and removing files and folders.

use super::sim::SimFs;
use super::{DirLock, File, IoError, Operation, Result};
use crate::planted::{Bug, is_planted};
use std::io;
use std::path::{Path, PathBuf};

/// A file system. Clones share it.
#[derive(Clone, Debug)]
pub struct Fs(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// The machine's own.
    Real,
    /// One in memory, that loses and fails what it is told to.
    Sim(SimFs),
}

/// Bytes of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// What may still be written.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// One name in a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name, without the folder.
    pub name: String,
    /// True for a folder.
    pub is_dir: bool,
    /// Length in bytes; 0 for a folder.
    pub len: u64,
}

impl Fs {
    /// The machine's file system.
    pub fn real() -> Fs {
        Fs(Kind::Real)
    }

    pub(super) fn sim(fs: SimFs) -> Fs {
        Fs(Kind::Sim(fs))
    }

    /// True for one that exists in memory only. Whoever would use threads to wait for a device has nothing to wait for then, and
    /// the order of operations must not depend on threads.
    pub fn is_simulated(&self) -> bool {
        matches!(self.0, Kind::Sim(_))
    }

    /// Creates a file for reading and writing. It must not exist yet.
    pub fn create(&self, path: &Path) -> Result<File> {
        let file = match &self.0 {
            Kind::Real => {
                let options =
                    std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(path);
                options.map(|file| File::real(file, path))
            }
            Kind::Sim(fs) => fs.create(path).map(|file| File::sim(file, path)),
        };
        file.map_err(|e| self.fail(Operation::Create, path, e))
    }

    /// Opens an existing file for reading and writing.
    pub fn open(&self, path: &Path) -> Result<File> {
        let file = match &self.0 {
            Kind::Real => {
                let file = std::fs::OpenOptions::new().read(true).write(true).open(path);
                file.map(|file| File::real(file, path))
            }
            Kind::Sim(fs) => fs.open(path, false).map(|file| File::sim(file, path)),
        };
        file.map_err(|e| self.fail(Operation::Open, path, e))
    }

    /// Opens an existing file for reading.
    pub fn open_read(&self, path: &Path) -> Result<File> {
        let file = match &self.0 {
            Kind::Real => std::fs::File::open(path).map(|file| File::real(file, path)),
            Kind::Sim(fs) => fs.open(path, true).map(|file| File::sim(file, path)),
        };
        file.map_err(|e| self.fail(Operation::Open, path, e))
    }

    /// Reads a whole file.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let bytes = match &self.0 {
            Kind::Real => std::fs::read(path),
            Kind::Sim(fs) => fs.read(path),
        };
        bytes.map_err(|e| self.fail(Operation::Read, path, e))
    }

    /// Reads a whole file as the device has it: after a failed sync of an earlier life, what the kernel remembers may differ.
    pub fn read_from_device(&self, path: &Path) -> Result<Vec<u8>> {
        self.open_read(path)?.forget_cached()?;
        self.read(path)
    }

    /// Makes everything durable that was written so far to the file system of `path`, by whomever: bytes, lengths and names.
    pub fn sync_all(&self, path: &Path) -> Result<()> {
        // To open it is no sync yet: a process out of files has lost nothing.
        let dir = self.open_dir(path)?;
        let synced = match (&self.0, &dir.file) {
            (Kind::Sim(fs), _) => fs.sync_all(path),
            (Kind::Real, Some(file)) => rustix::fs::syncfs(file).map_err(Into::into),
            (Kind::Real, None) => Ok(()),
        };
        synced.map_err(|e| self.fail(Operation::Sync, path, e))
    }

    /// Creates a folder and those above it that are missing. The names of those that it creates are durable on return.
    ///
    /// After an error other than a failed sync, it may be called again: what was created is durable, too.
    pub fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.create_dirs(path, true)
    }

    /// Creates a folder and those above it that are missing. Their names are durable after a sync of each parent, or of
    /// everything.
    pub fn create_dir_all_unsynced(&self, path: &Path) -> Result<()> {
        self.create_dirs(path, false)
    }

    fn create_dirs(&self, path: &Path, sync: bool) -> Result<()> {
        if self.is_dir(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            self.create_dirs(parent, sync)?;
        }
        // Opened before: once the folder is there, nobody comes here again to sync its name, so nothing but the sync may fail.
        let parent =
            path.parent().filter(|_| sync).map(|p| self.open_dir(or_here(p))).transpose()?;
        let created = match &self.0 {
            Kind::Real => std::fs::create_dir(path),
            Kind::Sim(fs) => fs.create_dir(path),
        };
        match created {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(|e| self.fail(Operation::Create, path, e))?,
        }
        parent.map_or(Ok(()), |parent| parent.sync())
    }

    fn is_dir(&self, path: &Path) -> bool {
        match &self.0 {
            Kind::Real => path.is_dir(),
            Kind::Sim(fs) => fs.is_dir(path),
        }
    }

    /// Makes the names in a folder durable.
    pub fn sync_dir(&self, path: &Path) -> Result<()> {
        self.open_dir(path)?.sync()
    }

    fn open_dir<'a>(&'a self, path: &'a Path) -> Result<Dir<'a>> {
        let file = match &self.0 {
            Kind::Real => std::fs::File::open(path).map(Some),
            Kind::Sim(fs) => fs.open_dir(path).map(|()| None),
        };
        let file = file.map_err(|e| self.fail(Operation::Open, path, e))?;
        Ok(Dir { fs: self, path, file })
    }

    /// Renames a file, replacing what has the new name. Durable after a sync of both folders.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let renamed = match &self.0 {
            Kind::Real => std::fs::rename(from, to),
            Kind::Sim(fs) => fs.rename(from, to),
        };
        renamed.map_err(|e| self.fail(Operation::Rename, from, e))
    }

    /// Removes a file; one that is not there is no error.
    pub fn remove(&self, path: &Path) -> Result<()> {
        let removed = match &self.0 {
            Kind::Real => std::fs::remove_file(path),
            Kind::Sim(fs) => fs.remove(path),
        };
        self.ignore_missing(removed, path)
    }

    /// Removes an empty folder; one that is not there is no error.
    pub fn remove_dir(&self, path: &Path) -> Result<()> {
        let removed = match &self.0 {
            Kind::Real => std::fs::remove_dir(path),
            Kind::Sim(fs) => fs.remove_dir(path),
        };
        self.ignore_missing(removed, path)
    }

    /// Removes a folder and all in it; one that is not there is no error.
    pub fn remove_dir_all(&self, path: &Path) -> Result<()> {
        let removed = match &self.0 {
            Kind::Real => std::fs::remove_dir_all(path),
            Kind::Sim(fs) => fs.remove_dir_all(path),
        };
        self.ignore_missing(removed, path)
    }

    /// The names in a folder, sorted. A folder that is not there has none. Names that are not UTF-8 are not ours and
    /// are left out.
    pub fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let listed = match &self.0 {
            Kind::Real => list(path),
            Kind::Sim(fs) => fs.list(path),
        };
        match listed {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|e| self.fail(Operation::List, path, e)),
        }
    }

    /// True when something has this name.
    pub fn exists(&self, path: &Path) -> Result<bool> {
        let exists = match &self.0 {
            Kind::Real => path.try_exists(),
            Kind::Sim(fs) => fs.exists(path),
        };
        exists.map_err(|e| self.fail(Operation::Measure, path, e))
    }

    /// How large the file system of `path` is, and what may still be written to it.
    pub fn room(&self, path: &Path) -> Result<Room> {
        let room = match &self.0 {
            Kind::Real => match rustix::fs::statvfs(path) {
                Ok(stat) => Ok(Room {
                    free: stat.f_bavail.saturating_mul(stat.f_frsize),
                    total: stat.f_blocks.saturating_mul(stat.f_frsize),
                }),
                Err(e) => Err(e.into()),
            },
            Kind::Sim(fs) => fs.room(path),
        };
        room.map_err(|e| self.fail(Operation::Measure, path, e))
    }

    /// Forgets what the page cache holds of a file and the device has, or is said to have: after a failed sync these may differ, and
    /// the next read must ask the device. Bytes on their way to the device stay. A file that is not there is no error.
    pub fn forget_cached(&self, path: &Path) -> Result<()> {
        if let Kind::Sim(fs) = &self.0 {
            fs.forget_cached(path);
            return Ok(());
        }
        let file = match std::fs::File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|e| self.fail(Operation::Open, path, e))?,
        };
        match rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed) {
            Ok(()) | Err(rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(self.fail(Operation::Read, path, e.into())),
        }
    }

    /// Takes the lock of a folder, or returns `None` when another process holds it.
    pub fn lock(&self, dir: &Path) -> Result<Option<DirLock>> {
        self.lock_by(dir, DirLock::real)
    }

    /// Takes the lock of a folder only to read what is there, or returns `None` when another process may write to it. Needs no right to
    /// write: where no lock was ever taken there is none, and nobody to take it from.
    pub fn lock_shared(&self, dir: &Path) -> Result<Option<DirLock>> {
        self.lock_by(dir, DirLock::real_shared)
    }

    fn lock_by(
        &self,
        dir: &Path,
        real: impl FnOnce(&Path) -> io::Result<Option<DirLock>>,
    ) -> Result<Option<DirLock>> {
        let path = dir.join("lock");
        let lock = match &self.0 {
            Kind::Real => real(&path),
            Kind::Sim(fs) => fs.lock(&path).map(|lock| lock.map(DirLock::sim)),
        };
        lock.map_err(|e| self.fail(Operation::Lock, &path, e))
    }

    /// Writes a whole file beside its name, syncs it, renames it into place and syncs the folder: readers see all of
    /// the old or all of the new, also after a power cut. Returns the new file.
    ///
    /// After an error other than a failed sync, the old file is in its place.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> Result<File> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        self.remove(&temporary)?;
        let file = self.create(&temporary)?;
        file.write_all_at(bytes, 0)?;
        if !is_planted(Bug::RenamedBeforeSync) {
            file.sync_data()?;
        }
        // Opened before: once the new file is in its place, nothing but the sync may fail.
        let dir = self.open_dir(or_here(path.parent().unwrap_or(Path::new(""))))?;
        self.rename(&temporary, path)?;
        if !is_planted(Bug::RenameNotSynced) {
            dir.sync()?;
        }
        Ok(file.renamed(path))
    }

    fn ignore_missing(&self, result: io::Result<()>, path: &Path) -> Result<()> {
        match result {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|e| self.fail(Operation::Remove, path, e)),
        }
    }

    fn fail(&self, operation: Operation, path: &Path, source: io::Error) -> IoError {
        let error = IoError::new(operation, path, source);
        match &self.0 {
            Kind::Real => error,
            Kind::Sim(fs) => error.of_sim(fs),
        }
    }
}

/// An open folder.
struct Dir<'a> {
    fs: &'a Fs,
    path: &'a Path,
    /// Of the machine's own.
    file: Option<std::fs::File>,
}

impl Dir<'_> {
    fn sync(&self) -> Result<()> {
        let synced = match (&self.fs.0, &self.file) {
            (Kind::Sim(fs), _) => fs.sync_dir(self.path),
            (Kind::Real, Some(file)) => file.sync_all(),
            (Kind::Real, None) => Ok(()),
        };
        synced.map_err(|e| self.fs.fail(Operation::Sync, self.path, e))
    }
}

/// The parent of a name without a folder is the current one.
fn or_here(parent: &Path) -> &Path {
    if parent.as_os_str().is_empty() { Path::new(".") } else { parent }
}

fn list(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let meta = match entry.metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        if let Ok(name) = entry.file_name().into_string() {
            let len = if meta.is_dir() { 0 } else { meta.len() };
            found.push(DirEntry { name, is_dir: meta.is_dir(), len });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
