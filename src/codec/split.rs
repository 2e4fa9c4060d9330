//! Finds whole lines in a growing buffer.
//!
//! A newline ends a line, but not inside a quoted string of the field section, where it is data. A
//! quote opens a string only where a value begins, so that one in a name or in junk does not swallow
//! the lines behind it. A line beyond the limit is skipped to the next newline.
//!
//! A binary value says how long it is, and a newline within that length is data, too. One that cannot be, or that would
//! pass the limit of a line, is junk: its line ends at the next newline.
//!
//! The splitter remembers how far it has looked: however the bytes arrive, each is looked at a
//! bounded number of times. Not here: whether a line is right; `Parser` says that.

use super::binary::{self, Extent};
use memchr::memmem::Finder;
use memchr::{memchr, memchr2};
use std::ops::Range;

/// What is at the start of the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split<'b> {
    /// A whole line.
    Line {
        /// The line without its newline.
        text: &'b [u8],
        /// Bytes to drop from the buffer, the newline included.
        consumed: usize,
    },
    /// A piece of a line that is too long.
    Skipped {
        /// Bytes to drop from the buffer.
        consumed: usize,
        /// Bytes of this line dropped so far, this piece and the newline included.
        total: u64,
        /// Whether this piece holds the newline, so that a new line follows.
        ends: bool,
        /// Whether a string was open where the line passed the limit.
        in_string: bool,
    },
    /// No whole line yet: call again with the same bytes and more behind them.
    Incomplete,
}

/// Finds whole lines in a growing buffer.
///
/// After [`Split::Incomplete`] the next call must get the same start of the same line; else, what
/// was consumed must be gone from the buffer.
#[derive(Clone, Debug)]
pub struct LineSplitter {
    line_bytes: usize,
    /// Bytes of the current line known to hold no newline that ends it.
    scanned: usize,
    /// Where the current line's grammar stands.
    walk: Walk,
    /// Bytes dropped of an over-long line, 0 when not in one.
    skipped: u64,
    /// Whether a string was open where that line passed the limit.
    skipped_in_string: bool,
    /// Finds what may announce a binary value.
    marks: Finder<'static>,
}

/// Where in the grammar of a line a byte is, as far as strings and binary values go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Leading white space.
    Start,
    /// Measurement and tags.
    Series,
    /// Before or in a field's key.
    Key,
    /// At the first byte of a value.
    Value,
    /// In a value without quotes.
    Plain,
    /// In a string.
    String,
    /// After a string's closing quote, or after a binary value.
    Closed,
    /// No string can open any more: a comment, the timestamp, junk.
    Rest,
}

/// A walk over one line; kept only while quotes or binary values matter.
#[derive(Clone, Copy, Debug)]
struct Walk {
    state: State,
    at: usize,
    /// Where the last string or binary value began.
    opened: usize,
}

/// What a line is in the midst of where its bytes, so far, end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Open {
    /// Nothing: a newline ends it.
    Nothing,
    /// A string.
    String,
    /// A binary value that ends here at the earliest.
    Binary(usize),
    /// A binary value that cannot be, from here on.
    Junk(usize),
}

impl LineSplitter {
    /// A splitter for lines of at most `line_bytes`. The buffer must be able to hold one byte more.
    pub fn new(line_bytes: usize) -> LineSplitter {
        LineSplitter {
            line_bytes,
            scanned: 0,
            walk: Walk::new(),
            skipped: 0,
            skipped_in_string: false,
            marks: Finder::new(b"=="),
        }
    }

    /// Whether the buffer's first byte begins a line of which nothing has been looked at. Only then
    /// may the caller take a line from the buffer by itself.
    pub fn is_fresh(&self) -> bool {
        self.scanned == 0 && self.skipped == 0
    }

    /// Whether the start of the current line has been dropped because it is too long.
    pub fn is_skipping(&self) -> bool {
        self.skipped > 0
    }

    /// What is at the start of `buf`.
    pub fn next<'b>(&mut self, buf: &'b [u8]) -> Split<'b> {
        if self.skipped > 0 {
            return self.skip(buf, memchr(b'\n', buf));
        }
        loop {
            let unseen = buf.get(self.scanned..).unwrap_or_default();
            let Some(newline) = memchr(b'\n', unseen).map(|i| self.scanned + i) else {
                self.scanned = self.scanned.max(buf.len());
                if buf.len() > self.line_bytes {
                    return self.pass_limit(buf, None);
                }
                return Split::Incomplete;
            };
            if newline > self.line_bytes {
                return self.pass_limit(buf, Some(newline));
            }
            let end = match self.open_at_end(buf.get(..newline).unwrap_or_default()) {
                Open::Nothing => newline,
                Open::String => {
                    self.scanned = newline + 1;
                    continue;
                }
                Open::Binary(end) => {
                    self.scanned = end.max(newline + 1);
                    continue;
                }
                Open::Junk(from) => first_newline(buf, from).unwrap_or(newline),
            };
            self.reset();
            return Split::Line { text: buf.get(..end).unwrap_or_default(), consumed: end + 1 };
        }
    }

    /// What is at the start of `buf` when no byte will follow it: the last line may lack its newline,
    /// and a string or binary value that is still open ends the line at its first newline after all, so that the
    /// lines behind it are not lost. [`Split::Incomplete`] now means that `buf` is empty.
    pub fn finish<'b>(&mut self, buf: &'b [u8]) -> Split<'b> {
        let split = self.next(buf);
        if split != Split::Incomplete {
            return split;
        }
        self.reset();
        if buf.is_empty() {
            return Split::Incomplete;
        }
        let newline = match self.open_at_end(buf) {
            Open::Nothing => None,
            _ => first_newline(buf, self.walk.opened),
        };
        self.reset();
        match newline {
            Some(newline) => {
                Split::Line { text: buf.get(..newline).unwrap_or_default(), consumed: newline + 1 }
            }
            None => Split::Line { text: buf, consumed: buf.len() },
        }
    }

    fn reset(&mut self) {
        self.scanned = 0;
        self.walk = Walk::new();
        self.skipped = 0;
        self.skipped_in_string = false;
    }

    /// Begins to skip the line, which has more bytes than it may.
    fn pass_limit<'b>(&mut self, buf: &'b [u8], newline: Option<usize>) -> Split<'b> {
        // What lies beyond the limit may not be there yet, and must make no difference.
        let within = buf.get(..self.line_bytes).unwrap_or_default();
        self.skipped_in_string = self.open_at_end(within) == Open::String;
        self.skip(buf, newline)
    }

    fn skip<'b>(&mut self, buf: &'b [u8], newline: Option<usize>) -> Split<'b> {
        let consumed = newline.map_or(buf.len(), |i| i + 1);
        let (total, in_string) = (self.skipped + consumed as u64, self.skipped_in_string);
        self.reset();
        if newline.is_none() {
            self.skipped = total;
            self.skipped_in_string = in_string;
        }
        if consumed == 0 {
            return Split::Incomplete;
        }
        Split::Skipped { consumed, total, ends: newline.is_some(), in_string }
    }

    /// What is open at the end of `text`, the line so far. Goes on where it last stood.
    fn open_at_end(&mut self, text: &[u8]) -> Open {
        // Nearly every line has neither quotes nor marks: two looks tell.
        let plain = || memchr(b'"', text).is_none() && self.marks.find(text).is_none();
        if self.walk.at == 0 && plain() {
            return Open::Nothing;
        }
        self.walk.on(text, self.line_bytes, |_| {})
    }
}

/// Where the binary values of a line lie, from the byte behind the mark on. One that the line cuts off, or that cannot be,
/// reaches to the end.
pub(super) fn binary_values(line: &[u8], found: impl FnMut(Range<usize>)) {
    let _open = Walk::new().on(line, line.len(), found);
}

fn first_newline(buf: &[u8], from: usize) -> Option<usize> {
    memchr(b'\n', buf.get(from..)?).map(|i| from + i)
}

impl Walk {
    fn new() -> Walk {
        Walk { state: State::Start, at: 0, opened: 0 }
    }

    /// Walks to the end of `text`, and names the binary values on the way.
    fn on(&mut self, text: &[u8], line_bytes: usize, mut found: impl FnMut(Range<usize>)) -> Open {
        while let Some(&byte) = text.get(self.at) {
            if self.state == State::Value {
                self.opened = self.at;
                if byte == binary::MARK {
                    match self.binary(text, line_bytes) {
                        Ok(end) => found(self.opened + 1..end),
                        Err(open) => {
                            found(self.opened + 1..text.len());
                            return open;
                        }
                    }
                    continue;
                }
            }
            (self.state, self.at) = step(self.state, byte, text, self.at);
            if self.state == State::Rest {
                self.at = text.len();
            }
        }
        if self.state == State::String { Open::String } else { Open::Nothing }
    }

    /// Steps over the binary value whose mark is here, and says where it ends.
    fn binary(&mut self, text: &[u8], line_bytes: usize) -> Result<usize, Open> {
        let start = self.at + 1;
        let end = match binary::extent(text.get(start..).unwrap_or_default()) {
            // A newline follows the mark, and no type has that number.
            Extent::Unknown if start == text.len() => return Err(Open::Nothing),
            Extent::Unknown => return Err(Open::Binary(text.len() + 1)),
            Extent::Bytes(length) if length <= line_bytes.saturating_sub(start) => start + length,
            Extent::Bytes(_) | Extent::Invalid => return Err(Open::Junk(start)),
        };
        if end > text.len() {
            return Err(Open::Binary(end));
        }
        (self.state, self.at) = (State::Closed, end);
        Ok(end)
    }
}

/// The state behind the byte at `at`, and where to go on.
fn step(state: State, byte: u8, text: &[u8], at: usize) -> (State, usize) {
    let next = at + 1;
    match (state, byte) {
        (State::Start, b' ' | b'\t') => (State::Start, next),
        (State::Start, b'#') => (State::Rest, next),
        (State::Start, _) => (State::Series, at),
        // What follows a backslash cannot end a name, whether it is an escape or two literal bytes.
        (State::Series | State::Key, b'\\') => match text.get(next) {
            Some(b',' | b'=' | b' ') => (state, next + 1),
            _ => (state, next),
        },
        (State::Series, b' ') => (State::Key, super::scan::skip_spaces(text, at)),
        (State::Series, _) => (State::Series, next),
        (State::Key, b'=') => (State::Value, next),
        (State::Key, b',' | b' ') => (State::Rest, next),
        (State::Key, _) => (State::Key, next),
        (State::Value, b'"') => (State::String, next),
        (State::Value, _) => (State::Plain, at),
        (State::Plain | State::Closed, b',') => (State::Key, next),
        (State::Plain | State::Closed, b' ') => (State::Rest, next),
        (State::Plain, _) => (State::Plain, next),
        (State::Closed, _) => (State::Rest, next),
        (State::String, _) => {
            let rest = text.get(at..).unwrap_or_default();
            match memchr2(b'"', b'\\', rest) {
                Some(i) if rest.get(i) == Some(&b'"') => (State::Closed, at + i + 1),
                Some(i) => (State::String, at + i + 2),
                None => (State::String, text.len()),
            }
        }
        (State::Rest, _) => (State::Rest, next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line or skip of `text`, fed in pieces of `step` bytes; skips show as their total.
    fn split(text: &[u8], line_bytes: usize, step: usize) -> Vec<Result<Vec<u8>, u64>> {
        let mut splitter = LineSplitter::new(line_bytes);
        let (mut buf, mut out) = (Vec::new(), Vec::new());
        for piece in text.chunks(step) {
            buf.extend_from_slice(piece);
            loop {
                match splitter.next(&buf) {
                    Split::Line { text, consumed } => {
                        out.push(Ok(text.to_vec()));
                        buf.drain(..consumed);
                    }
                    Split::Skipped { consumed, total, ends, .. } => {
                        if ends {
                            out.push(Err(total));
                        }
                        buf.drain(..consumed);
                    }
                    Split::Incomplete => break,
                }
            }
        }
        out
    }

    fn check(text: &str, lines: &[&str]) {
        for step in 1..=text.len() {
            let found = split(text.as_bytes(), 100, step);
            let expect: Vec<_> = lines.iter().map(|l| Ok(l.as_bytes().to_vec())).collect();
            assert_eq!(found, expect, "{text:?} in pieces of {step}");
        }
    }

    #[test]
    fn a_newline_in_a_string_is_data() {
        check("m v=\"a\nb\" 1\nn v=1\n", &["m v=\"a\nb\" 1", "n v=1"]);
        check(
            "m v=1,w=\"\n\n\",x=\"\\\"\n\"\nn v=1\n",
            &["m v=1,w=\"\n\n\",x=\"\\\"\n\"", "n v=1"],
        );
        check("m v=\"\\\n\"\nn v=1\n", &["m v=\"\\\n\"", "n v=1"]);
        check("m v=\"\\\\\"\nn v=1\n", &["m v=\"\\\\\"", "n v=1"]);
        check("m\\ x,t=\\\" a\\=\\ b=\"\n\"\nn v=1\n", &["m\\ x,t=\\\" a\\=\\ b=\"\n\"", "n v=1"]);
    }

    #[test]
    fn a_quote_elsewhere_opens_nothing() {
        for line in [
            "m,t=\"a v=1",
            "\"m v=1",
            "m \"a=1",
            "# it's \"quoted",
            "  # v=\"",
            "m v=1 \"",
            "m v=1\"",
            "m v=\"a\"b=\"",
            "m v=1=\"",
            "m a,b=\"",
            "m a b=\"",
            "m\\ v=\"",
            "",
            "\r",
            "=\"",
        ] {
            check(&format!("{line}\nn v=1\n"), &[line, "n v=1"]);
        }
    }

    #[test]
    fn an_over_long_line_is_skipped_to_the_next_newline() {
        for step in [1, 2, 3, 7, 100] {
            let text = b"m v=1\nm v=\"0123456789\nabc\nn v=1\n0123456789\n0123456789a\n";
            let expect = vec![
                Ok(b"m v=1".to_vec()),
                Err(16),
                Ok(b"abc".to_vec()),
                Ok(b"n v=1".to_vec()),
                Ok(b"0123456789".to_vec()),
                Err(12),
            ];
            assert_eq!(split(text, 10, step), expect, "pieces of {step}");
        }
    }

    #[test]
    fn a_newline_in_a_binary_value_is_data() {
        let check = |lines: &[&[u8]]| {
            let text = lines.iter().flat_map(|line| [*line, b"\n"].concat()).collect::<Vec<u8>>();
            for step in 1..=text.len() {
                let expect: Vec<_> = lines.iter().map(|line| Ok(line.to_vec())).collect();
                assert_eq!(split(&text, 100, step), expect, "{lines:?} in pieces of {step}");
            }
        };
        check(&[b"m v==\x10\n\n\n\n\n\n\n\n,w=\"\n\" 1", b"n v=1"]);
        check(&[b"m v==\x0e\n\x01\x02\0\0\0\n234567\n1234567\n,w=1", b"n v=1"]);
        // Not of any type, or longer than a line may be: the line ends where it seems to.
        check(&[b"m v==", b"n v=1"]);
        check(&[b"m v==\"", b"n v=1"]);
        check(&[b"m v==\x0e", b"n v=1", b"o v=1"]);
        check(&[b"m v==\x0e\x0b\x01\0\0\0\x01", b"n v=1"]);
        check(&[b"m,t==\x10 v=1", b"n v=1"]);
    }

    #[test]
    fn a_binary_value_that_the_end_of_a_body_cuts_off_takes_no_other_line_along() {
        let mut splitter = LineSplitter::new(100);
        let open = b"m w==\x10\n2345678,v==\x10123\nm\n";
        assert_eq!(splitter.finish(open), Split::Line { text: &open[..22], consumed: 23 });
        assert_eq!(splitter.finish(&open[23..]), Split::Line { text: b"m", consumed: 2 });
    }

    #[test]
    fn a_string_that_passes_the_limit_is_told_from_a_line_that_does() {
        for (text, expect) in [(&b"m v=\"0123456789"[..], true), (b"m v=0123456789a", false)] {
            match LineSplitter::new(10).next(text) {
                Split::Skipped { in_string, .. } => assert_eq!(in_string, expect),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_end_of_a_body_ends_its_last_line() {
        let mut splitter = LineSplitter::new(100);
        assert_eq!(splitter.finish(b""), Split::Incomplete);
        assert_eq!(splitter.finish(b"m v=1"), Split::Line { text: b"m v=1", consumed: 5 });
        let open = b"m v=\"a\nm v=2\n";
        assert_eq!(splitter.finish(open), Split::Line { text: b"m v=\"a", consumed: 7 });
        assert_eq!(splitter.finish(&open[7..]), Split::Line { text: b"m v=2", consumed: 6 });
        assert!(splitter.is_fresh());
    }
}
