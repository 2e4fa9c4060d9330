//! Trouble that may pass: each table says what it is, waits, and goes on by itself.

use super::rows::{BOTH, Bed, Life, frame};
use super::world::{Outcome, World};
use crate::apply::{ErrorTag, Trouble};
use crate::clock::Clock;
use crate::engine::steps::{Actor, Steps};
use crate::engine::{DEFAULT_DATABASE, EngineConfig, OpenError, check, repair};
use crate::io::Operation;
use crate::io::sim::{Ended, Fault, FaultKind, SimDisk};
use std::path::Path;
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
