//! Names: creating, opening, listing, renaming and removing files and folders.

use super::{File, IoError, Operation, Result};
use std::path::{Path, PathBuf};

/// A file system. Clones share it.
#[derive(Clone, Debug)]
pub struct Fs(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// The machine's own.
    Real,
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

#[allow(clippy::disallowed_methods, reason = "this is the door")]
impl Fs {
    /// The machine's file system.
    pub fn real() -> Fs {
        Fs(Kind::Real)
    }

    /// Creates a file for reading and writing. It must not exist yet.
    pub fn create(&self, path: &Path) -> Result<File> {
        let Kind::Real = self.0;
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|e| IoError::new(Operation::Create, path, e))?;
        Ok(File::real(file, path))
    }

    /// Opens an existing file for reading and writing.
    pub fn open(&self, path: &Path) -> Result<File> {
        let Kind::Real = self.0;
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|e| IoError::new(Operation::Open, path, e))?;
        Ok(File::real(file, path))
    }

    /// Opens an existing file for reading.
    pub fn open_read(&self, path: &Path) -> Result<File> {
        let Kind::Real = self.0;
        let file = std::fs::File::open(path);
        let file = file.map_err(|e| IoError::new(Operation::Open, path, e))?;
        Ok(File::real(file, path))
    }

    /// Reads a whole file.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let Kind::Real = self.0;
        std::fs::read(path).map_err(|e| IoError::new(Operation::Read, path, e))
    }

    /// Creates a folder and those above it that are missing. Their names are durable on return.
    pub fn create_dir_all(&self, path: &Path) -> Result<()> {
        let Kind::Real = self.0;
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            self.create_dir_all(parent)?;
        }
        match std::fs::create_dir(path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.map_err(|e| IoError::new(Operation::Create, path, e))?,
        }
        match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => self.sync_dir(Path::new(".")),
            Some(parent) => self.sync_dir(parent),
            None => Ok(()),
        }
    }

    /// Makes the names in a folder durable.
    pub fn sync_dir(&self, path: &Path) -> Result<()> {
        let Kind::Real = self.0;
        let dir = std::fs::File::open(path).map_err(|e| IoError::new(Operation::Open, path, e))?;
        dir.sync_all().map_err(|e| IoError::new(Operation::Sync, path, e))
    }

    /// Renames a file, replacing what has the new name. Durable after a sync of both folders.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let Kind::Real = self.0;
        std::fs::rename(from, to).map_err(|e| IoError::new(Operation::Rename, from, e))
    }

    /// Removes a file; one that is not there is no error.
    pub fn remove(&self, path: &Path) -> Result<()> {
        let Kind::Real = self.0;
        ignore_missing(std::fs::remove_file(path), path)
    }

    /// Removes an empty folder; one that is not there is no error.
    pub fn remove_dir(&self, path: &Path) -> Result<()> {
        let Kind::Real = self.0;
        ignore_missing(std::fs::remove_dir(path), path)
    }

    /// Removes a folder and all in it; one that is not there is no error.
    pub fn remove_dir_all(&self, path: &Path) -> Result<()> {
        let Kind::Real = self.0;
        ignore_missing(std::fs::remove_dir_all(path), path)
    }

    /// The names in a folder, sorted. A folder that is not there has none. Names that are not UTF-8 are not ours and
    /// are left out.
    pub fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let Kind::Real = self.0;
        let fail = |e| IoError::new(Operation::List, path, e);
        let entries = match std::fs::read_dir(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(fail)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let meta = match entry.metadata() {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(fail)?,
            };
            if let Ok(name) = entry.file_name().into_string() {
                let len = if meta.is_dir() { 0 } else { meta.len() };
                found.push(DirEntry { name, is_dir: meta.is_dir(), len });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// True when something has this name.
    pub fn exists(&self, path: &Path) -> Result<bool> {
        let Kind::Real = self.0;
        path.try_exists().map_err(|e| IoError::new(Operation::Measure, path, e))
    }

    /// Bytes that may still be written to the file system of `path`.
    pub fn free_space(&self, path: &Path) -> Result<u64> {
        let Kind::Real = self.0;
        let stat = rustix::fs::statvfs(path)
            .map_err(|e| IoError::new(Operation::Measure, path, e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Writes a whole file beside its name, syncs it, renames it into place and syncs the folder: readers see all of
    /// the old or all of the new, also after a power cut.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        self.remove(&temporary)?;
        let file = self.create(&temporary)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        self.rename(&temporary, path)?;
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent),
            _ => self.sync_dir(Path::new(".")),
        }
    }
}

fn ignore_missing(result: std::io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| IoError::new(Operation::Remove, path, e)),
    }
}
