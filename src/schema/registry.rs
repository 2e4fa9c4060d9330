//! The names of a server and the claims on them.

use super::version::Version;
use super::{
    AlterError, Alteration, Column, ColumnDef, Dedup, DedupRule, Definition, Keys, Schema, Shape,
    Table, TableChange, TableDef, TableOptions, check_column_name, check_table_name,
};
use crate::types::{ColumnId, ColumnType, PartitionBy, TableId};
use dashmap::{DashMap, Entry};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

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
    /// What becomes of its duplicates.
    pub dedup: Dedup,
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

/// Why a table is not created.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateError {
    /// One of this name, or of one that differs by case only, is there.
    #[error("table '{}' exists", .0.def().name)]
    Exists(Arc<Table>),
    /// A name breaks a rule, or there is no room.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The rule for duplicates names what is not there.
    #[error(transparent)]
    Dedup(#[from] AlterError),
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
    /// Rises with every drop and change; sessions that see it rise forget what holds no more.
    epoch: Version,
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
            epoch: Version::new(),
            limits,
        }
    }

    /// Puts back a table that catalog or log know. At a start only, before any listener opens.
    ///
    /// # Panics
    /// When the id or the name is already there.
    pub fn restore(&self, shape: Shape) -> Arc<Table> {
        let Shape { def, columns, rules, next_column, .. } = shape;
        self.never_reuse(def.id);
        let (key, id) = (key(&def.database, &def.name), def.id);
        let table = Arc::new(Table::new(def, columns, next_column, true));
        rules.iter().for_each(|(_, rule)| table.note_rule(rule));
        let old = self.by_id.insert(id, table.clone());
        assert!(old.is_none(), "table id {id} restored twice");
        let old = self.tables.insert(key, table.clone());
        assert!(old.is_none(), "table {:?} restored twice", table.def().name);
        self.count.fetch_add(1, Ordering::Relaxed);
        *self.counts.entry(table.def().database.clone()).or_default() += 1;
        table
    }

    /// Keeps an id, and all before it, from being given out again.
    pub fn never_reuse(&self, id: TableId) {
        self.next_id.fetch_max(id.0 + 1, Ordering::Relaxed);
    }

    /// The table of this name.
    pub fn get(&self, database: &Arc<str>, name: &str) -> Option<Arc<Table>> {
        let table = self.tables.get(&key(database, name))?;
        (*table.def().name == *name).then(|| table.clone())
    }

    /// The table of this name, or of one that differs from it by case only.
    pub fn get_folded(&self, database: &Arc<str>, name: &str) -> Option<Arc<Table>> {
        self.tables.get(&key(database, name)).map(|table| table.clone())
    }

    /// The table with this id, dropped ones excluded.
    pub fn by_id(&self, id: TableId) -> Option<Arc<Table>> {
        self.by_id.get(&id).map(|t| t.clone())
    }

    /// All tables, in no order.
    pub fn all(&self) -> Vec<Arc<Table>> {
        self.by_id.iter().map(|t| t.value().clone()).collect()
    }

    /// Rises with every drop and change.
    pub fn epoch(&self) -> u64 {
        self.epoch.get()
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
        match self.tables.entry(key(database, name)) {
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
                    time_place: u32::MAX,
                    created: now,
                    options: TableOptions { dedup: policy.dedup.clone(), ..Default::default() },
                };
                self.new_columns(&Table::new(def.clone(), Vec::new(), ColumnId(1), false), first)?;
                self.count_one_more(database)?;
                def.id = TableId(self.next_id.fetch_add(1, Ordering::Relaxed));
                let table = Arc::new(Table::new(def, Vec::new(), ColumnId(1), false));
                self.by_id.insert(table.id(), table.clone());
                entry.insert(table.clone());
                Ok(table)
            }
        }
    }

    /// Claims a new table with all its columns; its id and theirs are given here, and so is what `rule` comes to.
    ///
    /// # Errors
    /// A table of that name, or of one that differs by case only, is there; a name breaks a rule; a limit is reached.
    pub fn create(
        &self,
        mut def: TableDef,
        columns: &[(&str, ColumnType)],
        rule: &DedupRule,
    ) -> Result<Arc<Table>, CreateError> {
        check_table_name(&def.name, self.limits.name_bytes).map_err(ClaimError::TableName)?;
        check_column_name(&def.time_column, self.limits.name_bytes)
            .map_err(|fault| ClaimError::ColumnName { name: def.time_column.to_string(), fault })?;
        let none = Table::new(def.clone(), Vec::new(), ColumnId(1), false);
        let columns = self.new_columns(&none, &added(columns))?;
        none.extend(&columns, false);
        def.options.dedup = self.dedup(&def.time_column, &none.schema(), rule)?;
        match self.tables.entry(key(&def.database, &def.name)) {
            Entry::Occupied(entry) => Err(CreateError::Exists(entry.get().clone())),
            Entry::Vacant(entry) => {
                self.count_one_more(&def.database)?;
                def.id = TableId(self.next_id.fetch_add(1, Ordering::Relaxed));
                let table = Arc::new(Table::new(def, columns, ColumnId(1), false));
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

    /// Makes a change of a table that exists, and hands it to `log` while no claim of this table can come between: whoever
    /// learns of the change logs what follows from it later. Definitions that the log may not have go before the change; columns that
    /// are added are nothing else. Returns false when there was nothing to change.
    ///
    /// # Errors
    /// The change is not possible; nothing has changed.
    pub fn alter(
        &self,
        table: &Table,
        change: &TableChange,
        log: impl FnOnce(Vec<Definition>, Option<Alteration>),
    ) -> Result<bool, AlterError> {
        let claims = table.claims();
        if table.is_dropped() {
            return Err(ClaimError::Dropped.into());
        }
        // What the log must know first: an id that it never heard of could be given out again.
        let mut definitions = table.unlogged();
        let alteration = match change {
            TableChange::AddColumns { columns, if_not_exists } => {
                let mut new: Vec<(&str, ColumnType)> = Vec::new();
                for (name, ty) in columns {
                    let is_there = table.schema().get_folded(name).is_some();
                    if is_there && !if_not_exists {
                        return Err(AlterError::NameTaken(name.clone()));
                    }
                    if !is_there {
                        new.push((name, *ty));
                    }
                }
                let new = self.new_columns(table, &added(&new))?;
                if new.is_empty() {
                    return Ok(false);
                }
                table.extend(&new, false);
                definitions = table.unlogged();
                None
            }
            TableChange::Rename(name) => Some(self.rename(table, name)?),
            TableChange::DropColumn { name, if_exists: true }
                if self.column(table, name).err() == Some(AlterError::NoColumn(name.clone())) =>
            {
                return Ok(false);
            }
            TableChange::DropColumn { name, .. } => {
                let column = self.changeable(table, name, "dropped")?;
                self.replace_column(table, &column, None);
                Some(Alteration::DropColumn(column.id()))
            }
            TableChange::RenameColumn { from, to } => {
                let column = self.column(table, from)?;
                let name: Arc<str> = to.as_str().into();
                let folds = column.def.name.to_lowercase() == name.to_lowercase();
                check_column_name(&name, self.limits.name_bytes)
                    .map_err(|fault| ClaimError::ColumnName { name: to.clone(), fault })?;
                let is_taken = table.schema().get_folded(&name).is_some() && !folds;
                if is_taken || name.to_lowercase() == table.def().time_column.to_lowercase() {
                    return Err(AlterError::NameTaken(to.clone()));
                }
                let def = ColumnDef { name: name.clone(), ..column.def.clone() };
                let renamed = Column::new(def, column.is_logged());
                self.replace_column(table, &column, Some(renamed));
                Some(Alteration::RenameColumn { column: column.id(), name })
            }
            TableChange::RetypeColumn { name, ty } => {
                let column = self.column(table, name)?;
                if column.ty() == *ty {
                    return Ok(false);
                }
                let column = self.changeable(table, name, "given another type")?;
                let by_tags = |rule: &Dedup| rule.keys() == Some(&Keys::Tags);
                if *ty == ColumnType::Tag && table.was_under(by_tags) {
                    return Err(AlterError::Key(name.clone(), "made a tag"));
                }
                if column.ty() == ColumnType::Array || *ty == ColumnType::Array {
                    return Err(AlterError::Array(name.clone()));
                }
                if table.was_under(|rule| *rule == Dedup::Merge)
                    && !always_converts(column.ty(), *ty)
                {
                    return Err(AlterError::Lossy(name.clone()));
                }
                let id = table.schema().next_id();
                let to = ColumnDef { id, name: column.def.name.clone(), ty: *ty };
                self.replace_column(table, &column, Some(Column::new(to.clone(), false)));
                Some(Alteration::RetypeColumn { column: column.id(), to })
            }
            TableChange::Dedup(rule) => {
                let dedup = self.dedup(&table.def().time_column, &table.schema(), rule)?;
                self.set(table, |options| options.dedup = dedup)
            }
            TableChange::TtlS(ttl) => self.set(table, |options| options.ttl_s = *ttl),
            TableChange::O3MaxLagMs(lag) => self.set(table, |options| options.o3_max_lag_ms = *lag),
            TableChange::SegmentRows(rows) => {
                self.set(table, |options| options.segment_rows = *rows)
            }
        };
        if alteration.is_none() && !matches!(change, TableChange::AddColumns { .. }) {
            return Ok(false);
        }
        log(definitions, alteration);
        self.epoch.rise();
        drop(claims);
        Ok(true)
    }

    /// Changes options; `None` when they are so already.
    fn set(&self, table: &Table, change: impl FnOnce(&mut TableOptions)) -> Option<Alteration> {
        let def = table.def();
        let mut options = def.options.clone();
        change(&mut options);
        if options == def.options {
            return None;
        }
        table.redefine(TableDef { options: options.clone(), ..TableDef::clone(&def) });
        Some(Alteration::Options(options))
    }

    /// A rule for duplicates by the ids of its keys.
    fn dedup(
        &self,
        time_column: &Arc<str>,
        schema: &Schema,
        rule: &DedupRule,
    ) -> Result<Dedup, AlterError> {
        let names = match rule {
            DedupRule::Append => return Ok(Dedup::Append),
            DedupRule::Merge => return Ok(Dedup::Merge),
            DedupRule::ReplaceByTags => return Ok(Dedup::Replace(Keys::Tags)),
            DedupRule::Replace(names) => names,
        };
        let is_time = |name: &str| name.to_lowercase() == time_column.to_lowercase();
        if !names.iter().any(|name| is_time(name)) {
            return Err(AlterError::KeysWithoutTime(time_column.clone()));
        }
        let column = |name: &String| {
            let found = schema.get(name).or_else(|| schema.get_folded(name));
            match found {
                None => Err(AlterError::NoColumn(name.clone())),
                Some(found) if found.ty() == ColumnType::Array => {
                    Err(AlterError::Array(name.clone()))
                }
                Some(found) => Ok(found.id()),
            }
        };
        let keys = names.iter().filter(|name| !is_time(name)).map(column);
        let mut keys = keys.collect::<Result<Vec<ColumnId>, AlterError>>()?;
        keys.sort_unstable();
        keys.dedup();
        Ok(Dedup::Replace(Keys::Columns(keys)))
    }

    fn rename(&self, table: &Table, name: &str) -> Result<Alteration, AlterError> {
        check_table_name(name, self.limits.name_bytes).map_err(ClaimError::TableName)?;
        let def = table.def();
        let (old, new) = (key(&def.database, &def.name), key(&def.database, name));
        let by_id = self.by_id(table.id()).ok_or(ClaimError::Dropped)?;
        if old != new {
            match self.tables.entry(new) {
                Entry::Occupied(_) => return Err(AlterError::NameTaken(name.to_owned())),
                Entry::Vacant(entry) => drop(entry.insert(by_id)),
            }
        }
        let name: Arc<str> = name.into();
        table.redefine(TableDef { name: name.clone(), ..TableDef::clone(&def) });
        if key(&def.database, &name) != old {
            self.tables.remove(&old);
        }
        Ok(Alteration::Rename(name))
    }

    /// A column by name, or by one that differs by case only.
    fn column(&self, table: &Table, name: &str) -> Result<Arc<Column>, AlterError> {
        if name.to_lowercase() == table.def().time_column.to_lowercase() {
            return Err(AlterError::Designated);
        }
        let schema = table.schema();
        let column = schema.get(name).or_else(|| schema.get_folded(name));
        column.cloned().ok_or_else(|| AlterError::NoColumn(name.to_owned()))
    }

    /// A column that no rule for duplicates needs: neither the one in force nor one that rows of before are under, which are told
    /// apart on reading.
    fn changeable(
        &self,
        table: &Table,
        name: &str,
        verb: &'static str,
    ) -> Result<Arc<Column>, AlterError> {
        let column = self.column(table, name)?;
        let is_key = table.was_under(|rule| match rule.keys() {
            None => false,
            Some(Keys::Tags) => column.ty() == ColumnType::Tag,
            Some(Keys::Columns(keys)) => keys.contains(&column.id()),
        });
        if is_key { Err(AlterError::Key(name.to_owned(), verb)) } else { Ok(column) }
    }

    /// Takes a column out and puts one in, under the same or a new id.
    fn replace_column(&self, table: &Table, old: &Column, new: Option<Column>) {
        let schema = table.schema();
        let kept = schema.columns().iter().filter(|column| column.id() != old.id()).cloned();
        table.reshape(kept.chain(new.map(Arc::new)).collect(), schema.next_id());
    }

    /// Frees a dropped table's name. The drop is already in the log.
    pub fn drop_table(&self, id: TableId) {
        if let Some((_, table)) = self.by_id.remove(&id) {
            let claims = table.claims();
            table.mark_dropped();
            let def = table.def();
            drop(claims);
            self.tables.remove_if(&key(&def.database, &def.name), |_, t| t.id() == id);
            self.count.fetch_sub(1, Ordering::Relaxed);
            if let Some(mut count) = self.counts.get_mut(&def.database) {
                *count -= 1;
            }
            self.epoch.rise();
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

/// True when no value of the one type is without one of the other.
fn always_converts(from: ColumnType, to: ColumnType) -> bool {
    match to {
        ColumnType::String => true,
        ColumnType::Float => {
            matches!(from, ColumnType::Integer | ColumnType::Unsigned | ColumnType::Boolean)
        }
        ColumnType::Integer => matches!(from, ColumnType::Timestamp | ColumnType::Boolean),
        ColumnType::Timestamp => from == ColumnType::Integer,
        _ => false,
    }
}

/// What a statement claims: columns, and no row.
fn added<'a>(columns: &'a [(&'a str, ColumnType)]) -> Claim<'a> {
    Claim { columns, time: 0, may_add_columns: true }
}

fn key(database: &Arc<str>, name: &str) -> (Arc<str>, String) {
    (database.clone(), name.to_lowercase())
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
        let dedup = Dedup::Append;
        TablePolicy { partition_by: PartitionBy::Day, time_column: "time".into(), dedup }
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
