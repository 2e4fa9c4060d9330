//! One short history that touches every kind of file operation, with each fault at each operation of it.

use super::model::DOOMED;
use super::world::{Outcome, World};
use crate::engine::steps::Actor;
use crate::io::sim::{Ended, Fault, FaultKind, Moment};
use crate::sequencer::Durability;
use std::time::Duration;

/// A world whose limits make the history roll, flush, compact and purge.
fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.config.sequencer.chunk_bytes = 2048;
    world.config.wal.segment_bytes = 2048;
    world.config.wal.segment_rows = 25;
    world.config.wal.carry_bytes = 600;
    world.config.commit.rows = 40;
    world.config.apply.flush_bytes = 1 << 20;
    world.config.apply.compaction.parts_max = 2;
    world
}

/// What happens, but for the faults: two lives, the first with a clean stop.
fn history(world: &mut World) -> Result<(), String> {
    for life in 0..2 {
        if world.start_again()? != Outcome::Lives || world.drain_and_check(true)? != Outcome::Lives
        {
            continue;
        }
        match world.guard(work) {
            Ok(()) if life == 0 => world.close()?,
            Ok(()) => world.end(Ended::Killed),
            Err(ended) => world.end(ended),
        }
    }
    Ok(())
}

fn work(world: &mut World) {
    let (first, second) = (world.connect(), world.connect());
    for round in 0..3 {
        // One commit that the log carries, one that it does not.
        world.send_rows(first, 2, round == 0);
        world.commit_of(first);
        world.send_rows(second, 30, false);
        world.commit_of(second);
        world.step(Actor::Sequencer);
        world.hear();
        world.step(Actor::Reporter);
        world.step(Actor::Sequencer);
        world.flush();
        for _ in 0..12 {
            world.step(Actor::Worker);
        }
        world.step(Actor::Compaction);
        match round {
            0 => suspend(world),
            1 => world.drop_doomed(),
            _ => {
                // What waits for the suspended table is shelved, then put back.
                world.clock.advance(Duration::from_secs(61));
                world.step(Actor::Housekeeper);
                world.resume();
                while world.step(Actor::Worker) {}
            }
        }
        world.clock.advance(Duration::from_secs(3));
        world.step(Actor::Ticker);
        world.step(Actor::Housekeeper);
        world.step(Actor::Sequencer);
    }
    world.leave();
    world.step(Actor::Housekeeper);
    world.step(Actor::Sequencer);
    world.step(Actor::Housekeeper);
}

/// Commits that are acknowledged, and the power goes before any of them is in a part.
fn acknowledged_and_cut_off(world: &mut World) -> Result<(), String> {
    if world.start_again()? != Outcome::Lives {
        return Ok(());
    }
    let ended = world.guard(|world| {
        for round in 0..3 {
            let connection = world.connect();
            for rows in [2, 30] {
                world.send_rows(connection, rows, round == 0);
                world.commit_of(connection);
                while world.step(Actor::Sequencer) {}
                world.hear();
            }
        }
    });
    world.end(ended.err().unwrap_or(Ended::PowerCut));
    Ok(())
}

/// Stops a table that nobody drops.
fn suspend(world: &mut World) {
    let tables = world.steps().engine().shared.apply.tables();
    let mut defs = tables.iter().map(|table| table.store.load().schema.def().clone());
    if let Some(def) = defs.find(|def| &*def.name != DOOMED) {
        world.suspend(def.id);
    }
}

/// After everything, on a sound disk: nothing promised is lost, nothing is there twice, reports add up, nobody had to help.
fn judge(world: &mut World) -> Result<(), String> {
    world.disk.heal();
    world.start(&[])?;
    world.drain_and_check(true)?;
    world.check_reports()?;
    world.close()?;
    world.start(&[])?;
    world.drain_and_check(true).map(|_| ())
}

/// Puts a fault at the first operation it can hit, the second and so on, until it hits none. Returns how many there were.
fn at_every_operation(kind: FaultKind, persistent: bool, seed: u64) -> u64 {
    at_every_operation_of(history, kind, persistent, seed)
}

fn at_every_operation_of(
    history: fn(&mut World) -> Result<(), String>,
    kind: FaultKind,
    persistent: bool,
    seed: u64,
) -> u64 {
    for nth in 1.. {
        let mut world = world(seed);
        let fault = Fault { kind, nth, persistent };
        world.disk.plan(&[fault]);
        let done = history(&mut world);
        let hits = world.disk.hits();
        if let Err(what) = done.and_then(|()| judge(&mut world)) {
            panic!("{fault:?}: {what}");
        }
        if hits == 0 {
            return nth - 1;
        }
    }
    unreachable!("the history ends");
}

fn count(kind: FaultKind) {
    for persistent in [false, true] {
        let operations = at_every_operation(kind, persistent, 1);
        eprintln!("{kind:?}, persistent {persistent}: held at each of {operations} operations");
        assert!(operations > 20, "the history touches the disk: {operations}");
    }
}

/// All that may fail and let the process go on.
pub(super) fn every_fault() {
    use FaultKind::{NoDescriptors, NoMemory, NoSpace, ShortWrite, Sync};
    [Sync, ShortWrite, NoSpace, NoDescriptors, NoMemory].into_iter().for_each(count);
}

#[test]
fn every_operation_may_fail() {
    count(FaultKind::Io);
}

#[test]
fn every_sync_may_fail() {
    count(FaultKind::Sync);
}

/// What a failed sync covered is gone with the power, whatever a second one says.
pub(super) fn every_sync_before_a_power_cut() {
    let syncs = at_every_operation_of(acknowledged_and_cut_off, FaultKind::Sync, false, 1);
    assert!(syncs > 10, "{syncs}");
}

#[test]
fn every_sync_may_fail_and_the_power_go_soon_after() {
    every_sync_before_a_power_cut();
}

#[test]
fn every_operation_may_find_no_room() {
    count(FaultKind::NoSpace);
}

#[test]
fn every_operation_may_find_no_descriptor() {
    count(FaultKind::NoDescriptors);
}

#[test]
fn every_operation_may_find_no_memory() {
    count(FaultKind::NoMemory);
}

#[test]
fn every_write_may_be_short() {
    count(FaultKind::ShortWrite);
}

#[test]
fn the_power_may_go_and_the_process_be_killed_at_every_operation() {
    for moment in [Moment::Before, Moment::After] {
        at_every_operation(FaultKind::Kill(moment), false, 1);
        at_every_operation(FaultKind::PowerCut(moment), false, 2);
    }
}

#[test]
fn recovery_may_be_cut_off_at_every_operation_again_and_again() {
    for nth in 1.. {
        let mut world = world(5);
        history(&mut world).expect("nothing is wrong yet");
        let fault = Fault { kind: FaultKind::PowerCut(Moment::After), nth, persistent: false };
        let mut cuts = 0;
        // Three starts in a row are cut off at the same place.
        for _ in 0..3 {
            let started = world.start(&[fault]).expect("a cut is no refusal");
            let is_up = started == Outcome::Lives
                && world.drain_and_check(true).expect("the same rows") == Outcome::Lives;
            if is_up {
                world.end(Ended::Killed);
            } else {
                cuts += 1;
            }
        }
        judge(&mut world).unwrap_or_else(|what| panic!("{fault:?}: {what}"));
        if cuts == 0 {
            return;
        }
    }
}

#[test]
fn a_frame_that_cannot_be_read_at_a_start_is_not_taken_for_one_that_is_lost() {
    for nth in 1.. {
        let mut world = world(3);
        world.config.sequencer.durability = Durability::NoSync;
        world.start(&[]).expect("an empty disk");
        let connection = world.connect();
        for _ in 0..3 {
            world.send_rows(connection, 2, false);
            world.commit_of(connection);
            world.step(Actor::Sequencer);
        }
        world.hear();
        // A kill: what was acknowledged is with the kernel.
        world.end(Ended::Killed);
        world.start(&[Fault { kind: FaultKind::Io, nth, persistent: false }]).expect("a retry");
        let hits = world.disk.hits();
        world.end(Ended::Killed);
        judge(&mut world).unwrap_or_else(|what| panic!("operation {nth}: {what}"));
        if hits == 0 {
            return;
        }
    }
}
