//! Line protocol over TCP: fragments, replies, and what a FIN and a reset mean.

use crate::server_support::{Running, reply, rows, wait_until};
use rustix::process::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::tempdir;

#[test]
fn any_fragmentation_of_the_stream_gives_the_same_rows() {
    let dir = tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    let lines = |table: &str| {
        format!(
            "# a comment\n{table},host=a\\ b v=1i,s=\"one\\\"two\" 1000\r\n\n{table},host=ü v=2i,f=1.5e3,b=t 2000\n{table} u=7u 3000\n"
        )
    };
    server.send(&lines("whole"));
    let mut stream = server.connect();
    stream.set_nodelay(true).unwrap();
    for byte in lines("bytes").as_bytes() {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.stop(), 0);
    let columns = ["time", "host", "v", "s", "f", "b", "u"];
    let whole = rows(dir.path(), "whole", &columns);
    assert_eq!(whole.len(), 3);
    assert_eq!(whole, rows(dir.path(), "bytes", &columns));
}

#[test]
fn a_reply_counts_rows_and_refused_lines_since_the_one_before() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    let mut stream = server.connect();
    stream.write_all(b"m v=1 1\nm v=2 2\n\n# a comment\n# ack first\n").unwrap();
    assert_eq!(reply(&mut stream), "ok first lines=2 rejected=0\n");
    stream
        .write_all(b"m v=3 3\nm v=oops\nm v=\"text\" 4\n# ack sec:ond-2\nm v=5 5\n# ack third\n")
        .unwrap();
    assert_eq!(reply(&mut stream), "ok sec:ond-2 lines=1 rejected=2 first=7:bad_value\n");
    assert_eq!(reply(&mut stream), "ok third lines=1 rejected=0\n");
}

#[test]
fn many_replies_in_flight_come_in_order_and_add_up() {
    let dir = tempdir().unwrap();
    let server = Running::without_reports(dir.path(), &[]);
    let mut stream = server.connect();
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for n in 0..5_000 {
            writer
                .write_all(format!("m n={n}i {n}\nm n={n}i {n}\n# ack {n}\n").as_bytes())
                .unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    for n in 0..5_000 {
        assert_eq!(reply(&mut stream), format!("ok {n} lines=2 rejected=0\n"));
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    sender.join().unwrap();
    assert_eq!(server.metric("headwater_rows_total"), 10_000.0);
}

#[test]
fn a_bad_line_costs_itself_and_the_connection_lives() {
    let dir = tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    server.send("good v=1i 1\nbad line here\ngood v=\"no integer\" 2\ngood v=2i 3\n");
    assert_eq!(server.stop(), 0);
    assert_eq!(rows(dir.path(), "good", &["v"]), [["1"], ["2"]]);
}

#[test]
fn with_disconnect_a_bad_line_resets_the_connection() {
    let dir = tempdir().unwrap();
    let server = Running::configured(dir.path(), "[ilp]\non_error = 'disconnect'\n");
    let mut stream = server.connect();
    stream.write_all(b"bad line here\n").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_last_line_without_newline_is_dropped_and_the_close_is_a_reset() {
    let dir = tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    let mut stream = server.connect();
    stream.write_all(b"m v=1i 1\nm v=12").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.metric("headwater_incomplete_lines_total"), 1.0);
    assert_eq!(server.stop(), 0);
    assert_eq!(rows(dir.path(), "m", &["v"]), [["1"]]);
}

#[test]
fn a_server_killed_between_half_close_and_sync_gives_a_reset() {
    let dir = tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    let mut stream = server.connect();
    stream.write_all(b"m v=1i 1\n# ack up\n").unwrap();
    // The connection is accepted and served; from here on the server does nothing more until it is killed.
    assert_eq!(reply(&mut stream), "ok up lines=1 rejected=0\n");
    server.signal(Signal::STOP);
    stream.write_all(b"m v=2i 2\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    server.kill();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn http_and_tls_on_the_line_protocol_port_get_one_answer() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    let mut stream = server.connect();
    stream
        .write_all(b"POST /write?db=x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nm v=")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains(&server.http.to_string()),
        "{answer}"
    );

    let mut stream = server.connect();
    stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).unwrap();
    assert_eq!(alert[0], 0x15);
    let count = server.get("/metrics").body;
    assert!(
        count.contains("headwater_lines_rejected_total{reason=\"not_line_protocol\"} 2"),
        "{count}"
    );
    assert_eq!(server.metric("headwater_rows_total"), 0.0);
}

#[test]
fn a_thousand_idle_connections_cost_no_segment_files() {
    let dir = tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    let idle: Vec<_> = (0..1_000).map(|_| server.connect()).collect();
    server.wait_for_metric("headwater_connections", 1_000.0);
    assert_eq!(server.segments(), Vec::<std::path::PathBuf>::new());
    server.send("m v=1 1\n");
    assert_eq!(server.segments().len(), 1);
    drop(idle);
    server.wait_for_metric("headwater_connections", 0.0);
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once_and_counted() {
    let dir = tempdir().unwrap();
    let server = Running::configured(dir.path(), "[limits]\nconnections = 2\n");
    let (first, second) = (server.connect(), server.connect());
    server.wait_for_metric("headwater_connections", 2.0);
    assert_eq!(server.connect().read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.metric("headwater_connections_refused_total"), 1.0);
    drop((first, second));
    server.wait_for_metric("headwater_connections", 0.0);
    server.send("m v=1 1\n");
}

#[test]
fn acknowledged_rows_survive_a_kill_in_every_mode() {
    for durability in ["sync", "async", "nosync"] {
        let dir = tempdir().unwrap();
        let mut server = Running::start(dir.path(), &["--durability", durability]);
        let mut stream = server.connect();
        for n in 0..200 {
            stream.write_all(format!("m n={n}i {n}\n").as_bytes()).unwrap();
        }
        stream.write_all(b"# ack all\n").unwrap();
        assert_eq!(reply(&mut stream), "ok all lines=200 rejected=0\n");
        server.kill();
        let mut server = Running::start(dir.path(), &["--durability", durability]);
        assert_eq!(server.stop(), 0);
        assert_eq!(rows(dir.path(), "m", &["n"]).len(), 200, "{durability}");
    }
}

#[test]
fn a_writer_goes_back_when_its_connection_is_silent() {
    let dir = tempdir().unwrap();
    let server = Running::configured(dir.path(), "[ilp]\nidle_ms = 20\n");
    let mut first = server.connect();
    first.write_all(b"m v=1 1\n# ack a\n").unwrap();
    assert_eq!(reply(&mut first), "ok a lines=1 rejected=0\n");
    wait_until("the writer to be back", || server.metric("headwater_wal_writers") == 0.0);
    first.write_all(b"m v=2 2\n# ack b\n").unwrap();
    assert_eq!(reply(&mut first), "ok b lines=1 rejected=0\n");
}

#[test]
fn writers_go_round_when_more_connections_than_writers_never_fall_silent() {
    let dir = tempdir().unwrap();
    let server =
        Running::configured(dir.path(), "[wal]\nwriters_max = 1\n[ilp]\nidle_ms = 600000\n");
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let keep_on = |lines: String, pause: Duration| {
            let mut stream = server.connect();
            let is_done = &is_done;
            scope.spawn(move || {
                while !is_done.load(Ordering::Relaxed) {
                    stream.write_all(lines.as_bytes()).unwrap();
                    std::thread::sleep(pause);
                }
            });
        };
        keep_on("slow v=1\n".to_owned(), Duration::from_millis(5));
        keep_on("fast v=1\n".repeat(100), Duration::ZERO);
        wait_until("both to be heard", || server.metric("headwater_lines_total") >= 101.0);
        let mut others: Vec<_> = (0..4).map(|_| server.connect()).collect();
        let _done = SetOnDrop(&is_done);
        for _ in 0..3 {
            for other in &mut others {
                other.write_all(b"other v=1\n# ack a\n").unwrap();
                assert_eq!(reply(other), "ok a lines=1 rejected=0\n");
            }
        }
    });
}

/// Lets threads end also when what they are there for fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
