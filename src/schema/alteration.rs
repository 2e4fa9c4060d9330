//! One change of a table that exists, as the log keeps it: by ids, decided, never refused again.

use super::{ColumnDef, TableOptions};
use crate::types::ColumnId;
use crate::types::wire::{Put, Take};
use std::sync::Arc;

/// A change of a table's name, columns or options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Alteration {
    /// The table has another name.
    Rename(Arc<str>),
    /// A column is gone with all its values. Its id is never used again.
    DropColumn(ColumnId),
    /// A column has another name.
    RenameColumn {
        /// Which column.
        column: ColumnId,
        /// Its name from now on.
        name: Arc<str>,
    },
    /// A column gives way to one of another type, which takes over its values as far as they convert.
    RetypeColumn {
        /// The column that goes.
        column: ColumnId,
        /// The column that takes its name and values.
        to: ColumnDef,
    },
    /// The table's options are these.
    Options(TableOptions),
}

impl Alteration {
    /// Appends the change: its number, then what it needs.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Alteration::Rename(name) => {
                out.put_u8(1);
                out.put_bytes(name.as_bytes());
            }
            Alteration::DropColumn(column) => {
                out.put_u8(2);
                out.put_u32(column.0);
            }
            Alteration::RenameColumn { column, name } => {
                out.put_u8(3);
                out.put_u32(column.0);
                out.put_bytes(name.as_bytes());
            }
            Alteration::RetypeColumn { column, to } => {
                out.put_u8(4);
                out.put_u32(column.0);
                to.encode(out);
            }
            Alteration::Options(options) => {
                out.put_u8(5);
                options.encode(out);
            }
        }
    }

    /// Takes what [`Alteration::encode`] wrote; `None` when it is damaged.
    pub fn decode(from: &mut Take<'_>) -> Option<Alteration> {
        Some(match from.u8()? {
            1 => Alteration::Rename(from.str()?.into()),
            2 => Alteration::DropColumn(ColumnId(from.u32()?)),
            3 => {
                Alteration::RenameColumn { column: ColumnId(from.u32()?), name: from.str()?.into() }
            }
            4 => Alteration::RetypeColumn {
                column: ColumnId(from.u32()?),
                to: ColumnDef::decode(from)?,
            },
            5 => Alteration::Options(TableOptions::decode(from)?),
            _ => return None,
        })
    }
}
