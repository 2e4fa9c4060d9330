//! The rows that are not in parts yet, as a source of batches: made from the runs a batch at a time, as they are asked for.

use super::pruning::{self, Extent};
use crate::storage::{Run, SeriesSet, TableSchema, arrow_type};
use arrow::array::{ArrayRef, TimestampNanosecondArray, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::source::DataSource;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A run and the tag sets that its rows name.
#[derive(Clone, Debug)]
pub(super) struct TailRun {
    pub(super) run: Arc<Run>,
    pub(super) series: Arc<SeriesSet>,
}

impl TailRun {
    pub(super) fn extent(&self) -> Extent {
        Extent {
            rows: self.run.rows() as u64,
            min_time: self.run.min_time(),
            max_time: self.run.max_time(),
        }
    }
}

/// Runs in groups that are scanned side by side.
#[derive(Clone)]
pub(super) struct TailSource {
    table: Arc<TableSchema>,
    groups: Vec<Arc<[TailRun]>>,
    /// Positions of the wanted fields in the table's schema.
    projection: Vec<usize>,
    schema: SchemaRef,
    fetch: Option<usize>,
}

impl TailSource {
    /// A source of these runs, in at most `partitions` groups of about equal size.
    ///
    /// # Errors
    /// A projection that names a field which is not there.
    pub(super) fn new(
        table: Arc<TableSchema>,
        mut runs: Vec<TailRun>,
        projection: &[usize],
        fetch: Option<usize>,
        partitions: usize,
    ) -> Result<TailSource> {
        let all = table.arrow_schema();
        let projection = projection.to_vec();
        let schema = Arc::new(all.project(&projection)?);
        // Largest first, each to the group that has the fewest rows.
        runs.sort_by_key(|run| std::cmp::Reverse(run.run.rows()));
        let count = partitions.min(runs.len()).max(1);
        let mut groups: Vec<(usize, Vec<TailRun>)> = vec![(0, Vec::new()); count];
        for run in runs {
            if let Some(group) = groups.iter_mut().min_by_key(|(rows, _)| *rows) {
                group.0 += run.run.rows();
                group.1.push(run);
            }
        }
        let groups = groups.into_iter().map(|(_, runs)| runs.into()).collect();
        Ok(TailSource { table, groups, projection, schema, fetch })
    }

    fn batch(&self, of: &TailRun, rows: Range<usize>) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let arrays = self.projection.iter().map(|&field| self.array(of, field, rows.clone()));
        let arrays = arrays.collect::<Result<Vec<ArrayRef>>>()?;
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }

    /// Rows of one field of the table's schema, whose last one is the designated timestamp.
    fn array(&self, of: &TailRun, field: usize, rows: Range<usize>) -> Result<ArrayRef> {
        let run = &of.run;
        let Some(column) = self.table.columns().get(field) else {
            let times = run.time()[rows].iter().copied();
            return Ok(Arc::new(TimestampNanosecondArray::from_iter_values(times)));
        };
        let (shape, place) = (self.table.shape(), (rows.start, rows.len()));
        let values = run.evolved(shape, &of.series, column, place)?;
        Ok(values.unwrap_or_else(|| new_null_array(&arrow_type(column.ty), rows.len())))
    }
}

impl fmt::Debug for TailSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs: usize = self.groups.iter().map(|runs| runs.len()).sum();
        write!(f, "runs={runs}, groups={}", self.groups.len())
    }
}

impl DataSource for TailSource {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let source = self.clone();
        let step = context.session_config().batch_size();
        let runs = self.groups[partition].clone();
        let places = (0..runs.len()).flat_map(move |index| {
            let rows = runs[index].run.rows();
            let runs = runs.clone();
            (0..rows)
                .step_by(step)
                .map(move |start| (runs[index].clone(), start..rows.min(start + step)))
        });
        let mut wanted = self.fetch.unwrap_or(usize::MAX);
        let batches = places.map_while(move |(run, rows)| {
            let rows = rows.start..rows.end.min(rows.start.saturating_add(wanted));
            wanted -= rows.len();
            (!rows.is_empty()).then(|| source.batch(&run, rows))
        });
        let stream = futures::stream::iter(batches);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream)))
    }

    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        write!(f, "tails={{{self:?}}}, projection=[{}]", names.join(", "))?;
        match self.fetch {
            Some(fetch) => write!(f, ", limit={fetch}"),
            None => Ok(()),
        }
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.groups.len())
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(self.schema.clone())
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let groups = match partition {
            Some(partition) => &self.groups[partition..=partition],
            None => &self.groups[..],
        };
        let extents = groups.iter().flat_map(|runs| runs.iter().map(TailRun::extent));
        let all = pruning::total(extents, self.table.arrow_schema());
        let all = all.project(Some(&self.projection));
        Ok(Arc::new(all.with_fetch(self.fetch, 0, 1)?))
    }

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn DataSource>> {
        Some(Arc::new(TailSource { fetch, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
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
