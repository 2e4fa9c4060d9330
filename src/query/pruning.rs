//! Which parts and runs a filter can match, by the times of their rows, before anything is opened.

use arrow::array::{ArrayRef, BooleanArray, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, Result, ScalarValue, Statistics};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use std::collections::HashSet;
use std::sync::Arc;

/// Rows that are scanned or skipped as one: those of a part, or of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extent {
    pub(super) rows: u64,
    pub(super) min_time: i64,
    pub(super) max_time: i64,
}

impl Extent {
    /// Both together.
    fn and(self, other: Extent) -> Extent {
        Extent {
            rows: self.rows + other.rows,
            min_time: self.min_time.min(other.min_time),
            max_time: self.max_time.max(other.max_time),
        }
    }

    /// Exact statistics of the rows: their number and, for the designated timestamp, the last field, least and greatest value.
    pub(super) fn statistics(&self, schema: &SchemaRef) -> Statistics {
        statistics(Some(*self), schema)
    }
}

/// Exact statistics of all the rows of `extents`.
pub(super) fn total(extents: impl Iterator<Item = Extent>, schema: &SchemaRef) -> Statistics {
    statistics(extents.reduce(Extent::and), schema)
}

fn statistics(extent: Option<Extent>, schema: &SchemaRef) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    let rows = extent.map_or(0, |extent| extent.rows);
    statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
    if let (Some(extent), Some(time)) = (extent, statistics.column_statistics.last_mut()) {
        let exact = |time| Precision::Exact(ScalarValue::TimestampNanosecond(Some(time), None));
        *time = ColumnStatistics::new_unknown()
            .with_null_count(Precision::Exact(0))
            .with_min_value(exact(extent.min_time))
            .with_max_value(exact(extent.max_time));
    }
    statistics
}

/// By extent: whether `predicate` can be true for any of its rows. A predicate that says nothing about time keeps them all.
pub(super) fn keep(
    extents: &[Extent],
    predicate: &Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
) -> Result<Vec<bool>> {
    let pruning = PruningPredicateBuilder::new().with_file_schema(schema.clone());
    let pruning = match pruning.build(predicate.clone()) {
        Some(pruning) if !extents.is_empty() => pruning,
        _ => return Ok(vec![true; extents.len()]),
    };
    let time = schema.fields().last().map_or("", |field| field.name());
    pruning.prune(&Times { extents, time })
}

struct Times<'a> {
    extents: &'a [Extent],
    /// The name of the designated timestamp.
    time: &'a str,
}

impl Times<'_> {
    fn times(&self, column: &Column, time: impl Fn(&Extent) -> i64) -> Option<ArrayRef> {
        (column.name == self.time).then(|| {
            let times = self.extents.iter().map(time);
            Arc::new(TimestampNanosecondArray::from_iter_values(times)) as ArrayRef
        })
    }
}

impl PruningStatistics for Times<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |extent| extent.min_time)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |extent| extent.max_time)
    }

    fn num_containers(&self) -> usize {
        self.extents.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let none = UInt64Array::from_value(0, self.extents.len());
        (column.name == self.time).then(|| Arc::new(none) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.extents.iter().map(|extent| extent.rows);
        Some(Arc::new(UInt64Array::from_iter_values(rows)))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
