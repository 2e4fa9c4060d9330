//! Lines to bytes, in the default dialect: what the bundled clients send.
//!
//! What the reader would refuse or read back as something else is refused here: empty names and
//! values, control characters in names, a name that ends in a backslash (it would escape what
//! follows), a measurement that begins as a comment does, a float that is not finite. Lengths and
//! repeated keys are the caller's, as the reader's limits are not known here.

use super::binary;
use super::line::FieldValue;
use std::fmt;
use std::io::Write;

/// Why a line cannot be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A measurement, key or tag value is empty.
    #[error("empty name or tag value")]
    Empty,
    /// A measurement, key or tag value holds a control character.
    #[error("control character in a name or tag value")]
    ControlByte,
    /// A measurement, key or tag value ends in a backslash.
    #[error("a name or tag value ends in a backslash")]
    EndsInBackslash,
    /// The measurement begins with `#`, which makes the line a comment.
    #[error("the measurement begins as a comment does")]
    Comment,
    /// The line has no fields.
    #[error("no fields")]
    NoFields,
    /// A float is NaN or infinite.
    #[error("a float is not finite")]
    NotFinite,
}

/// Appends one line and its newline to `out`.
///
/// # Errors
/// The line cannot be said; `out` is as it was.
pub fn encode_line(
    out: &mut Vec<u8>,
    measurement: &str,
    tags: &[(&str, &str)],
    fields: &[(&str, FieldValue<'_>)],
    timestamp: Option<i64>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let result = append(out, measurement, tags, fields, timestamp);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// A field's key as [`encode_line`] spells it: what
/// [`Cursor::expect_key`](super::Cursor::expect_key) compares. The plain name will not do, since `a,b=` on the wire is
/// not the key of the field `a,b`.
///
/// # Errors
/// The name cannot be said.
pub fn field_key(name: &str) -> Result<Vec<u8>, EncodeError> {
    let mut spelled = Vec::with_capacity(name.len());
    self::name(&mut spelled, name, b",= ")?;
    Ok(spelled)
}

fn append(
    out: &mut Vec<u8>,
    measurement: &str,
    tags: &[(&str, &str)],
    fields: &[(&str, FieldValue<'_>)],
    timestamp: Option<i64>,
) -> Result<(), EncodeError> {
    if measurement.starts_with('#') {
        return Err(EncodeError::Comment);
    }
    name(out, measurement, b", ")?;
    for (key, value) in tags {
        out.push(b',');
        name(out, key, b",= ")?;
        out.push(b'=');
        name(out, value, b",= ")?;
    }
    let mut separator = b' ';
    for (key, value) in fields {
        out.push(separator);
        separator = b',';
        name(out, key, b",= ")?;
        out.push(b'=');
        field_value(out, *value)?;
    }
    if fields.is_empty() {
        return Err(EncodeError::NoFields);
    }
    if let Some(nanos) = timestamp {
        display(out, format_args!(" {nanos}"));
    }
    out.push(b'\n');
    Ok(())
}

fn name(out: &mut Vec<u8>, text: &str, escaped: &[u8]) -> Result<(), EncodeError> {
    match text.as_bytes() {
        [] => return Err(EncodeError::Empty),
        [.., b'\\'] => return Err(EncodeError::EndsInBackslash),
        _ => {}
    }
    for byte in text.bytes() {
        if byte.is_ascii_control() {
            return Err(EncodeError::ControlByte);
        }
        if escaped.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
    Ok(())
}

fn field_value(out: &mut Vec<u8>, value: FieldValue<'_>) -> Result<(), EncodeError> {
    match value {
        FieldValue::Float(value) => return float(out, value),
        FieldValue::Integer(value) => display(out, format_args!("{value}i")),
        FieldValue::Unsigned(value) => display(out, format_args!("{value}u")),
        FieldValue::Timestamp(value) => display(out, format_args!("{value}n")),
        FieldValue::Boolean(value) => display(out, format_args!("{value}")),
        // There is no other spelling, and no server but QuestDB and this one that reads it.
        FieldValue::Array(array) => binary::put_array(out, array),
        FieldValue::String(text) => {
            out.push(b'"');
            for byte in text.bytes() {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(byte);
            }
            out.push(b'"');
        }
    }
    Ok(())
}

/// The shortest digits that read back as the same float; an exponent where it is shorter than zeros.
fn float(out: &mut Vec<u8>, value: f64) -> Result<(), EncodeError> {
    if !value.is_finite() {
        return Err(EncodeError::NotFinite);
    }
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-4..1e21).contains(&magnitude) {
        display(out, format_args!("{value}"));
        return Ok(());
    }
    let start = out.len();
    display(out, format_args!("{value:e}"));
    // Every client of Go's strconv writes the sign of an exponent, and so does this one.
    if let Some(at) = out.iter().skip(start).position(|&b| b == b'e').map(|i| start + i + 1)
        && out.get(at) != Some(&b'-')
    {
        out.insert(at, b'+');
    }
    Ok(())
}

fn display(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every byte");
}
