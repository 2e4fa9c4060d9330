//! How many syncs there are: what is made durable together shares one.

use super::retention::keep_house;
use super::world::{Outcome, World};
use crate::codec::Precision;
use crate::engine::steps::Actor;
use crate::engine::{DEFAULT_DATABASE, Origin};
use bytes::BytesMut;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Waker};

const DAY: u64 = 86_400_000_000_000;

/// The folder of each writer's segments that was synced, and the segments.
fn of_segments(syncs: &[PathBuf]) -> (Vec<&Path>, Vec<&Path>) {
    let in_wal = syncs
        .iter()
        .map(PathBuf::as_path)
        .filter(|path| path.starts_with("/data/wal") && !path.starts_with("/data/wal/txnlog"));
    in_wal.partition(|path| path.extension().is_none())
}

#[test]
fn commits_of_one_round_share_a_sync_of_their_segment_and_a_new_segments_name_is_synced_once() {
    let mut world = World::new(3);
    world.config.wal.carry_bytes = 0;
    world.config.wal.segment_bytes = 1 << 20;
    assert_eq!(world.start(&[]), Ok(Outcome::Lives));
    let connections = [world.connect(), world.connect(), world.connect()];
    for names in [connections.len(), 0] {
        for connection in connections.into_iter().chain(connections) {
            world.send_rows(connection, 2, false);
            world.commit_of(connection);
        }
        world.disk.take_syncs();
        while world.step(Actor::Sequencer) {}
        let syncs = world.disk.take_syncs();
        let (folders, segments) = of_segments(&syncs);
        assert_eq!((folders.len(), segments.len()), (names, connections.len()), "{syncs:?}");
        assert_eq!(syncs.len(), names + connections.len() + 1, "and one of the log: {syncs:?}");
    }
}

#[test]
fn many_parts_are_made_durable_by_one_sync_of_the_file_system() {
    let syncs_of = |count: u64| {
        let mut world = World::new(3);
        world.config.apply.flush_bytes = 1 << 20;
        world.config.commit.rows = 1000;
        assert_eq!(world.start(&[]), Ok(Outcome::Lives));
        let origin = Origin { peer: "test".into(), precision: Precision::Nanosecond };
        let mut session = world.steps().engine().session(DEFAULT_DATABASE.into(), origin);
        let line = |day| format!("t,h=x v={day}i {}\n", day * DAY);
        let mut lines = BytesMut::from((0..count).map(line).collect::<String>().as_str());
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(session.ready()).poll(&mut context).is_ready());
        session.ingest(&mut lines).expect("good lines");
        session.commit().expect("room");
        while world.step(Actor::Sequencer) {}
        while world.step(Actor::Worker) {}
        world.disk.take_syncs();
        world.flush();
        while world.step(Actor::Worker) {}
        world.disk.take_syncs()
    };
    for count in [4, 16] {
        let syncs = syncs_of(count);
        let of_parts = syncs.iter().filter(|path| path.starts_with("/data/tables"));
        assert_eq!(
            of_parts.collect::<Vec<_>>(),
            [Path::new("/data/tables")],
            "{count} parts: {syncs:?}"
        );
    }
}

#[test]
fn a_segment_that_many_chunks_of_the_log_carry_frames_for_is_settled_once_a_round() {
    let mut world = World::new(3);
    world.config.sequencer.chunk_bytes = 1024;
    world.config.wal.segment_bytes = 1 << 20;
    world.config.wal.carry_bytes = 16 << 10;
    world.config.hook.enabled = false;
    assert_eq!(world.start(&[]), Ok(Outcome::Lives));
    let connection = world.connect();
    for _ in 0..20 {
        world.send_rows(connection, 2, false);
        world.commit_of(connection);
        while world.step(Actor::Sequencer) {}
    }
    world.flush();
    while world.step(Actor::Worker) {}
    world.disk.take_syncs();
    keep_house(&mut world);
    let syncs = world.disk.take_syncs();
    let chunks = syncs.iter().filter(|path| *path == Path::new("/data/wal/txnlog")).count();
    assert!(chunks > 5, "so many chunks went: {syncs:?}");
    let (folders, segments) = of_segments(&syncs);
    assert_eq!((folders.len(), segments.len()), (1, 1), "{syncs:?}");
}
