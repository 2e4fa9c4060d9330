//! What the server says of itself.

use super::answers::cpu;
use super::fixture::*;
use crate::query::Format;
use crate::types::ColumnType;
use arrow::array::Int64Array;
use std::sync::Arc;

#[tokio::test]
async fn show_tables_names_the_tables_of_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let other = TestTable::new(dir.path(), 2, "Mem");
    let engine = engine(&TestSource::of([cpu(dir.path()), other]));
    check(&engine, "SHOW TABLES", &["Mem", "cpu"]).await;
    check(&engine, "show tables;", &["Mem", "cpu"]).await;
    let refused = error(&engine, "SHOW TABLES LIKE 'c%'").await;
    assert!(refused.message.contains("tables()"), "{refused}");
    let sql = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name";
    check(&engine, sql, &["public,Mem", "public,cpu"]).await;
    let sql = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'cpu' ORDER BY ordinal_position LIMIT 2";
    check(&engine, sql, &["host,\"Dictionary(Int32, Utf8)\"", "usage,Float64"]).await;
}

#[tokio::test]
async fn wal_tables_tells_progress_in_both_spellings() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    let expect = "name,suspended,writerTxn,bufferedTxnSize,sequencerTxn,errorTag,errorMessage,memoryPressure,last_applied_seqtxn,last_committed_seqtxn,flushed_txn,lag_transactions,lag_rows,lag_time,skipped_transactions,database
cpu,false,4,3,6,,,0,4,6,1,2,7,1.5,3,public
";
    assert_eq!(text(&engine, Format::Csv, "SELECT * FROM wal_tables()").await, expect);
    assert_eq!(text(&engine, Format::Csv, "wal_tables();").await, expect);
    check(&engine, "SELECT name FROM wal_tables() WHERE sequencerTxn > writerTxn", &["cpu"]).await;
    let refused = error(&engine, "SELECT * FROM wal_tables('cpu')").await;
    assert!(refused.message.contains("no argument"), "{refused}");
}

#[tokio::test]
async fn wal_transactions_lists_them_in_order_with_what_they_do() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    let expect = "sequencerTxn,timestamp,walId,segmentId,segmentTxn,structureVersion,minTimestamp,maxTimestamp,rowCount,alterCommandType,kind,state
1,2026-11-22T00:00:00,,,,0,,,,,create,applied
2,2026-11-22T00:00:00,3,4,0,0,2026-11-22T00:00:00,2026-11-22T00:00:01,2,,data,waiting
";
    let sql = "SELECT * FROM wal_transactions('cpu')";
    assert_eq!(text(&engine, Format::Csv, sql).await, expect);
    let refused = error(&engine, "SELECT * FROM wal_transactions('nope')").await;
    assert_eq!(refused.message, "table 'nope' does not exist");
}

#[tokio::test]
async fn tables_tells_what_there_is_without_reading_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    check(
        &engine,
        "SELECT id, table_name, designatedTimestamp, partitionBy, walEnabled, directoryName, table_row_count, table_min_timestamp, table_max_timestamp FROM tables()",
        &["1,cpu,time,DAY,true,cpu~1,7,2026-11-22T00:00:00,2026-11-24T00:00:00"],
    )
    .await;
}

#[tokio::test]
async fn columns_and_partitions_of_a_table_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&TestSource::of([cpu(dir.path())]));
    check(
        &engine,
        "SELECT \"column\", type, designated, kind, id FROM table_columns('cpu')",
        &[
            "host,SYMBOL,false,tag,1",
            "usage,DOUBLE,false,float,2",
            "n,LONG,false,integer,3",
            "Note,VARCHAR,false,string,4",
            "time,TIMESTAMP_NS,true,timestamp,0",
        ],
    )
    .await;
    check(
        &engine,
        "SELECT \"index\", partitionBy, name, minTimestamp, numRows, diskSize > 0, active, isParquet, parts, unflushedRows, maxLevel FROM table_partitions('cpu')",
        &[
            "0,DAY,2026-11-22,2026-11-22T00:00:00,3,true,false,true,1,0,0",
            "1,DAY,2026-11-23,2026-11-23T00:00:00,3,true,false,false,1,1,0",
            "2,DAY,2026-11-24,2026-11-24T00:00:00,1,false,true,false,0,1,",
        ],
    )
    .await;
    let refused = error(&engine, "SELECT * FROM table_columns('nope')").await;
    assert_eq!(refused.message, "table 'nope' does not exist");
    let refused = error(&engine, "SELECT * FROM table_partitions(1)").await;
    assert!(refused.message.contains("the name of a table"), "{refused}");
}

#[tokio::test]
async fn refused_lines_are_a_table_of_the_database_system() {
    let engine = engine(&TestSource::of([]));
    let sql = "SELECT database, \"table\", peer, connection, line, \"offset\", reason, detail, excerpt \
               FROM system.rejected_lines WHERE reason = 'bad_value'";
    let expect = "\
database,table,peer,connection,line,offset,reason,detail,excerpt
public,,192.0.2.1:5,3,4,50,bad_value,no value,cpu v=x
";
    assert_eq!(text(&engine, Format::Csv, sql).await, expect);
    let sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'system'";
    assert_eq!(text(&engine, Format::Csv, sql).await, "table_name\nrejected_lines\n");
}

#[tokio::test]
async fn write_reports_look_as_the_plugin_page_shows_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = DAY + 9 * 3600 * SECOND;
    let reports = TestTable::new(dir.path(), 9, "write_reports")
        .column(1, "table_name", ColumnType::Tag)
        .column(2, "row_count", ColumnType::Integer)
        .tail(
            &[
                (at + 123_456_789, &[(1, "temperature")]),
                (at + 90 * SECOND + 1, &[(1, "humidity")]),
            ],
            vec![(2, Arc::new(Int64Array::from(vec![1, 12])))],
        );
    let engine = engine(&TestSource::of([reports]));
    let sql = "SELECT * FROM write_reports ORDER BY time DESC";
    let expect = "\
+-------------+-----------+-------------------------------+
| table_name  | row_count | time                          |
+-------------+-----------+-------------------------------+
| humidity    | 12        | 2026-11-22T09:01:30.000000001 |
| temperature | 1         | 2026-11-22T09:00:00.123456789 |
+-------------+-----------+-------------------------------+
";
    assert_eq!(text(&engine, Format::Table, sql).await, expect);
}
