//! What every request sees, the routes, and the counting of answers.

use super::body::BodyLimits;
use super::{files, sql, status, write};
use crate::config::Settings;
use crate::engine::Engine;
use crate::metrics::{self, Exporter};
#[cfg(feature = "query")]
use crate::query::QueryEngine;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What requests share. Clones share it too.
#[derive(Clone)]
pub(in crate::server) struct App {
    pub(super) engine: Arc<Engine>,
    #[cfg(feature = "query")]
    pub(super) query: Arc<QueryEngine>,
    pub(super) exporter: Exporter,
    pub(super) bodies: BodyLimits,
    /// Where a request goes that names no database.
    pub(super) database: Arc<str>,
    pub(super) stop: CancellationToken,
}

impl App {
    pub(in crate::server) fn new(
        settings: &Settings,
        engine: Arc<Engine>,
        #[cfg(feature = "query")] query: Arc<QueryEngine>,
        exporter: Exporter,
        stop: CancellationToken,
    ) -> App {
        for endpoint in ENDPOINTS.iter().chain([&OTHER]) {
            for code in ["2xx", "4xx", "5xx"] {
                metrics::http_requests(endpoint, code).increment(0);
            }
        }
        let http = &settings.http;
        App {
            engine,
            #[cfg(feature = "query")]
            query,
            exporter,
            bodies: BodyLimits::new(
                http.body_bytes_max,
                http.buffered_bytes_max,
                Duration::from_millis(http.timeout_ms),
            ),
            database: settings.ilp.database.as_str().into(),
            stop,
        }
    }

    /// Every route.
    pub(super) fn router(self) -> Router {
        let paths = Router::new()
            .route("/write", post(write::v1))
            .route("/api/v2/write", post(write::v2))
            .route("/api/v3/write_lp", post(write::v3))
            .route("/exec", get(sql::exec).post(sql::exec))
            .route("/api/v3/query_sql", get(sql::query_sql).post(sql::query_sql))
            .route("/query", get(sql::influxql).post(sql::influxql))
            .route("/api/v1/files", get(files::files))
            .route("/metrics", get(status::metrics))
            .route("/health", get(status::health))
            .route("/ready", get(status::ready))
            .route("/ping", any(status::ping))
            .fallback(status::unknown)
            .with_state(self);
        // Around all of it: only then has an answer the header that names the methods of its path.
        Router::new()
            .fallback_service(paths)
            .layer(middleware::from_fn(explain_method))
            .layer(middleware::from_fn(count))
    }
}

/// The closed set of the `endpoint` label; a test holds it to the routes.
const ENDPOINTS: &[&str] = &[
    "/write",
    "/api/v2/write",
    "/api/v3/write_lp",
    "/exec",
    "/api/v3/query_sql",
    "/query",
    "/api/v1/files",
    "/metrics",
    "/health",
    "/ready",
    "/ping",
];
const OTHER: &str = "other";

/// Counts the answer, and says in every one who gives it: clients tell servers apart by this header.
async fn count(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let endpoint = ENDPOINTS.iter().find(|known| **known == path).unwrap_or(&OTHER);
    let mut response = next.run(request).await;
    let code = match response.status().as_u16() {
        0..400 => "2xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    metrics::http_requests(endpoint, code).increment(1);
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    response
}

/// Says in words which methods a path takes, as the header of the answer does.
async fn explain_method(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let allowed = response.headers().get(header::ALLOW).cloned();
    let methods = allowed.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("others");
    let reason = format!("{method} is not a method of this path: use {methods}");
    let mut refused = refuse(StatusCode::METHOD_NOT_ALLOWED, reason);
    refused.headers_mut().extend(allowed.map(|allowed| (header::ALLOW, allowed)));
    refused
}

const VERSION_HEADER: HeaderName = HeaderName::from_static("x-influxdb-version");
const VERSION: &str = concat!("headwater-", env!("CARGO_PKG_VERSION"));

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// The answer to a request that cannot be served, with the reason.
pub(super) fn refuse(status: StatusCode, reason: impl std::fmt::Display) -> Response {
    json(status, &serde_json::json!({ "error": reason.to_string() }))
}

/// The state of a request, for handlers.
pub(super) type Shared = State<App>;
