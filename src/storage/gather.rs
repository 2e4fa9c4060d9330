//! Copies spans of several sources into one: the second half of a merge.

use super::merge::Span;
use arrow::array::{
    Array, ArrayData, ArrayRef, ArrowPrimitiveType, AsArray, MutableArrayData, NullBufferBuilder,
    PrimitiveArray, make_array, new_null_array,
};
use arrow::datatypes::{
    DataType, Float64Type, Int64Type, TimeUnit, TimestampNanosecondType, UInt64Type,
};
use std::sync::Arc;

/// The rows of plain slices.
pub(super) fn gather_values<T: Copy>(sources: &[&[T]], spans: &[Span]) -> Vec<T> {
    let mut out = Vec::with_capacity(row_count(spans));
    for span in spans {
        out.extend_from_slice(&sources[span.source][span.start..span.start + span.len]);
    }
    out
}

/// The rows of one column, which is all null in sources that lack it.
///
/// # Panics
/// A source of another type, or strings that together pass 2 GiB: callers bound what they merge.
pub(super) fn gather_column(
    ty: &DataType,
    sources: &[Option<&ArrayRef>],
    spans: &[Span],
) -> ArrayRef {
    match ty {
        DataType::Int64 => gather_primitive::<Int64Type>(sources, spans),
        DataType::UInt64 => gather_primitive::<UInt64Type>(sources, spans),
        DataType::Float64 => gather_primitive::<Float64Type>(sources, spans),
        DataType::Timestamp(TimeUnit::Nanosecond, None) => {
            gather_primitive::<TimestampNanosecondType>(sources, spans)
        }
        _ => gather_any(ty, sources, spans),
    }
}

/// How many rows the spans have.
pub(super) fn row_count(spans: &[Span]) -> usize {
    spans.iter().map(|span| span.len).sum()
}

fn gather_primitive<T: ArrowPrimitiveType>(
    sources: &[Option<&ArrayRef>],
    spans: &[Span],
) -> ArrayRef {
    let typed: Vec<Option<&PrimitiveArray<T>>> =
        sources.iter().map(|s| s.map(|array| array.as_primitive::<T>())).collect();
    let rows = row_count(spans);
    let mut values: Vec<T::Native> = Vec::with_capacity(rows);
    for span in spans {
        match typed[span.source] {
            Some(array) => {
                values.extend_from_slice(&array.values()[span.start..span.start + span.len]);
            }
            None => values.resize(values.len() + span.len, T::Native::default()),
        }
    }
    let is_whole = spans.iter().all(|s| typed[s.source].is_some_and(|a| a.null_count() == 0));
    let mut nulls = NullBufferBuilder::new(rows);
    if !is_whole {
        for span in spans {
            match typed[span.source].map(|array| array.nulls()) {
                Some(Some(from)) => nulls.append_buffer(&from.slice(span.start, span.len)),
                Some(None) => nulls.append_n_non_nulls(span.len),
                None => nulls.append_n_nulls(span.len),
            }
        }
    }
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls.finish()))
}

fn gather_any(ty: &DataType, sources: &[Option<&ArrayRef>], spans: &[Span]) -> ArrayRef {
    let data: Vec<Option<ArrayData>> = sources.iter().map(|s| s.map(|a| a.to_data())).collect();
    let present: Vec<&ArrayData> = data.iter().flatten().collect();
    if present.is_empty() {
        return new_null_array(ty, row_count(spans));
    }
    let mut place = 0;
    let places: Vec<Option<usize>> = data
        .iter()
        .map(|d| {
            d.as_ref()?;
            place += 1;
            Some(place - 1)
        })
        .collect();
    let mut out = MutableArrayData::new(present, true, row_count(spans));
    for span in spans {
        let extended = match places[span.source] {
            Some(place) => out.try_extend(place, span.start, span.start + span.len),
            None => out.try_extend_nulls(span.len),
        };
        extended.expect("callers keep what they merge below 2 GiB");
    }
    make_array(out.freeze())
}
