//! A server process of a test's own, and the clients that talk to it.

#![allow(unreachable_pub, reason = "shared by the modules of one test binary")]

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest that anything here may take. A test that meets it fails; none depends on how long things take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on ports of its own. Killed when it is dropped.
pub struct Running {
    child: Child,
    pub ilp: SocketAddr,
    pub http: SocketAddr,
    pub dir: PathBuf,
}

/// What an HTTP request came to.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// The command of a server on free ports.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command
        .args(["serve", "--ilp-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--data-dir"])
        .arg(dir);
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command that is expected to end by itself.
pub fn outcome(mut command: Command) -> (i32, String) {
    let Output { status, stderr, .. } = command.output().expect("the binary runs");
    (status.code().unwrap_or(-1), String::from_utf8_lossy(&stderr).into_owned())
}

impl Running {
    /// Starts a server and returns when clients can connect.
    pub fn start(dir: &Path, args: &[&str]) -> Running {
        Running::spawn(command(dir, args), dir)
    }

    /// Starts a server over `data` in the folder, with a configuration file beside it.
    pub fn configured(dir: &Path, config: &str) -> Running {
        let file = dir.join("hw.toml");
        std::fs::write(&file, config).unwrap();
        Running::start(&dir.join("data"), &["--config", file.to_str().unwrap()])
    }

    /// Starts a server whose `headwater_rows_total` counts the test's rows alone: a report is one more row, whenever it comes.
    pub fn without_reports(dir: &Path, args: &[&str]) -> Running {
        let mut quiet = command(dir, args);
        quiet.env("HEADWATER_HOOK_ENABLED", "false");
        Running::spawn(quiet, dir)
    }

    /// Starts a server by a command on this folder, and returns when clients can connect.
    pub fn spawn(mut command: Command, dir: &Path) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut address = |label: &str| loop {
            let line =
                lines.next().expect("the banner names the addresses").expect("stdout can be read");
            if let Some(rest) = line.trim_start().strip_prefix(label) {
                let word = rest.split_whitespace().next().expect("an address follows");
                return word.trim_start_matches("http://").parse().expect("an address");
            }
        };
        let (ilp, http) = (address("line protocol"), address("HTTP"));
        Running { child, ilp, http, dir: dir.to_owned() }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.ilp).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends lines, half-closes, and returns once the server's FIN says that they are durable.
    pub fn send(&self, lines: &str) {
        let mut stream = self.connect();
        stream.write_all(lines.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 64]).expect("a FIN"), 0);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM; returns the exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.exit_code()
    }

    /// Waits for the end; -1 when a signal was it.
    pub fn exit_code(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn get(&self, path: &str) -> Answer {
        answer(agent().get(format!("http://{}{path}", self.http)).call())
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = agent().post(format!("http://{}{path}", self.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body))
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line =
            text.lines().find(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        let value =
            line.and_then(|l| l.rsplit(' ').next()).unwrap_or_else(|| panic!("no metric {name}"));
        value.parse().unwrap()
    }

    pub fn wait_for_metric(&self, name: &str, expect: f64) {
        wait_until(name, || self.metric(name) == expect);
    }

    /// Every file below the WAL folder that holds a segment.
    pub fn segments(&self) -> Vec<PathBuf> {
        let all = files(&self.dir.join("wal"));
        all.into_iter().filter(|p| p.extension().is_some_and(|e| e == "wal")).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended in most tests.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a reply line says. Ends at the newline.
pub fn reply(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        assert_eq!(stream.read(&mut byte).expect("a reply"), 1, "the server closed after {line:?}");
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// The rows of a table in the folder of a cleanly stopped server, every value as text, sorted.
pub fn rows(dir: &Path, table: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let prefix = format!("{table}~");
    let parts = files(&dir.join("tables")).into_iter().filter(|path| {
        let folder = path.strip_prefix(dir.join("tables")).unwrap().components().next().unwrap();
        folder.as_os_str().to_str().unwrap().starts_with(&prefix)
    });
    let mut rows = Vec::new();
    for part in parts {
        let file = std::fs::File::open(part).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            rows.extend(texts(&batch.unwrap(), columns));
        }
    }
    rows.sort();
    rows
}

fn texts(batch: &RecordBatch, columns: &[&str]) -> Vec<Vec<String>> {
    let cell = |name: &str, row| {
        let column = batch.column_by_name(name);
        column
            .map_or(String::new(), |c| arrow::util::display::array_value_to_string(c, row).unwrap())
    };
    (0..batch.num_rows()).map(|row| columns.iter().map(|name| cell(name, row)).collect()).collect()
}

pub fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = response.expect("the server answers");
    Answer {
        status: response.status().as_u16(),
        body: response.body_mut().read_to_string().unwrap(),
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let entries = entries.flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
