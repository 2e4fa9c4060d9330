//! Lines become rows: the inner loop of the server.
//!
//! A line whose names are known takes [`RowBuilder::fast`]: one lookup for measurement and tags together, one
//! comparison for each field that comes in the order of the line before, values pushed straight into columns. Only the tags of
//! a set that is new are split as the parser splits them.
//! Everything else takes [`RowBuilder::general`], which decides, claims, explains, and teaches the fast path.
//!
//! A value whose type is not the column's is converted where nothing is lost ([`Stored`]); else the line is refused.
//!
//! A row that fails half-way is taken back, so that a batch holds whole rows only.

use super::series_cache::{Series, SeriesCache};
use super::stored::{Sent, Stored};
use super::tables::TablePolicies;
use crate::codec::encode::field_key;
use crate::codec::{Cursor, Item, Line, LineError, Next, Parser, Reason};
use crate::query::SYSTEM_DATABASE;
use crate::schema::{Claim, ClaimError, Registry, Schema, Table};
use crate::types::{ColumnId, ColumnType};
use crate::wal::{Batch, WalWriter};
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// Builds the rows of one connection into batches, one a table.
#[derive(Debug)]
pub struct RowBuilder {
    parser: Parser,
    rows: Rows,
}

/// What a line came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A row in a batch.
    Row,
    /// Nothing: blank, or a comment.
    Nothing,
    /// `# ack TOKEN`: the token.
    Ack(String),
}

/// Everything but the parser, whose lines are borrowed from it.
#[derive(Debug)]
struct Rows {
    registry: Arc<Registry>,
    policies: Arc<TablePolicies>,
    database: Arc<str>,
    tables: Vec<TableRows>,
    by_name: HashMap<Box<str>, u32, RandomState>,
    series: SeriesCache,
    /// Time of the last line without a timestamp, so that they increase within a connection.
    last_stamp: i64,
    pending: usize,
}

/// One table as this connection sees it.
#[derive(Debug)]
struct TableRows {
    table: Arc<Table>,
    batch: Batch,
    /// By name: every column that this connection has used.
    known: HashMap<Box<[u8]>, Known, RandomState>,
    /// The fields among them; the index is the column's index in the batch.
    slots: Vec<Slot>,
    /// Slots in the order of the last line: what the fast path expects next.
    order: Vec<u32>,
    /// The partition last claimed, as a half-open range: most rows fall into it.
    partition: (i64, i64),
    /// Whether everything this connection uses of the table is in the log.
    logged: bool,
    /// The table's version when this connection began to remember it.
    version: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    id: ColumnId,
    ty: ColumnType,
    slot: Option<u32>,
}

#[derive(Debug)]
struct Slot {
    /// The key as the fast path compares it: the schema's own copy of the name, unless it is spelled otherwise. A copy for each connection
    /// would be cold.
    key: Arc<[u8]>,
    ty: ColumnType,
}

impl RowBuilder {
    /// A builder for one connection to `database`.
    pub fn new(
        parser: Parser,
        registry: Arc<Registry>,
        policies: Arc<TablePolicies>,
        database: Arc<str>,
    ) -> RowBuilder {
        let rows = Rows {
            registry,
            policies,
            database,
            tables: Vec::new(),
            by_name: HashMap::default(),
            series: SeriesCache::new(),
            last_stamp: i64::MIN,
            pending: 0,
        };
        RowBuilder { parser, rows }
    }

    /// Takes a line, up to the first newline, if it is plainly one of a known kind. `false` leaves everything as it was; the
    /// line then belongs to [`RowBuilder::general`]. `now` stamps a line without a timestamp; a new tag set gets its number
    /// from `writer`.
    #[inline]
    pub fn fast(&mut self, writer: &mut WalWriter, line: &[u8], now: i64) -> bool {
        let mut cursor = self.parser.cursor(line);
        let Some(key) = cursor.series() else { return false };
        match self.rows.series.get(key) {
            Some(known) => {
                self.rows.fast(known.table, &mut cursor, now, |_| Some(known.number)).is_some()
            }
            None => self.fast_series(writer, key, &mut cursor, now).is_some(),
        }
    }

    /// The fast way of a line whose tag set is new, but all of its names are known.
    fn fast_series(
        &mut self,
        writer: &mut WalWriter,
        key: &[u8],
        cursor: &mut Cursor<'_>,
        now: i64,
    ) -> Option<()> {
        let line = self.parser.series(key)?;
        let index = *self.rows.by_name.get(line.measurement)?;
        // On the stack, but for lines of very many tags.
        let mut tags = SmallVec::<[(ColumnId, &str); 16]>::new();
        let number = self.rows.fast(index, cursor, now, |table| {
            for &(key, value) in line.tags {
                let known = table.known.get(key.as_bytes()).filter(|known| known.slot.is_none())?;
                tags.push((known.id, value));
            }
            Some(writer.series(table.table.id(), &tags))
        });
        self.rows.series.insert(key, Series { table: index, number: number? });
        Some(())
    }

    /// Takes a whole line, given without its newline, whatever it is.
    ///
    /// # Errors
    /// Why the line is refused; its neighbours are not touched.
    pub fn general(
        &mut self,
        writer: &mut WalWriter,
        text: &[u8],
        now: i64,
    ) -> Result<Outcome, LineError> {
        match self.parser.parse(text)? {
            Item::Row(line) => self.rows.take(writer, text, &line, now).map(|()| Outcome::Row),
            Item::Comment(comment) => Ok(ack_token(comment).map_or(Outcome::Nothing, Outcome::Ack)),
            Item::Blank => Ok(Outcome::Nothing),
        }
    }

    /// Rows that no commit has taken yet.
    pub fn pending(&self) -> usize {
        self.rows.pending
    }

    /// The batches of all tables; empty ones have no rows.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.rows.tables.iter().map(|t| &t.batch)
    }

    /// The tables whose definition, or a column's, was not in the log when it was last looked at, of those with rows.
    pub fn unlogged(&mut self) -> impl Iterator<Item = &Table> {
        self.rows.tables.iter_mut().filter_map(|t| {
            if t.batch.rows() == 0 || t.logged {
                return None;
            }
            t.logged = t.is_logged();
            (!t.logged).then_some(&*t.table)
        })
    }

    /// Empties the batches after a commit took them.
    pub fn clear(&mut self) {
        for table in &mut self.rows.tables {
            if table.batch.rows() > 0 {
                table.batch.clear();
            }
        }
        self.rows.pending = 0;
    }

    /// Forgets series numbers: the next segment begins at 0. Batches must be empty.
    pub fn forget_series(&mut self) {
        assert_eq!(self.rows.pending, 0, "series numbers change between commits only");
        self.rows.series.clear();
    }

    /// Forgets all tables, and with them the memory of their rows. Batches must be empty.
    pub fn forget_tables(&mut self) {
        assert_eq!(self.rows.pending, 0, "rows are forgotten after their commit only");
        self.rows.series = SeriesCache::new();
        self.rows.tables = Vec::new();
        self.rows.by_name = HashMap::default();
    }

    /// Forgets tables that were dropped, and what holds no more of those that were renamed or whose columns were changed.
    /// Batches must be empty.
    pub fn forget_changed(&mut self) {
        self.forget_series();
        self.rows.tables.retain(|t| !t.table.is_dropped() && t.table.version() == t.version);
        self.rows.by_name.clear();
        for (index, table) in self.rows.tables.iter().enumerate() {
            self.rows.by_name.insert((&*table.table.def().name).into(), index as u32);
        }
    }
}

impl Rows {
    /// Adds a row of a table from the fields at the cursor, and returns the number of its series, which is asked for once the
    /// rest is known to be right. `None` leaves everything as it was.
    #[inline]
    fn fast(
        &mut self,
        table: u32,
        cursor: &mut Cursor<'_>,
        now: i64,
        series: impl FnOnce(&TableRows) -> Option<u32>,
    ) -> Option<u32> {
        let table = self.tables.get_mut(table as usize)?;
        let row = table.batch.rows();
        let number = table.fast_fields(cursor).and_then(|time| {
            let time = match time {
                Some(time) => time,
                None => stamp(&mut self.last_stamp, now),
            };
            let number = if table.covers(time) { series(table) } else { None };
            number.inspect(|&number| table.batch.finish_row(time, number))
        });
        match number {
            Some(_) => self.pending += 1,
            None => table.batch.truncate(row),
        }
        number
    }

    fn take(
        &mut self,
        writer: &mut WalWriter,
        text: &[u8],
        line: &Line<'_>,
        now: i64,
    ) -> Result<(), LineError> {
        let time = match line.timestamp {
            Some(time) => time,
            None => stamp(&mut self.last_stamp, now),
        };
        self.policies
            .check_time(time)
            .map_err(|detail| LineError::new(Reason::TimestampRange, text.len(), detail))?;
        let index = self.claim(line, time, now).map_err(|fault| refused(line, &fault))?;
        let table = &mut self.tables[index as usize];
        let number = match self.series.get(line.series) {
            Some(series) if series.table == index => series.number,
            _ => {
                let tags: Vec<(ColumnId, &str)> = line
                    .tags
                    .iter()
                    .map(|&(key, value)| (table.known[key.as_bytes()].id, value))
                    .collect();
                let number = writer.series(table.table.id(), &tags);
                self.series.insert(line.series, Series { table: index, number });
                number
            }
        };
        table.push(line, time, number);
        self.pending += 1;
        Ok(())
    }

    /// Claims all that the line brings and returns the index of its table.
    fn claim(&mut self, line: &Line<'_>, time: i64, now: i64) -> Result<u32, Fault> {
        loop {
            let index = self.table(line, time, now)?;
            let table = &mut self.tables[index as usize];
            match table.learn(&self.registry, &self.policies, line, time) {
                // The table was dropped a moment ago: its name is free for a new one.
                Err(Fault::Claim(ClaimError::Dropped)) => self.by_name.remove(line.measurement),
                other => return other.map(|()| index),
            };
        }
    }

    /// The index of a line's table, which is claimed if it does not exist.
    fn table(&mut self, line: &Line<'_>, time: i64, now: i64) -> Result<u32, Fault> {
        let name = line.measurement;
        if let Some(&index) = self.by_name.get(name) {
            return Ok(index);
        }
        if self.policies.is_reserved(name) || *self.database == *SYSTEM_DATABASE {
            return Err(Fault::Reserved);
        }
        let table = match self.registry.get(&self.database, name) {
            Some(table) => table,
            None if !self.policies.may_create_tables() => return Err(Fault::NewTablesOff),
            None => {
                let policy = self.policies.of(name);
                let columns = natural_columns(line);
                let first = Claim { columns: &columns, time, may_add_columns: true };
                self.registry.table_or_claim(&self.database, name, &policy, &first, now)?
            }
        };
        let index = u32::try_from(self.tables.len()).expect("tables are limited");
        self.tables.push(TableRows::new(table));
        self.by_name.insert(name.into(), index);
        Ok(index)
    }
}

impl TableRows {
    fn new(table: Arc<Table>) -> TableRows {
        TableRows {
            batch: Batch::new(table.id()),
            // Before anything is read of it: what changes meanwhile is read anew.
            version: table.version(),
            table,
            known: HashMap::default(),
            slots: Vec::new(),
            order: Vec::new(),
            partition: (0, 0),
            logged: false,
        }
    }

    /// Reads fields and timestamp of a line of this table into the batch's next row. `None` at anything unusual; the row
    /// must then be taken back.
    #[inline]
    fn fast_fields(&mut self, cursor: &mut Cursor<'_>) -> Option<Option<i64>> {
        let row = self.batch.rows();
        let mut position = 0;
        loop {
            let expected = self.order.get(position).copied();
            let slot = match expected {
                Some(slot) if cursor.expect_key(&self.slots[slot as usize].key) => slot,
                _ => {
                    let slot = self.known.get(cursor.key()?)?.slot?;
                    match self.order.get_mut(position) {
                        Some(expected) => *expected = slot,
                        None => self.order.push(slot),
                    }
                    slot
                }
            };
            position += 1;
            let column = &mut self.batch.columns[slot as usize];
            if column.rows() > row {
                return None; // The same field again.
            }
            match self.slots[slot as usize].ty {
                ColumnType::Integer => {
                    let value = cursor.integer();
                    let value = value.or_else(|| i64::try_from(cursor.unsigned()?).ok());
                    column.push_i64(row, value?);
                }
                ColumnType::Float => column.push_f64(row, cursor.float_or_integer()?),
                ColumnType::Unsigned => {
                    let value = cursor.unsigned();
                    let value = value.or_else(|| u64::try_from(cursor.integer()?).ok());
                    column.push_u64(row, value?);
                }
                ColumnType::Boolean => column.push_bool(row, cursor.boolean()?),
                ColumnType::String => column.push_str(row, cursor.string()?),
                ColumnType::Timestamp => column.push_i64(row, cursor.instant()?),
                ColumnType::Tag | ColumnType::Array => return None,
            }
            match cursor.next() {
                Next::Field => {}
                Next::Timestamp => return cursor.timestamp().map(Some),
                Next::End => return Some(None),
                Next::Odd => return None,
            }
        }
    }

    #[inline]
    fn covers(&self, time: i64) -> bool {
        self.partition.0 <= time && time < self.partition.1
    }

    /// Makes sure that every name of the line is claimed with its type, and its partition too.
    fn learn(
        &mut self,
        registry: &Registry,
        policies: &TablePolicies,
        line: &Line<'_>,
        time: i64,
    ) -> Result<(), Fault> {
        let holds = |name: &str, sent: Sent<'_>| {
            self.known.get(name.as_bytes()).is_some_and(|known| sent.fits(known.ty))
        };
        let all_known = self.covers(time) && sent(line).all(|(name, sent)| holds(name, sent));
        if all_known {
            return Ok(());
        }
        let columns = self.claim(registry, policies, line, time)?;
        let by = self.table.def().partition_by;
        let (start, end) = by.range(by.key(time));
        // The last nanosecond of all time lies in no half-open range: such a row takes the general path.
        let (first, last) = policies.window();
        self.partition = (start.max(first), end.min(last.saturating_add(1)));
        let schema = self.table.schema();
        for (name, ty) in columns {
            if !self.known.contains_key(name.as_bytes()) {
                self.remember(&schema, name, ty);
            }
        }
        Ok(())
    }

    /// Claims the columns of the line, each with the type that it has already where the value can become that, and returns
    /// them.
    fn claim<'l>(
        &self,
        registry: &Registry,
        policies: &TablePolicies,
        line: &Line<'l>,
        time: i64,
    ) -> Result<Vec<(&'l str, ColumnType)>, Fault> {
        let may_add_columns = policies.may_add_columns();
        let mut columns = natural_columns(line);
        loop {
            let schema = self.table.schema();
            for ((name, sent), column) in sent(line).zip(&mut columns) {
                match schema.get(name).map(|held| held.ty()) {
                    Some(held) if sent.fits(held) => column.1 = held,
                    Some(held) if held != column.1 => return Err(self.conflict(name, held, sent)),
                    _ => {}
                }
            }
            match registry.claim(&self.table, &Claim { columns: &columns, time, may_add_columns }) {
                Ok(()) => return Ok(columns),
                // Another connection claimed a column since we looked: its type may do.
                Err(ClaimError::TypeConflict { .. })
                    if !Arc::ptr_eq(&schema, &self.table.schema()) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn conflict(&self, column: &str, held: ColumnType, sent: Sent<'_>) -> Fault {
        let conflict = ClaimError::TypeConflict {
            table: self.table.def().name.to_string(),
            column: column.to_owned(),
            held,
            sent: sent.ty(),
        };
        if sent.may_fit(held) { Fault::Inexact(conflict) } else { Fault::Claim(conflict) }
    }

    fn remember(&mut self, schema: &Schema, name: &str, ty: ColumnType) {
        let column = schema.get(name).expect("the claim put it there");
        self.logged &= column.is_logged();
        let slot = (ty != ColumnType::Tag).then(|| {
            let slot = self.batch.add_column(column.id(), ty);
            assert_eq!(slot, self.slots.len(), "slots are the batch's columns");
            // A name that a key cannot spell came some other way: a newline is in no candidate line.
            let spelled = field_key(name).unwrap_or_else(|_| b"\n".to_vec());
            let key = match spelled == name.as_bytes() {
                true => column.def.name.clone().into(),
                false => spelled.into(),
            };
            self.slots.push(Slot { key, ty });
            u32::try_from(slot).expect("columns are limited")
        });
        self.known.insert(name.as_bytes().into(), Known { id: column.id(), ty, slot });
    }

    /// Pushes a line of which every name is known with its type.
    fn push(&mut self, line: &Line<'_>, time: i64, series: u32) {
        let row = self.batch.rows();
        self.order.clear();
        for (key, value) in line.fields {
            let slot = self.known[key.as_bytes()].slot.expect("fields have slots");
            self.order.push(slot);
            let column = &mut self.batch.columns[slot as usize];
            match Stored::of(*value, column.ty()).expect("learn() has looked") {
                Stored::Float(v) => column.push_f64(row, v),
                Stored::Signed(v) => column.push_i64(row, v),
                Stored::Unsigned(v) => column.push_u64(row, v),
                Stored::Boolean(v) => column.push_bool(row, v),
                Stored::String(v) => column.push_str(row, v),
                Stored::Array(v) => column.push_array(row, v.as_bytes()),
            }
        }
        self.batch.finish_row(time, series);
    }

    fn is_logged(&self) -> bool {
        self.table.is_logged() && self.table.schema().columns().iter().all(|c| c.is_logged())
    }
}

/// Why a line cannot be in this table.
#[derive(Debug)]
enum Fault {
    Claim(ClaimError),
    /// A conflict of types that would do for other values.
    Inexact(ClaimError),
    Reserved,
    NewTablesOff,
}

impl From<ClaimError> for Fault {
    fn from(error: ClaimError) -> Fault {
        Fault::Claim(error)
    }
}

/// A fault in the words of a refused line, with the byte of the name that is at fault.
fn refused(line: &Line<'_>, fault: &Fault) -> LineError {
    let (error, why) = match fault {
        Fault::Reserved => {
            let detail = "the server writes this table itself; send your rows under another name";
            return LineError::new(Reason::ReservedTable, 0, detail);
        }
        Fault::NewTablesOff => {
            let detail = format!(
                "table {:?} does not exist, and tables.new_tables is off",
                line.measurement
            );
            return LineError::new(Reason::NewTablesOff, 0, detail);
        }
        Fault::Claim(error) => (error, ""),
        Fault::Inexact(error) => (error, ", and this value cannot be held exactly"),
    };
    let (reason, name) = match error {
        ClaimError::TableName(_) | ClaimError::Dropped => (Reason::TableName, ""),
        ClaimError::ColumnName { name, .. } => (Reason::ColumnName, name.as_str()),
        ClaimError::TypeConflict { column, .. } => (Reason::TypeConflict, column.as_str()),
        ClaimError::NewColumnsOff { column, .. } => (Reason::NewColumnsOff, column.as_str()),
        ClaimError::TableLimit(_) | ClaimError::ServerTableLimit(_) => (Reason::TableLimit, ""),
        ClaimError::ColumnLimit(_) => (Reason::ColumnLimit, ""),
        ClaimError::PartitionLimit(_) => (Reason::PartitionLimit, ""),
    };
    LineError::new(reason, line.key_offset(name), format!("{error}{why}"))
}

/// The columns of a line, tags first, each with the type that it would have in a new table.
fn natural_columns<'l>(line: &Line<'l>) -> Vec<(&'l str, ColumnType)> {
    sent(line).map(|(name, sent)| (name, sent.ty())).collect()
}

/// The keys of a line, tags first, and what it has under them.
fn sent<'l>(line: &Line<'l>) -> impl Iterator<Item = (&'l str, Sent<'l>)> {
    let tags = line.tags.iter().map(|(key, _)| (*key, Sent::Tag));
    tags.chain(line.fields.iter().map(|(key, value)| (*key, Sent::Field(*value))))
}

/// The clock's time, or one nanosecond after the last stamp if that is later.
fn stamp(last: &mut i64, now: i64) -> i64 {
    *last = now.max(last.saturating_add(1));
    *last
}

/// The token of a comment ` ack TOKEN`.
fn ack_token(comment: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(comment).ok()?;
    let mut words = text.split_ascii_whitespace();
    let (Some("ack"), Some(token), None) = (words.next(), words.next(), words.next()) else {
        return None;
    };
    let is_token_byte = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
    (token.len() <= 64 && token.bytes().all(is_token_byte)).then(|| token.to_owned())
}
