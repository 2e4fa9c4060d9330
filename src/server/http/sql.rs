//! Statements: SQL in QuestDB's and InfluxDB 3's shapes, and the one statement of InfluxDB 1 that its clients need.

use super::app::{App, Shared, json, refuse};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json as object;

/// What the three endpoints take, from the URL, a form or a JSON object. `limit`, `nm` and `count` are QuestDB's, for `/exec` only;
/// other parameters that other servers know have no meaning here.
#[derive(Deserialize, Default, Debug)]
pub(super) struct Parameters {
    #[serde(alias = "q")]
    query: Option<String>,
    #[serde(alias = "database")]
    db: Option<String>,
    format: Option<String>,
    limit: Option<String>,
    nm: Option<String>,
    count: Option<String>,
}

/// `GET|POST /exec`
pub(super) async fn exec(
    app: Shared,
    parameters: Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match parameters_of(&app, parameters, &headers, body).await {
        Ok(parameters) => answer::exec(&app, parameters).await,
        Err(refusal) => refusal,
    }
}

/// `GET|POST /api/v3/query_sql`
pub(super) async fn query_sql(
    app: Shared,
    parameters: Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match parameters_of(&app, parameters, &headers, body).await {
        Ok(parameters) => answer::query_sql(&app, parameters).await,
        Err(refusal) => refusal,
    }
}

/// `GET|POST /query`: InfluxQL, of which only `CREATE DATABASE` is needed: Telegraf sends it before its first write.
pub(super) async fn influxql(
    app: Shared,
    parameters: Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let statement = match parameters_of(&app, parameters, &headers, body).await {
        Ok(parameters) => parameters.query.unwrap_or_default(),
        Err(refusal) => return refusal,
    };
    let mut words = statement.split_whitespace();
    let is =
        |word: Option<&str>, expect: &str| word.is_some_and(|w| w.eq_ignore_ascii_case(expect));
    if is(words.next(), "create") && is(words.next(), "database") {
        return json(StatusCode::OK, &object!({ "results": [{ "statement_id": 0 }] }));
    }
    refuse(
        StatusCode::BAD_REQUEST,
        "InfluxQL is not spoken here, except CREATE DATABASE; SQL is at /api/v3/query_sql and /exec",
    )
}

/// The parameters of the URL, completed by those of a POST's body.
async fn parameters_of(
    State(app): &Shared,
    Query(mut parameters): Query<Parameters>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Parameters, Response> {
    let body = app.bodies.read(headers, body).await.map_err(|e| refuse(e.status(), e))?;
    if body.as_slice().is_empty() {
        return Ok(parameters);
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let bad = |e: &dyn std::fmt::Display| {
        refuse(StatusCode::BAD_REQUEST, format_args!("the body cannot be read: {e}"))
    };
    let sent: Parameters = if kind.starts_with("application/json") {
        serde_json::from_slice(body.as_slice()).map_err(|e| bad(&e))?
    } else {
        serde_urlencoded::from_bytes(body.as_slice()).map_err(|e| bad(&e))?
    };
    parameters.query = parameters.query.or(sent.query);
    parameters.db = parameters.db.or(sent.db);
    parameters.format = parameters.format.or(sent.format);
    parameters.limit = parameters.limit.or(sent.limit);
    parameters.nm = parameters.nm.or(sent.nm);
    parameters.count = parameters.count.or(sent.count);
    Ok(parameters)
}

#[cfg(feature = "query")]
mod answer {
    //! Answers, by the query engine.

    use super::{App, Body, Parameters, Response, StatusCode, header, json, refuse};
    use crate::query::{ErrorKind, Format, Page, QueryError};
    use axum::response::IntoResponse;

    pub(super) async fn exec(app: &App, parameters: Parameters) -> Response {
        let format = page(&parameters).map(Format::QuestDb);
        let sql = parameters.query.unwrap_or_default();
        let answered = match format {
            Ok(format) => run(app, parameters.db.as_deref(), &sql, format).await,
            Err(error) => Err(error),
        };
        answered.unwrap_or_else(|error| {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (status(&error), json, error.to_json(&sql)).into_response()
        })
    }

    /// The part of an answer that `limit`, `nm` and `count` ask for.
    fn page(parameters: &Parameters) -> Result<Page, QueryError> {
        let is_true =
            |flag: &Option<String>| flag.as_ref().is_some_and(|f| f.eq_ignore_ascii_case("true"));
        Page::new(
            parameters.limit.as_deref().unwrap_or_default(),
            !is_true(&parameters.nm),
            is_true(&parameters.count),
        )
    }

    pub(super) async fn query_sql(app: &App, parameters: Parameters) -> Response {
        let name = parameters.format.as_deref().unwrap_or("json");
        let Some(format) = Format::by_name(name) else {
            return refuse(
                StatusCode::BAD_REQUEST,
                format_args!("unknown format {name:?}; use json, jsonl, csv, parquet or pretty"),
            );
        };
        let Some(sql) = parameters.query else {
            return refuse(StatusCode::BAD_REQUEST, "the parameter q is missing");
        };
        match run(app, parameters.db.as_deref(), &sql, format).await {
            Ok(response) => response,
            Err(error) => json(status(&error), &error.to_value()),
        }
    }

    async fn run(
        app: &App,
        database: Option<&str>,
        sql: &str,
        format: Format,
    ) -> Result<Response, QueryError> {
        let output = app.query.run(database.unwrap_or(&app.database), sql).await?;
        let body = format.write(sql, output).await?;
        Ok(([(header::CONTENT_TYPE, format.content_type())], Body::from_stream(body))
            .into_response())
    }

    fn status(error: &QueryError) -> StatusCode {
        match error.kind {
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

#[cfg(not(feature = "query"))]
mod answer {
    //! Without the query engine there is only one.

    use super::{App, Parameters, Response, StatusCode, refuse};

    pub(super) async fn exec(_: &App, _: Parameters) -> Response {
        refuse(
            StatusCode::NOT_IMPLEMENTED,
            "this headwater was built without SQL (cargo feature `query`)",
        )
    }

    pub(super) use exec as query_sql;
}
