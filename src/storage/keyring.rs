//! Keys of rows as numbers that are equal where the keys are.

use super::cursor::{Cursor, SourceRows};
use super::pool::Pool;
use crate::schema::{ColumnDef, Dedup, Keys, Shape};
use crate::types::ColumnType;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt64Type};

/// Keys remembered before all are forgotten.
const KEYS_MAX: usize = 1 << 20;
const UNKNOWN: u32 = u32::MAX;

/// Keys as numbers that are equal where the keys are.
#[derive(Debug)]
pub(super) struct Keyring {
    /// By rule of the table: the columns of its key.
    pub(super) rules: Vec<Vec<ColumnDef>>,
    known: Pool,
    /// By rule: whether its key is of tags alone, each as its series have it.
    of_tags: Vec<bool>,
    /// By rule, by source, by series: the number of its key, where the key is of tags alone.
    by_series: Vec<Vec<Vec<u32>>>,
    /// By number: the last group that had it.
    met: Vec<u32>,
    group: u32,
    buffer: Vec<u8>,
}

impl Keyring {
    pub(super) fn new(shape: &Shape) -> Keyring {
        let tags = || shape.columns.iter().filter(|c| c.ty == ColumnType::Tag).cloned();
        let keys = |dedup: &Dedup| -> Vec<ColumnDef> {
            match dedup.keys() {
                None => Vec::new(),
                Some(Keys::Tags) => tags().collect(),
                Some(Keys::Columns(ids)) => {
                    ids.iter().filter_map(|id| shape.heir(*id)).cloned().collect()
                }
            }
        };
        let rules: Vec<Vec<ColumnDef>> = shape.rules.iter().map(|(_, dedup)| keys(dedup)).collect();
        let is_tag = |key: &ColumnDef| {
            key.ty == ColumnType::Tag && shape.became.iter().all(|became| became.into != key.id)
        };
        Keyring {
            of_tags: rules.iter().map(|keys| keys.iter().all(is_tag)).collect(),
            by_series: vec![Vec::new(); rules.len()],
            rules,
            known: Pool::default(),
            met: Vec::new(),
            group: 0,
            buffer: Vec::new(),
        }
    }

    /// Forgets all numbers when there are many. Between groups only.
    pub(super) fn tidy(&mut self) {
        if self.known.len() > KEYS_MAX {
            self.known = Pool::default();
            self.by_series.iter_mut().for_each(Vec::clear);
            self.met.clear();
        }
    }

    /// True when no two of the rows of a group have one key.
    pub(super) fn all_differ(&mut self, numbers: &[u32]) -> bool {
        self.group = self.group.wrapping_add(1);
        if self.group == 0 {
            self.met.clear();
            self.group = 1;
        }
        self.met.resize(self.met.len().max(self.known.len()), 0);
        numbers.iter().all(|&number| {
            std::mem::replace(&mut self.met[number as usize], self.group) != self.group
        })
    }

    /// The number of the key that a row has under a rule which others complete, the last one first: of each column the first value.
    pub(super) fn number_completed<'a>(
        &mut self,
        rule: usize,
        rows: impl Iterator<Item = (&'a Cursor, usize)> + Clone,
        shape: &Shape,
    ) -> u32 {
        let Keyring { rules, known, buffer, .. } = self;
        buffer.clear();
        for key in &rules[rule] {
            let value = |(cursor, place): (&Cursor, usize)| {
                cursor.column(shape, key, (place, 1)).ok().flatten()
            };
            let value = rows.clone().filter_map(value).find(|value| value.is_valid(0));
            append_value(value.as_ref(), 0, buffer);
        }
        known.intern(buffer)
    }

    /// The number of the key that row `place` of a source has under a rule.
    pub(super) fn number(
        &mut self,
        rule: usize,
        source: usize,
        cursor: &Cursor,
        place: usize,
        shape: &Shape,
    ) -> u32 {
        let Keyring { rules, of_tags, known, by_series, buffer, .. } = self;
        let keys = &rules[rule];
        buffer.clear();
        match &cursor.rows {
            SourceRows::Run(run, series) => {
                if of_tags[rule] {
                    let series_number = run.series()[place];
                    let sources = &mut by_series[rule];
                    if sources.len() <= source {
                        sources.resize(source + 1, Vec::new());
                    }
                    let numbers = &mut sources[source];
                    let at = series_number as usize;
                    if let Some(&number) = numbers.get(at).filter(|number| **number != UNKNOWN) {
                        return number;
                    }
                    keys.iter().for_each(|key| series.append_value(series_number, key.id, buffer));
                    let number = known.intern(buffer);
                    numbers.resize(numbers.len().max(at + 1), UNKNOWN);
                    numbers[at] = number;
                    return number;
                }
                for key in keys {
                    let value = run.evolved(shape, series, key, (place, 1));
                    append_value(value.ok().flatten().as_ref(), 0, buffer);
                }
            }
            SourceRows::Part(part) => {
                keys.iter().for_each(|key| append_value(part.columns.get(&key.id), place, buffer));
            }
        }
        known.intern(buffer)
    }
}

/// A value of a key, in bytes that equal another's where the values do; nulls are equal.
fn append_value(values: Option<&ArrayRef>, row: usize, out: &mut Vec<u8>) {
    let Some(values) = values.filter(|values| values.is_valid(row)) else {
        out.push(0);
        return;
    };
    out.push(1);
    let any = values.as_any();
    if let Some(tags) = any.downcast_ref::<arrow::array::DictionaryArray<Int32Type>>() {
        let text: &StringArray = tags.values().as_string();
        let key = usize::try_from(tags.keys().value(row)).unwrap_or_default();
        append_text(text.value(key), out);
    } else if let Some(text) = values.as_string_opt::<i32>() {
        append_text(text.value(row), out);
    } else if let Some(numbers) = values.as_primitive_opt::<Int64Type>() {
        out.extend_from_slice(&numbers.value(row).to_le_bytes());
    } else if let Some(numbers) = values.as_primitive_opt::<UInt64Type>() {
        out.extend_from_slice(&numbers.value(row).to_le_bytes());
    } else if let Some(numbers) = values.as_primitive_opt::<Float64Type>() {
        // One zero, whatever its sign.
        out.extend_from_slice(&(numbers.value(row) + 0.0).to_le_bytes());
    } else if let Some(times) = values.as_primitive_opt::<TimestampNanosecondType>() {
        out.extend_from_slice(&times.value(row).to_le_bytes());
    } else if let Some(flags) = values.as_boolean_opt() {
        out.push(u8::from(flags.value(row)));
    }
}

/// Text of a key, behind its length.
pub(super) fn append_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}
