//! A seeded list of what happens to tables, each step possible where it stands.

use crate::oracle_model::{Change, Line, Model, Name, Rule, Value};
use headwater::types::{ColumnType, PartitionBy};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

pub(crate) const CONNECTIONS: usize = 3;
pub(crate) const HOUR: i64 = 3_600_000_000_000;
pub(crate) const TABLES: [Name; 2] = ["t", "u"];
const STEPS: usize = 40;
const FIELDS: [Name; 4] = ["a", "b", "c", "d"];
const TAGS: [Name; 2] = ["host", "zone"];
const TYPES: [ColumnType; 7] = [
    ColumnType::Integer,
    ColumnType::Unsigned,
    ColumnType::Float,
    ColumnType::Boolean,
    ColumnType::String,
    ColumnType::Timestamp,
    ColumnType::Array,
];

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A connection sends and waits.
    Lines(Name, Vec<Line>),
    Say(Name, Statement),
    /// A statement that must be refused.
    Refused(Name, Statement),
    /// All at once.
    Together(Box<Together>),
    Flush,
    Kill,
}

/// What happens to one table at once: each connection has read its first lines when the rest begins.
#[derive(Clone, Debug)]
pub(crate) struct Together {
    pub(crate) table: Name,
    /// By connection: commits, of which the first may be all there is.
    pub(crate) commits: Vec<Vec<Vec<Line>>>,
    pub(crate) statements: Vec<Statement>,
    /// Nobody waits, and the process goes.
    pub(crate) is_killed: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Statement {
    Insert(Vec<Line>),
    Replace(i64, i64, Vec<Line>),
    Truncate,
    RenameTable(Name),
    AddColumn(Name, ColumnType),
    DropColumn(Name),
    RenameColumn(Name, Name),
    Retype(Name, ColumnType),
    Dedup(Rule),
    /// Hours; 0 for ever.
    Ttl(u64),
    Drop,
    Create(Definition),
    Suspend,
    Resume,
    /// Resumes behind so many hundredths of what waits.
    Skip(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) columns: Vec<(Name, ColumnType)>,
    pub(crate) rule: Rule,
    pub(crate) time_column: Name,
    pub(crate) partition_by: PartitionBy,
}

/// A table as far as what may come next depends on it.
#[derive(Clone, Debug)]
struct Table {
    model: Model,
    is_suspended: bool,
}

/// What kind of lines.
#[derive(Clone, Copy)]
struct Wanted {
    range: (i64, i64),
    /// Columns may come into being.
    may_add: bool,
    /// As line protocol, where a line has a field; else as values of a statement, which has no words for arrays.
    is_line: bool,
}

const LINES: Wanted = Wanted { range: (0, 3 * HOUR), may_add: true, is_line: true };
const VALUES: Wanted = Wanted { range: (0, 3 * HOUR), may_add: false, is_line: false };

struct Writer {
    random: StdRng,
    tables: BTreeMap<Name, Table>,
}

/// The steps of a seed.
pub(crate) fn steps(seed: u64) -> Vec<Step> {
    let mut writer = Writer { random: StdRng::seed_from_u64(seed), tables: BTreeMap::new() };
    let mut all = Vec::new();
    while all.len() < STEPS {
        all.extend(writer.step());
    }
    all
}

impl Writer {
    fn below(&mut self, n: usize) -> usize {
        self.random.random_range(0..n)
    }

    fn step(&mut self) -> Option<Step> {
        let name = TABLES[usize::from(self.below(5) == 0)];
        if !self.tables.contains_key(name) {
            return match self.below(2) {
                0 => Some(Step::Say(name, self.create(name))),
                _ => self.lines(name),
            };
        }
        Some(match self.below(100) {
            0..38 => return self.lines(name),
            38..60 => return self.together(name),
            60..90 => {
                let statement = self.statement(name)?;
                self.note(name, &statement);
                Step::Say(name, statement)
            }
            90..93 => Step::Refused(name, self.refused(name)?),
            93..97 => Step::Flush,
            _ => {
                self.tables.values_mut().for_each(|table| table.is_suspended = false);
                Step::Kill
            }
        })
    }

    fn lines(&mut self, name: Name) -> Option<Step> {
        let count = 1 + self.below(7);
        let lines = self.some_lines(name, count, LINES)?;
        let new = || Table { model: Model::new(&[]), is_suspended: false };
        self.tables.entry(name).or_insert_with(new).model.claim(&lines);
        Some(Step::Lines(name, lines))
    }

    /// Definitions after a statement.
    fn note(&mut self, name: Name, statement: &Statement) {
        match statement {
            Statement::Create(definition) => {
                let mut model = Model::new(&definition.columns);
                model.apply(&Change::Dedup(definition.rule.clone()));
                self.tables.insert(name, Table { model, is_suspended: false });
            }
            Statement::Drop => drop(self.tables.remove(name)),
            Statement::RenameTable(to) => {
                let table = self.tables.remove(name).expect("it exists");
                self.tables.insert(to, table);
            }
            Statement::Suspend => self.table(name).is_suspended = true,
            Statement::Resume | Statement::Skip(_) => self.table(name).is_suspended = false,
            _ => note(&mut self.table(name).model, statement),
        }
    }

    fn table(&mut self, name: Name) -> &mut Table {
        self.tables.get_mut(name).expect("it exists")
    }

    fn create(&mut self, name: Name) -> Statement {
        let mut columns: Vec<(Name, ColumnType)> = Vec::new();
        columns.extend(TAGS.iter().take(self.below(3)).map(|tag| (*tag, ColumnType::Tag)));
        let fields = self.below(3);
        columns.extend(
            FIELDS
                .iter()
                .take(fields)
                .map(|field| (*field, *TYPES.choose(&mut self.random).unwrap())),
        );
        let model = Model::new(&columns);
        let definition = Definition {
            rule: self.rule(&model),
            columns,
            time_column: ["time", "ts"][self.below(2)],
            partition_by: [PartitionBy::Hour, PartitionBy::Day, PartitionBy::Week][self.below(3)],
        };
        let statement = Statement::Create(definition);
        self.note(name, &statement);
        statement
    }

    fn rule(&mut self, model: &Model) -> Rule {
        match self.below(5) {
            0 => Rule::Append,
            1 => Rule::ReplaceByTags,
            2 | 3 => Rule::Merge,
            _ => {
                let may_be = model.columns.iter().filter(|c| c.ty != ColumnType::Array);
                let may_be: Vec<u32> = may_be.map(|column| column.number).collect();
                let count = self.below(3).min(may_be.len());
                let mut keys: Vec<u32> = may_be.sample(&mut self.random, count).copied().collect();
                // A rule with the same keys in another order is the same.
                keys.sort_unstable();
                Rule::Replace(keys)
            }
        }
    }

    fn statement(&mut self, name: Name) -> Option<Statement> {
        let table = self.tables.get(name).expect("it exists").clone();
        let model = &table.model;
        let free = FIELDS.iter().chain(&TAGS).copied().find(|name| model.column(name).is_none());
        let one = model.columns.choose(&mut self.random).cloned();
        let ty = *TYPES.choose(&mut self.random).unwrap();
        let kept = one.as_ref().filter(|column| !model.is_key(column));
        Some(match self.below(100) {
            0..15 => Statement::Insert(self.some_lines(name, CONNECTIONS, VALUES)?),
            15..32 => self.replace(name)?,
            32..37 => Statement::Truncate,
            37..42 => {
                let to = TABLES.into_iter().find(|other| !self.tables.contains_key(other))?;
                Statement::RenameTable(to)
            }
            42..47 => Statement::AddColumn(
                free?,
                if TAGS.contains(&free?) { ColumnType::Tag } else { ty },
            ),
            47..54 => Statement::DropColumn(kept?.name),
            54..58 => Statement::RenameColumn(one?.name, free?),
            58..66 => {
                let column = kept?;
                let tags = model.columns.iter().filter(|c| c.ty == ColumnType::Tag).count();
                let ty = if tags < 4 && self.below(6) == 0 { ColumnType::Tag } else { ty };
                may_become(model, column.ty, ty).then_some(Statement::Retype(column.name, ty))?
            }
            66..76 => Statement::Dedup(self.rule(model)),
            76..79 => Statement::Ttl([0, 1, 2][self.below(3)]),
            79..84 => Statement::Drop,
            84..90 => (!table.is_suspended).then_some(Statement::Suspend)?,
            90..95 => Statement::Resume,
            _ => table.is_suspended.then_some(Statement::Skip(self.below(101) as u64))?,
        })
    }

    fn replace(&mut self, name: Name) -> Option<Statement> {
        let from = self.below(3) as i64 * HOUR + self.below(6) as i64;
        let to = from + [3, 6, HOUR, 2 * HOUR][self.below(4)];
        let count = self.below(4);
        let lines = self.some_lines(name, count, Wanted { range: (from, to), ..VALUES })?;
        Some(Statement::Replace(from, to, lines))
    }

    fn refused(&mut self, name: Name) -> Option<Statement> {
        let model = self.tables.get(name).expect("it exists").model.clone();
        let one = model.columns.choose(&mut self.random).cloned()?;
        let key = model.columns.iter().find(|column| model.is_key(column));
        Some(match self.below(4) {
            0 => Statement::DropColumn(key?.name),
            1 => Statement::AddColumn(one.name, ColumnType::Integer),
            2 => Statement::RenameColumn("nothing", "e"),
            _ => {
                let ty = *TYPES.choose(&mut self.random).unwrap();
                let is_possible = may_become(&model, one.ty, ty) && !model.is_key(&one);
                let is_possible = is_possible || one.ty == ty;
                (!is_possible).then_some(Statement::Retype(one.name, ty))?
            }
        })
    }

    /// Commits of all connections, with statements that go with them.
    fn together(&mut self, name: Name) -> Option<Step> {
        let is_killed = self.below(6) == 0;
        let mut statements = Vec::new();
        let mut is_altered = false;
        if is_killed {
            if self.below(3) == 0 {
                statements.push(Statement::Truncate);
            }
        } else {
            match self.below(10) {
                0..2 => {}
                2..6 => {
                    let all = [self.replace(name)?, Statement::Truncate];
                    statements.extend(all.into_iter().take(1 + self.below(2)));
                    if self.below(2) == 0 {
                        let lines = self.some_lines(name, CONNECTIONS, VALUES)?;
                        statements.push(Statement::Insert(lines));
                    }
                }
                _ => {
                    let statement = self.statement(name)?;
                    let is_alteration = matches!(
                        statement,
                        Statement::RenameTable(_)
                            | Statement::DropColumn(_)
                            | Statement::RenameColumn(..)
                            | Statement::Retype(..)
                            | Statement::Drop
                            | Statement::Dedup(_)
                            | Statement::Ttl(_)
                    );
                    if !is_alteration {
                        return None;
                    }
                    is_altered = !matches!(statement, Statement::Dedup(_) | Statement::Ttl(_));
                    statements.push(statement);
                }
            }
        }
        let mut commits = Vec::new();
        for connection in 0..CONNECTIONS {
            let count = if is_altered { self.below(2) } else { self.below(4) };
            let mut own = Vec::new();
            for n in 0..count {
                // So many that the log tells whose commit it is.
                let rows = connection
                    + (CONNECTIONS + 1) * usize::from(connection == 0 || self.below(2) == 0);
                // Whoever names a new column has read it before anything else happens, and nothing of it is lost.
                let is_renamed =
                    statements.iter().any(|s| matches!(s, Statement::RenameColumn(..)));
                let may_add = n == 0 && !is_killed && !is_renamed;
                let lines = self.some_lines(name, rows, Wanted { may_add, ..LINES })?;
                self.table(name).model.claim(&lines);
                own.push(lines);
            }
            commits.push(own);
        }
        statements.iter().for_each(|statement| self.note(name, statement));
        if is_killed {
            self.tables.values_mut().for_each(|table| table.is_suspended = false);
        }
        Some(Step::Together(Box::new(Together { table: name, commits, statements, is_killed })))
    }

    /// Lines that a table takes; nothing where it takes none. Few times, so that rows meet; out of order, over three hours.
    fn some_lines(&mut self, name: Name, count: usize, wanted: Wanted) -> Option<Vec<Line>> {
        let known = self.tables.get(name);
        let mut model = known.map_or_else(|| Model::new(&[]), |table| table.model.clone());
        let names = || FIELDS.iter().chain(&TAGS);
        let can_be_field = |name: &Name| match model.column(name) {
            Some(column) => column.ty != ColumnType::Tag,
            None => wanted.may_add && !TAGS.contains(name),
        };
        if wanted.is_line && !names().any(can_be_field) {
            return None;
        }
        let mut all = Vec::new();
        for _ in 0..count {
            let time = self.below(3) as i64 * HOUR + self.below(6) as i64;
            let is_inside = (wanted.range.0..wanted.range.1).contains(&time);
            let time = if is_inside { time } else { wanted.range.0 };
            let mut line = Line { time, cells: BTreeMap::new() };
            loop {
                for name in names() {
                    if self.below(2) == 0 {
                        let value = self.cell(&model, name, wanted);
                        line.cells.extend(value.map(|value| (*name, value)));
                    }
                }
                if !wanted.is_line || line.cells.values().any(|v| v.ty() != ColumnType::Tag) {
                    break;
                }
            }
            model.claim(std::slice::from_ref(&line));
            all.push(line);
        }
        Some(all)
    }

    /// A value for a column, if it may have one.
    fn cell(&mut self, model: &Model, name: Name, wanted: Wanted) -> Option<Value> {
        let ty = match model.column(name) {
            // A line may bring a whole number for a column of other ones.
            Some(column) if wanted.is_line && self.below(4) == 0 => match column.ty {
                ColumnType::Float | ColumnType::Unsigned => ColumnType::Integer,
                ty => ty,
            },
            Some(column) => column.ty,
            None if !wanted.may_add => return None,
            None if TAGS.contains(&name) => ColumnType::Tag,
            None => TYPES[self.below(TYPES.len())],
        };
        self.value(ty, wanted.is_line)
    }

    /// A value of a type; none that a statement has no words for.
    fn value(&mut self, ty: ColumnType, is_line: bool) -> Option<Value> {
        let number = self.below(8);
        Some(match ty {
            ColumnType::Tag => Value::Tag(["x", "w", "7"][self.below(3)].to_owned()),
            ColumnType::Integer => Value::Integer(number as i64),
            ColumnType::Unsigned => Value::Unsigned(number as u64),
            ColumnType::Float => Value::Float(number as f64 / 2.0),
            ColumnType::Boolean => Value::Boolean(number > 3),
            ColumnType::String => Value::Text(match self.below(5) {
                0 => format!("{}", number as f64 / 2.0),
                1 => (number > 3).to_string(),
                2 => Value::Time(number as i64 * 1000).shown(),
                3 => format!("s{number}"),
                _ => number.to_string(),
            }),
            ColumnType::Timestamp => Value::Time(number as i64 * [1, 1000, HOUR][self.below(3)]),
            ColumnType::Array if is_line => Value::Array(vec![number as f64 / 4.0; self.below(3)]),
            ColumnType::Array => return None,
        })
    }
}

/// Definitions after a statement that names columns or rules.
pub(crate) fn note(model: &mut Model, statement: &Statement) {
    match statement {
        Statement::AddColumn(name, ty) => model.add_column(name, *ty),
        _ => redefinition(model, statement).iter().for_each(|change| model.apply(change)),
    }
}

/// What a statement that names columns or rules changes of what is there.
pub(crate) fn redefinition(model: &Model, statement: &Statement) -> Option<Change> {
    let number = |name: &str| model.column(name).expect("it is there").number;
    Some(match statement {
        Statement::DropColumn(name) => Change::DropColumn(number(name)),
        Statement::RenameColumn(from, to) => Change::RenameColumn(number(from), to),
        Statement::Retype(name, ty) => Change::Retype(number(name), *ty),
        Statement::Dedup(rule) => Change::Dedup(rule.clone()),
        _ => return None,
    })
}

/// True when a column may get a type.
fn may_become(model: &Model, from: ColumnType, to: ColumnType) -> bool {
    use ColumnType::{Array, Boolean, Float, Integer, String, Tag, Timestamp, Unsigned};
    let is_lossless = match to {
        String => true,
        Float => matches!(from, Integer | Unsigned | Boolean),
        Integer => matches!(from, Timestamp | Boolean),
        Timestamp => from == Integer,
        _ => false,
    };
    let is_array = from == Array || to == Array;
    let was_tagged = model.was_keyed_by_tags() && (from == Tag || to == Tag);
    from != to && !is_array && !was_tagged && (is_lossless || !model.rules.contains(&Rule::Merge))
}
