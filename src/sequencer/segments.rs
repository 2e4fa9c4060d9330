//! Making segments durable: the ones of this batch at once, or the ones of an interval later.

use super::thread::Shared;
use super::{LogError, Receipt};
use crate::clock::Clock;
use crate::io::{File, Fs, IoError, abort_on_failed_sync};
use crate::metrics;
use crate::planted::{Bug, is_planted};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Up to this many segments are synced one after the other; a thread costs about as much as a small sync.
const INLINE_MAX: usize = 2;
/// Threads that sync at once. More of them only queue in the device.
const THREADS_MAX: usize = 8;
/// Segments that are opened at once to be synced.
const OPEN_MAX: usize = 32;

/// Syncs the segments of the receipts that are not carried, and the folders they are named in. Ends the process when one fails.
///
/// # Errors
/// A folder cannot be opened for now, and the server is stopping.
pub(super) fn sync_receipts<'a>(
    fs: &Fs,
    shared: &Shared,
    receipts: impl Iterator<Item = &'a Receipt>,
) -> Result<(), LogError> {
    let mut files = BTreeMap::new();
    let mut dirs = BTreeSet::new();
    for receipt in receipts {
        if let Some(file) = &receipt.file {
            files.insert((receipt.writer, receipt.segment), file.clone());
        }
        dirs.extend(new_name(receipt));
    }
    sync_files(fs, &shared.clock, &files.into_values().collect::<Vec<_>>());
    sync_dirs(fs, shared, &dirs)
}

/// Segments that were written and not synced. They are remembered by name: a segment that was purged meanwhile must not be
/// kept on the disk by an open descriptor.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    files: BTreeSet<PathBuf>,
    dirs: BTreeSet<PathBuf>,
}

impl Unsynced {
    pub(super) fn add(&mut self, receipt: &Receipt) {
        if let Some(file) = &receipt.file
            && !self.files.contains(file.path())
        {
            self.files.insert(file.path().to_owned());
        }
        self.dirs.extend(new_name(receipt));
    }

    /// Syncs them all. Ends the process when one cannot be synced.
    ///
    /// # Errors
    /// One cannot be opened for now, and the server is stopping. Nothing may be promised after that.
    pub(super) fn sync(&mut self, fs: &Fs, shared: &Shared) -> Result<(), LogError> {
        let paths = Vec::from_iter(std::mem::take(&mut self.files));
        for paths in paths.chunks(OPEN_MAX) {
            let mut files = Vec::with_capacity(paths.len());
            for path in paths {
                // Those that are gone were purged: their rows are in synced parts.
                files.extend(once_possible(shared, || fs.open_read(path))?.map(Arc::new));
            }
            sync_files(fs, &shared.clock, &files);
        }
        sync_dirs(fs, shared, &std::mem::take(&mut self.dirs))
    }
}

/// The folder to sync with the receipt's segment. Those above it were made durable when they were made.
fn new_name(receipt: &Receipt) -> Option<PathBuf> {
    let file = receipt.file.as_ref().filter(|_| receipt.is_new_file)?;
    file.path().parent().map(PathBuf::from)
}

fn sync_files(fs: &Fs, clock: &Clock, files: &[Arc<File>]) {
    if files.len() <= INLINE_MAX || fs.is_simulated() {
        files.iter().for_each(|file| sync_one(clock, file));
    } else {
        let share = files.len().div_ceil(THREADS_MAX);
        std::thread::scope(|scope| {
            for files in files.chunks(share) {
                let work = move || files.iter().for_each(|file| sync_one(clock, file));
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    work();
                }
            }
        });
    }
}

fn sync_dirs(fs: &Fs, shared: &Shared, dirs: &BTreeSet<PathBuf>) -> Result<(), LogError> {
    for dir in dirs.iter().filter(|_| !is_planted(Bug::SegmentNameNotSynced)) {
        // One that is gone was a purged writer's.
        once_possible(shared, || match fs.sync_dir(dir) {
            Err(_) if is_planted(Bug::NameSyncRetried) => fs.sync_dir(dir),
            synced => synced,
        })?;
    }
    Ok(())
}

/// Does what needs a descriptor, as soon as there is one; `None` when the file or folder is gone. Only to open it may be tried again: a
/// sync that failed ends the process.
fn once_possible<T>(
    shared: &Shared,
    mut operation: impl FnMut() -> Result<T, IoError>,
) -> Result<Option<T>, LogError> {
    shared.persist(|| match operation() {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) if error.is_temporary() => Err(error.into()),
        Err(error) => abort_on_failed_sync(&error),
    })
}

fn sync_one(clock: &Clock, file: &File) {
    let start = clock.monotonic();
    file.sync_data().unwrap_or_else(|error| abort_on_failed_sync(&error));
    metrics::WAL_SYNCS.increment(1);
    metrics::WAL_SYNC_DURATION.record((clock.monotonic() - start).as_secs_f64());
}
