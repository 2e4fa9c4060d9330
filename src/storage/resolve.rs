//! Rows of several sources under their rules for duplicates: of the rows of one time and key only what the rules leave.
//!
//! Sources are parts and runs in order of their transactions, each of them under one rule, each in order of time. A row hides, or
//! completes, the rows of its key that come before it, by its own rule: so a rule that came into force later is not applied to
//! the rows before among themselves.
//!
//! Rows are taken in windows of time. A key is looked at only where several rows have one time, so that rows which arrive in
//! order cost a comparison each. Memory is bounded by the number of sources, except that all rows of one time are held together.

use super::cursor::{Cursor, Effect, PartRows, SourceRows};
use super::gather::gather_column;
use super::keyring::Keyring;
use super::merge::{Merge, Span};
use super::{Part, Run, SeriesSet, StorageError, TableSchema, arrow_type};
use crate::schema::{ColumnDef, Dedup, Shape};
use crate::types::{ColumnId, ColumnType, SeqTxn};
use arrow::array::{Array, ArrayRef, TimestampNanosecondArray, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows of a source that a window has at most, unless more have one time.
const WINDOW_ROWS: usize = 1 << 13;
/// Groups of so many rows are searched one by one.
const SMALL_GROUP: usize = 8;

/// The values of a column: by source, and the spans to take from them.
pub(super) type ColumnSources<'a> = (Vec<Option<ArrayRef>>, Cow<'a, [Span]>);

/// Where rows lie.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a part. Its rows are as its rule leaves them.
    Part(Arc<Part>),
    /// In memory, with the series that its rows name. It may have several rows of one key.
    Run(Arc<Run>, Arc<SeriesSet>),
}

/// The rows of some sources as the rules for duplicates leave them, window by window.
#[derive(Debug)]
pub struct Resolved {
    schema: Arc<TableSchema>,
    /// The columns of [`Resolved::batch`], and what they look like with the time last.
    wanted: Vec<ColumnDef>,
    cursors: Vec<Cursor>,
    keyring: Keyring,
    /// The window: by source, its rows. Spans count from the first of them.
    ranges: Vec<(usize, usize)>,
    spans: Vec<Span>,
    /// Spans of one row that others before complete: the place in `spans`, and those rows, the last one first.
    completed: Vec<(usize, Vec<(usize, usize)>)>,
}

/// A row of a group that is not hidden yet.
struct Kept {
    source: usize,
    row: usize,
    completed_by: Vec<(usize, usize)>,
    is_gone: bool,
}

impl Source {
    /// The first transaction that has rows here.
    pub fn first_txn(&self) -> SeqTxn {
        match self {
            Source::Part(part) => part.meta().id.first_txn,
            Source::Run(run, _) => run.first_txn(),
        }
    }

    /// Its number of rows, the first and the last time.
    pub fn extent(&self) -> (u64, i64, i64) {
        match self {
            Source::Part(part) => (part.meta().rows, part.meta().min_time, part.meta().max_time),
            Source::Run(run, _) => (run.rows() as u64, run.min_time(), run.max_time()),
        }
    }

    /// True when its rows may have to be resolved even where no other source has rows of their times.
    pub fn may_repeat(&self, shape: &Shape) -> bool {
        matches!(self, Source::Run(..)) && *shape.rule(self.first_txn()).1 != Dedup::Append
    }
}

impl Resolved {
    /// The rows of `sources`, which are in order of their transactions, in the columns that are `wanted`. `verify` compares every
    /// part with its checksum first.
    ///
    /// # Errors
    /// A part cannot be read.
    pub fn open(
        schema: Arc<TableSchema>,
        sources: Vec<Source>,
        wanted: &[ColumnId],
        verify: bool,
    ) -> Result<Resolved, StorageError> {
        let shape = schema.shape();
        let keyring = Keyring::new(shape);
        let mut needed: Vec<ColumnDef> = schema.columns().to_vec();
        let is_key = |id| keyring.rules.iter().flatten().any(|key| key.id == id);
        needed.retain(|column| wanted.contains(&column.id) || is_key(column.id));
        let mut cursors = Vec::with_capacity(sources.len());
        for source in sources {
            let (rule, dedup) = shape.rule(source.first_txn());
            let effect = Effect::of(dedup);
            let rows = match source {
                Source::Run(run, series) => SourceRows::Run(run, series),
                Source::Part(part) => SourceRows::Part(Box::new(PartRows::open(
                    &part,
                    &schema,
                    needed.clone(),
                    verify,
                )?)),
            };
            cursors.push(Cursor { rows, rule, effect, at: 0 });
        }
        let wanted = schema.columns().iter().filter(|c| wanted.contains(&c.id)).cloned().collect();
        Ok(Resolved {
            wanted,
            cursors,
            keyring,
            ranges: Vec::new(),
            spans: Vec::new(),
            completed: Vec::new(),
            schema,
        })
    }

    /// Goes on to the next window; false after the last.
    ///
    /// # Errors
    /// A part cannot be read.
    pub fn advance(&mut self) -> Result<bool, StorageError> {
        for (cursor, range) in self.cursors.iter_mut().zip(&self.ranges) {
            cursor.at = range.1;
        }
        loop {
            let Some(end) = self.window_end()? else { return Ok(false) };
            self.ranges.clear();
            for cursor in &self.cursors {
                let times = &cursor.times()[cursor.at..];
                let len = times.partition_point(|&time| time <= end);
                self.ranges.push((cursor.at, cursor.at + len));
            }
            self.resolve();
            if !self.spans.is_empty() {
                return Ok(true);
            }
            for (cursor, range) in self.cursors.iter_mut().zip(&self.ranges) {
                cursor.at = range.1;
            }
        }
    }

    /// By source: the times of its rows in the window.
    pub(super) fn times(&self) -> Vec<&[i64]> {
        let all = self.cursors.iter().zip(&self.ranges);
        all.map(|(cursor, &(start, end))| &cursor.times()[start..end]).collect()
    }

    /// The rows of the window, in order.
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The values of a column: by source, and the spans to take from them.
    pub(super) fn column(&self, column: &ColumnDef) -> Result<ColumnSources<'_>, StorageError> {
        let shape = self.schema.shape();
        let mut sources = Vec::with_capacity(self.cursors.len());
        for (cursor, &(start, end)) in self.cursors.iter().zip(&self.ranges) {
            sources.push(cursor.column(shape, column, (start, end - start))?);
        }
        if self.completed.is_empty() {
            return Ok((sources, Cow::Borrowed(&self.spans)));
        }
        let has = |source: usize, row: usize| {
            sources[source].as_ref().is_some_and(|values: &ArrayRef| values.is_valid(row))
        };
        let mut spans = self.spans.clone();
        for (at, others) in &self.completed {
            let own = spans[*at];
            if has(own.source, own.start) {
                continue;
            }
            if let Some(&(source, row)) = others.iter().find(|(source, row)| has(*source, *row)) {
                spans[*at] = Span { source, start: row, len: 1 };
            }
        }
        Ok((sources, Cow::Owned(spans)))
    }

    /// The window as a batch of the wanted columns, in order of their ids, and the designated timestamp last.
    ///
    /// # Errors
    /// A value cannot be read as its column's type.
    pub fn batch(&self, schema: &SchemaRef) -> Result<RecordBatch, StorageError> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for column in &self.wanted {
            let (sources, spans) = self.column(column)?;
            arrays.push(one_array(column.ty, &sources, &spans));
        }
        let times = super::gather::gather_values(&self.times(), &self.spans);
        let rows = times.len();
        arrays.push(Arc::new(TimestampNanosecondArray::new(times.into(), None)));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema.clone(), arrays, &options).map_err(|error| {
            let path = std::path::Path::new(&*self.schema.shape().first_name);
            StorageError::parquet(path, error.into())
        })
    }

    /// The last time of the next window, whose rows are all held; `None` when no row is left.
    fn window_end(&mut self) -> Result<Option<i64>, StorageError> {
        let mut first: Option<i64> = None;
        for cursor in &mut self.cursors {
            cursor.fill()?;
            if let Some(&time) = cursor.times().get(cursor.at) {
                first = Some(first.map_or(time, |least| least.min(time)));
            }
        }
        let Some(first) = first else { return Ok(None) };
        let mut end = i64::MAX;
        for cursor in &self.cursors {
            let times = &cursor.times()[cursor.at..];
            // Later rows of a part may have the last time that is held.
            if let Some(&last) = times.last().filter(|_| cursor.has_more()) {
                end = end.min(last.saturating_sub(1));
            }
            if let Some(&time) = times.get(WINDOW_ROWS) {
                end = end.min(time.saturating_sub(1));
            }
        }
        if end >= first {
            return Ok(Some(end));
        }
        // More rows have the first time than a window holds, or than were decoded.
        for cursor in &mut self.cursors {
            while cursor.has_more() && cursor.times().last().is_none_or(|last| *last <= first) {
                cursor.extend()?;
            }
        }
        Ok(Some(first))
    }

    /// Finds the rows of the window that are left, and what completes them.
    fn resolve(&mut self) {
        self.spans.clear();
        self.completed.clear();
        let times: Vec<&[i64]> = self
            .cursors
            .iter()
            .zip(&self.ranges)
            .map(|(cursor, &(start, end))| &cursor.times()[start..end])
            .collect();
        let has_none = |(times, cursor): (&&[i64], &Cursor)| {
            times.is_empty() || cursor.effect == Effect::Nothing
        };
        let is_plain = times.iter().zip(&self.cursors).all(has_none);
        let mut merge = Merge::new(&times);
        if is_plain {
            while let Some(span) = merge.next_span(&times, usize::MAX) {
                self.spans.push(span);
            }
            return;
        }
        let shape = self.schema.shape();
        let mut group = Group { rows: Vec::new(), time: 0 };
        let mut out = Out { spans: &mut self.spans, completed: &mut self.completed };
        while let Some(span) = merge.next_span(&times, usize::MAX) {
            let rows = &times[span.source][span.start..span.start + span.len];
            let may_repeat = self.cursors[span.source].may_repeat();
            let mut row = 0;
            while let Some(&time) = rows.get(row) {
                if group.time != time {
                    group.close(&mut self.keyring, &self.cursors, &self.ranges, shape, &mut out);
                    group.time = time;
                }
                let same = rows[row..].iter().take_while(|t| **t == time).count();
                let is_last = row + same == rows.len();
                if same == 1 && group.rows.is_empty() && !is_last {
                    // The next row has another time: this one is alone.
                    out.push(span.source, span.start + row, 1);
                } else {
                    let places = row..row + same;
                    group.rows.extend(places.map(|n| (span.source, span.start + n)));
                }
                row += same;
                if !may_repeat && !is_last {
                    // Rows of a part are as their rule leaves them: only its last time can meet others now.
                    group.close(&mut self.keyring, &self.cursors, &self.ranges, shape, &mut out);
                    let last = rows[rows.len() - 1];
                    let plain = rows[row..].partition_point(|t| *t < last);
                    if plain > 0 {
                        out.push(span.source, span.start + row, plain);
                    }
                    row += plain;
                }
            }
        }
        group.close(&mut self.keyring, &self.cursors, &self.ranges, shape, &mut out);
    }
}

/// Rows of one time, in order of their transactions.
struct Group {
    rows: Vec<(usize, usize)>,
    time: i64,
}

/// The rows that are left, as spans.
struct Out<'a> {
    spans: &'a mut Vec<Span>,
    completed: &'a mut Vec<(usize, Vec<(usize, usize)>)>,
}

impl Out<'_> {
    fn push(&mut self, source: usize, start: usize, len: usize) {
        let is_open = self.completed.last().is_none_or(|(at, _)| at + 1 != self.spans.len());
        match self.spans.last_mut() {
            Some(last) if is_open && last.source == source && last.start + last.len == start => {
                last.len += len;
            }
            _ => self.spans.push(Span { source, start, len }),
        }
    }

    fn push_completed(&mut self, source: usize, row: usize, others: Vec<(usize, usize)>) {
        self.spans.push(Span { source, start: row, len: 1 });
        self.completed.push((self.spans.len() - 1, others));
    }
}

impl Group {
    /// Resolves the rows and forgets them.
    fn close(
        &mut self,
        keyring: &mut Keyring,
        cursors: &[Cursor],
        ranges: &[(usize, usize)],
        shape: &Shape,
        out: &mut Out<'_>,
    ) {
        let Some(&(first, _)) = self.rows.first() else { return };
        // Windows end where they may, so most groups of a part are its own.
        let is_alone = || self.rows.iter().all(|(source, _)| *source == first);
        if self.rows.len() == 1 || (!cursors[first].may_repeat() && is_alone()) {
            self.rows.drain(..).for_each(|(source, row)| out.push(source, row, 1));
            return;
        }
        let mut rules: Vec<usize> = self
            .rows
            .iter()
            .map(|&(source, _)| &cursors[source])
            .filter(|cursor| cursor.effect != Effect::Nothing)
            .map(|cursor| cursor.rule)
            .collect();
        rules.sort_unstable();
        rules.dedup();
        keyring.tidy();
        // Under each rule that a row is under; usually that is one.
        let mut numbers: Vec<(usize, Vec<u32>)> = Vec::with_capacity(rules.len());
        for rule in rules {
            let number = |&(source, row): &(usize, usize)| {
                let place = ranges[source].0 + row;
                keyring.number(rule, source, &cursors[source], place, shape)
            };
            numbers.push((rule, self.rows.iter().map(number).collect()));
        }
        let is_plain = numbers.iter().all(|(_, numbers)| keyring.all_differ(numbers));
        let mut kept: Vec<Kept> = Vec::with_capacity(if is_plain { 0 } else { self.rows.len() });
        match &numbers[..] {
            _ if is_plain => {
                self.rows.drain(..).for_each(|(source, row)| out.push(source, row, 1));
                return;
            }
            [(_, numbers)] => sweep(&self.rows, numbers, &mut kept, cursors),
            _ => {
                // The key of a row that others complete is that of the whole.
                let renumber = |rule: usize, row: &Kept| {
                    let others = row.completed_by.iter().copied();
                    let rows = std::iter::once((row.source, row.row)).chain(others);
                    let rows = rows.map(|(source, row)| (&cursors[source], ranges[source].0 + row));
                    keyring.number_completed(rule, rows, shape)
                };
                sweep_mixed(&self.rows, &mut numbers, &mut kept, cursors, renumber);
            }
        }
        self.rows.clear();
        for row in kept.into_iter().filter(|row| !row.is_gone) {
            match row.completed_by.is_empty() {
                true => out.push(row.source, row.row, 1),
                false => out.push_completed(row.source, row.row, row.completed_by),
            }
        }
    }
}

/// Takes the rows of a group one by one; all that have an effect find those before by the same numbers.
fn sweep(group: &[(usize, usize)], numbers: &[u32], kept: &mut Vec<Kept>, cursors: &[Cursor]) {
    let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
    let is_small = group.len() <= SMALL_GROUP;
    for (n, &(source, row)) in group.iter().enumerate() {
        let effect = cursors[source].effect;
        let before: Vec<usize> = match is_small {
            true => (0..n).filter(|&m| numbers[m] == numbers[n]).collect(),
            false => places.get(&numbers[n]).cloned().unwrap_or_default(),
        };
        take(kept, (source, row), &before, effect);
        if !is_small {
            let all = places.entry(numbers[n]).or_default();
            if effect != Effect::Nothing {
                all.clear();
            }
            all.push(n);
        }
    }
}

/// As [`sweep`], where rows are under several rules with keys of their own. A row that others complete may get another key under a
/// rule than the one it completes them by.
fn sweep_mixed(
    group: &[(usize, usize)],
    numbers: &mut [(usize, Vec<u32>)],
    kept: &mut Vec<Kept>,
    cursors: &[Cursor],
    mut renumber: impl FnMut(usize, &Kept) -> u32,
) {
    for (n, &(source, row)) in group.iter().enumerate() {
        let rule = cursors[source].rule;
        let own = numbers.iter().find(|(of, _)| *of == rule).map(|(_, numbers)| numbers);
        let before = own.map_or(Vec::new(), |own| (0..n).filter(|&m| own[m] == own[n]).collect());
        take(kept, (source, row), &before, cursors[source].effect);
        if !kept[n].completed_by.is_empty() {
            // Rows of the rules before have all been taken.
            for (of, numbers) in numbers.iter_mut().filter(|(of, _)| *of > rule) {
                numbers[n] = renumber(*of, &kept[n]);
            }
        }
    }
}

/// Adds a row, and lets it do to those of its key before what its rule says.
fn take(kept: &mut Vec<Kept>, (source, row): (usize, usize), before: &[usize], effect: Effect) {
    let mut completed_by = Vec::new();
    if effect != Effect::Nothing {
        for &place in before.iter().rev() {
            let other = &mut kept[place];
            if other.is_gone {
                continue;
            }
            other.is_gone = true;
            if effect == Effect::Completes {
                completed_by.push((other.source, other.row));
                completed_by.append(&mut other.completed_by);
            }
        }
    }
    kept.push(Kept { source, row, completed_by, is_gone: false });
}

/// The rows of a column as one array.
fn one_array(ty: ColumnType, sources: &[Option<ArrayRef>], spans: &[Span]) -> ArrayRef {
    let rows = spans.iter().map(|span| span.len).sum();
    match spans {
        [span] => match &sources[span.source] {
            Some(values) => values.slice(span.start, span.len),
            None => new_null_array(&arrow_type(ty), rows),
        },
        _ => {
            let sources: Vec<Option<&ArrayRef>> = sources.iter().map(Option::as_ref).collect();
            gather_column(&arrow_type(ty), &sources, spans)
        }
    }
}
