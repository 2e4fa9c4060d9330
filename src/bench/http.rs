//! The server's HTTP side as these clients use it: counts and `FLUSH` by SQL, and `/write`.

use std::fmt::Display;
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

/// A server's HTTP address, with its open connections.
#[derive(Clone, Debug)]
pub(super) struct Http {
    agent: Agent,
    addr: String,
}

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error(
        "cannot reach http://{addr}: {source}; is the server running? `headwater serve` starts one"
    )]
    Unreachable { addr: String, source: ureq::Error },
    #[error("http://{addr} answered {status}: {message}")]
    Refused { addr: String, status: u16, message: String },
    #[error("http://{addr} sent an answer that is no count: {body}")]
    Malformed { addr: String, body: String },
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Http {
    /// A client of `addr` (`HOST:PORT`, `http://` before it allowed) that waits at most `patience` for an answer.
    pub(super) fn new(addr: &str, patience: Duration) -> Http {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_global(Some(patience))
            .build()
            .new_agent();
        let addr = addr.strip_prefix("http://").unwrap_or(addr).trim_end_matches('/').to_owned();
        Http { agent, addr }
    }

    /// The rows of all `tables` together; a table that does not exist yet has none.
    pub(super) fn count<T: Display>(&self, tables: &[T]) -> Result<u64, HttpError> {
        let mut rows = 0;
        for table in tables {
            rows += self.count_table(&table.to_string())?;
        }
        Ok(rows)
    }

    fn count_table(&self, table: &str) -> Result<u64, HttpError> {
        let sql = format!("select count(*) from \"{}\"", table.replace('"', "\"\""));
        let answer = self.select(&sql)?;
        // Every server words it in its own way, but a count can fail with 400 for one reason only.
        if answer.status == 400 {
            return Ok(0);
        }
        self.expect_success(&answer)?;
        let json: Option<Value> = serde_json::from_str(&answer.body).ok();
        json.and_then(|json| json["dataset"][0][0].as_u64()).ok_or_else(|| HttpError::Malformed {
            addr: self.addr.clone(),
            body: excerpt(&answer.body),
        })
    }

    /// Returns once everything committed is in sorted files and no compaction is due.
    pub(super) fn flush(&self) -> Result<(), HttpError> {
        let answer = self.select("FLUSH")?;
        self.expect_success(&answer)
    }

    /// Sends lines through `/write`.
    pub(super) fn write(
        &self,
        db: &str,
        precision: &str,
        lines: &[u8],
    ) -> Result<Answer, HttpError> {
        let url = format!("http://{}/write", self.addr);
        let request = self.agent.post(&url).query("db", db).query("precision", precision);
        self.read(request.content_type("text/plain; charset=utf-8").send(lines))
    }

    /// The error of an answer that reports no success.
    pub(super) fn expect_success(&self, answer: &Answer) -> Result<(), HttpError> {
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        let json: Option<Value> = serde_json::from_str(&answer.body).ok();
        let message = json.and_then(|json| json["error"].as_str().map(str::to_owned));
        Err(HttpError::Refused {
            addr: self.addr.clone(),
            status: answer.status,
            message: message.unwrap_or_else(|| excerpt(&answer.body)),
        })
    }

    fn select(&self, sql: &str) -> Result<Answer, HttpError> {
        let url = format!("http://{}/exec", self.addr);
        self.read(self.agent.get(&url).query("query", sql).call())
    }

    fn read(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Answer, HttpError> {
        let read = response.and_then(|mut response| {
            let body = response.body_mut().read_to_string()?;
            Ok(Answer { status: response.status().as_u16(), body })
        });
        read.map_err(|source| HttpError::Unreachable { addr: self.addr.clone(), source })
    }
}

/// The start of a body, for a message of one line.
fn excerpt(body: &str) -> String {
    body.lines().next().unwrap_or("no text").chars().take(200).collect()
}
