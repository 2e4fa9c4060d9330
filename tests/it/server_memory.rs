//! What a server holds in memory when more comes in than it can put away.

use crate::server_support::{Running, wait_until};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::tempdir;

const CONNECTIONS: u64 = 8;
const ROWS: u64 = 6_000;
/// Bytes of a row's string: what all connections send is several times the budget.
const TEXT: usize = 6_000;
const BUDGET: u64 = 64 << 20;

#[test]
fn eight_connections_at_full_speed_stay_within_a_small_budget() {
    let dir = tempdir().unwrap();
    let config = format!("[apply]\nmemory_bytes = {BUDGET}\n");
    let server = Running::configured(dir.path(), &config);
    let is_done = AtomicBool::new(false);
    let (tails, anonymous) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut tails, mut anonymous) = (0.0_f64, 0.0_f64);
            while !is_done.load(Ordering::Acquire) {
                let metrics = server.get("/metrics").body;
                let value = |name: &str| {
                    let line = metrics.lines().find(|line| line.starts_with(name));
                    line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                        .unwrap_or(0.0)
                };
                tails = tails.max(value("headwater_tail_bytes "));
                anonymous = anonymous.max(value("process_anonymous_memory_bytes "));
            }
            (tails, anonymous)
        });
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                scope.spawn({
                    let server = &server;
                    move || stream(server, connection)
                })
            })
            .collect();
        for sender in senders {
            sender.join().unwrap();
        }
        is_done.store(true, Ordering::Release);
        watcher.join().unwrap()
    });
    let rows = (CONNECTIONS * ROWS) as f64;
    wait_until("all rows to be visible", || server.metric("headwater_apply_rows_total") >= rows);
    assert!(tails < 1.5 * BUDGET as f64, "tails held {tails}");
    // Beside the budget: a pending commit and a receive buffer for each connection, and parts being written.
    assert!(anonymous < BUDGET as f64 + (600 << 20) as f64, "the process held {anonymous}");
    assert!(server.metric("headwater_flushes_total") >= 3.0);
    eprintln!("tails held {tails}, the process {anonymous}");
}

/// Sends rows as fast as they are taken, until the FIN that says all of them are durable.
fn stream(server: &Running, connection: u64) {
    let mut stream = server.connect();
    let mut lines = String::new();
    let mut seed = connection + 1;
    for row in 0..ROWS {
        write!(lines, "wide,host=h{connection} text=\"").unwrap();
        for _ in 0..TEXT / 16 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            write!(lines, "{seed:016x}").unwrap();
        }
        writeln!(lines, "\" {}", row + 1).unwrap();
        if lines.len() > 1 << 20 {
            stream.write_all(lines.as_bytes()).unwrap();
            lines.clear();
        }
    }
    stream.write_all(lines.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 64]).expect("a FIN"), 0);
}
