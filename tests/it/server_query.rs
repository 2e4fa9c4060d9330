//! SQL at the edges of a server's life: right after a start, of a folder that no server runs on, and errors on the wire.

use crate::server_support::{Running, command, reply, wait_until};
use serde_json::json;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::tempdir;

/// Runs `headwater query` on a folder: exit code, standard output, standard error.
fn ask_stopped(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.arg("query").arg("--data-dir").arg(dir).args(args).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_was_acknowledged_before_a_kill_is_visible_as_soon_as_the_server_listens() {
    const ROWS: usize = 200_000;
    let dir = tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    let mut stream = server.connect();
    let lines: String = (0..ROWS).map(|n| format!("m,t={} n={n}i {n}\n", n % 100)).collect();
    stream.write_all(lines.as_bytes()).unwrap();
    stream.write_all(b"# ack all\n").unwrap();
    assert_eq!(reply(&mut stream), format!("ok all lines={ROWS} rejected=0\n"));
    server.kill();

    let server = Running::start(dir.path(), &[]);
    let answer = server.get("/exec?query=SELECT%20count(*)%20FROM%20m&nm=true");
    assert_eq!(answer.json(), json!({ "dataset": [[ROWS]], "count": 1 }));
}

#[test]
fn the_reports_of_a_new_server_are_a_table_without_rows() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    let answer = server.get("/exec?query=SELECT%20*%20FROM%20write_reports%20ORDER%20BY%20time");
    let answer = answer.json();
    assert_eq!((&answer["count"], &answer["dataset"]), (&json!(0), &json!([])));
    let names: Vec<_> =
        answer["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str()).collect();
    assert_eq!(names, [Some("table_name"), Some("row_count"), Some("time")]);
}

#[test]
fn a_stopped_folder_answers_questions_and_refuses_to_drop() {
    let dir = tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    server.send("m v=1 1\n");
    server.kill();
    let (code, _, error) = ask_stopped(dir.path(), &["DROP TABLE m"]);
    assert_eq!(code, 1);
    assert!(error.contains("nothing can be changed"), "{error}");
    let (code, answer, error) = ask_stopped(dir.path(), &["--format", "json", "SELECT v FROM m"]);
    assert_eq!((code, answer.as_str()), (0, "[{\"v\":1.0}]\n"), "{error}");
}

#[test]
fn exec_takes_the_page_parameters_of_questdb() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    let sql = "SELECT%20value%20FROM%20generate_series(1,5)";
    let page = server.get(&format!("/exec?query={sql}&limit=2,4&nm=true"));
    assert_eq!(page.json(), json!({ "dataset": [[3], [4]], "count": 4 }));
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let page = server.post("/exec", &form, format!("query={sql}&limit=1&count=true").as_bytes());
    let page = page.json();
    assert_eq!((&page["dataset"], &page["count"]), (&json!([[1]]), &json!(5)));
    assert_eq!(server.get(&format!("/exec?query={sql}&limit=few")).status, 400);
}

#[test]
fn an_error_says_where_it_is_in_both_shapes() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    server.send("m v=1 1\n");
    for (sql, position) in [
        ("SELECT%20*%20FRM%20m", 9),
        ("SELECT%20*%20FROM%20m%20WHERE", 21),
        ("SELECT%20v%20FROM%20m%0AORDER%20BY%20nope", 25),
    ] {
        let exec = server.get(&format!("/exec?query={sql}"));
        let v3 = server.get(&format!("/api/v3/query_sql?q={sql}"));
        assert_eq!((exec.status, v3.status), (400, 400), "{sql}");
        let (exec, v3) = (exec.json(), v3.json());
        assert_eq!((&exec["position"], &v3["position"]), (&json!(position), &json!(position)));
        assert_eq!(exec["error"], v3["error"]);
    }
}

fn sql(server: &Running, statement: &str) -> serde_json::Value {
    server.get(&format!("/exec?nm=true&query={}", statement.replace(' ', "%20"))).json()
}

fn lines(table: &str, numbers: std::ops::Range<usize>) -> String {
    numbers.map(|n| format!("{table},t={} n={n}i {n}\n", n % 7)).collect()
}

#[test]
fn a_sender_to_a_suspended_table_waits_past_the_bound_and_nobody_else_does() {
    let dir = tempdir().unwrap();
    let mut bounded = command(dir.path(), &[]);
    bounded.env("HEADWATER_APPLY_SUSPENDED_BYTES", "20000");
    let server = Running::spawn(bounded, dir.path());
    let mut held = server.connect();
    held.write_all(b"held n=0i 0\n# ack first\n").unwrap();
    assert_eq!(reply(&mut held), "ok first lines=1 rejected=0\n");
    assert_eq!(sql(&server, "ALTER TABLE held SUSPEND WAL")["ddl"], "OK");

    // Until an answer does not come.
    held.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut is_held = |n: usize| {
        let text = lines("held", n * 100..(n + 1) * 100) + "# ack t\n";
        held.write_all(text.as_bytes()).unwrap();
        held.read(&mut [0; 100]).is_err()
    };
    let sent = (1..1000).find(|n| is_held(*n)).expect("it is held at some time") + 1;
    let mut free = server.connect();
    free.write_all((lines("free", 0..100) + "# ack free\n").as_bytes()).unwrap();
    assert_eq!(reply(&mut free), "ok free lines=100 rejected=0\n");
    let refused = server.post("/write?precision=ns", &[], b"held n=1i 1\n");
    assert_eq!(refused.status, 503);

    assert_eq!(sql(&server, "ALTER TABLE held RESUME WAL")["ddl"], "OK");
    held.set_read_timeout(None).unwrap();
    assert_eq!(reply(&mut held), "ok t lines=100 rejected=0\n");
    assert_eq!(sql(&server, "ALTER TABLE held APPLY WAL")["ddl"], "OK");
    let count = sql(&server, "SELECT count(*) FROM held");
    assert_eq!(count["dataset"], json!([[1 + (sent - 1) * 100]]));
}

#[test]
fn rows_of_a_suspended_table_lie_on_a_shelf_through_kills_and_come_back() {
    const ROWS: usize = 300_000;
    let dir = tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    server.send(&lines("m", 0..10));
    assert_eq!(sql(&server, "ALTER TABLE m SUSPEND WAL")["ddl"], "OK");
    server.send(&lines("m", 10..ROWS));
    let shelved = "headwater_wal_shelf_files";
    wait_until("what waits to be shelved", || server.metric(shelved) > 0.0);
    assert_eq!(sql(&server, "SELECT count(*) FROM m")["dataset"], json!([[10]]));
    assert_eq!(sql(&server, "ALTER TABLE m RESUME WAL")["ddl"], "OK");
    assert_eq!(sql(&server, "ALTER TABLE m APPLY WAL")["ddl"], "OK");
    assert_eq!(sql(&server, "SELECT count(*) FROM m")["dataset"], json!([[ROWS]]));

    assert_eq!(sql(&server, "FLUSH TABLE m")["ddl"], "OK");
    wait_until("the shelf to go", || server.metric(shelved) == 0.0);

    assert_eq!(sql(&server, "ALTER TABLE m SUSPEND WAL")["ddl"], "OK");
    server.send(&lines("m", ROWS..2 * ROWS));
    let listed = || sql(&server, "SELECT count(*) FROM wal_transactions('m')")["dataset"].clone();
    let before = listed();
    wait_until("the rest to be shelved", || server.metric(shelved) > 0.0);
    assert_eq!(listed(), before, "each is listed once, wherever it is");
    server.kill();
    let server = Running::start(dir.path(), &[]);
    assert_eq!(sql(&server, "SELECT count(*) FROM m")["dataset"], json!([[2 * ROWS]]));
    assert_eq!(sql(&server, "FLUSH TABLE m")["ddl"], "OK");
    wait_until("the shelves to go", || server.metric(shelved) == 0.0);
}
