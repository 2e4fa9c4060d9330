//! Rows of several sources under their rules for duplicates: of the rows of one time and key only what the rules leave.
//!
//! Sources are parts and runs in order of their transactions, each of them under one rule, each in order of time. A row hides, or
//! completes, the rows of its key that come before it, by its own rule: so a rule that came into force later is not applied to
//! the rows before among themselves.
//!
//! Rows are taken in windows of time. A key is looked at only where several rows have one time, so that rows which arrive in
//! order cost a comparison each. Memory is bounded by the number of sources, except that all rows of one time are held together.

use super::gather::gather_column;
use super::merge::{Merge, Span};
use super::part_reader::PartReader;
use super::pool::Pool;
use super::{Part, Run, SeriesSet, StorageError, TableSchema, arrow_type};
use crate::schema::{ColumnDef, Dedup, Keys, Shape};
use crate::types::{ColumnId, ColumnType, SeqTxn};
use arrow::array::{
    Array, ArrayRef, AsArray, StringArray, TimestampNanosecondArray, new_null_array,
};
use arrow::compute::concat;
use arrow::datatypes::{
    Float64Type, Int32Type, Int64Type, SchemaRef, TimestampNanosecondType, UInt64Type,
};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows of a source that a window has at most, unless more have one time.
const WINDOW_ROWS: usize = 1 << 13;
/// Rows of a part that are decoded at a time.
const BATCH_ROWS: usize = 1 << 13;
/// Keys remembered before all are forgotten.
const KEYS_MAX: usize = 1 << 20;
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

/// One source and how far it is read.
#[derive(Debug)]
struct Cursor {
    rows: Rows,
    /// The rule that its rows are under, as its place among the table's rules.
    rule: usize,
    /// What that rule has them do.
    effect: Effect,
    /// The next row of what is held.
    at: usize,
}

#[derive(Debug)]
enum Rows {
    Run(Arc<Run>, Arc<SeriesSet>),
    Part(Box<PartRows>),
}

/// Decoded rows of a part.
#[derive(Debug)]
struct PartRows {
    reader: PartReader,
    schema: Arc<TableSchema>,
    needed: Vec<ColumnDef>,
    times: Vec<i64>,
    columns: HashMap<ColumnId, ArrayRef>,
    is_ended: bool,
}

/// Keys as numbers that are equal where the keys are.
#[derive(Debug)]
struct Keyring {
    /// By rule of the table: the columns of its key.
    rules: Vec<Vec<ColumnDef>>,
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

/// What a row does to those of its key before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    Nothing,
    Hides,
    Completes,
}

impl Effect {
    fn of(rule: &Dedup) -> Effect {
        match rule {
            Dedup::Append => Effect::Nothing,
            Dedup::Replace(_) => Effect::Hides,
            Dedup::Merge => Effect::Completes,
        }
    }
}

/// A row of a group that is not hidden yet.
struct Kept {
    source: usize,
    row: usize,
    completed_by: Vec<(usize, usize)>,
    is_gone: bool,
}

const UNKNOWN: u32 = u32::MAX;

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
                Source::Run(run, series) => Rows::Run(run, series),
                Source::Part(part) => {
                    Rows::Part(Box::new(PartRows::open(&part, &schema, needed.clone(), verify)?))
                }
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
        // The key of a row that others complete is that of the whole.
        let number_completed = |keyring: &mut Keyring, rule: usize, row: &Kept| {
            let rows = std::iter::once((row.source, row.row)).chain(row.completed_by.clone());
            let rows = rows.map(|(source, row)| (&cursors[source].rows, ranges[source].0 + row));
            keyring.number_completed(rule, rows, shape)
        };
        let is_plain = numbers.iter().all(|(_, numbers)| keyring.all_differ(numbers));
        let effect = |source: usize| cursors[source].effect;
        let mut kept: Vec<Kept> = Vec::with_capacity(if is_plain { 0 } else { self.rows.len() });
        match &numbers[..] {
            _ if is_plain => {
                self.rows.drain(..).for_each(|(source, row)| out.push(source, row, 1));
                return;
            }
            [(_, numbers)] => sweep(&self.rows, numbers, &mut kept, effect),
            _ => {
                let rule = |source: usize| cursors[source].rule;
                let renumber = |rule, row: &Kept| number_completed(keyring, rule, row);
                sweep_mixed(&self.rows, &mut numbers, &mut kept, rule, effect, renumber);
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
fn sweep(
    group: &[(usize, usize)],
    numbers: &[u32],
    kept: &mut Vec<Kept>,
    effect: impl Fn(usize) -> Effect,
) {
    let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
    let is_small = group.len() <= SMALL_GROUP;
    for (n, &(source, row)) in group.iter().enumerate() {
        let before: Vec<usize> = match is_small {
            true => (0..n).filter(|&m| numbers[m] == numbers[n]).collect(),
            false => places.get(&numbers[n]).cloned().unwrap_or_default(),
        };
        take(kept, (source, row), &before, effect(source));
        if !is_small {
            let all = places.entry(numbers[n]).or_default();
            if effect(source) != Effect::Nothing {
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
    rule: impl Fn(usize) -> usize,
    effect: impl Fn(usize) -> Effect,
    mut renumber: impl FnMut(usize, &Kept) -> u32,
) {
    for (n, &(source, row)) in group.iter().enumerate() {
        let rule = rule(source);
        let own = numbers.iter().find(|(of, _)| *of == rule).map(|(_, numbers)| numbers);
        let before = own.map_or(Vec::new(), |own| (0..n).filter(|&m| own[m] == own[n]).collect());
        take(kept, (source, row), &before, effect(source));
        if !kept[n].completed_by.is_empty() {
            for (of, numbers) in numbers.iter_mut().filter(|(of, _)| *of != rule) {
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

impl Cursor {
    /// True when several of its rows may have one key. Those of a part are as its rule leaves them.
    fn may_repeat(&self) -> bool {
        matches!(self.rows, Rows::Run(..))
    }

    fn times(&self) -> &[i64] {
        match &self.rows {
            Rows::Run(run, _) => run.time(),
            Rows::Part(part) => &part.times,
        }
    }

    /// True when rows may follow those that are held.
    fn has_more(&self) -> bool {
        matches!(&self.rows, Rows::Part(part) if !part.is_ended)
    }

    /// Makes sure that the next row is held, if there is one.
    fn fill(&mut self) -> Result<(), StorageError> {
        if self.at == self.times().len()
            && let Rows::Part(part) = &mut self.rows
            && !part.is_ended
        {
            part.forget(self.at);
            self.at = 0;
            part.read()?;
        }
        Ok(())
    }

    /// Holds more rows.
    fn extend(&mut self) -> Result<(), StorageError> {
        if let Rows::Part(part) = &mut self.rows {
            part.forget(self.at);
            self.at = 0;
            part.read()?;
        }
        Ok(())
    }

    fn column(
        &self,
        shape: &Shape,
        column: &ColumnDef,
        (start, len): (usize, usize),
    ) -> Result<Option<ArrayRef>, StorageError> {
        match &self.rows {
            Rows::Part(part) => Ok(part.columns.get(&column.id).map(|v| v.slice(start, len))),
            Rows::Run(run, series) => {
                run.evolved(shape, series, column, (start, len)).map_err(|error| {
                    StorageError::parquet(std::path::Path::new("the tail"), error.into())
                })
            }
        }
    }
}

impl PartRows {
    fn open(
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

impl Keyring {
    fn new(shape: &Shape) -> Keyring {
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
    fn tidy(&mut self) {
        if self.known.len() > KEYS_MAX {
            self.known = Pool::default();
            self.by_series.iter_mut().for_each(Vec::clear);
            self.met.clear();
        }
    }

    /// True when no two of the rows of a group have one key.
    fn all_differ(&mut self, numbers: &[u32]) -> bool {
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
    fn number_completed<'a>(
        &mut self,
        rule: usize,
        rows: impl Iterator<Item = (&'a Rows, usize)> + Clone,
        shape: &Shape,
    ) -> u32 {
        let Keyring { rules, known, buffer, .. } = self;
        buffer.clear();
        for key in &rules[rule] {
            let value = |(rows, place): (&Rows, usize)| match rows {
                Rows::Run(run, series) => run.evolved(shape, series, key, (place, 1)).ok()?,
                Rows::Part(part) => part.columns.get(&key.id).map(|values| values.slice(place, 1)),
            };
            let value = rows.clone().filter_map(value).find(|value| value.is_valid(0));
            append_value(value.as_ref(), 0, buffer);
        }
        known.intern(buffer)
    }

    /// The number of the key that row `place` of a source has under a rule.
    fn number(
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
            Rows::Run(run, series) => {
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
            Rows::Part(part) => {
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
