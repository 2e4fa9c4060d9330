//! The fast path: recognises what is plainly right in one line, and gives up on all else.
//!
//! Every method answers `None`, `false` or [`Next::Odd`] at anything unusual: an escape in a key or
//! string, a leading space, twenty digits, any error. The caller then begins the line again with
//! [`LineSplitter`](super::LineSplitter) and [`Parser`](super::Parser), which decide. What a cursor
//! does recognise, the parser gives alike.
//!
//! Two things are the caller's: names are known from a line or a series that the parser accepted, never taken
//! from here unseen; and a key comes once in a line, also not as a tag and a field.

use super::binary::{self, Binary};
use super::limits::{Limits, Precision};
use super::number;
use super::scan::{self, BACKSLASH, COMMA, CONTROL, EQUALS, SPACE};

/// What follows a field's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// A comma: the cursor stands at the next field's key.
    Field,
    /// Spaces: the cursor stands at a timestamp.
    Timestamp,
    /// The line is over.
    End,
    /// Anything else: give the line to the parser.
    Odd,
}

/// A position in one line. Made by [`Parser::cursor`](super::Parser::cursor).
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
    /// Tags that may come. They are counted as the most that their bytes can hold, so that a line which may break the
    /// limit goes to the parser, which counts.
    tags: usize,
    /// Fields that may still come.
    fields_left: usize,
    string_bytes: usize,
    unit: i64,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of a line that ends before its newline.
    pub(super) fn new(line: &'a [u8], limits: &Limits, precision: Precision) -> Cursor<'a> {
        // An over-long line shows as an empty one, which no method accepts.
        let line = if line.len() <= limits.line_bytes { line } else { &[] };
        Cursor {
            line,
            at: 0,
            tags: limits.tags,
            fields_left: limits.fields,
            string_bytes: limits.string_bytes,
            unit: precision.nanos(),
        }
    }

    /// The bytes of measurement and tags, and steps to the first field's key. Not validated: they
    /// mean something only if the parser gave the same [`Line::series`](super::Line::series) before,
    /// or if [`Parser::series`](super::Parser::series) lets them pass.
    #[inline]
    pub fn series(&mut self) -> Option<&'a [u8]> {
        let mut end = 0;
        loop {
            end += memchr::memchr(b' ', self.line.get(end..)?)?;
            match end.checked_sub(1).and_then(|before| self.line.get(before)) {
                // Leading white space is the parser's to strip.
                None => return None,
                Some(b'\\') => end += 1,
                Some(_) => break,
            }
        }
        let series = self.line.get(..end)?;
        // The shortest tag has four bytes: `,k=v`.
        if series.len() / 4 > self.tags {
            return None;
        }
        self.at = scan::skip_spaces(self.line, end);
        Some(series)
    }

    /// Steps past `key`, a key as it is spelled on the wire, and its `=`, if they come next.
    #[inline]
    pub fn expect_key(&mut self, key: &[u8]) -> bool {
        let found = self
            .rest()
            .split_at_checked(key.len())
            .is_some_and(|(text, behind)| behind.first() == Some(&b'=') && scan::equal(text, key));
        if found {
            self.at += key.len() + 1;
        }
        found
    }

    /// The key that comes next, if it has no escapes, and steps past its `=`.
    #[inline]
    pub fn key(&mut self) -> Option<&'a [u8]> {
        const STOP: u8 = COMMA | EQUALS | SPACE | BACKSLASH | CONTROL;
        let end = scan::find_class(self.line, self.at, STOP);
        let key = self.line.get(self.at..end)?;
        if key.is_empty() || self.line.get(end) != Some(&b'=') {
            return None;
        }
        self.at = end + 1;
        Some(key)
    }

    /// An integer with its `i`.
    #[inline]
    pub fn integer(&mut self) -> Option<i64> {
        let (value, length) = number::signed_prefix(self.rest())?;
        self.suffix(b'i', length)?;
        Some(value)
    }

    /// An unsigned integer with its `u`.
    #[inline]
    pub fn unsigned(&mut self) -> Option<u64> {
        let (value, digits) = number::leading_digits(self.rest());
        // Twenty digits may fit, and the parser looks.
        if !(1..=19).contains(&digits) {
            return None;
        }
        self.suffix(b'u', digits)?;
        Some(value)
    }

    /// A float, spelled in digits or in binary.
    #[inline]
    pub fn float(&mut self) -> Option<f64> {
        let (value, length) = match number::float_prefix(self.rest()) {
            Ok(read) => read,
            Err(_) => self.binary_double()?,
        };
        self.at += length;
        Some(value)
    }

    /// A float, or an integer of at most 53 bits, which a float holds exactly.
    #[inline]
    pub fn float_or_integer(&mut self) -> Option<f64> {
        let start = self.at;
        let value = self.float()?;
        if !matches!(self.line.get(self.at), Some(b'i' | b'u')) {
            return Some(value);
        }
        self.at = start;
        let integer = match self.integer() {
            Some(integer) => integer,
            None => i64::try_from(self.unsigned()?).ok()?,
        };
        (integer.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS).then_some(integer as f64)
    }

    fn binary_double(&self) -> Option<(f64, usize)> {
        match binary::read(self.rest().strip_prefix(&[binary::MARK])?) {
            Ok((Binary::Double(value), length)) if value.is_finite() => Some((value, length + 1)),
            _ => None,
        }
    }

    /// A timestamp with its suffix, in nanoseconds.
    #[inline]
    pub fn instant(&mut self) -> Option<i64> {
        let (value, length) = number::signed_prefix(self.rest())?;
        let unit = number::suffix_unit(*self.line.get(self.at + length)?)?;
        self.at += length + 1;
        value.checked_mul(unit)
    }

    /// A boolean in any of its spellings.
    #[inline]
    pub fn boolean(&mut self) -> Option<bool> {
        let rest = self.rest();
        let token = rest.get(..scan::find_class(rest, 0, COMMA | SPACE | CONTROL))?;
        let value = boolean(token)?;
        self.at += token.len();
        Some(value)
    }

    /// A quoted string without escapes.
    #[inline]
    pub fn string(&mut self) -> Option<&'a str> {
        let text = self.rest().strip_prefix(b"\"")?;
        let end = memchr::memchr2(b'"', b'\\', text)?;
        if text.get(end) != Some(&b'"') || end > self.string_bytes {
            return None;
        }
        let string = simdutf8::basic::from_utf8(text.get(..end)?).ok()?;
        self.at += end + 2;
        Some(string)
    }

    /// What follows the value just read, and steps to it.
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "a cursor yields no items of its own")]
    pub fn next(&mut self) -> Next {
        let Some(left) = self.fields_left.checked_sub(1) else {
            return Next::Odd;
        };
        self.fields_left = left;
        match self.line.get(self.at) {
            Some(b',') => {
                self.at += 1;
                Next::Field
            }
            Some(b' ') => {
                self.at = scan::skip_spaces(self.line, self.at);
                match self.line.get(self.at) {
                    Some(b'0'..=b'9' | b'-') => Next::Timestamp,
                    _ => self.end(),
                }
            }
            _ => self.end(),
        }
    }

    /// The timestamp in nanoseconds, if nothing but white space follows it.
    #[inline]
    pub fn timestamp(&mut self) -> Option<i64> {
        let (value, length) = number::signed_prefix(self.rest())?;
        self.at = scan::skip_spaces(self.line, self.at + length);
        match self.end() {
            Next::End => value.checked_mul(self.unit),
            _ => None,
        }
    }

    fn end(&self) -> Next {
        if matches!(self.rest(), [] | [b'\r']) { Next::End } else { Next::Odd }
    }

    fn suffix(&mut self, letter: u8, length: usize) -> Option<()> {
        let end = self.at + length;
        if self.line.get(end) != Some(&letter) {
            return None;
        }
        self.at = end + 1;
        Some(())
    }

    fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }
}

/// The boolean that a whole token spells.
pub(super) fn boolean(token: &[u8]) -> Option<bool> {
    match token {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(true),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}
