//! One table of a query: a snapshot, scanned as the union of its parts and of the runs of its tails.

use super::clusters::{self, ClusterSource};
use super::evolution::ByFieldId;
use super::parts::{PartReaders, ScannedPart};
use super::pruning::{self, Extent};
use super::tails::{TailRun, TailSource};
use crate::storage::{Part, Snapshot, Source};
use crate::types::TableId;
use arrow::datatypes::{Schema, SchemaRef};
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

/// A table as one query sees it: its fields in the order in which they are shown, where storage has the time last.
#[derive(Debug)]
pub(super) struct SnapshotTable {
    snapshot: Arc<Snapshot>,
    /// By place in what is shown: the place in storage.
    order: Vec<usize>,
    shown: SchemaRef,
}

/// What a scan asks for.
struct Scan {
    /// Positions of the wanted fields, as storage has them.
    projection: Vec<usize>,
    /// What every row that matters fulfils.
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// So many rows are enough.
    limit: Option<usize>,
    /// How many threads there are to scan side by side.
    partitions: usize,
}

impl SnapshotTable {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> SnapshotTable {
        let schema = &snapshot.schema;
        let columns = schema.columns().len();
        let mut order: Vec<usize> = (0..columns).collect();
        order.insert(schema.def().time_index(columns), columns);
        let fields: Vec<_> =
            order.iter().map(|&at| schema.arrow_schema().fields()[at].clone()).collect();
        SnapshotTable { shown: Arc::new(Schema::new(fields)), order, snapshot }
    }

    /// The fields as storage has them.
    fn stored(&self) -> SchemaRef {
        self.snapshot.schema.arrow_schema().clone()
    }

    pub(super) fn id(&self) -> TableId {
        self.snapshot.schema.def().id
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Parts and runs that the predicate does not exclude, in order of their transactions.
    fn sources(&self, scan: &Scan) -> Result<Vec<Source>> {
        let mut all: Vec<Source> = self.snapshot.parts.iter().cloned().map(Source::Part).collect();
        all.sort_by_key(Source::first_txn);
        for tail in self.snapshot.tails() {
            let runs = tail.partitions().values().flat_map(|runs| runs.iter());
            all.extend(runs.map(|run| Source::Run(run.clone(), tail.series().clone())));
        }
        let Some(predicate) = &scan.predicate else { return Ok(all) };
        let extents: Vec<Extent> = all.iter().map(clusters::extent).collect();
        let keep = pruning::keep(&extents, predicate, &self.stored())?;
        Ok(all.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(one, _)| one).collect())
    }

    /// Parts as one file scan.
    fn scan_parts(
        &self,
        parts: &[Arc<Part>],
        scan: &Scan,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if parts.is_empty() {
            return Ok(None);
        }
        let schema = self.stored();
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
                .with_expr_adapter(Some(Arc::new(ByFieldId(self.snapshot.schema.clone()))))
                .with_file_group(FileGroup::new(files))
                .with_statistics(statistics)
                .with_projection_indices(Some(scan.projection.clone()))?
                .with_limit(scan.limit)
                .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }

    /// Every way in which the sources have to be read.
    fn plans(&self, scan: &Scan) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let table = self.snapshot.schema.clone();
        let (alone, together) = clusters::cluster(&table, self.sources(scan)?);
        let (mut parts, mut runs) = (Vec::new(), Vec::new());
        for source in alone {
            match source {
                Source::Part(part) => parts.push(part),
                Source::Run(run, series) => runs.push(TailRun { run, series }),
            }
        }
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        plans.extend(self.scan_parts(&parts, scan)?);
        if !runs.is_empty() {
            let source = TailSource::new(
                table.clone(),
                runs,
                &scan.projection,
                scan.limit,
                scan.partitions,
            )?;
            plans.push(Arc::new(DataSourceExec::new(Arc::new(source))));
        }
        if !together.is_empty() {
            let source = ClusterSource::new(table, together, &scan.projection, scan.partitions)?;
            plans.push(Arc::new(DataSourceExec::new(Arc::new(source))));
        }
        Ok(plans)
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
        self.shown.clone()
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
                let schema = self.stored().to_dfschema()?;
                Some(state.create_physical_expr(filter, &schema)?)
            }
            None => None,
        };
        let partitions = state.config().target_partitions();
        let projection = match projection {
            Some(places) => places.iter().map(|&place| self.order[place]).collect(),
            None => self.order.clone(),
        };
        let scan = Scan { projection, predicate, limit, partitions };
        let mut plans = self.plans(&scan)?;
        match plans.len() {
            0 => {
                let schema = self.stored().project(&scan.projection)?;
                Ok(Arc::new(EmptyExec::new(Arc::new(schema))))
            }
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}
