//! An engine over a folder, statements for it, and the rows of a table as text.

use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::BytesMut;
use headwater::clock::Clock;
use headwater::codec::Precision;
use headwater::engine::{DEFAULT_DATABASE, Engine, EngineConfig, Origin, Session};
use headwater::io::Fs;
use headwater::query::{Command, CommandError, CreateTable, Value};
use headwater::schema::{DedupRule, TableChange};
use headwater::storage::{Resolved, Snapshot, Source};
use headwater::types::{ColumnId, ColumnType};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn open(dir: &Path) -> Arc<Engine> {
    open_with(dir, |_| {})
}

/// Without reports: their rows would come whenever a second is over.
pub(crate) fn config(dir: &Path) -> EngineConfig {
    let mut config = EngineConfig::new(dir);
    config.apply.workers = 2;
    config.hook.enabled = false;
    config
}

pub(crate) fn open_with(dir: &Path, change: impl FnOnce(&mut EngineConfig)) -> Arc<Engine> {
    let mut config = config(dir);
    change(&mut config);
    Engine::open(config, Fs::real(), Clock::real()).unwrap()
}

pub(crate) fn session(engine: &Engine) -> Session {
    let origin = Origin { peer: "test".into(), precision: Precision::Nanosecond };
    engine.session(DEFAULT_DATABASE.into(), origin)
}

/// Sends lines, waits until they are durable, and returns how many were refused.
pub(crate) fn send(session: &mut Session, lines: &(impl AsRef<[u8]> + ?Sized)) -> u64 {
    read(session, lines);
    commit(session)
}

/// Sends lines, which stay in flight.
pub(crate) fn read(session: &mut Session, lines: &(impl AsRef<[u8]> + ?Sized)) {
    block_on(session.ready());
    session.ingest(&mut BytesMut::from(lines.as_ref())).unwrap();
}

/// Commits what was read, waits until it is durable, and returns how many lines were refused.
pub(crate) fn commit(session: &mut Session) -> u64 {
    let ordinal = session.commit().unwrap();
    block_on(session.progress().reached(ordinal));
    session.take_counts().rejected
}

pub(crate) fn run(engine: &Engine, command: Command) -> Result<(), CommandError> {
    block_on(engine.source().execute(DEFAULT_DATABASE, command))
}

#[track_caller]
pub(crate) fn ok(engine: &Engine, command: Command) {
    let shown = format!("{command:?}");
    if let Err(error) = run(engine, command) {
        panic!("{shown}: {error}");
    }
}

pub(crate) fn alter(table: &str, change: TableChange) -> Command {
    Command::Alter { table: table.to_owned(), change }
}

pub(crate) fn drop_column(table: &str, name: &str) -> Command {
    alter(table, TableChange::DropColumn { name: name.to_owned(), if_exists: false })
}

pub(crate) fn truncate(table: &str) -> Command {
    Command::Truncate { if_exists: false, name: table.to_owned() }
}

pub(crate) fn rename(table: &str, to: &str) -> Command {
    alter(table, TableChange::Rename(to.to_owned()))
}

pub(crate) fn apply_wal(table: &str) -> Command {
    Command::ApplyWal { name: table.to_owned() }
}

pub(crate) fn flush() -> Command {
    Command::Flush { table: None }
}

pub(crate) fn create(table: &str, columns: &[(&str, ColumnType)], dedup: DedupRule) -> Command {
    Command::CreateTable(CreateTable {
        name: table.to_owned(),
        columns: columns.iter().map(|(name, ty)| ((*name).to_owned(), *ty)).collect(),
        dedup: Some(dedup),
        ..CreateTable::default()
    })
}

/// Rows of numbers and texts, all columns in their order.
pub(crate) fn insert(table: &str, rows: &[&[&str]], range: Option<(i64, i64)>) -> Command {
    let value = |text: &&str| match *text {
        "" => Value::Null,
        text if text.parse::<f64>().is_ok() => Value::Number(text.to_owned()),
        text => Value::Text(text.to_owned()),
    };
    let rows = rows.iter().map(|row| row.iter().map(value).collect()).collect();
    Command::Insert { table: table.to_owned(), columns: None, rows, range }
}

/// What a reader sees of a table after everything committed is applied: `column=value` of every row, sorted.
#[track_caller]
pub(crate) fn table(engine: &Engine, name: &str) -> Vec<String> {
    ok(engine, apply_wal(name));
    rows_of(&engine.snapshot(DEFAULT_DATABASE, name).expect("the table exists"))
}

/// The rows of a snapshot as the rules for duplicates leave them: time, then every column that has a value, by name.
pub(crate) fn rows_of(snapshot: &Snapshot) -> Vec<String> {
    let mut sources: Vec<Source> = snapshot.parts.iter().cloned().map(Source::Part).collect();
    sources.sort_by_key(Source::first_txn);
    for tail in snapshot.tails() {
        let runs = tail.partitions().values().flat_map(|runs| runs.iter());
        sources.extend(runs.map(|run| Source::Run(run.clone(), tail.series().clone())));
    }
    let schema = snapshot.schema.clone();
    let wanted: Vec<ColumnId> = schema.columns().iter().map(|column| column.id).collect();
    let mut rows = Resolved::open(schema.clone(), sources, &wanted, true).unwrap();
    let mut all = Vec::new();
    while rows.advance().unwrap() {
        let batch = rows.batch(schema.arrow_schema()).unwrap();
        let options = FormatOptions::default();
        let last = batch.num_columns() - 1;
        let times = batch.column(last);
        let times = arrow::compute::cast(times, &arrow::datatypes::DataType::Int64).unwrap();
        let shown: Vec<ArrayFormatter<'_>> = std::iter::once(&times)
            .chain(batch.columns()[..last].iter())
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        let mut order: Vec<usize> = (0..last).collect();
        order.sort_by_key(|&n| batch.schema_ref().field(n).name().clone());
        for row in 0..batch.num_rows() {
            let mut line = shown[0].value(row).to_string();
            for &n in &order {
                if batch.column(n).is_valid(row) {
                    let value = shown[n + 1].value(row);
                    line += &format!(" {}={value}", batch.schema_ref().field(n).name());
                }
            }
            all.push(line);
        }
    }
    all.sort();
    all
}

pub(crate) fn close(engine: &Arc<Engine>) {
    assert!(engine.close(Duration::from_secs(60)).flushed);
}
