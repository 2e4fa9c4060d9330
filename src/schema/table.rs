//! One table as every connection sees it: its columns, who claimed them, and whether it still exists.

use super::version::Version;
use super::{ColumnDef, Dedup, Definition, TableDef};
use crate::types::{ColumnId, ColumnType, PartitionKey, TableId};
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A table that exists or has been claimed. Reading takes no lock; claiming takes the table's own.
#[derive(Debug)]
pub struct Table {
    id: TableId,
    def: ArcSwap<TableDef>,
    schema: ArcSwap<Schema>,
    claims: Mutex<Claims>,
    /// Relaxed: nothing is read because of it. Whoever sees it pushes a receipt without the definition, which reaches the sequencer's thread after
    /// that thread has marked what it logged; whoever waited for the commit sees it through the watermark.
    logged: AtomicBool,
    /// Relaxed: it is set under the claims, and whoever must not be too late looks while it holds them, or after it saw another epoch. To all others
    /// the drop comes a moment later.
    dropped: AtomicBool,
    /// Rises with every change of name or of a column that was there.
    version: Version,
    /// The rules for duplicates that it is or was under: rows of before are still resolved by theirs.
    rules: Mutex<Vec<Dedup>>,
}

/// What only claims change.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The buckets that rows were claimed for, so that their number can be bounded.
    pub(super) partitions: HashSet<PartitionKey>,
}

/// The columns of a table at one moment, without the designated timestamp.
#[derive(Debug)]
pub struct Schema {
    columns: Vec<Arc<Column>>,
    by_name: HashMap<Arc<str>, usize>,
    /// Names in lower case, so that two that differ by case only are found.
    by_folded_name: HashMap<String, usize>,
    next_id: ColumnId,
}

/// A claimed column.
#[derive(Debug)]
pub struct Column {
    /// What it is.
    pub def: ColumnDef,
    /// Relaxed, as that of its table.
    logged: AtomicBool,
}

impl Table {
    /// A table of these columns, in order of their ids; the next one gets an id of at least `next_id`.
    pub(super) fn new(
        def: TableDef,
        columns: Vec<ColumnDef>,
        next_id: ColumnId,
        logged: bool,
    ) -> Table {
        let column = |def| Arc::new(Column::new(def, logged));
        let rules = Mutex::new(vec![def.options.dedup.clone()]);
        Table {
            id: def.id,
            def: ArcSwap::from_pointee(def),
            schema: ArcSwap::from_pointee(Schema::new(
                columns.into_iter().map(column).collect(),
                next_id,
            )),
            claims: Mutex::default(),
            logged: AtomicBool::new(logged),
            dropped: AtomicBool::new(false),
            version: Version::new(),
            rules,
        }
    }

    /// Its number.
    pub fn id(&self) -> TableId {
        self.id
    }

    /// Its properties now.
    pub fn def(&self) -> Arc<TableDef> {
        self.def.load_full()
    }

    /// Rises whenever what a session remembers of it (its name, a column by name) may hold no more.
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// True when it is, or ever was, under such a rule for duplicates.
    pub(super) fn was_under(&self, is_such: impl FnMut(&Dedup) -> bool) -> bool {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).iter().any(is_such)
    }

    /// Notes that it is or was under a rule for duplicates.
    pub(super) fn note_rule(&self, rule: &Dedup) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }

    /// Changes the definition. The caller holds the claims.
    pub(super) fn redefine(&self, def: TableDef) {
        self.note_rule(&def.options.dedup);
        self.def.store(Arc::new(def));
        self.version.rise();
    }

    /// Changes columns that are there. The caller holds the claims.
    pub(super) fn reshape(&self, columns: Vec<Arc<Column>>, next_id: ColumnId) {
        self.schema.store(Arc::new(Schema::new(columns, next_id)));
        self.version.rise();
    }

    /// Its columns now.
    pub fn schema(&self) -> Arc<Schema> {
        self.schema.load_full()
    }

    /// True once the log holds its creation.
    pub fn is_logged(&self) -> bool {
        self.logged.load(Ordering::Relaxed)
    }

    /// Says that the log holds its creation.
    pub fn mark_logged(&self) {
        self.logged.store(true, Ordering::Relaxed);
    }

    /// What the log may not have of it, columns in order of their ids.
    pub fn unlogged(&self) -> Vec<Definition> {
        let mut definitions = Vec::new();
        if !self.is_logged() {
            definitions.push(Definition::Create(TableDef::clone(&self.def())));
        }
        for column in self.schema().columns().iter().filter(|column| !column.is_logged()) {
            let column = column.def.clone();
            definitions.push(Definition::AddColumn { table: self.id, column });
        }
        definitions
    }

    /// True once the table is dropped: its name may already belong to another one.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Relaxed);
    }

    pub(super) fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds columns. The caller holds the claims.
    pub(super) fn extend(&self, columns: &[ColumnDef], logged: bool) {
        let schema = self.schema.load();
        let new = columns.iter().map(|column| Arc::new(Column::new(column.clone(), logged)));
        let all = schema.columns.iter().cloned().chain(new).collect();
        self.schema.store(Arc::new(Schema::new(all, schema.next_id)));
    }
}

impl Schema {
    fn new(mut columns: Vec<Arc<Column>>, next_id: ColumnId) -> Schema {
        columns.sort_by_key(|column| column.id());
        assert!(columns.windows(2).all(|c| c[0].id() < c[1].id()), "column ids are unique");
        let last = columns.last().map_or(ColumnId::TIME, |last| last.id());
        let names = || columns.iter().enumerate();
        Schema {
            by_name: names().map(|(n, column)| (column.def.name.clone(), n)).collect(),
            by_folded_name: names().map(|(n, c)| (c.def.name.to_lowercase(), n)).collect(),
            next_id: next_id.max(ColumnId(last.0 + 1)),
            columns,
        }
    }

    /// The columns in order of their ids. Ids of columns that are gone are missing.
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
        let at = self.columns.binary_search_by_key(&id, |column| column.id()).ok()?;
        self.columns.get(at)
    }

    /// The id that the next claimed column gets.
    pub(super) fn next_id(&self) -> ColumnId {
        self.next_id
    }
}

impl Column {
    pub(super) fn new(def: ColumnDef, logged: bool) -> Column {
        Column { def, logged: AtomicBool::new(logged) }
    }

    /// Its number within the table.
    pub fn id(&self) -> ColumnId {
        self.def.id
    }

    /// What it holds.
    pub fn ty(&self) -> ColumnType {
        self.def.ty
    }

    /// True once the log holds it.
    pub fn is_logged(&self) -> bool {
        self.logged.load(Ordering::Relaxed)
    }

    /// Says that the log holds it.
    pub fn mark_logged(&self) {
        self.logged.store(true, Ordering::Relaxed);
    }
}
