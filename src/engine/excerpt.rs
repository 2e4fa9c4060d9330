//! The part of a refused line that people see, with every byte that a terminal or a log reader could act on escaped.

use crate::schema::is_deceptive;
use std::fmt::Write;

/// Bytes shown before the byte at fault, and in all.
const BEFORE: usize = 48;
const SHOWN: usize = 96;
/// Bytes of a measurement that are shown as the table's name.
const NAME_BYTES: usize = 127;

/// The bytes around the one at `offset`, which may be the end; what is no printable character as `\n`, `\u{202e}` or `\xff`.
pub(super) fn around(line: &[u8], offset: usize) -> String {
    let start = boundary(line, offset.min(line.len()).saturating_sub(BEFORE));
    let end = boundary(line, line.len().min(start + SHOWN));
    let mut text = String::new();
    if start > 0 {
        text.push('…');
    }
    escape(&mut text, &line[start..end]);
    if end < line.len() {
        text.push('…');
    }
    text
}

/// What the line says is its measurement, as far as that can be told of a line that is wrong.
pub(super) fn measurement(line: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    let mut rest = line.trim_ascii_start().iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match (byte, rest.peek()) {
            (b'\\', Some(&next @ (b',' | b' '))) => {
                name.push(next);
                rest.next();
            }
            (b',' | b' ', _) => break,
            _ => name.push(byte),
        }
        if name.len() > NAME_BYTES {
            return None;
        }
    }
    let name = String::from_utf8(name).ok()?;
    (!name.is_empty() && !name.chars().any(|c| c.is_control() || is_deceptive(c))).then_some(name)
}

/// The start of the character that the byte at `at` is part of.
fn boundary(line: &[u8], at: usize) -> usize {
    let is_inside = |at: usize| line.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (at.saturating_sub(3)..=at).rev().find(|&at| !is_inside(at)).unwrap_or(at)
}

fn escape(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\r' | '\t' => out.extend(c.escape_default()),
                c if c.is_control() || is_deceptive(c) => out.extend(c.escape_unicode()),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("a String takes all");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_could_act_on_is_escaped() {
        for (line, text) in [
            (&b"m v=x"[..], "m v=x"),
            ("\u{fc},t=\u{202e} v=x".as_bytes(), "\u{fc},t=\\u{202e} v=x"),
            (b"a\tb\xff\n\x1b[2J v=x", "a\\tb\\xff\\n\\u{1b}[2J v=x"),
            (b"", ""),
        ] {
            assert_eq!(around(line, 0), text);
        }
    }

    #[test]
    fn a_long_line_is_shown_around_the_byte() {
        let line = format!("{}X{}", "é".repeat(400), "a".repeat(400));
        let text = around(line.as_bytes(), 800);
        assert!(text.len() < SHOWN * 2 && text.contains("éXa"), "{text}");
        assert!(around(line.as_bytes(), 5_000).ends_with('a'));
    }

    #[test]
    fn a_measurement_is_told_from_a_line_that_is_wrong() {
        for (line, name) in [
            (&b"cpu,host"[..], Some("cpu")),
            (b" \tmy\\ cpu v", Some("my cpu")),
            (b"cpu", Some("cpu")),
            (b",v=1", None),
            (b"\xff v=1", None),
            (b"a\x1bb v=1", None),
        ] {
            assert_eq!(measurement(line).as_deref(), name);
        }
    }
}
