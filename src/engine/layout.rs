//! Which files a data directory has, and which of them cannot be missing while others are there.
//!
//! A first start makes the identity, then the catalog, then the log; segments and parts come later. So each of them proves those before
//! it: where one is gone, somebody lost it, and to go on as if it had never been would throw away what it said.

use super::OpenError;
use crate::io::Fs;
use crate::sequencer;
use crate::storage::{Catalog, list_tables};
use crate::wal;
use std::path::{Path, PathBuf};

/// The folder of the catalog.
pub(super) fn catalog_dir(dir: &Path) -> PathBuf {
    dir.join("catalog")
}

/// The folder of the transaction log.
pub(super) fn log_dir(dir: &Path) -> PathBuf {
    dir.join("wal/txnlog")
}

/// Refuses a directory in which something is missing or is no file. Changes nothing.
pub(super) fn examine(fs: &Fs, dir: &Path) -> Result<(), OpenError> {
    if let Some(path) = misfits(fs, dir)?.pop() {
        return Err(OpenError::NotAFile(path));
    }
    let found = Found::of(fs, dir)?;
    if !found.identity && (found.catalog || found.log) {
        // Row I2.
        return Err(OpenError::Missing(dir.join("identity")));
    }
    if found.is_catalog_lost() {
        return Err(OpenError::Missing(catalog_dir(dir)));
    }
    if found.is_log_lost() {
        return Err(OpenError::Missing(log_dir(dir)));
    }
    Ok(())
}

/// What is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    identity: bool,
    catalog: bool,
    log: bool,
    /// Looked for only where they would prove that something before them is missing.
    segments: bool,
    tables: bool,
}

impl Found {
    pub(super) fn of(fs: &Fs, dir: &Path) -> Result<Found, OpenError> {
        let identity = fs.exists(&dir.join("identity"))?;
        let catalog = !Catalog::files(fs, &catalog_dir(dir))?.is_empty();
        let log = !sequencer::chunks_from(fs, &log_dir(dir), Path::new(""))?.is_empty();
        let (mut segments, mut tables) = (false, false);
        if !log {
            segments = !wal::list_segments(fs, &dir.join("wal"))?.is_empty();
        }
        if !log || !catalog {
            tables = !list_tables(fs, &dir.join("tables"))?.is_empty();
        }
        Ok(Found { identity, catalog, log, segments, tables })
    }

    /// Row C12: there was a catalog before there was a log or a part.
    pub(super) fn is_catalog_lost(self) -> bool {
        !self.catalog && (self.log || self.tables)
    }

    /// Row L17: there was a log before there was a segment or a part.
    pub(super) fn is_log_lost(self) -> bool {
        !self.log && (self.segments || self.tables)
    }
}

/// Folders that have the name of a file: rows I7, C13, L18, H7 and S14.
pub(super) fn misfits(fs: &Fs, dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut found = Vec::new();
    let mut look = |folder: PathBuf, is_ours: &dyn Fn(&str) -> bool| -> Result<(), OpenError> {
        let entries = fs.list(&folder)?;
        let misfits = entries.into_iter().filter(|entry| entry.is_dir && is_ours(&entry.name));
        found.extend(misfits.map(|entry| folder.join(entry.name)));
        Ok(())
    };
    look(dir.to_owned(), &|name| name == "identity")?;
    look(catalog_dir(dir), &|name| name.ends_with(".log"))?;
    look(log_dir(dir), &|name| name.ends_with(".log") || name.ends_with(".shelf"))?;
    for writer in wal::list_writers(fs, &dir.join("wal"))? {
        look(dir.join("wal").join(writer.to_string()), &|name| name.ends_with(".wal"))?;
    }
    Ok(found)
}
