//! Answers as bytes: each format writes batches one by one, and a [`Body`] streams what they write.
//!
//! Every format but the table streams in bounded memory. A table needs the widths of all its rows first, so it is capped.
//! An error before the first [`CHUNK_BYTES`] are full is returned as an error; a later one breaks the stream off, so that the
//! receiver never takes a cut answer for a whole one.

mod questdb;
mod text;

use super::{ErrorKind, Output, QueryError, Rows};
use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::Stream;
use futures::stream::try_unfold;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub use questdb::Page;
pub(super) use questdb::questdb_type;

/// Bytes are handed on when there are so many.
const CHUNK_BYTES: usize = 64 << 10;

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// One JSON array of objects; nulls are left out.
    Json,
    /// One JSON object a line; nulls are left out.
    JsonLines,
    /// Comma-separated values with a header line; a null is an empty field.
    Csv,
    /// A Parquet file.
    Parquet,
    /// A table drawn with lines, for people.
    Table,
    /// The answer of `/exec`: query, columns, rows as arrays, count.
    QuestDb(Page),
}

impl Format {
    /// The format of this name: `json`, `jsonl`, `csv`, `parquet`, `pretty` or `table`.
    pub fn by_name(name: &str) -> Option<Format> {
        Some(match name {
            "json" => Format::Json,
            "jsonl" => Format::JsonLines,
            "csv" => Format::Csv,
            "parquet" => Format::Parquet,
            "pretty" | "table" => Format::Table,
            _ => return None,
        })
    }

    /// The media type of what is written.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json | Format::QuestDb(_) => "application/json",
            Format::JsonLines => "application/jsonl",
            Format::Csv => "text/csv",
            Format::Parquet => "application/vnd.apache.parquet",
            Format::Table => "text/plain; charset=utf-8",
        }
    }

    /// Writes an answer. `sql` is the statement, which `/exec` repeats. What a command did is one row that says `OK`.
    ///
    /// # Errors
    /// What stopped the query before the first bytes were full, or a table that is too large to draw.
    pub async fn write(self, sql: &str, output: Output) -> Result<Body, QueryError> {
        let rows = match output {
            Output::Rows(rows) => rows,
            Output::Done if matches!(self, Format::QuestDb(_)) => {
                return Ok(Body::whole(Bytes::from_static(b"{\"ddl\":\"OK\"}")));
            }
            Output::Done => return self.write_ok(),
        };
        let schema = rows.schema();
        let writer: Box<dyn Writer> = match self {
            Format::Json => Box::new(text::Json::new()),
            Format::JsonLines => Box::new(text::JsonLines),
            Format::Csv => Box::new(text::Csv::new(schema)?),
            Format::Parquet => Box::new(text::Parquet::new(schema)?),
            Format::Table => Box::new(text::Table::new(schema)),
            Format::QuestDb(page) => Box::new(questdb::Exec::new(sql, schema, page)),
        };
        let mut pump = Pump { rows, writer, is_done: false };
        let first = pump.next().await?;
        Ok(Body::pumped(first, pump))
    }

    fn write_ok(self) -> Result<Body, QueryError> {
        let field = Field::new("result", DataType::Utf8, false);
        let schema: SchemaRef = Arc::new(Schema::new(vec![field]));
        let ok =
            RecordBatch::try_new(schema.clone(), vec![Arc::new(StringArray::from(vec!["OK"]))]);
        let ok = ok.map_err(|error| broken(&error))?;
        let mut bytes = Vec::new();
        let mut writer: Box<dyn Writer> = match self {
            Format::Json => Box::new(text::Json::new()),
            Format::JsonLines => Box::new(text::JsonLines),
            Format::Csv => Box::new(text::Csv::new(&schema)?),
            Format::Parquet => Box::new(text::Parquet::new(&schema)?),
            Format::Table | Format::QuestDb(_) => Box::new(text::Table::new(&schema)),
        };
        writer.batch(&ok, &mut bytes)?;
        writer.end(&mut bytes)?;
        Ok(Body::whole(bytes.into()))
    }
}

/// Writes batches of one schema, in order, then the end.
trait Writer: Send {
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError>;
    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError>;
    /// True when further batches would change nothing.
    fn has_enough(&self) -> bool {
        false
    }
}

/// A writer of a library refused a value of ours.
fn broken(error: &dyn fmt::Display) -> QueryError {
    QueryError::new(ErrorKind::Internal, format!("the answer cannot be written: {error}"))
}

/// Rows on their way through a writer.
struct Pump {
    rows: Rows,
    writer: Box<dyn Writer>,
    is_done: bool,
}

impl Pump {
    /// The next bytes; none after the end.
    async fn next(&mut self) -> Result<Bytes, QueryError> {
        let mut out = Vec::new();
        while !self.is_done && out.len() < CHUNK_BYTES {
            let batch = match self.writer.has_enough() {
                true => None,
                false => self.rows.next().await,
            };
            match batch {
                Some(batch) => self.writer.batch(&batch?, &mut out)?,
                None => {
                    self.writer.end(&mut out)?;
                    self.is_done = true;
                }
            }
        }
        Ok(out.into())
    }
}

/// An answer as a stream of bytes. Dropping it cancels the query.
pub struct Body(Pin<Box<dyn Stream<Item = Result<Bytes, QueryError>> + Send>>);

impl Body {
    fn whole(bytes: Bytes) -> Body {
        Body(Box::pin(futures::stream::iter([Ok(bytes)])))
    }

    fn pumped(first: Bytes, pump: Pump) -> Body {
        let chunks = try_unfold((first, pump), |(ready, mut pump)| async move {
            if ready.is_empty() {
                return Ok(None);
            }
            let next = pump.next().await?;
            Ok(Some((ready, (next, pump))))
        });
        Body(Box::pin(chunks))
    }
}

impl Stream for Body {
    type Item = Result<Bytes, QueryError>;

    fn poll_next(mut self: Pin<&mut Body>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}
