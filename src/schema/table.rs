//! One table as every connection sees it: its columns, who claimed them, and whether it still exists.

use super::{ColumnDef, TableDef};
use crate::types::{ColumnId, ColumnType, PartitionKey, TableId};
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A table that exists or has been claimed. Reading takes no lock; claiming takes the table's own.
#[derive(Debug)]
pub struct Table {
    def: TableDef,
    schema: ArcSwap<Schema>,
    claims: Mutex<Claims>,
    logged: AtomicBool,
    dropped: AtomicBool,
}

/// What only claims change.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The buckets that rows were claimed for, so that their number can be bounded.
    pub(super) partitions: HashSet<PartitionKey>,
}

/// The columns of a table at one moment, without the designated timestamp.
#[derive(Debug, Default)]
pub struct Schema {
    columns: Vec<Arc<Column>>,
    by_name: HashMap<Arc<str>, usize>,
    /// Names in lower case, so that two that differ by case only are found.
    by_folded_name: HashMap<String, usize>,
}

/// A claimed column.
#[derive(Debug)]
pub struct Column {
    /// What it is.
    pub def: ColumnDef,
    logged: AtomicBool,
}

impl Table {
    pub(super) fn new(def: TableDef, columns: Vec<ColumnDef>, logged: bool) -> Table {
        let mut schema = Schema::default();
        for column in columns {
            schema.push(column, logged);
        }
        Table {
            def,
            schema: ArcSwap::from_pointee(schema),
            claims: Mutex::default(),
            logged: AtomicBool::new(logged),
            dropped: AtomicBool::new(false),
        }
    }

    /// Its number.
    pub fn id(&self) -> TableId {
        self.def.id
    }

    /// Its properties.
    pub fn def(&self) -> &TableDef {
        &self.def
    }

    /// Its columns now.
    pub fn schema(&self) -> Arc<Schema> {
        self.schema.load_full()
    }

    /// True once the log holds its creation. Acquire; pairs with the Release in [`Table::mark_logged`].
    pub fn is_logged(&self) -> bool {
        self.logged.load(Ordering::Acquire)
    }

    /// Says that the log holds its creation.
    pub fn mark_logged(&self) {
        self.logged.store(true, Ordering::Release);
    }

    /// True once the table is dropped: its name may already belong to another one.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    pub(super) fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    pub(super) fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds columns. The caller holds the claims.
    pub(super) fn extend(&self, columns: &[ColumnDef], logged: bool) {
        let mut next = self.schema.load().copy();
        for column in columns {
            next.push(column.clone(), logged);
        }
        self.schema.store(Arc::new(next));
    }
}

impl Schema {
    /// The columns in order of their ids; column `n` has id `n + 1`.
    pub fn columns(&self) -> &[Arc<Column>] {
        &self.columns
    }

    /// The column of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Column>> {
        self.columns.get(*self.by_name.get(name)?)
    }

    /// The column whose name equals this one when case is ignored.
    pub fn get_folded(&self, name: &str) -> Option<&Arc<Column>> {
        self.columns.get(*self.by_folded_name.get(&name.to_lowercase())?)
    }

    /// The column with this id.
    pub fn by_id(&self, id: ColumnId) -> Option<&Arc<Column>> {
        self.columns.get(usize::try_from(id.0).ok()?.checked_sub(1)?)
    }

    /// The id that the next claimed column gets.
    pub(super) fn next_id(&self) -> ColumnId {
        ColumnId(u32::try_from(self.columns.len() + 1).expect("columns are limited"))
    }

    fn copy(&self) -> Schema {
        Schema {
            columns: self.columns.clone(),
            by_name: self.by_name.clone(),
            by_folded_name: self.by_folded_name.clone(),
        }
    }

    fn push(&mut self, def: ColumnDef, logged: bool) {
        assert_eq!(def.id, self.next_id(), "column ids are dense");
        self.by_name.insert(def.name.clone(), self.columns.len());
        self.by_folded_name.insert(def.name.to_lowercase(), self.columns.len());
        self.columns.push(Arc::new(Column { def, logged: AtomicBool::new(logged) }));
    }
}

impl Column {
    /// Its number within the table.
    pub fn id(&self) -> ColumnId {
        self.def.id
    }

    /// What it holds.
    pub fn ty(&self) -> ColumnType {
        self.def.ty
    }

    /// True once the log holds it. Acquire; pairs with the Release in [`Column::mark_logged`].
    pub fn is_logged(&self) -> bool {
        self.logged.load(Ordering::Acquire)
    }

    /// Says that the log holds it.
    pub fn mark_logged(&self) {
        self.logged.store(true, Ordering::Release);
    }
}
