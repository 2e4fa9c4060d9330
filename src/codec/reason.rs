//! Why a line was refused: a closed set of words for counters, replies and logs.

use std::borrow::Cow;
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $word:literal,)*) => {
        /// Why a line was refused.
        ///
        /// The set is closed: every reason has a counter from the start. The codec gives those up to
        /// [`Reason::DuplicateField`]; the later ones belong to the stages that know sockets and tables.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// The reason as one word, as counters, replies and `system.rejected_lines` spell it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$name => $word,)*
                }
            }
        }
    };
}

reasons! {
    /// The line has more bytes than [`Limits::line_bytes`](super::Limits::line_bytes).
    LineTooLong => "line_too_long",
    /// The line is not UTF-8.
    InvalidUtf8 => "invalid_utf8",
    /// A name or a tag holds a control character (0x00 to 0x1f, 0x7f).
    ControlByte => "control_byte",
    /// A measurement, a tag key or a field key is empty.
    EmptyName => "empty_name",
    /// A tag or a field has no value.
    EmptyValue => "empty_value",
    /// A name has more bytes than [`Limits::name_bytes`](super::Limits::name_bytes).
    NameTooLong => "name_too_long",
    /// A name ends in a backslash (InfluxDB 3 dialect only).
    NameSyntax => "name_syntax",
    /// A string or tag value has more bytes than [`Limits::string_bytes`](super::Limits::string_bytes).
    StringTooLong => "string_too_long",
    /// More tags than [`Limits::tags`](super::Limits::tags).
    TooManyTags => "too_many_tags",
    /// More fields than [`Limits::fields`](super::Limits::fields).
    TooManyFields => "too_many_fields",
    /// A tag without `=`.
    TagSyntax => "tag_syntax",
    /// The line has no fields.
    NoFields => "no_fields",
    /// A field without `=`, or text after a closing quote.
    FieldSyntax => "field_syntax",
    /// A string without its closing quote.
    UnterminatedString => "unterminated_string",
    /// A field value that is no number, boolean or quoted string.
    BadValue => "bad_value",
    /// A number that its type cannot hold.
    NumberRange => "number_range",
    /// A value of a type that is known but not stored: long256, decimal, binary.
    UnsupportedType => "unsupported_type",
    /// A timestamp that is no integer.
    BadTimestamp => "bad_timestamp",
    /// A timestamp outside of 64-bit nanoseconds, or outside the configured window.
    TimestampRange => "timestamp_range",
    /// Text after the timestamp.
    TrailingText => "trailing_text",
    /// A tag key twice in one line.
    DuplicateTag => "duplicate_tag",
    /// A field key twice in one line, or a field with the key of a tag.
    DuplicateField => "duplicate_field",
    /// The connection closed before the newline of its last line.
    IncompleteLine => "incomplete_line",
    /// An HTTP request or a TLS hello on a plain line-protocol port.
    NotLineProtocol => "not_line_protocol",
    /// The column has another type.
    TypeConflict => "type_conflict",
    /// The measurement cannot be a table's name.
    TableName => "table_name",
    /// The key cannot be a column's name.
    ColumnName => "column_name",
    /// The table is the server's own.
    ReservedTable => "reserved_table",
    /// The database has as many tables as it may.
    TableLimit => "table_limit",
    /// The table has as many columns as it may.
    ColumnLimit => "column_limit",
    /// The table has as many partitions as it may.
    PartitionLimit => "partition_limit",
    /// The table does not exist and lines may not create it.
    NewTablesOff => "new_tables_off",
    /// The column does not exist and lines may not create it.
    NewColumnsOff => "new_columns_off",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A line that was refused: data, not a failure. The connection lives and its other lines are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineError {
    /// The word for it.
    pub reason: Reason,
    /// The byte of the line, from 0, at which it shows.
    pub offset: usize,
    /// What a person needs to know beyond the reason.
    pub detail: Cow<'static, str>,
}

impl LineError {
    /// A refusal at a byte of the line.
    pub fn new(reason: Reason, offset: usize, detail: impl Into<Cow<'static, str>>) -> LineError {
        LineError { reason, offset, detail: detail.into() }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.reason, self.offset, self.detail)
    }
}

impl std::error::Error for LineError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_a_word_of_its_own_in_snake_case() {
        let words: HashSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        assert!(
            words.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b"_08".contains(&b)))
        );
    }
}
