//! Statements that change a table, in one order with rows in flight, through restarts.

use crate::statements_support::*;
use headwater::engine::Engine;
use headwater::query::{Command, CommandError};
use headwater::schema::{DedupRule, TableChange};
use headwater::types::ColumnType;
use std::sync::Arc;

/// Checks a table now, after a flush, after a kill, and after a clean stop.
#[track_caller]
fn check(dir: &std::path::Path, engine: Arc<Engine>, name: &str, expect: &[&str]) -> Arc<Engine> {
    assert_eq!(table(&engine, name), expect, "in memory");
    drop(engine);
    let engine = open(dir);
    assert_eq!(table(&engine, name), expect, "after a kill");
    ok(&engine, flush());
    assert_eq!(table(&engine, name), expect, "in parts");
    close(&engine);
    drop(engine);
    let engine = open(dir);
    assert_eq!(table(&engine, name), expect, "after a clean stop");
    engine
}

#[test]
fn a_renamed_table_keeps_its_rows_and_the_old_name_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut session = session(&engine);
    send(&mut session, "a v=1i 1\n");
    ok(&engine, rename("a", "b"));
    send(&mut session, "a v=2i 2\nb v=3i 3\n");
    assert_eq!(table(&engine, "a"), ["2 v=2"]);
    assert!(matches!(run(&engine, rename("a", "B")), Err(CommandError::Refused(_))));
    drop(session);
    let engine = check(dir.path(), engine, "b", &["1 v=1", "3 v=3"]);
    assert_eq!(table(&engine, "a"), ["2 v=2"]);
}

#[test]
fn a_dropped_columns_values_are_gone_and_its_name_is_free_for_another_type() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut session = session(&engine);
    send(&mut session, "t,h=x a=1i,b=2i 1\n");
    ok(&engine, flush());
    send(&mut session, "t,h=x a=3i,b=4i 2\n");
    ok(&engine, drop_column("t", "a"));
    assert_eq!(send(&mut session, "t,h=x a=\"text\",b=5i 3\n"), 0);
    assert!(matches!(run(&engine, drop_column("t", "time")), Err(CommandError::Refused(_))));
    drop(session);
    check(dir.path(), engine, "t", &["1 b=2 h=x", "2 b=4 h=x", "3 a=text b=5 h=x"]);
}

#[test]
fn a_renamed_column_keeps_its_values_and_the_old_name_is_another_column() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut session = session(&engine);
    send(&mut session, "t a=1i 1\n");
    ok(&engine, flush());
    send(&mut session, "t a=2i 2\n");
    let (from, to) = ("a".to_owned(), "b".to_owned());
    ok(&engine, alter("t", TableChange::RenameColumn { from, to }));
    send(&mut session, "t a=3i,b=4i 3\n");
    drop(session);
    check(dir.path(), engine, "t", &["1 b=1", "2 b=2", "3 a=3 b=4"]);
}

#[test]
fn a_retyped_column_converts_what_it_can_in_parts_and_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut session = session(&engine);
    send(&mut session, "t,h=7 s=\"5\",n=1i 1\n");
    ok(&engine, flush());
    send(&mut session, "t,h=x s=\"y\",n=2i 2\n");
    let retype = |name: &str, ty| TableChange::RetypeColumn { name: name.to_owned(), ty };
    ok(&engine, alter("t", retype("s", ColumnType::Integer)));
    ok(&engine, alter("t", retype("n", ColumnType::String)));
    ok(&engine, alter("t", retype("h", ColumnType::Integer)));
    assert_eq!(send(&mut session, "t s=8i,n=\"z\",h=9i 3\nt n=4i 4\n"), 1);
    ok(&engine, alter("t", retype("n", ColumnType::Tag)));
    assert_eq!(send(&mut session, "t,n=w s=1i 5\n"), 0);
    drop(session);
    let expect = ["1 h=7 n=1 s=5", "2 n=2", "3 h=9 n=z s=8", "5 n=w s=1"];
    check(dir.path(), engine, "t", &expect);
}

#[test]
fn truncate_and_replace_take_away_what_is_before_them_and_nothing_after() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut session = session(&engine);
    let day = 86_400_000_000_000_i64;
    send(&mut session, &format!("t v=1i 1\nt v=2i 5\nt v=3i {day}\n"));
    ok(&engine, flush());
    send(&mut session, "t v=4i 6\nt v=5i 9\n");
    // At the edges of a part that stays, and in the tail.
    ok(&engine, insert("t", &[&["60", "6"], &["61", "7"]], Some((5, 9))));
    let refused = run(&engine, insert("t", &[&["1", "4"]], Some((5, 9))));
    assert!(matches!(refused, Err(CommandError::Refused(_))), "{refused:?}");
    send(&mut session, "t v=7i 7\n");
    let expect: Vec<String> = vec![
        "1 v=1".to_owned(),
        "6 v=60".to_owned(),
        "7 v=61".to_owned(),
        "7 v=7".to_owned(),
        format!("{day} v=3"),
        "9 v=5".to_owned(),
    ];
    drop(session);
    let mut sorted: Vec<&str> = expect.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let engine = check(dir.path(), engine, "t", &sorted);
    ok(&engine, insert("t", &[], Some((i64::MIN, 9))));
    ok(&engine, truncate("t"));
    ok(&engine, insert("t", &[&["1", "1"]], None));
    check(dir.path(), engine, "t", &["1 v=1"]);
}

#[test]
fn waiting_rows_that_a_later_statement_takes_away_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut session = session(&engine);
    send(&mut session, "t v=0i 0\n");
    ok(&engine, apply_wal("t"));
    ok(&engine, Command::SuspendWal { name: "t".to_owned(), reason: None });
    send(&mut session, "t v=1i 10\n");
    send(&mut session, "t v=2i,w=1i 20\n");
    send(&mut session, "t v=3i 30\n");
    ok(&engine, insert("t", &[&["9", "9", "15"]], Some((10, 30))));
    ok(&engine, Command::ResumeWal { name: "t".to_owned(), from: None });
    assert_eq!(table(&engine, "t"), ["0 v=0", "15 v=9 w=9", "30 v=3"]);
    let skipped = |engine: &Engine| {
        let status = engine.source().table_status();
        status.iter().find(|s| *s.name == *"t").unwrap().skipped_txns
    };
    assert_eq!(skipped(&engine), 2);
    ok(&engine, Command::SuspendWal { name: "t".to_owned(), reason: None });
    send(&mut session, "t v=4i 40\n");
    ok(&engine, truncate("t"));
    drop(session);
    // A start finds the same transactions waiting.
    drop(engine);
    let engine = open(dir.path());
    check(dir.path(), engine, "t", &[]);
}

#[test]
fn a_statement_sees_the_table_as_the_ones_before_left_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let columns = [("ts", ColumnType::Timestamp), ("s", ColumnType::Tag), ("v", ColumnType::Float)];
    let keys = DedupRule::Replace(vec!["ts".to_owned(), "s".to_owned()]);
    ok(&engine, create("t", &columns, keys));
    let again = run(&engine, create("T", &columns, DedupRule::Append));
    assert!(matches!(again, Err(CommandError::TableExists(_))), "{again:?}");
    ok(&engine, insert("t", &[&["1970-01-01T00:00:00.000000001Z", "a", "1.5"]], None));
    ok(&engine, insert("t", &[&["1", "a", "2.5"], &["1", "b", ""]], None));
    // A line fills the table's own timestamp.
    let mut session = session(&engine);
    assert_eq!(send(&mut session, "t,s=b v=3 1\nt,s=c v=4 2\n"), 0);
    let key = run(&engine, drop_column("t", "s"));
    assert!(matches!(key, Err(CommandError::Refused(_))), "{key:?}");
    for bad in [insert("t", &[&["1", "a", "x"]], None), insert("t", &[&["1", "a"]], None)] {
        assert!(matches!(run(&engine, bad), Err(CommandError::Refused(_))));
    }
    drop(session);
    let engine = check(dir.path(), engine, "t", &["1 s=a v=2.5", "1 s=b v=3.0", "2 s=c v=4.0"]);
    ok(&engine, alter("t", TableChange::Dedup(DedupRule::Append)));
    ok(&engine, insert("t", &[&["1", "a", "7"]], None));
    let expect = ["1 s=a v=2.5", "1 s=a v=7.0", "1 s=b v=3.0", "2 s=c v=4.0"];
    let engine = check(dir.path(), engine, "t", &expect);
    // All old duplicates of a key are replaced.
    let keys = DedupRule::Replace(vec!["ts".to_owned(), "s".to_owned()]);
    ok(&engine, alter("t", TableChange::Dedup(keys)));
    ok(&engine, insert("t", &[&["1", "a", "8"]], None));
    check(dir.path(), engine, "t", &["1 s=a v=8.0", "1 s=b v=3.0", "2 s=c v=4.0"]);
}

#[test]
fn the_three_lines_of_telegrafs_system_input_become_one_row_under_merge() {
    let dir = tempfile::tempdir().unwrap();
    let merge = |config: &mut headwater::engine::EngineConfig| {
        config.tables.rule.push(headwater::engine::TableRule {
            pattern: "sys*".to_owned(),
            duplicates: Some(headwater::engine::Duplicates::Merge),
            ..Default::default()
        });
    };
    let engine = open_with(dir.path(), merge);
    let mut session = session(&engine);
    let lines = [
        "system,host=h load1=0.5,load5=0.25,n_cpus=2i,n_users=1i 1000\n",
        "system,host=h uptime=77i 1000\n",
        "system,host=h uptime_format=\"0:01\" 1000\n",
    ];
    let expect = "1000 host=h load1=0.5 load5=0.25 n_cpus=2 n_users=1 uptime=77 uptime_format=0:01";
    // In one commit, in three, and with a flush in between.
    send(&mut session, &lines.concat());
    assert_eq!(table(&engine, "system"), [expect]);
    ok(&engine, truncate("system"));
    lines.iter().for_each(|line| assert_eq!(send(&mut session, line), 0));
    assert_eq!(table(&engine, "system"), [expect]);
    ok(&engine, flush());
    send(&mut session, lines[1]);
    drop(session);
    check(dir.path(), engine, "system", &[expect]);
}

#[test]
fn a_row_that_others_complete_is_told_apart_by_all_of_its_values() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let columns =
        [("ts", ColumnType::Timestamp), ("s", ColumnType::Tag), ("k", ColumnType::String)];
    ok(&engine, create("t", &columns, DedupRule::Append));
    let mut session = session(&engine);
    assert_eq!(send(&mut session, "t,s=a k=\"x\" 1\n"), 0);
    ok(&engine, alter("t", TableChange::Dedup(DedupRule::Merge)));
    assert_eq!(send(&mut session, "t,s=a v=1i 1\n"), 0);
    let keys = DedupRule::Replace(vec!["ts".to_owned(), "k".to_owned()]);
    ok(&engine, alter("t", TableChange::Dedup(keys)));
    // Without `k`, as the row that was completed: but that one has it from the row before.
    assert_eq!(send(&mut session, "t,s=a v=2i 1\n"), 0);
    let engine = {
        drop(session);
        check(dir.path(), engine, "t", &["1 k=x s=a v=1", "1 s=a v=2"])
    };
    ok(&engine, insert("t", &[&["1", "b", "x", ""]], None));
    check(dir.path(), engine, "t", &["1 k=x s=b", "1 s=a v=2"]);
}

#[test]
fn a_column_that_told_rows_apart_stays_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let columns =
        [("ts", ColumnType::Timestamp), ("s", ColumnType::Tag), ("k", ColumnType::String)];
    let keys = DedupRule::Replace(vec!["ts".to_owned(), "k".to_owned()]);
    ok(&engine, create("t", &columns, keys));
    ok(&engine, insert("t", &[&["1", "a", "x"]], None));
    ok(&engine, flush());
    ok(&engine, insert("t", &[&["1", "a", "y"]], None));
    ok(&engine, alter("t", TableChange::Dedup(DedupRule::Append)));
    // Without it, or with other values in it, the second row would hide the first.
    let retype =
        |name: &str, ty| alter("t", TableChange::RetypeColumn { name: name.to_owned(), ty });
    let refused = |engine: &Engine| {
        for change in [drop_column("t", "k"), retype("k", ColumnType::Integer)] {
            let refused = run(engine, change);
            assert!(matches!(refused, Err(CommandError::Refused(_))), "{refused:?}");
        }
    };
    refused(&engine);
    let engine = check(dir.path(), engine, "t", &["1 k=x s=a", "1 k=y s=a"]);
    refused(&engine);
    // What is no key of this rule may go until it is one of another.
    ok(&engine, retype("s", ColumnType::String));
    ok(&engine, retype("s", ColumnType::Tag));
    ok(&engine, alter("t", TableChange::Dedup(DedupRule::ReplaceByTags)));
    ok(&engine, alter("t", TableChange::Dedup(DedupRule::Append)));
    let by_tags = run(&engine, drop_column("t", "s"));
    assert!(matches!(by_tags, Err(CommandError::Refused(_))), "{by_tags:?}");
}

#[test]
fn no_case_of_the_reports_name_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open_with(dir.path(), |config| config.hook.enabled = true);
    let mut session = session(&engine);
    assert_eq!(send(&mut session, "Write_Reports v=1i 1\nWRITE_REPORTS v=1i 1\nt v=1i 1\n"), 2);
    let columns = [("ts", ColumnType::Timestamp)];
    let created = run(&engine, create("Write_Reports", &columns, DedupRule::Append));
    assert!(matches!(created, Err(CommandError::Refused(_))), "{created:?}");
    let renamed = run(&engine, rename("t", "WRITE_reports"));
    assert!(matches!(renamed, Err(CommandError::Refused(_))), "{renamed:?}");
}
