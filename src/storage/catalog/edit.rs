//! The changes of the catalog, and their bytes.

use crate::schema::{Shape, TableDef};
use crate::storage::{PartId, PartMeta};
use crate::types::wire::{Put, Take};
use crate::types::{SeqTxn, TableId};

/// One change of one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// The table exists. Refused when its id was ever used.
    Create(TableDef),
    /// The table has this name, these options, these columns and this history. Refused when it would give an id back.
    Define(Shape),
    /// All rows up to a transaction are in parts, these among them. Refused when a part is there or the transaction goes back.
    Flush {
        /// Which table.
        table: TableId,
        /// The parts that come in.
        parts: Vec<PartMeta>,
        /// All rows up to here are in parts.
        flushed_txn: SeqTxn,
    },
    /// Parts give way to others with the same rows. Refused when one of the old is gone or one of the new is there.
    Replace {
        /// Which table.
        table: TableId,
        /// The parts that go.
        remove: Vec<PartId>,
        /// The parts that come in.
        add: Vec<PartMeta>,
    },
    /// The table is gone with all its parts. Never refused: a table may be dropped before its creation got here.
    Drop(TableId),
}

impl Edit {
    /// The table it changes.
    pub fn table(&self) -> TableId {
        match self {
            Edit::Create(def) => def.id,
            Edit::Define(shape) => shape.def.id,
            Edit::Flush { table, .. } | Edit::Replace { table, .. } | Edit::Drop(table) => *table,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Edit::Create(def) => {
                out.put_u8(1);
                def.encode(out);
            }
            Edit::Define(shape) => {
                out.put_u8(2);
                shape.encode(out);
            }
            Edit::Flush { table, parts, flushed_txn } => {
                out.put_u8(3);
                out.put_u32(table.0);
                out.put_u64(flushed_txn.0);
                put_all(out, parts, PartMeta::encode);
            }
            Edit::Replace { table, remove, add } => {
                out.put_u8(4);
                out.put_u32(table.0);
                put_all(out, remove, PartId::encode);
                put_all(out, add, PartMeta::encode);
            }
            Edit::Drop(table) => {
                out.put_u8(5);
                out.put_u32(table.0);
            }
        }
    }

    /// Takes what [`Edit::encode`] wrote; `None` when it is damaged.
    pub(super) fn decode(from: &mut Take<'_>) -> Option<Edit> {
        Some(match from.u8()? {
            1 => Edit::Create(TableDef::decode(from)?),
            2 => Edit::Define(Shape::decode(from)?),
            3 => Edit::Flush {
                table: TableId(from.u32()?),
                flushed_txn: SeqTxn(from.u64()?),
                parts: take_all(from, PartMeta::decode)?,
            },
            4 => Edit::Replace {
                table: TableId(from.u32()?),
                remove: take_all(from, PartId::decode)?,
                add: take_all(from, PartMeta::decode)?,
            },
            5 => Edit::Drop(TableId(from.u32()?)),
            _ => return None,
        })
    }
}

/// Appends edits behind their number.
pub(super) fn encode_edits(edits: &[Edit], out: &mut Vec<u8>) {
    put_all(out, edits, Edit::encode);
}

/// Takes what [`encode_edits`] wrote, to the last byte.
pub(super) fn decode_edits(bytes: &[u8]) -> Option<Vec<Edit>> {
    let mut from = Take(bytes);
    let edits = take_all(&mut from, Edit::decode)?;
    from.is_empty().then_some(edits)
}

fn put_all<T>(out: &mut Vec<u8>, items: &[T], put: impl Fn(&T, &mut Vec<u8>)) {
    out.put_u32(u32::try_from(items.len()).expect("memory holds fewer than 2^32 of them"));
    for item in items {
        put(item, out);
    }
}

fn take_all<T>(from: &mut Take<'_>, take: impl Fn(&mut Take<'_>) -> Option<T>) -> Option<Vec<T>> {
    (0..from.u32()?).map(|_| take(from)).collect()
}
