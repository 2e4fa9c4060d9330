//! A table's definition after all its changes, with what must be remembered of the changes themselves.

use super::{Alteration, ColumnDef, Dedup, TableDef};
use crate::types::wire::{Put, Take};
use crate::types::{ColumnId, ColumnType, SeqTxn};
use std::sync::Arc;

/// A table at one transaction: its definition, its columns, and its history as far as rows of before depend on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Name, options, and what never changes.
    pub def: TableDef,
    /// The columns that there are, in order of their ids, without the designated timestamp.
    pub columns: Vec<ColumnDef>,
    /// Columns that gave way to one of another type, oldest first.
    pub became: Vec<Became>,
    /// Which rule for duplicates came into force with which transaction, oldest first; never empty.
    pub rules: Vec<(SeqTxn, Dedup)>,
    /// Every id below this one was given to a column, which may be gone.
    pub next_column: ColumnId,
    /// The name that it was created with: its folder keeps it.
    pub first_name: Arc<str>,
}

/// A column that is gone, and the one that took over its values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Became {
    /// The column that is gone.
    pub column: ColumnId,
    /// What it held.
    pub ty: ColumnType,
    /// The column that has its values now, unless it is gone too.
    pub into: ColumnId,
}

impl Shape {
    /// A table as it is created, with these columns, in any order.
    pub fn new(def: TableDef, mut columns: Vec<ColumnDef>) -> Shape {
        columns.sort_by_key(|column| column.id);
        let rules = vec![(SeqTxn::NONE.next(), def.options.dedup.clone())];
        let next_column = ColumnId(columns.last().map_or(ColumnId::TIME, |last| last.id).0 + 1);
        let first_name = def.name.clone();
        Shape { def, columns, became: Vec::new(), rules, next_column, first_name }
    }

    /// Adds columns.
    pub fn add(&mut self, columns: &[ColumnDef]) {
        self.columns.extend_from_slice(columns);
        self.columns.sort_by_key(|column| column.id);
        let last = columns.iter().map(|column| column.id.0 + 1).max().unwrap_or(0);
        self.next_column = self.next_column.max(ColumnId(last));
    }

    /// Makes a change, which is the table's transaction `txn`.
    pub fn alter(&mut self, change: &Alteration, txn: SeqTxn) {
        match change {
            Alteration::Rename(name) => self.def.name = name.clone(),
            Alteration::DropColumn(gone) => self.columns.retain(|column| column.id != *gone),
            Alteration::RenameColumn { column, name } => {
                let renamed = self.columns.iter_mut().find(|c| c.id == *column);
                if let Some(renamed) = renamed {
                    renamed.name = name.clone();
                }
            }
            Alteration::RetypeColumn { column, to } => {
                let old = self.columns.iter().find(|c| c.id == *column).map(|c| c.ty);
                self.columns.retain(|c| c.id != *column);
                if let Some(ty) = old {
                    self.became.push(Became { column: *column, ty, into: to.id });
                }
                self.add(std::slice::from_ref(to));
            }
            Alteration::Options(options) => {
                if self.def.options.dedup != options.dedup {
                    self.rules.push((txn, options.dedup.clone()));
                }
                self.def.options = options.clone();
            }
        }
    }

    /// The rule for duplicates that a transaction falls under: which of the rules, and what it says.
    pub fn rule(&self, txn: SeqTxn) -> (usize, &Dedup) {
        let at = self.rules.partition_point(|(since, _)| *since <= txn).saturating_sub(1);
        (at, &self.rules[at].1)
    }

    /// The columns whose values a column took over, directly or by way of others, the last one first; each with the types that its
    /// values take on the way, its own first.
    pub fn sources(&self, column: &ColumnDef) -> Vec<(ColumnId, Vec<ColumnType>)> {
        let mut found: Vec<(ColumnId, Vec<ColumnType>)> = Vec::new();
        for became in self.became.iter().rev() {
            let rest = match became.into == column.id {
                true => vec![column.ty],
                false => match found.iter().find(|(id, _)| *id == became.into) {
                    Some((_, types)) => types.clone(),
                    None => continue,
                },
            };
            found.push((became.column, std::iter::once(became.ty).chain(rest).collect()));
        }
        found
    }

    /// The column that has the values of `column` now; `None` when they are gone.
    pub fn heir(&self, column: ColumnId) -> Option<&ColumnDef> {
        let mut id = column;
        for became in &self.became {
            if became.column == id {
                id = became.into;
            }
        }
        let at = self.columns.binary_search_by_key(&id, |c| c.id).ok()?;
        self.columns.get(at)
    }

    /// Appends the shape: definition, columns, what became of others, rules, the next id, the first name.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.def.encode(out);
        put_count(out, self.columns.len());
        self.columns.iter().for_each(|column| column.encode(out));
        put_count(out, self.became.len());
        for became in &self.became {
            out.put_u32(became.column.0);
            out.put_u8(became.ty as u8);
            out.put_u32(became.into.0);
        }
        put_count(out, self.rules.len());
        for (since, dedup) in &self.rules {
            out.put_u64(since.0);
            dedup.encode(out);
        }
        out.put_u32(self.next_column.0);
        out.put_bytes(self.first_name.as_bytes());
    }

    /// Takes what [`Shape::encode`] wrote; `None` when it is damaged.
    pub fn decode(from: &mut Take<'_>) -> Option<Shape> {
        let def = TableDef::decode(from)?;
        let columns = take_all(from, ColumnDef::decode)?;
        let became = take_all(from, |from| {
            Some(Became {
                column: ColumnId(from.u32()?),
                ty: ColumnType::from_byte(from.u8()?)?,
                into: ColumnId(from.u32()?),
            })
        })?;
        let rules = take_all(from, |from| Some((SeqTxn(from.u64()?), Dedup::decode(from)?)))?;
        let is_sound = !rules.is_empty() && columns.windows(2).all(|c| c[0].id < c[1].id);
        let (next_column, first_name) = (ColumnId(from.u32()?), from.str()?.into());
        is_sound.then_some(Shape { def, columns, became, rules, next_column, first_name })
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).expect("columns are limited"));
}

fn take_all<T>(from: &mut Take<'_>, take: impl Fn(&mut Take<'_>) -> Option<T>) -> Option<Vec<T>> {
    (0..from.u32()?).map(|_| take(from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Keys, TableOptions};
    use crate::types::{PartitionBy, TableId};

    fn shape() -> Shape {
        let def = TableDef {
            id: TableId(1),
            database: "public".into(),
            name: "t".into(),
            partition_by: PartitionBy::Day,
            time_column: "time".into(),
            time_place: u32::MAX,
            created: 0,
            options: TableOptions::default(),
        };
        let column = |id, name: &str, ty| ColumnDef { id: ColumnId(id), name: name.into(), ty };
        Shape::new(def, vec![column(1, "a", ColumnType::Integer), column(2, "b", ColumnType::Tag)])
    }

    fn retype(column: u32, id: u32, ty: ColumnType) -> Alteration {
        let to = ColumnDef { id: ColumnId(id), name: "a".into(), ty };
        Alteration::RetypeColumn { column: ColumnId(column), to }
    }

    #[test]
    fn values_go_to_the_last_heir_and_die_with_it() {
        let mut shape = shape();
        shape.alter(&retype(1, 3, ColumnType::Float), SeqTxn(2));
        shape.alter(&retype(3, 4, ColumnType::String), SeqTxn(3));
        assert_eq!(shape.heir(ColumnId(1)).map(|c| c.id), Some(ColumnId(4)));
        let (integer, float, text) = (ColumnType::Integer, ColumnType::Float, ColumnType::String);
        let expect = [(ColumnId(3), vec![float, text]), (ColumnId(1), vec![integer, float, text])];
        assert_eq!(shape.sources(&shape.columns[1]), expect);
        shape.alter(&Alteration::DropColumn(ColumnId(4)), SeqTxn(4));
        assert_eq!(shape.heir(ColumnId(1)), None);
        assert_eq!((shape.next_column, shape.columns.len()), (ColumnId(5), 1));
    }

    #[test]
    fn a_transaction_falls_under_the_rule_that_was_in_force() {
        let mut shape = shape();
        let options = |dedup| Alteration::Options(TableOptions { dedup, ..Default::default() });
        let replace = Dedup::Replace(Keys::Columns(vec![ColumnId(2)]));
        shape.alter(&options(replace.clone()), SeqTxn(5));
        shape.alter(&options(Dedup::Append), SeqTxn(9));
        assert_eq!(shape.rule(SeqTxn(4)), (0, &Dedup::Append));
        assert_eq!(shape.rule(SeqTxn(5)), (1, &replace));
        assert_eq!(shape.rule(SeqTxn(9)), (2, &Dedup::Append));
        let mut bytes = Vec::new();
        shape.encode(&mut bytes);
        assert_eq!(Shape::decode(&mut Take(&bytes)), Some(shape));
    }
}
