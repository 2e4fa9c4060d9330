//! Writes: all lines of a request, durable before the answer, refused ones named by line.

use super::app::{Shared, json, refuse};
use crate::codec::Precision;
use crate::engine::{IngestError, Rejected, WriteOutcome};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
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
    parameters: Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    write(app, parameters, headers, body, Shape::V1).await
}

/// `POST /api/v2/write`
pub(super) async fn v2(
    app: Shared,
    parameters: Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    write(app, parameters, headers, body, Shape::V2).await
}

/// `POST /api/v3/write_lp`
pub(super) async fn v3(
    app: Shared,
    parameters: Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    write(app, parameters, headers, body, Shape::V3).await
}

async fn write(
    State(app): Shared,
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
    match app.engine.write_lines(database, "http".to_owned(), precision, body.as_slice()).await {
        Ok(outcome) if outcome.rejected == 0 => StatusCode::NO_CONTENT.into_response(),
        Ok(outcome) => json(StatusCode::BAD_REQUEST, &partial(shape, &outcome)),
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

/// The answer when some lines were refused and the others written.
fn partial(shape: Shape, outcome: &WriteOutcome) -> Value {
    let lines: Vec<Value> = outcome
        .lines
        .iter()
        .map(|l| object!({ "line": l.line, "column": l.column, "reason": l.reason, "detail": l.detail, "text": l.text }))
        .collect();
    let mut answer = object!({
        "error": PARTIAL,
        "lines": lines,
        "written": outcome.written,
        "rejected": outcome.rejected,
    });
    match shape {
        Shape::V1 => {}
        Shape::V2 => {
            answer["code"] = "invalid".into();
            answer["message"] =
                format!("{PARTIAL}: {}", outcome.lines.first().map(sentence).unwrap_or_default())
                    .into();
        }
        Shape::V3 => {
            let data = |l: &Rejected| object!({ "error_message": sentence(l), "line_number": l.line, "original_line": l.text });
            answer["data"] = outcome.lines.iter().map(data).collect();
        }
    }
    answer
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
    fn every_shape_names_the_line_and_each_has_what_its_clients_read() {
        for shape in [Shape::V1, Shape::V2, Shape::V3] {
            let answer = partial(shape, &outcome());
            assert_eq!(answer["lines"][0]["line"], 3);
            assert_eq!((&answer["written"], &answer["rejected"]), (&5.into(), &1.into()));
        }
        assert_eq!(partial(Shape::V2, &outcome())["code"], "invalid");
        assert_eq!(partial(Shape::V3, &outcome())["data"][0]["line_number"], 3);
    }
}
