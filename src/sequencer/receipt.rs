//! What a writer hands in, and what comes out with a number on it.

use super::Progress;
use crate::io::File;
use crate::schema::{Alteration, ColumnDef, Definition, TableDef};
use crate::types::{SegmentId, SeqTxn, TableId, WriterId};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;

/// One commit of one writer: where its frames lie, and everything that has to be logged with them.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The writer that appended the frames.
    pub writer: WriterId,
    /// The segment they lie in.
    pub segment: SegmentId,
    /// The open segment; `None` only when there are no frames.
    pub file: Option<Arc<File>>,
    /// The name of `file` in its folder may not be durable: the folder must be before this commit is, unless it is carried. A writer
    /// repeats it until it has handed it in with a receipt that carries nothing.
    pub is_new_file: bool,
    /// Bytes of the segment that must be durable.
    pub end: u64,
    /// The frames, in the order of their offsets.
    pub frames: SmallVec<[FrameRef; 1]>,
    /// The bytes of all frames, contiguous from the first frame's offset, when they are few enough to travel in the log.
    pub carried: Option<Bytes>,
    /// Definitions that the frames need and that the log may not have yet. Whoever names a column names every column
    /// of that table with a lower id that is not logged yet, so that ids in the log have no gaps.
    pub definitions: Vec<Definition>,
    /// A change of a table, numbered after the frames.
    pub change: Option<Change>,
    /// What the frames of this receipt report; logged in the same record.
    pub reported: Vec<Reported>,
    /// Where the outcome is told.
    pub progress: Arc<Progress>,
    /// The number of this commit among those that share `progress`; rises.
    pub ordinal: u64,
}

/// One frame: one table's rows of one commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRef {
    /// Whose rows.
    pub table: TableId,
    /// Where in the segment.
    pub offset: u64,
    /// How many bytes of the segment.
    pub len: u32,
    /// How many rows.
    pub rows: u32,
    /// Bytes that reports count for them.
    pub bytes: u64,
    /// Earliest row, nanoseconds since 1970.
    pub min_time: i64,
    /// Latest row, nanoseconds since 1970.
    pub max_time: i64,
}

/// A change of a table other than new rows and columns.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Change {
    /// The table is gone.
    Drop {
        /// Which table.
        table: TableId,
    },
    /// All rows before a time are gone.
    RemoveBefore {
        /// Which table.
        table: TableId,
        /// Nanoseconds since 1970; a row at exactly this time stays.
        time: i64,
    },
    /// All rows are gone.
    Truncate {
        /// Which table.
        table: TableId,
    },
    /// All rows of a range of times are gone, and those of the receipt's only frame, if it has one, take their place.
    Replace {
        /// Which table. The frame is its.
        table: TableId,
        /// The first time of the range, nanoseconds since 1970.
        from: i64,
        /// The first time after the range.
        to: i64,
    },
    /// Its name, its columns or its options change.
    Alter {
        /// Which table.
        table: TableId,
        /// How.
        alteration: Alteration,
    },
}

/// Rows of one table that a report has counted. They leave the table's unreported sum in the record that holds the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reported {
    /// Whose rows.
    pub table: TableId,
    /// The last transaction that was counted.
    pub through: SeqTxn,
    /// How many rows.
    pub rows: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// One transaction of one table, committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// Which table.
    pub table: TableId,
    /// Its number: dense, from 1.
    pub seq_txn: SeqTxn,
    /// Wall clock of the group commit, nanoseconds since 1970. May step back when the clock does.
    pub at: i64,
    /// What it does.
    pub kind: TxnKind,
}

/// What a transaction does.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TxnKind {
    /// The table exists. Always transaction 1.
    Create(TableDef),
    /// The table has more columns.
    AddColumns(Vec<ColumnDef>),
    /// The table has more rows.
    Data(Frame),
    /// The table is gone. Always its last transaction.
    Drop,
    /// All rows before this time are gone, nanoseconds since 1970.
    RemoveBefore(i64),
    /// All rows are gone.
    Truncate,
    /// The rows of a range of times are gone, and others take their place.
    Replace {
        /// The first time of the range, nanoseconds since 1970.
        from: i64,
        /// The first time after the range.
        to: i64,
        /// The rows that come in, all of the range; none when they only go.
        frame: Option<Frame>,
    },
    /// The table has another name, other columns or other options.
    Alter(Alteration),
}

/// Where the rows of a transaction lie: one frame of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The writer that appended the frame.
    pub writer: WriterId,
    /// The segment it lies in.
    pub segment: SegmentId,
    /// Where in the segment.
    pub offset: u64,
    /// How many bytes of the segment.
    pub len: u32,
    /// How many rows.
    pub rows: u32,
    /// Bytes that reports count for them.
    pub bytes: u64,
    /// Earliest row, nanoseconds since 1970.
    pub min_time: i64,
    /// Latest row, nanoseconds since 1970.
    pub max_time: i64,
}

impl TxnKind {
    /// Where its rows are, if it has any.
    pub fn frame(&self) -> Option<&Frame> {
        match self {
            TxnKind::Data(frame) | TxnKind::Replace { frame: Some(frame), .. } => Some(frame),
            _ => None,
        }
    }
}

impl Frame {
    pub(super) fn of(receipt: &Receipt, frame: &FrameRef) -> Frame {
        Frame {
            writer: receipt.writer,
            segment: receipt.segment,
            offset: frame.offset,
            len: frame.len,
            rows: frame.rows,
            bytes: frame.bytes,
            min_time: frame.min_time,
            max_time: frame.max_time,
        }
    }
}

impl Receipt {
    /// A receipt without frames: definitions, a change, or both.
    pub fn without_frames(progress: Arc<Progress>, ordinal: u64) -> Receipt {
        Receipt {
            writer: WriterId::default(),
            segment: SegmentId::default(),
            file: None,
            is_new_file: false,
            end: 0,
            frames: SmallVec::new(),
            carried: None,
            definitions: Vec::new(),
            change: None,
            reported: Vec::new(),
            progress,
            ordinal,
        }
    }
}
