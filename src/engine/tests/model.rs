//! What was sent, what was acknowledged, and what a table must therefore hold.

use crate::engine::{DEFAULT_DATABASE, Engine};
use crate::hooks::REPORTS_TABLE;
use crate::io::sim::Rng;
use crate::storage::Snapshot;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::{BTreeMap, BTreeSet};

/// Tables whose rows count; a row's table follows from its number.
pub(super) const TABLES: u64 = 3;
/// The table that is dropped now and then: its rows are nobody's promise.
pub(super) const DOOMED: &str = "doomed";
const HOUR: i64 = 3_600_000_000_000;

/// What is known of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// Rows given to the session, numbered from 0.
    pub(super) sent: u64,
    /// Rows that must be there: acknowledged, or seen after a recovery.
    pub(super) floor: u64,
    /// As many of them as the power cannot take. Under `nosync` a killed process leaves rows that only the kernel has, until
    /// the next start has them synced.
    pub(super) durable: u64,
    /// Rows acknowledged in this life.
    pub(super) acked: u64,
}

/// All connections of all lives.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Without syncs of the log, a power cut may leave a flushed table ahead of the others: a connection then keeps a prefix in each
    /// table, and reports of what the log has lost are lost with it.
    pub(super) by_table: bool,
    pub(super) connections: BTreeMap<u64, Sent>,
}

/// A row as the model sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Row {
    connection: u64,
    number: u64,
}

/// The value that belongs to a row and to no other.
pub(super) fn check_value(connection: u64, number: u64) -> i64 {
    (Rng::new(connection << 32 | number).next_u64() >> 2) as i64
}

/// The table of a row.
pub(super) fn table_of(connection: u64, number: u64) -> u64 {
    Rng::new(connection.wrapping_mul(31) + number).below(TABLES)
}

/// The line of a row.
pub(super) fn line(connection: u64, number: u64, table: &str) -> String {
    let check = check_value(connection, number);
    let time = (number % 3) as i64 * HOUR + (connection * 1000 + number) as i64;
    let extra = match number % 7 {
        3 => format!(",x{}=1.5", connection % 5),
        5 => format!(",s=\"text of {number}\""),
        _ => String::new(),
    };
    let host = number % 4;
    format!("{table},host=h{host} c={connection}i,n={number}i,check={check}i{extra} {time}\n")
}

impl Model {
    /// Holds every table to what was promised. Everything that is committed has been applied.
    pub(super) fn check(&self, engine: &Engine) -> Result<BTreeMap<u64, u64>, String> {
        let mut seen: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for table in 0..TABLES {
            let name = format!("t{table}");
            for row in rows(engine, &name)? {
                let Row { connection, number } = row;
                if table_of(connection, number) != table {
                    return Err(format!("{row:?} is in {name}"));
                }
                if !seen.entry(connection).or_default().insert(number) {
                    return Err(format!("{row:?} is there twice"));
                }
            }
        }
        rows(engine, DOOMED)?;
        for (connection, numbers) in &seen {
            let known = self.connections.get(connection);
            let known = known.ok_or_else(|| format!("nobody is connection {connection}"))?;
            let count = numbers.len() as u64;
            if self.by_table {
                let hole = (0..TABLES).find_map(|table| hole_in(table, *connection, numbers));
                hole.map_or(Ok(()), |n| Err(format!("connection {connection} lacks row {n}")))?;
            } else if numbers.last().is_some_and(|last| last + 1 != count) {
                let hole = (0..).find(|n| !numbers.contains(n));
                return Err(format!("connection {connection} lacks row {hole:?} of {numbers:?}"));
            }
            if count > known.sent {
                return Err(format!("connection {connection} has {count} rows: {known:?}"));
            }
        }
        for (connection, known) in &self.connections {
            let count = seen.get(connection).map_or(0, without_hole);
            if count < known.floor {
                return Err(format!("connection {connection} kept {count} rows: {known:?}"));
            }
        }
        Ok(seen.iter().map(|(connection, rows)| (*connection, without_hole(rows))).collect())
    }

    /// What is there now was seen by readers: it stays. Nobody of an earlier life sends any more.
    pub(super) fn settle(&mut self, seen: &BTreeMap<u64, u64>) {
        for (connection, known) in &mut self.connections {
            let count = seen.get(connection).copied().unwrap_or(0);
            let sent = if self.by_table { known.sent } else { count };
            *known = Sent { sent, floor: count, durable: count, acked: 0 };
        }
    }

    /// Every row was reported once. All reports are made and applied.
    pub(super) fn check_reports(&self, engine: &Engine) -> Result<(), String> {
        if self.by_table {
            return Ok(());
        }
        let mut reported: BTreeMap<String, i64> = BTreeMap::new();
        if let Some(snapshot) = engine.snapshot(DEFAULT_DATABASE, REPORTS_TABLE) {
            for_each_batch(&snapshot, &["table_name", "row_count"], |columns| {
                let counts = columns[1].as_primitive::<Int64Type>();
                for (row, name) in strings(&columns[0]).into_iter().enumerate() {
                    *reported.entry(name).or_default() += counts.value(row);
                }
            })?;
        }
        for table in (0..TABLES).map(|table| format!("t{table}")) {
            let rows = engine.snapshot(DEFAULT_DATABASE, &table).map_or(0, |s| s.rows());
            let counted = reported.get(&table).copied().unwrap_or(0);
            if counted != rows as i64 {
                return Err(format!("{table} has {rows} rows, and {counted} are reported"));
            }
        }
        Ok(())
    }
}

/// How many of the first rows are there.
fn without_hole(numbers: &BTreeSet<u64>) -> u64 {
    (0..).find(|n| !numbers.contains(n)).unwrap_or(0)
}

/// A row of one table that is missing although a later one of the same connection is in it.
fn hole_in(table: u64, connection: u64, numbers: &BTreeSet<u64>) -> Option<u64> {
    let of_table = |n: &u64| table_of(connection, *n) == table;
    let last = numbers.iter().copied().filter(of_table).max()?;
    (0..last).filter(of_table).find(|n| !numbers.contains(n))
}

/// Holds every row that can be read to its value, and says how many cannot be read. Rows may be missing, none may be there twice.
pub(super) fn check_values(engine: &Engine) -> Result<usize, String> {
    let (mut seen, mut unreadable) = (BTreeSet::new(), 0);
    for table in 0..TABLES {
        match rows(engine, &format!("t{table}")) {
            Ok(rows) => {
                let twice = rows.into_iter().find(|row| !seen.insert(*row));
                twice.map_or(Ok(()), |row| Err(format!("{row:?} is there twice")))?;
            }
            Err(what) if what.contains("another value") => return Err(what),
            Err(_) => unreadable += 1,
        }
    }
    Ok(unreadable)
}

/// The rows of a table, each with the right check value.
fn rows(engine: &Engine, table: &str) -> Result<Vec<Row>, String> {
    let Some(snapshot) = engine.snapshot(DEFAULT_DATABASE, table) else { return Ok(Vec::new()) };
    let (mut rows, mut wrong) = (Vec::new(), None);
    for_each_batch(&snapshot, &["c", "n", "check"], |columns| {
        let value = |column: usize, row| columns[column].as_primitive::<Int64Type>().value(row);
        for row in 0..columns[0].len() {
            let (connection, number) = (value(0, row) as u64, value(1, row) as u64);
            if value(2, row) != check_value(connection, number) {
                wrong = Some(format!("row {number} of connection {connection} has another value"));
            }
            rows.push(Row { connection, number });
        }
    })?;
    if rows.len() as u64 != snapshot.rows() {
        return Err(format!("{table} says {} rows and has {}", snapshot.rows(), rows.len()));
    }
    wrong.map_or(Ok(rows), Err)
}

/// Some columns of all parts and tails.
pub(super) fn for_each_batch(
    snapshot: &Snapshot,
    names: &[&str],
    mut each: impl FnMut(&[ArrayRef]),
) -> Result<(), String> {
    for part in snapshot.parts.iter() {
        let file = part.open().map_err(|e| e.to_string())?;
        file.verify(part.meta()).map_err(|e| e.to_string())?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| e.to_string())?;
        for batch in builder.build().map_err(|e| e.to_string())? {
            let batch = batch.map_err(|e| e.to_string())?;
            let columns = names.iter().map(|name| batch.column_by_name(name).cloned());
            let columns: Option<Vec<ArrayRef>> = columns.collect();
            each(&columns.ok_or("a part lacks a column")?);
        }
    }
    for tail in snapshot.tails() {
        for run in tail.partitions().values().flat_map(|runs| runs.iter()) {
            let columns = names.iter().map(|name| {
                let column = snapshot.schema.columns().iter().find(|c| *c.name == **name)?;
                match run.column(column.id) {
                    Some(values) => Some(values.clone()),
                    None => {
                        Some(std::sync::Arc::new(tail.series().tag_array(column.id, run.series()))
                            as ArrayRef)
                    }
                }
            });
            let columns: Option<Vec<ArrayRef>> = columns.collect();
            each(&columns.ok_or("a tail lacks a column")?);
        }
    }
    Ok(())
}

fn strings(column: &ArrayRef) -> Vec<String> {
    let plain = arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8);
    let plain = plain.expect("tags are text");
    plain.as_string::<i32>().iter().map(|s| s.unwrap_or_default().to_owned()).collect()
}
