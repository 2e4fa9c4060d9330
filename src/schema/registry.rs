//! The names of a server and the claims on them.

use super::{Column, ColumnDef, Table, TableDef, check_column_name, check_table_name};
use crate::types::{ColumnType, PartitionBy, TableId};
use dashmap::{DashMap, Entry};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Bounds on what clients can make the server create.
#[derive(Clone, Copy, Debug)]
pub struct SchemaLimits {
    /// Bytes of a table or column name.
    pub name_bytes: usize,
    /// Columns of a table, the designated timestamp included.
    pub columns: usize,
    /// Tables of a database.
    pub tables: usize,
    /// Tables of the server, all databases together.
    pub server_tables: usize,
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
    /// Whether a table that has columns gets those it lacks. A new table always gets its first ones.
    pub may_add_columns: bool,
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
    /// The database has as many tables as it may.
    #[error("the limit of {0} tables of a database is reached (limits.tables)")]
    TableLimit(usize),
    /// The server has as many tables as it may.
    #[error("the limit of {0} tables of the server is reached (limits.server_tables)")]
    ServerTableLimit(usize),
    /// The table has as many columns as it may.
    #[error("the limit of {0} columns of a table is reached (limits.columns)")]
    ColumnLimit(usize),
    /// The table has as many partitions as it may.
    #[error("the limit of {0} partitions of a table is reached (limits.partitions)")]
    PartitionLimit(usize),
    /// The table lacks a column and may not get it.
    #[error("column {column:?} of table {table:?} does not exist, and tables.new_columns is off")]
    NewColumnsOff {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
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
    /// Tables of each database that has had one.
    counts: DashMap<Arc<str>, usize>,
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
            counts: DashMap::new(),
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
        *self.counts.entry(table.def().database.clone()).or_default() += 1;
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

    /// Finds the table of a line, or claims it as a new one without columns, if it could hold what the line claims: a line
    /// that is refused leaves no table behind.
    ///
    /// # Errors
    /// A name breaks a rule, or equals another's but for case, or there are as many tables or columns as there may be.
    pub fn table_or_claim(
        &self,
        database: &Arc<str>,
        name: &str,
        policy: &TablePolicy,
        first: &Claim<'_>,
        now: i64,
    ) -> Result<Arc<Table>, ClaimError> {
        match self.tables.entry((database.clone(), name.to_lowercase())) {
            Entry::Occupied(entry) if *entry.get().def().name == *name => Ok(entry.get().clone()),
            Entry::Occupied(_) => Err(ClaimError::TableName(
                "a table whose name differs from this one by case only exists",
            )),
            Entry::Vacant(entry) => {
                check_table_name(name, self.limits.name_bytes).map_err(ClaimError::TableName)?;
                let mut def = TableDef {
                    id: TableId(0),
                    database: database.clone(),
                    name: name.into(),
                    partition_by: policy.partition_by,
                    time_column: policy.time_column.clone(),
                    created: now,
                };
                self.new_columns(&Table::new(def.clone(), Vec::new(), false), first)?;
                self.count_one_more(database)?;
                def.id = TableId(self.next_id.fetch_add(1, Ordering::Relaxed));
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
        let new = self.new_columns(table, claim)?;
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
            if let Some(mut count) = self.counts.get_mut(&def.database) {
                *count -= 1;
            }
            self.epoch.fetch_add(1, Ordering::Release);
        }
    }

    fn new_columns(&self, table: &Table, claim: &Claim<'_>) -> Result<Vec<ColumnDef>, ClaimError> {
        let schema = table.schema();
        let is_closed = !claim.may_add_columns && !schema.columns().is_empty();
        let mut next = schema.next_id();
        let mut new: Vec<ColumnDef> = Vec::new();
        let mut folded_names = HashSet::new();
        for &(name, sent) in claim.columns {
            if let Some(column) = schema.get(name) {
                check_type(table, column, sent)?;
                continue;
            }
            if is_closed {
                return Err(ClaimError::NewColumnsOff {
                    table: table.def().name.to_string(),
                    column: name.to_owned(),
                });
            }
            let refuse = |fault| ClaimError::ColumnName { name: name.to_owned(), fault };
            check_column_name(name, self.limits.name_bytes).map_err(refuse)?;
            let folded = name.to_lowercase();
            if schema.get_folded(name).is_some()
                || folded == table.def().time_column.to_lowercase()
                || !folded_names.insert(folded)
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

    fn count_one_more(&self, database: &Arc<str>) -> Result<(), ClaimError> {
        let limit = self.limits.server_tables;
        // The entry is held while the server's count rises, and made only then: names of databases cost memory, too.
        let entry = self.counts.entry(database.clone());
        if matches!(&entry, Entry::Occupied(count) if *count.get() >= self.limits.tables) {
            return Err(ClaimError::TableLimit(self.limits.tables));
        }
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
            .map_err(|_| ClaimError::ServerTableLimit(limit))?;
        *entry.or_default() += 1;
        Ok(())
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
        Registry::new(SchemaLimits {
            name_bytes: 127,
            columns: 4,
            tables: 2,
            server_tables: 3,
            partitions: 2,
        })
    }

    fn claim_of<'a>(columns: &'a [(&'a str, ColumnType)]) -> Claim<'a> {
        Claim { columns, time: 0, may_add_columns: true }
    }

    fn policy() -> TablePolicy {
        TablePolicy { partition_by: PartitionBy::Day, time_column: "time".into() }
    }

    #[test]
    fn the_first_claim_of_a_column_wins_and_a_refused_line_leaves_nothing_behind() {
        let registry = registry();
        let table =
            registry.table_or_claim(&"public".into(), "t", &policy(), &claim_of(&[]), 0).unwrap();
        let claim = |columns: &[_]| registry.claim(&table, &claim_of(columns));
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
        let table =
            registry.table_or_claim(&"public".into(), "t", &policy(), &claim_of(&[]), 0).unwrap();
        assert!(
            registry.table_or_claim(&"public".into(), "T", &policy(), &claim_of(&[]), 0).is_err()
        );
        assert!(
            registry.table_or_claim(&"other".into(), "T", &policy(), &claim_of(&[]), 0).is_ok()
        );
        let claim = |name| registry.claim(&table, &claim_of(&[(name, ColumnType::Float)]));
        assert_eq!(claim("v"), Ok(()));
        assert!(claim("V").is_err());
        assert!(claim("Time").is_err());
    }

    #[test]
    fn limits_bound_tables_columns_and_partitions() {
        let registry = registry();
        let db = "public".into();
        let table = registry.table_or_claim(&db, "a", &policy(), &claim_of(&[]), 0).unwrap();
        registry.table_or_claim(&db, "b", &policy(), &claim_of(&[]), 0).unwrap();
        let third = registry.table_or_claim(&db, "c", &policy(), &claim_of(&[]), 0).unwrap_err();
        assert_eq!(third, ClaimError::TableLimit(2));
        let other = "other".into();
        registry.table_or_claim(&other, "a", &policy(), &claim_of(&[]), 0).unwrap();
        let fourth = registry.table_or_claim(&other, "b", &policy(), &claim_of(&[]), 0);
        assert_eq!(fourth.unwrap_err(), ClaimError::ServerTableLimit(3));
        let columns = ["a", "b", "c", "d"].map(|n| (n, ColumnType::Float));
        let claim = |columns, time| registry.claim(&table, &Claim { time, ..claim_of(columns) });
        assert_eq!(claim(&columns, 0), Err(ClaimError::ColumnLimit(4)));
        let day = 86_400_000_000_000;
        assert_eq!(claim(&[], 0), Ok(()));
        assert_eq!(claim(&[], day), Ok(()));
        assert_eq!(claim(&[], 2 * day), Err(ClaimError::PartitionLimit(2)));
    }

    #[test]
    fn a_line_that_no_new_table_could_hold_leaves_no_table_behind() {
        let registry = registry();
        let db = "public".into();
        for columns in [
            &[("a\u{202e}", ColumnType::Float)][..],
            &[("v", ColumnType::Float), ("V", ColumnType::Float)],
            &[("TIME", ColumnType::Float)],
            &["a", "b", "c", "d"].map(|name| (name, ColumnType::Float)),
        ] {
            assert!(
                registry.table_or_claim(&db, "t", &policy(), &claim_of(columns), 0).is_err(),
                "{columns:?}"
            );
        }
        assert!(registry.all().is_empty());
    }

    #[test]
    fn where_columns_may_not_be_added_the_first_line_of_a_table_still_brings_its_own() {
        let registry = registry();
        let claim = |name| Claim { may_add_columns: false, ..claim_of(name) };
        let first = [("v", ColumnType::Float)];
        let first = claim(&first);
        let table = registry.table_or_claim(&"public".into(), "t", &policy(), &first, 0).unwrap();
        assert_eq!(registry.claim(&table, &first), Ok(()));
        let second = [("w", ColumnType::Float)];
        let second = registry.claim(&table, &claim(&second));
        assert!(matches!(second, Err(ClaimError::NewColumnsOff { .. })));
        assert!(table.schema().get("w").is_none());
    }

    #[test]
    fn a_dropped_tables_name_is_free_and_its_id_is_not() {
        let registry = registry();
        let db = "public".into();
        let old = registry.table_or_claim(&db, "t", &policy(), &claim_of(&[]), 0).unwrap();
        registry.drop_table(old.id());
        let new = registry.table_or_claim(&db, "t", &policy(), &claim_of(&[]), 0).unwrap();
        assert_ne!(old.id(), new.id());
        assert!(old.is_dropped() && registry.epoch() == 1);
    }
}
