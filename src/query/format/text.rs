//! The formats that Arrow's own writers know: JSON, JSON lines, CSV, Parquet, and the drawn table.

use super::{Writer, broken};
use crate::query::{ErrorKind, QueryError};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::csv::WriterBuilder;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{ArrayWriter, LineDelimitedWriter};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_schema;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::sync::Arc;

/// A table of more cells is refused: it is held in memory, and nobody reads it.
const TABLE_CELLS_MAX: usize = 500_000;

/// Rows of a row group: what a Parquet answer holds in memory before it goes on its way.
const ROW_GROUP_ROWS: usize = 128 << 10;

pub(super) struct Json(ArrayWriter<Vec<u8>>);

impl Json {
    pub(super) fn new() -> Json {
        Json(ArrayWriter::new(Vec::new()))
    }
}

impl Writer for Json {
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.0.write(batch).map_err(|error| broken(&error))?;
        out.append(self.0.get_mut());
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.0.finish().map_err(|error| broken(&error))?;
        out.append(self.0.get_mut());
        Ok(())
    }
}

pub(super) struct JsonLines;

impl Writer for JsonLines {
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        LineDelimitedWriter::new(out).write(batch).map_err(|error| broken(&error))
    }

    fn end(&mut self, _: &mut Vec<u8>) -> Result<(), QueryError> {
        Ok(())
    }
}

pub(super) struct Csv {
    /// Not yet sent.
    header: Vec<u8>,
}

impl Csv {
    pub(super) fn new(schema: &SchemaRef) -> Result<Csv, QueryError> {
        let mut header = Vec::new();
        let empty = flat(&RecordBatch::new_empty(schema.clone()))?;
        let mut writer = WriterBuilder::new().with_header(true).build(&mut header);
        writer.write(&empty).map_err(|error| broken(&error))?;
        drop(writer);
        Ok(Csv { header })
    }
}

impl Writer for Csv {
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        out.append(&mut self.header);
        let mut writer = WriterBuilder::new().with_header(false).build(out);
        writer.write(&flat(batch)?).map_err(|error| broken(&error))
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        out.append(&mut self.header);
        Ok(())
    }
}

/// The batch with arrays as text, since a field of CSV has no parts.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, QueryError> {
    let options = FormatOptions::default();
    let schema = batch.schema();
    let columns = batch.columns().iter().zip(schema.fields()).map(|(array, field)| {
        if !array.data_type().is_nested() {
            return Ok((field.name().clone(), array.clone()));
        }
        let values = ArrayFormatter::try_new(array, &options)?;
        let text = |row| array.is_valid(row).then(|| values.value(row).to_string());
        let texts: StringArray = (0..array.len()).map(text).collect();
        Ok((field.name().clone(), Arc::new(texts) as ArrayRef))
    });
    let columns: Result<Vec<_>, ArrowError> = columns.collect();
    let columns = columns.map_err(|error| broken(&error))?;
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(name, array.data_type().clone(), true))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| broken(&error))
}

pub(super) struct Parquet(ArrowWriter<Vec<u8>>);

impl Parquet {
    pub(super) fn new(schema: &SchemaRef) -> Result<Parquet, QueryError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties));
        Ok(Parquet(writer.map_err(|error| broken(&error))?))
    }

    /// Takes what is written so far: the writer counts its bytes itself.
    fn take(&mut self, out: &mut Vec<u8>) {
        out.append(self.0.inner_mut());
    }
}

impl Writer for Parquet {
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.0.write(batch).map_err(|error| broken(&error))?;
        self.take(out);
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.0.finish().map_err(|error| broken(&error))?;
        self.take(out);
        Ok(())
    }
}

pub(super) struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    cells: usize,
}

impl Table {
    pub(super) fn new(schema: &SchemaRef) -> Table {
        Table { schema: schema.clone(), batches: Vec::new(), cells: 0 }
    }
}

impl Writer for Table {
    fn batch(&mut self, batch: &RecordBatch, _: &mut Vec<u8>) -> Result<(), QueryError> {
        self.cells += batch.num_rows() * batch.num_columns().max(1);
        if self.cells > TABLE_CELLS_MAX {
            return Err(QueryError::new(
                ErrorKind::Resources,
                format!(
                    "more than {TABLE_CELLS_MAX} values are too many for a table: add a LIMIT, or ask for csv, jsonl or parquet"
                ),
            ));
        }
        self.batches.push(batch.clone());
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let table = pretty_format_batches_with_schema(self.schema.clone(), &self.batches);
        let table = table.map_err(|error| broken(&error))?;
        out.extend_from_slice(format!("{table}\n").as_bytes());
        Ok(())
    }
}
