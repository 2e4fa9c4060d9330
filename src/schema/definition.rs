//! What log and catalog say about a table: created with these properties, these columns added.

use super::TableOptions;
use crate::types::wire::{Put, Take};
use crate::types::{ColumnId, ColumnType, PartitionBy, TableId};
use std::sync::Arc;

/// A table. Its id, database, partition width and time column never change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableDef {
    /// Its number, for ever.
    pub id: TableId,
    /// The namespace and SQL schema it lives in.
    pub database: Arc<str>,
    /// Its name within the database.
    pub name: Arc<str>,
    /// The width of its partitions.
    pub partition_by: PartitionBy,
    /// The name of the designated timestamp, column 0.
    pub time_column: Arc<str>,
    /// How many columns are shown before the designated timestamp; more than there are puts it last.
    pub time_place: u32,
    /// Wall clock at creation, nanoseconds since 1970.
    pub created: i64,
    /// What its owner may change.
    pub options: TableOptions,
}

/// A column of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColumnDef {
    /// Its number within the table, for ever; never 0, which is the designated timestamp.
    pub id: ColumnId,
    /// Its name.
    pub name: Arc<str>,
    /// What it holds.
    pub ty: ColumnType,
}

/// One change of a table's shape, as receipts carry it to the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Definition {
    /// The table exists from its transaction 1 on.
    Create(TableDef),
    /// The table has one more column.
    AddColumn {
        /// Which table.
        table: TableId,
        /// Which column.
        column: ColumnDef,
    },
}

impl Definition {
    /// The table it speaks of.
    pub fn table(&self) -> TableId {
        match self {
            Definition::Create(def) => def.id,
            Definition::AddColumn { table, .. } => *table,
        }
    }
}

impl TableDef {
    /// Where the designated timestamp is shown among as many other columns.
    pub fn time_index(&self, columns: usize) -> usize {
        usize::try_from(self.time_place).unwrap_or(columns).min(columns)
    }

    /// Appends the definition: id, partition width, creation time, the three names, the place of the time column, then the options.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.id.0);
        out.put_u8(self.partition_by as u8);
        out.put_i64(self.created);
        out.put_bytes(self.database.as_bytes());
        out.put_bytes(self.name.as_bytes());
        out.put_bytes(self.time_column.as_bytes());
        out.put_u32(self.time_place);
        self.options.encode(out);
    }

    /// Takes what [`TableDef::encode`] wrote; `None` when it is damaged.
    pub fn decode(from: &mut Take<'_>) -> Option<TableDef> {
        Some(TableDef {
            id: TableId(from.u32()?),
            partition_by: PartitionBy::from_byte(from.u8()?)?,
            created: from.i64()?,
            database: from.str()?.into(),
            name: from.str()?.into(),
            time_column: from.str()?.into(),
            time_place: from.u32()?,
            options: TableOptions::decode(from)?,
        })
    }
}

impl ColumnDef {
    /// Appends the definition: id, type, name.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.id.0);
        out.put_u8(self.ty as u8);
        out.put_bytes(self.name.as_bytes());
    }

    /// Takes what [`ColumnDef::encode`] wrote; `None` when it is damaged.
    pub fn decode(from: &mut Take<'_>) -> Option<ColumnDef> {
        Some(ColumnDef {
            id: ColumnId(from.u32()?),
            ty: ColumnType::from_byte(from.u8()?)?,
            name: from.str()?.into(),
        })
    }
}
