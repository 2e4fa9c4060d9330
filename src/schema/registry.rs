//! The names of a server and the claims on them.

use super::{Column, ColumnDef, Table, TableDef, check_column_name, check_table_name};
use crate::types::{ColumnType, PartitionBy, TableId};
use dashmap::{DashMap, Entry};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Bounds on what clients can make the server create.
#[derive(Clone, Copy, Debug)]
pub struct SchemaLimits {
    /// Bytes of a table or column name.
    pub name_bytes: usize,
    /// Columns of a table, the designated timestamp included.
    pub columns: usize,
    /// Tables of the server.
    pub tables: usize,
    /// Partitions of a table that rows may be claimed for since the start.
    pub partitions: usize,
}

/// What a table gets when a line creates it.
#[derive(Clone, Debug)]
pub struct TablePolicy {
    /// The width of its partitions.
    pub partition_by: PartitionBy,
    /// The name of its designated timestamp.
    pub time_column: Arc<str>,
}

/// Everything new that one line brings to one table.
#[derive(Debug)]
pub struct Claim<'a> {
    /// Tags and fields of the line, by name, each with the type that it needs.
    pub columns: &'a [(&'a str, ColumnType)],
    /// When the row is.
    pub time: i64,
}

/// Why a claim is refused. Nothing of it has been claimed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClaimError {
    /// The table's name breaks a rule.
    #[error("table name: {0}")]
    TableName(&'static str),
    /// A column's name breaks a rule.
    #[error("column name {name:?}: {fault}")]
    ColumnName {
        /// The name.
        name: String,
        /// The rule.
        fault: &'static str,
    },
    /// The column has another type.
    #[error("column {column:?} of table {table:?} holds {held}, the line has {sent}", held = held.name(), sent = sent.name())]
    TypeConflict {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The type it was claimed with.
        held: ColumnType,
        /// The type that the line needs.
        sent: ColumnType,
    },
    /// The server has as many tables as it may.
    #[error("the server's limit of {0} tables is reached")]
    TableLimit(usize),
    /// The table has as many columns as it may.
    #[error("the limit of {0} columns of a table is reached")]
    ColumnLimit(usize),
    /// The table has as many partitions as it may.
    #[error("the limit of {0} partitions of a table is reached")]
    PartitionLimit(usize),
    /// The table was dropped meanwhile.
    #[error("the table was dropped")]
    Dropped,
}

/// The tables of a server.
#[derive(Debug)]
pub struct Registry {
    /// Keyed by database and by the name in lower case, so that names that differ by case only meet.
    tables: DashMap<(Arc<str>, String), Arc<Table>>,
    by_id: DashMap<TableId, Arc<Table>>,
    next_id: AtomicU32,
    count: AtomicUsize,
    /// Rises with every drop; sessions that see it change forget the tables that are gone.
    epoch: AtomicU64,
    limits: SchemaLimits,
}

impl Registry {
    /// An empty registry.
    pub fn new(limits: SchemaLimits) -> Registry {
        Registry {
            tables: DashMap::new(),
            by_id: DashMap::new(),
            next_id: AtomicU32::new(1),
            count: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
            limits,
        }
    }

    /// Puts back a table that catalog or log know. At a start only, before any listener opens.
    ///
    /// # Panics
    /// When the id or the name is already there.
    pub fn restore(&self, def: TableDef, columns: Vec<ColumnDef>) -> Arc<Table> {
        self.never_reuse(def.id);
        let key = (def.database.clone(), def.name.to_lowercase());
        let table = Arc::new(Table::new(def, columns, true));
        let old = self.by_id.insert(table.id(), table.clone());
        assert!(old.is_none(), "table id {} restored twice", table.id());
        let old = self.tables.insert(key, table.clone());
        assert!(old.is_none(), "table {:?} restored twice", table.def().name);
        self.count.fetch_add(1, Ordering::Relaxed);
        table
    }

    /// Puts back a column that the log knows. At a start only. A column that is there already is left alone.
    pub fn restore_column(&self, table: &Table, column: &ColumnDef) {
        let _claims = table.claims();
        if table.schema().by_id(column.id).is_none() {
            table.extend(std::slice::from_ref(column), true);
        }
    }

    /// Keeps an id, and all before it, from being given out again.
    pub fn never_reuse(&self, id: TableId) {
        self.next_id.fetch_max(id.0 + 1, Ordering::Relaxed);
    }

    /// The table of this name.
    pub fn get(&self, database: &Arc<str>, name: &str) -> Option<Arc<Table>> {
        let table = self.tables.get(&(database.clone(), name.to_lowercase()))?;
        (*table.def().name == *name).then(|| table.clone())
    }

    /// The table with this id, dropped ones excluded.
    pub fn by_id(&self, id: TableId) -> Option<Arc<Table>> {
        self.by_id.get(&id).map(|t| t.clone())
    }

    /// All tables, in no order.
    pub fn all(&self) -> Vec<Arc<Table>> {
        self.by_id.iter().map(|t| t.value().clone()).collect()
    }

    /// Rises with every drop. Acquire; pairs with the Release in [`Registry::drop_table`].
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Finds the table of a line, or claims it as a new one without columns.
    ///
    /// # Errors
    /// The name breaks a rule, or equals another's but for case, or there are as many tables as there may be.
    pub fn table_or_claim(
        &self,
        database: &Arc<str>,
        name: &str,
        policy: &TablePolicy,
        now: i64,
    ) -> Result<Arc<Table>, ClaimError> {
        match self.tables.entry((database.clone(), name.to_lowercase())) {
            Entry::Occupied(entry) if *entry.get().def().name == *name => Ok(entry.get().clone()),
            Entry::Occupied(_) => Err(ClaimError::TableName(
                "a table whose name differs from this one by case only exists",
            )),
            Entry::Vacant(entry) => {
                check_table_name(name, self.limits.name_bytes).map_err(ClaimError::TableName)?;
                self.count_one_more()?;
                let def = TableDef {
                    id: TableId(self.next_id.fetch_add(1, Ordering::Relaxed)),
                    database: database.clone(),
                    name: name.into(),
                    partition_by: policy.partition_by,
                    time_column: policy.time_column.clone(),
                    created: now,
                };
                let table = Arc::new(Table::new(def, Vec::new(), false));
                self.by_id.insert(table.id(), table.clone());
                entry.insert(table.clone());
                Ok(table)
            }
        }
    }

    /// Claims all that a line brings to `table`, or nothing. On success every column of the claim is in the table's schema
    /// with the claimed type.
    ///
    /// # Errors
    /// Why the line must be refused.
    pub fn claim(&self, table: &Table, claim: &Claim<'_>) -> Result<(), ClaimError> {
        let mut claims = table.claims();
        if table.is_dropped() {
            return Err(ClaimError::Dropped);
        }
        let partition = table.def().partition_by.key(claim.time);
        let is_new_partition = !claims.partitions.contains(&partition);
        if is_new_partition && claims.partitions.len() >= self.limits.partitions {
            return Err(ClaimError::PartitionLimit(self.limits.partitions));
        }
        let new = self.new_columns(table, claim.columns)?;
        if !new.is_empty() {
            table.extend(&new, false);
        }
        if is_new_partition {
            claims.partitions.insert(partition);
        }
        Ok(())
    }

    /// Frees a dropped table's name. The drop is already in the log.
    pub fn drop_table(&self, id: TableId) {
        if let Some((_, table)) = self.by_id.remove(&id) {
            let claims = table.claims();
            table.mark_dropped();
            drop(claims);
            let def = table.def();
            self.tables
                .remove_if(&(def.database.clone(), def.name.to_lowercase()), |_, t| t.id() == id);
            self.count.fetch_sub(1, Ordering::Relaxed);
            self.epoch.fetch_add(1, Ordering::Release);
        }
    }

    fn new_columns(
        &self,
        table: &Table,
        columns: &[(&str, ColumnType)],
    ) -> Result<Vec<ColumnDef>, ClaimError> {
        let schema = table.schema();
        let mut next = schema.next_id();
        let mut new: Vec<ColumnDef> = Vec::new();
        for &(name, sent) in columns {
            if let Some(column) = schema.get(name) {
                check_type(table, column, sent)?;
                continue;
            }
            let refuse = |fault| ClaimError::ColumnName { name: name.to_owned(), fault };
            check_column_name(name, self.limits.name_bytes).map_err(refuse)?;
            let folded = name.to_lowercase();
            if schema.get_folded(name).is_some()
                || folded == table.def().time_column.to_lowercase()
                || new.iter().any(|c| c.name.to_lowercase() == folded)
            {
                return Err(refuse(
                    "another column has this name, or one that differs by case only",
                ));
            }
            new.push(ColumnDef { id: next, name: name.into(), ty: sent });
            next.0 += 1;
        }
        if !new.is_empty() && schema.columns().len() + new.len() + 1 > self.limits.columns {
            return Err(ClaimError::ColumnLimit(self.limits.columns));
        }
        Ok(new)
    }

    fn count_one_more(&self) -> Result<(), ClaimError> {
        let limit = self.limits.tables;
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
            .map(|_| ())
            .map_err(|_| ClaimError::TableLimit(limit))
    }
}

fn check_type(table: &Table, column: &Column, sent: ColumnType) -> Result<(), ClaimError> {
    if column.ty() == sent {
        return Ok(());
    }
    Err(ClaimError::TypeConflict {
        table: table.def().name.to_string(),
        column: column.def.name.to_string(),
        held: column.ty(),
        sent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        Registry::new(SchemaLimits { name_bytes: 127, columns: 4, tables: 2, partitions: 2 })
    }

    fn policy() -> TablePolicy {
        TablePolicy { partition_by: PartitionBy::Day, time_column: "time".into() }
    }

    #[test]
    fn the_first_claim_of_a_column_wins_and_a_refused_line_leaves_nothing_behind() {
        let registry = registry();
        let table = registry.table_or_claim(&"public".into(), "t", &policy(), 0).unwrap();
        let claim = |columns: &[_]| registry.claim(&table, &Claim { columns, time: 0 });
        assert_eq!(claim(&[("v", ColumnType::Integer)]), Ok(()));
        assert!(matches!(
            claim(&[("w", ColumnType::Float), ("v", ColumnType::String)]),
            Err(ClaimError::TypeConflict { .. })
        ));
        assert!(table.schema().get("w").is_none());
    }

    #[test]
    fn names_that_differ_by_case_only_are_refused() {
        let registry = registry();
        let table = registry.table_or_claim(&"public".into(), "t", &policy(), 0).unwrap();
        assert!(registry.table_or_claim(&"public".into(), "T", &policy(), 0).is_err());
        assert!(registry.table_or_claim(&"other".into(), "T", &policy(), 0).is_ok());
        let claim = |name| {
            registry.claim(&table, &Claim { columns: &[(name, ColumnType::Float)], time: 0 })
        };
        assert_eq!(claim("v"), Ok(()));
        assert!(claim("V").is_err());
        assert!(claim("Time").is_err());
    }

    #[test]
    fn limits_bound_tables_columns_and_partitions() {
        let registry = registry();
        let db = "public".into();
        let table = registry.table_or_claim(&db, "a", &policy(), 0).unwrap();
        registry.table_or_claim(&db, "b", &policy(), 0).unwrap();
        let third = registry.table_or_claim(&db, "c", &policy(), 0).unwrap_err();
        assert_eq!(third, ClaimError::TableLimit(2));
        let columns = ["a", "b", "c", "d"].map(|n| (n, ColumnType::Float));
        let claim = |columns, time| registry.claim(&table, &Claim { columns, time });
        assert_eq!(claim(&columns, 0), Err(ClaimError::ColumnLimit(4)));
        let day = 86_400_000_000_000;
        assert_eq!(claim(&[], 0), Ok(()));
        assert_eq!(claim(&[], day), Ok(()));
        assert_eq!(claim(&[], 2 * day), Err(ClaimError::PartitionLimit(2)));
    }

    #[test]
    fn a_dropped_tables_name_is_free_and_its_id_is_not() {
        let registry = registry();
        let db = "public".into();
        let old = registry.table_or_claim(&db, "t", &policy(), 0).unwrap();
        registry.drop_table(old.id());
        let new = registry.table_or_claim(&db, "t", &policy(), 0).unwrap();
        assert_ne!(old.id(), new.id());
        assert!(old.is_dropped() && registry.epoch() == 1);
    }
}
