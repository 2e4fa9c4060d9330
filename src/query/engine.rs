//! Running one statement: parse, snapshot, plan, stream, under the limits, until it ends or its caller goes away.

use super::output::{Event, crashed};
use super::schemas::{CATALOG, Databases};
use super::statement::{self, Parsed};
use super::{ErrorKind, Output, QueryConfig, QueryError, Rows, Source, limits, system};
use crate::metrics;
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use futures::StreamExt;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

/// Answers statements from a [`Source`].
pub struct QueryEngine {
    source: Arc<dyn Source>,
    /// Functions, rules and options: what every query's session begins with.
    session: SessionState,
    slots: Arc<Semaphore>,
    timeout: Duration,
    /// Always there until the engine is dropped.
    runtime: Option<Runtime>,
}

/// Batches on their way to the caller: enough to overlap the two sides.
const BATCHES_AHEAD: usize = 2;

impl QueryEngine {
    /// Starts the threads that queries run on.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(config: QueryConfig, source: Arc<dyn Source>) -> std::io::Result<QueryEngine> {
        let environment = limits::environment(&config).map_err(std::io::Error::other)?;
        let session = SessionStateBuilder::new()
            .with_config(session_config(&config))
            .with_runtime_env(environment)
            .with_default_features()
            .with_table_factories(Default::default())
            .build();
        Ok(QueryEngine {
            source,
            session,
            slots: Arc::new(Semaphore::new(config.concurrent_max.max(1))),
            timeout: Duration::from_millis(config.timeout_ms),
            runtime: Some(limits::runtime(&config)?),
        })
    }

    /// Answers one statement; names without a database mean `database`. Returns when the columns are known, or when a command is
    /// done. The time limit covers a query and not a command.
    ///
    /// # Errors
    /// A statement that is wrong or refused, a limit, a command that failed.
    pub async fn run(&self, database: &str, sql: &str) -> Result<Output, QueryError> {
        let (replies, mut events) = mpsc::channel(BATCHES_AHEAD);
        let request = Request {
            databases: Databases::new(self.source.clone()),
            session: self.session.clone(),
            database: database.to_owned(),
            sql: sql.to_owned(),
            slots: self.slots.clone(),
            replies,
        };
        let runtime = self.runtime.as_ref().expect("present until dropped");
        runtime.spawn(supervise(request, self.timeout));
        match events.recv().await {
            Some(Ok(Event::Schema(schema))) => {
                Ok(Output::Rows(Rows { schema, events, ended: false }))
            }
            Some(Ok(Event::Command(database, command))) => {
                let done = self.source.execute(&database, command).await;
                done.map(|()| Output::Done).map_err(|e| QueryError::statement(e.to_string()))
            }
            Some(Err(error)) => Err(error),
            Some(Ok(Event::Batch(_) | Event::End)) | None => Err(crashed()),
        }
    }
}

impl Drop for QueryEngine {
    fn drop(&mut self) {
        // Waiting for running queries is not allowed inside another runtime, and they have no one to answer to.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for QueryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryEngine").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn session_config(config: &QueryConfig) -> SessionConfig {
    let mut session = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(limits::threads(config));
    let options = session.options_mut();
    // Line protocol keeps the case of names, so SQL does.
    options.sql_parser.enable_ident_normalization = false;
    // Positions in errors.
    options.sql_parser.collect_spans = true;
    // Rows and bytes of a scan are known, so nothing has to be opened to learn them.
    options.execution.collect_statistics = false;
    session
}

/// One statement on its way.
struct Request {
    databases: Databases,
    session: SessionState,
    database: String,
    sql: String,
    slots: Arc<Semaphore>,
    replies: Replies,
}

/// The caller has gone: nothing is left to do.
struct Gone;

/// Runs a request until it ends, its time is over, or nobody waits for it. A drop of the work stops it at its next batch.
async fn supervise(request: Request, timeout: Duration) {
    let begun = Instant::now();
    let active = Active::begin();
    let replies = request.replies.clone();
    let result = tokio::select! {
        biased;
        () = replies.closed() => Ok(Err(Gone)),
        () = tokio::time::sleep(timeout) => Err(QueryError::new(
            ErrorKind::Timeout,
            format!("the query ran longer than its limit of {} s", timeout.as_secs_f64()),
        )),
        result = answer(request) => result,
    };
    let label = match &result {
        Ok(Ok(())) => "ok",
        Ok(Err(Gone)) => "cancelled",
        Err(error) if error.kind == ErrorKind::Timeout => "timeout",
        Err(_) => "error",
    };
    drop(active);
    metrics::queries(label).increment(1);
    metrics::QUERY_DURATION.record(begun.elapsed().as_secs_f64());
    if let Err(error) = result {
        if error.kind == ErrorKind::Internal {
            tracing::error!(%error, "a query failed");
        }
        // A caller that has gone needs no error.
        drop(replies.send(Err(error)).await);
    }
}

/// Counts a running query, also when it ends by a panic.
struct Active;

impl Active {
    fn begin() -> Active {
        metrics::QUERIES_ACTIVE.increment(1.0);
        Active
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        metrics::QUERIES_ACTIVE.decrement(1.0);
    }
}

type Replies = mpsc::Sender<Result<Event, QueryError>>;

async fn send(replies: &Replies, event: Event) -> Result<(), Gone> {
    replies.send(Ok(event)).await.map_err(|_| Gone)
}

async fn answer(request: Request) -> Result<Result<(), Gone>, QueryError> {
    let Request { databases, session, database, sql, slots, replies } = request;
    let statement = match statement::parse(&sql)? {
        Parsed::Command { database: named, command } => {
            let event = Event::Command(named.unwrap_or(database), command);
            return Ok(send(&replies, event).await);
        }
        Parsed::Query(statement) => statement,
    };
    let _slot = slots.acquire().await.map_err(|_| crashed())?;
    let session = open_session(session, databases, database);
    let in_sql = |error: DataFusionError| QueryError::from_datafusion(&error, &sql);
    let (schema, mut batches) = plan(&session, *statement).await.map_err(in_sql)?;
    if send(&replies, Event::Schema(schema)).await.is_err() {
        return Ok(Err(Gone));
    }
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(in_sql)?;
        if batch.num_rows() > 0 && send(&replies, Event::Batch(batch)).await.is_err() {
            return Ok(Err(Gone));
        }
    }
    Ok(send(&replies, Event::End).await)
}

/// The session of one statement: its tables, its default database, its time.
fn open_session(
    mut session: SessionState,
    databases: Databases,
    database: String,
) -> Arc<SessionState> {
    for (name, function) in system::functions(&databases, &database) {
        session.register_udtf(name, function);
    }
    let catalog = &mut session.config_mut().options_mut().catalog;
    catalog.default_catalog = CATALOG.to_owned();
    catalog.default_schema = database;
    session.register_catalog_list(Arc::new(databases));
    session.mark_start_execution();
    Arc::new(session)
}

async fn plan(
    session: &SessionState,
    statement: Statement,
) -> Result<(SchemaRef, SendableRecordBatchStream), DataFusionError> {
    let plan = session.statement_to_plan(statement).await?;
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    read_only.verify_plan(&plan)?;
    let plan = session.create_physical_plan(&plan).await?;
    let batches = execute_stream(plan, session.task_ctx())?;
    Ok((batches.schema(), batches))
}
