//! Writes the file of one part, row group by row group.

use super::gather::{gather_column, gather_values, row_count};
use super::merge::Span;
use super::table_schema::{arrow_field, time_field};
use super::tag_chunk::TagChunk;
use super::{PartId, PartMeta, StorageError, TableDir, TableSchema};
use crate::io::{File, IoError, synced};
use crate::planted::{Bug, is_planted};
use crate::schema::{ColumnDef, Shape};
use crate::types::{ColumnId, ColumnType};
use arrow::array::{ArrayRef, TimestampNanosecondArray};
use arrow::datatypes::{FieldRef, Schema};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use zstd::bulk::Compressor;

/// Rows after which a row group ends.
const GROUP_ROWS: usize = 1 << 20;
/// Encoded bytes after which a row group ends, so that long strings do not fill the memory.
const GROUP_BYTES: usize = 64 << 20;
/// Effort of zstd: with sorted columns more gains little.
const ZSTD_LEVEL: i32 = 1;
/// Bytes gathered before a write.
const SINK_BYTES: usize = 1 << 20;

/// Who makes a part durable before the catalog names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartSync {
    /// Whoever writes it: on return its file, its name and the folders above it are durable.
    Own,
    /// The caller, for several at once, by a sync of the whole file system.
    Shared,
}

/// The rows of one column of a chunk: spans of these sources, `None` where a source lacks the column.
#[derive(Debug)]
pub(super) struct ColumnRows<'a> {
    pub(super) sources: Vec<Option<ArrayRef>>,
    pub(super) spans: &'a [Span],
}

/// A part that is being written. Dropped before it is finished, it removes its file.
pub(super) struct PartWriter {
    dir: Arc<TableDir>,
    id: PartId,
    path: PathBuf,
    columns: Vec<ColumnDef>,
    fields: Vec<FieldRef>,
    file: SerializedFileWriter<FileSink>,
    factory: ArrowRowGroupWriterFactory,
    /// Shared by all tag columns.
    compressor: Compressor<'static>,
    group: Vec<ColumnWriter>,
    group_rows: usize,
    rows: u64,
    times: Option<(i64, i64)>,
    sync: PartSync,
    is_finished: bool,
}

/// One column of the row group under construction.
enum ColumnWriter {
    Tag(Box<TagChunk>),
    Plain(Box<ArrowColumnWriter>),
}

/// The end of a file, gathered into large writes.
#[derive(Debug)]
struct FileSink {
    file: File,
    buffer: Vec<u8>,
    written: u64,
    crc: u32,
    /// What went wrong; the Parquet library passes on only that something did.
    error: Option<IoError>,
}

impl PartWriter {
    /// Creates the file. Its name takes the next free attempt after `id.attempt`.
    pub(super) fn create(
        dir: &Arc<TableDir>,
        schema: &TableSchema,
        columns: &[ColumnId],
        mut id: PartId,
        sync: PartSync,
    ) -> Result<PartWriter, StorageError> {
        let columns: Vec<ColumnDef> =
            schema.columns().iter().filter(|c| columns.contains(&c.id)).cloned().collect();
        let mut fields: Vec<FieldRef> = columns.iter().map(|c| arrow_field(c).into()).collect();
        fields.push(time_field(schema.def()).into());
        let file = create_file(dir, &mut id)?;
        let path = file.path().to_owned();
        let arrow = Arc::new(Schema::new(fields.clone()));
        let start = || {
            let descr = ArrowSchemaConverter::new().convert(&arrow)?;
            let props = properties(schema, &arrow, &id)?;
            let sink = FileSink { file, buffer: Vec::new(), written: 0, crc: 0, error: None };
            let file = SerializedFileWriter::new(sink, descr.root_schema_ptr(), props)?;
            let factory = ArrowRowGroupWriterFactory::new(&file, arrow.clone());
            let compressor = Compressor::new(ZSTD_LEVEL)?;
            Ok((file, factory, compressor))
        };
        let (file, factory, compressor) =
            start().map_err(|error: ParquetError| StorageError::parquet(&path, error))?;
        Ok(PartWriter {
            dir: dir.clone(),
            id,
            path,
            columns,
            fields,
            file,
            factory,
            compressor,
            group: Vec::new(),
            group_rows: 0,
            rows: 0,
            times: None,
            sync,
            is_finished: false,
        })
    }

    /// Appends rows that come after all before them. `column` gives each column's.
    pub(super) fn write<'a>(
        &mut self,
        times: &[&[i64]],
        spans: &'a [Span],
        mut column: impl FnMut(&ColumnDef) -> Result<ColumnRows<'a>, StorageError>,
    ) -> Result<(), StorageError> {
        let rows = row_count(spans);
        let time = gather_values(times, spans);
        let (Some(&first), Some(&last)) = (time.first(), time.last()) else { return Ok(()) };
        assert!(self.times.is_none_or(|(_, max)| max <= first), "rows come in order");
        self.times = Some((self.times.map_or(first, |(min, _)| min), last));
        let time: ArrayRef = Arc::new(TimestampNanosecondArray::new(time.into(), None));
        let columns = self.columns.iter().map(&mut column);
        let columns = columns.collect::<Result<Vec<ColumnRows<'a>>, StorageError>>()?;
        let encoded = self.encode(time, columns);
        encoded.map_err(|error| self.fail(error))?;
        self.group_rows += rows;
        self.rows += rows as u64;
        let memory: usize = self.group.iter().map(ColumnWriter::memory).sum();
        if self.group_rows >= GROUP_ROWS || memory >= GROUP_BYTES {
            self.end_group().map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    /// Ends the file and makes it and its name durable, unless the caller does.
    pub(super) fn finish(mut self) -> Result<PartMeta, StorageError> {
        let ended = self.end_group().and_then(|()| self.file.finish());
        ended.map_err(|error| self.fail(error))?;
        let flushed = self.file.inner_mut().flush();
        flushed.map_err(|error| self.fail(error.into()))?;
        let sink = self.file.inner();
        let (bytes, crc) = (sink.written, sink.crc);
        if self.sync == PartSync::Own {
            if !is_planted(Bug::PartNotSynced) {
                synced(sink.file.sync_data())?;
            }
            if !is_planted(Bug::PartNameNotSynced) {
                self.dir.sync_names(&self.id)?;
            }
        }
        let (min_time, max_time) = self.times.expect("a part has rows");
        self.is_finished = true;
        Ok(PartMeta {
            id: self.id,
            rows: self.rows,
            bytes,
            crc,
            min_time,
            max_time,
            columns: self.columns.iter().map(|c| c.id).collect(),
        })
    }

    fn encode(&mut self, time: ArrayRef, columns: Vec<ColumnRows<'_>>) -> Result<(), ParquetError> {
        if self.group.is_empty() {
            self.begin_group()?;
        }
        let compressor = &mut self.compressor;
        for ((rows, field), writer) in columns.into_iter().zip(&self.fields).zip(&mut self.group) {
            let ColumnRows { sources, spans } = rows;
            match writer {
                ColumnWriter::Tag(chunk) => chunk.push(&sources, spans, compressor)?,
                ColumnWriter::Plain(writer) => {
                    let sources: Vec<Option<&ArrayRef>> =
                        sources.iter().map(Option::as_ref).collect();
                    let array = gather_column(field.data_type(), &sources, spans);
                    write_leaves(writer, field, &array)?;
                }
            }
        }
        match (self.fields.last(), self.group.last_mut()) {
            (Some(field), Some(ColumnWriter::Plain(writer))) => write_leaves(writer, field, &time),
            _ => unreachable!("the designated timestamp is the last column"),
        }
    }

    fn begin_group(&mut self) -> Result<(), ParquetError> {
        let group = self.file.flushed_row_groups().len();
        let writers = self.factory.create_column_writers(group)?;
        let types = self.columns.iter().map(|c| c.ty).chain([ColumnType::Timestamp]);
        self.group = writers
            .into_iter()
            .zip(types)
            .map(|(writer, ty)| match ty {
                ColumnType::Tag => ColumnWriter::Tag(Box::default()),
                _ => ColumnWriter::Plain(Box::new(writer)),
            })
            .collect();
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        if self.group.is_empty() {
            return Ok(());
        }
        let compression = compression()?;
        let columns = self.file.schema_descr().columns().to_vec();
        let mut group = self.file.next_row_group()?;
        for (writer, descr) in self.group.drain(..).zip(columns) {
            match writer {
                ColumnWriter::Plain(writer) => writer.close()?.append_to_row_group(&mut group)?,
                ColumnWriter::Tag(chunk) => {
                    let (bytes, close) = chunk.finish(descr, compression, &mut self.compressor)?;
                    group.append_column(&bytes, close)?;
                }
            }
        }
        group.close()?;
        self.group_rows = 0;
        Ok(())
    }

    /// The file's own error when there is one, since it says more.
    fn fail(&mut self, error: ParquetError) -> StorageError {
        match self.file.inner_mut().error.take() {
            Some(error) => error.into(),
            None => StorageError::parquet(&self.path, error),
        }
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        if let Err(error) = self.dir.fs().remove(&self.path) {
            tracing::warn!(%error, "an unfinished part stays until the next start removes it");
        }
    }
}

impl ColumnWriter {
    fn memory(&self) -> usize {
        match self {
            ColumnWriter::Tag(chunk) => chunk.memory(),
            ColumnWriter::Plain(writer) => writer.memory_size(),
        }
    }
}

impl Write for FileSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= SINK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if let Err(error) = self.file.write_all_at(&self.buffer, self.written) {
            let kind = error.source.kind();
            self.error = Some(error);
            return Err(kind.into());
        }
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn create_file(dir: &TableDir, id: &mut PartId) -> Result<File, StorageError> {
    dir.create_folder(id)?;
    loop {
        match dir.fs().create(&dir.part_path(id)) {
            Err(error) if error.source.kind() == ErrorKind::AlreadyExists => id.attempt += 1,
            other => return Ok(other?),
        }
    }
}

fn write_leaves(
    writer: &mut ArrowColumnWriter,
    field: &FieldRef,
    array: &ArrayRef,
) -> Result<(), ParquetError> {
    compute_leaves(field, array)?.iter().try_for_each(|leaf| writer.write(leaf))
}

fn compression() -> Result<Compression, ParquetError> {
    Ok(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
}

fn encoded(shape: &Shape) -> Vec<u8> {
    let mut bytes = Vec::new();
    shape.encode(&mut bytes);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the footer says, enough to rebuild the catalog's entry from the part alone; see `docs/formats/part.md`.
fn properties(
    schema: &TableSchema,
    arrow: &Schema,
    id: &PartId,
) -> Result<WriterPropertiesPtr, ParquetError> {
    let def = schema.def();
    let footer = [
        ("headwater.part", "1".to_owned()),
        ("headwater.table_id", def.id.to_string()),
        ("headwater.database", def.database.to_string()),
        ("headwater.table", def.name.to_string()),
        ("headwater.created", def.created.to_string()),
        ("headwater.partition_by", def.partition_by.to_string()),
        ("headwater.partition", id.partition.0.to_string()),
        ("headwater.first_txn", id.first_txn.to_string()),
        ("headwater.last_txn", id.last_txn.to_string()),
        ("headwater.level", id.level.to_string()),
        ("headwater.shape", hex(&encoded(schema.shape()))),
    ];
    let footer = footer.map(|(key, value)| KeyValue::new(key.to_owned(), value));
    let time = ColumnPath::from(vec![def.time_column.to_string()]);
    let time_index = i32::try_from(arrow.fields().len() - 1);
    let column_idx = time_index.map_err(|e| ParquetError::General(e.to_string()))?;
    let order = SortingColumn { column_idx, descending: false, nulls_first: false };
    let mut props = WriterProperties::builder()
        .set_created_by(concat!("headwater ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression()?)
        .set_column_dictionary_enabled(time.clone(), false)
        .set_column_encoding(time, Encoding::DELTA_BINARY_PACKED)
        .set_sorting_columns(Some(vec![order]))
        .set_key_value_metadata(Some(footer.to_vec()))
        .build();
    add_encoded_arrow_schema_to_metadata(arrow, &mut props);
    Ok(Arc::new(props))
}
