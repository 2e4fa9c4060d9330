//! HTTP: writes with line-numbered errors, their bounds, and what clients probe.

use crate::server_support::{Running, rows};
use flate2::{Compression, write::GzEncoder};
use std::io::{Read, Write};
use std::net::TcpStream;
use tempfile::tempdir;

#[test]
fn a_write_is_durable_when_it_is_answered_and_its_last_line_needs_no_newline() {
    let dir = tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    assert_eq!(server.post("/write?precision=s", &[], b"m v=1i 7\nm v=2i 8").status, 204);
    server.kill();
    let mut server = Running::start(dir.path(), &[]);
    assert_eq!(server.stop(), 0);
    assert_eq!(
        rows(dir.path(), "m", &["v", "time"]),
        [["1", "1970-01-01T00:00:07"], ["2", "1970-01-01T00:00:08"]]
    );
}

#[test]
fn refused_lines_are_numbered_as_the_body_numbers_them() {
    let dir = tempdir().unwrap();
    let server = Running::without_reports(dir.path(), &[]);
    let body = b"# comment\n\nm v=1i 1\nm v=\"text\" 2\nm v= 3\nm v=4i 4\n";
    for path in ["/write", "/api/v2/write?bucket=public", "/api/v3/write_lp?db=public"] {
        let answer = server.post(path, &[], body);
        let json = answer.json();
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(json["error"], "partial write of line protocol occurred");
        assert_eq!((&json["written"], &json["rejected"]), (&2.into(), &2.into()));
        let lines: Vec<_> = json["lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| (l["line"].as_u64(), l["reason"].as_str()))
            .collect();
        assert_eq!(
            lines,
            [(Some(4), Some("type_conflict")), (Some(5), Some("empty_value"))],
            "{path}"
        );
    }
    assert_eq!(server.metric("headwater_rows_total"), 6.0);
}

#[test]
fn a_database_name_keeps_to_the_rules_of_names() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    let long = "x".repeat(128);
    for bad in ["a%0Ab", "%1b[31m", long.as_str()] {
        let answer = server.post(&format!("/write?db={bad}"), &[], b"m v=1 1");
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.json()["error"].as_str().unwrap().starts_with("database "), "{bad}");
    }
    assert_eq!(server.post("/write?db=telegraf/autogen", &[], b"m v=1 1").status, 204);
}

#[test]
fn a_refused_line_is_repeated_as_it_was_sent() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    let line = format!("größe v=\"{}\" oops", "x".repeat(200));
    let answer = server.post("/api/v3/write_lp?db=d", &[], line.as_bytes()).json();
    assert_eq!(answer["lines"][0]["text"], *line);
    assert_eq!(answer["data"][0]["original_line"], *line);
}

#[test]
fn databases_of_one_server_have_tables_of_their_own() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    assert_eq!(server.post("/write?db=one", &[], b"m v=1i 1").status, 204);
    assert_eq!(server.post("/write?db=two", &[], b"m v=\"text\" 1").status, 204);
    assert_eq!(server.post("/write?db=one", &[], b"m v=\"text\" 1").status, 400);
}

#[test]
fn gzip_is_inflated_and_bounds_hold_for_what_it_inflates_to() {
    let dir = tempdir().unwrap();
    let config = dir.path().join("hw.toml");
    std::fs::write(&config, "[http]\nbody_bytes_max = 65536\n").unwrap();
    let args = ["--config", config.to_str().unwrap()];
    let server = Running::without_reports(&dir.path().join("data"), &args);
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let headers = [("Content-Encoding", "gzip")];
    assert_eq!(server.post("/write", &headers, &gzip(b"m v=1 1\nm v=2 2\n")).status, 204);
    assert_eq!(server.metric("headwater_rows_total"), 2.0);
    assert_eq!(server.post("/write", &headers, &gzip(&vec![b'\n'; 1 << 20])).status, 413);
    assert_eq!(server.post("/write", &[], &vec![b'\n'; 1 << 17]).status, 413);
    assert_eq!(server.post("/write", &headers, b"m v=1 1").status, 400);
    assert_eq!(server.post("/write", &[("Content-Encoding", "br")], b"m v=1 1").status, 415);
    assert_eq!(server.post("/write?precision=fortnight", &[], b"m v=1 1").status, 400);
}

#[test]
fn clients_find_what_they_probe_for() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 204 ") && answer.contains("x-influxdb-version: headwater-"),
        "{answer}"
    );
    assert_eq!(server.get("/health").json()["status"], "pass");
    assert_eq!(server.get("/ready").status, 200);
    assert_eq!(server.get("/nothing").status, 404);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let created = server.post("/query", &form, b"q=CREATE+DATABASE+%22telegraf%22");
    assert_eq!(
        (created.status, created.body.as_str()),
        (200, "{\"results\":[{\"statement_id\":0}]}")
    );
    assert_eq!(server.post("/query", &form, b"q=SELECT+1").status, 400);
    let metrics = server.get("/metrics").body;
    for endpoint in ["/write", "/ping", "/exec", "other"] {
        assert!(
            metrics.contains(&format!(
                "headwater_http_requests_total{{endpoint=\"{endpoint}\",code=\"5xx\"}} 0"
            )),
            "{endpoint}"
        );
    }
    assert!(metrics.contains("headwater_http_requests_total{endpoint=\"/ping\",code=\"2xx\"} 1"));
}

#[cfg(feature = "query")]
#[test]
fn statements_are_answered_in_both_shapes() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    server.send("weather,city=Bern temp=21.5 1000\n");
    crate::server_support::wait_until("the row", || {
        server.metric("headwater_apply_rows_total") >= 1.0
    });
    let exec = server.get("/exec?query=SELECT%20city,temp%20FROM%20weather").json();
    assert_eq!(exec["dataset"], serde_json::json!([["Bern", 21.5]]));
    assert_eq!(exec["count"], 1);
    let csv = server.get("/api/v3/query_sql?format=csv&q=SELECT%20city,temp%20FROM%20weather");
    assert_eq!(csv.body, "city,temp\nBern,21.5\n");
    let json = [("Content-Type", "application/json")];
    let posted = server.post(
        "/api/v3/query_sql",
        &json,
        br#"{"db":"public","q":"SELECT temp FROM weather","format":"json"}"#,
    );
    assert_eq!(posted.json(), serde_json::json!([{ "temp": 21.5 }]));
    let wrong = server.get("/exec?query=SELEC%201");
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.json()["position"], 0);
    assert_eq!(server.get("/api/v3/query_sql?q=SELECT%201&format=xml").status, 400);
    let alter = |what: &str| {
        let what = what.replace(' ', "%20");
        server.get(&format!("/exec?query=ALTER%20TABLE%20weather%20{what}")).json()
    };
    let query =
        "SELECT%20suspended,%20%22errorTag%22%20FROM%20wal_tables()%20WHERE%20name='weather'";
    let state = || server.get(&format!("/exec?query={query}")).json()["dataset"].clone();
    assert_eq!(alter("SUSPEND WAL")["ddl"], "OK");
    assert_eq!(state(), serde_json::json!([[true, "ON REQUEST"]]));
    assert_eq!(server.post("/write", &[], b"weather,city=Rome temp=29").status, 204);
    assert!(alter("APPLY WAL")["error"].as_str().unwrap().contains("ON REQUEST"));
    assert!(alter("RESUME WAL FROM TXN 99")["error"].as_str().unwrap().contains("must be one of"));
    assert_eq!(alter("RESUME WAL")["ddl"], "OK");
    assert_eq!(alter("APPLY WAL")["ddl"], "OK");
    let exec = server.get("/exec?query=SELECT%20count(*)%20FROM%20weather").json();
    assert_eq!(exec["dataset"], serde_json::json!([[2]]));
    assert_eq!(server.get("/exec?query=DROP%20TABLE%20weather").json()["ddl"], "OK");
}

#[cfg(not(feature = "query"))]
#[test]
fn a_build_without_sql_says_so() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    assert_eq!(server.get("/exec?query=SELECT%201").status, 501);
}
