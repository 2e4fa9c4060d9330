//! The JSON of QuestDB's `/exec`: `{"query":…,"columns":[{"name":…,"type":…}],"timestamp":…,"dataset":[[…]],"count":…}`.
//!
//! `timestamp` is the position of the designated timestamp among the columns, -1 when it is not one of them. Types have QuestDB's
//! names: our tags are `SYMBOL`s, our times `TIMESTAMP_NS`. Integers that QuestDB does not have are `LONG`. A value that JSON
//! has no number for is null.
//!
//! `count` is the number of the last row written, rows skipped by `limit` included, or of all rows when `count=true` asks for it.

use super::{Writer, broken};
use crate::query::QueryError;
use crate::storage::FIELD_ID_KEY;
use crate::types::ColumnId;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, DurationFormat, FormatOptions};
use std::fmt::Write as _;

/// What QuestDB calls a type.
pub(in crate::query) fn questdb_type(ty: &DataType) -> &'static str {
    match ty {
        DataType::Dictionary(..) => "SYMBOL",
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "BYTE",
        DataType::Int16 | DataType::UInt8 => "SHORT",
        DataType::Int32 | DataType::UInt16 => "INT",
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "LONG",
        DataType::Float16 | DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::List(element) if element.data_type().is_floating() => "DOUBLE[]",
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => "DECIMAL",
        DataType::Timestamp(TimeUnit::Nanosecond, _) => "TIMESTAMP_NS",
        DataType::Timestamp(..) => "TIMESTAMP",
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BINARY",
        _ => "VARCHAR",
    }
}

/// Which rows of an answer are written, and what around them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Page {
    /// Rows before the first that is written.
    skip: u64,
    /// The last row that is written, counted from 1.
    last: u64,
    /// Query and columns are written, too.
    with_head: bool,
    /// The count is that of all rows, also of those after the last.
    count_all: bool,
}

impl Page {
    /// `limit` is empty for all rows, `n` for the first n, `skip,last` for those between; QuestDB's `nm` is `!with_head`.
    ///
    /// # Errors
    /// `limit` is none of these.
    pub fn new(limit: &str, with_head: bool, count_all: bool) -> Result<Page, QueryError> {
        let bad = |_| {
            let message = format!("limit takes N or SKIP,LAST, whole numbers, not {limit:?}");
            QueryError::statement(message)
        };
        let number = |text: &str| text.trim().parse::<u64>().map_err(bad);
        let (skip, last) = match limit.split_once(',') {
            None if limit.is_empty() => (0, u64::MAX),
            None => (0, number(limit)?),
            Some((skip, last)) => (number(skip)?, number(last)?),
        };
        Ok(Page { skip, last, with_head, count_all })
    }
}

impl Default for Page {
    /// Everything.
    fn default() -> Page {
        Page { skip: 0, last: u64::MAX, with_head: true, count_all: false }
    }
}

/// Writes the answer of `/exec`.
pub(super) struct Exec {
    page: Page,
    /// All before the first row; not yet sent.
    head: String,
    /// Rows that came, of which those within the page were written.
    seen: u64,
    has_written: bool,
    /// Reused for the text of one value.
    text: String,
}

impl Exec {
    pub(super) fn new(sql: &str, schema: &SchemaRef, page: Page) -> Exec {
        let columns = schema.fields().iter().map(|field| {
            let name = serde_json::Value::from(field.name().as_str());
            format!("{{\"name\":{name},\"type\":\"{}\"}}", questdb_type(field.data_type()))
        });
        let columns: Vec<String> = columns.collect();
        let timestamp = match schema.fields().iter().position(|field| is_designated(field)) {
            Some(position) => position.to_string(),
            None => "-1".to_owned(),
        };
        let head = match page.with_head {
            true => format!(
                "{{\"query\":{},\"columns\":[{}],\"timestamp\":{timestamp},\"dataset\":[",
                serde_json::Value::from(sql),
                columns.join(","),
            ),
            false => "{\"dataset\":[".to_owned(),
        };
        Exec { page, head, seen: 0, has_written: false, text: String::new() }
    }

    fn row(
        &mut self,
        columns: &[Column<'_>],
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), QueryError> {
        out.extend_from_slice(if self.has_written { b",[" } else { b"[" });
        self.has_written = true;
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.text.clear();
            write!(self.text, "{}", column.values.value(row)).map_err(|error| broken(&error))?;
            let is_number = || self.text.ends_with(|c: char| c.is_ascii_digit());
            match column.spelling {
                _ if column.array.is_null(row) => out.extend_from_slice(b"null"),
                Spelling::Float if !is_number() => out.extend_from_slice(b"null"),
                Spelling::Literal | Spelling::Float => out.extend_from_slice(self.text.as_bytes()),
                Spelling::Floats => {
                    let finite = self.text.replace("NaN", "null").replace("-inf", "null");
                    out.extend_from_slice(finite.replace("inf", "null").as_bytes());
                }
                Spelling::Quoted => {
                    serde_json::to_writer(&mut *out, &self.text).map_err(|error| broken(&error))?;
                }
            }
        }
        out.push(b']');
        Ok(())
    }
}

impl Writer for Exec {
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        out.append(&mut std::mem::take(&mut self.head).into_bytes());
        let columns: Result<Vec<Column<'_>>, QueryError> =
            batch.columns().iter().map(|array| Column::new(array)).collect();
        let columns = columns?;
        for row in 0..batch.num_rows() {
            if self.has_enough() {
                break;
            }
            self.seen += 1;
            if self.page.skip < self.seen && self.seen <= self.page.last {
                self.row(&columns, row, out)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        out.append(&mut std::mem::take(&mut self.head).into_bytes());
        out.extend_from_slice(format!("],\"count\":{}}}", self.seen).as_bytes());
        Ok(())
    }

    fn has_enough(&self) -> bool {
        !self.page.count_all && self.seen >= self.page.last
    }
}

/// A column of a batch, ready to be written value by value.
struct Column<'a> {
    array: &'a dyn Array,
    values: ArrayFormatter<'a>,
    spelling: Spelling,
}

/// How the text of a value becomes JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spelling {
    /// As it is.
    Literal,
    /// As it is when it is finite.
    Float,
    /// As it is, elements that are not finite as nulls.
    Floats,
    /// As a string.
    Quoted,
}

impl<'a> Column<'a> {
    fn new(array: &'a dyn Array) -> Result<Column<'a>, QueryError> {
        let format = match array.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => "%Y-%m-%dT%H:%M:%S%.9fZ",
            _ => "%Y-%m-%dT%H:%M:%S%.6fZ",
        };
        let options = FormatOptions::new()
            .with_timestamp_format(Some(format))
            .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.f%:z"))
            .with_duration_format(DurationFormat::ISO8601);
        let values = ArrayFormatter::try_new(array, &options).map_err(|error| broken(&error))?;
        let spelling = match array.data_type() {
            DataType::Boolean => Spelling::Literal,
            ty if ty.is_floating() => Spelling::Float,
            DataType::List(element) if element.data_type().is_floating() => Spelling::Floats,
            ty if ty.is_integer() || ty.is_decimal() => Spelling::Literal,
            _ => Spelling::Quoted,
        };
        Ok(Column { array, values, spelling })
    }
}

/// True for a table's designated timestamp, also under another name.
fn is_designated(field: &Field) -> bool {
    let id = field.metadata().get(FIELD_ID_KEY);
    matches!(field.data_type(), DataType::Timestamp(..))
        && id.is_some_and(|id| *id == ColumnId::TIME.to_string())
}
