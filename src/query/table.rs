//! One table of a query: a snapshot, scanned as the union of its parts and of the runs of its tails.

use super::parts::{PartReaders, ScannedPart};
use super::pruning::{self, Extent};
use super::tails::{TailRun, TailSource};
use crate::storage::{Part, Snapshot};
use crate::types::TableId;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ToDFSchema};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use std::sync::Arc;

/// A table as one query sees it.
#[derive(Debug)]
pub(super) struct SnapshotTable {
    snapshot: Arc<Snapshot>,
}

/// What a scan asks for.
struct Scan<'a> {
    /// Positions of the wanted fields.
    projection: Option<&'a Vec<usize>>,
    /// What every row that matters fulfils.
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// So many rows are enough.
    limit: Option<usize>,
    /// How many threads there are to scan side by side.
    partitions: usize,
}

impl SnapshotTable {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> SnapshotTable {
        SnapshotTable { snapshot }
    }

    pub(super) fn id(&self) -> TableId {
        self.snapshot.schema.def().id
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The parts that the predicate does not exclude, as one file scan.
    fn scan_parts(&self, scan: &Scan<'_>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let schema = self.schema();
        let parts = self.kept(&self.snapshot.parts, part_extent, scan)?;
        if parts.is_empty() {
            return Ok(None);
        }
        let statistics = pruning::total(parts.iter().map(part_extent), &schema);
        let files = parts.iter().map(|part| file(part, &schema)).collect();
        let mut source =
            ParquetSource::new(schema).with_parquet_file_reader_factory(Arc::new(PartReaders));
        if let Some(predicate) = &scan.predicate {
            source = source.with_predicate(predicate.clone());
        }
        // The parts' own readers open them; the URL only names a store that is always there.
        let config =
            FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
                .with_file_group(FileGroup::new(files))
                .with_statistics(statistics)
                .with_projection_indices(scan.projection.cloned())?
                .with_limit(scan.limit)
                .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }

    /// The runs that the predicate does not exclude.
    fn scan_tails(&self, scan: &Scan<'_>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let mut runs = Vec::new();
        for tail in self.snapshot.tails() {
            let of_tail = tail.partitions().values().flat_map(|runs| runs.iter());
            runs.extend(
                of_tail.map(|run| TailRun { run: run.clone(), series: tail.series().clone() }),
            );
        }
        let runs = self.kept(&runs, TailRun::extent, scan)?;
        if runs.is_empty() {
            return Ok(None);
        }
        let table = self.snapshot.schema.clone();
        let source = TailSource::new(table, runs, scan.projection, scan.limit, scan.partitions)?;
        Ok(Some(Arc::new(DataSourceExec::new(Arc::new(source)))))
    }

    /// Those of `all` that may have a row which fulfils the predicate.
    fn kept<T: Clone>(
        &self,
        all: &[T],
        extent: impl Fn(&T) -> Extent,
        scan: &Scan<'_>,
    ) -> Result<Vec<T>> {
        let Some(predicate) = &scan.predicate else {
            return Ok(all.to_vec());
        };
        let extents: Vec<Extent> = all.iter().map(extent).collect();
        let keep = pruning::keep(&extents, predicate, &self.schema())?;
        Ok(all.iter().zip(keep).filter(|(_, keep)| *keep).map(|(one, _)| one.clone()).collect())
    }
}

fn part_extent(part: &Arc<Part>) -> Extent {
    let meta = part.meta();
    Extent { rows: meta.rows, min_time: meta.min_time, max_time: meta.max_time }
}

fn file(part: &Arc<Part>, schema: &SchemaRef) -> PartitionedFile {
    let meta = part.meta();
    PartitionedFile::new(part.path().to_string_lossy(), meta.bytes)
        .with_statistics(Arc::new(part_extent(part).statistics(schema)))
        .with_extension(ScannedPart(part.clone()))
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        self.snapshot.schema.arrow_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// A filter leaves out parts, runs, row groups and pages, not single rows: DataFusion filters those once more.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let predicate = match conjunction(filters.iter().cloned()) {
            Some(filter) => {
                let schema = self.schema().to_dfschema()?;
                Some(state.create_physical_expr(filter, &schema)?)
            }
            None => None,
        };
        let partitions = state.config().target_partitions();
        let scan = Scan { projection, predicate, limit, partitions };
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        plans.extend(self.scan_parts(&scan)?);
        plans.extend(self.scan_tails(&scan)?);
        match (plans.pop(), plans.pop()) {
            (Some(tails), Some(parts)) => UnionExec::try_new(vec![parts, tails]),
            (Some(only), None) => Ok(only),
            (None, _) => {
                let schema = match projection {
                    Some(projection) => Arc::new(self.schema().project(projection)?),
                    None => self.schema(),
                };
                Ok(Arc::new(EmptyExec::new(schema)))
            }
        }
    }
}
