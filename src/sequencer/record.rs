//! Bodies of records: a group commit, and the checkpoint that opens a chunk.

use super::state::{LogState, Sum, TableState};
use super::{Committed, Frame, Reported, TxnKind};
use crate::schema::{Alteration, ColumnDef, TableDef};
use crate::types::wire::{Put, Take};
use crate::types::{SegmentId, SeqTxn, TableId, WriterId};
use bytes::Bytes;

/// Everything that one group commit logs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Batch {
    /// Wall clock, nanoseconds since 1970.
    pub(super) at: i64,
    pub(super) transactions: Vec<Committed>,
    pub(super) reported: Vec<Reported>,
    /// Segments that were synced before this record was written, each with the bytes that this covers.
    pub(super) synced: Vec<SegmentEnd>,
    pub(super) carried: Vec<Carried>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentEnd {
    pub(super) writer: WriterId,
    pub(super) segment: SegmentId,
    pub(super) end: u64,
}

/// Frames whose segment was not synced for them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Carried {
    pub(super) writer: WriterId,
    pub(super) segment: SegmentId,
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

const CREATE: u8 = 1;
const ADD_COLUMNS: u8 = 2;
const DATA: u8 = 3;
const DROP: u8 = 4;
const REMOVE_BEFORE: u8 = 5;
const ALTER: u8 = 6;
const REPLACE: u8 = 7;
const TRUNCATE: u8 = 8;

const DROPPED: u8 = 1;

impl Batch {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64(self.at);
        put_count(out, self.transactions.len());
        for txn in &self.transactions {
            encode_transaction(txn, out);
        }
        put_count(out, self.reported.len());
        for reported in &self.reported {
            out.put_u32(reported.table.0);
            out.put_u64(reported.through.0);
            out.put_u64(reported.rows);
            out.put_u64(reported.bytes);
        }
        put_count(out, self.synced.len());
        for synced in &self.synced {
            out.put_u32(synced.writer.0);
            out.put_u32(synced.segment.0);
            out.put_u64(synced.end);
        }
        put_count(out, self.carried.len());
        for carried in &self.carried {
            out.put_u32(carried.writer.0);
            out.put_u32(carried.segment.0);
            out.put_u64(carried.offset);
            out.put_bytes(&carried.bytes);
        }
    }

    /// Takes what [`Batch::encode`] wrote from `body`, a part of `chunk`; carried frames share the chunk's memory. `None` when
    /// it is malformed.
    pub(super) fn decode(body: &[u8], chunk: &Bytes) -> Option<Batch> {
        let mut from = Take(body);
        let at = from.i64()?;
        let batch = Batch {
            at,
            transactions: take_all(&mut from, |from| decode_transaction(at, from))?,
            reported: take_all(&mut from, |from| {
                Some(Reported {
                    table: TableId(from.u32()?),
                    through: SeqTxn(from.u64()?),
                    rows: from.u64()?,
                    bytes: from.u64()?,
                })
            })?,
            synced: take_all(&mut from, |from| {
                Some(SegmentEnd {
                    writer: WriterId(from.u32()?),
                    segment: SegmentId(from.u32()?),
                    end: from.u64()?,
                })
            })?,
            carried: take_all(&mut from, |from| {
                Some(Carried {
                    writer: WriterId(from.u32()?),
                    segment: SegmentId(from.u32()?),
                    offset: from.u64()?,
                    bytes: chunk.slice_ref(from.bytes()?),
                })
            })?,
        };
        from.is_empty().then_some(batch)
    }
}

fn encode_transaction(txn: &Committed, out: &mut Vec<u8>) {
    let kind = match txn.kind {
        TxnKind::Create(_) => CREATE,
        TxnKind::AddColumns(_) => ADD_COLUMNS,
        TxnKind::Data(_) => DATA,
        TxnKind::Drop => DROP,
        TxnKind::RemoveBefore(_) => REMOVE_BEFORE,
        TxnKind::Alter(_) => ALTER,
        TxnKind::Replace { .. } => REPLACE,
        TxnKind::Truncate => TRUNCATE,
    };
    out.put_u8(kind);
    out.put_u32(txn.table.0);
    out.put_u64(txn.seq_txn.0);
    match &txn.kind {
        TxnKind::Create(def) => def.encode(out),
        TxnKind::AddColumns(columns) => {
            put_count(out, columns.len());
            columns.iter().for_each(|column| column.encode(out));
        }
        TxnKind::Data(frame) => encode_frame(frame, out),
        TxnKind::Drop | TxnKind::Truncate => {}
        TxnKind::RemoveBefore(time) => out.put_i64(*time),
        TxnKind::Alter(alteration) => alteration.encode(out),
        TxnKind::Replace { from, to, frame } => {
            out.put_i64(*from);
            out.put_i64(*to);
            put_count(out, usize::from(frame.is_some()));
            frame.iter().for_each(|frame| encode_frame(frame, out));
        }
    }
}

fn decode_transaction(at: i64, from: &mut Take<'_>) -> Option<Committed> {
    let kind = from.u8()?;
    let table = TableId(from.u32()?);
    let seq_txn = SeqTxn(from.u64()?);
    let kind = match kind {
        CREATE => TxnKind::Create(TableDef::decode(from)?),
        ADD_COLUMNS => TxnKind::AddColumns(take_all(from, ColumnDef::decode)?),
        DATA => TxnKind::Data(decode_frame(from)?),
        DROP => TxnKind::Drop,
        REMOVE_BEFORE => TxnKind::RemoveBefore(from.i64()?),
        ALTER => TxnKind::Alter(Alteration::decode(from)?),
        REPLACE => {
            let (begin, end) = (from.i64()?, from.i64()?);
            let mut frames = take_all(from, decode_frame)?;
            let frame = frames.pop();
            if !frames.is_empty() {
                return None;
            }
            TxnKind::Replace { from: begin, to: end, frame }
        }
        TRUNCATE => TxnKind::Truncate,
        _ => return None,
    };
    Some(Committed { table, seq_txn, at, kind })
}

fn encode_frame(frame: &Frame, out: &mut Vec<u8>) {
    out.put_u32(frame.writer.0);
    out.put_u32(frame.segment.0);
    out.put_u64(frame.offset);
    out.put_u32(frame.len);
    out.put_u32(frame.rows);
    out.put_u64(frame.bytes);
    out.put_i64(frame.min_time);
    out.put_i64(frame.max_time);
}

fn decode_frame(from: &mut Take<'_>) -> Option<Frame> {
    Some(Frame {
        writer: WriterId(from.u32()?),
        segment: SegmentId(from.u32()?),
        offset: from.u64()?,
        len: from.u32()?,
        rows: from.u32()?,
        bytes: from.u64()?,
        min_time: from.i64()?,
        max_time: from.i64()?,
    })
}

/// Appends the state of all tables.
pub(super) fn encode_checkpoint(state: &LogState, out: &mut Vec<u8>) {
    out.put_u32(state.highest_table.0);
    out.put_u32(state.highest_writer.0);
    put_count(out, state.tables.len());
    for (id, table) in &state.tables {
        out.put_u32(id.0);
        out.put_u8(if table.dropped { DROPPED } else { 0 });
        out.put_u64(table.seq_txn.0);
        out.put_u64(table.reported_txn.0);
        out.put_u64(table.unreported.rows);
        out.put_u64(table.unreported.bytes);
        out.put_i64(table.unreported.min_time);
        out.put_i64(table.unreported.max_time);
        out.put_bytes(table.database.as_bytes());
        out.put_bytes(table.name.as_bytes());
    }
}

/// Replaces the tables of `state` by those of a checkpoint. `None` when it is malformed.
pub(super) fn decode_checkpoint(body: &[u8], state: &mut LogState) -> Option<()> {
    let mut from = Take(body);
    state.highest_table = TableId(from.u32()?);
    state.highest_writer = WriterId(from.u32()?);
    state.tables.clear();
    for _ in 0..from.u32()? {
        let id = TableId(from.u32()?);
        let dropped = from.u8()? == DROPPED;
        let table = TableState {
            dropped,
            seq_txn: SeqTxn(from.u64()?),
            reported_txn: SeqTxn(from.u64()?),
            unreported: Sum {
                rows: from.u64()?,
                bytes: from.u64()?,
                min_time: from.i64()?,
                max_time: from.i64()?,
            },
            database: from.str()?.into(),
            name: from.str()?.into(),
        };
        state.tables.insert(id, table);
    }
    from.is_empty().then_some(())
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).expect("batches are bounded"));
}

/// Takes a count and as many values. The count is not trusted with an allocation.
fn take_all<'a, T>(
    from: &mut Take<'a>,
    mut take: impl FnMut(&mut Take<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    (0..from.u32()?).map(|_| take(from)).collect()
}
