//! A line as the rest of the server sees it: borrowed, unescaped, its values typed.

use super::binary::Doubles;

/// One line that holds a row. Everything borrows from the line's bytes or from the parser.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Line<'a> {
    /// The measurement, which names the table.
    pub measurement: &'a str,
    /// Measurement and tags as they came, up to the first unescaped space, leading white space
    /// stripped: two lines with equal bytes here have equal measurements and tags.
    pub series: &'a [u8],
    /// Keys and values in the order of the line; keys are distinct.
    pub tags: &'a [(&'a str, &'a str)],
    /// Keys and values in the order of the line, at least one; keys are distinct, from tag keys too.
    pub fields: &'a [(&'a str, FieldValue<'a>)],
    /// Nanoseconds since 1970; `None` if the line has none.
    pub timestamp: Option<i64>,
    /// The byte of the line at which each key starts, of tags first and then of fields.
    pub(super) key_starts: &'a [u32],
}

impl Line<'_> {
    /// The byte of the line at which the tag or field of this name starts; 0 if it has none.
    pub fn key_offset(&self, name: &str) -> usize {
        let keys = self.tags.iter().map(|tag| tag.0).chain(self.fields.iter().map(|field| field.0));
        let start =
            keys.zip(self.key_starts).find(|(key, _)| *key == name).map(|(_, &start)| start);
        start.unwrap_or(0) as usize
    }
}

/// The value of a field, typed by its spelling.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FieldValue<'a> {
    /// `1`, `1.5`, `1e3`: finite.
    Float(f64),
    /// `1i`
    Integer(i64),
    /// `1u`
    Unsigned(u64),
    /// `t`, `true`, `False`, …
    Boolean(bool),
    /// `"text"`
    String(&'a str),
    /// `1n`, `1t` (microseconds), `1m` (milliseconds): nanoseconds since 1970.
    Timestamp(i64),
    /// A binary array of doubles.
    Array(Doubles<'a>),
}

/// What a line turned out to be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Item<'a> {
    /// A row.
    Row(Line<'a>),
    /// A comment: what follows the `#`, without a carriage return at the end. Not checked for UTF-8.
    Comment(&'a [u8]),
    /// Nothing but white space.
    Blank,
}
