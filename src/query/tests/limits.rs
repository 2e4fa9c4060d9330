//! What a query may not do to the server.

use super::answers::cpu;
use super::fixture::*;
use crate::query::{Command, ErrorKind, Format, Output, QueryConfig, QueryEngine};

/// More work than a test has patience for.
const ENDLESS: &str = "SELECT sum(a.value * b.value) FROM generate_series(1, 10000000) a CROSS JOIN generate_series(1, 10000000) b";

#[tokio::test]
async fn a_query_that_takes_too_long_is_stopped_and_the_next_one_answered() {
    let dir = tempfile::tempdir().unwrap();
    let source = TestSource::of([cpu(dir.path())]);
    let config = QueryConfig { timeout_ms: 50, concurrent_max: 1, ..QueryConfig::default() };
    let hasty = QueryEngine::new(config, source.clone()).unwrap();
    let refused = error(&hasty, ENDLESS).await;
    assert_eq!(refused.kind, ErrorKind::Timeout);
    assert_eq!(refused.message, "the query ran longer than its limit of 0.05 s");
    check(&engine(&source), "SELECT count(*) FROM cpu", &["7"]).await;
}

#[tokio::test]
async fn a_query_whose_caller_goes_away_frees_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let source = TestSource::of([cpu(dir.path())]);
    let config = QueryConfig { concurrent_max: 1, ..QueryConfig::default() };
    let engine = QueryEngine::new(config, source).unwrap();
    for _ in 0..3 {
        let Output::Rows(rows) = engine.run("public", ENDLESS).await.unwrap() else {
            panic!("a SELECT gives rows");
        };
        drop(rows);
    }
    check(&engine, "SELECT count(*) FROM cpu", &["7"]).await;
}

#[tokio::test]
async fn a_query_that_needs_too_much_memory_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let source = TestSource::of([cpu(dir.path())]);
    let config = QueryConfig { memory_bytes: 1 << 20, spill_bytes: 0, ..QueryConfig::default() };
    let engine = QueryEngine::new(config, source).unwrap();
    let sql = "SELECT count(DISTINCT value * 7 % 1000003) FROM generate_series(1, 1000000)";
    let refused = error(&engine, sql).await;
    assert_eq!(refused.kind, ErrorKind::Resources, "{refused}");
    assert!(refused.message.starts_with("the query needs more memory"), "{refused}");
    check(&engine, "SELECT count(*) FROM cpu", &["7"]).await;
}

#[tokio::test]
async fn a_sort_larger_than_memory_spills() {
    let dir = tempfile::tempdir().unwrap();
    let source = TestSource::of([cpu(dir.path())]);
    let config = QueryConfig { memory_bytes: 16 << 20, ..QueryConfig::default() };
    let engine = QueryEngine::new(config, source).unwrap();
    let sql = "SELECT value FROM generate_series(1, 4000000) ORDER BY value DESC";
    let Output::Rows(mut rows) = engine.run("public", sql).await.unwrap() else {
        panic!("a SELECT gives rows");
    };
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        count += batch.unwrap().num_rows();
    }
    assert_eq!(count, 4_000_000);
}

#[tokio::test]
async fn the_longest_and_the_deepest_statements_do_not_end_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    let longest = format!("SELECT 1{}", "+1".repeat(980));
    let deepest = format!("SELECT {}1{}", "(".repeat(480), ")".repeat(480));
    let widest = format!("SELECT * FROM cpu WHERE n=1{}", " OR n=1".repeat(480));
    let broadest = format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(320));
    let listed = format!("SELECT * FROM cpu WHERE n IN (1{})", ",2".repeat(100_000));
    for sql in [&longest, &deepest, &widest, &broadest, &listed] {
        // Either is right: an answer or a refusal.
        drop(bytes(&engine, Format::Csv, sql).await);
    }
    let too_long = format!("SELECT '{}'", "x".repeat(1 << 20));
    let refused = error(&engine, &too_long).await;
    assert_eq!(refused.message, "the statement is longer than 1048576 bytes");
    let too_deep = format!("SELECT 1{}", "+1".repeat(1_000));
    let refused = error(&engine, &too_deep).await;
    assert_eq!(refused.message, "the statement has more than 1000 operators and keywords");
    check(&engine, "SELECT count(*) FROM cpu", &["7"]).await;
}

#[tokio::test]
async fn commands_reach_the_source_with_their_database() {
    let dir = tempfile::tempdir().unwrap();
    let source = TestSource::of([cpu(dir.path())]);
    let engine = engine(&source);
    for sql in ["FLUSH", "FLUSH TABLE cpu", "DROP TABLE IF EXISTS \"Gone\"", "DROP TABLE b.cpu"] {
        let done = engine.run("public", sql).await.unwrap();
        assert!(matches!(done, Output::Done), "{sql}");
    }
    let refused = error(&engine, "DROP TABLE gone").await;
    assert_eq!(refused.message, "table 'gone' does not exist");
    let drop = |if_exists, name: &str| Command::DropTable { if_exists, name: name.to_owned() };
    let expect = [
        ("public", Command::Flush { table: None }),
        ("public", Command::Flush { table: Some("cpu".to_owned()) }),
        ("public", drop(true, "Gone")),
        ("b", drop(false, "cpu")),
        ("public", drop(false, "gone")),
    ];
    let expect = expect.map(|(database, command)| (database.to_owned(), command));
    assert_eq!(*source.commands.lock().unwrap(), expect);
}
