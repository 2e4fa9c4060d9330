//! Frames become sorted runs: their series numbered as the tail does, cut into groups, which any idle worker helps to read.
//!
//! What depends on order is done first, by the worker that has the table: definitions of series. The rest of a group (checksums, columns,
//! sorting) depends on no other, so that the order of publication is all that is left to keep.

use super::Data;
use super::segments::{SegmentKey, Segments};
use super::shared::Shared;
use super::table::lock;
use crate::storage::{self, Run, SeriesSet, arrow_type};
use crate::types::{ColumnId, ColumnType, PartitionBy, PartitionKey, SeqTxn};
use crate::wal::{self, FrameView, SegmentReader, SeriesCursor, SeriesDefinitions, WalError};
use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::concat;
use foldhash::fast::RandomState;
use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};

/// Transactions are joined into one run up to so many rows: a run of its own for each would cost more than its rows.
const JOINED_ROWS_MAX: usize = 8192;

/// Frames of fewer rows are decoded one behind the other into common arrays.
const SMALL_ROWS: usize = 256;

/// What one table remembers from frame to frame, as long as its tail is open.
#[derive(Debug, Default)]
pub(super) struct Merger {
    views: Views,
    /// Segments whose readers this turn has.
    opened: Vec<SegmentKey>,
}

type Views = HashMap<SegmentKey, View, RandomState>;

/// One segment as a table sees it.
#[derive(Debug, Default)]
struct View {
    cursor: SeriesCursor,
    /// By series of the segment: its number in the tail.
    series: Vec<u32>,
    /// Looked up once a turn, not once a frame, and kept no longer: the pool bounds how many files are open.
    reader: Option<Arc<SegmentReader>>,
}

/// Runs of the first transactions of a list: all of them unless there is a failure.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) runs: Vec<(PartitionKey, Run)>,
    /// How many transactions of the list are in the runs.
    pub(super) txns: usize,
    /// Why there are not more.
    pub(super) failure: Option<WalError>,
}

/// Consecutive transactions with the place of their frames.
type Frames = Vec<(SeqTxn, Data)>;

impl Merger {
    /// Forgets all segments: the tail's series begin anew. The definitions are read again from the segments.
    pub(super) fn reset(&mut self) {
        self.views.clear();
    }

    /// Turns consecutive transactions into runs that name `series`: all of them, or those that so many segments have as may be open.
    pub(super) fn merge(
        &mut self,
        txns: &[(SeqTxn, Data)],
        series: &SeriesSet,
        by: PartitionBy,
        shared: &Shared,
    ) -> Merged {
        let mut groups: VecDeque<Frames> = VecDeque::new();
        let (mut rows, mut failure) = (0, None);
        for (txn, data) in txns {
            match self.learn(data, series, &shared.segments) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
            rows += data.rows as usize;
            match groups.back_mut().filter(|_| rows <= JOINED_ROWS_MAX) {
                Some(group) => group.push((*txn, *data)),
                None => {
                    groups.push_back(vec![(*txn, *data)]);
                    rows = data.rows as usize;
                }
            }
        }
        let views = std::mem::take(&mut self.views);
        let reading = Arc::new(Reading::new(groups, views, by));
        shared.scheduler.share(&reading);
        while reading.read_next() {}
        let merged;
        (merged, self.views) = reading.finish();
        for key in self.opened.drain(..) {
            if let Some(view) = self.views.get_mut(&key) {
                view.reader = None;
            }
        }
        Merged { failure: merged.failure.or(failure), ..merged }
    }

    /// Numbers the series that a frame is the first to name. False when its segment is one too many for this turn.
    fn learn(
        &mut self,
        data: &Data,
        series: &SeriesSet,
        segments: &Segments,
    ) -> Result<bool, WalError> {
        let view = self.views.entry(data.key()).or_default();
        let reader = match &view.reader {
            Some(reader) => reader,
            None if self.opened.len() >= segments.readers_max() => return Ok(false),
            None => {
                let reader = segments.reader(data.key())?;
                self.opened.push(data.key());
                view.reader.insert(reader)
            }
        };
        let definitions = reader.new_series(data.offset, data.len, &mut view.cursor)?;
        if !definitions.is_empty() {
            view.learn(&definitions, series);
        }
        Ok(true)
    }
}

impl View {
    /// Numbers series that the segment defines.
    fn learn(&mut self, definitions: &SeriesDefinitions, series: &SeriesSet) {
        definitions.each(|number, tags| {
            assert_eq!(number as usize, self.series.len(), "series are defined in order");
            self.series.push(series.intern(tags));
        });
    }

    /// A frame of the segment.
    fn frame(&self, data: &Data) -> Result<FrameView<'_>, WalError> {
        let reader = self.reader.as_ref().expect("opened when its series were learnt");
        reader.frame(data.offset, data.len)
    }

    /// Names series of the segment as the tail does.
    fn number(&self, series: &mut [u32]) {
        for number in series {
            *number = self.series[*number as usize];
        }
    }
}

/// Groups of one turn, each of which becomes runs of its own. Any worker takes the next.
#[derive(Debug)]
pub(super) struct Reading {
    by: PartitionBy,
    /// Read by all until the last group is read.
    views: RwLock<Views>,
    groups: Mutex<Groups>,
    /// A group has been read.
    read: Condvar,
}

#[derive(Debug)]
struct Groups {
    waiting: VecDeque<Frames>,
    /// By group, in order.
    outcomes: Vec<Option<Outcome>>,
}

/// What came of a group, or the panic that it ended in.
type Outcome = Result<Merged, Box<dyn Any + Send>>;

impl Reading {
    fn new(waiting: VecDeque<Frames>, views: Views, by: PartitionBy) -> Reading {
        let outcomes = waiting.iter().map(|_| None).collect();
        let groups = Mutex::new(Groups { waiting, outcomes });
        Reading { by, views: RwLock::new(views), groups, read: Condvar::new() }
    }

    /// How many groups nobody has taken.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.groups).waiting.len()
    }

    /// Reads the next group that nobody has taken; false when there is none.
    pub(super) fn read_next(&self) -> bool {
        let (n, frames) = {
            let mut groups = lock(&self.groups);
            let n = groups.outcomes.len() - groups.waiting.len();
            let Some(frames) = groups.waiting.pop_front() else { return false };
            (n, frames)
        };
        // A panic belongs to the table, whichever worker meets it.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.read_group(&frames)));
        lock(&self.groups).outcomes[n] = Some(outcome);
        self.read.notify_one();
        true
    }

    fn read_group(&self, frames: &[(SeqTxn, Data)]) -> Merged {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        read(frames, &views, self.by)
    }

    /// The runs of all groups up to the first that failed, once they are read, and the views back.
    fn finish(&self) -> (Merged, Views) {
        let is_open = |groups: &mut Groups| groups.outcomes.iter().any(Option::is_none);
        let groups = self.read.wait_while(lock(&self.groups), is_open);
        let mut groups = groups.unwrap_or_else(PoisonError::into_inner);
        let mut merged = Merged::default();
        for outcome in groups.outcomes.drain(..).flatten() {
            let group = outcome.unwrap_or_else(|panic| resume_unwind(panic));
            merged.runs.extend(group.runs);
            merged.txns += group.txns;
            if group.failure.is_some() {
                merged.failure = group.failure;
                break;
            }
        }
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        (merged, std::mem::take(&mut *views))
    }
}

/// One run a partition of all rows, or of those before the first frame that cannot be read.
fn read(frames: &[(SeqTxn, Data)], views: &Views, by: PartitionBy) -> Merged {
    let mut rows = Vec::new();
    // What comes behind `rows`.
    let mut small = wal::JoinedRows::default();
    for (n, (_, data)) in frames.iter().enumerate() {
        let decoded = match (data.rows as usize) < SMALL_ROWS {
            true => decode_small(data, views, &mut small),
            false => decode(data, views).map(|decoded| {
                end_small(&mut small, &mut rows);
                rows.push(decoded);
            }),
        };
        if let Err(error) = decoded {
            // What the damaged frame left behind may be mixed with good rows: those before it are taken once more.
            let before = read(&frames[..n], views, by);
            return Merged { failure: before.failure.or(Some(error)), ..before };
        }
    }
    end_small(&mut small, &mut rows);
    let (Some((first, _)), Some((last, _))) = (frames.first(), frames.last()) else {
        return Merged::default();
    };
    let runs = join(&mut rows).into_runs(by, *first, *last);
    Merged { runs, txns: frames.len(), failure: None }
}

/// Decodes a frame of few rows behind others.
fn decode_small(data: &Data, views: &Views, small: &mut wal::JoinedRows) -> Result<(), WalError> {
    let (first, view) = (small.len(), &views[&data.key()]);
    view.frame(data)?.rows_onto(view.cursor, small)?;
    view.number(small.series_from(first));
    Ok(())
}

fn decode(data: &Data, views: &Views) -> Result<wal::Rows, WalError> {
    let view = &views[&data.key()];
    let mut rows = view.frame(data)?.rows(view.cursor)?;
    view.number(&mut rows.series);
    Ok(rows)
}

fn end_small(small: &mut wal::JoinedRows, rows: &mut Vec<wal::Rows>) {
    if !small.is_empty() {
        rows.push(std::mem::take(small).finish());
    }
}

/// The rows of all frames one after the other; a column that a frame lacks is null there.
fn join(group: &mut Vec<wal::Rows>) -> storage::Rows {
    if let [rows] = group.as_mut_slice() {
        return storage::Rows {
            time: std::mem::take(&mut rows.time),
            series: std::mem::take(&mut rows.series),
            columns: rows.columns.drain(..).map(|(id, _, array)| (id, array)).collect(),
        };
    }
    let mut by_column: BTreeMap<ColumnId, (ColumnType, Vec<Option<ArrayRef>>)> = BTreeMap::new();
    for (n, rows) in group.iter_mut().enumerate() {
        for (id, ty, array) in rows.columns.drain(..) {
            let (_, pieces) = by_column.entry(id).or_insert_with(|| (ty, Vec::new()));
            pieces.resize(n, None);
            pieces.push(Some(array));
        }
    }
    let columns = by_column.into_iter().map(|(id, (ty, mut pieces))| {
        pieces.resize(group.len(), None);
        let whole: Vec<ArrayRef> = pieces
            .into_iter()
            .zip(group.iter())
            .map(|(piece, rows)| {
                piece.unwrap_or_else(|| new_null_array(&arrow_type(ty), rows.time.len()))
            })
            .collect();
        let whole: Vec<&dyn Array> = whole.iter().map(AsRef::as_ref).collect();
        (id, concat(&whole).expect("a column has one type in every frame, and small frames fit"))
    });
    storage::Rows {
        columns: columns.collect(),
        time: group.iter().flat_map(|rows| rows.time.iter().copied()).collect(),
        series: group.iter().flat_map(|rows| rows.series.iter().copied()).collect(),
    }
}
