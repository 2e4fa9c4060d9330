//! Ways through the codec that end in owned rows, so that they can be compared. The fuzz targets
//! use this file, too.
#![allow(unreachable_pub, reason = "public where the fuzz targets include this file")]

use headwater::codec::encode::{EncodeError, encode_line};
use headwater::codec::grammar::{Row, Rules, Value};
use headwater::codec::{
    Cursor, Doubles, FieldValue, Item, LineSplitter, Next, Parser, Reason, Split,
};

/// What a line turned out to be: a row, nothing, or refused.
pub type Outcome = Result<Option<Row>, Reason>;

pub fn parser(rules: Rules) -> Parser {
    Parser::new(rules.limits, rules.precision).with_dialect(rules.dialect)
}

pub fn by_parser(parser: &mut Parser, line: &[u8]) -> Outcome {
    match parser.parse(line) {
        Ok(Item::Row(line)) => Ok(Some(Row::from(&line))),
        Ok(Item::Comment(_) | Item::Blank) => Ok(None),
        Err(error) => {
            assert!(error.offset <= line.len(), "{error} in {line:?}");
            Err(error.reason)
        }
    }
}

/// The lines of a stream that arrives in `pieces` and ends: rows and refusals in order.
pub fn by_stream<'t>(rules: Rules, pieces: impl Iterator<Item = &'t [u8]>) -> Vec<Outcome> {
    let mut splitter = LineSplitter::new(rules.limits.line_bytes);
    let mut parser = parser(rules);
    let (mut buf, mut outcomes) = (Vec::new(), Vec::new());
    let mut take = |buf: &mut Vec<u8>, splitter: &mut LineSplitter, last: bool| loop {
        let split = if last { splitter.finish(buf) } else { splitter.next(buf) };
        match split {
            Split::Line { text, consumed } => {
                let outcome = by_parser(&mut parser, text);
                if outcome != Ok(None) {
                    outcomes.push(outcome);
                }
                buf.drain(..consumed);
            }
            Split::Skipped { consumed, ends, .. } => {
                if ends {
                    outcomes.push(Err(Reason::LineTooLong));
                }
                buf.drain(..consumed);
            }
            Split::Incomplete => break,
        }
    };
    for piece in pieces {
        buf.extend_from_slice(piece);
        take(&mut buf, &mut splitter, false);
    }
    take(&mut buf, &mut splitter, true);
    outcomes
}

/// The fast path as a session uses it: names count only if the parser let them pass before.
/// `None` where it gives up.
pub fn by_cursor(parser: &mut Parser, line: &[u8]) -> Option<Row> {
    let mut cursor = parser.cursor(line);
    let series = cursor.series()?;
    let mut row = known_series(parser, series)?;
    loop {
        let key = cursor.clone().key()?;
        let name = known_field(parser, key)?;
        let repeated =
            row.fields.iter().any(|f| f.0 == name) || row.tags.iter().any(|t| t.0 == name);
        if repeated || !cursor.expect_key(key) {
            return None;
        }
        let (value, next) = any_value(&mut cursor)?;
        row.fields.push((name, value));
        match next {
            Next::Field => {}
            Next::Timestamp => {
                row.timestamp = Some(cursor.timestamp()?);
                return Some(row);
            }
            Next::End => return Some(row),
            Next::Odd => return None,
        }
    }
}

/// A series as the parser reads it by itself, which must be what it reads at the head of a line.
fn known_series(parser: &mut Parser, series: &[u8]) -> Option<Row> {
    let alone = parser.series(series).map(|line| {
        assert_eq!(line.series, series);
        Row::from(&line)
    });
    let headed = match parser.parse(&[series, b" \x22=1"].concat()) {
        Ok(Item::Row(line)) if line.series == series => {
            Some(Row { fields: Vec::new(), ..Row::from(&line) })
        }
        _ => None,
    };
    // A tag may have the name of the field that stands in, and a series of the greatest length leaves no room for it.
    assert!(headed.is_none() || alone == headed, "{series:?}: {alone:?}, in a line {headed:?}");
    alone
}

fn known_field(parser: &mut Parser, key: &[u8]) -> Option<String> {
    match parser.parse(&[b"m ", key, b"=1"].concat()) {
        Ok(Item::Row(line)) => line.fields.first().map(|f| f.0.to_owned()),
        _ => None,
    }
}

/// A session knows the column's type; here, each is tried.
fn any_value(cursor: &mut Cursor<'_>) -> Option<(Value, Next)> {
    type Read = fn(&mut Cursor<'_>) -> Option<Value>;
    let reads: [Read; 6] = [
        |c| c.string().map(|v| Value::String(v.to_owned())),
        |c| c.instant().map(Value::Timestamp),
        |c| c.integer().map(Value::Integer),
        |c| c.unsigned().map(Value::Unsigned),
        |c| c.boolean().map(Value::Boolean),
        |c| c.float().map(Value::Float),
    ];
    reads.iter().find_map(|read| {
        let mut attempt = cursor.clone();
        let value = read(&mut attempt)?;
        let next = attempt.next();
        (next != Next::Odd).then(|| {
            *cursor = attempt;
            (value, next)
        })
    })
}

/// Holds all ways together for one line, and gives what they agree on.
pub fn agree(rules: Rules, line: &[u8]) -> Outcome {
    let mut parser = parser(rules);
    let outcome = by_parser(&mut parser, line);
    let grammar = headwater::codec::grammar::read(line, rules);
    assert!(same(&outcome.clone().ok(), &grammar), "{line:?}: {outcome:?}, grammar {grammar:?}");
    if let Some(row) = by_cursor(&mut parser, line) {
        assert!(same(&outcome, &Ok(Some(row.clone()))), "{line:?}: {outcome:?}, cursor {row:?}");
    }
    outcome
}

/// Equal also in the sign of zero, which `==` does not see.
fn same<T: PartialEq + std::fmt::Debug>(a: &T, b: &T) -> bool {
    a == b && format!("{a:?}") == format!("{b:?}")
}

/// The row as a line with its newline.
pub fn encode(row: &Row) -> Result<Vec<u8>, EncodeError> {
    let tags: Vec<_> = row.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let arrays: Vec<Vec<[u8; 8]>> = row.fields.iter().map(|(_, value)| elements(value)).collect();
    let fields = row.fields.iter().zip(&arrays);
    let fields: Vec<_> = fields.map(|((k, v), array)| (k.as_str(), borrow(v, array))).collect();
    let mut line = Vec::new();
    encode_line(&mut line, &row.measurement, &tags, &fields, row.timestamp)?;
    Ok(line)
}

fn elements(value: &Value) -> Vec<[u8; 8]> {
    match value {
        Value::Array(bits) => bits.iter().map(|bits| bits.to_le_bytes()).collect(),
        _ => Vec::new(),
    }
}

fn borrow<'a>(value: &'a Value, elements: &'a [[u8; 8]]) -> FieldValue<'a> {
    match value {
        Value::Float(v) => FieldValue::Float(*v),
        Value::Integer(v) => FieldValue::Integer(*v),
        Value::Unsigned(v) => FieldValue::Unsigned(*v),
        Value::Boolean(v) => FieldValue::Boolean(*v),
        Value::String(v) => FieldValue::String(v),
        Value::Timestamp(v) => FieldValue::Timestamp(*v),
        Value::Array(_) => FieldValue::Array(Doubles::new(elements)),
    }
}
