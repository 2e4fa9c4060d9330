//! The segments that committed transactions point into: readers of them, and which of them are still needed.

use super::Data;
use crate::io::Fs;
use crate::types::{SegmentId, WriterId};
use crate::wal::{Identity, Ledger, SegmentReader, WalError};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which segment.
pub(super) type SegmentKey = (WriterId, SegmentId);

/// How many transactions of each segment somebody has.
pub(super) type Usage = HashMap<SegmentKey, u64, RandomState>;

/// All segments, shared by all tables.
#[derive(Debug)]
pub(super) struct Segments {
    fs: Fs,
    wal_dir: PathBuf,
    uuid: [u8; 16],
    ledger: Ledger,
    readers: Mutex<Readers>,
    readers_max: usize,
    /// Committed transactions that are not flushed.
    unflushed: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Readers {
    open: HashMap<SegmentKey, Opened>,
    uses: u64,
}

#[derive(Debug)]
struct Opened {
    reader: Arc<SegmentReader>,
    last_use: u64,
}

impl Segments {
    pub(super) fn new(
        fs: Fs,
        wal_dir: PathBuf,
        uuid: [u8; 16],
        ledger: Ledger,
        readers_max: usize,
    ) -> Segments {
        let (readers, unflushed) = (Mutex::default(), Mutex::default());
        Segments { fs, wal_dir, uuid, ledger, readers, readers_max, unflushed }
    }

    /// How many readers are kept open.
    pub(super) fn readers_max(&self) -> usize {
        self.readers_max.max(1)
    }

    /// A reader of a segment, kept open for the next one who asks.
    pub(super) fn reader(&self, key: SegmentKey) -> Result<Arc<SegmentReader>, WalError> {
        let mut readers = lock(&self.readers);
        readers.uses += 1;
        let last_use = readers.uses;
        if let Some(opened) = readers.open.get_mut(&key) {
            opened.last_use = last_use;
            return Ok(opened.reader.clone());
        }
        let identity = Identity { uuid: self.uuid, writer: key.0, segment: key.1 };
        let reader = SegmentReader::open_live(&self.fs, &self.wal_dir, &identity, &self.ledger)?;
        let reader = Arc::new(reader);
        if readers.open.len() >= self.readers_max {
            readers.forget_oldest();
        }
        readers.open.insert(key, Opened { reader: reader.clone(), last_use });
        Ok(reader)
    }

    /// Transactions with these frames are committed.
    pub(super) fn committed<'a>(&self, frames: impl Iterator<Item = &'a Data>) {
        let mut unflushed = lock(&self.unflushed);
        for data in frames {
            *unflushed.entry(data.key()).or_default() += 1;
        }
    }

    /// The same, counted before.
    pub(super) fn use_again(&self, usage: &Usage) {
        let mut unflushed = lock(&self.unflushed);
        for (key, count) in usage {
            *unflushed.entry(*key).or_default() += count;
        }
    }

    /// These transactions are flushed, or nobody wants them any more.
    pub(super) fn release(&self, usage: &Usage) {
        let mut unflushed = lock(&self.unflushed);
        for (key, count) in usage {
            let left = unflushed.get_mut(key).expect("released after it was committed");
            assert!(*left >= *count, "a transaction is released once");
            *left -= count;
            if *left == 0 {
                unflushed.remove(key);
                lock(&self.readers).open.remove(key);
            }
        }
    }

    /// True while a committed transaction of this segment is not flushed.
    pub(super) fn is_needed(&self, key: SegmentKey) -> bool {
        lock(&self.unflushed).contains_key(&key)
    }
}

impl Readers {
    /// Makes room: for many at once, since the search looks at all.
    fn forget_oldest(&mut self) {
        let mut uses: Vec<u64> = self.open.values().map(|opened| opened.last_use).collect();
        let (_, newest_to_go, _) = uses.select_nth_unstable(self.open.len() / 8);
        self.open.retain(|_, opened| opened.last_use > *newest_to_go);
    }
}

impl Data {
    /// The segment that has the frame.
    pub(super) fn key(&self) -> SegmentKey {
        (self.writer, self.segment)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
