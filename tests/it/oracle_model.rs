//! Tables as readers must see them, kept in memory by the simplest code there is.

use headwater::schema::DedupRule;
use headwater::types::ColumnType;
use std::collections::BTreeMap;

/// A table's or a column's name.
pub(crate) type Name = &'static str;

/// A value as a line says it or a row holds it. Whole numbers go into columns of other numbers.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Tag(String),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Boolean(bool),
    Text(String),
    /// Nanoseconds since 1970, of the first day.
    Time(i64),
    Array(Vec<f64>),
}

/// What is sent: a time, and values by name.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) time: i64,
    pub(crate) cells: BTreeMap<Name, Value>,
}

/// What is kept: values by the number of their column, which outlives its name.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    time: i64,
    cells: BTreeMap<u32, Value>,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) number: u32,
    pub(crate) name: Name,
    pub(crate) ty: ColumnType,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    Append,
    ReplaceByTags,
    Replace(Vec<u32>),
    Merge,
}

/// One transaction of a table, in the words of the model.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Rows(Vec<Row>),
    Replace(i64, i64, Vec<Row>),
    Truncate,
    Expire(i64),
    DropColumn(u32),
    RenameColumn(u32, Name),
    Retype(u32, ColumnType),
    Dedup(Rule),
    Drop,
}

/// The table as a reader must see it.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) columns: Vec<Column>,
    pub(crate) rule: Rule,
    /// The rules that it is or was under.
    pub(crate) rules: Vec<Rule>,
    rows: Vec<Row>,
    next: u32,
}

impl Model {
    pub(crate) fn new(columns: &[(Name, ColumnType)]) -> Model {
        let (rule, rules) = (Rule::Append, vec![Rule::Append]);
        let mut model = Model { columns: Vec::new(), rule, rules, rows: Vec::new(), next: 1 };
        columns.iter().for_each(|(name, ty)| model.add_column(name, *ty));
        model
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub(crate) fn add_column(&mut self, name: Name, ty: ColumnType) {
        self.columns.push(Column { number: self.next, name, ty });
        self.next += 1;
    }

    /// True when a column is needed to tell rows apart, of today or of before.
    pub(crate) fn is_key(&self, column: &Column) -> bool {
        self.rules.iter().any(|rule| match rule {
            Rule::Append => false,
            Rule::Replace(keys) => keys.contains(&column.number),
            Rule::ReplaceByTags | Rule::Merge => column.ty == ColumnType::Tag,
        })
    }

    pub(crate) fn was_keyed_by_tags(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, Rule::ReplaceByTags | Rule::Merge))
    }

    /// Takes lines in as the connection that reads them does: columns that are not there come into being.
    pub(crate) fn claim(&mut self, lines: &[Line]) -> Vec<Row> {
        let mut rows = Vec::new();
        for Line { time, cells } in lines {
            let mut row = Row { time: *time, cells: BTreeMap::new() };
            for (name, value) in cells {
                if self.column(name).is_none() {
                    self.add_column(name, value.ty());
                }
                let column = self.column(name).expect("it was added");
                let value = value.clone().converted(column.ty).expect("lines fit their columns");
                row.cells.insert(column.number, value);
            }
            rows.push(row);
        }
        rows
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Rows(rows) => rows.iter().for_each(|row| self.add(row)),
            Change::Replace(from, to, rows) => {
                self.rows.retain(|row| row.time < *from || row.time >= *to);
                rows.iter().for_each(|row| self.add(row));
            }
            Change::Truncate | Change::Drop => self.rows.clear(),
            Change::Expire(before) => self.rows.retain(|row| row.time >= *before),
            Change::DropColumn(number) => {
                self.columns.retain(|column| column.number != *number);
                self.rows.iter_mut().for_each(|row| drop(row.cells.remove(number)));
            }
            Change::RenameColumn(number, name) => {
                self.columns.iter_mut().filter(|c| c.number == *number).for_each(|c| c.name = name);
            }
            Change::Retype(number, ty) => {
                self.columns.iter_mut().filter(|c| c.number == *number).for_each(|c| c.ty = *ty);
                let columns = std::mem::take(&mut self.columns);
                self.rows.iter_mut().for_each(|row| row.fit(&columns));
                self.columns = columns;
            }
            Change::Dedup(rule) => {
                self.rule = rule.clone();
                self.rules.push(rule.clone());
            }
        }
    }

    fn add(&mut self, row: &Row) {
        let mut new = row.clone();
        new.fit(&self.columns);
        let is_tag = |column: &&Column| column.ty == ColumnType::Tag;
        let keys: Vec<u32> = match &self.rule {
            Rule::Append => return self.rows.push(new),
            Rule::Replace(keys) => keys.clone(),
            Rule::ReplaceByTags | Rule::Merge => {
                self.columns.iter().filter(is_tag).map(|column| column.number).collect()
            }
        };
        let key = |row: &Row| -> (i64, Vec<Option<Value>>) {
            (row.time, keys.iter().map(|key| row.cells.get(key).cloned()).collect())
        };
        let own = key(&new);
        if self.rule == Rule::Merge {
            for old in self.rows.iter().rev().filter(|row| key(row) == own) {
                for (number, value) in &old.cells {
                    new.cells.entry(*number).or_insert_with(|| value.clone());
                }
            }
        }
        self.rows.retain(|row| key(row) != own);
        self.rows.push(new);
    }

    /// The latest time of a row.
    pub(crate) fn newest(&self) -> i64 {
        self.rows.iter().map(|row| row.time).max().unwrap_or(i64::MIN)
    }

    /// The rows as the reader of the tests spells them.
    pub(crate) fn shown(&self) -> Vec<String> {
        let mut all: Vec<String> = self.rows.iter().map(|row| self.spelled(row)).collect();
        all.sort();
        all
    }

    fn spelled(&self, row: &Row) -> String {
        let name = |number: u32| self.columns.iter().find(|column| column.number == number);
        let cells: BTreeMap<Name, String> = row
            .cells
            .iter()
            .filter_map(|(number, value)| Some((name(*number)?.name, value.shown())))
            .collect();
        let cells = cells.iter().map(|(name, value)| format!(" {name}={value}"));
        format!("{}{}", row.time, cells.collect::<String>())
    }

    /// Names and types, sorted.
    pub(crate) fn header(&self) -> Vec<(String, ColumnType)> {
        let mut all: Vec<(String, ColumnType)> =
            self.columns.iter().map(|column| (column.name.to_owned(), column.ty)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// A rule in the words of a statement.
    pub(crate) fn rule_said(&self, rule: &Rule, time_column: &str) -> DedupRule {
        let name = |number: &u32| {
            let found = self.columns.iter().find(|column| column.number == *number);
            found.expect("keys are columns").name.to_owned()
        };
        match rule {
            Rule::Append => DedupRule::Append,
            Rule::ReplaceByTags => DedupRule::ReplaceByTags,
            Rule::Merge => DedupRule::Merge,
            Rule::Replace(keys) => {
                // In another order than they are kept in.
                let keys = keys.iter().rev().map(name);
                DedupRule::Replace(std::iter::once(time_column.to_owned()).chain(keys).collect())
            }
        }
    }
}

impl Row {
    /// Leaves out what is of no column any more, and converts what is of a column of another type now.
    fn fit(&mut self, columns: &[Column]) {
        let cells = std::mem::take(&mut self.cells);
        self.cells = cells
            .into_iter()
            .filter_map(|(number, value)| {
                let column = columns.iter().find(|column| column.number == number)?;
                Some((number, value.converted(column.ty)?))
            })
            .collect();
    }
}

impl Line {
    /// As line protocol.
    pub(crate) fn encoded(&self, table: &str) -> Vec<u8> {
        let mut out = table.as_bytes().to_vec();
        for (name, value) in &self.cells {
            if let Value::Tag(text) = value {
                out.extend_from_slice(format!(",{name}={text}").as_bytes());
            }
        }
        let mut between = b' ';
        for (name, value) in self.cells.iter().filter(|(_, value)| value.ty() != ColumnType::Tag) {
            out.push(between);
            between = b',';
            out.extend_from_slice(format!("{name}=").as_bytes());
            match value {
                Value::Tag(_) => {}
                Value::Integer(n) => out.extend_from_slice(format!("{n}i").as_bytes()),
                Value::Unsigned(n) => out.extend_from_slice(format!("{n}u").as_bytes()),
                Value::Float(x) => out.extend_from_slice(format!("{x}").as_bytes()),
                Value::Boolean(b) => out.extend_from_slice(if *b { b"t" } else { b"F" }),
                Value::Text(text) => out.extend_from_slice(format!("\"{text}\"").as_bytes()),
                Value::Time(time) => out.extend_from_slice(format!("{time}n").as_bytes()),
                Value::Array(all) => {
                    out.extend_from_slice(&[b'=', 14, 10, 1]);
                    out.extend_from_slice(&u32::try_from(all.len()).unwrap().to_le_bytes());
                    all.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
                }
            }
        }
        out.extend_from_slice(format!(" {}\n", self.time).as_bytes());
        out
    }
}

impl Value {
    pub(crate) fn ty(&self) -> ColumnType {
        match self {
            Value::Tag(_) => ColumnType::Tag,
            Value::Integer(_) => ColumnType::Integer,
            Value::Unsigned(_) => ColumnType::Unsigned,
            Value::Float(_) => ColumnType::Float,
            Value::Boolean(_) => ColumnType::Boolean,
            Value::Text(_) => ColumnType::String,
            Value::Time(_) => ColumnType::Timestamp,
            Value::Array(_) => ColumnType::Array,
        }
    }

    /// As queries show it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Value::Tag(text) | Value::Text(text) => text.clone(),
            Value::Integer(n) => n.to_string(),
            Value::Unsigned(n) => n.to_string(),
            Value::Float(x) => format!("{x:?}"),
            Value::Boolean(b) => b.to_string(),
            Value::Time(time) => {
                let (s, rest) = (time / 1_000_000_000, time % 1_000_000_000);
                let fraction = match rest {
                    0 => String::new(),
                    _ if rest % 1_000_000 == 0 => format!(".{:03}", rest / 1_000_000),
                    _ if rest % 1000 == 0 => format!(".{:06}", rest / 1000),
                    _ => format!(".{rest:09}"),
                };
                let (h, m) = (s / 3600, s / 60 % 60);
                format!("1970-01-01T{h:02}:{m:02}:{:02}{fraction}", s % 60)
            }
            Value::Array(all) => {
                let all: Vec<String> = all.iter().map(|x| format!("{x:?}")).collect();
                format!("[{}]", all.join(", "))
            }
        }
    }

    /// The value in a column of another type; nothing where it has no meaning there.
    fn converted(self, ty: ColumnType) -> Option<Value> {
        use Value::{Array, Boolean, Float, Integer, Tag, Text, Time, Unsigned};
        if self.ty() == ty {
            return Some(self);
        }
        let number = |whole: i64, real: f64| match ty {
            ColumnType::Integer => Some(Integer(whole)),
            ColumnType::Unsigned => u64::try_from(whole).ok().map(Unsigned),
            ColumnType::Float => Some(Float(real)),
            ColumnType::Timestamp => Some(Time(whole)),
            ColumnType::Boolean => Some(Boolean(real != 0.0)),
            _ => None,
        };
        match (&self, ty) {
            (Array(_), _) | (_, ColumnType::Array) => None,
            (Time(_), ColumnType::Boolean) | (Boolean(_), ColumnType::Timestamp) => None,
            (_, ColumnType::String) => Some(Text(self.shown())),
            (_, ColumnType::Tag) => Some(Tag(self.shown())),
            (Integer(n) | Time(n), _) => number(*n, *n as f64),
            (Unsigned(n), _) => number(i64::try_from(*n).ok()?, *n as f64),
            (Float(x), _) => number(*x as i64, *x),
            (Boolean(b), _) => number(i64::from(*b), f64::from(u8::from(*b))),
            (Text(text) | Tag(text), _) => match ty {
                ColumnType::Integer => text.parse().ok().map(Integer),
                ColumnType::Unsigned => text.parse().ok().map(Unsigned),
                ColumnType::Float => text.parse().ok().map(Float),
                ColumnType::Boolean => match text.as_str() {
                    "true" | "1" => Some(Boolean(true)),
                    "false" | "0" => Some(Boolean(false)),
                    _ => None,
                },
                ColumnType::Timestamp => time_of(text).map(Time),
                _ => None,
            },
        }
    }
}

/// A time of the first day as [`Value::shown`] spells it.
fn time_of(text: &str) -> Option<i64> {
    let (h, rest) = text.strip_prefix("1970-01-01T")?.split_once(':')?;
    let (m, s) = rest.split_once(':')?;
    let (s, fraction) = s.split_once('.').unwrap_or((s, "0"));
    let seconds =
        (h.parse::<i64>().ok()? * 60 + m.parse::<i64>().ok()?) * 60 + s.parse::<i64>().ok()?;
    Some(seconds * 1_000_000_000 + format!("{fraction:0<9}").parse::<i64>().ok()?)
}
