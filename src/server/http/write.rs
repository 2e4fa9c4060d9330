//! Writes: all lines of a request, durable before the answer, refused ones named by line.

use super::app::{Shared, json, refuse};
use super::serve::Peer;
use crate::codec::Precision;
use crate::engine::{IngestError, Rejected, WriteOutcome};
use axum::body::Body;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as object};
use std::sync::Arc;

/// The parameters of all three endpoints. Others (`rp`, `org`, `consistency`, `no_sync` …) have no meaning here.
#[derive(Deserialize, Debug)]
pub(super) struct Parameters {
    #[serde(alias = "bucket")]
    db: Option<String>,
    precision: Option<String>,
}

/// Whose error answer the client understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    V1,
    V2,
    V3,
}

/// `POST /write`
pub(super) async fn v1(
    app: Shared,
    peer: Extension<Peer>,
    parameters: Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    write(app, peer, parameters, headers, body, Shape::V1).await
}

/// `POST /api/v2/write`
pub(super) async fn v2(
    app: Shared,
    peer: Extension<Peer>,
    parameters: Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    write(app, peer, parameters, headers, body, Shape::V2).await
}

/// `POST /api/v3/write_lp`
pub(super) async fn v3(
    app: Shared,
    peer: Extension<Peer>,
    parameters: Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    write(app, peer, parameters, headers, body, Shape::V3).await
}

async fn write(
    State(app): Shared,
    Extension(Peer(peer)): Extension<Peer>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Body,
    shape: Shape,
) -> Response {
    let precision = match parameters.precision.as_deref() {
        None | Some("") => Precision::Nanosecond,
        Some(name) => match Precision::from_name(name) {
            Some(precision) => precision,
            None => {
                return fault(
                    shape,
                    StatusCode::BAD_REQUEST,
                    format!("unknown precision {name:?}; use ns, us, ms or s"),
                );
            }
        },
    };
    let database: Arc<str> = match parameters.db.as_deref() {
        None | Some("") => app.database.clone(),
        Some(name) => name.into(),
    };
    if let Err(why) = app.engine.check_database(&database) {
        return fault(shape, StatusCode::BAD_REQUEST, format!("database {database:?}: {why}"));
    }
    if app.stop.is_cancelled() {
        return later(shape, "the server is stopping");
    }
    if !app.engine.gate().admitted() {
        return later(shape, "memory for rows that are not yet in Parquet is used up");
    }
    let body = match app.bodies.read(&headers, body).await {
        Ok(body) => body,
        Err(e) if e.status() == StatusCode::SERVICE_UNAVAILABLE => return later(shape, e),
        Err(e) => return fault(shape, e.status(), e),
    };
    let peer = peer.to_string().into();
    match app.engine.write_lines(database, peer, precision, body.as_slice()).await {
        Ok(outcome) if outcome.rejected == 0 => StatusCode::NO_CONTENT.into_response(),
        Ok(outcome) => {
            let body = serde_json::to_string_pretty(&partial(shape, &outcome));
            let body = body.expect("strings and numbers are JSON") + "\n";
            (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], body)
                .into_response()
        }
        Err(error) => not_written(shape, &error),
    }
}

fn not_written(shape: Shape, error: &IngestError) -> Response {
    if matches!(error, IngestError::HeldUp) {
        return later(shape, error);
    }
    if matches!(error, IngestError::Wal(wal) if wal.is_temporary()) {
        tracing::warn!(%error, "the WAL cannot grow now; a request is asked to come again");
        return later(shape, "the WAL cannot grow now, for want of disk or files");
    }
    tracing::error!(%error, "a request's rows cannot be written to the WAL");
    fault(shape, StatusCode::INTERNAL_SERVER_ERROR, error)
}

/// 503: what a client may send again as it is. Telegraf drops a batch at any 4xx, 429 included.
fn later(shape: Shape, reason: impl std::fmt::Display) -> Response {
    let mut response = fault(shape, StatusCode::SERVICE_UNAVAILABLE, reason);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn fault(shape: Shape, status: StatusCode, reason: impl std::fmt::Display) -> Response {
    match shape {
        Shape::V1 | Shape::V3 => refuse(status, reason),
        Shape::V2 => {
            let code = match status {
                StatusCode::PAYLOAD_TOO_LARGE => "request too large",
                StatusCode::SERVICE_UNAVAILABLE => "unavailable",
                status if status.is_server_error() => "internal error",
                _ => "invalid",
            };
            json(status, &object!({ "code": code, "message": reason.to_string() }))
        }
    }
}

/// The answer when some lines were refused and the others written. Printed over several lines with its members in this order, so that
/// who reads it raw sees the caret of `mark` under the byte of `text`: the two have names of one length, and the spaces before the
/// caret are as many as the characters that JSON needs for what comes before the byte.
#[derive(Serialize, Debug)]
struct Partial<'a> {
    error: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    lines: Vec<Line<'a>>,
    written: u64,
    rejected: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<Value>>,
}

#[derive(Serialize, Debug)]
struct Line<'a> {
    line: u64,
    column: u64,
    reason: &'static str,
    detail: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
}

fn partial(shape: Shape, outcome: &WriteOutcome) -> Partial<'_> {
    let line = |l: &Rejected| object!({ "error_message": sentence(l), "line_number": l.line, "original_line": l.text });
    let first = outcome.lines.first().map(sentence).unwrap_or_default();
    Partial {
        error: PARTIAL,
        code: (shape == Shape::V2).then_some("invalid"),
        message: (shape == Shape::V2).then(|| format!("{PARTIAL}: {first}")),
        lines: outcome.lines.iter().map(Line::of).collect(),
        written: outcome.written,
        rejected: outcome.rejected,
        data: (shape == Shape::V3).then(|| outcome.lines.iter().map(line).collect()),
    }
}

impl Line<'_> {
    fn of(rejected: &Rejected) -> Line<'_> {
        Line {
            line: rejected.line,
            column: rejected.column,
            reason: rejected.reason,
            detail: &rejected.detail,
            text: &rejected.text,
            mark: mark(&rejected.text, rejected.column),
        }
    }
}

/// What points at a byte of `text` as JSON spells it; nothing when the text, which may be cut, does not reach it.
fn mark(text: &str, column: u64) -> Option<String> {
    let before = text.get(..usize::try_from(column.checked_sub(1)?).ok()?)?;
    let quoted = serde_json::to_string(before).ok()?;
    Some(" ".repeat(quoted.chars().count() - 2) + "^")
}

fn sentence(rejected: &Rejected) -> String {
    format!(
        "line {}, column {}: {}: {}",
        rejected.line, rejected.column, rejected.reason, rejected.detail
    )
}

const PARTIAL: &str = "partial write of line protocol occurred";

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> WriteOutcome {
        let line = Rejected {
            line: 3,
            column: 14,
            reason: "type_conflict",
            detail: "column \"v\" holds integers".to_owned(),
            text: "m v=\"x\"".to_owned(),
        };
        WriteOutcome { written: 5, rejected: 1, lines: vec![line] }
    }

    #[test]
    fn the_mark_is_as_wide_as_what_json_makes_of_the_text_before_the_byte() {
        assert_eq!(mark("m v=x", 5).as_deref(), Some("    ^"));
        assert_eq!(mark("ü\"\n v", 6).as_deref(), Some("      ^"));
        assert_eq!(mark("m v=", 5).as_deref(), Some("    ^"));
        assert_eq!(mark("m v=", 6), None);
    }

    #[test]
    fn every_shape_names_the_line_and_each_has_what_its_clients_read() {
        for shape in [Shape::V1, Shape::V2, Shape::V3] {
            let outcome = outcome();
            let answer = serde_json::to_value(partial(shape, &outcome)).unwrap();
            assert_eq!(answer["lines"][0]["line"], 3);
            assert_eq!((&answer["written"], &answer["rejected"]), (&5.into(), &1.into()));
        }
        let outcome = outcome();
        let answer = |shape| serde_json::to_value(partial(shape, &outcome)).unwrap();
        assert_eq!(answer(Shape::V2)["code"], "invalid");
        assert_eq!(
            answer(Shape::V1)["lines"][0].get("mark"),
            None,
            "column 14 of a text of 7 bytes"
        );
        assert_eq!(answer(Shape::V3)["data"][0]["line_number"], 3);
    }
}
