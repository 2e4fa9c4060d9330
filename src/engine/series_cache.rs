//! From the bytes of a line's measurement and tags to its table and series number, in one lookup.
//!
//! Keys are the raw bytes as they came, so two spellings of one tag set are two entries with two numbers: harmless, and
//! cheaper than sorting tags. Bounded: the segment rolls when it has too many series, and the cache is cleared with it.

use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Raw series bytes to (table index within the session, series number within the segment).
#[derive(Debug)]
pub(super) struct SeriesCache {
    entries: HashTable<Entry>,
    keys: Vec<u8>,
    hasher: foldhash::fast::RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    len: u32,
    value: Series,
}

/// What a series key stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Series {
    /// Index of the table among the session's.
    pub(super) table: u32,
    /// Number of the series within table and segment.
    pub(super) number: u32,
}

impl SeriesCache {
    pub(super) fn new() -> SeriesCache {
        SeriesCache {
            entries: HashTable::new(),
            keys: Vec::new(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<Series> {
        let hash = self.hasher.hash_one(key);
        self.entries.find(hash, |e| e.key(&self.keys) == key).map(|e| e.value)
    }

    /// Remembers a key that is not there yet.
    pub(super) fn insert(&mut self, key: &[u8], value: Series) {
        let (Ok(start), Ok(len)) = (u32::try_from(self.keys.len()), u32::try_from(key.len()))
        else {
            return; // Past 4 GiB of keys: the line takes the general path each time.
        };
        self.keys.extend_from_slice(key);
        let entry = Entry { start, len, value };
        let (keys, hasher) = (&self.keys, &self.hasher);
        let hash = hasher.hash_one(key);
        self.entries.insert_unique(hash, entry, |e| hasher.hash_one(e.key(keys)));
    }

    /// Forgets everything and returns large buffers to the system.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.keys.clear();
        self.entries.shrink_to(1024, |_| 0);
        self.keys.shrink_to(64 * 1024);
    }
}

impl Entry {
    #[inline]
    fn key<'k>(&self, keys: &'k [u8]) -> &'k [u8] {
        &keys[self.start as usize..(self.start + self.len) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_inserted_and_nothing_after_clear() {
        let mut cache = SeriesCache::new();
        for n in 0..5000u32 {
            assert_eq!(cache.get(format!("cpu,host=h{n}").as_bytes()), None);
            let series = Series { table: 1, number: n };
            cache.insert(format!("cpu,host=h{n}").as_bytes(), series);
        }
        assert_eq!(cache.get(b"cpu,host=h77"), Some(Series { table: 1, number: 77 }));
        cache.clear();
        assert_eq!(cache.get(b"cpu,host=h77"), None);
    }
}
