//! The general path: one line, the whole dialect, every check, and a reason for each refusal.
//!
//! Steps: the line is checked for UTF-8 as a whole, so that each part is a slice of a `&str`, and binary values are covered
//! up for that where they stand in the way; then measurement, tags, fields and timestamp are read from left to right; then duplicates are sought.
//! Escaped parts and the lists of pairs live in an arena that the next line uses again.

use super::binary::{self, Binary, BinaryError};
use super::cursor::{Cursor, boolean};
use super::limits::{Dialect, Limits, Precision};
use super::line::{FieldValue, Item, Line};
use super::number::{self, NumberError};
use super::reason::{LineError, Reason};
use super::scan::{self, BACKSLASH, COMMA, CONTROL, EQUALS, SPACE};
use super::split::binary_values;
use bumpalo::Bump;
use bumpalo::collections::{String as ArenaString, Vec as ArenaVec};
use std::borrow::Cow;

/// Reads lines. One for each connection; it keeps its working memory between lines.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    precision: Precision,
    dialect: Dialect,
    arena: Bump,
}

/// Room for this many tags and as many fields is made at once: most lines have no more.
const PAIRS: usize = 16;

/// Working memory beyond this is given back after the line that needed it.
const ARENA_BYTES_KEPT: usize = 256 << 10;

impl Parser {
    /// A parser of the default dialect.
    pub fn new(limits: Limits, precision: Precision) -> Parser {
        Parser { limits, precision, dialect: Dialect::default(), arena: Bump::new() }
    }

    /// The same parser with another reading of backslashes.
    #[must_use]
    pub fn with_dialect(mut self, dialect: Dialect) -> Parser {
        self.dialect = dialect;
        self
    }

    /// The fast path over `line`, under the same limits and precision.
    #[inline]
    pub fn cursor<'a>(&self, line: &'a [u8]) -> Cursor<'a> {
        Cursor::new(line, &self.limits, self.precision)
    }

    /// Reads one line, given without its newline.
    ///
    /// # Errors
    /// The first thing that is wrong with the line, from the left; duplicates last.
    pub fn parse<'a>(&'a mut self, line: &'a [u8]) -> Result<Item<'a>, LineError> {
        if line.len() > self.limits.line_bytes {
            return Err(LineError::new(
                Reason::LineTooLong,
                self.limits.line_bytes,
                format!("{} bytes; the limit is {}", line.len(), self.limits.line_bytes),
            ));
        }
        let whole = line;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let start = line.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(line.len());
        match line.get(start..).unwrap_or_default() {
            [] => return Ok(Item::Blank),
            [b'#', comment @ ..] => return Ok(Item::Comment(comment)),
            _ => {}
        }
        self.reader(line, whole, start)?.row().map(Item::Row)
    }

    /// Measurement and tags of a line of which [`Cursor::series`] gave these bytes, as a line without fields. `None` for all
    /// that [`Parser::parse`] would refuse, or read otherwise: the whole line is then for it to decide.
    pub fn series<'a>(&'a mut self, series: &'a [u8]) -> Option<Line<'a>> {
        if series.first() == Some(&b'#') {
            return None;
        }
        self.reader(series, series, 0).ok()?.series()
    }

    fn reader<'a>(
        &'a mut self,
        line: &'a [u8],
        whole: &'a [u8],
        at: usize,
    ) -> Result<Reader<'a>, LineError> {
        if self.arena.allocated_bytes() > ARENA_BYTES_KEPT {
            self.arena = Bump::new();
        }
        self.arena.reset();
        Ok(Reader {
            text: utf8(line, &self.arena)?,
            whole,
            key_starts: ArenaVec::with_capacity_in(2 * PAIRS, &self.arena),
            at,
            limits: &self.limits,
            dialect: self.dialect,
            unit: self.precision.nanos(),
            arena: &self.arena,
        })
    }
}

/// The line as text, its binary values covered up if they are none.
fn utf8<'a>(line: &'a [u8], arena: &'a Bump) -> Result<&'a str, LineError> {
    // The quick check says only whether; the slower one says where.
    if let Ok(text) = simdutf8::basic::from_utf8(line) {
        return Ok(text);
    }
    let covered = arena.alloc_slice_copy(line);
    binary_values(line, |value| {
        let end = value.end.min(line.len());
        covered.get_mut(value.start..end).unwrap_or_default().fill(b'.');
    });
    std::str::from_utf8(covered)
        .map_err(|error| LineError::new(Reason::InvalidUtf8, error.valid_up_to(), "not UTF-8"))
}

/// What a name is, as far as its bytes are concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Measurement,
    TagKey,
    TagValue,
    FieldKey,
}

impl Part {
    fn noun(self) -> &'static str {
        match self {
            Part::Measurement => "measurement",
            Part::TagKey => "tag key",
            Part::TagValue => "tag value",
            Part::FieldKey => "field key",
        }
    }

    /// The classes of bytes at which the part ends, or is looked at more closely.
    fn stops(self) -> u8 {
        match self {
            Part::Measurement | Part::TagValue => COMMA | SPACE | BACKSLASH | CONTROL,
            Part::TagKey | Part::FieldKey => COMMA | SPACE | EQUALS | BACKSLASH | CONTROL,
        }
    }

    fn escapes(self, byte: u8) -> bool {
        matches!(byte, b',' | b' ') || (byte == b'=' && self != Part::Measurement)
    }
}

/// One line under way. `at` never passes the end of `text`, and always lies between characters: it
/// moves over whole parts, which ASCII bytes bound.
struct Reader<'a> {
    text: &'a str,
    /// The line as it came, with the binary values and with the carriage return, which may be a byte of one.
    whole: &'a [u8],
    /// Where the keys read so far start.
    key_starts: ArenaVec<'a, u32>,
    at: usize,
    limits: &'a Limits,
    dialect: Dialect,
    unit: i64,
    arena: &'a Bump,
}

impl<'a> Reader<'a> {
    fn row(mut self) -> Result<Line<'a>, LineError> {
        let start = self.at;
        let measurement = self.name(Part::Measurement)?;
        let tags = self.tags()?;
        let series = self.bytes().get(start..self.at).unwrap_or_default();
        self.skip_spaces();
        let fields = self.fields()?;
        self.skip_spaces();
        let timestamp = self.timestamp()?;
        self.refuse_duplicates(&tags, &fields)?;
        Ok(Line {
            measurement,
            series,
            tags: tags.into_bump_slice(),
            fields: fields.into_bump_slice(),
            timestamp,
            key_starts: self.key_starts.into_bump_slice(),
        })
    }

    /// A line that is measurement and tags and nothing else.
    fn series(mut self) -> Option<Line<'a>> {
        let measurement = self.name(Part::Measurement).ok()?;
        let tags = self.tags().ok()?;
        if self.peek().is_some() {
            return None;
        }
        self.refuse_duplicates(&tags, &[]).ok()?;
        Some(Line {
            measurement,
            series: self.bytes(),
            tags: tags.into_bump_slice(),
            fields: &[],
            timestamp: None,
            key_starts: self.key_starts.into_bump_slice(),
        })
    }

    /// `,key=value` as often as it comes.
    fn tags(&mut self) -> Result<ArenaVec<'a, (&'a str, &'a str)>, LineError> {
        let mut tags = ArenaVec::with_capacity_in(PAIRS, self.arena);
        while self.peek() == Some(b',') {
            self.at += 1;
            if tags.len() == self.limits.tags {
                let detail = format!("the limit is {} tags", self.limits.tags);
                return Err(self.error(Reason::TooManyTags, detail));
            }
            let key = self.key(Part::TagKey)?;
            self.equals(Reason::TagSyntax, "tag")?;
            let value = self.name(Part::TagValue)?;
            tags.push((key, value));
        }
        Ok(tags)
    }

    /// `key=value` separated by commas, at least one.
    fn fields(&mut self) -> Result<ArenaVec<'a, (&'a str, FieldValue<'a>)>, LineError> {
        if self.peek().is_none() {
            return Err(self.error(Reason::NoFields, "a line needs at least one field"));
        }
        let mut fields = ArenaVec::with_capacity_in(PAIRS, self.arena);
        loop {
            if fields.len() == self.limits.fields {
                let detail = format!("the limit is {} fields", self.limits.fields);
                return Err(self.error(Reason::TooManyFields, detail));
            }
            let key = self.key(Part::FieldKey)?;
            self.equals(Reason::FieldSyntax, "field")?;
            let value = self.value()?;
            fields.push((key, value));
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b' ') | None => return Ok(fields),
                Some(_) => {
                    let detail = "text after a closing quote or a binary value";
                    return Err(self.error(Reason::FieldSyntax, detail));
                }
            }
        }
    }

    fn key(&mut self, part: Part) -> Result<&'a str, LineError> {
        // Lines of 4 GiB are beyond every limit; a wrong offset in a message would be the worst of it.
        self.key_starts.push(self.at as u32);
        self.name(part)
    }

    /// The name that starts here, unescaped. Leaves the position at the byte that ends it.
    fn name(&mut self, part: Part) -> Result<&'a str, LineError> {
        let start = self.at;
        let bytes = self.bytes();
        let mut escaped = false;
        let mut ends_in_backslash = false;
        loop {
            let before = self.at;
            self.at = scan::find_class(bytes, self.at, part.stops());
            ends_in_backslash &= self.at == before;
            match bytes.get(self.at) {
                Some(b'\\') => {
                    let next = bytes.get(self.at + 1).copied().unwrap_or(0);
                    let pair = next == b'\\' && self.dialect == Dialect::Influx3;
                    let escape = pair || part.escapes(next);
                    escaped |= escape;
                    ends_in_backslash = !escape || pair;
                    self.at += 1 + usize::from(escape);
                }
                Some(&byte) if scan::class(byte) == CONTROL => {
                    let detail = format!("byte 0x{byte:02x} in a {}", part.noun());
                    return Err(self.error(Reason::ControlByte, detail));
                }
                _ => break,
            }
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        if raw.is_empty() {
            let reason =
                if part == Part::TagValue { Reason::EmptyValue } else { Reason::EmptyName };
            return Err(self.error(reason, format!("empty {}", part.noun())));
        }
        if ends_in_backslash && self.dialect == Dialect::Influx3 {
            let detail = format!("{} ends in a backslash", part.noun());
            return Err(self.error(Reason::NameSyntax, detail));
        }
        let name = if escaped { self.unescape(raw, part) } else { raw };
        self.bound(start, part, name.len())?;
        Ok(name)
    }

    fn bound(&self, start: usize, part: Part, length: usize) -> Result<(), LineError> {
        let (reason, limit) = match part {
            Part::TagValue => (Reason::StringTooLong, self.limits.string_bytes),
            _ => (Reason::NameTooLong, self.limits.name_bytes),
        };
        if length <= limit {
            return Ok(());
        }
        let detail = format!("{} of {length} bytes; the limit is {limit}", part.noun());
        Err(LineError::new(reason, start, detail))
    }

    fn unescape(&self, raw: &str, part: Part) -> &'a str {
        let pair = self.dialect == Dialect::Influx3;
        self.replace_escapes(raw, |byte| match byte {
            b'\\' if pair => Some("\\"),
            b',' => Some(","),
            b' ' => Some(" "),
            b'=' if part != Part::Measurement => Some("="),
            _ => None,
        })
    }

    /// `raw` with each backslash and the byte behind it replaced by what `escape` says, if anything.
    fn replace_escapes(&self, raw: &str, escape: impl Fn(u8) -> Option<&'static str>) -> &'a str {
        let mut text = ArenaString::with_capacity_in(raw.len(), self.arena);
        let mut rest = raw;
        while let Some((plain, tail)) = rest.split_once('\\') {
            text.push_str(plain);
            match tail.bytes().next().and_then(&escape) {
                Some(replacement) => {
                    text.push_str(replacement);
                    rest = tail.get(1..).unwrap_or_default();
                }
                None => {
                    text.push('\\');
                    rest = tail;
                }
            }
        }
        text.push_str(rest);
        text.into_bump_str()
    }

    fn value(&mut self) -> Result<FieldValue<'a>, LineError> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.string().map(FieldValue::String),
            Some(binary::MARK) => return self.binary(),
            _ => {}
        }
        let end = scan::find_class(self.bytes(), start, COMMA | SPACE);
        let token = self.bytes().get(start..end).unwrap_or_default();
        let value =
            plain_value(token).map_err(|(reason, detail)| LineError::new(reason, start, detail))?;
        self.at = end;
        Ok(value)
    }

    /// The binary value whose mark is here.
    fn binary(&mut self) -> Result<FieldValue<'a>, LineError> {
        let start = self.at;
        let refuse = |reason, detail: Cow<'static, str>| LineError::new(reason, start, detail);
        match binary::read(self.whole.get(start + 1..).unwrap_or_default()) {
            Ok((Binary::Double(value), _)) if !value.is_finite() => {
                Err(refuse(Reason::BadValue, NOT_FINITE.into()))
            }
            Ok((value, length)) => {
                self.at = start + 1 + length;
                Ok(match value {
                    Binary::Double(value) => FieldValue::Float(value),
                    Binary::Array(array) => FieldValue::Array(array),
                })
            }
            Err(BinaryError::Short) => {
                Err(refuse(Reason::BadValue, "the line ends within a binary value".into()))
            }
            Err(BinaryError::Unsupported(what)) => {
                Err(refuse(Reason::UnsupportedType, format!("{what} is not supported").into()))
            }
            Err(BinaryError::Unknown) => {
                Err(refuse(Reason::UnsupportedType, "a binary value of an unknown type".into()))
            }
        }
    }

    /// The string that starts at this quote.
    fn string(&mut self) -> Result<&'a str, LineError> {
        let start = self.at + 1;
        let bytes = self.bytes();
        let mut end = start;
        let mut escaped = false;
        loop {
            let rest = bytes.get(end..).unwrap_or_default();
            match memchr::memchr2(b'"', b'\\', rest) {
                Some(i) if rest.get(i) == Some(&b'"') => {
                    end += i;
                    break;
                }
                // The byte behind a backslash may begin a character of several bytes. None of them
                // is a quote or a backslash, so the search goes on inside it.
                Some(i) if i + 1 < rest.len() => {
                    escaped = true;
                    end += i + 2;
                }
                _ => {
                    let detail = "the string that starts here has no closing quote";
                    return Err(LineError::new(Reason::UnterminatedString, self.at, detail));
                }
            }
        }
        self.at = end + 1;
        let raw = self.text.get(start..end).unwrap_or_default();
        let text = if escaped { self.unescape_string(raw) } else { raw };
        let limit = self.limits.string_bytes;
        if text.len() > limit {
            let detail = format!("string of {} bytes; the limit is {limit}", text.len());
            return Err(LineError::new(Reason::StringTooLong, start, detail));
        }
        Ok(text)
    }

    fn unescape_string(&self, raw: &str) -> &'a str {
        let controls = self.dialect == Dialect::V2;
        self.replace_escapes(raw, |byte| match byte {
            b'"' => Some("\""),
            b'\\' => Some("\\"),
            b'n' if controls => Some("\n"),
            b'r' if controls => Some("\r"),
            b't' if controls => Some("\t"),
            _ => None,
        })
    }

    /// The timestamp, and the end of the line.
    fn timestamp(&mut self) -> Result<Option<i64>, LineError> {
        let start = self.at;
        let end = scan::find_class(self.bytes(), start, SPACE);
        let token = self.bytes().get(start..end).unwrap_or_default();
        if token.is_empty() {
            return Ok(None);
        }
        let (digits, unit) = match token {
            [digits @ .., suffix] if !suffix.is_ascii_digit() => {
                (digits, number::suffix_unit(*suffix).unwrap_or(0))
            }
            _ => (token, self.unit),
        };
        let value = match number::integer(digits) {
            Ok(_) if unit == 0 => Err(NumberError::Syntax),
            Ok(value) => value.checked_mul(unit).ok_or(NumberError::Range),
            Err(error) => Err(error),
        };
        self.at = end;
        self.skip_spaces();
        match value {
            Ok(_) if self.peek().is_some() => {
                Err(self.error(Reason::TrailingText, "text after the timestamp"))
            }
            Ok(value) => Ok(Some(value)),
            Err(NumberError::Syntax) => {
                Err(LineError::new(Reason::BadTimestamp, start, "not an integer"))
            }
            Err(NumberError::Range) => Err(LineError::new(
                Reason::TimestampRange,
                start,
                "beyond 64-bit nanoseconds; is the precision right?",
            )),
        }
    }

    /// Refuses a line that names a column twice.
    fn refuse_duplicates(
        &self,
        tags: &[(&str, &str)],
        fields: &[(&str, FieldValue<'_>)],
    ) -> Result<(), LineError> {
        let keys = tags.iter().map(|t| t.0).chain(fields.iter().map(|f| f.0));
        let Some(key) = repeated(keys, tags.len() + fields.len(), self.arena) else {
            return Ok(());
        };
        let (reason, what) = match tags.iter().filter(|t| t.0 == key).count() {
            0 => (Reason::DuplicateField, "comes twice as a field"),
            1 => (Reason::DuplicateField, "is a tag and a field"),
            _ => (Reason::DuplicateTag, "comes twice as a tag"),
        };
        let keys = tags.iter().map(|t| t.0).chain(fields.iter().map(|f| f.0));
        let equal = keys.zip(&self.key_starts).filter(|(other, _)| *other == key);
        let second = equal.map(|(_, &start)| start as usize).nth(1).unwrap_or(0);
        Err(LineError::new(reason, second, format!("{key:?} {what}")))
    }

    fn equals(&mut self, reason: Reason, noun: &str) -> Result<(), LineError> {
        if self.peek() != Some(b'=') {
            return Err(self.error(reason, format!("expected `=` after the {noun}'s key")));
        }
        self.at += 1;
        Ok(())
    }

    fn skip_spaces(&mut self) {
        self.at = scan::skip_spaces(self.bytes(), self.at);
    }

    fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn error(&self, reason: Reason, detail: impl Into<Cow<'static, str>>) -> LineError {
        LineError::new(reason, self.at, detail)
    }
}

/// Beyond this many keys, sorting them is cheaper than the sieve.
const KEYS_SIEVED: usize = 64;

/// The second of two equal keys, if there are any.
///
/// The sieve has a bit for each of 256 values of a cheap hash: only a key whose bit is already set
/// is compared with those before it.
fn repeated<'a>(
    keys: impl Iterator<Item = &'a str> + Clone,
    count: usize,
    arena: &Bump,
) -> Option<&'a str> {
    if count <= KEYS_SIEVED {
        let mut sieve = [0_u64; 4];
        return keys.clone().enumerate().find_map(|(i, key)| {
            let hash = cheap_hash(key.as_bytes());
            let bit = 1 << (hash & 63);
            let word = &mut sieve[usize::from(hash >> 6)];
            let seen = *word & bit != 0;
            *word |= bit;
            (seen && keys.clone().take(i).any(|other| other == key)).then_some(key)
        });
    }
    let mut sorted = ArenaVec::with_capacity_in(count, arena);
    sorted.extend(keys);
    sorted.sort_unstable();
    sorted.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*b),
        _ => None,
    })
}

/// A hash of the length and three bytes: names of one line rarely share all four.
fn cheap_hash(key: &[u8]) -> u8 {
    let byte = |at: usize| key.get(at).copied().unwrap_or(0);
    let length = key.len();
    (length as u8).wrapping_mul(37)
        ^ byte(length / 2).wrapping_mul(59)
        ^ byte(length.wrapping_sub(1)).wrapping_mul(101)
        ^ byte(length.wrapping_sub(2)).wrapping_mul(173)
}

/// The value that a token without quotes spells. Its last byte gives the type.
fn plain_value(token: &[u8]) -> Result<FieldValue<'static>, (Reason, &'static str)> {
    let Some((&last, head)) = token.split_last() else {
        return Err((Reason::EmptyValue, "empty field value"));
    };
    let numeric = matches!(head, [b'0'..=b'9' | b'-' | b'.', ..]);
    let value = match last {
        _ if head.starts_with(b"0x") && last == b'i' => {
            return Err((Reason::UnsupportedType, "long256 values are not supported"));
        }
        b'd' if numeric => {
            return Err((Reason::UnsupportedType, "decimal values are not supported"));
        }
        b'i' if numeric => number::integer(head).map(FieldValue::Integer),
        b'u' if numeric => number::unsigned(head).map(FieldValue::Unsigned),
        b't' | b'n' | b'm' if numeric => number::integer(head).and_then(|value| {
            let unit = number::suffix_unit(last).ok_or(NumberError::Syntax)?;
            value.checked_mul(unit).map(FieldValue::Timestamp).ok_or(NumberError::Range)
        }),
        b'0'..=b'9' | b'.' => number::float(token).map(FieldValue::Float),
        _ => boolean(token).map(FieldValue::Boolean).ok_or(NumberError::Syntax),
    };
    value.map_err(|error| match error {
        NumberError::Range if matches!(last, b't' | b'n' | b'm') => {
            (Reason::TimestampRange, "beyond 64-bit nanoseconds")
        }
        NumberError::Range => (Reason::NumberRange, "beyond the range of its type"),
        NumberError::Syntax if is_not_finite(token) => (Reason::BadValue, NOT_FINITE),
        NumberError::Syntax => {
            (Reason::BadValue, "neither a number, nor a boolean, nor a string in double quotes")
        }
    })
}

const NOT_FINITE: &str = "NaN and infinity are not values";

fn is_not_finite(token: &[u8]) -> bool {
    let word = token.strip_prefix(b"-").or(token.strip_prefix(b"+")).unwrap_or(token);
    ["nan", "inf", "infinity"].iter().any(|w| word.eq_ignore_ascii_case(w.as_bytes()))
}
