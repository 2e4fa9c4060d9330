//! A column of today in rows of before: values stay where they were written, under the id that their column had then.

use super::{Run, SeriesSet, arrow_type};
use crate::schema::{ColumnDef, Shape};
use crate::types::{ColumnId, ColumnType};
use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::{cast, is_not_null, kernels::zip::zip};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use std::sync::Arc;

/// The values of `column`, found under its own id and those of the columns that it took over; `None` when there are none. No row
/// has a value under two of them. A value that does not convert is null.
///
/// # Errors
/// Arrow knows no conversion between the types.
pub(super) fn evolve(
    shape: &Shape,
    column: &ColumnDef,
    mut stored: impl FnMut(ColumnId, ColumnType) -> Option<ArrayRef>,
) -> Result<Option<ArrayRef>, ArrowError> {
    let mut values = stored(column.id, column.ty);
    for (id, types) in shape.sources(column) {
        let Some(older) = stored(id, types[0]) else { continue };
        let older = convert(&older, &types)?;
        values = Some(match values {
            None => older,
            Some(newer) if newer.null_count() == 0 => newer,
            Some(newer) => zip(&is_not_null(&newer)?, &newer, &older)?,
        });
    }
    Ok(values)
}

/// The casts, one after the other, that take values from the first of these types through all of them to the last; `None` where
/// nothing of one means anything in the next. A value that does not convert becomes null, and stays so.
pub fn conversion(types: &[ColumnType]) -> Option<Vec<DataType>> {
    let mut steps = Vec::new();
    for pair in types.windows(2) {
        match (pair[0], pair[1]) {
            (ColumnType::Timestamp, ColumnType::Boolean)
            | (ColumnType::Boolean, ColumnType::Timestamp)
            | (ColumnType::Array, _)
            | (_, ColumnType::Array) => return None,
            // By way of their common number.
            (ColumnType::Timestamp, ColumnType::Float | ColumnType::Unsigned)
            | (ColumnType::Float | ColumnType::Unsigned, ColumnType::Timestamp) => {
                steps.push(DataType::Int64);
            }
            // By way of text, which every type has a spelling in.
            (ColumnType::Tag, _) | (_, ColumnType::Tag) => steps.push(DataType::Utf8),
            _ => {}
        }
        steps.push(arrow_type(pair[1]));
    }
    steps.dedup();
    Some(steps)
}

/// The values on their way through these types.
fn convert(values: &ArrayRef, types: &[ColumnType]) -> Result<ArrayRef, ArrowError> {
    match conversion(types) {
        Some(steps) => steps.iter().try_fold(values.clone(), |values, step| cast(&values, step)),
        None => {
            let last = types.last().copied().unwrap_or(ColumnType::String);
            Ok(new_null_array(&arrow_type(last), values.len()))
        }
    }
}

impl Run {
    /// The values of a column in rows `start..start + len`; `None` when there are none.
    ///
    /// # Errors
    /// Arrow knows no conversion between the types.
    pub fn evolved(
        &self,
        shape: &Shape,
        series: &SeriesSet,
        column: &ColumnDef,
        (start, len): (usize, usize),
    ) -> Result<Option<ArrayRef>, ArrowError> {
        evolve(shape, column, |id, ty| match ty {
            ColumnType::Tag if self.column(id).is_none() => {
                let tags = series.tag_array(id, &self.series()[start..start + len]);
                Some(Arc::new(tags) as ArrayRef).filter(|tags| tags.null_count() < tags.len())
            }
            _ => self.column(id).map(|values| values.slice(start, len)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_converts_to_every_other() {
        let all = [
            ColumnType::Timestamp,
            ColumnType::Tag,
            ColumnType::Float,
            ColumnType::Integer,
            ColumnType::Unsigned,
            ColumnType::Boolean,
            ColumnType::String,
        ];
        for from in all {
            for to in all {
                let nulls = new_null_array(&arrow_type(from), 3);
                let converted =
                    convert(&nulls, &[from, to]).unwrap_or_else(|e| panic!("{from:?} {to:?} {e}"));
                assert_eq!(converted.data_type(), &arrow_type(to), "{from:?} {to:?}");
            }
        }
    }
}
