//! What becomes of lines that a connection has read, and not committed, when a statement changes their table; and of files when rows
//! go, under readers and without.

use crate::server_support::Running;
use crate::statements_support::*;
use headwater::engine::{DEFAULT_DATABASE, Engine, Session};
use headwater::query::Command;
use headwater::schema::TableChange;
use headwater::types::{ColumnType, PartitionBy};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A connection that has sent `t,h=x a=1i,b=2i 1` and then read `t,h=y a=3i,b=4i 2`.
fn in_flight() -> (TempDir, Arc<Engine>, Session) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut session = session(&engine);
    send(&mut session, "t,h=x a=1i,b=2i 1\n");
    read(&mut session, "t,h=y a=3i,b=4i 2\n");
    (dir, engine, session)
}

#[test]
fn a_late_row_lands_without_the_value_of_a_dropped_column() {
    let (_dir, engine, mut session) = in_flight();
    ok(&engine, drop_column("t", "a"));
    assert_eq!(commit(&mut session), 0);
    send(&mut session, "t,h=z a=\"new\",b=6i 3\n");
    assert_eq!(table(&engine, "t"), ["1 b=2 h=x", "2 b=4 h=y", "3 a=new b=6 h=z"]);
}

#[test]
fn a_late_row_lands_in_the_renamed_column() {
    let (_dir, engine, mut session) = in_flight();
    let (from, to) = ("a".to_owned(), "c".to_owned());
    ok(&engine, alter("t", TableChange::RenameColumn { from, to }));
    assert_eq!(commit(&mut session), 0);
    send(&mut session, "t,h=z a=5i 3\n");
    assert_eq!(table(&engine, "t"), ["1 b=2 c=1 h=x", "2 b=4 c=3 h=y", "3 a=5 h=z"]);
}

#[test]
fn a_late_value_is_converted_to_the_columns_new_type() {
    let (_dir, engine, mut session) = in_flight();
    let retype = |name: &str, ty| TableChange::RetypeColumn { name: name.to_owned(), ty };
    ok(&engine, alter("t", retype("a", ColumnType::String)));
    ok(&engine, alter("t", retype("b", ColumnType::Float)));
    assert_eq!(commit(&mut session), 0);
    assert_eq!(send(&mut session, "t a=5i 3\n"), 1, "the next line meets the new type");
    assert_eq!(table(&engine, "t"), ["1 a=1 b=2.0 h=x", "2 a=3 b=4.0 h=y"]);
}

#[test]
fn a_late_row_lands_in_the_renamed_table() {
    let (_dir, engine, mut session) = in_flight();
    ok(&engine, rename("t", "u"));
    assert_eq!(commit(&mut session), 0);
    assert_eq!(table(&engine, "u"), ["1 a=1 b=2 h=x", "2 a=3 b=4 h=y"]);
    assert!(engine.snapshot(DEFAULT_DATABASE, "t").is_none());
    send(&mut session, "t v=1i 3\nu b=5i 4\n");
    assert_eq!(table(&engine, "t"), ["3 v=1"]);
    assert_eq!(table(&engine, "u"), ["1 a=1 b=2 h=x", "2 a=3 b=4 h=y", "4 b=5"]);
}

#[test]
fn a_late_row_of_a_dropped_table_is_acknowledged_and_gone() {
    let (_dir, engine, mut session) = in_flight();
    ok(&engine, Command::DropTable { if_exists: false, name: "t".to_owned() });
    assert_eq!(commit(&mut session), 0);
    assert!(engine.snapshot(DEFAULT_DATABASE, "t").is_none());
    send(&mut session, "t a=\"other\" 3\n");
    assert_eq!(table(&engine, "t"), ["3 a=other"]);
}

#[test]
fn a_late_row_is_behind_what_takes_rows_away() {
    let (_dir, engine, mut session) = in_flight();
    ok(&engine, truncate("t"));
    assert_eq!(commit(&mut session), 0);
    assert_eq!(table(&engine, "t"), ["2 a=3 b=4 h=y"]);
    read(&mut session, "t a=5i 3\n");
    ok(&engine, insert("t", &[], Some((0, 10))));
    assert_eq!(commit(&mut session), 0);
    assert_eq!(table(&engine, "t"), ["3 a=5"]);
}

/// All files of parts below a data directory.
fn parts(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.join("tables")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_snapshot_keeps_the_files_that_it_needs_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut session = session(&engine);
    send(&mut session, "t v=1i 1\nt v=2i 2\n");
    ok(&engine, flush());
    let (held, before) = (engine.snapshot(DEFAULT_DATABASE, "t").unwrap(), parts(dir.path()));
    assert_eq!(before.len(), 1);
    ok(&engine, truncate("t"));
    send(&mut session, "t v=3i 3\n");
    ok(&engine, flush());
    assert_eq!(rows_of(&held), ["1 v=1", "2 v=2"]);
    let next = engine.snapshot(DEFAULT_DATABASE, "t").unwrap();
    ok(&engine, Command::DropTable { if_exists: false, name: "t".to_owned() });
    assert_eq!((rows_of(&held).len(), rows_of(&next)), (2, vec!["3 v=3".to_owned()]));
    drop(held);
    assert!(!before[0].exists(), "nobody reads it any more");
    assert_eq!(parts(dir.path()).len(), 1);
    drop(next);
    // Apply may be about to let go of its own snapshot.
    while !parts(dir.path()).is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn a_time_to_live_takes_whole_partitions_away() {
    const HOUR: i64 = 3_600_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let engine = open_with(dir.path(), |config| {
        config.tables.partition_by = PartitionBy::Hour;
        config.housekeeping = Duration::from_millis(2);
    });
    let mut session = session(&engine);
    let line =
        |hours: i64, minutes: i64| format!("t v=1i {}\n", hours * HOUR + minutes * HOUR / 60);
    send(&mut session, &(line(0, 0) + &line(1, 0) + &line(1, 59)));
    ok(&engine, flush());
    send(&mut session, &(line(2, 0) + &line(3, 30)));
    assert_eq!(table(&engine, "t").len(), 5);
    // Rows are kept for an hour and a half before the newest: of the second hour none, of the third all.
    ok(&engine, alter("t", TableChange::TtlS(Some(5400))));
    let shown = |hours: i64, minutes: i64| format!("{} v=1", hours * HOUR + minutes * HOUR / 60);
    while table(&engine, "t").len() > 2 {
        std::thread::yield_now();
    }
    let mut left = [shown(2, 0), shown(3, 30)];
    left.sort();
    assert_eq!(table(&engine, "t"), left);
    let kinds = |engine: &Engine| -> Vec<&str> {
        let all = engine.source().transactions(DEFAULT_DATABASE, "t").unwrap();
        all.iter().map(|txn| txn.kind).collect()
    };
    assert_eq!(kinds(&engine), ["create", "add columns", "data", "data", "options", "expire"]);
    while parts(dir.path()).iter().any(|path| path.to_string_lossy().contains("T01")) {
        std::thread::yield_now();
    }
    // Late rows of an hour that has gone go, too; without a time to live they stay.
    ok(&engine, alter("t", TableChange::TtlS(Some(0))));
    send(&mut session, &line(0, 5));
    assert_eq!(table(&engine, "t").len(), 3);
    drop(session);
    drop(engine);
    assert_eq!(table(&open(dir.path()), "t").len(), 3);
}

#[test]
fn files_that_nobody_finished_are_removed_at_a_start_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    server.send("t v=1 1\n");
    assert_eq!(server.stop(), 0);
    let part = parts(dir.path()).into_iter().find(|p| p.to_string_lossy().contains("/t~")).unwrap();
    let orphan = part.with_file_name("part-99-99-0-0.parquet");
    std::fs::copy(&part, &orphan).unwrap();
    let server = Running::start(dir.path(), &[]);
    assert!(!orphan.exists() && part.exists());
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("\nheadwater_orphans_removed_total 1\n"), "{metrics}");
}

#[test]
fn a_method_that_a_path_does_not_take_is_told_which_ones_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    let answer = server.get("/write");
    assert_eq!(answer.status, 405);
    assert_eq!(answer.json()["error"], "GET is not a method of this path: use POST");
}
