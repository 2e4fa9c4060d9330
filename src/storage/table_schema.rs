//! The columns of a table as Arrow sees them.

use crate::schema::{Alteration, ColumnDef, Shape, TableDef};
use crate::types::{ColumnId, ColumnType, SeqTxn};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The metadata key under which arrow and parquet keep a field's id.
pub const FIELD_ID_KEY: &str = "PARQUET:field_id";

/// A table's definition and its columns at one transaction.
///
/// Columns are in order of their ids. Ids have gaps where columns are gone.
#[derive(Clone, Debug)]
pub struct TableSchema {
    shape: Shape,
    arrow: SchemaRef,
}

impl TableSchema {
    /// A schema of these columns, in any order, without the designated timestamp.
    ///
    /// # Panics
    /// As [`TableSchema::of`].
    pub fn new(def: TableDef, columns: Vec<ColumnDef>) -> TableSchema {
        TableSchema::of(Shape::new(def, columns))
    }

    /// The schema of a table of this shape.
    ///
    /// # Panics
    /// Two columns with one id, or one with the id of the designated timestamp: claims give every id once.
    pub fn of(shape: Shape) -> TableSchema {
        let columns = &shape.columns;
        assert!(columns.windows(2).all(|c| c[0].id < c[1].id), "column ids are unique");
        assert!(columns.first().is_none_or(|c| c.id > ColumnId::TIME), "column 0 is the time");
        let mut fields: Vec<Field> = columns.iter().map(arrow_field).collect();
        fields.push(time_field(&shape.def));
        TableSchema { arrow: Arc::new(Schema::new(fields)), shape }
    }

    /// This schema with more columns.
    pub fn with(&self, columns: &[ColumnDef]) -> TableSchema {
        let mut shape = self.shape.clone();
        shape.add(columns);
        TableSchema::of(shape)
    }

    /// This schema after a change, which is the table's transaction `txn`.
    pub fn altered(&self, change: &Alteration, txn: SeqTxn) -> TableSchema {
        let mut shape = self.shape.clone();
        shape.alter(change, txn);
        TableSchema::of(shape)
    }

    /// Definition, columns and history.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The table.
    pub fn def(&self) -> &TableDef {
        &self.shape.def
    }

    /// The columns in order of their ids, without the designated timestamp.
    pub fn columns(&self) -> &[ColumnDef] {
        &self.shape.columns
    }

    /// The column with this id.
    pub fn by_id(&self, id: ColumnId) -> Option<&ColumnDef> {
        let at = self.columns().binary_search_by_key(&id, |c| c.id).ok()?;
        self.columns().get(at)
    }

    /// The columns that have values where those of `stored` ids lie.
    pub(super) fn present(&self, stored: impl Iterator<Item = ColumnId>) -> Vec<ColumnId> {
        let heirs: BTreeSet<ColumnId> =
            stored.filter_map(|id| self.shape.heir(id)).map(|column| column.id).collect();
        heirs.into_iter().collect()
    }

    /// The fields in the order of `SELECT *`: columns by id, the designated timestamp last. Every field carries its
    /// [`ColumnId`] as [`FIELD_ID_KEY`].
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }
}

/// How a column of this type looks in memory and in parts.
pub fn arrow_type(ty: ColumnType) -> DataType {
    match ty {
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, None),
        ColumnType::Tag => {
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
        }
        ColumnType::Float => DataType::Float64,
        ColumnType::Integer => DataType::Int64,
        ColumnType::Unsigned => DataType::UInt64,
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::String => DataType::Utf8,
        ColumnType::Array => {
            DataType::List(Arc::new(Field::new_list_field(DataType::Float64, false)))
        }
    }
}

/// The field of a column; every column but the designated timestamp may be null.
pub(super) fn arrow_field(column: &ColumnDef) -> Field {
    Field::new(&*column.name, arrow_type(column.ty), true).with_metadata(field_id(column.id))
}

/// The field of the designated timestamp.
pub(super) fn time_field(def: &TableDef) -> Field {
    Field::new(&*def.time_column, arrow_type(ColumnType::Timestamp), false)
        .with_metadata(field_id(ColumnId::TIME))
}

fn field_id(id: ColumnId) -> HashMap<String, String> {
    HashMap::from([(FIELD_ID_KEY.to_owned(), id.to_string())])
}
