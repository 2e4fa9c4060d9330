//! Which parts and runs must be read together, because rows of one key may lie in several of them, as a source of batches.

use super::pruning::Extent;
use crate::schema::Dedup;
use crate::storage::{Resolved, Source, TableSchema};
use crate::types::ColumnId;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::source::DataSource;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use std::fmt;
use std::sync::Arc;

/// Parts and runs that share times, under rules by which one's rows may hide another's.
pub(super) type Cluster = Vec<Source>;

/// Tells the sources that can be read each by itself from those that must be read together. Sources are in order of their
/// transactions.
pub(super) fn cluster(table: &TableSchema, sources: Vec<Source>) -> (Vec<Source>, Vec<Cluster>) {
    let shape = table.shape();
    if shape.rules.iter().all(|(_, dedup)| *dedup == Dedup::Append) {
        return (sources, Vec::new());
    }
    let mut by_time: Vec<(usize, Source)> = sources.into_iter().enumerate().collect();
    by_time.sort_by_key(|(_, source)| source.extent().1);
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    let mut open: Vec<(usize, Source)> = Vec::new();
    let mut end = i64::MIN;
    let mut close = |open: &mut Vec<(usize, Source)>| {
        open.sort_by_key(|(order, _)| *order);
        let all: Vec<Source> = open.drain(..).map(|(_, source)| source).collect();
        let is_plain = |source: &Source| *shape.rule(source.first_txn()).1 == Dedup::Append;
        match &all[..] {
            [] => {}
            [only] if !only.may_repeat(shape) => alone.extend(all),
            _ if all.iter().all(is_plain) => alone.extend(all),
            _ => together.push(all),
        }
    };
    for (order, source) in by_time {
        let (_, min, max) = source.extent();
        if min > end {
            close(&mut open);
        }
        end = end.max(max);
        open.push((order, source));
    }
    close(&mut open);
    (alone, together)
}

/// What the rules for duplicates leave of some clusters, which are scanned side by side.
#[derive(Clone)]
pub(super) struct ClusterSource {
    table: Arc<TableSchema>,
    groups: Vec<Arc<[Cluster]>>,
    /// Positions of the wanted fields in the table's schema.
    projection: Vec<usize>,
    schema: SchemaRef,
}

impl ClusterSource {
    /// A source of these clusters, in at most `partitions` groups of about equal size.
    ///
    /// # Errors
    /// A projection that names a field which is not there.
    pub(super) fn new(
        table: Arc<TableSchema>,
        clusters: Vec<Cluster>,
        projection: &[usize],
        partitions: usize,
    ) -> Result<ClusterSource> {
        let schema = Arc::new(table.arrow_schema().project(projection)?);
        let rows = |cluster: &Cluster| cluster.iter().map(|source| source.extent().0).sum::<u64>();
        let mut clusters = clusters;
        clusters.sort_by_key(|cluster| std::cmp::Reverse(rows(cluster)));
        let count = partitions.min(clusters.len()).max(1);
        let mut groups: Vec<(u64, Vec<Cluster>)> = vec![(0, Vec::new()); count];
        for cluster in clusters {
            if let Some(group) = groups.iter_mut().min_by_key(|(rows, _)| *rows) {
                group.0 += rows(&cluster);
                group.1.push(cluster);
            }
        }
        let groups = groups.into_iter().map(|(_, clusters)| clusters.into()).collect();
        Ok(ClusterSource { table, groups, projection: projection.to_vec(), schema })
    }

    /// The batches of one cluster.
    fn read(&self, cluster: &Cluster) -> Result<Reading> {
        let columns = self.table.columns();
        let mut wanted: Vec<usize> =
            self.projection.iter().copied().filter(|&field| field < columns.len()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let ids: Vec<ColumnId> = wanted.iter().map(|&field| columns[field].id).collect();
        // Resolved rows come in order of column ids, the time last.
        wanted.push(columns.len());
        let order = self.projection.iter().map(|field| wanted.partition_point(|w| w < field));
        let order = order.collect();
        let read = Arc::new(self.table.arrow_schema().project(&wanted)?);
        let rows = Resolved::open(self.table.clone(), cluster.clone(), &ids, false);
        Ok(Reading { rows: rows.map_err(external)?, read, order })
    }
}

/// One cluster being read.
struct Reading {
    rows: Resolved,
    read: SchemaRef,
    /// The places of the wanted fields among those that are read.
    order: Vec<usize>,
}

impl Iterator for Reading {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let next = match self.rows.advance() {
            Ok(false) => return None,
            Ok(true) => self.rows.batch(&self.read),
            Err(error) => Err(error),
        };
        Some(next.map_err(external).and_then(|batch| Ok(batch.project(&self.order)?)))
    }
}

fn external(error: crate::storage::StorageError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl fmt::Debug for ClusterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clusters: usize = self.groups.iter().map(|clusters| clusters.len()).sum();
        write!(f, "clusters={clusters}, groups={}", self.groups.len())
    }
}

impl DataSource for ClusterSource {
    fn open(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let source = self.clone();
        let clusters = self.groups[partition].clone();
        let readings = (0..clusters.len()).map(move |n| source.read(&clusters[n]));
        let batches = readings.flat_map(|reading| {
            let (rows, error) = match reading {
                Ok(rows) => (Some(rows), None),
                Err(error) => (None, Some(Err(error))),
            };
            error.into_iter().chain(rows.into_iter().flatten())
        });
        let stream = futures::stream::iter(batches);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream)))
    }

    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        write!(f, "resolved={{{self:?}}}, projection=[{}]", names.join(", "))
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.groups.len())
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(self.schema.clone())
    }

    /// How many rows are left is known when they have been read.
    fn partition_statistics(&self, _partition: Option<usize>) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(&self.schema)))
    }

    fn with_fetch(&self, _fetch: Option<usize>) -> Option<Arc<dyn DataSource>> {
        None
    }

    fn fetch(&self) -> Option<usize> {
        None
    }

    fn try_swapping_with_projection(
        &self,
        _: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
}

/// Rows and times of a source, for pruning.
pub(super) fn extent(source: &Source) -> Extent {
    let (rows, min_time, max_time) = source.extent();
    Extent { rows, min_time, max_time }
}
