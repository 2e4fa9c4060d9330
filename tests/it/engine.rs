//! The whole pipeline below the sockets, over a real folder: lines in, snapshots out, through restarts.

use bytes::BytesMut;
use headwater::clock::Clock;
use headwater::codec::Precision;
use headwater::engine::{
    DEFAULT_DATABASE, Engine, EngineConfig, Origin, ReplyCounts, Session, TableRule,
};
use headwater::io::Fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn config(dir: &Path) -> EngineConfig {
    let mut config = EngineConfig::new(dir);
    config.apply.workers = 2;
    config.hook.interval_ms = 20;
    config
}

fn open(dir: &Path) -> Arc<Engine> {
    open_with(config(dir))
}

fn open_with(config: EngineConfig) -> Arc<Engine> {
    Engine::open(config, Fs::real(), Clock::real()).unwrap()
}

fn session(engine: &Engine) -> Session {
    let origin = Origin { peer: "test".into(), precision: Precision::Nanosecond };
    engine.session(DEFAULT_DATABASE.into(), origin)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Sends lines and waits until they are durable.
fn send(session: &mut Session, lines: &str) -> ReplyCounts {
    block_on(session.ready());
    session.ingest(&mut BytesMut::from(lines)).unwrap();
    let ordinal = session.commit().unwrap();
    block_on(session.progress().reached(ordinal));
    session.take_counts()
}

fn rows(engine: &Engine, table: &str) -> u64 {
    engine.snapshot(DEFAULT_DATABASE, table).map_or(0, |s| s.rows())
}

/// Waits until a table shows `expect` rows; durable rows become visible a moment later.
fn await_rows(engine: &Engine, table: &str, expect: u64) {
    for _ in 0..10_000 {
        if rows(engine, table) == expect {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{table} has {} rows, not {expect}", rows(engine, table));
}

fn lines(table: &str, range: std::ops::Range<u64>) -> String {
    let line = |n| format!("{table},host=h{} n={n}i,v={}.5,s=\"x{n}\" {n}\n", n % 7, n % 100);
    range.map(line).collect()
}

#[test]
fn acknowledged_rows_are_there_once_after_every_abrupt_end() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..5u64 {
        let engine = open(dir.path());
        await_rows(&engine, "t", life * 1000);
        let mut session = session(&engine);
        // Small commits travel in the log, large ones in their segment.
        for n in 0..10 {
            send(&mut session, &lines("t", life * 1000 + n * 10..life * 1000 + n * 10 + 10));
        }
        send(&mut session, &lines("t", life * 1000 + 100..life * 1000 + 1000));
        // Dropped without a close: as after a kill, nothing is sealed and nothing flushed.
    }
    let engine = open(dir.path());
    await_rows(&engine, "t", 5000);
    assert!(engine.close(Duration::from_secs(60)).flushed);
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(rows(&engine, "t"), 5000);
    assert!(engine.snapshot(DEFAULT_DATABASE, "t").unwrap().tail.is_empty());
}

#[test]
fn a_clean_stop_leaves_parts_and_no_segments() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    send(&mut session(&engine), &lines("t", 0..500));
    assert!(engine.close(Duration::from_secs(60)).flushed);
    let wal = Fs::real().list(&dir.path().join("wal")).unwrap();
    let segments: usize = wal
        .iter()
        .filter(|e| e.name != "txnlog")
        .map(|e| Fs::real().list(&dir.path().join("wal").join(&e.name)).unwrap().len())
        .sum();
    assert_eq!(segments, 0, "{wal:?}");
}

#[test]
fn folders_of_earlier_writers_go_and_their_numbers_do_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut highest = 0;
    for life in 0..4 {
        let engine = open(dir.path());
        let mut sessions: Vec<Session> = (0..3).map(|_| session(&engine)).collect();
        for (n, session) in (0..).zip(&mut sessions) {
            send(session, &lines("t", life * 3 + n..life * 3 + n + 1));
        }
        drop(sessions);
        let wal = Fs::real().list(&dir.path().join("wal")).unwrap();
        let mut writers: Vec<u32> = wal.iter().filter_map(|e| e.name.parse().ok()).collect();
        writers.sort_unstable();
        let of_this_life = writers.iter().filter(|writer| **writer > highest).count();
        // And the last of the life before.
        assert!(of_this_life >= 3 && writers.len() <= of_this_life + 1, "{writers:?}");
        highest = writers[writers.len() - 1];
        assert!(engine.close(Duration::from_secs(60)).flushed);
    }
}

#[test]
fn a_bad_line_costs_itself_only() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut session = session(&engine);
    let counts = send(&mut session, "t v=1i 1\nt v=\"x\" 2\nrubbish\n\n# comment\nt v=3i 3\n");
    assert_eq!((counts.lines, counts.rejected), (2, 2));
    let (line, reason) = counts.first.unwrap();
    assert_eq!((line, reason.as_str()), (2, "type_conflict"));
    await_rows(&engine, "t", 2);
}

#[test]
fn connections_that_claim_a_column_with_two_types_agree_and_every_acknowledged_row_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let together = std::sync::Barrier::new(16);
    let accepted: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..16)
            .map(|worker| {
                let (engine, together) = (&engine, &together);
                scope.spawn(move || {
                    let mut session = session(engine);
                    let mut accepted = 0;
                    for column in 0..50 {
                        together.wait();
                        let value = if worker % 2 == 0 { "1i" } else { "\"text\"" };
                        let line = format!("race,w=w{worker} c{column}={value} {column}\n");
                        accepted += send(&mut session, &line).lines;
                    }
                    accepted
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    assert_eq!(accepted, 50 * 8, "each column's winner has eight connections");
    await_rows(&engine, "race", accepted);
}

#[test]
fn columns_added_in_the_midst_of_streams_lose_no_row_of_any() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    std::thread::scope(|scope| {
        for stream in 0..4 {
            let engine = &engine;
            scope.spawn(move || {
                let mut session = session(engine);
                for n in 0..100 {
                    // Every other stream adds columns, some within a commit and some that another has added, too.
                    let new = match stream % 2 {
                        0 => String::new(),
                        _ => format!("grown,s=s{stream} c{}=1i,v={n}i\n", n * 3 / stream),
                    };
                    let lines =
                        format!("grown,s=s{stream} v={n}i\n{new}grown,s=s{stream} v={n}i\n");
                    let counts = send(&mut session, &lines);
                    assert_eq!(
                        (counts.lines, counts.rejected),
                        (2 + u64::from(!new.is_empty()), 0)
                    );
                }
            });
        }
    });
    await_rows(&engine, "grown", 4 * 200 + 2 * 100);
}

#[test]
fn reports_sum_up_to_the_committed_rows_through_abrupt_ends() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..4u64 {
        let engine = open(dir.path());
        let mut session = session(&engine);
        for n in 0..20 {
            let first = (life * 20 + n) * 5;
            send(&mut session, &lines("t", first..first + 5));
            std::thread::sleep(Duration::from_millis(3));
        }
    }
    let engine = open(dir.path());
    await_reported(&engine, 400);
    // Nothing is reported twice later on.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(reported(&engine), 400);
}

/// The sum of `row_count` over `write_reports`.
fn reported(engine: &Engine) -> i64 {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    let Some(snapshot) = engine.snapshot(DEFAULT_DATABASE, "write_reports") else { return 0 };
    assert!(snapshot.parts.is_empty(), "this test reads tails only");
    let count = snapshot.schema.columns().iter().find(|c| *c.name == *"row_count");
    // The table is there a moment before its columns are.
    let Some(id) = count.map(|column| column.id) else { return 0 };
    let runs = snapshot.tails().flat_map(|t| t.partitions().values()).flat_map(|runs| runs.iter());
    runs.map(|run| {
        arrow::compute::sum(run.column(id).unwrap().as_primitive::<Int64Type>()).unwrap()
    })
    .sum()
}

fn await_reported(engine: &Engine, expect: i64) {
    for _ in 0..5000 {
        if reported(engine) == expect {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{} rows are reported, not {expect}", reported(engine));
}

#[test]
fn clients_cannot_write_to_the_report_table() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let counts = send(&mut session(&engine), "write_reports,table_name=x row_count=1i\n");
    assert_eq!(counts.first.unwrap().1.as_str(), "reserved_table");
}

#[test]
fn any_fragmentation_gives_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let text = "a,t=x v=1,s=\"two\nlines\" 1\nb v=t\n# c\n\na,t=y\\ z v=2 2\r\n".as_bytes();
    for (name, step) in [("one", 1), ("three", 3), ("all", text.len())] {
        let origin = Origin { peer: "test".into(), precision: Precision::Nanosecond };
        let mut session = engine.session(name.into(), origin);
        block_on(session.ready());
        let mut buffer = BytesMut::new();
        let mut taken = 0;
        for piece in text.chunks(step) {
            buffer.extend_from_slice(piece);
            taken += session.ingest(&mut buffer).unwrap().lines;
        }
        assert!(session.finish(&mut buffer, false).unwrap() && buffer.is_empty());
        assert_eq!(taken, 3, "{name}");
        let ordinal = session.commit().unwrap();
        block_on(session.progress().reached(ordinal));
        for (table, expect) in [("a", 2), ("b", 1)] {
            while engine.snapshot(name, table).map_or(0, |s| s.rows()) != expect {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn an_incomplete_last_line_is_dropped_unless_the_length_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut session = session(&engine);
    block_on(session.ready());
    let mut buffer = BytesMut::from("t v=1 1\nt v=12");
    session.ingest(&mut buffer).unwrap();
    assert!(!session.finish(&mut buffer, false).unwrap());
    let counts = send(&mut session, "");
    assert_eq!((counts.lines, counts.rejected), (1, 1));
    let outcome =
        engine.write_lines(DEFAULT_DATABASE.into(), "test".into(), Precision::Nanosecond, b"u v=1");
    assert_eq!(block_on(outcome).unwrap().written, 1);
}

#[test]
fn a_ttl_drops_whole_partitions_and_keeps_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.tables.ttl_s = 2 * 86_400;
    let engine = open_with(config);
    let day = 86_400_000_000_000u64;
    let text: String = (0..10).map(|n| format!("t v={n}i {}\n", n * day + 1)).collect();
    send(&mut session(&engine), &text);
    // The newest row is in day 9, so what ended before day 7 is over: days 0 to 6.
    await_rows(&engine, "t", 3);
}

#[test]
fn a_table_with_a_limit_of_its_own_rolls_the_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let rule = |pattern: &str, segment_rows| TableRule {
        pattern: pattern.to_owned(),
        segment_rows: Some(segment_rows),
        ..TableRule::default()
    };
    config.tables.rule = vec![rule("small*", 100)];
    // Segments stay, so that they can be counted.
    config.wal_retention = Duration::from_secs(3600);
    config.hook.enabled = false;
    let engine = open_with(config);
    let segments = || {
        let folders = Fs::real().list(&dir.path().join("wal")).unwrap();
        let folders = folders.iter().filter(|f| f.name != "txnlog");
        folders.map(|f| Fs::real().list(&dir.path().join("wal").join(&f.name)).unwrap().len()).sum()
    };
    let mut session = session(&engine);
    let mut count_after = |table: &str, commits: u64| -> usize {
        for n in 0..commits {
            send(&mut session, &lines(table, n * 50..n * 50 + 50));
        }
        segments()
    };
    assert_eq!(count_after("large", 10), 1);
    // Each second commit is the last of its segment.
    assert_eq!(count_after("small_1", 4), 2);
    assert_eq!(count_after("large", 10), 3);
}

#[test]
fn connections_are_taken_while_the_wal_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = open(dir.path());
        send(&mut session(&engine), &lines("t", 0..5000));
    }
    let engine = open(dir.path());
    // A connection is taken at once, and its rows come after those that are replayed.
    send(&mut session(&engine), &lines("t", 5000..5001));
    await_rows(&engine, "t", 5001);
}
