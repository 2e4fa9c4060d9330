//! What the server says of itself in SQL: `tables()`, `wal_tables()`, `wal_transactions('t')`, `table_columns('t')`,
//! `table_partitions('t')`.
//!
//! Column names are those that QuestDB's users know, in QuestDB's spelling, followed by ours in ours.
//! `tables()` is of the request's database; `wal_tables()` of all.

use super::format::questdb_type;
use super::schemas::Databases;
use super::{TableStatus, Transaction};
use crate::schema::{Dedup, Keys};
use crate::storage::{Snapshot, TableDir};
use crate::types::{ColumnId, ColumnType, PartitionKey};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampNanosecondArray,
};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::Expr;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

const FUNCTIONS: [(&str, View); 5] = [
    ("tables", View::Tables),
    ("wal_tables", View::WalTables),
    ("wal_transactions", View::Transactions),
    ("table_columns", View::Columns),
    ("table_partitions", View::Partitions),
];

/// True for the name of a table function.
pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// The table functions, by name, as one query has them.
pub(super) fn functions(
    databases: &Databases,
    database: &str,
) -> [(&'static str, Arc<dyn TableFunctionImpl>); 5] {
    FUNCTIONS.map(|(name, view)| {
        let view = SystemView { view, databases: databases.clone(), database: database.to_owned() };
        (name, Arc::new(view) as Arc<dyn TableFunctionImpl>)
    })
}

struct SystemView {
    view: View,
    databases: Databases,
    database: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum View {
    Tables,
    WalTables,
    Transactions,
    Columns,
    Partitions,
}

impl fmt::Debug for SystemView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

impl TableFunctionImpl for SystemView {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let batch = match self.view {
            View::Tables | View::WalTables if !args.exprs().is_empty() => {
                return plan_err!("tables() and wal_tables() take no argument");
            }
            View::Tables => self.tables()?,
            View::WalTables => wal_tables(&self.databases.source().table_status())?,
            View::Transactions => {
                let name = name_of(args.exprs())?;
                match self.databases.source().transactions(&self.database, name) {
                    Ok(all) => transactions(&all)?,
                    Err(error) => return plan_err!("{error}"),
                }
            }
            View::Columns => columns(self.named(args.exprs())?.snapshot())?,
            View::Partitions => partitions(self.named(args.exprs())?.snapshot())?,
        };
        Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
    }
}

impl SystemView {
    /// The table that the one argument names.
    fn named(&self, arguments: &[Expr]) -> Result<Arc<super::table::SnapshotTable>> {
        let name = name_of(arguments)?;
        match self.databases.table(&self.database, name) {
            Some(table) => Ok(table),
            None => plan_err!("table '{name}' does not exist"),
        }
    }

    fn tables(&self) -> Result<RecordBatch> {
        let source = self.databases.source();
        let status = source.table_status().into_iter().filter(|s| *s.database == *self.database);
        let rows: Vec<(TableStatus, Arc<super::table::SnapshotTable>)> = status
            .filter_map(|s| Some((self.databases.table(&self.database, &s.name)?, s)))
            .map(|(table, status)| (status, table))
            .collect();
        let shapes = || rows.iter().map(|(_, table)| table.snapshot().schema.shape());
        let defs = || shapes().map(|shape| &shape.def);
        let snapshots = || rows.iter().map(|(_, table)| table.snapshot());
        let status = || rows.iter().map(|(status, _)| status);
        batch([
            ("id", integers(defs().map(|def| u64::from(def.id.0)))),
            ("table_name", strings(defs().map(|def| &*def.name))),
            ("designatedTimestamp", strings(defs().map(|def| &*def.time_column))),
            ("partitionBy", strings(defs().map(|def| def.partition_by.to_string()))),
            ("walEnabled", booleans(rows.iter().map(|_| true))),
            ("dedup", booleans(defs().map(|def| def.options.dedup != Dedup::Append))),
            ("directoryName", strings(shapes().map(TableDir::name))),
            ("duplicates", strings(defs().map(|def| duplicates(&def.options.dedup)))),
            ("ttlSeconds", maybe(defs().map(|def| def.options.ttl_s))),
            (
                "o3MaxLag",
                maybe(
                    defs().map(|def| def.options.o3_max_lag_ms.map(|ms| ms.saturating_mul(1000))),
                ),
            ),
            ("walSegmentRolloverRowCount", maybe(defs().map(|def| def.options.segment_rows))),
            ("table_suspended", booleans(status().map(|s| s.suspended.is_some()))),
            ("table_row_count", integers(snapshots().map(Snapshot::rows))),
            ("table_min_timestamp", times(snapshots().map(|s| times_of(s).map(|t| t.0)))),
            ("table_max_timestamp", times(snapshots().map(|s| times_of(s).map(|t| t.1)))),
            ("table_txn", integers(snapshots().map(|s| s.applied_txn.0))),
            ("table_memory_pressure_level", levels(status())),
            ("wal_txn", integers(status().map(|s| s.seq_txn.0))),
            ("wal_pending_row_count", integers(status().map(|s| s.lag_rows))),
            ("database", strings(defs().map(|def| &*def.database))),
        ])
    }
}

fn name_of(arguments: &[Expr]) -> Result<&String> {
    match arguments {
        [Expr::Literal(ScalarValue::Utf8(Some(name)), _)]
        | [Expr::Literal(ScalarValue::Utf8View(Some(name)), _)] => Ok(name),
        _ => plan_err!("one argument is expected: the name of a table in single quotes"),
    }
}

fn transactions(all: &[Transaction]) -> Result<RecordBatch> {
    let numbers = |of: fn(&Transaction) -> Option<u32>| {
        let all = all.iter().map(|txn| of(txn).and_then(|n| i32::try_from(n).ok()));
        Arc::new(all.collect::<Int32Array>()) as ArrayRef
    };
    let commands = all.iter().map(|txn| txn.command).collect::<Int16Array>();
    let state = |txn: &Transaction| if txn.is_applied { "applied" } else { "waiting" };
    batch([
        ("sequencerTxn", integers(all.iter().map(|txn| txn.seq_txn.0))),
        ("timestamp", times(all.iter().map(|txn| Some(txn.at)))),
        ("walId", numbers(|txn| txn.place.map(|place| place.0.0))),
        ("segmentId", numbers(|txn| txn.place.map(|place| place.1.0))),
        ("segmentTxn", numbers(|txn| txn.place_in_segment)),
        ("structureVersion", maybe(all.iter().map(|txn| txn.structure_version))),
        ("minTimestamp", times(all.iter().map(|txn| txn.times.map(|times| times.0)))),
        ("maxTimestamp", times(all.iter().map(|txn| txn.times.map(|times| times.1)))),
        ("rowCount", maybe(all.iter().map(|txn| txn.rows))),
        ("alterCommandType", Arc::new(commands)),
        ("kind", strings(all.iter().map(|txn| txn.kind))),
        ("state", strings(all.iter().map(state))),
    ])
}

fn wal_tables(all: &[TableStatus]) -> Result<RecordBatch> {
    let text = |of: fn(&super::Suspension) -> &String| {
        strings(all.iter().map(|s| s.suspended.as_ref().map_or("", |why| of(why))))
    };
    let lag = |s: &TableStatus| s.seq_txn.0.saturating_sub(s.applied_txn.0);
    batch([
        ("name", strings(all.iter().map(|s| &*s.name))),
        ("suspended", booleans(all.iter().map(|s| s.suspended.is_some()))),
        ("writerTxn", integers(all.iter().map(|s| s.applied_txn.0))),
        (
            "bufferedTxnSize",
            integers(all.iter().map(|s| s.applied_txn.0.saturating_sub(s.flushed_txn.0))),
        ),
        ("sequencerTxn", integers(all.iter().map(|s| s.seq_txn.0))),
        ("errorTag", text(|why| &why.tag)),
        ("errorMessage", text(|why| &why.message)),
        ("memoryPressure", levels(all.iter())),
        ("last_applied_seqtxn", integers(all.iter().map(|s| s.applied_txn.0))),
        ("last_committed_seqtxn", integers(all.iter().map(|s| s.seq_txn.0))),
        ("flushed_txn", integers(all.iter().map(|s| s.flushed_txn.0))),
        ("lag_transactions", integers(all.iter().map(lag))),
        ("lag_rows", integers(all.iter().map(|s| s.lag_rows))),
        (
            "lag_time",
            Arc::new(all.iter().map(|s| Some(s.lag_time.as_secs_f64())).collect::<Float64Array>()),
        ),
        ("skipped_transactions", integers(all.iter().map(|s| s.skipped_txns))),
        ("database", strings(all.iter().map(|s| &*s.database))),
    ])
}

/// A rule for duplicates as the configuration calls it.
fn duplicates(dedup: &Dedup) -> &'static str {
    match dedup {
        Dedup::Append => "append",
        Dedup::Replace(_) => "replace",
        Dedup::Merge => "merge",
    }
}

fn columns(snapshot: &Snapshot) -> Result<RecordBatch> {
    let schema = &snapshot.schema;
    let def = schema.def();
    let names = schema.columns().iter().map(|c| &*c.name).chain([&*def.time_column]);
    let kinds = schema.columns().iter().map(|c| c.ty.name()).chain(["timestamp"]);
    let ids = schema.columns().iter().map(|c| c.id).chain([ColumnId::TIME]);
    let fields = schema.arrow_schema().fields();
    let is_time = |n: usize| n + 1 == fields.len();
    let is_key = |n: usize| match (def.options.dedup.keys(), schema.columns().get(n)) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(Keys::Tags), Some(column)) => column.ty == ColumnType::Tag,
        (Some(Keys::Columns(keys)), Some(column)) => keys.contains(&column.id),
    };
    batch([
        ("column", strings(names)),
        ("type", strings(fields.iter().map(|field| questdb_type(field.data_type())))),
        ("indexed", booleans(fields.iter().map(|_| false))),
        ("designated", booleans((0..fields.len()).map(is_time))),
        ("upsertKey", booleans((0..fields.len()).map(is_key))),
        ("kind", strings(kinds)),
        ("id", integers(ids.map(|id| u64::from(id.0)))),
    ])
}

/// What one partition holds.
#[derive(Clone, Copy)]
struct Held {
    rows: u64,
    tail_rows: u64,
    bytes: u64,
    parts: u64,
    /// The lowest and the highest level of its parts.
    levels: Option<(u8, u8)>,
    min_time: i64,
    max_time: i64,
}

const NOTHING: Held = Held {
    rows: 0,
    tail_rows: 0,
    bytes: 0,
    parts: 0,
    levels: None,
    min_time: i64::MAX,
    max_time: i64::MIN,
};

fn partitions(snapshot: &Snapshot) -> Result<RecordBatch> {
    let mut all: BTreeMap<PartitionKey, Held> = BTreeMap::new();
    for meta in snapshot.parts.iter().map(|part| part.meta()) {
        let held = all.entry(meta.id.partition).or_insert(NOTHING);
        held.rows += meta.rows;
        held.bytes += meta.bytes;
        held.parts += 1;
        let level = meta.id.level;
        let (low, high) = held.levels.unwrap_or((level, level));
        held.levels = Some((low.min(level), high.max(level)));
        held.min_time = held.min_time.min(meta.min_time);
        held.max_time = held.max_time.max(meta.max_time);
    }
    for (key, runs) in snapshot.tails().flat_map(|tail| tail.partitions()) {
        let held = all.entry(*key).or_insert(NOTHING);
        for run in runs.iter() {
            held.rows += run.rows() as u64;
            held.tail_rows += run.rows() as u64;
            held.min_time = held.min_time.min(run.min_time());
            held.max_time = held.max_time.max(run.max_time());
        }
    }
    let by = snapshot.schema.def().partition_by;
    let name = |key: &PartitionKey| {
        let folder = by.folder(*key);
        folder.split_once('=').map_or(folder.clone(), |(_, value)| value.to_owned())
    };
    let last = all.len().saturating_sub(1);
    batch([
        ("index", integers(0..all.len() as u64)),
        ("partitionBy", strings(all.keys().map(|_| by.to_string()))),
        ("name", strings(all.keys().map(name))),
        ("minTimestamp", times(all.values().map(|held| Some(held.min_time)))),
        ("maxTimestamp", times(all.values().map(|held| Some(held.max_time)))),
        ("numRows", integers(all.values().map(|held| held.rows))),
        ("diskSize", integers(all.values().map(|held| held.bytes))),
        ("diskSizeHuman", strings(all.values().map(|held| human(held.bytes)))),
        ("active", booleans((0..all.len()).map(|index| index == last))),
        ("isParquet", booleans(all.values().map(|held| held.tail_rows == 0))),
        ("parts", integers(all.values().map(|held| held.parts))),
        ("unflushedRows", integers(all.values().map(|held| held.tail_rows))),
        ("minLevel", maybe(all.values().map(|held| held.levels.map(|levels| u64::from(levels.0))))),
        ("maxLevel", maybe(all.values().map(|held| held.levels.map(|levels| u64::from(levels.1))))),
    ])
}

/// The times of a snapshot's first and last row.
fn times_of(snapshot: &Snapshot) -> Option<(i64, i64)> {
    let parts = snapshot.parts.iter().map(|part| (part.meta().min_time, part.meta().max_time));
    let runs = snapshot.tails().flat_map(|tail| tail.partitions().values());
    let runs = runs.flat_map(|runs| runs.iter().map(|run| (run.min_time(), run.max_time())));
    parts.chain(runs).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn human(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn strings(values: impl Iterator<Item = impl AsRef<str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// Counts as signed integers, which is what every client has.
fn integers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(|n| i64::try_from(n).unwrap_or(i64::MAX))))
}

/// Counts that need not be there.
fn maybe(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    let signed = values.map(|n| n.map(|n| i64::try_from(n).unwrap_or(i64::MAX)));
    Arc::new(signed.collect::<Int64Array>())
}

fn levels<'a>(all: impl Iterator<Item = &'a TableStatus>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(all.map(|s| i32::from(s.memory_pressure))))
}

fn booleans(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<BooleanArray>())
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampNanosecondArray>())
}
