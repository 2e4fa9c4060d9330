//! Parts: immutable sorted Parquet files of one partition, and how long their files live.

use super::{PartFile, StorageError, TableDir};
use crate::types::wire::{Put, Take};
use crate::types::{ColumnId, PartitionBy, PartitionKey, SeqTxn};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What names a part within its table, and its file within the table's folder. Ordered by partition, then by transactions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartId {
    /// The partition all its rows belong to.
    pub partition: PartitionKey,
    /// The first transaction that has rows in it.
    pub first_txn: SeqTxn,
    /// The last transaction that has rows in it.
    pub last_txn: SeqTxn,
    /// How many compactions its rows went through at most; 0 is a flush.
    pub level: u8,
    /// Tells files of the same rows apart: an attempt that failed may have left one behind.
    pub attempt: u32,
}

/// What the catalog knows of a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartMeta {
    /// What names it.
    pub id: PartId,
    /// How many rows it has.
    pub rows: u64,
    /// How long its file is.
    pub bytes: u64,
    /// CRC-32C of its file.
    pub crc: u32,
    /// The time of its first row.
    pub min_time: i64,
    /// The time of its last row.
    pub max_time: i64,
    /// The columns its file has, in order, without the designated timestamp. The others are null in every row.
    pub columns: Vec<ColumnId>,
}

/// A part in use. Its file stays while any snapshot holds the part, and goes with the last one once the part is marked
/// as removed.
#[derive(Debug)]
pub struct Part {
    meta: PartMeta,
    dir: Arc<TableDir>,
    is_removed: AtomicBool,
}

impl PartId {
    /// Where the file is, relative to the table's folder, e.g. `hw_day=2026-11-22/part-1-7-0-0.parquet`.
    pub fn path(&self, by: PartitionBy) -> String {
        let PartId { partition, first_txn, last_txn, level, attempt } = self;
        let folder = by.folder(*partition);
        format!("{folder}/part-{first_txn}-{last_txn}-{level}-{attempt}.parquet")
    }

    /// Appends the five numbers.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64(self.partition.0);
        out.put_u64(self.first_txn.0);
        out.put_u64(self.last_txn.0);
        out.put_u8(self.level);
        out.put_u32(self.attempt);
    }

    /// Takes what [`PartId::encode`] wrote.
    pub(super) fn decode(from: &mut Take<'_>) -> Option<PartId> {
        Some(PartId {
            partition: PartitionKey(from.i64()?),
            first_txn: SeqTxn(from.u64()?),
            last_txn: SeqTxn(from.u64()?),
            level: from.u8()?,
            attempt: from.u32()?,
        })
    }
}

impl PartMeta {
    /// Appends the id, then rows, bytes and times, then the columns.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        out.put_u64(self.rows);
        out.put_u64(self.bytes);
        out.put_u32(self.crc);
        out.put_i64(self.min_time);
        out.put_i64(self.max_time);
        out.put_u32(u32::try_from(self.columns.len()).expect("columns are limited"));
        for column in &self.columns {
            out.put_u32(column.0);
        }
    }

    /// Takes what [`PartMeta::encode`] wrote.
    pub(super) fn decode(from: &mut Take<'_>) -> Option<PartMeta> {
        Some(PartMeta {
            id: PartId::decode(from)?,
            rows: from.u64()?,
            bytes: from.u64()?,
            crc: from.u32()?,
            min_time: from.i64()?,
            max_time: from.i64()?,
            columns: (0..from.u32()?)
                .map(|_| from.u32().map(ColumnId))
                .collect::<Option<Vec<ColumnId>>>()?,
        })
    }
}

impl Part {
    /// A part whose file is in `dir`.
    pub fn new(dir: &Arc<TableDir>, meta: PartMeta) -> Part {
        Part { meta, dir: dir.clone(), is_removed: AtomicBool::new(false) }
    }

    /// What the catalog knows of it.
    pub fn meta(&self) -> &PartMeta {
        &self.meta
    }

    /// Opens its file for a Parquet reader.
    ///
    /// # Errors
    /// It cannot be opened or measured.
    pub fn open(&self) -> Result<PartFile, StorageError> {
        PartFile::open(self.dir.fs(), &self.path())
    }

    /// Where its file is.
    pub fn path(&self) -> PathBuf {
        self.dir.part_path(&self.meta.id)
    }

    /// Lets the file go once the last snapshot that holds the part is gone. The catalog no longer names it.
    pub fn mark_removed(&self) {
        // Relaxed: the drop that reads it is ordered after this by the counting of the `Arc` around the part.
        self.is_removed.store(true, Ordering::Relaxed);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_removed.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.dir.fs().remove(&self.path()) {
            tracing::warn!(%error, "a replaced part's file stays until the next start removes it");
        }
    }
}
