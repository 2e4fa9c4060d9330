//! Databases as SQL schemas of one catalog, seen by one query: the first look at a table fixes what the query sees of it.

use super::rejected::{self, REJECTED_LINES};
use super::table::SnapshotTable;
use super::{SYSTEM_DATABASE, Source};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The name of the one catalog.
pub(super) const CATALOG: &str = "headwater";

/// Every database of a [`Source`], for one query.
#[derive(Clone)]
pub(super) struct Databases(Arc<Seen>);

struct Seen {
    source: Arc<dyn Source>,
    /// What the query has looked at, by database and table.
    tables: Mutex<HashMap<(String, String), Arc<SnapshotTable>>>,
}

impl Databases {
    pub(super) fn new(source: Arc<dyn Source>) -> Databases {
        Databases(Arc::new(Seen { source, tables: Mutex::default() }))
    }

    pub(super) fn source(&self) -> &Arc<dyn Source> {
        &self.0.source
    }

    /// The table as this query sees it, by its name or by one that differs from it by case only: no two tables of a database
    /// have such names.
    pub(super) fn table(&self, database: &str, name: &str) -> Option<Arc<SnapshotTable>> {
        let key = (database.to_owned(), name.to_owned());
        let mut seen = self.0.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = seen.get(&key) {
            return Some(table.clone());
        }
        let source = &self.0.source;
        let snapshot = source.snapshot(database, name).or_else(|| {
            let folded = name.to_lowercase();
            let tables = source.tables(database);
            let other = tables.iter().find(|other| other.to_lowercase() == folded)?;
            source.snapshot(database, other)
        })?;
        // The same table under two spellings is one snapshot.
        let id = snapshot.schema.def().id;
        let table = match seen.values().find(|table| table.id() == id) {
            Some(table) => table.clone(),
            None => Arc::new(SnapshotTable::new(snapshot)),
        };
        seen.insert(key, table.clone());
        Some(table)
    }
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Databases")
    }
}

impl CatalogProviderList for Databases {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for Databases {
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.0.source.databases();
        names.push(SYSTEM_DATABASE.to_owned());
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        Some(Arc::new(Database { databases: self.clone(), name: name.to_owned() }))
    }
}

/// One database, for one query.
#[derive(Debug)]
struct Database {
    databases: Databases,
    name: String,
}

#[async_trait]
impl SchemaProvider for Database {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.databases.0.source.tables(&self.name);
        if self.name == SYSTEM_DATABASE {
            names.push(REJECTED_LINES.to_owned());
        }
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.is_rejected_lines(name) {
            let lines = self.databases.0.source.rejected_lines();
            return Ok(Some(Arc::new(rejected::table(&lines)?)));
        }
        let table = self.databases.table(&self.name, name);
        Ok(table.map(|table| table as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.is_rejected_lines(name) || self.databases.table(&self.name, name).is_some()
    }
}

impl Database {
    fn is_rejected_lines(&self, name: &str) -> bool {
        self.name == SYSTEM_DATABASE && name == REJECTED_LINES
    }
}
