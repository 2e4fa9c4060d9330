//! A wall clock that is set forward and back: rows without a time of their own follow it, and nothing else minds.

use super::model::for_each_batch;
use super::world::World;
use crate::codec::Precision;
use crate::engine::steps::Actor;
use crate::engine::{DEFAULT_DATABASE, Origin, Session};
use crate::types::PartitionBy;
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use bytes::BytesMut;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;

/// A server that keeps rows for half an hour, in partitions of an hour, and flushes after two seconds.
fn world() -> World {
    let mut world = World::new(7);
    world.config.tables.partition_by = PartitionBy::Hour;
    world.config.tables.ttl_s = 1800;
    world.config.apply.flush_bytes = 1 << 30;
    world.start(&[]).expect("an empty disk");
    world
}

fn session(world: &World) -> Session {
    let origin = Origin { peer: "test".into(), precision: Precision::Nanosecond };
    world.steps().engine().session(DEFAULT_DATABASE.into(), origin)
}

/// Sends a row without a time, commits and applies it.
fn send(world: &mut World, session: &mut Session, n: i64) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(session.ready()).poll(&mut context).is_ready());
    session.ingest(&mut BytesMut::from(format!("t n={n}i\n").as_str())).expect("a good line");
    session.commit().expect("room");
    work(world);
}

fn work(world: &mut World) {
    while world.step(Actor::Sequencer) || world.step(Actor::Worker) {}
}

/// Numbers and times of the rows of `t`, in order of the numbers.
fn rows(world: &World) -> Vec<(i64, i64)> {
    let snapshot = world.steps().engine().snapshot(DEFAULT_DATABASE, "t").expect("the table");
    let mut rows = Vec::new();
    let tails =
        snapshot.tails().flat_map(|tail| tail.partitions().values().flat_map(|runs| runs.iter()));
    for run in tails {
        let column = snapshot.schema.columns().iter().find(|column| &*column.name == "n");
        let numbers = run.column(column.expect("the column").id).expect("values");
        let numbers = numbers.as_primitive::<Int64Type>().values();
        rows.extend(numbers.iter().copied().zip(run.time().iter().copied()));
    }
    for part in snapshot.parts.iter() {
        let file = part.open().expect("a part");
        let builder = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file);
        for batch in builder.expect("a part").build().expect("a part") {
            let batch = batch.expect("rows");
            let number = batch.column_by_name("n").expect("a column");
            let time = batch.column(batch.num_columns() - 1);
            let time = time.as_primitive::<TimestampNanosecondType>().values();
            let numbers = number.as_primitive::<Int64Type>().values();
            rows.extend(numbers.iter().copied().zip(time.iter().copied()));
        }
    }
    rows.sort_unstable();
    rows
}

#[test]
fn rows_without_a_time_get_the_wall_clocks_and_on_one_connection_never_an_earlier_one() {
    let mut world = world();
    let start = world.clock.wall_nanos();
    let (mut first, mut second) = (session(&world), session(&world));
    // Ahead, then back behind where it was: the connection goes on from the latest that it has given.
    let steps = [0, HOUR, -2 * HOUR, HOUR];
    for (n, step) in steps.into_iter().enumerate() {
        world.clock.step_wall(step);
        send(&mut world, &mut first, n as i64);
    }
    // Another connection knows nothing of it.
    send(&mut world, &mut second, 4);
    let expect = rows(&world);
    let times: Vec<i64> = expect.iter().map(|(_, time)| *time).collect();
    // A few nanoseconds more where a line was looked at twice.
    let is_about = |time: i64, wall: i64| (wall..wall + 100).contains(&time);
    assert!(times[..4].is_sorted_by(|one, next| one < next), "{expect:?}");
    let walls = [start, start + HOUR, start + HOUR, start + HOUR, start];
    assert!(times.iter().zip(walls).all(|(time, wall)| is_about(*time, wall)), "{expect:?}");
    let table = world.steps().engine().shared.logged_table(DEFAULT_DATABASE, "t").unwrap().id();
    let progress = world.steps().engine().shared.apply.progress(table).unwrap();
    assert_eq!(progress.seq_txn(), progress.applied_txn());
    // A restart under yet another time has them all, once.
    drop((first, second));
    world.end(crate::io::sim::Ended::Killed);
    world.clock.step_wall(-HOUR);
    world.start(&[]).expect("a sound disk");
    work(&mut world);
    assert_eq!(rows(&world), expect);
}

#[test]
fn a_tail_is_flushed_when_so_much_time_has_passed_whatever_the_wall_clock_says() {
    let mut world = world();
    let mut session = session(&world);
    send(&mut world, &mut session, 0);
    let parts = |world: &World| {
        world.steps().engine().snapshot(DEFAULT_DATABASE, "t").expect("the table").parts.len()
    };
    world.clock.step_wall(HOUR / 4);
    world.step(Actor::Ticker);
    work(&mut world);
    assert_eq!(parts(&world), 0, "no time has passed");
    world.clock.step_wall(-HOUR);
    world.clock.advance(Duration::from_secs(3));
    world.step(Actor::Ticker);
    work(&mut world);
    assert_eq!(parts(&world), 1, "three seconds have");
}

#[test]
fn a_clock_that_runs_ahead_takes_no_partition_that_rows_have_not_outlived() {
    let mut world = world();
    let mut session = session(&world);
    send(&mut world, &mut session, 0);
    // Days ahead, with no row of then: the newest row is the measure, and its partition stays.
    world.clock.step_wall(100 * HOUR);
    world.step(Actor::Housekeeper);
    work(&mut world);
    assert_eq!(rows(&world).len(), 1);
    // Back again: nothing of it is remembered.
    world.clock.step_wall(-100 * HOUR);
    world.step(Actor::Housekeeper);
    work(&mut world);
    send(&mut world, &mut session, 1);
    assert_eq!(rows(&world).len(), 2);
    // Time that rows have seen does take it.
    world.clock.step_wall(3 * HOUR);
    send(&mut world, &mut session, 2);
    world.step(Actor::Housekeeper);
    work(&mut world);
    assert_eq!(rows(&world).iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2]);
}

#[test]
fn reports_go_on_in_order_and_count_every_row_once_while_the_clock_goes_back() {
    let mut world = world();
    let mut session = session(&world);
    for n in 0..4 {
        send(&mut world, &mut session, n);
        world.step(Actor::Reporter);
        work(&mut world);
        world.clock.step_wall(-HOUR / 8);
    }
    let snapshot = world.steps().engine().snapshot(DEFAULT_DATABASE, "write_reports").unwrap();
    let (mut counted, mut runs) = (0, 0);
    for_each_batch(&snapshot, &["row_count"], |columns| {
        let counts = columns[0].as_primitive::<Int64Type>().values();
        counted += counts.iter().sum::<i64>();
        runs += counts.len();
    })
    .unwrap();
    let times =
        snapshot.tails().flat_map(|tail| tail.partitions().values().flat_map(|runs| runs.iter()));
    let mut times: Vec<i64> = times.flat_map(|run| run.time().to_vec()).collect();
    times.dedup();
    assert_eq!((counted, runs, times.len()), (4, 4, 4));
}
