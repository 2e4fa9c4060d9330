//! Distinct byte strings, numbered from 0 in the order they came.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// An append-only set of byte strings; each is stored once and named by a dense number.
#[derive(Debug, Default)]
pub(super) struct Pool {
    index: HashTable<u32>,
    hasher: RandomState,
    bytes: Vec<u8>,
    /// Where each string ends in `bytes`.
    ends: Vec<usize>,
}

impl Pool {
    /// The number of a string that is there.
    pub(super) fn get(&self, value: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(value);
        self.index.find(hash, |&n| at(&self.bytes, &self.ends, n) == value).copied()
    }

    /// The number of a string, which is added when it is new.
    ///
    /// # Panics
    /// Past 2^31 strings, which no memory budget of ours reaches.
    pub(super) fn intern(&mut self, value: &[u8]) -> u32 {
        let Pool { index, hasher, bytes, ends } = self;
        let entry = index.entry(
            hasher.hash_one(value),
            |&n| at(bytes, ends, n) == value,
            |&n| hasher.hash_one(at(bytes, ends, n)),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(entry) => *entry.get(),
            hashbrown::hash_table::Entry::Vacant(entry) => {
                let next = i32::try_from(ends.len()).expect("budgets keep pools small");
                let next = next.unsigned_abs();
                entry.insert(next);
                bytes.extend_from_slice(value);
                ends.push(bytes.len());
                next
            }
        }
    }

    /// The string with this number.
    ///
    /// # Panics
    /// There is none.
    pub(super) fn value(&self, number: u32) -> &[u8] {
        at(&self.bytes, &self.ends, number)
    }

    /// How many strings there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Memory held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + self.ends.len() * (size_of::<usize>() + 2 * size_of::<u32>())
    }

    /// All strings in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|n| slice(&self.bytes, &self.ends, n))
    }

    /// The bytes of all strings, one after the other.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn at<'a>(bytes: &'a [u8], ends: &[usize], n: u32) -> &'a [u8] {
    slice(bytes, ends, n as usize)
}

fn slice<'a>(bytes: &'a [u8], ends: &[usize], n: usize) -> &'a [u8] {
    let start = if n == 0 { 0 } else { ends[n - 1] };
    &bytes[start..ends[n]]
}
