//! The folder of a table's parts.

use super::{CatalogState, PartId, StorageError, TableState};
use crate::io::{Fs, synced};
use crate::schema::Shape;
use crate::types::{PartitionBy, PartitionKey, SeqTxn};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A table's folder, `tables/<hint>~<id>`. It is removed with everything in it when the last part and the last snapshot of
/// a dropped table are gone.
#[derive(Debug)]
pub struct TableDir {
    fs: Fs,
    path: PathBuf,
    by: PartitionBy,
    /// Partitions whose folders this life knows to be durable. They are never removed while the table is there.
    durable: Mutex<HashSet<PartitionKey>>,
    is_dropped: AtomicBool,
}

impl TableDir {
    /// The folder of a table below `tables`. Nothing is created before the first part.
    pub fn new(fs: &Fs, tables: &Path, shape: &Shape) -> Arc<TableDir> {
        Arc::new(TableDir {
            fs: fs.clone(),
            path: tables.join(TableDir::name(shape)),
            by: shape.def.partition_by,
            durable: Mutex::default(),
            is_dropped: AtomicBool::new(false),
        })
    }

    /// The folder's name: a readable hint of the table's first name and its number, which alone tells tables apart.
    pub fn name(shape: &Shape) -> String {
        let hint: String =
            shape.first_name.chars().take(40).map(|c| if is_plain(c) { c } else { '_' }).collect();
        format!("{hint}~{}", shape.def.id)
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file of a part is.
    pub fn part_path(&self, part: &PartId) -> PathBuf {
        self.path.join(part.path(self.by))
    }

    /// Lets the folder go once nobody uses it any more. The catalog no longer names the table.
    pub fn mark_dropped(&self) {
        // Relaxed: the drop that reads it is ordered after this by the counting of the `Arc` around the folder.
        self.is_dropped.store(true, Ordering::Relaxed);
    }

    /// Creates the folder of a part, whose name is not durable yet.
    pub(super) fn create_folder(&self, part: &PartId) -> Result<(), StorageError> {
        Ok(self.fs.create_dir_all_unsynced(&self.folder(part))?)
    }

    /// Makes the name of a part's file durable, and those of the folders above it. A folder that is there may be one whose creator has
    /// yet to sync it: what counts is what was synced here.
    pub(super) fn sync_names(&self, part: &PartId) -> Result<(), StorageError> {
        synced(self.fs.sync_dir(&self.folder(part)))?;
        let (is_durable, is_first) = {
            let durable = self.durable();
            (durable.contains(&part.partition), durable.is_empty())
        };
        if !is_durable {
            synced(self.fs.sync_dir(&self.path))?;
            // With one of its folders the table's own is known.
            if let Some(tables) = self.path.parent().filter(|_| is_first) {
                synced(self.fs.sync_dir(tables))?;
            }
            self.durable().insert(part.partition);
        }
        Ok(())
    }

    fn folder(&self, part: &PartId) -> PathBuf {
        let mut path = self.part_path(part);
        path.pop();
        path
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<PartitionKey>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fs(&self) -> &Fs {
        &self.fs
    }
}

impl Drop for TableDir {
    fn drop(&mut self) {
        if !self.is_dropped.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.fs.remove_dir_all(&self.path) {
            tracing::warn!(%error, "a dropped table's folder stays until the next start removes it");
        }
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The names of the folders below `tables` that may be ours. Others are left alone, such as the `lost+found` of a file system that is
/// mounted there.
///
/// # Errors
/// The folder cannot be listed.
pub fn list_tables(fs: &Fs, tables: &Path) -> crate::io::Result<Vec<String>> {
    let entries = fs.list(tables)?.into_iter().filter(|entry| entry.is_dir);
    Ok(entries.map(|entry| entry.name).filter(|name| is_ours(name)).collect())
}

/// True of names as [`TableDir::name`] gives them.
fn is_ours(name: &str) -> bool {
    name.rsplit_once('~').is_some_and(|(hint, id)| {
        !hint.is_empty()
            && hint.chars().all(is_plain)
            && id.parse().is_ok_and(|n: u32| n.to_string() == id)
    })
}

/// A file of a table that the catalog does not name: of a flush or compaction that was cut off, unless something else says that it was committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Orphan {
    /// The folder of its partition.
    pub folder: String,
    /// Its name in there.
    pub name: String,
}

impl Orphan {
    /// The transactions that a part of this name has rows of; none for a file of another kind.
    fn transactions(&self) -> Option<(SeqTxn, SeqTxn)> {
        let numbers = self.name.strip_prefix("part-")?.strip_suffix(".parquet")?;
        let mut numbers = numbers.split('-');
        let mut number = || numbers.next()?.parse().ok().map(SeqTxn);
        Some((number()?, number()?))
    }

    /// True when it has rows of a transaction, if that has rows in its partition.
    pub fn covers(&self, txn: SeqTxn) -> bool {
        self.transactions().is_some_and(|(first, last)| first <= txn && txn <= last)
    }

    /// True when it and a part of the table have transactions and the partition in common: one of them took the other's place.
    pub fn meets(&self, part: &PartId, by: PartitionBy) -> bool {
        self.folder == by.folder(part.partition)
            && self
                .transactions()
                .is_some_and(|(first, last)| first <= part.last_txn && part.first_txn <= last)
    }
}

/// The files in the folder `dir` of a table that its state in the catalog does not name, and the folders that have no others.
///
/// # Errors
/// A folder cannot be listed.
pub fn orphans(
    fs: &Fs,
    dir: &Path,
    table: &TableState,
) -> crate::io::Result<(Vec<Orphan>, Vec<String>)> {
    let by = table.shape.def.partition_by;
    let parts: HashSet<String> = table.parts.keys().map(|part| part.path(by)).collect();
    let (mut orphans, mut empty) = (Vec::new(), Vec::new());
    for folder in fs.list(dir)?.into_iter().filter(|e| e.is_dir) {
        let mut is_empty = true;
        for file in fs.list(&dir.join(&folder.name))? {
            if parts.contains(&format!("{}/{}", folder.name, file.name)) {
                is_empty = false;
            } else {
                orphans.push(Orphan { folder: folder.name.clone(), name: file.name });
            }
        }
        if is_empty {
            empty.push(folder.name);
        }
    }
    Ok((orphans, empty))
}

/// Removes files and folders of ours below `tables` that the catalog does not name, row P1 of `docs/formats/part.md`: parts of flushes and compactions that were cut
/// off, and of tables that are gone. Returns how many files and folders went. At a start only.
///
/// # Errors
/// A folder cannot be listed or a name cannot be removed.
pub fn remove_orphans(fs: &Fs, tables: &Path, state: &CatalogState) -> Result<u64, StorageError> {
    let mut removed = 0;
    let known: HashSet<String> = state.tables.values().map(|t| TableDir::name(&t.shape)).collect();
    for name in list_tables(fs, tables)?.into_iter().filter(|name| !known.contains(name)) {
        fs.remove_dir_all(&tables.join(name))?;
        removed += 1;
    }
    for table in state.tables.values() {
        let dir = tables.join(TableDir::name(&table.shape));
        let (orphans, empty) = orphans(fs, &dir, table)?;
        for Orphan { folder, name } in orphans {
            fs.remove(&dir.join(folder).join(name))?;
            removed += 1;
        }
        for folder in empty {
            fs.remove_dir(&dir.join(folder))?;
        }
    }
    Ok(removed)
}
