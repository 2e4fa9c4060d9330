//! The parts of one version of a table, for readers of the files.

use super::app::{Shared, json, refuse};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json as object};
use std::path::PathBuf;

#[derive(Deserialize, Debug)]
pub(super) struct Parameters {
    db: Option<String>,
    table: String,
}

/// `GET /api/v1/files`: what `headwater files` prints.
pub(super) async fn files(State(app): Shared, Query(parameters): Query<Parameters>) -> Response {
    let database = parameters.db.as_deref().unwrap_or(&app.database);
    let Some(snapshot) = app.engine.source().snapshot(database, &parameters.table) else {
        let reason =
            format!("table {:?} does not exist in database {database:?}", parameters.table);
        return refuse(StatusCode::NOT_FOUND, reason);
    };
    let files = snapshot.parts.iter().map(|part| {
        let meta = part.meta();
        object!({
            "path": absolute(part.path()),
            "rows": meta.rows,
            "bytes": meta.bytes,
            "min_time": meta.min_time,
            "max_time": meta.max_time,
            "first_txn": meta.id.first_txn.0,
            "last_txn": meta.id.last_txn.0,
        })
    });
    let files: Vec<Value> = files.collect();
    let answer = object!({
        "database": database,
        "table": parameters.table,
        "flushed_txn": snapshot.flushed_txn.0,
        "applied_txn": snapshot.applied_txn.0,
        "files": files,
    });
    json(StatusCode::OK, &answer)
}

/// Readers run elsewhere, where a path relative to our working directory means something else.
fn absolute(path: PathBuf) -> String {
    std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
}
