//! From the type of a value on the wire to the type of its column: as it is, without loss, or not at all.
//!
//! The table in `docs/line-protocol.md` says the same.

use crate::codec::{Doubles, FieldValue};
use crate::types::ColumnType;

/// What a line has under a key.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Sent<'a> {
    /// A tag.
    Tag,
    /// A field of this value.
    Field(FieldValue<'a>),
}

impl Sent<'_> {
    /// The type of a column that it creates.
    pub(super) fn ty(self) -> ColumnType {
        match self {
            Sent::Tag => ColumnType::Tag,
            Sent::Field(FieldValue::Float(_)) => ColumnType::Float,
            Sent::Field(FieldValue::Integer(_)) => ColumnType::Integer,
            Sent::Field(FieldValue::Unsigned(_)) => ColumnType::Unsigned,
            Sent::Field(FieldValue::Boolean(_)) => ColumnType::Boolean,
            Sent::Field(FieldValue::String(_)) => ColumnType::String,
            Sent::Field(FieldValue::Timestamp(_)) => ColumnType::Timestamp,
            Sent::Field(FieldValue::Array(_)) => ColumnType::Array,
        }
    }

    /// Whether a column of this type can hold it.
    pub(super) fn fits(self, held: ColumnType) -> bool {
        match self {
            Sent::Tag => held == ColumnType::Tag,
            Sent::Field(value) => Stored::of(value, held).is_some(),
        }
    }

    /// Whether a column of this type can hold other values of its type.
    pub(super) fn may_fit(self, held: ColumnType) -> bool {
        use ColumnType::{Float, Integer, Unsigned};
        matches!((self.ty(), held), (Integer, Unsigned | Float) | (Unsigned, Integer | Float))
    }
}

/// A value as a column of one type holds it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Stored<'a> {
    Float(f64),
    /// An integer, or a time in nanoseconds.
    Signed(i64),
    Unsigned(u64),
    Boolean(bool),
    String(&'a str),
    Array(Doubles<'a>),
}

impl<'a> Stored<'a> {
    /// What a column that holds `ty` makes of a value; `None` when something would be lost.
    pub(super) fn of(value: FieldValue<'a>, ty: ColumnType) -> Option<Stored<'a>> {
        Some(match (value, ty) {
            (FieldValue::Float(v), ColumnType::Float) => Stored::Float(v),
            (FieldValue::Integer(v), ColumnType::Integer) => Stored::Signed(v),
            (FieldValue::Unsigned(v), ColumnType::Unsigned) => Stored::Unsigned(v),
            (FieldValue::Boolean(v), ColumnType::Boolean) => Stored::Boolean(v),
            (FieldValue::String(v), ColumnType::String) => Stored::String(v),
            (FieldValue::Timestamp(v), ColumnType::Timestamp) => Stored::Signed(v),
            (FieldValue::Array(v), ColumnType::Array) => Stored::Array(v),
            (FieldValue::Integer(v), ColumnType::Unsigned) => Stored::Unsigned(v.try_into().ok()?),
            (FieldValue::Unsigned(v), ColumnType::Integer) => Stored::Signed(v.try_into().ok()?),
            (FieldValue::Integer(v), ColumnType::Float) => Stored::Float(exact_signed(v)?),
            (FieldValue::Unsigned(v), ColumnType::Float) => Stored::Float(exact_unsigned(v)?),
            _ => return None,
        })
    }
}

/// The float that equals an integer, if there is one.
fn exact_signed(value: i64) -> Option<f64> {
    let float = value as f64;
    // 2^63 is a float that no i64 equals, and the cast back would saturate to one that looks equal.
    (float < TWO_TO_63 && float as i64 == value).then_some(float)
}

fn exact_unsigned(value: u64) -> Option<f64> {
    let float = value as f64;
    (float < TWO_TO_63 * 2.0 && float as u64 == value).then_some(float)
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_become_floats_where_the_float_equals_them() {
        for value in [0, -1, 1 << 53, -(1 << 53), (1 << 53) + 2, 1 << 62, i64::MIN] {
            assert_eq!(exact_signed(value), Some(value as f64), "{value}");
        }
        for value in [(1 << 53) + 1, -(1 << 53) - 1, i64::MAX, i64::MAX - 1] {
            assert_eq!(exact_signed(value), None, "{value}");
        }
        assert_eq!(exact_unsigned(1 << 63), Some(TWO_TO_63));
        assert_eq!(exact_unsigned(u64::MAX), None);
    }
}
