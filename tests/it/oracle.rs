//! A seeded list of transactions against a model: by one writer that drains at the end, and by several connections at once with
//! statements between them, apply, flush, compaction, purge and readers running and kills in between. Where several commit
//! at once, the model follows the order that the log gave them. The tables must be equal at the end, and every snapshot that a
//! reader took must equal the model at its transaction.
//!
//! `HEADWATER_ORACLE_SEEDS=5000` (from 0) or `=70000..90000` runs other seeds than the few of every run. A seed that fails belongs into
//! `tests/fixtures/oracle-seeds.txt`, whose seeds run always.

use crate::oracle_list::*;
use crate::oracle_model::{Change, Line, Model, Name, Row, Value};
use crate::statements_support::*;
use headwater::engine::{DEFAULT_DATABASE, Engine, Session};
use headwater::io::Fs;
use headwater::query::{Command, CommandError, CreateTable};
use headwater::schema::{Alteration, TableChange};
use headwater::sequencer::{self, Committed, Durability, TxnKind};
use headwater::storage::Snapshot;
use headwater::types::{ColumnType, PartitionBy, TableId};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

/// How a list is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// One writer, one thing after the other, nobody reads meanwhile.
    Alone,
    /// Connections at once, readers, kills.
    Crowd,
}

/// One table from its creation to its drop.
#[derive(Debug)]
struct Life {
    id: Option<TableId>,
    time_column: Name,
    /// Its columns and rules as those who claim see them; no rows.
    claims: Model,
    /// Its columns as they came into being.
    born: Vec<(Name, ColumnType)>,
    /// What its transactions did, as far as rows are concerned.
    changes: BTreeMap<u64, Change>,
    /// The last transaction that was looked at.
    seen: u64,
    /// What is on its way: by connection, and what statements do.
    commits: Vec<VecDeque<(usize, Change)>>,
    statements: Vec<Change>,
    /// Shortest time to live that it ever had, nanoseconds.
    ttl: i64,
}

/// A snapshot that was taken: the table, the transaction, and the rows.
type Seen = (TableId, u64, Vec<String>);

/// An engine with tables under test, who uses it, and what must come of it.
struct Bench<'a> {
    seed: u64,
    way: Way,
    dir: &'a Path,
    steps: &'a [Step],
    engine: Option<Arc<Engine>>,
    sessions: Vec<Session>,
    reader: Option<Reader>,
    lives: BTreeMap<Name, Life>,
    /// Tables that are gone.
    past: Vec<Life>,
    seen: Vec<Seen>,
}

struct Reader {
    is_done: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Seen>>,
}

impl Life {
    fn new(columns: &[(Name, ColumnType)], time_column: Name) -> Life {
        Life {
            id: None,
            time_column,
            claims: Model::new(columns),
            born: columns.to_vec(),
            changes: BTreeMap::new(),
            seen: 0,
            commits: vec![VecDeque::new(); CONNECTIONS + 1],
            statements: Vec::new(),
            ttl: i64::MAX,
        }
    }

    /// Takes lines in, and remembers the columns that come into being.
    fn claim(&mut self, lines: &[Line]) -> Vec<Row> {
        let before = self.claims.columns.len();
        let rows = self.claims.claim(lines);
        self.born.extend(self.claims.columns[before..].iter().map(|c| (c.name, c.ty)));
        rows
    }

    fn expect(&mut self, connection: usize, rows: Vec<Row>) {
        self.commits[connection].push_back((rows.len(), Change::Rows(rows)));
    }

    /// What a transaction of the log did.
    fn explain(&mut self, txn: &Committed) -> Option<Change> {
        let statement = |is_such: fn(&Change) -> bool, all: &mut Vec<Change>| {
            let at =
                all.iter().position(is_such).unwrap_or_else(|| panic!("nobody asked for {txn:?}"));
            all.remove(at)
        };
        let all = &mut self.statements;
        Some(match &txn.kind {
            TxnKind::Create(_) | TxnKind::AddColumns(_) => return None,
            TxnKind::Data(frame) => {
                let rows = frame.rows as usize;
                let alone =
                    |queues: &Vec<VecDeque<_>>| queues.iter().filter(|q| !q.is_empty()).count() < 2;
                let by_rows = rows % (CONNECTIONS + 1);
                let one = self.commits.iter().position(|queue| !queue.is_empty());
                let slot = if alone(&self.commits) { one.unwrap_or(by_rows) } else { by_rows };
                let next = self.commits[slot].pop_front();
                let (count, change) = next.unwrap_or_else(|| panic!("nobody sent {txn:?}"));
                assert_eq!(rows, count, "another commit was expected: {txn:?}");
                change
            }
            TxnKind::Replace { .. } => statement(|c| matches!(c, Change::Replace(..)), all),
            TxnKind::Truncate => statement(|c| matches!(c, Change::Truncate), all),
            TxnKind::Drop => statement(|c| matches!(c, Change::Drop), all),
            TxnKind::RemoveBefore(time) => Change::Expire(*time),
            TxnKind::Alter(Alteration::DropColumn(_)) => {
                statement(|c| matches!(c, Change::DropColumn(_)), all)
            }
            TxnKind::Alter(Alteration::RenameColumn { .. }) => {
                statement(|c| matches!(c, Change::RenameColumn(..)), all)
            }
            TxnKind::Alter(Alteration::RetypeColumn { .. }) => {
                statement(|c| matches!(c, Change::Retype(..)), all)
            }
            TxnKind::Alter(Alteration::Options(_)) => {
                let at = all.iter().position(|c| matches!(c, Change::Dedup(_)))?;
                all.remove(at)
            }
            _ => return None,
        })
    }

    /// By transaction: what readers must see from it on.
    fn states(&self) -> BTreeMap<u64, Vec<String>> {
        let mut model = Model::new(&self.born);
        let mut newest = i64::MIN;
        let mut states = BTreeMap::from([(0, Vec::new())]);
        for (txn, change) in &self.changes {
            if let Change::Expire(time) = change {
                assert!(
                    *time <= newest.saturating_sub(self.ttl),
                    "{txn} takes too much: {change:?}"
                );
            }
            model.apply(change);
            newest = newest.max(model.newest());
            states.insert(*txn, model.shown());
        }
        states
    }
}

impl<'a> Bench<'a> {
    fn new(seed: u64, way: Way, dir: &'a Path, steps: &'a [Step]) -> Bench<'a> {
        let (lives, past, seen) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (engine, sessions, reader) = (None, Vec::new(), None);
        let mut bench =
            Bench { seed, way, dir, steps, engine, sessions, reader, lives, past, seen };
        bench.open();
        bench
    }

    fn open(&mut self) {
        let durability = [Durability::Sync, Durability::Async, Durability::NoSync];
        let engine = open_with(self.dir, |config| {
            config.tables.partition_by = PartitionBy::Hour;
            config.apply.flush_bytes = 2000;
            config.apply.tick_ms = 5;
            config.apply.compaction.fan_in = 2;
            config.wal.segment_bytes = 4096;
            config.housekeeping = Duration::from_millis(3);
            config.sequencer.durability = durability[(self.seed % 3) as usize];
            config.sequencer.async_interval = Duration::from_millis(2);
        });
        self.sessions = (0..CONNECTIONS).map(|_| session(&engine)).collect();
        self.reader = (self.way == Way::Crowd).then(|| Reader::start(engine.clone()));
        self.engine = Some(engine);
    }

    fn engine(&self) -> Arc<Engine> {
        self.engine.clone().expect("there until it is killed")
    }

    fn kill(&mut self, is_partial: bool) {
        self.stop_reading();
        self.sessions.clear();
        self.engine = None;
        // A start may purge what is flushed.
        self.learn(is_partial);
        self.open();
    }

    fn stop_reading(&mut self) {
        self.seen.extend(self.reader.take().map(Reader::stop).unwrap_or_default());
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Lines(name, lines) => {
                let rows = self.claim(name, lines);
                let connection = if self.way == Way::Alone { 0 } else { lines.len() % CONNECTIONS };
                self.life(name).expect(connection, rows);
                let encoded = encoded(name, lines);
                assert_eq!(send(&mut self.sessions[connection], &encoded), 0, "refused: {lines:?}");
            }
            Step::Say(name, statement) => self.say(name, statement),
            Step::Refused(name, statement) => {
                let command = self.command(name, statement);
                let refused = run(&self.engine(), command);
                assert!(
                    matches!(refused, Err(CommandError::Refused(_))),
                    "{statement:?}: {refused:?}"
                );
            }
            Step::Together(all) if self.way == Way::Alone => {
                for lines in all.commits.iter().flatten().filter(|lines| !lines.is_empty()) {
                    self.run(&Step::Lines(all.table, lines.clone()));
                }
                for statement in &all.statements {
                    self.say(all.table, statement);
                }
            }
            Step::Together(all) => self.together(all),
            // Suspended tables are not flushed.
            Step::Flush if self.way == Way::Crowd => drop(run(&self.engine(), flush())),
            Step::Kill if self.way == Way::Crowd => self.kill(false),
            Step::Flush | Step::Kill => {}
        }
        self.learn(false);
    }

    fn life(&mut self, name: &str) -> &mut Life {
        self.lives.get_mut(name).expect("the table exists")
    }

    fn claim(&mut self, name: Name, lines: &[Line]) -> Vec<Row> {
        self.lives.entry(name).or_insert_with(|| Life::new(&[], "time")).claim(lines)
    }

    /// Carries out one statement and waits for it.
    fn say(&mut self, name: Name, statement: &Statement) {
        let is_of_crowd =
            matches!(statement, Statement::Suspend | Statement::Resume | Statement::Skip(_));
        if is_of_crowd && self.way == Way::Alone {
            return;
        }
        if let Statement::Skip(share) = statement {
            return self.skip(name, *share);
        }
        if let Statement::Create(definition) = statement {
            let mut life = Life::new(&definition.columns, definition.time_column);
            life.claims.apply(&Change::Dedup(definition.rule.clone()));
            life.changes.insert(1, Change::Dedup(definition.rule.clone()));
            self.lives.insert(name, life);
        }
        let command = self.command(name, statement);
        self.announce(name, statement);
        ok(&self.engine(), command);
        self.renamed(name, statement);
    }

    /// What a statement will do, for when the log has it.
    fn announce(&mut self, name: Name, statement: &Statement) {
        let life = self.life(name);
        let change = match statement {
            Statement::Insert(lines) => {
                let rows = life.claim(lines);
                return life.expect(CONNECTIONS, rows);
            }
            Statement::Replace(from, to, lines) => Change::Replace(*from, *to, life.claim(lines)),
            Statement::Truncate => Change::Truncate,
            Statement::Drop => Change::Drop,
            Statement::Dedup(rule) if *rule == life.claims.rule => return,
            Statement::AddColumn(column, ty) => return life.born.push((column, *ty)),
            Statement::Ttl(hours) if *hours > 0 => {
                life.ttl = life.ttl.min(*hours as i64 * HOUR);
                return;
            }
            _ => match redefinition(&life.claims, statement) {
                Some(change) => change,
                None => return,
            },
        };
        life.statements.push(change);
    }

    /// The registry's side of a statement that was carried out.
    fn renamed(&mut self, name: Name, statement: &Statement) {
        match statement {
            Statement::RenameTable(to) => {
                let life = self.lives.remove(name).expect("the table exists");
                self.lives.insert(to, life);
            }
            Statement::Drop => {
                self.learn(false);
                let life = self.lives.remove(name).expect("the table exists");
                self.past.push(life);
            }
            _ => note(&mut self.life(name).claims, statement),
        }
    }

    fn command(&self, name: Name, statement: &Statement) -> Command {
        let text = |text: &str| text.to_owned();
        let life = self.lives.get(name).expect("the table exists");
        match statement {
            Statement::Insert(lines) => insert_lines(name, lines, life, None),
            Statement::Replace(from, to, lines) => {
                insert_lines(name, lines, life, Some((*from, *to)))
            }
            Statement::Truncate => truncate(name),
            Statement::RenameTable(to) => rename(name, to),
            Statement::AddColumn(column, ty) => {
                let columns = vec![(text(column), *ty)];
                alter(name, TableChange::AddColumns { columns, if_not_exists: false })
            }
            Statement::DropColumn(column) => drop_column(name, column),
            Statement::RenameColumn(from, to) => {
                alter(name, TableChange::RenameColumn { from: text(from), to: text(to) })
            }
            Statement::Retype(column, ty) => {
                alter(name, TableChange::RetypeColumn { name: text(column), ty: *ty })
            }
            Statement::Dedup(rule) => {
                alter(name, TableChange::Dedup(life.claims.rule_said(rule, life.time_column)))
            }
            Statement::Ttl(hours) => alter(name, TableChange::TtlS(Some(hours * 3600))),
            Statement::Drop => Command::DropTable { if_exists: false, name: text(name) },
            Statement::Create(definition) => {
                let columns = definition.columns.iter().map(|(name, ty)| (text(name), *ty));
                let time = (text(definition.time_column), ColumnType::Timestamp);
                Command::CreateTable(CreateTable {
                    name: text(name),
                    columns: std::iter::once(time).chain(columns).collect(),
                    time_column: Some(text(definition.time_column)),
                    partition_by: Some(definition.partition_by),
                    dedup: Some(life.claims.rule_said(&definition.rule, definition.time_column)),
                    ..CreateTable::default()
                })
            }
            Statement::Suspend => Command::SuspendWal { name: text(name), reason: None },
            Statement::Resume => Command::ResumeWal { name: text(name), from: None },
            Statement::Skip(_) => unreachable!("it is more than a command"),
        }
    }

    /// Resumes a suspended table behind a share of what waits.
    fn skip(&mut self, name: Name, share: u64) {
        let engine = self.engine();
        let resume = |from| Command::ResumeWal {
            name: name.to_owned(),
            from: Some(headwater::types::SeqTxn(from)),
        };
        self.learn(false);
        // Only the refusal tells where the table stands for certain.
        let Err(CommandError::Refused(why)) = run(&engine, resume(0)) else { panic!("0 is none") };
        let numbers = why.rsplit_once("one of ").and_then(|(_, range)| range.split_once(" to "));
        let (first, last) = numbers.unwrap_or_else(|| panic!("{why}"));
        let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
        // A life before may have shown what is skipped now; this one has not.
        self.check();
        let from = first + (last - first) * share / 100;
        let is_skipped = |txn: u64, change: &Change| {
            (first..from).contains(&txn) && matches!(change, Change::Rows(_) | Change::Replace(..))
        };
        self.life(name).changes.retain(|txn, change| !is_skipped(*txn, change));
        ok(&engine, resume(from));
    }

    /// Lets connections and statements loose at once.
    fn together(&mut self, all: &Together) {
        let name = all.table;
        for (connection, commits) in all.commits.iter().enumerate() {
            if let Some(lines) = commits.first().filter(|lines| !lines.is_empty()) {
                let rows = self.claim(name, lines);
                self.life(name).expect(connection, rows);
                let session = &mut self.sessions[connection];
                block_on(session.ready());
                session.ingest(&mut encoded(name, lines)).unwrap();
            }
        }
        for (connection, commits) in all.commits.iter().enumerate() {
            for lines in commits.iter().skip(1).filter(|lines| !lines.is_empty()) {
                let rows = self.claim(name, lines);
                self.life(name).expect(connection, rows);
            }
        }
        let commands: Vec<Command> = all.statements.iter().map(|s| self.command(name, s)).collect();
        all.statements.iter().for_each(|statement| self.announce(name, statement));
        if all.is_killed {
            return self.killed(all, commands);
        }
        let engine = self.engine();
        std::thread::scope(|scope| {
            for (session, commits) in self.sessions.iter_mut().zip(&all.commits) {
                scope.spawn(move || {
                    let ordinal = commit_all(session, name, commits);
                    block_on(session.progress().reached(ordinal));
                    assert_eq!(session.take_counts().rejected, 0, "{commits:?}");
                });
            }
            for command in commands {
                let engine = &engine;
                scope.spawn(move || ok(engine, command));
            }
        });
        for statement in &all.statements {
            self.renamed(name, statement);
        }
    }

    /// Sends everything and waits for nothing; then the process is gone. What was acknowledged is in the log, the rest may be.
    fn killed(&mut self, all: &Together, commands: Vec<Command>) {
        let engine = self.engine();
        for command in commands {
            let source = engine.source();
            let mut done = source.execute(DEFAULT_DATABASE, command);
            drop(done.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        }
        for (session, commits) in self.sessions.iter_mut().zip(&all.commits) {
            commit_all(session, all.table, commits);
        }
        let in_flight = |sessions: &[Session]| -> Vec<u64> {
            sessions.iter().map(Session::in_flight).collect()
        };
        if self.seed.is_multiple_of(2) {
            std::thread::sleep(Duration::from_micros(self.seed % 700));
        }
        let waiting = in_flight(&self.sessions);
        drop(engine);
        self.kill(true);
        let life = self.life(all.table);
        for (queue, waiting) in life.commits.iter_mut().zip(waiting) {
            assert!(queue.len() as u64 <= waiting, "acknowledged and not in the log: {queue:?}");
            queue.clear();
        }
        life.statements.clear();
    }

    /// Reads in the log what has become of everything that was sent.
    fn learn(&mut self, is_partial: bool) {
        let log = self.dir.join("wal").join("txnlog");
        let identity = std::fs::read(self.dir.join("identity")).unwrap();
        let uuid: [u8; 16] = identity[12..28].try_into().unwrap();
        let status = self.engine.as_ref().map(|engine| engine.source().table_status());
        let status = status.unwrap_or_default();
        for (name, life) in &mut self.lives {
            let status = status.iter().find(|status| *status.name == **name);
            life.id = life.id.or(status.map(|status| status.id));
            let Some(id) = life.id else { continue };
            let all = sequencer::transactions(&Fs::real(), &log, &uuid, id).unwrap();
            let upto = status.map_or(u64::MAX, |status| status.seq_txn.0);
            let known = life.seen;
            for txn in all.iter().filter(|t| t.seq_txn.0 > known && t.seq_txn.0 <= upto) {
                assert_eq!(txn.seq_txn.0, life.seen + 1, "transactions are dense");
                life.seen += 1;
                if let Some(change) = life.explain(txn) {
                    life.changes.insert(life.seen, change);
                }
            }
            let is_dropped = life.changes.values().any(|change| matches!(change, Change::Drop));
            if is_dropped {
                // What commits behind a drop is acknowledged and gone.
                life.commits.iter_mut().for_each(VecDeque::clear);
            }
            let is_all = life.commits.iter().all(VecDeque::is_empty) && life.statements.is_empty();
            assert!(is_partial || is_all, "acknowledged and not in the log: {life:#?}");
        }
    }

    /// Looks at every table as a reader does who has waited for all that was committed.
    fn look(&mut self) {
        let engine = self.engine();
        let names: Vec<Name> = self.lives.keys().copied().collect();
        for name in names {
            ok(&engine, Command::ResumeWal { name: name.to_owned(), from: None });
            ok(&engine, apply_wal(name));
            let snapshot = engine.snapshot(DEFAULT_DATABASE, name).expect("the table exists");
            let life = self.life(name);
            assert!(snapshot.applied_txn.0 >= life.seen, "what is committed is visible");
            assert_eq!(header(&snapshot), life.claims.header(), "columns of {name}");
            self.seen.push(seen(&snapshot));
        }
        for name in TABLES.into_iter().filter(|name| !self.lives.contains_key(name)) {
            assert!(engine.snapshot(DEFAULT_DATABASE, name).is_none(), "{name} is gone");
        }
    }

    /// Every snapshot that was taken is the model at its transaction.
    fn check(&mut self) {
        let lives = self.lives.values().chain(&self.past);
        let states = lives.filter_map(|life| Some((life.id?, life.states())));
        let states: BTreeMap<TableId, BTreeMap<u64, Vec<String>>> = states.collect();
        for (id, txn, rows) in &std::mem::take(&mut self.seen) {
            let expect = states.get(id).and_then(|states| states.range(..=*txn).next_back());
            let (since, expect) =
                expect.unwrap_or_else(|| panic!("seed {}: table {id}", self.seed));
            let (seed, way, steps) = (self.seed, self.way, self.steps);
            assert!(
                rows == expect,
                "seed {seed}, {way:?}: table {id} at {txn} is {rows:#?}, and since {since} must be {expect:#?}: {steps:#?} {:#?}",
                self.lives.values().chain(&self.past).collect::<Vec<_>>(),
            );
        }
    }
}

impl Reader {
    fn start(engine: Arc<Engine>) -> Reader {
        let is_done = Arc::new(AtomicBool::new(false));
        let done = is_done.clone();
        let thread = std::thread::spawn(move || {
            let mut all: Vec<Seen> = Vec::new();
            while !done.load(Ordering::Relaxed) {
                for name in TABLES {
                    if let Some(snapshot) = engine.snapshot(DEFAULT_DATABASE, name) {
                        let next = seen(&snapshot);
                        if all.len() < 20_000 && !all.iter().rev().take(2).any(|old| *old == next) {
                            all.push(next);
                        }
                    }
                }
                std::thread::yield_now();
            }
            all
        });
        Reader { is_done, thread }
    }

    fn stop(self) -> Vec<Seen> {
        self.is_done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn seen(snapshot: &Snapshot) -> Seen {
    (snapshot.schema.def().id, snapshot.applied_txn.0, rows_of(snapshot))
}

fn header(snapshot: &Snapshot) -> Vec<(String, ColumnType)> {
    let columns = snapshot.schema.columns().iter();
    let mut all: Vec<(String, ColumnType)> =
        columns.map(|column| (column.name.to_string(), column.ty)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn encoded(name: &str, lines: &[Line]) -> bytes::BytesMut {
    lines.iter().flat_map(|line| line.encoded(name)).collect()
}

/// Commits what a connection has read, then reads and commits the rest. Returns what must be durable in the end.
fn commit_all(session: &mut Session, name: &str, commits: &[Vec<Line>]) -> u64 {
    let mut ordinal = session.commit().unwrap();
    for lines in commits.iter().skip(1) {
        block_on(session.ready());
        session.ingest(&mut encoded(name, lines)).unwrap();
        ordinal = session.commit().unwrap();
    }
    ordinal
}

fn insert_lines(name: &str, lines: &[Line], life: &Life, range: Option<(i64, i64)>) -> Command {
    use headwater::query::Value as Sql;
    let mut columns: Vec<Name> = lines.iter().flat_map(|line| line.cells.keys().copied()).collect();
    columns.sort_unstable();
    columns.dedup();
    let value = |value: &Value| match value {
        Value::Boolean(value) => Sql::Boolean(*value),
        Value::Time(time) => Sql::Number(time.to_string()),
        Value::Tag(_) | Value::Text(_) => Sql::Text(value.shown()),
        _ => Sql::Number(value.shown()),
    };
    let row = |line: &Line| {
        let cells = columns.iter().map(|name| line.cells.get(name).map_or(Sql::Null, value));
        std::iter::once(Sql::Number(line.time.to_string())).chain(cells).collect()
    };
    let named = std::iter::once(life.time_column).chain(columns.iter().copied());
    Command::Insert {
        table: name.to_owned(),
        columns: Some(named.map(str::to_owned).collect()),
        rows: lines.iter().map(row).collect(),
        range,
    }
}

/// Carries out a list, and checks the end and everything that was seen on the way.
fn check(seed: u64, way: Way) {
    let steps = steps(seed);
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut bench = Bench::new(seed, way, dir.path(), &steps);
    steps.iter().for_each(|step| bench.run(step));
    bench.look();
    bench.stop_reading();
    ok(&bench.engine(), flush());
    bench.look();
    bench.kill(false);
    bench.look();
    bench.stop_reading();
    bench.learn(false);
    bench.check();
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
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get()) {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for way in [Way::Alone, Way::Crowd] {
                        let done = std::panic::catch_unwind(|| check(seed, way));
                        assert!(done.is_ok(), "seed {seed} failed, {way:?}");
                    }
                }
            });
        }
    });
}
