//! A simulated server with its clients: lives that end by any means, and what must hold after each.

use super::model::{self, DOOMED, Model, Sent};
use crate::apply::ErrorTag;
use crate::clock::Clock;
use crate::codec::Precision;
use crate::engine::steps::{Actor, Steps};
use crate::engine::{DEFAULT_DATABASE, EngineConfig, OpenError, Origin, Session};
use crate::io::Operation;
use crate::io::sim::{Ended, Fault, Rng, SimDisk};
use crate::sequencer::{Change, Durability, Progress, Receipt};
use crate::types::TableId;
use bytes::BytesMut;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Steps after which work that does not end is taken for stuck.
const DRAIN_STEPS_MAX: usize = 20_000;
/// How often work that failed is waited for, and for how long.
const PAUSES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(60);
/// Tries of a start that a fault has failed.
const STARTS_MAX: usize = 4;

/// A server, its disk, its clock, its clients.
#[derive(Debug)]
pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) rng: Rng,
    pub(super) model: Model,
    pub(super) clock: Clock,
    pub(super) config: EngineConfig,
    steps: Option<Steps>,
    clients: BTreeMap<u64, Client>,
    next_connection: u64,
    /// The process ended itself as after a failed sync, and the device had failed nothing.
    ended_needlessly: bool,
}

/// One connection from outside.
#[derive(Debug)]
struct Client {
    session: Session,
    buffer: BytesMut,
    /// Commits that are not acknowledged: their ordinals and the rows before their end.
    waiting: VecDeque<(u64, u64)>,
    sent: u64,
}

/// How an action came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// The process lives.
    Lives,
    /// It is gone.
    Ended(Ended),
}

impl World {
    /// An empty disk, with limits so small that everything happens in a few steps.
    pub(super) fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let mut config = EngineConfig::new("/data");
        config.sequencer.chunk_bytes = 1 << (10 + rng.below(4));
        config.wal.segment_bytes = 1 << (9 + rng.below(4));
        config.wal.segment_rows = 20 + rng.below(100);
        config.wal.carry_bytes = [0, 300, 600, 16 << 10][rng.below(4) as usize];
        config.wal.unwritten_bytes = [0, 1000, 64 << 10][seed as usize % 3];
        config.wal.writers_max = 6;
        config.commit.rows = 10 + rng.below(30) as usize;
        config.apply.workers = 1;
        config.apply.flush_bytes = 1 << (10 + rng.below(6));
        config.apply.flush_age_ms = 2000;
        config.apply.compaction.fan_in = 2;
        config.apply.compaction.parts_max = 2 + rng.below(4) as usize;
        // What is kept although it is done with must not be in the way of a start.
        config.wal_retention = Duration::from_secs(if seed % 8 == 7 { 20 } else { 0 });
        World {
            disk: SimDisk::new(rng.next_u64()),
            rng,
            model: Model::default(),
            clock: Clock::manual(1_700_000_000_000_000_000),
            config,
            steps: None,
            clients: BTreeMap::new(),
            next_connection: 1,
            ended_needlessly: false,
        }
    }

    /// Runs something in the process. A panic that is no end of the process is a failure of the test.
    pub(super) fn guard<T>(&mut self, act: impl FnOnce(&mut World) -> T) -> Result<T, Ended> {
        let done = catch_unwind(AssertUnwindSafe(|| act(self)));
        match (done, self.disk.ended()) {
            // Workers catch what unwinds and go on; the process has ended all the same.
            (_, Some(ended)) => Err(ended),
            (Ok(done), None) => Ok(done),
            (Err(panic), None) => resume_unwind(panic),
        }
    }

    /// What the process leaves behind goes with it.
    pub(super) fn end(&mut self, ended: Ended) {
        // The last words of the process reach its clients.
        self.hear();
        if ended == Ended::Stuck {
            self.disk.heal();
        }
        self.ended_needlessly |= ended == Ended::FailedSync && self.disk.broken().is_empty();
        match ended {
            Ended::PowerCut => self.disk.power_cut(),
            Ended::Killed | Ended::Stuck => self.disk.kill(),
            // The machine may live on or not.
            Ended::FailedSync if self.rng.one_in(2) => self.disk.power_cut(),
            Ended::FailedSync => self.disk.kill(),
        }
        self.clients.clear();
        if ended == Ended::PowerCut || ended == Ended::FailedSync {
            self.forget_unsynced();
        }
        for known in self.model.connections.values_mut() {
            known.floor = known.floor.max(known.acked);
        }
        self.steps = None;
    }

    /// `nosync` promises nothing against a power cut, or a device that fails.
    fn forget_unsynced(&mut self) {
        if self.config.sequencer.durability == Durability::NoSync {
            for known in self.model.connections.values_mut() {
                (known.floor, known.acked) = (known.durable, 0);
            }
        }
    }

    /// Starts the server with `faults` ahead. A start that fails must succeed once the disk is sound again.
    pub(super) fn start(&mut self, faults: &[Fault]) -> Result<Outcome, String> {
        self.disk.plan(faults);
        self.start_again()
    }

    /// Starts the server; faults that were planned go on.
    pub(super) fn start_again(&mut self) -> Result<Outcome, String> {
        if self.ended_needlessly {
            return Err("the process ended itself, and no sync had failed".to_owned());
        }
        for _ in 0..STARTS_MAX {
            let (config, fs, clock) = (self.config.clone(), self.disk.fs(), self.clock.clone());
            match self.guard(|_| Steps::open(config, fs, clock)) {
                Ok(Ok(steps)) => {
                    steps.engine().catalog.roll_at(600);
                    self.steps = Some(steps);
                    return Ok(Outcome::Lives);
                }
                Ok(Err(error)) => self.refused(&error)?,
                Err(ended) => {
                    self.end(ended);
                    return Ok(Outcome::Ended(ended));
                }
            }
        }
        Err("the server does not start on a sound disk".to_owned())
    }

    /// Only a fault may keep a server from starting.
    fn refused(&mut self, error: &OpenError) -> Result<(), String> {
        if self.disk.hits() == 0 {
            return Err(format!("the start is refused: {error}"));
        }
        if self.disk.broken().contains(&Operation::Sync) {
            self.forget_unsynced();
        }
        self.disk.kill();
        self.disk.heal();
        Ok(())
    }

    /// Goes on until nothing is left to do, then holds everything to the model.
    pub(super) fn drain_and_check(&mut self, is_recovery: bool) -> Result<Outcome, String> {
        let checked = self.guard(|world| -> Result<(), String> {
            world.drain()?;
            let engine = world.steps().engine().clone();
            let hits = world.disk.hits();
            let seen = match world.model.check(&engine) {
                // The fault was for us who look, so look again, at a sound disk.
                Err(_) if world.disk.hits() > hits => {
                    world.disk.heal();
                    world.model.check(&engine)?
                }
                other => other?,
            };
            if is_recovery {
                world.model.settle(&seen);
            }
            Ok(())
        });
        self.outcome(checked)
    }

    /// Makes every report and holds them to the model.
    pub(super) fn check_reports(&mut self) -> Result<Outcome, String> {
        let checked = self.guard(|world| -> Result<(), String> {
            for _ in 0..3 {
                world.clock.advance(Duration::from_secs(1));
                world.step(Actor::Reporter);
                world.drain()?;
            }
            world.model.check_reports(&world.steps().engine().clone())
        });
        self.outcome(checked)
    }

    fn outcome(&mut self, done: Result<Result<(), String>, Ended>) -> Result<Outcome, String> {
        match done {
            Ok(checked) => checked.map(|()| Outcome::Lives),
            Err(ended) => {
                self.end(ended);
                Ok(Outcome::Ended(ended))
            }
        }
    }

    /// Goes on until nothing moves, whatever is in trouble. True when nothing is.
    pub(super) fn settle(&mut self) -> bool {
        self.drain().is_ok()
    }

    /// Seals the log without a flush, as a stop does that has no time left.
    pub(super) fn close_unflushed(&mut self) -> Result<(), String> {
        let closed = self.guard(|world| {
            while world.step(Actor::Sequencer) {}
            world.hear();
            drop(std::mem::take(&mut world.clients));
            world.steps().engine().shared.sequencer.shutdown().expect("no thread to end");
            while world.step(Actor::Sequencer) {}
            world.steps().engine().catalog.seal().expect("a sound disk");
        });
        self.closed(closed.err());
        Ok(())
    }

    /// After a clean stop everything is durable, if nothing ended it before.
    fn closed(&mut self, ended: Option<Ended>) {
        self.end(ended.unwrap_or(Ended::Killed));
        if ended.is_none() {
            for known in self.model.connections.values_mut() {
                known.durable = known.floor;
            }
        }
    }

    /// Opens the server on the disk as it is, or says why it refuses.
    pub(super) fn try_start(&mut self) -> Result<(), OpenError> {
        let (config, fs, clock) = (self.config.clone(), self.disk.fs(), self.clock.clone());
        self.steps = Some(Steps::open(config, fs, clock)?);
        Ok(())
    }

    fn drain(&mut self) -> Result<(), String> {
        self.resume();
        let (mut counts, mut pauses) = ([0; 3], PAUSES);
        for _ in 0..DRAIN_STEPS_MAX {
            let busy = [Actor::Sequencer, Actor::Worker, Actor::Compaction];
            if let Some(n) = busy.into_iter().position(|actor| self.step(actor)) {
                counts[n] += 1;
                continue;
            }
            self.step(Actor::Ticker);
            if !self.step(Actor::Worker) && !self.step(Actor::Compaction) {
                let rest = self.check_progress();
                if rest.is_ok() || pauses == 0 {
                    return rest;
                }
                // What failed and may pass is tried again after a pause.
                pauses -= 1;
                self.resume();
                self.clock.advance(PAUSE);
            }
        }
        let rest = self.check_progress();
        Err(format!("the server does not come to rest: steps of {counts:?}, {rest:?}"))
    }

    /// Everything committed is visible, and nothing waits for an operator.
    fn check_progress(&mut self) -> Result<(), String> {
        for view in self.steps().engine().shared.apply.tables() {
            let progress = view.progress;
            let (seq, applied) = (progress.seq_txn(), progress.applied_txn());
            if let Some(trouble) = progress.trouble() {
                return Err(format!("a table is in trouble: {trouble}"));
            }
            if applied != seq || progress.flushed_txn() > applied {
                return Err(format!("a table is at {applied} of {seq}, idle"));
            }
        }
        Ok(())
    }

    /// One life: random steps of everybody until the process ends or `steps` are over, then a seeded end.
    pub(super) fn live(&mut self, steps: u64) -> Result<(), String> {
        for _ in 0..steps {
            let choice = self.rng.below(100);
            if let Err(ended) = self.guard(|world| world.act(choice)) {
                self.end(ended);
                return Ok(());
            }
            self.hear();
        }
        match self.rng.below(4) {
            0 => self.end(Ended::Killed),
            1 => self.end(Ended::PowerCut),
            2 => return self.close(),
            _ => {
                if self.drain_and_check(false)? == Outcome::Lives {
                    self.hear();
                    self.end(Ended::PowerCut);
                }
            }
        }
        Ok(())
    }

    /// A clean stop.
    pub(super) fn close(&mut self) -> Result<(), String> {
        let closed = self.guard(|world| {
            // Connections end first, as the server sees to it: what they have is committed.
            while world.step(Actor::Sequencer) {}
            world.hear();
            let clients = std::mem::take(&mut world.clients);
            let steps = world.steps.take();
            drop(clients);
            steps.map(Steps::close)
        });
        self.closed(closed.err());
        Ok(())
    }

    pub(super) fn act(&mut self, choice: u64) {
        match choice {
            0..28 => self.send(),
            30..50 => self.commit(),
            50..70 => {
                self.step(Actor::Sequencer);
            }
            70..80 => {
                self.step(Actor::Worker);
            }
            80..83 => {
                self.step(Actor::Compaction);
            }
            83..86 => {
                self.step(Actor::Ticker);
            }
            86..89 => {
                self.step(Actor::Reporter);
            }
            89..92 => {
                self.step(Actor::Housekeeper);
            }
            92..94 => self.flush(),
            94 => self.steps().engine().shared.writers.close_idle(),
            95 => self.leave(),
            96 => self.drop_doomed(),
            28 | 29 | 97 => self.suspend_or_resume(),
            98 => self.clock.step_wall((self.rng.below(200) as i64 - 100) * 60_000_000_000),
            _ => self.clock.advance(Duration::from_millis(500 + self.rng.below(3000))),
        }
    }

    pub(super) fn step(&mut self, actor: Actor) -> bool {
        self.steps.as_mut().expect("the server runs").step(actor)
    }

    pub(super) fn steps(&self) -> &Steps {
        self.steps.as_ref().expect("the server runs")
    }

    /// A client sends some lines.
    fn send(&mut self) {
        let connection = match self.rng.below(4) {
            0 if self.clients.len() < 5 => self.connect(),
            _ => self.pick().unwrap_or_else(|| self.connect()),
        };
        let rows = if self.rng.one_in(6) { self.rng.below(40) } else { self.rng.below(4) } + 1;
        let is_doomed = self.rng.one_in(12);
        self.send_rows(connection, rows, is_doomed);
    }

    /// A client sends so many lines, and one for the table that is dropped.
    pub(super) fn send_rows(&mut self, connection: u64, rows: u64, is_doomed: bool) {
        let Some(client) = self.clients.get_mut(&connection) else { return };
        for _ in 0..rows {
            let table = model::table_of(connection, client.sent);
            let line = model::line(connection, client.sent, &format!("t{table}"));
            client.buffer.extend_from_slice(line.as_bytes());
            client.sent += 1;
        }
        if is_doomed {
            let line = model::line(connection, client.sent, DOOMED);
            client.buffer.extend_from_slice(line.as_bytes());
        }
        let known = self.model.connections.entry(connection).or_default();
        *known = Sent { sent: client.sent, ..known.clone() };
        client.ingest();
    }

    pub(super) fn connect(&mut self) -> u64 {
        let connection = self.next_connection;
        self.next_connection += 1;
        let origin = Origin { peer: "simulated".into(), precision: Precision::Nanosecond };
        let session = self.steps().engine().session(DEFAULT_DATABASE.into(), origin);
        let client = Client { session, buffer: BytesMut::new(), waiting: VecDeque::new(), sent: 0 };
        self.clients.insert(connection, client);
        connection
    }

    fn pick(&mut self) -> Option<u64> {
        let count = self.clients.len() as u64;
        let at = if count == 0 { return None } else { self.rng.below(count) };
        self.clients.keys().nth(at as usize).copied()
    }

    /// A client's rows become a commit.
    fn commit(&mut self) {
        if let Some(connection) = self.pick() {
            self.commit_of(connection);
        }
    }

    /// All rows of a client become a commit.
    pub(super) fn commit_of(&mut self, connection: u64) {
        let Some(client) = self.clients.get_mut(&connection) else { return };
        client.ingest();
        if client.buffer.is_empty()
            && let Ok(ordinal) = client.session.commit()
        {
            client.waiting.push_back((ordinal, client.sent));
        }
    }

    /// A client goes away; what it has not committed was never promised.
    pub(super) fn leave(&mut self) {
        let Some(connection) = self.pick() else { return };
        self.clients.remove(&connection);
    }

    /// Clients hear what was acknowledged.
    pub(super) fn hear(&mut self) {
        for (connection, client) in &mut self.clients {
            let committed = client.session.progress().committed();
            while let Some((_, rows)) = client.waiting.pop_front_if(|(n, _)| *n <= committed) {
                let known = self.model.connections.entry(*connection).or_default();
                known.acked = known.acked.max(rows);
            }
        }
    }

    /// Somebody asks for everything to be flushed, and does not wait.
    pub(super) fn flush(&mut self) {
        let apply = self.steps().engine().shared.apply.clone();
        now_or_later(apply.flush_all());
    }

    /// Somebody stops a table, or lets those go on that are stopped.
    pub(super) fn suspend_or_resume(&mut self) {
        let tables = self.steps().engine().shared.apply.tables();
        if tables.is_empty() || tables.iter().any(|table| table.progress.is_suspended()) {
            self.resume();
        } else {
            let table = &tables[self.rng.below(tables.len() as u64) as usize];
            self.suspend(table.store.load().schema.def().id);
        }
        if self.rng.one_in(2) {
            // What waits is shelved.
            self.clock.advance(Duration::from_secs(61));
            self.step(Actor::Housekeeper);
        }
    }

    pub(super) fn suspend(&mut self, table: TableId) {
        self.steps().engine().shared.apply.suspend(table, ErrorTag::OnRequest, "somebody");
    }

    /// Lets every table go on that somebody stopped. One whose frames cannot be put back stays where it is.
    pub(super) fn resume(&mut self) {
        let shared = self.steps().engine().shared.clone();
        for table in shared.apply.tables() {
            if table.progress.trouble().is_some_and(|trouble| trouble.is_requested) {
                drop(shared.resume_table(table.store.load().schema.def().id, None));
            }
        }
    }

    pub(super) fn drop_doomed(&mut self) {
        let shared = self.steps().engine().shared.clone();
        if let Some(table) = shared.logged_table(DEFAULT_DATABASE, DOOMED) {
            let receipt = Receipt::without_frames(Progress::new(), 1);
            let change = Some(Change::Drop { table: table.id() });
            shared.sequencer.push(Receipt { change, ..receipt });
        }
    }
}

impl Client {
    fn ingest(&mut self) {
        if now_or_later(self.session.ready()).is_some() {
            // What does not find room stays in the buffer.
            drop(self.session.ingest(&mut self.buffer));
        }
    }
}

/// The outcome of a future that is ready at once.
fn now_or_later<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}
