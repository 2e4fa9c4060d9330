//! What the pool is given: committed transactions, in order for each table.

use crate::schema::{ColumnDef, TableDef};
use crate::types::{SegmentId, SeqTxn, TableId, WriterId};

/// A committed transaction of one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Txn {
    /// Whose.
    pub table: TableId,
    /// Its place in the table's order: dense, from 1.
    pub seq_txn: SeqTxn,
    /// Wall clock at the commit, nanoseconds since 1970.
    pub at: i64,
    /// What it does.
    pub kind: TxnKind,
}

/// What a transaction does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TxnKind {
    /// The table comes into being; always transaction 1.
    Create(TableDef),
    /// The table gets more columns.
    AddColumns(Vec<ColumnDef>),
    /// Rows.
    Data(Data),
    /// Partitions that end at or before this time (nanoseconds since 1970) go, with all rows of earlier transactions.
    RemoveBefore(i64),
    /// The table goes; its last transaction.
    Drop,
}

/// Where the rows of a transaction are: one frame of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data {
    /// The segment's writer.
    pub writer: WriterId,
    /// The segment.
    pub segment: SegmentId,
    /// Where the frame begins.
    pub offset: u64,
    /// Bytes of the frame.
    pub len: u32,
    /// Rows in the frame.
    pub rows: u32,
}

impl Txn {
    /// Rows that it brings, and what it weighs while it waits: the bytes of its frame, or its own when those are more, so that a
    /// million small ones are not taken for nothing.
    pub(super) fn size(&self) -> (u64, u64) {
        match &self.kind {
            TxnKind::Data(data) => {
                (u64::from(data.rows), u64::from(data.len).max(size_of::<Txn>() as u64))
            }
            _ => (0, 0),
        }
    }
}
