//! How DataFusion's Parquet scan reads our parts: through the door that storage opens for each.

use crate::storage::{Part, PartFile};
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::ChunkReader;
use std::ops::Range;
use std::sync::Arc;

/// What a scan carries for each file beside DataFusion's own description of it: it keeps the file from being removed.
#[derive(Clone, Debug)]
pub(super) struct ScannedPart(pub(super) Arc<Part>);

/// Opens parts.
#[derive(Debug)]
pub(super) struct PartReaders;

impl ParquetFileReaderFactory for PartReaders {
    fn create_reader(
        &self,
        _partition: usize,
        file: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        _metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let ScannedPart(part) = file
            .extension::<ScannedPart>()
            .ok_or_else(|| DataFusionError::Internal("a scan of a file that is no part".into()))?;
        let file = part.open().map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Box::new(PartReader(file)))
    }
}

/// One open part. Reads block: they come from the page cache or a local disk, on threads that only queries use.
#[derive(Debug)]
struct PartReader(PartFile);

impl AsyncFileReader for PartReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let read = usize::try_from(range.end.saturating_sub(range.start))
            .map_err(|error| ParquetError::External(Box::new(error)))
            .and_then(|len| self.0.get_bytes(range.start, len));
        std::future::ready(read).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let mut reader = ParquetMetaDataReader::new();
        if let Some(options) = options {
            reader = reader
                .with_column_index_policy(options.column_index_policy())
                .with_offset_index_policy(options.offset_index_policy())
                .with_metadata_options(Some(options.metadata_options().clone()));
        }
        std::future::ready(reader.parse_and_finish(&self.0).map(Arc::new)).boxed()
    }
}
