//! What the pool is given: committed transactions, in order for each table.

use crate::schema::{Alteration, ColumnDef, TableDef};
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
    /// All rows of earlier transactions go.
    Truncate,
    /// The rows of earlier transactions in a range of times go, and others come in.
    Replace {
        /// The first time of the range, nanoseconds since 1970.
        from: i64,
        /// The first time after the range.
        to: i64,
        /// The rows that come in, all of the range.
        data: Option<Data>,
    },
    /// Name, columns or options change.
    Alter(Alteration),
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
    /// Not later than the earliest row, nanoseconds since 1970.
    pub min_time: i64,
    /// Not earlier than the latest row.
    pub max_time: i64,
}

impl Txn {
    /// Rows that it brings, and what it weighs while it waits: the bytes of its frame, or its own when those are more, so that a
    /// million small ones are not taken for nothing.
    pub(super) fn size(&self) -> (u64, u64) {
        let weight = |data: &Data| u64::from(data.len).max(size_of::<Txn>() as u64);
        self.data().map_or((0, 0), |data| (u64::from(data.rows), weight(data)))
    }

    /// Where its rows are, if it has any.
    pub(super) fn data(&self) -> Option<&Data> {
        match &self.kind {
            TxnKind::Data(data) | TxnKind::Replace { data: Some(data), .. } => Some(data),
            _ => None,
        }
    }

    /// True when it can be passed over on request: it only brings rows, or brings them in place of others.
    pub(super) fn is_skippable(&self) -> bool {
        matches!(self.kind, TxnKind::Data(_) | TxnKind::Replace { .. })
    }

    /// True when it takes rows of earlier transactions away.
    pub(super) fn is_overwrite(&self) -> bool {
        matches!(self.kind, TxnKind::Truncate | TxnKind::Replace { .. } | TxnKind::RemoveBefore(_))
    }

    /// True when all rows of `data`, of an earlier transaction, go with this one.
    pub(super) fn covers(&self, data: &Data) -> bool {
        match self.kind {
            TxnKind::Truncate => true,
            TxnKind::Replace { from, to, .. } => from <= data.min_time && data.max_time < to,
            _ => false,
        }
    }
}
