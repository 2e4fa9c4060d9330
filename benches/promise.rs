//! What the promise costs: acknowledged commits against syncs of one file, `sync` against `nosync`, recovery against reading.
//!
//! `cargo bench --no-default-features --bench promise [-- SECONDS] [commits latency durabilities carries segments recovery]`. A server process of this build on
//! loopback, its data beside the build (a temporary folder may be memory); every figure stands beside its yardstick, which is measured in the same
//! run. `HEADWATER_BENCH_RECOVERY_ROWS` (4,000,000) and `HEADWATER_BENCH_RECOVERY_WORKLOAD` (`cpu`) say what a start has to replay: all of it is in
//! memory before the kill. 5 GB are 72,000,000 rows of `iot`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark measures real time and looks at the server's files"
)]

use headwater::io::{File, Fs};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What a commit of one line with ten tags and ten fields takes in the log: frame and record.
const RECORD_BYTES: usize = 450;
const LINE: &str = "cpu,hostname=host_0,region=eu-central-1,datacenter=eu-central-1a,rack=6,os=Ubuntu15.10,arch=x86,team=SF,service=19,\
service_version=1,service_environment=test usage_user=58i,usage_system=2i,usage_idle=24i,usage_nice=61i,usage_iowait=22i,usage_irq=63i,\
usage_softirq=6i,usage_steal=44i,usage_guest=80i,usage_guest_nice=38i";

/// Rounds of [`commits`]; an odd number.
const ROUNDS: usize = 5;

fn main() {
    // `cargo bench` passes `--bench`.
    let seconds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(5.0);
    let time = Duration::from_secs_f64(seconds);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-') && a.parse::<f64>().is_err())
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    if is_wanted("commits") {
        commits(folder.path(), time);
    }
    if is_wanted("latency") {
        latency(folder.path(), time);
    }
    if is_wanted("durabilities") {
        durabilities(folder.path(), time * 2);
    }
    if is_wanted("carries") {
        carries(folder.path(), time / 2);
    }
    if is_wanted("segments") {
        segments(folder.path(), time);
    }
    if is_wanted("recovery") {
        recovery(folder.path());
    }
}

/// Acknowledged one-line commits per second, one acknowledgement outstanding a connection; `CPU` is the server's for each. Medians of
/// rounds, of the ratios too.
fn commits(folder: &Path, time: Duration) {
    println!("one-line commits, `sync`, one acknowledgement outstanding a connection");
    println!(
        "{:>11} {:>12} {:>8} {:>12} {:>8} {:>12} {:>8}  goal",
        "connections", "acks/s", "CPU", "fdatasync/s", "ratio", "echoes/s", "ratio"
    );
    let disk = Yardstick::new(folder);
    let server = Running::start(&folder.join("commits"), &[]);
    let echo = Echo::start();
    for connections in [1, 8, 64, 512] {
        // In turn, since the machine's speed changes within seconds.
        let mut rounds = [(); ROUNDS].map(|()| {
            let time = time / ROUNDS as u32;
            let before = disk.syncs_per_second(time / 2);
            let used = || {
                (
                    server.metric("process_cpu_seconds"),
                    server.metric("headwater_acks_total{result=\"ok\"}"),
                )
            };
            let from = used();
            let acks = ping(server.ilp, connections, time, &format!("{LINE}\n# ack t\n"));
            let to = used();
            let micros = (to.0 - from.0) / (to.1 - from.1) * 1e6;
            let after = disk.syncs_per_second(time / 2);
            let echoes = ping(echo, connections, time, &format!("{LINE}\n"));
            let syncs = (before + after) / 2.0;
            [acks, micros, syncs, acks / syncs, echoes, acks / echoes]
        });
        let [acks, micros, syncs, by_sync, echoes, by_echo] = std::array::from_fn(|figure| {
            rounds.sort_by(|a, b| a[figure].total_cmp(&b[figure]));
            rounds[ROUNDS / 2][figure]
        });
        let goal = match connections {
            64.. => {
                if by_sync >= 15.0 || by_echo >= 0.5 {
                    "met"
                } else {
                    "MISSED"
                }
            }
            _ => "",
        };
        println!(
            "{connections:>11} {acks:>12.0} {micros:>5.1} µs {syncs:>12.0} {by_sync:>7.1}x {echoes:>12.0} {by_echo:>7.2}x  {goal}"
        );
    }
}

/// The median time to an acknowledgement, one connection that pauses between commits.
fn latency(folder: &Path, time: Duration) {
    let disk = Yardstick::new(folder);
    let server = Running::start(&folder.join("latency"), &[]);
    let pause = Duration::from_millis(5);
    let rounds = (time.as_secs_f64() / 0.02) as usize;
    let mut stream = std::net::TcpStream::connect(server.ilp).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let mut replies = BufReader::new(stream.try_clone().expect("a handle"));
    let (mut syncs, mut acks) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        std::thread::sleep(pause);
        syncs.push(disk.sync());
        std::thread::sleep(pause);
        let start = Instant::now();
        stream.write_all(format!("{LINE}\n# ack t\n").as_bytes()).expect("sent");
        replies.read_line(&mut String::new()).expect("a reply");
        acks.push(start.elapsed());
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (sync, ack) = (median(syncs), median(acks));
    let ratio = ack.as_secs_f64() / (2.0 * sync.as_secs_f64());
    println!(
        "\np50 of an acknowledgement at low load: {ack:.0?}; two fdatasyncs: {:.0?}; ratio {ratio:.2} (goal: at most 4)",
        sync * 2
    );
}

/// The `cpu` workload under `sync` and `nosync`, in turn.
fn durabilities(folder: &Path, time: Duration) {
    let rate = |durability: &str, round: u32| {
        let dir = folder.join(format!("{durability}-{round}"));
        let server = Running::start(&dir, &["--durability", durability]);
        let rate = load(&server, &["--duration", &format!("{}ms", time.as_millis())]);
        drop(server);
        drop(std::fs::remove_dir_all(&dir));
        rate
    };
    let mut ratios: Vec<(f64, f64)> =
        (0..3).map(|round| (rate("sync", round), rate("nosync", round))).collect();
    ratios.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (sync, nosync) = ratios[1];
    println!(
        "\ncpu workload, acknowledged lines/s: sync {sync:.0}, nosync {nosync:.0}; ratio {:.2} (median of 3; goal: at least 0.8)",
        sync / nosync
    );
}

/// Commits of several sizes: frames in the log's record, whose one sync then serves all, against frames in their segments, which are
/// synced each for itself.
fn carries(folder: &Path, time: Duration) {
    println!(
        "\nacknowledgements a second, frames carried by the log against frames in segments alone (medians of 3)"
    );
    println!(
        "{:>11} {:>7} {:>9} {:>12} {:>12} {:>8}",
        "connections", "lines", "bytes", "carried", "not", "ratio"
    );
    let start = |carry: &str| {
        let carry = ("HEADWATER_WAL_CARRY_BYTES", carry);
        Running::start_with(&folder.join(format!("carry-{}", carry.1)), &[], &[carry])
    };
    let (all, none) = (start("1073741824"), start("0"));
    for connections in [1, 8, 64] {
        for lines in [1, 16, 128, 512, 1024, 2048, 4096] {
            let text = varied(lines) + "# ack t\n";
            let (mut rounds, mut bytes) = (Vec::new(), 0.0);
            for _ in 0..3 {
                let written = || none.metric("headwater_wal_bytes_total");
                let commits = || none.metric("headwater_wal_commits_total");
                let before = (written(), commits());
                let not = ping(none.ilp, connections, time / 2, &text);
                bytes = (written() - before.0) / (commits() - before.1);
                rounds.push((ping(all.ilp, connections, time / 2, &text), not));
            }
            rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
            let (carried, not) = rounds[1];
            let ratio = carried / not;
            println!(
                "{connections:>11} {lines:>7} {bytes:>9.0} {carried:>12.0} {not:>12.0} {ratio:>7.2}x"
            );
        }
    }
}

/// Lines of one series whose values repeat as little as measured ones do.
fn varied(lines: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    };
    let line = |_| {
        let fields: Vec<String> =
            (0..10).map(|n| format!("f{n}={}", next() as f64 / (1u64 << 53) as f64)).collect();
        format!("cpu,hostname=host_0,region=eu-central-1 {}\n", fields.join(","))
    };
    (0..lines).map(line).collect()
}

/// What it costs to begin a segment: the `cpu` workload with small segments against the default, in turn.
fn segments(folder: &Path, time: Duration) {
    let rate = |bytes: &str, round: u32| {
        let dir = folder.join(format!("segments-{bytes}-{round}"));
        let server = Running::start_with(&dir, &[], &[("HEADWATER_WAL_SEGMENT_BYTES", bytes)]);
        let rate = load(&server, &["--duration", &format!("{}ms", time.as_millis())]);
        drop(server);
        drop(std::fs::remove_dir_all(&dir));
        rate
    };
    println!("\ncpu workload, acknowledged lines/s by the size of segments (median of 3)");
    for (name, bytes) in [("1 MiB", "1048576"), ("8 MiB", "8388608")] {
        let mut ratios: Vec<f64> =
            (0..3).map(|round| rate(bytes, round) / rate("67108864", round)).collect();
        ratios.sort_by(f64::total_cmp);
        println!("{name}: {:.2} of the rate of 64 MiB", ratios[1]);
    }
}

/// From a kill to everything visible again, per byte of WAL, beside reading the same bytes with a checksum.
///
/// Nothing is flushed before the kill, so all of it is replayed; the start has the settings of a newcomer, and flushes as it goes.
fn recovery(folder: &Path) {
    let wish = |name: &str, default: &str| {
        std::env::var(format!("HEADWATER_BENCH_RECOVERY_{name}")).unwrap_or(default.to_owned())
    };
    let (rows, workload) = (wish("ROWS", "4000000"), wish("WORKLOAD", "cpu"));
    let dir = folder.join("recovery");
    let keep = [
        ("HEADWATER_APPLY_FLUSH_BYTES", "100000000000"),
        ("HEADWATER_APPLY_MEMORY_BYTES", "100000000000"),
        ("HEADWATER_APPLY_FLUSH_AGE_MS", "3600000"),
    ];
    let server = Running::start_with(&dir, &[], &keep);
    load(&server, &["--workload", &workload, "--rows", &rows]);
    while server.metric("headwater_apply_lag_rows") > 0.0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let rows = server.metric("headwater_apply_rows_total");
    let bytes = server.metric("headwater_wal_bytes_total");
    drop(server);
    let segments = files(&dir.join("wal"));
    let (plain_bytes, plain) = read_with_checksum(&segments);
    forget_cached(&segments);
    let ilp = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address")
    };
    let start = Instant::now();
    let taken = std::thread::spawn(move || {
        while std::net::TcpStream::connect(ilp).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        start.elapsed()
    });
    let server = Running::start_at(ilp, &dir, &[], &[]);
    let ready = taken.join().expect("a connection");
    while server.metric("headwater_apply_rows_total") < rows {
        std::thread::sleep(Duration::from_millis(10));
    }
    let recovered = start.elapsed();
    let rate = |bytes: f64, time: Duration| bytes / 1e9 / time.as_secs_f64();
    let (replay, read) = (rate(bytes, recovered), rate(plain_bytes as f64, plain));
    println!(
        "\nrecovery of {:.2} GB of WAL, {rows:.0} rows: connections are taken after {ready:.2?}, all is visible after {recovered:.2?}, {replay:.2} GB/s, \
         {:.0} rows/s; a plain read with CRC: {read:.2} GB/s; ratio {:.2}",
        bytes / 1e9,
        rows / recovered.as_secs_f64(),
        replay / read
    );
}

/// Reads files once from the device, in order, and sums them up: how many bytes, in which time.
fn read_with_checksum(paths: &[PathBuf]) -> (u64, Duration) {
    forget_cached(paths);
    let start = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    let (mut sum, mut bytes) = (0, 0);
    for path in paths {
        let mut file = std::fs::File::open(path).expect("a file");
        loop {
            let len = file.read(&mut buffer).expect("bytes");
            if len == 0 {
                break;
            }
            sum = crc32c::crc32c_append(sum, &buffer[..len]);
            bytes += len as u64;
        }
    }
    std::hint::black_box(sum);
    (bytes, start.elapsed())
}

/// Has the next read come from the device.
fn forget_cached(paths: &[PathBuf]) {
    for path in paths {
        std::fs::File::open(path).and_then(|f| f.sync_all()).expect("a sync");
        Fs::real().forget_cached(path).expect("a hint");
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a folder").flatten().map(|e| e.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Acknowledged lines per second of `headwater bench` over four connections, by default of the `cpu` workload.
fn load(server: &Running, amount: &[&str]) -> f64 {
    let json = server.dir.with_extension("json");
    let done = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(["bench", "--connections", "4", "--no-count"])
        .args(amount)
        .args([
            "--addr",
            &server.ilp.to_string(),
            "--http-addr",
            &server.http.to_string(),
            "--json",
        ])
        .arg(&json)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .expect("the load client runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).expect("a report")).expect("JSON");
    report["acknowledged"]["rows_per_second"]
        .as_f64()
        .unwrap_or_else(|| panic!("no rate in {report}"))
}

/// One file that is synced after each write.
struct Yardstick {
    file: File,
    end: AtomicU64,
}

impl Yardstick {
    fn new(folder: &Path) -> Yardstick {
        let path = folder.join(
            format!("yardstick-{:?}", Instant::now())
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
        );
        Yardstick { file: Fs::real().create(&path).expect("a file"), end: AtomicU64::new(0) }
    }

    fn sync(&self) -> Duration {
        let at = self.end.fetch_add(RECORD_BYTES as u64, Ordering::Relaxed);
        let start = Instant::now();
        self.file.write_all_at(&[0x5a; RECORD_BYTES], at).expect("room on the disk");
        self.file.sync_data().expect("a sync");
        start.elapsed()
    }

    fn syncs_per_second(&self, time: Duration) -> f64 {
        let start = Instant::now();
        let mut count = 0;
        while start.elapsed() < time {
            self.sync();
            count += 1;
        }
        f64::from(count) / start.elapsed().as_secs_f64()
    }
}

/// Sends `text` over each connection, waits for a line in answer, and does it again; answers per second.
fn ping(addr: SocketAddr, connections: usize, time: Duration, text: &str) -> f64 {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let mut stream = TcpStream::connect(addr).await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            let (count, stop, text) = (count.clone(), stop.clone(), text.as_bytes().to_vec());
            tasks.push(tokio::spawn(async move {
                let mut answer = [0; 1024];
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(&text).await.expect("sent");
                    let mut last = 0;
                    while last != b'\n' {
                        let len = stream.read(&mut answer).await.expect("an answer");
                        assert!(len > 0, "the server closed");
                        last = answer[len - 1];
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        // The first second is for connecting and for creating what is new.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (from, start) = (count.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(time).await;
        let rate = (count.load(Ordering::Relaxed) - from) as f64 / start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.expect("a client");
        }
        rate
    })
}

/// A server that sends back what it gets, with as many threads as ours.
struct Echo;

impl Echo {
    #[allow(clippy::new_ret_no_self, reason = "it lives until the process ends")]
    fn start() -> SocketAddr {
        let runtime = Box::leak(Box::new(Runtime::new().expect("a runtime")));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let addr = listener.local_addr().expect("an address");
        runtime.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    drop(stream.set_nodelay(true));
                    let mut buffer = vec![0; 16 << 10];
                    while let Ok(len) = stream.read(&mut buffer).await {
                        if len == 0 || stream.write_all(&buffer[..len]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        addr
    }
}

/// A server process; killed when it is dropped.
struct Running {
    child: Child,
    ilp: SocketAddr,
    http: SocketAddr,
    dir: PathBuf,
}

impl Running {
    fn start(dir: &Path, args: &[&str]) -> Running {
        Running::start_with(dir, args, &[])
    }

    fn start_with(dir: &Path, args: &[&str], environment: &[(&str, &str)]) -> Running {
        Running::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), dir, args, environment)
    }

    /// Returns when everything of an earlier life is visible.
    fn start_at(
        ilp: SocketAddr,
        dir: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_headwater"))
            .args(["serve", "--ilp-addr", &ilp.to_string()])
            .args(["--http-addr", "127.0.0.1:0", "--log-level", "error", "--data-dir"])
            .arg(dir)
            .args(args)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server runs");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut address = |label: &str| loop {
            let line = lines.next().expect("the banner names the addresses").expect("text");
            if let Some(rest) = line.trim_start().strip_prefix(label) {
                let word = rest.split_whitespace().next().expect("an address follows");
                return word.trim_start_matches("http://").parse().expect("an address");
            }
        };
        let (ilp, http) = (address("line protocol"), address("HTTP"));
        Running { child, ilp, http, dir: dir.to_owned() }
    }

    fn metric(&self, name: &str) -> f64 {
        let mut answer =
            ureq::get(format!("http://{}/metrics", self.http)).call().expect("metrics");
        let text = answer.body_mut().read_to_string().expect("text");
        let line =
            text.lines().find(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|l| l.rsplit(' ').next())
            .and_then(|v| v.parse().ok())
            .unwrap_or_else(|| panic!("no metric {name}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
