//! `headwater write`: sends lines over HTTP and shows what was wrong with those that were refused.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::file::{LineReader, is_row};
use super::http::{Http, HttpError};
use super::report::Grouped;

/// Bytes of a request, unless a single line is longer.
const REQUEST_BYTES: usize = 4 << 20;

/// How long the server may take for one request: it may hold us back while it is full.
const PATIENCE: Duration = Duration::from_secs(120);

/// The most characters of a refused line that are shown.
const SHOWN_CHARS: usize = 100;

/// Sends lines to a server and shows, for each one refused, where and why.
#[derive(Args, Clone, Debug)]
pub struct WriteArgs {
    /// Lines to send [default: those of standard input]
    pub lines: Option<String>,

    /// Send the lines of this file
    #[arg(long, value_name = "FILE", conflicts_with = "lines")]
    pub file: Option<PathBuf>,

    /// Database that the lines go to
    #[arg(long, default_value = "public")]
    pub db: String,

    /// Unit of the lines' timestamps
    #[arg(long, default_value = "ns", value_parser = ["ns", "us", "ms", "s"])]
    pub precision: String,

    /// HTTP address of the server
    #[arg(
        long,
        default_value = "127.0.0.1:9000",
        env = "HEADWATER_HTTP_ADDR",
        value_name = "ADDR"
    )]
    pub http_addr: String,
}

/// Why not all lines were sent.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("open {path}: {source}")]
    Open { path: String, source: io::Error },
    #[error("read lines: {0}")]
    Read(#[from] io::Error),
    #[error("lines {first} to {last} are not written: {source}")]
    Send { first: u64, last: u64, source: HttpError },
}

/// What a server says about a request with refused lines.
#[derive(Debug, Deserialize)]
struct Refusals {
    lines: Vec<Refusal>,
    written: u64,
    rejected: u64,
}

/// One refused line. The line counts from the request's first, the column is a byte of it, from 1.
#[derive(Debug, Deserialize)]
struct Refusal {
    line: u64,
    column: Option<usize>,
    reason: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    text: String,
}

/// Lines on their way into one request.
#[derive(Debug)]
struct Request {
    body: Vec<u8>,
    /// Number of the body's first line in the whole input, from 1.
    first: u64,
    lines: u64,
    rows: u64,
}

#[derive(Debug, Default)]
struct Totals {
    written: u64,
    rejected: u64,
}

/// Sends all lines; failure if any was refused or could not be sent.
pub fn write(args: WriteArgs) -> ExitCode {
    let mut totals = Totals::default();
    let sent = write_all(&args, &mut totals);
    if let Err(error) = &sent {
        eprintln!("error: {error}");
    }
    let Totals { written, rejected } = totals;
    // A server that was never reached has nothing to add to the error.
    if sent.is_ok() || written + rejected > 0 {
        println!("{} lines written, {} rejected", Grouped(written), Grouped(rejected));
    }
    if sent.is_ok() && rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn write_all(args: &WriteArgs, totals: &mut Totals) -> Result<(), WriteError> {
    let (source, bytes): (Box<dyn Read + '_>, _) = match (&args.lines, &args.file) {
        (Some(lines), _) => (Box::new(lines.as_bytes()), None),
        (None, Some(path)) => {
            let failed = |source| WriteError::Open { path: path.display().to_string(), source };
            let file = File::open(path).map_err(failed)?;
            let bytes = file.metadata().map_err(failed)?.len();
            (Box::new(file), Some(bytes))
        }
        (None, None) => {
            if io::stdin().is_terminal() {
                eprintln!("reading lines from standard input; Ctrl-D ends");
            }
            (Box::new(io::stdin()), None)
        }
    };
    let http = Http::new(&args.http_addr, PATIENCE);
    // Small inputs are gone before a bar could be drawn.
    let bar = match bytes {
        Some(bytes) if bytes > REQUEST_BYTES as u64 => ProgressBar::new(bytes),
        _ => ProgressBar::hidden(),
    };
    bar.set_style(
        ProgressStyle::with_template(
            "{elapsed:>4} [{bar:40}] {bytes}/{total_bytes}, {bytes_per_sec}",
        )
        .expect("the template is valid"),
    );
    let sent = send_all(source, args, &http, totals, |bytes, shown| {
        if !shown.is_empty() {
            bar.suspend(|| eprint!("{shown}"));
        }
        bar.inc(bytes);
    });
    bar.finish_and_clear();
    sent
}

/// Sends the lines of `source`; after each request says how many bytes it had, and what to show of lines refused.
fn send_all(
    source: impl Read,
    args: &WriteArgs,
    http: &Http,
    totals: &mut Totals,
    mut progress: impl FnMut(u64, &str),
) -> Result<(), WriteError> {
    let mut request = Request { body: Vec::new(), first: 1, lines: 0, rows: 0 };
    let mut reader = LineReader::new(source);
    loop {
        let line = reader.next_line()?;
        let full = line.is_none_or(|line| request.body.len() + line.len() > REQUEST_BYTES);
        if full && request.lines > 0 {
            let bytes = request.body.len() as u64;
            let shown = request.send(args, http, totals)?;
            progress(bytes, &shown);
        }
        match line {
            Some(line) => request.push(line),
            None => return Ok(()),
        }
    }
}

impl Request {
    fn push(&mut self, line: &[u8]) {
        // A line that is too long comes in pieces, of which only the last has the newline.
        if self.body.last().is_none_or(|byte| *byte == b'\n') {
            self.lines += 1;
            self.rows += u64::from(is_row(line));
        }
        self.body.extend_from_slice(line);
    }

    /// Sends the lines and begins anew behind them; returns what to show of those refused.
    fn send(
        &mut self,
        args: &WriteArgs,
        http: &Http,
        totals: &mut Totals,
    ) -> Result<String, WriteError> {
        let (first, last) = (self.first, self.first + self.lines - 1);
        let failed = |source| WriteError::Send { first, last, source };
        let answer = http.write(&args.db, &args.precision, &self.body).map_err(failed)?;
        let refusals: Option<Refusals> =
            (answer.status == 400).then(|| serde_json::from_str(&answer.body).ok()).flatten();
        let mut shown = String::new();
        match refusals {
            Some(Refusals { lines, written, rejected }) => {
                totals.written += written;
                totals.rejected += rejected;
                for refusal in &lines {
                    shown += &refusal.show(first - 1);
                }
                let unnamed = rejected.saturating_sub(lines.len() as u64);
                if unnamed > 0 {
                    shown += &format!(
                        "and {} more between lines {first} and {last}\n",
                        Grouped(unnamed)
                    );
                }
            }
            None => {
                http.expect_success(&answer).map_err(failed)?;
                totals.written += self.rows;
            }
        }
        self.body.clear();
        (self.first, self.lines, self.rows) = (last + 1, 0, 0);
        Ok(shown)
    }
}

impl Refusal {
    /// The line with a caret under the byte that is wrong; `before` lines came in earlier requests.
    fn show(&self, before: u64) -> String {
        let Refusal { line, column, reason, detail, text } = self;
        let mut shown = format!("line {}", before + line);
        if let Some(column) = column {
            shown += &format!(", column {column}");
        }
        shown += &format!(": {reason}");
        if !detail.is_empty() {
            shown += &format!(": {detail}");
        }
        shown.push('\n');
        if text.is_empty() {
            return shown;
        }
        // The column counts bytes, the caret's place counts characters.
        let bad =
            column.map(|column| text.char_indices().take_while(|(at, _)| at + 1 < column).count());
        let from = bad.unwrap_or(0).saturating_sub(SHOWN_CHARS * 3 / 4);
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let window: String = text.chars().skip(from).take(SHOWN_CHARS).map(printable).collect();
        shown += &format!("    {}\n", window.trim_end());
        if let Some(bad) = bad.filter(|bad| bad - from <= window.chars().count()) {
            shown += &format!("    {}^\n", " ".repeat(bad - from));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn refusal(line: u64, column: usize, text: &str) -> Refusal {
        Refusal {
            line,
            column: Some(column),
            reason: "bad_number".to_owned(),
            detail: "no digits".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn the_caret_stands_under_the_byte_that_is_wrong() {
        let check = |column, text: &str, place: usize| {
            let expected = format!(
                "line 13, column {column}: bad_number: no digits\n    {text}\n    {}^\n",
                " ".repeat(place)
            );
            assert_eq!(refusal(3, column, text).show(10), expected);
        };
        check(1, "cpu v=x", 0);
        check(7, "cpu v=x", 6);
        // Just behind the line's end: something is missing.
        check(8, "cpu v=x", 7);
        // Two bytes, one place.
        check(10, "cpu,ü=1 v=x", 8);
    }

    #[test]
    fn a_long_line_is_shown_around_the_byte_that_is_wrong() {
        let text = format!("cpu {}v=x", "f=1,".repeat(100));
        let shown = refusal(1, text.len(), &text).show(0);
        let [_, window, caret] = shown.lines().collect::<Vec<_>>()[..] else { panic!("{shown}") };
        assert!(window.len() <= SHOWN_CHARS + 4, "{shown}");
        assert_eq!(window.as_bytes().get(caret.len() - 1), Some(&b'x'), "{shown}");
    }

    #[test]
    fn a_refusal_without_text_or_column_is_still_shown() {
        let json = r#"{"error":"x","lines":[{"line":2,"reason":"line_too_long"}],"written":1,"rejected":1}"#;
        let refusals: Refusals = serde_json::from_str(json).expect("the fields are optional");
        assert_eq!(refusals.lines[0].show(0), "line 2: line_too_long\n");
    }

    #[test]
    fn a_request_numbers_lines_from_where_the_last_one_ended() {
        let mut request = Request { body: Vec::new(), first: 1, lines: 0, rows: 0 };
        for line in [b"# comment\n".as_slice(), b"a v=1\n", b"\n", b"a v=2"] {
            request.push(line);
        }
        assert_eq!((request.lines, request.rows), (4, 2));
    }

    /// Answers each of `answers` to one `POST`, and gives back the bodies.
    fn serve(answers: Vec<&'static str>) -> (Http, thread::JoinHandle<Vec<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let addr = listener.local_addr().expect("the listener is bound").to_string();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the client connects");
            let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
            let mut bodies = Vec::new();
            for answer in answers {
                let heads = reader.by_ref().lines().map_while(Result::ok);
                let length = heads
                    .take_while(|head| !head.is_empty())
                    .find_map(|head| {
                        head.to_lowercase().strip_prefix("content-length: ")?.parse().ok()
                    })
                    .expect("a request says its length");
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    reader.read_line(&mut line).expect("the head ends with a blank line");
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("the client sends all of the body");
                bodies.push(length);
                stream.write_all(answer.as_bytes()).expect("the client reads");
            }
            bodies
        });
        (Http::new(&addr, PATIENCE), served)
    }

    #[test]
    fn refused_lines_are_numbered_over_all_requests_of_a_long_input() {
        let refused = concat!(
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 80\r\n\r\n",
            r#"{"error":"x","lines":[{"line":2,"reason":"no_fields"}],"written":6,"rejected":1}"#
        );
        let written = "HTTP/1.1 204 No Content\r\n\r\n";
        let (http, served) = serve(vec![written, refused]);
        let args = WriteArgs {
            lines: None,
            file: None,
            db: "public".to_owned(),
            precision: "ns".to_owned(),
            http_addr: String::new(),
        };
        let line = format!("a s=\"{}\"\n", "x".repeat(1 << 19));
        let input = line.repeat(14);
        let (mut totals, mut shown) = (Totals::default(), String::new());
        let sent = send_all(input.as_bytes(), &args, &http, &mut totals, |_, text| shown += text);
        sent.expect("the server answers");
        assert_eq!(shown, "line 9: no_fields\n");
        assert_eq!((totals.written, totals.rejected), (13, 1));
        assert_eq!(served.join().expect("the server served"), [line.len() * 7, line.len() * 7]);
    }
}
