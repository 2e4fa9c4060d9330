//! The HTTP face: writes with an answer, SQL, metrics, health.
//!
//! | endpoint | answers |
//! |---|---|
//! | `POST /write?db=&precision=`, `/api/v2/write?bucket=`, `/api/v3/write_lp?db=` | 204 when every line is durable; 400 names the lines that were refused, the others are durable; 503 with `Retry-After` when there is no room |
//! | `GET\|POST /exec?query=` | SQL, QuestDB's JSON |
//! | `GET\|POST /api/v3/query_sql?db=&q=&format=` | SQL as `json`, `jsonl`, `csv`, `parquet` or `pretty` |
//! | `GET\|POST /query?q=` | `CREATE DATABASE`, which InfluxDB clients send first: databases need no creation |
//! | `GET /api/v1/files?db=&table=` | the parts of one version of a table |
//! | `GET /metrics`, `/health`, `/ready`, `/ping` | as their clients expect |
//!
//! Bounds: connections, bytes of a body, bytes of all bodies together, time for headers and body, time that an answer may wait
//! for its reader. A client that is slow or gone costs one connection until its time is over, and no memory beyond those bounds.

mod app;
mod body;

mod files;
mod sql;
mod status;
mod write;

mod serve;

pub(super) use app::App;
pub(super) use serve::serve;
