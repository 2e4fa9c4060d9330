//! Columns of today in the files of before: found by their ids, whatever they were called then, and converted where they held
//! another type.

use crate::storage::{FIELD_ID_KEY, TableSchema, arrow_type, conversion};
use arrow::compute::CastOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::format::DEFAULT_CAST_OPTIONS;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, lit};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use std::sync::Arc;

/// Makes expressions over a table's columns into ones over a file's.
#[derive(Debug)]
pub(super) struct ByFieldId(pub(super) Arc<TableSchema>);

#[derive(Debug)]
struct Adapter {
    table: Arc<TableSchema>,
    file: SchemaRef,
}

impl PhysicalExprAdapterFactory for ByFieldId {
    fn create(&self, _table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(Adapter { table: self.0.clone(), file }))
    }
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform(|expr| match expr.downcast_ref::<Column>() {
            Some(column) => Ok(Transformed::yes(self.stored(column)?)),
            None => Ok(Transformed::no(expr)),
        })
        .data()
    }
}

impl Adapter {
    /// Where the file has the values of a column of the table.
    fn stored(&self, column: &Column) -> Result<Arc<dyn PhysicalExpr>> {
        let fields = self.table.arrow_schema();
        let index = fields.index_of(column.name())?;
        let wanted = fields.field(index).data_type().clone();
        let Some(def) = self.table.columns().get(index) else {
            // The designated timestamp is the last field everywhere.
            let last = self.file.fields().len() - 1;
            return Ok(Arc::new(Column::new(self.file.field(last).name(), last)));
        };
        let sources = self.table.shape().sources(def).into_iter();
        let mut ids = std::iter::once((def.id, vec![def.ty])).chain(sources);
        let found = ids.find_map(|(id, types)| Some((self.place(&id.to_string())?, types)));
        let Some((place, types)) = found else {
            return Ok(lit(ScalarValue::try_from(&wanted)?));
        };
        let Some(steps) = conversion(&types) else {
            return Ok(lit(ScalarValue::try_from(&wanted)?));
        };
        let stored = self.file.field(place);
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(stored.name(), place));
        // The scan may read a column in another representation than storage wrote.
        let first = arrow_type(types[0]);
        let first = (*stored.data_type() != first).then_some(first);
        Ok(first.into_iter().chain(steps).fold(column, cast))
    }

    fn place(&self, id: &str) -> Option<usize> {
        let has_id = |metadata: Option<&String>| metadata.is_some_and(|found| found == id);
        self.file.fields().iter().position(|field| has_id(field.metadata().get(FIELD_ID_KEY)))
    }
}

/// A value that does not convert is null, as everywhere.
fn cast(expr: Arc<dyn PhysicalExpr>, to: DataType) -> Arc<dyn PhysicalExpr> {
    let options = CastOptions { safe: true, ..DEFAULT_CAST_OPTIONS };
    Arc::new(CastExpr::new(expr, to, Some(options)))
}
