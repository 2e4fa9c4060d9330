//! Metrics, health, and what clients ask before they send anything.

use super::app::{Shared, json, refuse};
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json as object;

/// `GET /metrics`
pub(super) async fn metrics(State(app): Shared) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.exporter.render())
}

/// `GET /health`, in the words of InfluxDB 2. A suspended table is named, and is no reason to restart the server: the others
/// are served.
pub(super) async fn health(State(app): Shared) -> Response {
    let status = app.engine.source().table_status();
    let suspended: Vec<String> = status
        .iter()
        .filter(|t| t.suspended.is_some())
        .map(|t| format!("{}.{}", t.database, t.name))
        .collect();
    let message = match suspended.len() {
        0 => "ready for writes and queries".to_owned(),
        n => format!("ready, but {n} tables are suspended: {}", suspended.join(", ")),
    };
    let answer = object!({
        "name": "headwater", "version": env!("CARGO_PKG_VERSION"), "status": "pass", "message": message,
    });
    json(StatusCode::OK, &answer)
}

/// `GET /ready`: whether a load balancer should send anything here. Nothing listens before recovery is done.
pub(super) async fn ready(State(app): Shared) -> Response {
    if app.stop.is_cancelled() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    }
    json(StatusCode::OK, &object!({ "status": "ready" }))
}

/// `GET /ping`
pub(super) async fn ping() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Everything else.
pub(super) async fn unknown(uri: Uri) -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        format_args!("nothing is at {}; docs/operations.md lists the endpoints", uri.path()),
    )
}
