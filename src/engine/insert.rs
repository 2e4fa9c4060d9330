//! Rows that come as SQL: one statement is one frame and one transaction.

use super::open::Shared;
use super::statements::gone;
use crate::query::{CommandError, Value};
use crate::schema::{Claim, Table};
use crate::sequencer::{Change, Progress, Receipt};
use crate::types::{ColumnId, ColumnType, parse_time};
use crate::wal::{Batch, ColumnBuffer};
use std::sync::Arc;

/// A column that values are given for.
struct Target {
    name: Arc<str>,
    ty: ColumnType,
    place: Place,
}

/// Where a column's values go.
enum Place {
    Time,
    Tag(ColumnId),
    /// The index of the batch's column.
    Field(usize),
}

impl Shared {
    /// Commits rows in one transaction, in place of those of `range` when that is given.
    pub(super) async fn insert(
        &self,
        table: &Arc<Table>,
        columns: Option<&[String]>,
        rows: &[Vec<Value>],
        range: Option<(i64, i64)>,
    ) -> Result<(), CommandError> {
        let progress = Progress::new();
        let change = range.map(|(from, to)| Change::Replace { table: table.id(), from, to });
        if rows.is_empty() {
            let receipt = Receipt::without_frames(progress.clone(), 1);
            self.sequencer.push(Receipt { change, ..receipt });
        } else {
            let mut batch = Batch::new(table.id());
            let targets = targets(table, columns, &mut batch)?;
            let mut writer = self.writers.borrow().await;
            let now = self.clock.wall_nanos();
            let mut tags: Vec<(ColumnId, String)> = Vec::new();
            for values in rows {
                let time = self.fill(table, &targets, values, now, &mut batch, &mut tags)?;
                if let Some((from, to)) = range
                    && !(from..to).contains(&time)
                {
                    return Err(refused(format!("a row at {time} ns is not of the range")));
                }
                let named: Vec<(ColumnId, &str)> =
                    tags.iter().map(|(id, value)| (*id, value.as_str())).collect();
                let series = writer.series(table.id(), &named);
                batch.finish_row(time, series);
            }
            let appended = writer.append([&batch]);
            let appended = appended.map_err(|error| CommandError::Failed(error.to_string()))?;
            let appended = appended.expect("there are rows");
            let receipt = self.receipt(appended, progress.clone(), 1);
            self.sequencer.push(Receipt { definitions: table.unlogged(), change, ..receipt });
            if writer.should_roll() {
                writer.roll();
            }
        }
        progress.reached(1).await;
        self.visible(table).await
    }

    /// Puts one row's values into the batch and its tags into `tags`. Returns its time.
    fn fill(
        &self,
        table: &Table,
        targets: &[Target],
        values: &[Value],
        now: i64,
        batch: &mut Batch,
        tags: &mut Vec<(ColumnId, String)>,
    ) -> Result<i64, CommandError> {
        if values.len() != targets.len() {
            let why = format!("a row has {} values for {} columns", values.len(), targets.len());
            return Err(refused(why));
        }
        let row = batch.rows();
        let mut time = now;
        tags.clear();
        for (target, value) in targets.iter().zip(values) {
            match (&target.place, value) {
                (Place::Time, Value::Null) => {
                    let why = format!("the designated timestamp '{}' is null", target.name);
                    return Err(refused(why));
                }
                (Place::Time, value) => time = time_of(value, now).map_err(refused)?,
                (_, Value::Null) => {}
                (Place::Tag(id), value) => tags.push((*id, self.text(target, value, now)?)),
                (Place::Field(at), value) => {
                    let column = &mut batch.columns[*at];
                    match target.ty {
                        ColumnType::String => column.push_str(row, &self.text(target, value, now)?),
                        _ => push(column, row, target, value, now)?,
                    }
                }
            }
        }
        self.policies.check_time(time).map_err(refused)?;
        match self.registry.claim(table, &Claim { columns: &[], time, may_add_columns: true }) {
            Ok(()) => Ok(time),
            Err(_) if table.is_dropped() => Err(gone(table)),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// A value as text, within the limit that holds for lines.
    fn text(&self, target: &Target, value: &Value, now: i64) -> Result<String, CommandError> {
        let text = match value {
            Value::Text(text) | Value::Number(text) => text.clone(),
            Value::Boolean(value) => value.to_string(),
            Value::Now => now.to_string(),
            Value::Null => String::new(),
        };
        if text.len() > self.config.limits.string_bytes {
            return Err(refused(format!("a value of '{}' is longer than the limit", target.name)));
        }
        Ok(text)
    }
}

/// The columns that values are given for, fields as columns of the batch.
fn targets(
    table: &Table,
    names: Option<&[String]>,
    batch: &mut Batch,
) -> Result<Vec<Target>, CommandError> {
    let (def, schema) = (table.def(), table.schema());
    let names: Vec<Arc<str>> = match names {
        Some(names) => names.iter().map(|name| name.as_str().into()).collect(),
        None => {
            let columns = schema.columns().iter().map(|column| column.def.name.clone());
            let mut names: Vec<Arc<str>> = columns.collect();
            names.insert(def.time_index(names.len()), def.time_column.clone());
            names
        }
    };
    let mut targets: Vec<Target> = Vec::new();
    for name in names {
        let (name, ty, place) = if name.to_lowercase() == def.time_column.to_lowercase() {
            (def.time_column.clone(), ColumnType::Timestamp, Place::Time)
        } else {
            let column = schema.get(&name).or_else(|| schema.get_folded(&name));
            let column =
                column.ok_or_else(|| refused(format!("column '{name}' does not exist")))?;
            let place = match column.ty() {
                ColumnType::Tag => Place::Tag(column.id()),
                ty => Place::Field(batch.add_column(column.id(), ty)),
            };
            (column.def.name.clone(), column.ty(), place)
        };
        if targets.iter().any(|target| target.name == name) {
            return Err(refused(format!("column '{name}' is named twice")));
        }
        targets.push(Target { name, ty, place });
    }
    Ok(targets)
}

fn push(
    column: &mut ColumnBuffer,
    row: usize,
    target: &Target,
    value: &Value,
    now: i64,
) -> Result<(), CommandError> {
    let text = match value {
        Value::Text(text) | Value::Number(text) => text.trim(),
        _ => "",
    };
    let wrong = || {
        let spelled = match value {
            Value::Text(text) | Value::Number(text) => format!("'{text}'"),
            Value::Boolean(value) => value.to_string(),
            Value::Now | Value::Null => "now()".to_owned(),
        };
        refused(format!("{spelled} is no {} for column '{}'", target.ty.name(), target.name))
    };
    match target.ty {
        ColumnType::Float => {
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
            column.push_f64(row, value.ok_or_else(wrong)?);
        }
        ColumnType::Integer => column.push_i64(row, text.parse().map_err(|_| wrong())?),
        ColumnType::Unsigned => column.push_u64(row, text.parse().map_err(|_| wrong())?),
        ColumnType::Boolean => {
            let value = match value {
                Value::Boolean(value) => *value,
                _ => text.to_lowercase().parse().map_err(|_| wrong())?,
            };
            column.push_bool(row, value);
        }
        ColumnType::Timestamp => {
            column.push_i64(row, time_of(value, now).map_err(|_| wrong())?);
        }
        ColumnType::Array => return Err(wrong()),
        ColumnType::Tag | ColumnType::String => unreachable!("text is pushed by the caller"),
    }
    Ok(())
}

fn time_of(value: &Value, now: i64) -> Result<i64, String> {
    match value {
        Value::Now => Ok(now),
        Value::Text(text) => parse_time(text),
        Value::Number(text) => {
            text.parse().map_err(|_| format!("'{text}' is no time in nanoseconds"))
        }
        Value::Null | Value::Boolean(_) => Err("the value is no time".to_owned()),
    }
}

fn refused(why: String) -> CommandError {
    CommandError::Refused(why)
}
