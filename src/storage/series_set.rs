//! The distinct tag sets (series) of a table's tail.

use super::keyring::append_text;
use super::pool::Pool;
use crate::types::ColumnId;
use arrow::array::{DictionaryArray, Int32Array, StringArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::Int32Type;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// A series without a value for a tag.
const NULL: u32 = u32::MAX;

/// The tag sets of one table between two freezes, numbered from 0, shared by all runs of that time.
///
/// Append-only: a number once given stays. A tag's values are hashed when a series is interned, never per row.
#[derive(Debug, Default)]
pub struct SeriesSet(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Keyed by the tag set: per tag its column id, its length, its bytes; in order of column ids.
    keys: Pool,
    tags: BTreeMap<ColumnId, TagValues>,
}

/// One tag column: which of its distinct values each series has.
#[derive(Debug, Default)]
struct TagValues {
    values: Pool,
    /// By series; series past the end have no value.
    codes: Vec<u32>,
    /// `values` as Arrow wants them, made when asked for and forgotten when a value is added.
    array: OnceLock<Arc<StringArray>>,
}

impl SeriesSet {
    /// The number of a tag set, in any order of its tags; it is added when it is new.
    pub fn intern(&self, tags: &[(ColumnId, &str)]) -> u32 {
        let key = encode_key(tags);
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).keys.get(&key) {
            return known;
        }
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = inner.keys.len();
        let series = inner.keys.intern(&key);
        if inner.keys.len() > known {
            for &(id, value) in tags {
                inner.tags.entry(id).or_default().set(series, value);
            }
        }
        series
    }

    /// How many tag sets there are.
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory held, in bytes, roughly.
    pub fn bytes(&self) -> u64 {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let tags =
            inner.tags.values().map(|t| t.values.memory() + t.codes.len() * size_of::<u32>());
        (inner.keys.memory() + tags.sum::<usize>()) as u64
    }

    /// Appends the value of a series for a tag, as keys of rows spell it.
    pub(super) fn append_value(&self, series: u32, column: ColumnId, out: &mut Vec<u8>) {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let tag = inner.tags.get(&column);
        let code = tag.and_then(|tag| tag.codes.get(series as usize).copied());
        match (tag, code.filter(|code| *code != NULL)) {
            (Some(tag), Some(code)) => {
                out.push(1);
                append_text(tag.text(code), out);
            }
            _ => out.push(0),
        }
    }

    /// The tag columns that any series has a value for, in order of their ids.
    pub fn tag_columns(&self) -> Vec<ColumnId> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.tags.keys().copied().collect()
    }

    /// The values of one tag column for rows of these series.
    pub fn tag_array(&self, column: ColumnId, series: &[u32]) -> DictionaryArray<Int32Type> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (keys, values) = match inner.tags.get(&column) {
            Some(tag) => (tag.keys(series), tag.array()),
            None => (Int32Array::new_null(series.len()), Arc::new(StringArray::new_null(0))),
        };
        DictionaryArray::try_new(keys, values).expect("codes are below the number of values")
    }
}

impl TagValues {
    fn set(&mut self, series: u32, value: &str) {
        let series = series as usize;
        self.codes.resize(self.codes.len().max(series), NULL);
        let known = self.values.len();
        let code = self.values.intern(value.as_bytes());
        if self.values.len() > known {
            self.array = OnceLock::new();
        }
        match self.codes.get_mut(series) {
            Some(slot) => *slot = code,
            None => self.codes.push(code),
        }
    }

    fn text(&self, code: u32) -> &str {
        str::from_utf8(self.values.value(code)).expect("interned as text")
    }

    fn keys(&self, series: &[u32]) -> Int32Array {
        let codes = self.codes.as_slice();
        let mut missing = 0;
        let keys: Vec<i32> = series
            .iter()
            .map(|&s| {
                let code = codes.get(s as usize).copied().unwrap_or(NULL);
                missing += usize::from(code == NULL);
                code.cast_signed()
            })
            .collect();
        let nulls = (missing > 0)
            .then(|| NullBuffer::new(BooleanBuffer::collect_bool(keys.len(), |n| keys[n] >= 0)));
        Int32Array::new(keys.into(), nulls)
    }

    fn array(&self) -> Arc<StringArray> {
        let make = || {
            let text = self.values.iter().map(|v| str::from_utf8(v).expect("interned as text"));
            Arc::new(StringArray::from_iter_values(text))
        };
        self.array.get_or_init(make).clone()
    }
}

fn encode_key(tags: &[(ColumnId, &str)]) -> Vec<u8> {
    let mut order: Vec<&(ColumnId, &str)> = tags.iter().collect();
    order.sort_by_key(|(id, _)| *id);
    let mut key = Vec::with_capacity(tags.iter().map(|(_, value)| value.len() + 8).sum());
    for (id, value) in order {
        key.extend_from_slice(&id.0.to_le_bytes());
        key.extend_from_slice(&(value.len() as u64).to_le_bytes());
        key.extend_from_slice(value.as_bytes());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};

    fn text(set: &SeriesSet, column: u32, series: &[u32]) -> Vec<Option<String>> {
        let array = set.tag_array(ColumnId(column), series);
        let values = array.downcast_dict::<StringArray>().unwrap();
        values.into_iter().map(|v| v.map(str::to_owned)).collect()
    }

    #[test]
    fn a_tag_set_has_one_number_in_any_order_of_its_tags() {
        let set = SeriesSet::default();
        let (a, b) = (ColumnId(1), ColumnId(2));
        assert_eq!(set.intern(&[(a, "x"), (b, "y")]), 0);
        assert_eq!(set.intern(&[(b, "y"), (a, "x")]), 0);
        assert_eq!(set.intern(&[(a, "xy"), (b, "")]), 1);
        assert_eq!(set.intern(&[]), 2);
        assert_eq!(set.len(), 3);
    }

    #[test]
    fn a_tag_that_a_series_lacks_is_null_and_an_empty_one_is_not() {
        let set = SeriesSet::default();
        set.intern(&[(ColumnId(1), "x")]);
        set.intern(&[(ColumnId(2), "")]);
        assert_eq!(text(&set, 1, &[0, 1, 0]), [Some("x".into()), None, Some("x".into())]);
        assert_eq!(text(&set, 2, &[0, 1]), [None, Some(String::new())]);
        assert_eq!(text(&set, 3, &[0, 1]), [None, None]);
        assert_eq!(set.tag_columns(), [ColumnId(1), ColumnId(2)]);
    }

    #[test]
    fn values_added_after_a_reading_appear_in_the_next() {
        let set = SeriesSet::default();
        set.intern(&[(ColumnId(1), "x")]);
        assert_eq!(text(&set, 1, &[0]), [Some("x".into())]);
        let y = set.intern(&[(ColumnId(1), "y")]);
        assert_eq!(text(&set, 1, &[y, 0]), [Some("y".into()), Some("x".into())]);
        assert_eq!(set.tag_array(ColumnId(1), &[0]).values().as_string::<i32>().len(), 2);
    }
}
