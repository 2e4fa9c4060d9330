//! Reads the file of a part back, a batch at a time.

use super::evolve::evolve;
use super::part::Part;
use super::table_schema::FIELD_ID_KEY;
use super::{PartMeta, StorageError};
use crate::io::{File, Fs};
use crate::schema::{ColumnDef, Shape};
use crate::types::ColumnId;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::TimestampNanosecondType;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Bytes read ahead when a stretch of unknown length is read.
const READ_AHEAD: usize = 64 << 10;

/// A part's file for Parquet readers. Clones share it; it stays readable after its name is gone.
#[derive(Clone, Debug)]
pub struct PartFile {
    file: Arc<File>,
    len: u64,
    /// The first failure to read it. Of one in the midst of a batch, the Parquet library leaves a text.
    failed: Arc<OnceLock<StorageError>>,
}

/// A position in a [`PartFile`].
#[derive(Debug)]
pub struct PartFileRead {
    file: PartFile,
    at: u64,
    buffer: Bytes,
}

/// The rows of a part in order, batch by batch.
#[derive(Debug)]
pub(super) struct PartReader {
    part: Arc<Part>,
    file: PartFile,
    batches: ParquetRecordBatchReader,
    /// The current batch; `None` after the last.
    batch: Option<RecordBatch>,
    /// By field of the file: which column it is.
    columns: Vec<ColumnId>,
}

impl PartFile {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened or measured.
    pub fn open(fs: &Fs, path: &Path) -> Result<PartFile, StorageError> {
        // Row P3 fails here, row P4 where the folder is read.
        let file = fs.open_read(path)?;
        let len = file.len()?;
        Ok(PartFile { file: Arc::new(file), len, failed: Arc::default() })
    }

    /// Compares the whole file with its checksum in the catalog. A Parquet reader would not notice every wrong bit.
    ///
    /// # Errors
    /// The file differs, or cannot be read.
    pub fn verify(&self, meta: &PartMeta) -> Result<(), StorageError> {
        if self.len == meta.bytes && self.crc()? == meta.crc {
            return Ok(());
        }
        // Row P2.
        Err(StorageError::DamagedPart { path: self.file.path().to_owned() })
    }

    /// The checksum of the whole file.
    pub(super) fn crc(&self) -> Result<u32, StorageError> {
        let mut buffer = vec![0; 1 << 20];
        let (mut at, mut crc) = (0, 0);
        while at < self.len {
            let len = buffer.len().min(usize::try_from(self.len - at).unwrap_or(usize::MAX));
            self.file.read_exact_at(&mut buffer[..len], at)?;
            crc = crc32c::crc32c_append(crc, &buffer[..len]);
            at += len as u64;
        }
        Ok(crc)
    }

    fn read(&self, at: u64, len: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; len];
        let read = self.file.read_exact_at(&mut bytes, at);
        read.map_err(|error| {
            let error = StorageError::from(error);
            ParquetError::External(Box::new(self.failed.get_or_init(|| error).clone()))
        })?;
        Ok(bytes.into())
    }

    /// The file's own error when there is one: what cannot be read now is not damaged.
    pub(super) fn fail(&self, error: ParquetError) -> StorageError {
        let own = self.failed.get().cloned();
        own.unwrap_or_else(|| StorageError::parquet(self.file.path(), error))
    }
}

impl Length for PartFile {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for PartFile {
    type T = PartFileRead;

    fn get_read(&self, start: u64) -> Result<PartFileRead, ParquetError> {
        Ok(PartFileRead { file: self.clone(), at: start, buffer: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.read(start, length)
    }
}

impl std::io::Read for PartFileRead {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.buffer.is_empty() {
            let left = self.file.len.saturating_sub(self.at);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(READ_AHEAD);
            self.buffer = self.file.read(self.at, len).map_err(std::io::Error::other)?;
            self.at += len as u64;
        }
        let taken = self.buffer.split_to(out.len().min(self.buffer.len()));
        out[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

impl PartReader {
    /// Opens a part at its first row, after comparing it with its checksum. Batches have at most `batch_rows` rows.
    pub(super) fn open(part: &Arc<Part>, batch_rows: usize) -> Result<PartReader, StorageError> {
        PartReader::open_columns(part, batch_rows, None, true)
    }

    /// Opens some columns of a part, or all, at its first row.
    pub(super) fn open_columns(
        part: &Arc<Part>,
        batch_rows: usize,
        wanted: Option<&[ColumnId]>,
        verify: bool,
    ) -> Result<PartReader, StorageError> {
        let file = part.open()?;
        if verify {
            file.verify(part.meta())?;
        }
        let fail = |error| file.fail(error);
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(fail)?;
        let ids = builder.schema().fields().iter().map(|field| {
            let id = field.metadata().get(FIELD_ID_KEY)?.parse().ok()?;
            Some(ColumnId(id))
        });
        let columns = ids.collect::<Option<Vec<ColumnId>>>();
        let columns = columns.ok_or_else(|| fail(general("a column has no field id")))?;
        let mut columns = columns;
        let builder = match wanted {
            None => builder,
            Some(wanted) => {
                let places = (0..columns.len()).filter(|&n| wanted.contains(&columns[n]));
                let places: Vec<usize> = places.collect();
                columns.retain(|id| wanted.contains(id));
                let mask = ProjectionMask::roots(builder.parquet_schema(), places);
                builder.with_projection(mask)
            }
        };
        let batches = builder.with_batch_size(batch_rows).build().map_err(fail)?;
        let part = part.clone();
        let mut reader = PartReader { part, file, batches, batch: None, columns };
        reader.next_batch()?;
        Ok(reader)
    }

    /// Goes on to the next batch.
    pub(super) fn next_batch(&mut self) -> Result<(), StorageError> {
        let next = self.batches.next().transpose();
        self.batch = next.map_err(|error| self.file.fail(error.into()))?;
        Ok(())
    }

    /// Where the part is.
    pub(super) fn path(&self) -> PathBuf {
        self.part.path()
    }

    /// The times of the current batch; none after the last.
    pub(super) fn times(&self) -> &[i64] {
        match self.column(ColumnId::TIME) {
            Some(array) => array.as_primitive::<TimestampNanosecondType>().values(),
            None => &[],
        }
    }

    /// A column of today in the current batch, if the part has values for it.
    pub(super) fn evolved(
        &self,
        shape: &Shape,
        column: &ColumnDef,
    ) -> Result<Option<ArrayRef>, StorageError> {
        evolve(shape, column, |id, _| self.column(id).cloned())
            .map_err(|error| StorageError::parquet(&self.part.path(), error.into()))
    }

    /// A column of the current batch, if the part has it.
    pub(super) fn column(&self, id: ColumnId) -> Option<&ArrayRef> {
        let at = self.columns.iter().position(|&c| c == id)?;
        Some(self.batch.as_ref()?.column(at))
    }
}

pub(super) fn general(message: &str) -> ParquetError {
    ParquetError::General(message.to_owned())
}
