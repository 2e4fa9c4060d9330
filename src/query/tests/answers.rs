//! What a SELECT sees: parts and tails as one table, at one moment.

use super::fixture::*;
use crate::query::ErrorKind;
use crate::types::ColumnType;
use arrow::array::{Float64Array, Int64Array, StringArray};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A table that had `host` and `usage` in its first part, got `n` and `Note` later, and has its last rows in the tail.
pub(super) fn cpu(tables: &std::path::Path) -> TestTable {
    TestTable::new(tables, 1, "cpu")
        .column(1, "host", ColumnType::Tag)
        .column(2, "usage", ColumnType::Float)
        .part(
            &[(DAY, &[(1, "a")]), (DAY + SECOND, &[(1, "b")]), (DAY + 2 * SECOND, &[])],
            vec![(2, Arc::new(Float64Array::from(vec![1.5, 2.5, 3.5])))],
        )
        .column(3, "n", ColumnType::Integer)
        .column(4, "Note", ColumnType::String)
        .part(
            &[(DAY + DAYS, &[(1, "b")]), (DAY + DAYS + SECOND, &[(1, "c")])],
            vec![
                (2, Arc::new(Float64Array::from(vec![Some(4.5), None]))),
                (3, Arc::new(Int64Array::from(vec![Some(-7), Some(8)]))),
                (4, Arc::new(StringArray::from(vec![None, Some("x,y")]))),
            ],
        )
        .tail(
            &[(DAY + DAYS, &[(1, "a")]), (DAY + 2 * DAYS, &[(1, "d")])],
            vec![(3, Arc::new(Int64Array::from(vec![Some(9), None])))],
        )
}

#[tokio::test]
async fn a_table_is_its_parts_and_tails_and_columns_of_later_are_null_before() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    check(
        &engine,
        "SELECT * FROM cpu ORDER BY time, host",
        &[
            "a,1.5,,,2026-11-22T00:00:00",
            "b,2.5,,,2026-11-22T00:00:01",
            ",3.5,,,2026-11-22T00:00:02",
            "a,,9,,2026-11-23T00:00:00",
            "b,4.5,-7,,2026-11-23T00:00:00",
            "c,,8,\"x,y\",2026-11-23T00:00:01",
            "d,,,,2026-11-24T00:00:00",
        ],
    )
    .await;
}

#[tokio::test]
async fn filters_on_time_tags_and_fields_find_rows_of_parts_and_tails() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    for (filter, expect) in [
        ("time >= '2026-11-23T00:00:00Z' AND time < '2026-11-24T00:00:00Z'", 3),
        ("time = '2026-11-22T00:00:01'", 1),
        ("time > TIMESTAMP '2026-11-23 00:00:01'", 1),
        ("time < '1999-01-01'", 0),
        ("host = 'a'", 2),
        ("host IN ('b', 'd')", 3),
        ("host IS NULL", 1),
        ("host = 'nobody'", 0),
        ("usage > 2", 3),
        ("n < 0 OR n = 9", 2),
        ("\"Note\" LIKE 'x%' AND host = 'c'", 1),
        ("host = 'a' AND time >= '2026-11-23'", 1),
    ] {
        let sql = format!("SELECT count(*) FROM cpu WHERE {filter}");
        check(&engine, &sql, &[&expect.to_string()]).await;
        let sql = format!("SELECT time FROM cpu WHERE {filter}");
        assert_eq!(lines(&engine, &sql).await.len(), expect, "{sql}");
    }
}

#[tokio::test]
async fn tags_group_across_parts_and_tails() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    check(
        &engine,
        "SELECT host, count(*), sum(usage), max(time) FROM cpu GROUP BY host ORDER BY host NULLS FIRST",
        &[
            ",1,3.5,2026-11-22T00:00:02",
            "a,2,1.5,2026-11-23T00:00:00",
            "b,2,7.0,2026-11-23T00:00:00",
            "c,1,,2026-11-23T00:00:01",
            "d,1,,2026-11-24T00:00:00",
        ],
    )
    .await;
    check(&engine, "SELECT count(DISTINCT host), avg(n) FROM cpu", &["4,3.3333333333333335"]).await;
}

#[tokio::test]
async fn counts_and_the_ends_of_time_need_no_scan() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    for sql in ["SELECT count(*) FROM cpu", "SELECT count() FROM cpu", "SELECT count(1) FROM cpu"] {
        check(&engine, sql, &["7"]).await;
        let plan = lines(&engine, &format!("EXPLAIN {sql}")).await.join("\n");
        assert!(!plan.contains("DataSourceExec"), "{sql}: {plan}");
    }
    let sql = "SELECT min(time), max(time), count(*) FROM cpu";
    check(&engine, sql, &["2026-11-22T00:00:00,2026-11-24T00:00:00,7"]).await;
    let plan = lines(&engine, &format!("EXPLAIN {sql}")).await.join("\n");
    assert!(!plan.contains("DataSourceExec"), "{plan}");
}

#[tokio::test]
async fn parts_and_runs_outside_the_filtered_time_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    let sql = "EXPLAIN SELECT usage FROM cpu WHERE time < '2026-11-22T12:00:00'";
    let plan = lines(&engine, sql).await.join("\n");
    assert!(plan.contains("hw_day=2026-11-22") && !plan.contains("hw_day=2026-11-23"), "{plan}");
    assert!(!plan.contains("tails="), "{plan}");
    let sql = "EXPLAIN SELECT usage FROM cpu WHERE time > now()";
    let plan = lines(&engine, sql).await.join("\n");
    assert!(!plan.contains("hw_day=2026-11-22"), "{plan}");
}

#[tokio::test]
async fn limits_and_orders_hold_over_parts_and_tails() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    check(&engine, "SELECT host FROM cpu ORDER BY time DESC LIMIT 2", &["d", "c"]).await;
    check(&engine, "SELECT count(*) FROM (SELECT * FROM cpu LIMIT 3)", &["3"]).await;
    assert_eq!(lines(&engine, "SELECT * FROM cpu LIMIT 4").await.len(), 4);
    check(&engine, "SELECT n FROM cpu WHERE n IS NOT NULL ORDER BY n OFFSET 1", &["8", "9"]).await;
}

#[tokio::test]
async fn a_table_without_rows_or_columns_answers() {
    let dir = tempfile::tempdir().unwrap();
    let empty = TestTable::new(dir.path(), 2, "empty").column(1, "v", ColumnType::Float);
    let bare = TestTable::new(dir.path(), 3, "bare");
    let engine = engine(&TestSource::of([empty, bare]));
    check(&engine, "SELECT * FROM empty", &[]).await;
    check(&engine, "SELECT count(*), max(v) FROM empty", &["0,"]).await;
    check(&engine, "SELECT count(*) FROM empty WHERE v > 1", &["0"]).await;
    check(&engine, "SELECT * FROM bare", &[]).await;
}

#[tokio::test]
async fn a_query_looks_at_each_table_once() {
    let dir = tempfile::tempdir().unwrap();
    let source = TestSource::of([cpu(dir.path())]);
    let engine = engine(&source);
    let sql =
        "SELECT count(*) FROM cpu a JOIN public.cpu b ON a.time = b.time, table_partitions('cpu')";
    assert_eq!(lines(&engine, sql).await, ["27"]);
    assert_eq!(source.looks.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn names_keep_their_case_and_tables_are_found_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let table = TestTable::new(dir.path(), 1, "Cpu.Load total")
        .column(1, "usageUser", ColumnType::Integer)
        .tail(&[(DAY, &[])], vec![(1, Arc::new(Int64Array::from(vec![5])))]);
    let engine = engine(&TestSource::of([table, cpu(dir.path())]));
    check(&engine, "SELECT usageUser FROM \"Cpu.Load total\"", &["5"]).await;
    check(&engine, "SELECT MAX(\"usageUser\") FROM \"cpu.load TOTAL\"", &["5"]).await;
    check(&engine, "select Count(*) from CPU", &["7"]).await;
    check(&engine, "SELECT count(*) FROM 'cpu'", &["7"]).await;
    let refused = error(&engine, "SELECT usageuser FROM \"Cpu.Load total\"").await;
    assert_eq!(refused.kind, ErrorKind::Statement);
    assert_eq!(refused.position, Some(7), "{refused}");
}

#[tokio::test]
async fn errors_are_the_callers_and_say_where() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    for (sql, message, position) in [
        ("SELEC 1", "Expected: an SQL statement, found: SELEC", Some(0)),
        ("SELECT nope FROM cpu", "No field named nope", Some(7)),
        ("SELECT * FROM nope", "table 'headwater.public.nope' not found", Some(14)),
        ("SELECT * FROM other.cpu", "table 'headwater.other.cpu' not found", Some(14)),
        ("SELECT nope(usage) FROM cpu", "Invalid function 'nope'", Some(7)),
        ("SELECT * FROM '/etc/passwd'", "table 'headwater.public./etc/passwd' not found", None),
        ("SELECT usage + 'x' FROM cpu", "", None),
        ("SELECT CAST(host AS BIGINT) FROM cpu", "", None),
        ("SELECT * INTO t FROM cpu", "", None),
    ] {
        let refused = error(&engine, sql).await;
        assert_eq!(refused.kind, ErrorKind::Statement, "{sql}: {refused}");
        assert!(refused.message.contains(message), "{sql}: {refused}");
        assert!(!refused.message.contains('\n'), "{sql}: {refused}");
        if position.is_some() {
            assert_eq!(refused.position, position, "{sql}: {refused}");
        }
    }
}
