//! `headwater query`: asks a running server over HTTP, or a stopped one's data directory.

use super::Source;
use clap::{Args, ValueEnum};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Flags of `headwater query`.
#[derive(Args, Clone, Debug)]
pub struct QueryArgs {
    /// The statement, e.g. "SELECT * FROM write_reports ORDER BY time DESC".
    pub sql: String,
    /// How to print rows.
    #[arg(long, value_enum, default_value_t = Print::Table)]
    pub format: Print,
    /// The database that names without one belong to.
    #[arg(long, default_value = "public")]
    pub db: String,
    /// Where the server's HTTP listens.
    #[arg(long, env = "HEADWATER_HTTP_ADDR", default_value = "127.0.0.1:9000")]
    pub http_addr: String,
    /// Read this data directory instead of asking a server; no server may be running on it.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
}

/// How `headwater query` prints rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Print {
    /// A table drawn with lines.
    Table,
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Jsonl,
}

impl Print {
    fn name(self) -> &'static str {
        match self {
            Print::Table => "pretty",
            Print::Csv => "csv",
            Print::Json => "json",
            Print::Jsonl => "jsonl",
        }
    }

    /// What a terminal wants after the answer: only the array ends without a newline.
    fn end(self) -> &'static [u8] {
        match self {
            Print::Json => b"\n",
            Print::Table | Print::Csv | Print::Jsonl => b"",
        }
    }
}

/// What the user sees of a failure.
struct Failure {
    message: String,
    /// Where in the statement, in characters from 0.
    position: Option<usize>,
}

impl Failure {
    fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), position: None }
    }
}

/// Runs `headwater query` and prints to the standard streams. `open` opens a data directory that no server runs on.
///
/// The exit code is 0 when the whole answer was printed, otherwise 1.
pub fn query(
    args: QueryArgs,
    open: impl FnOnce(&Path) -> Result<Arc<dyn Source>, String>,
) -> ExitCode {
    let answered = match &args.data_dir {
        Some(dir) => ask_directory(&args, dir, open),
        None => ask_server(&args),
    };
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            if let Some(pointer) = failure.position.and_then(|at| point_at(&args.sql, at)) {
                eprintln!("{pointer}");
            }
            ExitCode::FAILURE
        }
    }
}

fn ask_server(args: &QueryArgs) -> Result<(), Failure> {
    let url = format!("http://{}/api/v3/query_sql", args.http_addr);
    let unreachable = |error: ureq::Error| {
        Failure::new(format!(
            "no answer from {}: {error}; is `headwater serve` running?",
            args.http_addr
        ))
    };
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response = agent
        .get(&url)
        .query("db", &args.db)
        .query("q", &args.sql)
        .query("format", args.format.name())
        .call()
        .map_err(unreachable)?;
    if !response.status().is_success() {
        let status = response.status();
        let body = response.body_mut().read_to_string().unwrap_or_default();
        return Err(refusal(&body, status.as_u16()));
    }
    let mut from = response.body_mut().as_reader();
    let mut to = std::io::stdout().lock();
    let copied = std::io::copy(&mut from, &mut to);
    printed(copied.and_then(|_| to.write_all(args.format.end())).and_then(|()| to.flush()))
}

/// A reader that has seen enough, as `head` has, is no failure.
fn printed(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("the answer broke off: {error}")))
        }
        _ => Ok(()),
    }
}

/// Reads `{"error":…,"position":…}`, or takes what there is.
fn refusal(body: &str, status: u16) -> Failure {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let position = json["position"].as_u64().and_then(|at| usize::try_from(at).ok());
    match json["error"].as_str() {
        Some(message) => Failure { message: message.to_owned(), position },
        None => Failure::new(format!("status {status}: {}", body.trim())),
    }
}

/// The line of the statement with a mark below the character at `position`.
fn point_at(sql: &str, position: usize) -> Option<String> {
    let mut before = 0;
    for line in sql.split('\n') {
        let length = line.chars().count();
        if position <= before + length {
            return Some(format!("  {line}\n  {}^", " ".repeat(position - before)));
        }
        before += length + 1;
    }
    None
}

#[cfg(not(feature = "query"))]
fn ask_directory(
    _: &QueryArgs,
    _: &Path,
    _: impl FnOnce(&Path) -> Result<Arc<dyn Source>, String>,
) -> Result<(), Failure> {
    Err(Failure::new("this build has no SQL (cargo feature `query`): start a server and ask it"))
}

#[cfg(feature = "query")]
fn ask_directory(
    args: &QueryArgs,
    dir: &Path,
    open: impl FnOnce(&Path) -> Result<Arc<dyn Source>, String>,
) -> Result<(), Failure> {
    use super::{Format, QueryConfig, QueryEngine, QueryError};
    use futures::StreamExt;

    let failed = |error: QueryError| Failure { message: error.message, position: error.position };
    let format = Format::by_name(args.format.name())
        .ok_or_else(|| Failure::new("this format is not known"))?;
    let source = open(dir).map_err(Failure::new)?;
    let engine = QueryEngine::new(QueryConfig::default(), source)
        .map_err(|error| Failure::new(format!("start threads: {error}")))?;
    let print = async {
        let output = engine.run(&args.db, &args.sql).await.map_err(failed)?;
        let mut body = format.write(&args.sql, output).await.map_err(failed)?;
        let mut to = std::io::stdout().lock();
        while let Some(bytes) = body.next().await {
            printed(to.write_all(&bytes.map_err(failed)?))?;
        }
        printed(to.write_all(args.format.end()).and_then(|()| to.flush()))
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("start: {error}")))?
        .block_on(print)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_the_line_and_the_place() {
        let failure = refusal("{\"error\":\"Expected: x\",\"position\":9}", 400);
        assert_eq!(failure.message, "Expected: x");
        let pointer = point_at("SELECT\n  FRM t", 9);
        assert_eq!(pointer.as_deref(), Some("    FRM t\n    ^"));
        assert_eq!(refusal("no such page\n", 404).message, "status 404: no such page");
        assert_eq!(point_at("SELECT", 99), None);
    }
}
