//! Trouble that may pass: each table says what it is, waits, and goes on by itself.

use super::bed::{BOTH, Bed, Life, frame};
use super::world::{Outcome, World};
use crate::apply::{ApplyPool, ErrorTag, ResumeError, TableView, Trouble};
use crate::clock::Clock;
use crate::engine::steps::{Actor, Steps};
use crate::engine::{DEFAULT_DATABASE, EngineConfig, OpenError, check, repair};
use crate::io::Operation;
use crate::io::sim::{Ended, Fault, FaultKind, SimDisk};
use crate::sequencer::Change;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

/// A server that has rows in memory.
fn world() -> World {
    let mut world = World::new(3);
    world.config.apply.flush_bytes = 1 << 20;
    world.config.apply.flush_age_ms = 3_600_000;
    assert_eq!(world.start(&[]), Ok(Outcome::Lives));
    rows(&mut world);
    while world.step(Actor::Worker) {}
    world
}

fn rows(world: &mut World) {
    let connection = world.connect();
    world.send_rows(connection, 20, false);
    world.commit_of(connection);
    while world.step(Actor::Sequencer) {}
}

fn troubles(world: &World) -> Vec<Trouble> {
    let tables = world.steps().engine().shared.apply.tables();
    tables.iter().filter_map(|table| table.progress.trouble()).collect()
}

fn work(world: &mut World) {
    world.step(Actor::Ticker);
    while world.step(Actor::Worker) {}
}

#[test]
fn what_may_pass_is_tried_again_after_pauses_and_passes() {
    for (kind, tag) in [
        (FaultKind::NoSpace, ErrorTag::DiskFull),
        (FaultKind::NoDescriptors, ErrorTag::TooManyOpenFiles),
        (FaultKind::NoMemory, ErrorTag::OutOfMemory),
    ] {
        let mut world = world();
        world.disk.plan(&[Fault { kind, nth: 1, persistent: true }]);
        world.flush();
        while world.step(Actor::Worker) {}
        let found = troubles(&world);
        assert!(!found.is_empty() && found.iter().all(|trouble| trouble.tag == tag), "{found:?}");
        assert!(found.iter().all(Trouble::is_transient));
        let hits = world.disk.hits();
        work(&mut world);
        assert_eq!(world.disk.hits(), hits, "nothing is tried before the pause is over");
        for pause in [500, 1000] {
            let hits = world.disk.hits();
            world.clock.advance(Duration::from_millis(pause));
            work(&mut world);
            assert!(world.disk.hits() > hits, "it is tried again after {pause} ms");
        }
        world.disk.heal();
        world.clock.advance(Duration::from_secs(2));
        work(&mut world);
        assert_eq!(troubles(&world), []);
        let tables = world.steps().engine().shared.apply.tables();
        for table in tables {
            assert_eq!(table.progress.flushed_txn(), table.progress.seq_txn());
        }
        assert_eq!(world.drain_and_check(true), Ok(Outcome::Lives));
    }
}

#[test]
fn less_is_done_at_once_for_a_minute_after_memory_was_refused() {
    let mut world = world();
    let pressure = |world: &World| {
        let status = world.steps().engine().source().table_status();
        status.iter().map(|status| status.memory_pressure).max()
    };
    assert_eq!(pressure(&world), Some(0));
    world.disk.plan(&[Fault { kind: FaultKind::NoMemory, nth: 1, persistent: false }]);
    world.flush();
    while world.step(Actor::Worker) {}
    assert_eq!(pressure(&world), Some(1));
    assert!(troubles(&world).iter().all(Trouble::is_transient));
    world.clock.advance(Duration::from_secs(1));
    work(&mut world);
    assert_eq!((troubles(&world).len(), pressure(&world)), (0, Some(1)));
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(pressure(&world), Some(0));
}

#[test]
fn what_was_committed_to_a_table_in_trouble_says_how_long_it_waits() {
    let mut world = world();
    let lag = |world: &World| {
        let status = world.steps().engine().source().table_status();
        status.iter().map(|status| status.lag_time).max()
    };
    assert_eq!(lag(&world), Some(Duration::ZERO));
    rows(&mut world);
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(lag(&world), Some(Duration::from_secs(5)));
    while world.step(Actor::Worker) {}
    assert_eq!(lag(&world), Some(Duration::ZERO));
}

/// Puts the fault at each operation of a start, and hands over what became of it.
fn at_every_operation_of_a_start(kind: FaultKind, persistent: bool, judge: impl Fn(StartEnd)) {
    let mut world = world();
    for nth in 1.. {
        world.end(Ended::Killed);
        world.disk.plan(&[Fault { kind, nth, persistent }]);
        let started = world.guard(World::try_start);
        let hits = world.disk.hits();
        match started {
            Ok(Ok(())) => {}
            Ok(Err(error)) => judge(StartEnd::Refused(error)),
            Err(ended) => judge(StartEnd::Ended(ended)),
        }
        world.end(Ended::Killed);
        assert_eq!(world.start(&[]), Ok(Outcome::Lives));
        assert_eq!(world.drain_and_check(true), Ok(Outcome::Lives));
        if hits == 0 {
            assert!(nth > 5, "a start touches the disk: {nth}");
            return;
        }
    }
}

/// How a start ended that was none.
#[derive(Debug)]
enum StartEnd {
    Refused(OpenError),
    Ended(Ended),
}

#[test]
fn a_start_on_a_full_disk_is_refused_by_name_and_the_next_one_has_everything() {
    at_every_operation_of_a_start(FaultKind::NoSpace, true, |end| {
        let StartEnd::Refused(error) = end else { panic!("{end:?}") };
        let said = error.io().unwrap_or_else(|| panic!("{error}"));
        assert!(said.is_no_space() && said.path.starts_with("/data"), "{error}");
        assert!(error.to_string().contains(&format!("{}", said.path.display())), "{error}");
    });
}

#[test]
fn a_sync_that_fails_at_a_start_ends_the_process_or_is_told_apart() {
    at_every_operation_of_a_start(FaultKind::Sync, false, |end| match end {
        StartEnd::Refused(error) => {
            assert_eq!(error.io().map(|error| error.operation), Some(Operation::Sync), "{error}");
        }
        StartEnd::Ended(ended) => assert_eq!(ended, Ended::FailedSync),
    });
}

#[test]
fn a_range_of_a_segment_that_the_device_cannot_read_holds_up_its_table_and_no_other() {
    let (disk, dir) = (SimDisk::new(1), Path::new("/data"));
    let clock = Clock::manual(1_700_000_000_000_000_000);
    let config = EngineConfig { data_dir: dir.to_owned(), ..Bed::new(0).config };
    let open = || Steps::open(config.clone(), disk.fs(), clock.clone()).expect("the start goes on");
    let mut life = Life::of(open());
    life.rows(BOTH, 0..3);
    drop(life);
    disk.kill();
    let (path, bytes) = frame(&disk.fs(), dir, "a", 1);
    let range = bytes.start as u64..bytes.end as u64;
    disk.make_unreadable(&path, range.clone()).expect("the segment");
    let is_named = |what: &str| {
        what.contains(path.to_str().expect("a name"))
            && what.contains(&format!("bytes {} to ", range.start))
    };
    let report = check(&disk.fs(), dir).expect("a look at the rest");
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert!(is_named(&finding.what) && !finding.is_mendable(), "row {}: {finding:?}", "S15");
    let (_, done) = repair(&disk.fs(), dir).expect("nothing to mend");
    assert_eq!(done, [""; 0]);

    let mut steps = open();
    while steps.step(Actor::Worker) {}
    let rows = |steps: &Steps, table| {
        steps.engine().snapshot(DEFAULT_DATABASE, table).map_or(0, |snapshot| snapshot.rows())
    };
    let troubles = |steps: &Steps| -> Vec<Trouble> {
        let tables = steps.engine().shared.apply.tables();
        tables.iter().filter_map(|table| table.progress.trouble()).collect()
    };
    assert_eq!((rows(&steps, "a"), rows(&steps, "b")), (1, 3));
    let [trouble] = &troubles(&steps)[..] else { panic!("{:?}", troubles(&steps)) };
    assert!(trouble.tag == ErrorTag::Io && is_named(&trouble.message), "{trouble}");

    disk.make_unreadable(&path, 0..0).expect("the segment");
    clock.advance(Duration::from_secs(60));
    steps.step(Actor::Ticker);
    while steps.step(Actor::Worker) {}
    assert_eq!((rows(&steps, "a"), rows(&steps, "b"), troubles(&steps)), (3, 3, Vec::new()));
}

/// A server with small bounds: so many rounds of a row for each table go through them several times.
const ROUNDS: u64 = 300;
const TAIL_BYTES_MAX: u64 = 2 << 10;
const UNAPPLIED_BYTES_MAX: u64 = 2 << 10;
const DIR: &str = "/data";

struct Small {
    disk: SimDisk,
    clock: Clock,
    config: EngineConfig,
}

impl Small {
    fn new() -> Small {
        let mut config = EngineConfig { data_dir: DIR.into(), ..Bed::new(0).config };
        config.apply.memory_budget = TAIL_BYTES_MAX;
        config.apply.unapplied_bytes = UNAPPLIED_BYTES_MAX;
        let clock = Clock::manual(1_700_000_000_000_000_000);
        Small { disk: SimDisk::new(1), clock, config }
    }

    fn begin(&self) -> Life {
        let steps = Steps::open(self.config.clone(), self.disk.fs(), self.clock.clone());
        Life::of(steps.expect("a sound folder"))
    }

    /// Puts a file where the folder of a table should be.
    fn block(&self, folder: &str) {
        let path = Path::new(DIR).join("tables").join(folder);
        self.disk.fs().create(&path).expect("room for a file");
    }

    fn unblock(&self, folder: &str) {
        self.disk.fs().remove(&Path::new(DIR).join("tables").join(folder)).expect("a file");
    }

    /// A row for each table, and a second in which what is visible becomes parts.
    fn round(&self, life: &mut Life, tables: &[&str], number: u64) {
        life.rows(tables, number..number + 1);
        apply(life).want_flush_all();
        self.pass(life, Duration::from_secs(1));
    }

    fn pass(&self, life: &mut Life, time: Duration) {
        self.clock.advance(time);
        life.steps.step(Actor::Ticker);
        while life.steps.step(Actor::Worker) {}
    }
}

fn apply(life: &Life) -> &ApplyPool {
    &life.steps.engine().shared.apply
}

fn flush_all(life: &mut Life) {
    apply(life).want_flush_all();
    while life.steps.step(Actor::Worker) {}
}

fn table(life: &Life, name: &str) -> TableView {
    apply(life).table(life.id(name)).expect("the table")
}

fn visible(life: &Life, name: &str) -> u64 {
    table(life, name).store.load().rows()
}

fn is_flushed(life: &Life, name: &str) -> bool {
    let progress = table(life, name).progress;
    progress.flushed_txn() == progress.seq_txn()
}

fn tag(life: &Life, name: &str) -> Option<ErrorTag> {
    table(life, name).progress.trouble().map(|trouble| trouble.tag)
}

#[track_caller]
fn check_empty(life: &Life) {
    let gate = apply(life).gate();
    let held = [gate.tail_bytes(), gate.stuck_bytes(), gate.unapplied_bytes(), gate.apart_bytes()];
    assert_eq!(held, [0; 4]);
}

#[test]
fn a_table_that_cannot_be_flushed_stops_no_other_and_catches_up() {
    let small = Small::new();
    let mut life = small.begin();
    small.block("a~1");
    let gate = apply(&life).gate().clone();
    for n in 0..ROUNDS {
        small.round(&mut life, BOTH, n);
        assert!(gate.admitted(), "round {n}");
        assert_eq!((visible(&life, "b"), is_flushed(&life, "b")), (n + 1, true), "round {n}");
    }
    assert_eq!((visible(&life, "a"), tag(&life, "a")), (1, Some(ErrorTag::Io)));
    assert!(gate.stuck_bytes() > 0 && gate.tail_bytes() == gate.stuck_bytes());
    assert!(gate.stuck_bytes() * ROUNDS > 4 * TAIL_BYTES_MAX, "that much `b` had in tails");
    assert!(gate.apart_bytes() > 4 * UNAPPLIED_BYTES_MAX && gate.unapplied_bytes() == 0);
    assert_eq!(apply(&life).waiting_apart(), [], "nothing of what is tried again is shelved");
    assert!(!table(&life, "a").progress.is_suspended());

    small.unblock("a~1");
    small.pass(&mut life, Duration::from_secs(60));
    flush_all(&mut life);
    assert_eq!(
        (visible(&life, "a"), is_flushed(&life, "a"), tag(&life, "a")),
        (ROUNDS, true, None)
    );
    check_empty(&life);
}

#[test]
fn a_table_whose_segment_cannot_be_read_stops_no_other_and_catches_up() {
    let small = Small::new();
    let mut life = small.begin();
    life.rows(BOTH, 0..3);
    drop(life);
    small.disk.kill();
    let (path, bytes) = frame(&small.disk.fs(), Path::new(DIR), "a", 1);
    let range = bytes.start as u64..bytes.end as u64;
    small.disk.make_unreadable(&path, range).expect("the segment");

    let mut life = small.begin();
    let pool = life.steps.engine().shared.clone();
    let mut flush = pin!(pool.apply.flush_all());
    assert!(flush.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    while life.steps.step(Actor::Worker) {}
    let gate = apply(&life).gate().clone();
    for n in 3..ROUNDS {
        small.round(&mut life, BOTH, n);
        assert!(gate.admitted(), "round {n}");
        assert_eq!((visible(&life, "b"), is_flushed(&life, "b")), (n + 1, true), "round {n}");
    }
    assert_eq!((visible(&life, "a"), tag(&life, "a")), (1, Some(ErrorTag::Io)));
    let progress = table(&life, "a").progress;
    assert_eq!(progress.flushed_txn(), progress.applied_txn(), "what is visible is in parts");
    assert_eq!((gate.tail_bytes(), gate.unapplied_bytes()), (0, 0));
    assert!(gate.apart_bytes() > 4 * UNAPPLIED_BYTES_MAX);
    assert!(flush.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());

    small.disk.make_unreadable(&path, 0..0).expect("the segment");
    small.pass(&mut life, Duration::from_secs(60));
    flush_all(&mut life);
    assert_eq!(
        (visible(&life, "a"), is_flushed(&life, "a"), tag(&life, "a")),
        (ROUNDS, true, None)
    );
    assert!(flush.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    check_empty(&life);
}

#[test]
fn tables_that_cannot_be_flushed_take_no_more_memory_and_hold_up_who_sends_to_them() {
    let mut small = Small::new();
    small.config.apply.suspended_bytes = UNAPPLIED_BYTES_MAX;
    let mut life = small.begin();
    small.block("a~1");
    small.block("b~2");
    let mut n = 0;
    while n == 0 || !apply(&life).is_held_up(life.id("a")) {
        small.round(&mut life, BOTH, n);
        n += 1;
        assert!(n < ROUNDS && apply(&life).gate().tail_bytes() < TAIL_BYTES_MAX / 2 * 3);
    }
    assert!(apply(&life).is_held_up(life.id("b")) && apply(&life).gate().admitted());
    small.round(&mut life, &["c"], 0);
    assert!(is_flushed(&life, "c") && !apply(&life).is_held_up(life.id("c")));

    small.unblock("a~1");
    small.pass(&mut life, Duration::from_secs(60));
    assert_eq!((visible(&life, "a"), visible(&life, "b"), tag(&life, "a")), (n, 1, None));
    small.unblock("b~2");
    small.pass(&mut life, Duration::from_secs(60));
    assert_eq!((visible(&life, "b"), tag(&life, "b")), (n, None));
    flush_all(&mut life);
    assert!(is_flushed(&life, "a") && is_flushed(&life, "b"));
    check_empty(&life);
}

#[test]
fn a_tail_that_cannot_be_flushed_and_takes_more_than_all_memory_leaves_the_others_a_way() {
    let mut small = Small::new();
    small.config.apply.unapplied_bytes = 1 << 20;
    let mut life = small.begin();
    small.block("a~1");
    life.rows(&["a"], 0..500);
    small.round(&mut life, &["a"], 500);
    let gate = apply(&life).gate().clone();
    let stuck = gate.stuck_bytes();
    assert_eq!(gate.tail_bytes(), stuck);
    assert!(stuck > 2 * TAIL_BYTES_MAX, "{stuck} bytes");
    for n in 0..ROUNDS {
        life.rows(&["b"], n..n + 1);
        assert!(gate.admitted(), "round {n}");
        assert_eq!((visible(&life, "b"), is_flushed(&life, "b")), (n + 1, true), "round {n}");
    }
    assert_eq!((gate.tail_bytes(), gate.stuck_bytes(), visible(&life, "a")), (stuck, stuck, 500));
    small.unblock("a~1");
    small.pass(&mut life, Duration::from_secs(60));
    flush_all(&mut life);
    assert_eq!((visible(&life, "a"), is_flushed(&life, "a")), (501, true));
    check_empty(&life);
}

#[test]
fn a_table_that_cannot_be_flushed_is_suspended_and_resumed_as_any_other() {
    let small = Small::new();
    let mut life = small.begin();
    small.block("a~1");
    (0..5).for_each(|n| small.round(&mut life, BOTH, n));
    let id = life.id("a");
    let next = table(&life, "a").progress.applied_txn().next().next();
    assert_eq!(apply(&life).resume(id, Some(next)), Err(ResumeError::NotSuspended));
    life.suspend("a");
    assert_eq!(tag(&life, "a"), Some(ErrorTag::OnRequest));
    small.pass(&mut life, Duration::from_secs(60));
    assert_eq!((visible(&life, "a"), apply(&life).waiting_apart()), (1, Vec::new()));
    assert_eq!(apply(&life).resume(id, Some(next)), Ok(()));
    while life.steps.step(Actor::Worker) {}
    assert_eq!((visible(&life, "a"), tag(&life, "a")), (1, Some(ErrorTag::Io)));

    small.unblock("a~1");
    assert_eq!(apply(&life).resume(id, None), Ok(()), "it need not wait for the next try");
    while life.steps.step(Actor::Worker) {}
    assert_eq!((visible(&life, "a"), tag(&life, "a")), (4, None), "one row was skipped");
    flush_all(&mut life);
    check_empty(&life);
}

#[test]
fn a_table_that_cannot_be_flushed_is_dropped_once_it_can() {
    let small = Small::new();
    let mut life = small.begin();
    small.block("a~1");
    (0..5).for_each(|n| small.round(&mut life, BOTH, n));
    let id = life.id("a");
    life.push(Change::Drop { table: id });
    small.round(&mut life, &["b"], 5);
    assert!(apply(&life).table(id).is_some());
    small.unblock("a~1");
    small.pass(&mut life, Duration::from_secs(60));
    assert!(apply(&life).table(id).is_none() && is_flushed(&life, "b"));
    check_empty(&life);
}

#[test]
fn a_segment_whose_header_cannot_be_read_holds_up_the_start_while_the_log_has_frames_of_it() {
    let (disk, dir) = (SimDisk::new(1), Path::new("/data"));
    let clock = Clock::manual(1_700_000_000_000_000_000);
    let config = EngineConfig { data_dir: dir.to_owned(), ..Bed::new(16 << 10).config };
    let open = || Steps::open(config.clone(), disk.fs(), clock.clone());
    let mut life = Life::of(open().expect("an empty disk"));
    life.rows(BOTH, 0..3);
    drop(life);
    disk.kill();
    let (path, _) = frame(&disk.fs(), dir, "a", 0);
    let before = disk.fs().read(&path).expect("the segment");
    disk.make_unreadable(&path, 0..64).expect("the segment");
    let refused = open().expect_err("the log may have frames that the segment lacks");
    assert!(refused.to_string().contains("/data/wal/1/0.wal"), "row {}: {refused}", "S16");
    disk.kill();

    disk.make_unreadable(&path, 0..0).expect("the segment");
    assert!(disk.fs().read(&path).is_ok_and(|after| after == before), "it is left alone");
    let mut steps = open().expect("the device reads again");
    while steps.step(Actor::Worker) {}
    for table in BOTH {
        let snapshot = steps.engine().snapshot(DEFAULT_DATABASE, table);
        assert_eq!(snapshot.map_or(0, |snapshot| snapshot.rows()), 3);
    }
}
