//! How long the WAL stays once nobody needs it.

use super::world::{Outcome, World};
use crate::engine::steps::Actor;
use std::path::Path;
use std::time::Duration;

/// A server whose rows are all flushed, in segments and chunks of the log that are closed, but for the last chunk.
pub(super) fn world(keep_s: u64) -> World {
    let mut world = World::new(11);
    world.config.wal_retention = Duration::from_secs(keep_s);
    world.config.hook.enabled = false;
    world.config.sequencer.chunk_bytes = 1024;
    world.config.wal.segment_bytes = 1024;
    assert_eq!(world.start(&[]), Ok(Outcome::Lives));
    let connection = world.connect();
    for _ in 0..20 {
        world.send_rows(connection, 10, false);
        world.commit_of(connection);
        while world.step(Actor::Sequencer) {}
    }
    world.leave();
    world
}

pub(super) fn flush(world: &mut World) {
    world.flush();
    while world.step(Actor::Worker) {}
    world.steps().engine().shared.writers.close_idle();
}

/// The housekeeper looks, and looks again once what it wanted to know is committed.
pub(super) fn keep_house(world: &mut World) {
    for _ in 0..3 {
        world.step(Actor::Housekeeper);
        while world.step(Actor::Sequencer) {}
    }
}

/// Segments, and chunks of the log.
fn held(world: &World) -> (usize, usize) {
    let fs = world.disk.fs();
    let names = |dir: &Path| fs.list(dir).unwrap().into_iter().map(|entry| entry.name);
    let wal = Path::new("/data/wal");
    let segments = names(wal).filter(|name| name != "txnlog").map(|name| wal.join(name));
    let segments = segments.map(|writer| names(&writer).filter(|n| n.ends_with(".wal")).count());
    let chunks = names(&wal.join("txnlog")).filter(|name| name.ends_with(".log")).count();
    (segments.sum(), chunks)
}

#[test]
fn what_is_flushed_goes_at_once_where_nothing_else_is_said() {
    let mut world = world(0);
    keep_house(&mut world);
    let before = held(&world);
    assert!(before.0 > 3 && before.1 > 3, "nothing goes that is not flushed: {before:?}");
    flush(&mut world);
    keep_house(&mut world);
    assert_eq!(held(&world), (0, 1));
}

#[test]
fn what_is_flushed_stays_for_the_retention() {
    let mut world = world(100);
    let before = held(&world);
    // Time before the flush does not count.
    world.clock.advance(Duration::from_secs(1000));
    keep_house(&mut world);
    flush(&mut world);
    // What the housekeeper asks for may begin another chunk.
    let is_kept = |world: &World| held(world).0 == before.0 && held(world).1 >= before.1;
    for _ in 0..9 {
        keep_house(&mut world);
        assert!(is_kept(&world), "{:?} of {before:?}", held(&world));
        world.clock.advance(Duration::from_secs(11));
    }
    keep_house(&mut world);
    assert!(is_kept(&world), "after 99 seconds: {:?} of {before:?}", held(&world));
    world.clock.advance(Duration::from_secs(40));
    keep_house(&mut world);
    assert_eq!(held(&world), (0, 1));
}
