//! One source of rows and how far it is read.

use super::part_reader::PartReader;
use super::{Part, Run, SeriesSet, StorageError, TableSchema, arrow_type};
use crate::schema::{ColumnDef, Dedup, Shape};
use crate::types::ColumnId;
use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::concat;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows of a part that are decoded at a time.
const BATCH_ROWS: usize = 1 << 13;

/// One source and how far it is read.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) rows: SourceRows,
    /// The rule that its rows are under, as its place among the table's rules.
    pub(super) rule: usize,
    /// What that rule has them do.
    pub(super) effect: Effect,
    /// The next row of what is held.
    pub(super) at: usize,
}

#[derive(Debug)]
pub(super) enum SourceRows {
    Run(Arc<Run>, Arc<SeriesSet>),
    Part(Box<PartRows>),
}

/// Decoded rows of a part.
#[derive(Debug)]
pub(super) struct PartRows {
    reader: PartReader,
    schema: Arc<TableSchema>,
    needed: Vec<ColumnDef>,
    times: Vec<i64>,
    pub(super) columns: HashMap<ColumnId, ArrayRef>,
    is_ended: bool,
}

/// What a row does to those of its key before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Nothing,
    Hides,
    Completes,
}

impl Effect {
    pub(super) fn of(rule: &Dedup) -> Effect {
        match rule {
            Dedup::Append => Effect::Nothing,
            Dedup::Replace(_) => Effect::Hides,
            Dedup::Merge => Effect::Completes,
        }
    }
}

impl Cursor {
    /// True when several of its rows may have one key. Those of a part are as its rule leaves them.
    pub(super) fn may_repeat(&self) -> bool {
        matches!(self.rows, SourceRows::Run(..))
    }

    pub(super) fn times(&self) -> &[i64] {
        match &self.rows {
            SourceRows::Run(run, _) => run.time(),
            SourceRows::Part(part) => &part.times,
        }
    }

    /// True when rows may follow those that are held.
    pub(super) fn has_more(&self) -> bool {
        matches!(&self.rows, SourceRows::Part(part) if !part.is_ended)
    }

    /// Makes sure that the next row is held, if there is one.
    pub(super) fn fill(&mut self) -> Result<(), StorageError> {
        if self.at == self.times().len() && self.has_more() {
            self.extend()?;
        }
        Ok(())
    }

    /// Holds more rows.
    pub(super) fn extend(&mut self) -> Result<(), StorageError> {
        if let SourceRows::Part(part) = &mut self.rows {
            part.forget(self.at);
            self.at = 0;
            part.read()?;
        }
        Ok(())
    }

    pub(super) fn column(
        &self,
        shape: &Shape,
        column: &ColumnDef,
        (start, len): (usize, usize),
    ) -> Result<Option<ArrayRef>, StorageError> {
        match &self.rows {
            SourceRows::Part(part) => Ok(part.columns.get(&column.id).map(|v| v.slice(start, len))),
            SourceRows::Run(run, series) => {
                run.evolved(shape, series, column, (start, len)).map_err(|error| {
                    StorageError::parquet(std::path::Path::new("the tail"), error.into())
                })
            }
        }
    }
}

impl PartRows {
    pub(super) fn open(
        part: &Arc<Part>,
        schema: &Arc<TableSchema>,
        needed: Vec<ColumnDef>,
        verify: bool,
    ) -> Result<PartRows, StorageError> {
        let shape = schema.shape();
        let stored: Vec<ColumnId> = needed
            .iter()
            .flat_map(|c| std::iter::once(c.id).chain(shape.sources(c).into_iter().map(|s| s.0)))
            .chain([ColumnId::TIME])
            .collect();
        let reader = PartReader::open_columns(part, BATCH_ROWS, Some(&stored), verify)?;
        let mut rows = PartRows {
            reader,
            schema: schema.clone(),
            needed,
            times: Vec::new(),
            columns: HashMap::new(),
            is_ended: false,
        };
        rows.take()?;
        Ok(rows)
    }

    /// Holds the reader's next batch, too.
    fn read(&mut self) -> Result<(), StorageError> {
        self.reader.next_batch()?;
        self.take()
    }

    /// Appends the reader's batch to what is held.
    fn take(&mut self) -> Result<(), StorageError> {
        let held = self.times.len();
        self.times.extend_from_slice(self.reader.times());
        let rows = self.times.len() - held;
        if rows == 0 {
            self.is_ended = true;
            return Ok(());
        }
        for column in &self.needed {
            let new = self.reader.evolved(self.schema.shape(), column)?;
            let values = match (self.columns.remove(&column.id), new) {
                (None, None) => continue,
                (None, Some(new)) if held == 0 => new,
                (before, new) => {
                    let null = |rows| new_null_array(&arrow_type(column.ty), rows);
                    let before = before.unwrap_or_else(|| null(held));
                    let new = new.unwrap_or_else(|| null(rows));
                    concat(&[&before, &new])
                        .map_err(|e| StorageError::parquet(&self.reader.path(), e.into()))?
                }
            };
            self.columns.insert(column.id, values);
        }
        Ok(())
    }

    /// Lets go of the first rows.
    fn forget(&mut self, rows: usize) {
        self.times.drain(..rows);
        let left = self.times.len();
        if left == 0 {
            self.columns.clear();
        }
        for values in self.columns.values_mut() {
            *values = values.slice(rows, left);
        }
    }
}
