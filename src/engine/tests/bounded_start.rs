//! A start reads the log from the first chunk on that has something which is not flushed: row L20.

use super::retention::{flush, keep_house, world};
use super::world::{Outcome, World};
use crate::engine::steps::Actor;
use crate::engine::{OpenError, check, repair};
use crate::io::sim::Ended;
use std::path::{Path, PathBuf};

/// The log's chunks, oldest first.
fn chunks(world: &World) -> Vec<PathBuf> {
    let log = Path::new("/data/wal/txnlog");
    let mut names: Vec<_> = world.disk.fs().list(log).unwrap();
    names.retain(|entry| entry.name.ends_with(".log"));
    let mut paths: Vec<_> = names.into_iter().map(|entry| log.join(entry.name)).collect();
    paths.sort();
    paths
}

/// Rows of a new connection, committed and not flushed.
fn rows_more(world: &mut World, commits: usize) {
    let connection = world.connect();
    commit(world, connection, 3, commits);
    world.hear();
}

/// Commits rows whose tags are always the same ones.
fn commit(world: &mut World, connection: u64, rows: u64, commits: usize) {
    for _ in 0..commits {
        world.send_rows(connection, rows, false);
        world.commit_of(connection);
        while world.step(Actor::Sequencer) {}
    }
}

/// Breaks the record behind the checkpoint of a chunk in the middle of the log.
fn damage(world: &World, chunk: &Path) {
    let len = world.disk.fs().read(chunk).expect("a chunk").len() as u64;
    world.disk.flip(chunk, (len - 40) * 8).expect("a chunk");
}

#[test]
fn a_start_does_not_read_chunks_of_which_everything_is_flushed() {
    let mut world = world(1000);
    flush(&mut world);
    keep_house(&mut world);
    rows_more(&mut world, 3);
    world.end(Ended::Killed);
    let before = chunks(&world);
    assert!(before.len() > 5, "{before:?}");
    damage(&world, &before[1]);

    // A check reads everything, and says what the damage means.
    let found = check(&world.disk.fs(), Path::new("/data")).expect("a directory").findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].lost.is_empty() && found[0].is_mendable(), "{found:?}");
    assert!(found[0].what.contains("00000002.log"), "{found:?}");

    assert_eq!(world.start_again(), Ok(Outcome::Lives));
    assert_eq!(world.drain_and_check(true), Ok(Outcome::Lives));
    world.end(Ended::Killed);

    // A repair gives up none of the rows behind it.
    let (_, done) = repair(&world.disk.fs(), Path::new("/data")).expect("a repair");
    assert_eq!(chunks(&world)[..before.len() - 2], before[2..], "{done:?}");
    let report = check(&world.disk.fs(), Path::new("/data")).expect("a directory");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(world.start_again(), Ok(Outcome::Lives));
    assert_eq!(world.drain_and_check(true), Ok(Outcome::Lives));
}

#[test]
fn a_start_reads_every_chunk_from_the_first_that_is_not_flushed() {
    let mut world = world(1000);
    rows_more(&mut world, 3);
    world.end(Ended::Killed);
    let chunks = chunks(&world);
    damage(&world, &chunks[1]);
    match world.try_start() {
        Err(error @ OpenError::Log(_)) => {
            assert!(error.to_string().contains("00000002.log"), "{error}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn chunks_that_were_not_read_go_once_their_time_is_over() {
    let mut world = world(1000);
    flush(&mut world);
    keep_house(&mut world);
    world.end(Ended::Killed);
    assert_eq!(world.start_again(), Ok(Outcome::Lives));
    rows_more(&mut world, 1);
    assert!(chunks(&world).len() > 5);
    flush(&mut world);
    for _ in 0..3 {
        keep_house(&mut world);
        world.clock.advance(std::time::Duration::from_secs(600));
    }
    keep_house(&mut world);
    assert_eq!(chunks(&world).len(), 1);
}

/// A server whose every commit travels in the log, in small chunks, so that its one segment is never synced.
fn carrying(retention_s: u64, unwritten_bytes: usize) -> (World, u64) {
    let mut world = World::new(11);
    world.config.wal_retention = std::time::Duration::from_secs(retention_s);
    world.config.hook.enabled = false;
    world.config.sequencer.chunk_bytes = 1024;
    world.config.wal.segment_bytes = 1 << 20;
    world.config.wal.segment_rows = 10_000;
    world.config.wal.carry_bytes = 16 << 10;
    world.config.wal.unwritten_bytes = unwritten_bytes;
    assert_eq!(world.start(&[]), Ok(Outcome::Lives));
    let connection = world.connect();
    (world, connection)
}

#[test]
fn rows_find_definitions_that_only_an_unread_chunk_carries() {
    let (mut world, connection) = carrying(1000, 64 << 10);
    commit(&mut world, connection, 12, 10);
    flush(&mut world);
    keep_house(&mut world);
    // The tags of these rows are those of the rows before.
    commit(&mut world, connection, 12, 4);
    world.hear();
    world.end(Ended::PowerCut);
    assert!(chunks(&world).len() > 5);
    let report = check(&world.disk.fs(), Path::new("/data")).expect("a directory");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(world.start_again(), Ok(Outcome::Lives));
    assert_eq!(world.drain_and_check(true), Ok(Outcome::Lives));
}

/// Rows of known tags, behind others that are flushed and whose chunks of the log are gone.
pub(super) fn rows_behind_a_chunk_that_is_gone(ended: Ended) -> Result<Outcome, String> {
    let (mut world, connection) = carrying(0, 1 << 20);
    commit(&mut world, connection, 12, 10);
    let before = chunks(&world).len();
    world.flush();
    while world.step(Actor::Worker) {}
    keep_house(&mut world);
    assert!(chunks(&world).len() < before, "the rows are in parts");
    commit(&mut world, connection, 12, 2);
    world.hear();
    world.end(ended);
    assert_eq!(world.start_again()?, Outcome::Lives);
    world.drain_and_check(true)
}

#[test]
fn rows_find_definitions_that_the_log_no_longer_carries() {
    for ended in [Ended::Killed, Ended::PowerCut] {
        assert_eq!(rows_behind_a_chunk_that_is_gone(ended), Ok(Outcome::Lives));
    }
}
