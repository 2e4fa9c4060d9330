//! A source with tables of our making.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use crate::io::Fs;
use crate::query::{
    Command, CommandError, Format, Output, Pending, QueryConfig, QueryEngine, QueryError,
    RejectedLine, Source, TableStatus, Transaction,
};
use crate::schema::{ColumnDef, Shape, TableDef, TableOptions};
use crate::storage::{
    Part, PartSync, Rows, Run, SeriesSet, Snapshot, TableDir, TableSchema, Tail, write_part,
};
use crate::types::{
    ColumnId, ColumnType, PartitionBy, PartitionKey, SegmentId, SeqTxn, TableId, WriterId,
};
use arrow::array::ArrayRef;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// 2026-11-22T00:00:00Z.
pub(super) const DAY: i64 = 1_795_305_600_000_000_000;
/// A second, and a day, in nanoseconds.
pub(super) const SECOND: i64 = 1_000_000_000;
pub(super) const DAYS: i64 = 86_400 * SECOND;

/// A table being made: its parts go to a temporary folder.
pub(super) struct TestTable {
    def: TableDef,
    columns: Vec<ColumnDef>,
    dir: Arc<TableDir>,
    parts: Vec<Arc<Part>>,
    tail: Tail,
    txn: u64,
}

/// One row: its time, its tags, and nothing else.
pub(super) type Tagged<'a> = (i64, &'a [(u32, &'a str)]);

impl TestTable {
    pub(super) fn new(tables: &std::path::Path, id: u32, name: &str) -> TestTable {
        let def = TableDef {
            id: TableId(id),
            database: "public".into(),
            name: name.into(),
            partition_by: PartitionBy::Day,
            time_column: "time".into(),
            time_place: u32::MAX,
            created: 0,
            options: TableOptions::default(),
        };
        let dir = TableDir::new(&Fs::real(), tables, &Shape::new(def.clone(), Vec::new()));
        let columns = Vec::new();
        TestTable { def, columns, dir, parts: Vec::new(), tail: Tail::default(), txn: 1 }
    }

    /// Adds a column.
    pub(super) fn column(mut self, id: u32, name: &str, ty: ColumnType) -> TestTable {
        self.columns.push(ColumnDef { id: ColumnId(id), name: name.into(), ty });
        self
    }

    fn runs(
        &mut self,
        series: &SeriesSet,
        rows: &[Tagged<'_>],
        columns: Vec<(u32, ArrayRef)>,
    ) -> Vec<(PartitionKey, Run)> {
        self.txn += 1;
        let intern = |tags: &[(u32, &str)]| {
            let tags: Vec<_> = tags.iter().map(|(id, value)| (ColumnId(*id), *value)).collect();
            series.intern(&tags)
        };
        let rows = Rows {
            time: rows.iter().map(|(time, _)| *time).collect(),
            series: rows.iter().map(|(_, tags)| intern(tags)).collect(),
            columns: columns.into_iter().map(|(id, array)| (ColumnId(id), array)).collect(),
        };
        rows.into_runs(self.def.partition_by, SeqTxn(self.txn), SeqTxn(self.txn))
    }

    /// Adds rows as parts, one for each day.
    pub(super) fn part(mut self, rows: &[Tagged<'_>], columns: Vec<(u32, ArrayRef)>) -> TestTable {
        let series = Arc::new(SeriesSet::default());
        let schema = Arc::new(self.schema());
        for (partition, run) in self.runs(&series, rows, columns) {
            let meta =
                write_part(&self.dir, &schema, partition, &[Arc::new(run)], &series, PartSync::Own);
            self.parts.push(Arc::new(Part::new(&self.dir, meta.unwrap())));
        }
        self
    }

    /// Adds rows to the tail.
    pub(super) fn tail(mut self, rows: &[Tagged<'_>], columns: Vec<(u32, ArrayRef)>) -> TestTable {
        let series = self.tail.series().clone();
        let runs = self.runs(&series, rows, columns);
        self.tail = self.tail.with(runs);
        self
    }

    fn schema(&self) -> TableSchema {
        TableSchema::new(self.def.clone(), self.columns.clone())
    }

    fn snapshot(mut self) -> Snapshot {
        self.parts.sort_by_key(|part| part.meta().id);
        let schema = Arc::new(self.schema());
        let mut snapshot = Snapshot::flushed(schema, self.parts.into(), SeqTxn(self.txn));
        snapshot.tail = Arc::new(self.tail);
        snapshot
    }
}

/// The tables of the database `public`.
#[derive(Default)]
pub(super) struct TestSource {
    tables: BTreeMap<String, Arc<Snapshot>>,
    pub(super) commands: Mutex<Vec<(String, Command)>>,
    /// How many snapshots were handed out.
    pub(super) looks: AtomicU64,
}

impl TestSource {
    pub(super) fn of(tables: impl IntoIterator<Item = TestTable>) -> Arc<TestSource> {
        let tables = tables.into_iter().map(|table| {
            let name = table.def.name.to_string();
            (name, Arc::new(table.snapshot()))
        });
        Arc::new(TestSource { tables: tables.collect(), ..TestSource::default() })
    }
}

impl Source for TestSource {
    fn databases(&self) -> Vec<String> {
        vec!["public".to_owned()]
    }

    fn tables(&self, database: &str) -> Vec<String> {
        match database {
            "public" => self.tables.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    fn snapshot(&self, database: &str, table: &str) -> Option<Arc<Snapshot>> {
        let found = self.tables.get(table).filter(|_| database == "public")?;
        self.looks.fetch_add(1, Ordering::Relaxed);
        Some(found.clone())
    }

    fn table_status(&self) -> Vec<TableStatus> {
        let status = self.tables.values().map(|snapshot| TableStatus {
            id: snapshot.schema.def().id,
            database: snapshot.schema.def().database.clone(),
            name: snapshot.schema.def().name.clone(),
            seq_txn: SeqTxn(snapshot.applied_txn.0 + 2),
            applied_txn: snapshot.applied_txn,
            flushed_txn: SeqTxn(1),
            lag_rows: 7,
            lag_time: std::time::Duration::from_millis(1500),
            skipped_txns: 3,
            suspended: None,
            memory_pressure: 0,
        });
        status.collect()
    }

    fn rejected_lines(&self) -> Vec<Arc<RejectedLine>> {
        let line = RejectedLine {
            time: 7,
            database: "public".into(),
            table: None,
            peer: "192.0.2.1:5".into(),
            connection: 3,
            line: 4,
            offset: 50,
            reason: "bad_value",
            detail: "no value".to_owned(),
            excerpt: "cpu v=x".to_owned(),
        };
        vec![Arc::new(line)]
    }

    fn transactions(&self, _: &str, table: &str) -> Result<Vec<Transaction>, CommandError> {
        if !self.tables.contains_key(table) {
            return Err(CommandError::NoSuchTable(table.to_owned()));
        }
        let create = Transaction {
            seq_txn: SeqTxn(1),
            at: DAY,
            place: None,
            place_in_segment: None,
            structure_version: Some(0),
            times: None,
            rows: None,
            command: None,
            kind: "create",
            is_applied: true,
        };
        let data = Transaction {
            seq_txn: SeqTxn(2),
            place: Some((WriterId(3), SegmentId(4))),
            place_in_segment: Some(0),
            times: Some((DAY, DAY + SECOND)),
            rows: Some(2),
            kind: "data",
            is_applied: false,
            ..create.clone()
        };
        Ok(vec![create, data])
    }

    fn execute<'a>(
        &'a self,
        database: &'a str,
        command: Command,
    ) -> Pending<'a, Result<(), CommandError>> {
        Box::pin(async move {
            let missing = match &command {
                Command::DropTable { if_exists: false, name } => {
                    (!self.tables.contains_key(name)).then(|| name.clone())
                }
                _ => None,
            };
            self.commands.lock().unwrap().push((database.to_owned(), command));
            missing.map_or(Ok(()), |name| Err(CommandError::NoSuchTable(name)))
        })
    }
}

/// An engine with the default limits.
pub(super) fn engine(source: &Arc<TestSource>) -> QueryEngine {
    QueryEngine::new(QueryConfig::default(), source.clone()).unwrap()
}

/// The bytes of an answer.
pub(super) async fn bytes(
    engine: &QueryEngine,
    format: Format,
    sql: &str,
) -> Result<Vec<u8>, QueryError> {
    let output: Output = engine.run("public", sql).await?;
    let mut body = format.write(sql, output).await?;
    let mut all = Vec::new();
    while let Some(bytes) = body.next().await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all)
}

/// The text of an answer.
pub(super) async fn text(engine: &QueryEngine, format: Format, sql: &str) -> String {
    let bytes = bytes(engine, format, sql).await;
    String::from_utf8(bytes.unwrap_or_else(|error| panic!("{sql}: {error}"))).unwrap()
}

/// An answer as CSV lines without the header.
pub(super) async fn lines(engine: &QueryEngine, sql: &str) -> Vec<String> {
    text(engine, Format::Csv, sql).await.lines().skip(1).map(str::to_owned).collect()
}

/// Checks an answer, given as CSV lines without the header.
pub(super) async fn check(engine: &QueryEngine, sql: &str, expect: &[&str]) {
    assert_eq!(lines(engine, sql).await, expect, "{sql}");
}

/// The error that a statement gives.
pub(super) async fn error(engine: &QueryEngine, sql: &str) -> QueryError {
    match bytes(engine, Format::Csv, sql).await {
        Ok(bytes) => panic!("{sql} gave {} bytes", bytes.len()),
        Err(error) => error,
    }
}
