//! The bytes of each format.

use super::answers::cpu;
use super::fixture::*;
use crate::query::{ErrorKind, Format, Page};
use crate::types::ColumnType;
use arrow::array::{
    BooleanArray, Float64Array, Float64Builder, ListBuilder, StringArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::sync::Arc;

/// A table with every type, a null in each column, and text that every format has to escape.
fn kinds(tables: &std::path::Path) -> TestTable {
    let text = "a \"b\",\nc\\é";
    let field = Field::new_list_field(DataType::Float64, false);
    let mut array = ListBuilder::new(Float64Builder::new()).with_field(field);
    array.append_value([Some(1.5), Some(2.0)]);
    array.append_null();
    let array = array.finish();
    TestTable::new(tables, 5, "kinds")
        .column(1, "tag", ColumnType::Tag)
        .column(2, "f", ColumnType::Float)
        .column(3, "u", ColumnType::Unsigned)
        .column(4, "b", ColumnType::Boolean)
        .column(5, "s", ColumnType::String)
        .column(6, "a", ColumnType::Array)
        .tail(
            &[(DAY + 1, &[(1, text)]), (DAY + SECOND, &[])],
            vec![
                (2, Arc::new(Float64Array::from(vec![Some(1e300), None]))),
                (3, Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
                (4, Arc::new(BooleanArray::from(vec![Some(true), None]))),
                (5, Arc::new(StringArray::from(vec![Some(text), None]))),
                (6, Arc::new(array)),
            ],
        )
}

const ALL: &str = "SELECT * FROM kinds ORDER BY time";

#[tokio::test]
async fn every_format_spells_every_type() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([kinds(dir.path())]));
    for (format, expect) in [
        (
            Format::Json,
            r#"[{"tag":"a \"b\",\nc\\é","f":1.0e300,"u":18446744073709551615,"b":true,"s":"a \"b\",\nc\\é","a":[1.5,2.0],"time":"2026-11-22T00:00:00.000000001"},{"time":"2026-11-22T00:00:01"}]"#,
        ),
        (
            Format::JsonLines,
            "{\"tag\":\"a \\\"b\\\",\\nc\\\\é\",\"f\":1.0e300,\"u\":18446744073709551615,\"b\":true,\"s\":\"a \\\"b\\\",\\nc\\\\é\",\"a\":[1.5,2.0],\"time\":\"2026-11-22T00:00:00.000000001\"}\n{\"time\":\"2026-11-22T00:00:01\"}\n",
        ),
        (
            Format::Csv,
            "tag,f,u,b,s,a,time\n\"a \"\"b\"\",\nc\\é\",1e300,18446744073709551615,true,\"a \"\"b\"\",\nc\\é\",\"[1.5, 2.0]\",2026-11-22T00:00:00.000000001\n,,,,,,2026-11-22T00:00:01\n",
        ),
        (
            Format::QuestDb(Page::default()),
            r#"{"query":"SELECT * FROM kinds ORDER BY time","columns":[{"name":"tag","type":"SYMBOL"},{"name":"f","type":"DOUBLE"},{"name":"u","type":"LONG"},{"name":"b","type":"BOOLEAN"},{"name":"s","type":"VARCHAR"},{"name":"a","type":"DOUBLE[]"},{"name":"time","type":"TIMESTAMP_NS"}],"timestamp":6,"dataset":[["a \"b\",\nc\\é",1e300,18446744073709551615,true,"a \"b\",\nc\\é",[1.5, 2.0],"2026-11-22T00:00:00.000000001Z"],[null,null,null,null,null,null,"2026-11-22T00:00:01.000000000Z"]],"count":2}"#,
        ),
    ] {
        assert_eq!(text(&engine, format, ALL).await, expect, "{format:?}");
    }
}

#[tokio::test]
async fn a_parquet_answer_can_be_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([kinds(dir.path()), cpu(dir.path())]));
    let file = bytes(&engine, Format::Parquet, ALL).await.unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap();
    assert_eq!(reader.schema().fields().len(), 7);
    let rows: usize = reader.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 2);

    let many = "SELECT value, 'x' || value AS s FROM generate_series(1, 300000)";
    let file = bytes(&engine, Format::Parquet, many).await.unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 3);
    let rows: usize = reader.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 300_000);
}

#[tokio::test]
async fn no_rows_are_an_answer_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([kinds(dir.path())]));
    let sql = "SELECT u, time FROM kinds WHERE u = 1";
    let exec = format!(
        r#"{{"query":"{sql}","columns":[{{"name":"u","type":"LONG"}},{{"name":"time","type":"TIMESTAMP_NS"}}],"timestamp":1,"dataset":[],"count":0}}"#
    );
    for (format, expect) in [
        (Format::Json, "[]"),
        (Format::JsonLines, ""),
        (Format::Csv, "u,time\n"),
        (Format::Table, "+---+------+\n| u | time |\n+---+------+\n+---+------+\n"),
        (Format::QuestDb(Page::default()), &exec),
    ] {
        assert_eq!(text(&engine, format, sql).await, expect, "{format:?}");
    }
    assert!(!bytes(&engine, Format::Parquet, sql).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_command_answers_ok_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([kinds(dir.path())]));
    for (format, expect) in [
        (Format::Json, "[{\"result\":\"OK\"}]"),
        (Format::JsonLines, "{\"result\":\"OK\"}\n"),
        (Format::Csv, "result\nOK\n"),
        (Format::Table, "+--------+\n| result |\n+--------+\n| OK     |\n+--------+\n"),
        (Format::QuestDb(Page::default()), "{\"ddl\":\"OK\"}"),
    ] {
        assert_eq!(text(&engine, format, "FLUSH").await, expect, "{format:?}");
    }
}

#[tokio::test]
async fn exec_knows_the_designated_timestamp_and_writes_what_is_no_number_as_null() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([kinds(dir.path())]));
    for (sql, expect) in [
        (
            "SELECT time AS t, b FROM kinds LIMIT 0",
            r#""columns":[{"name":"t","type":"TIMESTAMP_NS"},{"name":"b","type":"BOOLEAN"}],"timestamp":0,"#,
        ),
        ("SELECT b FROM kinds LIMIT 0", r#""timestamp":-1,"#),
        (
            "SELECT CAST('NaN' AS DOUBLE) AS x, 1.0 / 4 AS y, CAST('-inf' AS DOUBLE) AS z, 'null' AS s",
            r#""dataset":[[null,0.25,null,"null"]]"#,
        ),
        (
            "SELECT CAST('2026-11-22T01:02:03.5' AS TIMESTAMP(3)) AS t, CAST('2026-11-22' AS DATE) AS d",
            r#""dataset":[["2026-11-22T01:02:03.500000Z","2026-11-22"]]"#,
        ),
        ("SELECT [1, 2] AS list", r#""dataset":[["[1, 2]"]]"#),
    ] {
        let answer = text(&engine, Format::QuestDb(Page::default()), sql).await;
        assert!(answer.contains(expect), "{answer}");
        serde_json::from_str::<serde_json::Value>(&answer).unwrap();
    }
}

#[tokio::test]
async fn exec_answers_the_page_that_is_asked_for() {
    let engine = engine(&TestSource::of([]));
    let sql = "SELECT value AS v FROM generate_series(1, 20000)";
    for (limit, with_head, count_all, dataset, count) in [
        ("2", false, false, "[[1],[2]]", 2),
        ("2,4", false, false, "[[3],[4]]", 4),
        ("19999,30000", false, false, "[[20000]]", 20_000),
        ("0", false, false, "[]", 0),
        ("4,2", false, false, "[]", 2),
        ("1", false, true, "[[1]]", 20_000),
    ] {
        let page = Page::new(limit, with_head, count_all).unwrap();
        let answer = text(&engine, Format::QuestDb(page), sql).await;
        assert_eq!(answer, format!("{{\"dataset\":{dataset},\"count\":{count}}}"), "{limit}");
    }
    let page = Page::new("1", true, false).unwrap();
    let answer = text(&engine, Format::QuestDb(page), sql).await;
    assert!(answer.ends_with(r#""timestamp":-1,"dataset":[[1]],"count":1}"#), "{answer}");
    for bad in ["x", "-1", "1,", ",1", "1,2,3"] {
        assert_eq!(Page::new(bad, true, false).unwrap_err().kind, ErrorKind::Statement, "{bad}");
    }
}

#[tokio::test]
async fn a_table_for_people_has_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([kinds(dir.path())]));
    let sql = "SELECT value FROM generate_series(1, 600000)";
    let refused = bytes(&engine, Format::Table, sql).await.expect_err("too many values");
    assert_eq!(refused.kind, ErrorKind::Resources);
    assert!(refused.message.contains("LIMIT"), "{refused}");
    assert_eq!(lines(&engine, sql).await.len(), 600_000);
}

#[test]
fn formats_are_known_by_name() {
    for (name, format) in [
        ("json", Format::Json),
        ("jsonl", Format::JsonLines),
        ("csv", Format::Csv),
        ("parquet", Format::Parquet),
        ("pretty", Format::Table),
        ("table", Format::Table),
    ] {
        assert_eq!(Format::by_name(name), Some(format), "{name}");
    }
    assert_eq!(Format::by_name("xml"), None);
}
