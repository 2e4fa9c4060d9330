//! What a reader sees of a table, and the one pointer that apply moves.

use super::{Part, TableDir, TableSchema, Tail};
use crate::types::SeqTxn;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// A table at one transaction: every row of `1..=applied_txn` once, none of a later one.
///
/// Parts, frozen tails and the open tail hold transactions in this order.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The columns.
    pub schema: Arc<TableSchema>,
    /// The parts in order of their ids: by partition, then by transaction.
    pub parts: Arc<[Arc<Part>]>,
    /// Tails that are being flushed, oldest first.
    pub frozen: Vec<Arc<Tail>>,
    /// The tail that grows.
    pub tail: Arc<Tail>,
    /// The last transaction in it.
    pub applied_txn: SeqTxn,
    /// The last transaction that parts and catalog hold for good: `flushed_txn <= applied_txn`.
    pub flushed_txn: SeqTxn,
}

/// A table's current [`Snapshot`]. Anybody loads it; only apply stores.
#[derive(Debug)]
pub struct TableStore {
    dir: Arc<TableDir>,
    snapshot: ArcSwap<Snapshot>,
}

impl Snapshot {
    /// The snapshot of a table whose parts are these and whose tail is empty.
    pub fn flushed(
        schema: Arc<TableSchema>,
        parts: Arc<[Arc<Part>]>,
        flushed_txn: SeqTxn,
    ) -> Snapshot {
        debug_assert!(parts.is_sorted_by_key(|part| part.meta().id));
        Snapshot {
            schema,
            parts,
            frozen: Vec::new(),
            tail: Arc::default(),
            applied_txn: flushed_txn,
            flushed_txn,
        }
    }

    /// The frozen tails and the open one, oldest first.
    pub fn tails(&self) -> impl Iterator<Item = &Arc<Tail>> {
        self.frozen.iter().chain(std::iter::once(&self.tail))
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        let flushed: u64 = self.parts.iter().map(|part| part.meta().rows).sum();
        flushed + self.tails().map(|tail| tail.rows()).sum::<u64>()
    }
}

impl TableStore {
    /// A table whose folder is `dir`.
    pub fn new(dir: Arc<TableDir>, snapshot: Snapshot) -> TableStore {
        TableStore { dir, snapshot: ArcSwap::from_pointee(snapshot) }
    }

    /// The folder of its parts.
    pub fn dir(&self) -> &Arc<TableDir> {
        &self.dir
    }

    /// The table now. Takes no lock.
    pub fn load(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Publishes the next snapshot.
    ///
    /// # Panics
    /// Either watermark goes back, or `flushed_txn` passes `applied_txn`: readers rely on both.
    pub fn store(&self, next: Snapshot) {
        let held = self.snapshot.load();
        assert!(held.applied_txn <= next.applied_txn && held.flushed_txn <= next.flushed_txn);
        assert!(next.flushed_txn <= next.applied_txn);
        drop(held);
        self.snapshot.store(Arc::new(next));
    }
}
