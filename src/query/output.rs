//! What a statement answers: rows as a stream of batches, or that a command was carried out.

use super::{ErrorKind, QueryError};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio::sync::mpsc;

/// The answer to a statement.
#[derive(Debug)]
pub enum Output {
    /// Rows, of which there may be none.
    Rows(Rows),
    /// A command was carried out.
    Done,
}

/// Rows on their way from the query to its caller. Dropping them cancels the query.
#[derive(Debug)]
pub struct Rows {
    pub(super) schema: SchemaRef,
    pub(super) events: mpsc::Receiver<Result<Event, QueryError>>,
    pub(super) ended: bool,
}

/// What a running query sends. `End` tells an end from a crash.
#[derive(Debug)]
pub(super) enum Event {
    /// The statement is a command: the caller carries it out.
    Command(String, super::Command),
    /// Rows of this shape follow.
    Schema(SchemaRef),
    /// Some of them.
    Batch(RecordBatch),
    /// That was all.
    End,
}

impl Rows {
    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; `None` after the last ones. After an error there is nothing more to come.
    ///
    /// # Errors
    /// Whatever stopped the query between two batches: a limit, a part that cannot be read, a bad value.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        if self.ended {
            return None;
        }
        match self.events.recv().await {
            Some(Ok(Event::Batch(batch))) => Some(Ok(batch)),
            Some(Ok(Event::End)) => {
                self.ended = true;
                None
            }
            Some(Err(error)) => {
                self.ended = true;
                Some(Err(error))
            }
            Some(Ok(Event::Schema(_) | Event::Command(..))) | None => {
                self.ended = true;
                Some(Err(crashed()))
            }
        }
    }

    /// All the rows at once. For tests and small system tables: nothing bounds them.
    ///
    /// # Errors
    /// As [`Rows::next`].
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, QueryError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

/// The query's task ended without a word: a panic in the planner or in an operator.
pub(super) fn crashed() -> QueryError {
    QueryError::new(ErrorKind::Internal, "the query stopped on an internal error; the log has more")
}
