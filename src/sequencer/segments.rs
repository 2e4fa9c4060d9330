//! Making segments durable: the ones of this batch at once, or the ones of an interval later.

use super::Receipt;
use crate::clock::Clock;
use crate::io::{File, Fs, abort_on_failed_sync};
use crate::metrics;
use crate::planted::{Bug, is_planted};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Up to this many segments are synced one after the other; a thread costs about as much as a small sync.
const INLINE_MAX: usize = 2;
/// Threads that sync at once. More of them only queue in the device.
const THREADS_MAX: usize = 8;

/// Syncs the segments of the receipts that are not carried, and the folders they are named in. Ends the process when one fails.
pub(super) fn sync_receipts<'a>(
    fs: &Fs,
    clock: &Clock,
    receipts: impl Iterator<Item = &'a Receipt>,
) {
    let mut files = BTreeMap::new();
    let mut dirs = BTreeSet::new();
    for receipt in receipts {
        if let Some(file) = &receipt.file {
            files.insert((receipt.writer, receipt.segment), file.clone());
        }
        dirs.extend(new_name(receipt));
    }
    sync(fs, clock, &files.into_values().collect::<Vec<_>>(), &dirs);
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
    pub(super) fn sync(&mut self, fs: &Fs, clock: &Clock) {
        let files = std::mem::take(&mut self.files);
        let files = files.iter().filter_map(|path| match fs.open_read(path) {
            Ok(file) => Some(Arc::new(file)),
            // Purged: its rows are in synced parts.
            Err(error) if error.is_not_found() => None,
            Err(error) => abort_on_failed_sync(&error),
        });
        sync(fs, clock, &files.collect::<Vec<_>>(), &std::mem::take(&mut self.dirs));
    }
}

/// The folder to sync with the receipt's segment. Those above it were made durable when they were made.
fn new_name(receipt: &Receipt) -> Option<PathBuf> {
    let file = receipt.file.as_ref().filter(|_| receipt.is_new_file)?;
    file.path().parent().map(PathBuf::from)
}

fn sync(fs: &Fs, clock: &Clock, files: &[Arc<File>], dirs: &BTreeSet<PathBuf>) {
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
    for dir in dirs.iter().filter(|_| !is_planted(Bug::SegmentNameNotSynced)) {
        match fs.sync_dir(dir) {
            // A purged writer's folder.
            Err(error) if error.is_not_found() => {}
            other => other.unwrap_or_else(|error| abort_on_failed_sync(&error)),
        }
    }
}

fn sync_one(clock: &Clock, file: &File) {
    let start = clock.monotonic();
    file.sync_data().unwrap_or_else(|error| abort_on_failed_sync(&error));
    metrics::WAL_SYNCS.increment(1);
    metrics::WAL_SYNC_DURATION.record((clock.monotonic() - start).as_secs_f64());
}
