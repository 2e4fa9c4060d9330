//! The dialect as a grammar: what [`Parser`](super::Parser) must give, written to be read.
//!
//! Slow, owned, and without reasons: a line is a row, nothing, or refused. Tests, proptest and
//! fuzzing hold the parser and the cursor to it. Numbers go through the standard library here, so
//! that the codec's own are checked, too.
//!
//! ```text
//! text        = { " " | TAB } ( row | "#" any | nothing ) [ CR ]
//! row         = measurement { "," tag_key "=" tag_value } spaces fields [ spaces [ timestamp spaces ] ]
//! fields      = field_key "=" value { "," field_key "=" value }
//! value       = float | integer "i" | digits "u" | integer ("n" | "t" | "m") | boolean | string | binary
//! float       = ["-"] ( digits ["." [digits]] | "." digits ) [ ("e"|"E") ["+"|"-"] digits ]
//! timestamp   = integer [ "n" | "t" | "m" ]          integer = ["-"] digits
//! binary      = "=" ( 16 double | 14 10 1 length { double } )          little endian, the length in four bytes
//! string      = '"' { any but '"' and "\" | "\" any } '"'
//! names       = characters but control ones, `,`, space and, in keys, `=`; or an escape
//! ```

use super::limits::{Dialect, Limits, Precision};
use super::line;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take_while, take_while1};
use nom::character::complete::{char, digit1, one_of};
use nom::combinator::{all_consuming, map, map_opt, opt, recognize, success, value, verify};
use nom::multi::{fold_many0, length_count, many0, separated_list1};
use nom::number::complete::{le_f64, le_i32};
use nom::sequence::{delimited, pair, preceded, separated_pair, terminated};
use nom::{IResult, Parser};
use std::collections::HashSet;

/// A row that owns its parts.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The measurement.
    pub measurement: String,
    /// Tags in the order of the line.
    pub tags: Vec<(String, String)>,
    /// Fields in the order of the line.
    pub fields: Vec<(String, Value)>,
    /// Nanoseconds since 1970.
    pub timestamp: Option<i64>,
}

/// A field's value that owns its text.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `1.5`
    Float(f64),
    /// `1i`
    Integer(i64),
    /// `1u`
    Unsigned(u64),
    /// `true`
    Boolean(bool),
    /// `"text"`
    String(String),
    /// `1n`, in nanoseconds.
    Timestamp(i64),
    /// A binary array, each element as the bits of a double: NaN is an element like any other.
    Array(Vec<u64>),
}

/// The rules that a grammar needs to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Bounds on lengths and counts.
    pub limits: Limits,
    /// The unit of a timestamp without suffix.
    pub precision: Precision,
    /// Whose backslashes.
    pub dialect: Dialect,
}

impl From<&line::Line<'_>> for Row {
    fn from(line: &line::Line<'_>) -> Row {
        let own = |text: &str| text.to_owned();
        Row {
            measurement: own(line.measurement),
            tags: line.tags.iter().map(|(k, v)| (own(k), own(v))).collect(),
            fields: line.fields.iter().map(|(k, v)| (own(k), Value::from(v))).collect(),
            timestamp: line.timestamp,
        }
    }
}

impl From<&line::FieldValue<'_>> for Value {
    fn from(value: &line::FieldValue<'_>) -> Value {
        match *value {
            line::FieldValue::Float(v) => Value::Float(v),
            line::FieldValue::Integer(v) => Value::Integer(v),
            line::FieldValue::Unsigned(v) => Value::Unsigned(v),
            line::FieldValue::Boolean(v) => Value::Boolean(v),
            line::FieldValue::String(v) => Value::String(v.to_owned()),
            line::FieldValue::Timestamp(v) => Value::Timestamp(v),
            line::FieldValue::Array(v) => Value::Array(v.iter().map(f64::to_bits).collect()),
        }
    }
}

/// Reads one line, given without its newline: a row, `Some(None)` for a comment or nothing, `None`
/// for a line that is refused.
pub fn read(text: &[u8], rules: Rules) -> Option<Option<Row>> {
    if text.len() > rules.limits.line_bytes {
        return None;
    }
    let content = text.trim_ascii_start_of(b" \t");
    if matches!(content, [] | [b'\r'] | [b'#', ..]) {
        return Some(None);
    }
    let end = opt(char('\r'));
    let (_, row) = all_consuming(terminated(|i| row(i, rules), end)).parse(content).ok()?;
    is_allowed(&row, rules.limits).then_some(Some(row))
}

trait TrimStart {
    fn trim_ascii_start_of(&self, set: &[u8]) -> &[u8];
}

impl TrimStart for [u8] {
    fn trim_ascii_start_of(&self, set: &[u8]) -> &[u8] {
        let start = self.iter().position(|b| !set.contains(b)).unwrap_or(self.len());
        &self[start..]
    }
}

/// What the grammar cannot say: lengths, counts, keys that come twice.
fn is_allowed(row: &Row, limits: Limits) -> bool {
    let keys = || row.tags.iter().map(|t| &t.0).chain(row.fields.iter().map(|f| &f.0));
    let texts = row.tags.iter().map(|t| t.1.len()).chain(row.fields.iter().map(|f| match &f.1 {
        Value::String(text) => text.len(),
        _ => 0,
    }));
    row.measurement.len() <= limits.name_bytes
        && keys().all(|key| key.len() <= limits.name_bytes)
        && row.tags.len() <= limits.tags
        && row.fields.len() <= limits.fields
        && keys().collect::<HashSet<_>>().len() == keys().count()
        && texts.max().unwrap_or(0) <= limits.string_bytes
}

type Bytes<'a> = &'a [u8];

fn row(i: Bytes<'_>, rules: Rules) -> IResult<Bytes<'_>, Row> {
    let name = |stops: &'static [u8], escapes: &'static [u8]| {
        move |i| name(i, stops, escapes, rules.dialect)
    };
    let tag_pair = separated_pair(name(b",= ", b",= "), char('='), name(b", ", b",= "));
    let field = separated_pair(name(b",= ", b",= "), char('='), |i| field_value(i, rules));
    let unit = rules.precision.nanos();

    let (i, measurement) = name(b", ", b", ")(i)?;
    let (i, tags) = many0(preceded(char(','), tag_pair)).parse(i)?;
    let (i, fields) = preceded(spaces1, separated_list1(char(','), field)).parse(i)?;
    let (i, timestamp) = opt(delimited(spaces1, |i| timestamp(i, Some(unit)), spaces0)).parse(i)?;
    let (i, _) = spaces0(i)?;
    Ok((i, Row { measurement, tags, fields, timestamp }))
}

fn spaces0(i: Bytes<'_>) -> IResult<Bytes<'_>, Bytes<'_>> {
    take_while(|c| c == b' ')(i)
}

fn spaces1(i: Bytes<'_>) -> IResult<Bytes<'_>, Bytes<'_>> {
    take_while1(|c| c == b' ')(i)
}

/// A measurement, key or tag value: it ends before one of `stops`; a backslash takes the meaning of
/// one of `escapes`, and of a backslash in InfluxDB 3.
fn name<'a>(
    i: Bytes<'a>,
    stops: &'static [u8],
    escapes: &'static [u8],
    dialect: Dialect,
) -> IResult<Bytes<'a>, String> {
    let influx3 = dialect == Dialect::Influx3;
    let plain = byte(move |b| !stops.contains(&b) && b != b'\\' && !b.is_ascii_control());
    let escape = preceded(char('\\'), one_of(escapes));
    let pair = verify(value('\\', tag("\\\\")), move |_: &char| influx3);
    let character = alt((plain, escape, pair, char('\\')));
    let text = map_opt(fold_many0(character, Vec::new, push), |text| String::from_utf8(text).ok());
    let ends_well = |text: &str| !text.ends_with('\\') || !influx3;
    verify(text, |text: &String| !text.is_empty() && ends_well(text)).parse(i)
}

/// One byte as a character: text is UTF-8 as a whole or not at all.
fn byte(accepts: impl Fn(u8) -> bool) -> impl Fn(Bytes<'_>) -> IResult<Bytes<'_>, char> {
    move |i| match i.split_first() {
        Some((&byte, rest)) if accepts(byte) => Ok((rest, char::from(byte))),
        _ => nom::combinator::fail().parse(i),
    }
}

fn push(mut text: Vec<u8>, c: char) -> Vec<u8> {
    text.push(c as u8);
    text
}

fn field_value(i: Bytes<'_>, rules: Rules) -> IResult<Bytes<'_>, Value> {
    alt((
        map(|i| string(i, rules.dialect), Value::String),
        map(boolean, Value::Boolean),
        map(map_opt(terminated(integer, char('i')), number), Value::Integer),
        map(map_opt(terminated(digit1, char('u')), number), Value::Unsigned),
        preceded(char('='), binary),
        map(|i| timestamp(i, None), Value::Timestamp),
        map(float, Value::Float),
    ))
    .parse(i)
}

/// The number that ASCII text spells, by the standard library.
fn number<T: std::str::FromStr>(text: Bytes<'_>) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn binary(i: Bytes<'_>) -> IResult<Bytes<'_>, Value> {
    let double = verify(le_f64, |value: &f64| value.is_finite());
    let length = map_opt(le_i32, |length| u32::try_from(length).ok());
    let array = length_count(length, map(le_f64, f64::to_bits));
    alt((
        map(preceded(tag("\x10"), double), Value::Float),
        map(preceded(tag("\x0e\x0a\x01"), array), Value::Array),
    ))
    .parse(i)
}

fn integer(i: Bytes<'_>) -> IResult<Bytes<'_>, Bytes<'_>> {
    recognize(pair(opt(char('-')), digit1)).parse(i)
}

/// An integer with a suffix that names its unit; without one, `unit` holds, if there is one.
fn timestamp(i: Bytes<'_>, unit: Option<i64>) -> IResult<Bytes<'_>, i64> {
    let unit = alt((
        value(Some(1), char('n')),
        value(Some(1_000), char('t')),
        value(Some(1_000_000), char('m')),
        success(unit),
    ));
    map_opt(pair(integer, unit), |(text, unit)| number::<i64>(text)?.checked_mul(unit?)).parse(i)
}

fn float(i: Bytes<'_>) -> IResult<Bytes<'_>, f64> {
    let digits0 = || take_while(|c: u8| c.is_ascii_digit());
    let point = || recognize(pair(char('.'), digits0()));
    let mantissa =
        alt((recognize(pair(digit1, opt(point()))), recognize(preceded(char('.'), digit1))));
    let exponent = (one_of("eE"), opt(one_of("+-")), digit1);
    let text = recognize((opt(char('-')), mantissa, opt(exponent)));
    map_opt(text, |text| number(text).filter(|v: &f64| v.is_finite())).parse(i)
}

/// A word ends where the value ends: `t` is no boolean in `tx`.
fn boolean(i: Bytes<'_>) -> IResult<Bytes<'_>, bool> {
    let (rest, word) = is_not(", \r")(i)?;
    match word {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok((rest, true)),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok((rest, false)),
        _ => nom::combinator::fail().parse(i),
    }
}

fn string(i: Bytes<'_>, dialect: Dialect) -> IResult<Bytes<'_>, String> {
    let plain = map(byte(|b| !b"\"\\".contains(&b)), |c| (None, c));
    let escaped = map(preceded(char('\\'), byte(|_| true)), move |c| match (c, dialect) {
        ('"' | '\\', _) => (None, c),
        ('n', Dialect::V2) => (None, '\n'),
        ('r', Dialect::V2) => (None, '\r'),
        ('t', Dialect::V2) => (None, '\t'),
        _ => (Some('\\'), c),
    });
    let text = fold_many0(alt((plain, escaped)), Vec::new, |text, (before, c)| {
        push(before.into_iter().fold(text, push), c)
    });
    let text = map_opt(text, |text| String::from_utf8(text).ok());
    delimited(char('"'), text, char('"')).parse(i)
}
