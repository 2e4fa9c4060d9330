//! A seeded list of transactions against a model: by one writer that drains at the end, and by several connections with apply,
//! flush, compaction, purge and readers running and kills in between. The tables must be equal at the end, and every snapshot that
//! a reader took must equal the model at its transaction.
//!
//! `HEADWATER_ORACLE_SEEDS=5000` (from 0) or `=70000..90000` runs other seeds than the few of every run. A seed that fails belongs into
//! `tests/fixtures/oracle-seeds.txt`, whose seeds run always.

use crate::statements_support::*;
use headwater::engine::{DEFAULT_DATABASE, Engine, Session};
use headwater::query::Command;
use headwater::schema::{DedupRule, TableChange};
use headwater::types::{ColumnType, PartitionBy};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const OPERATIONS: usize = 40;
const CONNECTIONS: usize = 3;
const HOUR: i64 = 3_600_000_000_000;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// What a list of transactions is made of.
#[derive(Clone, Debug)]
enum Operation {
    Lines(Vec<Line>),
    Replace(i64, i64, Vec<Line>),
    Truncate,
    RenameTable(&'static str),
    AddColumn(&'static str, Kind),
    DropColumn(&'static str),
    RenameColumn(&'static str, &'static str),
    Retype(&'static str, Kind),
    Dedup(Rule),
    Flush,
    Suspend,
    Resume,
    Kill,
}

#[derive(Clone, Debug)]
struct Line {
    time: i64,
    host: Option<&'static str>,
    fields: BTreeMap<&'static str, Value>,
}

#[derive(Clone, PartialEq, Debug)]
enum Value {
    Integer(i64),
    Text(String),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Integer,
    Text,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Rule {
    Append,
    Replace,
    Merge,
}

/// The table as a reader must see it.
#[derive(Clone, Debug)]
struct Model {
    name: &'static str,
    columns: BTreeMap<&'static str, Kind>,
    rule: Rule,
    rows: Vec<Line>,
    is_suspended: bool,
}

impl Model {
    fn new() -> Model {
        Model {
            name: "t",
            columns: BTreeMap::new(),
            rule: Rule::Append,
            rows: Vec::new(),
            is_suspended: false,
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Lines(lines) => lines.iter().for_each(|line| self.add(line)),
            Operation::Replace(from, to, lines) => {
                self.rows.retain(|row| row.time < *from || row.time >= *to);
                lines.iter().for_each(|line| self.add(line));
            }
            Operation::Truncate => self.rows.clear(),
            Operation::RenameTable(name) => self.name = name,
            Operation::AddColumn(name, kind) => drop(self.columns.insert(name, *kind)),
            Operation::DropColumn(name) => {
                self.columns.remove(name);
                self.rows.iter_mut().for_each(|row| drop(row.fields.remove(name)));
            }
            Operation::RenameColumn(from, to) => {
                if let Some(kind) = self.columns.remove(from) {
                    self.columns.insert(to, kind);
                }
                for row in &mut self.rows {
                    if let Some(value) = row.fields.remove(from) {
                        row.fields.insert(to, value);
                    }
                }
            }
            Operation::Retype(name, kind) => {
                self.columns.insert(name, *kind);
                for row in &mut self.rows {
                    let value = row.fields.remove(name);
                    if let Some(value) = value.and_then(|value| value.converted(*kind)) {
                        row.fields.insert(name, value);
                    }
                }
            }
            Operation::Dedup(rule) => self.rule = *rule,
            Operation::Suspend => self.is_suspended = true,
            Operation::Resume | Operation::Kill => self.is_suspended = false,
            Operation::Flush => {}
        }
    }

    fn add(&mut self, line: &Line) {
        for (name, value) in &line.fields {
            self.columns.entry(name).or_insert(value.kind());
        }
        let mut new = line.clone();
        let is_same = |row: &Line| (row.time, row.host) == (line.time, line.host);
        if self.rule == Rule::Merge {
            for old in self.rows.iter().rev().filter(|row| is_same(row)) {
                for (name, value) in &old.fields {
                    new.fields.entry(name).or_insert_with(|| value.clone());
                }
            }
        }
        if self.rule != Rule::Append {
            self.rows.retain(|row| !is_same(row));
        }
        self.rows.push(new);
    }

    fn shown(&self) -> Vec<String> {
        let mut all: Vec<String> = self.rows.iter().map(Line::shown).collect();
        all.sort();
        all
    }
}

impl Line {
    /// As the reader of the tests spells a row.
    fn shown(&self) -> String {
        let mut cells: BTreeMap<&str, String> = BTreeMap::new();
        cells.extend(self.host.map(|host| ("host", host.to_owned())));
        cells.extend(self.fields.iter().map(|(name, value)| (*name, value.shown())));
        let cells = cells.iter().map(|(name, value)| format!(" {name}={value}"));
        format!("{}{}", self.time, cells.collect::<String>())
    }

    fn line(&self, table: &str) -> String {
        let tag = self.host.map_or(String::new(), |host| format!(",host={host}"));
        let field = |(name, value): (&&str, &Value)| match value {
            Value::Integer(n) => format!("{name}={n}i"),
            Value::Text(text) => format!("{name}=\"{text}\""),
        };
        let fields: Vec<String> = self.fields.iter().map(field).collect();
        format!("{table}{tag} {} {}\n", fields.join(","), self.time)
    }
}

impl Value {
    fn kind(&self) -> Kind {
        match self {
            Value::Integer(_) => Kind::Integer,
            Value::Text(_) => Kind::Text,
        }
    }

    fn shown(&self) -> String {
        match self {
            Value::Integer(n) => n.to_string(),
            Value::Text(text) => text.clone(),
        }
    }

    fn converted(self, kind: Kind) -> Option<Value> {
        match kind {
            Kind::Text => Some(Value::Text(self.shown())),
            Kind::Integer => self.shown().parse().ok().map(Value::Integer),
        }
    }
}

impl Kind {
    fn ty(self) -> ColumnType {
        match self {
            Kind::Integer => ColumnType::Integer,
            Kind::Text => ColumnType::String,
        }
    }
}

/// The operations of a seed, each possible where it stands.
fn operations(seed: u64) -> Vec<Operation> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut model = Model::new();
    let mut was_merge = false;
    let first = Operation::Lines(lines(&mut random, &model, (0, 3 * HOUR), 3));
    model.apply(&first);
    let mut all = vec![first];
    while all.len() < OPERATIONS {
        let free = NAMES.iter().copied().find(|name| !model.columns.contains_key(name));
        let used: Vec<&'static str> = model.columns.keys().copied().collect();
        let one = used.choose(&mut random).copied();
        let kind = if random.random() { Kind::Integer } else { Kind::Text };
        let operation = match random.random_range(0..100) {
            0..50 => {
                let count = random.random_range(1..8);
                Some(Operation::Lines(lines(&mut random, &model, (0, 3 * HOUR), count)))
            }
            50..58 => {
                let from = random.random_range(0..3) * HOUR + random.random_range(0..6);
                let to = from + [3, 6, HOUR, 2 * HOUR][random.random_range(0..4)];
                let count = random.random_range(0..4);
                Some(Operation::Replace(from, to, lines(&mut random, &model, (from, to), count)))
            }
            58..61 => Some(Operation::Truncate),
            61..64 => Some(Operation::RenameTable(if model.name == "t" { "u" } else { "t" })),
            64..67 => free.map(|name| Operation::AddColumn(name, kind)),
            67..71 => one.map(Operation::DropColumn),
            71..74 => one.zip(free).map(|(from, to)| Operation::RenameColumn(from, to)),
            // What does not convert under `merge` is refused: no order of resolving may show.
            74..78 => one
                .filter(|name| model.columns[name] != kind && (!was_merge || kind == Kind::Text))
                .map(|name| Operation::Retype(name, kind)),
            78..84 => Some(Operation::Dedup(
                *[Rule::Append, Rule::Replace, Rule::Merge].choose(&mut random).unwrap(),
            )),
            84..89 => Some(Operation::Flush),
            89..92 => Some(Operation::Suspend),
            92..96 => Some(Operation::Resume),
            _ => Some(Operation::Kill),
        };
        if let Some(operation) = operation {
            was_merge |= matches!(operation, Operation::Dedup(Rule::Merge));
            model.apply(&operation);
            all.push(operation);
        }
    }
    all
}

fn lines(random: &mut StdRng, model: &Model, (from, to): (i64, i64), count: usize) -> Vec<Line> {
    let mut columns = model.columns.clone();
    let mut all = Vec::new();
    for _ in 0..count {
        // Few times, so that rows meet; out of order, over three partitions.
        let time = random.random_range(0..3) * HOUR + random.random_range(0..6);
        let time = if (from..to).contains(&time) { time } else { from };
        let host = *[None, Some("x"), Some("y")].choose(random).unwrap();
        let mut fields = BTreeMap::new();
        for _ in 0..random.random_range(1..4) {
            let name = *NAMES.choose(random).unwrap();
            let kind = if random.random() { Kind::Integer } else { Kind::Text };
            let number: i64 = random.random_range(0..1000);
            let value = match columns.entry(name).or_insert(kind) {
                Kind::Integer => Value::Integer(number),
                Kind::Text if random.random() => Value::Text(number.to_string()),
                Kind::Text => Value::Text(format!("s{number}")),
            };
            fields.insert(name, value);
        }
        all.push(Line { time, host, fields });
    }
    all
}

/// An engine with a table under test, and who uses it.
struct Bench<'a> {
    dir: &'a Path,
    engine: Option<Arc<Engine>>,
    sessions: Vec<Session>,
    reader: Option<Reader>,
}

/// Snapshots that were taken: the transaction, and the rows.
type Seen = Vec<(u64, Vec<String>)>;

struct Reader {
    is_done: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Seen>,
}

impl Bench<'_> {
    fn open(dir: &Path, connections: usize, is_read: bool) -> Bench<'_> {
        let engine = open_with(dir, |config| {
            config.tables.partition_by = PartitionBy::Hour;
            config.apply.flush_bytes = 2000;
            config.apply.tick_ms = 5;
            config.apply.compaction.fan_in = 2;
        });
        let sessions = (0..connections).map(|_| session(&engine)).collect();
        let reader = is_read.then(|| Reader::start(engine.clone()));
        Bench { dir, engine: Some(engine), sessions, reader }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("there until it is killed")
    }

    fn end(&mut self) -> Seen {
        self.reader.take().map_or(Seen::new(), Reader::stop)
    }

    fn kill(&mut self, connections: usize, is_read: bool) -> Seen {
        let seen = self.end();
        self.sessions.clear();
        self.engine = None;
        let next = Bench::open(self.dir, connections, is_read);
        (self.engine, self.sessions, self.reader) = (next.engine, next.sessions, next.reader);
        seen
    }

    /// Carries out one operation; `name` is the table's before it.
    fn run(&mut self, n: usize, name: &str, operation: &Operation) {
        let engine = self.engine.clone().expect("there until it is killed");
        let change = |change| ok(&engine, alter(name, change));
        let text = |text: &str| text.to_owned();
        match operation {
            Operation::Lines(lines) => {
                let lines: String = lines.iter().map(|line| line.line(name)).collect();
                let turn = n % self.sessions.len();
                assert_eq!(send(&mut self.sessions[turn], &lines), 0, "refused: {lines}");
            }
            Operation::Replace(from, to, lines) => {
                let columns: Vec<String> = ["time", "host"].map(str::to_owned).to_vec();
                let command = Command::Insert {
                    table: text(name),
                    columns: Some(columns.into_iter().chain(used(lines)).collect()),
                    rows: lines.iter().map(|line| values(line, &used(lines))).collect(),
                    range: Some((*from, *to)),
                };
                for (field, kind) in kinds(lines) {
                    let columns = vec![(field, kind.ty())];
                    change(TableChange::AddColumns { columns, if_not_exists: true });
                }
                // The tag may not be there yet.
                let host = vec![(text("host"), ColumnType::Tag)];
                change(TableChange::AddColumns { columns: host, if_not_exists: true });
                ok(&engine, command);
            }
            Operation::Truncate => ok(&engine, truncate(name)),
            Operation::RenameTable(to) => ok(&engine, rename(name, to)),
            Operation::AddColumn(column, kind) => {
                let columns = vec![(text(column), kind.ty())];
                change(TableChange::AddColumns { columns, if_not_exists: false });
            }
            Operation::DropColumn(column) => ok(&engine, drop_column(name, column)),
            Operation::RenameColumn(from, to) => {
                change(TableChange::RenameColumn { from: text(from), to: text(to) });
            }
            Operation::Retype(column, kind) => {
                change(TableChange::RetypeColumn { name: text(column), ty: kind.ty() });
            }
            Operation::Dedup(rule) => change(TableChange::Dedup(match rule {
                Rule::Append => DedupRule::Append,
                Rule::Replace => DedupRule::ReplaceByTags,
                Rule::Merge => DedupRule::Merge,
            })),
            // Suspended tables are not flushed.
            Operation::Flush => drop(run(&engine, flush())),
            Operation::Suspend => ok(&engine, Command::SuspendWal { name: text(name) }),
            Operation::Resume => ok(&engine, Command::ResumeWal { name: text(name), from: None }),
            Operation::Kill => {}
        }
    }

    fn seq_txn(&self, name: &str) -> u64 {
        let status = self.engine().source().table_status();
        status.iter().find(|s| *s.name == *name).expect("the table exists").seq_txn.0
    }
}

fn used(lines: &[Line]) -> Vec<String> {
    kinds(lines).into_keys().collect()
}

fn kinds(lines: &[Line]) -> BTreeMap<String, Kind> {
    let fields = lines.iter().flat_map(|line| &line.fields);
    fields.map(|(name, value)| ((*name).to_owned(), value.kind())).collect()
}

fn values(line: &Line, fields: &[String]) -> Vec<headwater::query::Value> {
    use headwater::query::Value as Sql;
    let host = line.host.map_or(Sql::Null, |host| Sql::Text(host.to_owned()));
    let mut all = vec![Sql::Number(line.time.to_string()), host];
    all.extend(fields.iter().map(|field| match line.fields.get(field.as_str()) {
        None => Sql::Null,
        Some(value) => Sql::Text(value.shown()),
    }));
    all
}

impl Reader {
    fn start(engine: Arc<Engine>) -> Reader {
        let is_done = Arc::new(AtomicBool::new(false));
        let done = is_done.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::new();
            while !done.load(Ordering::Relaxed) {
                for name in ["t", "u"] {
                    if let Some(snapshot) = engine.snapshot(DEFAULT_DATABASE, name) {
                        let txn = snapshot.applied_txn.0;
                        if seen.len() < 100_000 {
                            seen.push((txn, rows_of(&snapshot)));
                        }
                    }
                }
                std::thread::yield_now();
            }
            seen
        });
        Reader { is_done, thread }
    }

    fn stop(self) -> Seen {
        self.is_done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Runs a list, and checks the end and everything that was seen on the way.
fn check(seed: u64, operations: &[Operation], connections: usize, with_trouble: bool) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut bench = Bench::open(dir.path(), connections, with_trouble);
    let mut model = Model::new();
    // By transaction, from which on: what readers must see.
    let mut states: BTreeMap<u64, (usize, Vec<String>)> = BTreeMap::new();
    let mut seen = Seen::new();
    for (n, operation) in operations.iter().enumerate() {
        let name = model.name;
        let is_trouble =
            matches!(operation, Operation::Kill | Operation::Suspend | Operation::Resume);
        if is_trouble && !with_trouble {
            continue;
        }
        if matches!(operation, Operation::Kill) {
            seen.extend(bench.kill(connections, with_trouble));
        }
        bench.run(n, name, operation);
        model.apply(operation);
        states.insert(bench.seq_txn(model.name), (n, model.shown()));
    }
    let name = model.name.to_owned();
    let resume = Command::ResumeWal { name: name.clone(), from: None };
    ok(bench.engine(), resume);
    let context =
        |what: &str| format!("seed {seed}, {connections} connections, {what}: {operations:#?}");
    assert_eq!(table(bench.engine(), &name), model.shown(), "{}", context("in the end"));
    seen.extend(bench.end());
    for (txn, rows) in seen {
        let expect = states.range(..=txn).next_back().map_or(&[][..], |(_, (_, rows))| rows);
        assert_eq!(rows, expect, "{}", context(&format!("a snapshot at {txn} of {states:#?}")));
    }
    ok(bench.engine(), flush());
    assert_eq!(table(bench.engine(), &name), model.shown(), "{}", context("flushed"));
    bench.kill(connections, false);
    assert_eq!(table(bench.engine(), &name), model.shown(), "{}", context("after a kill"));
}

fn seeds() -> Vec<u64> {
    let kept = include_str!("../fixtures/oracle-seeds.txt").lines();
    let kept = kept.filter(|line| !line.starts_with('#')).filter_map(|line| line.parse().ok());
    let wanted = std::env::var("HEADWATER_ORACLE_SEEDS").unwrap_or_else(|_| "24".to_owned());
    let range = match wanted.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => 0..wanted.parse().unwrap(),
    };
    kept.chain(range).collect()
}

#[test]
fn tables_equal_the_model_whatever_happens_meanwhile() {
    let seeds = seeds();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get()) {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let operations = operations(seed);
                    check(seed, &operations, 1, false);
                    check(seed, &operations, CONNECTIONS, true);
                }
            });
        }
    });
}
