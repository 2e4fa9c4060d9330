//! What a column holds.

/// The type of a column, fixed when the column is claimed. The numbers are part of every file format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum ColumnType {
    /// Nanoseconds since 1970, signed 64 bits. The designated timestamp has this type.
    Timestamp = 0,
    /// A tag: a string from a small set, stored as a dictionary.
    Tag = 1,
    /// 64-bit IEEE float; never NaN or infinite when it came as line protocol.
    Float = 2,
    /// Signed 64-bit integer.
    Integer = 3,
    /// Unsigned 64-bit integer.
    Unsigned = 4,
    /// True or false.
    Boolean = 5,
    /// UTF-8 text.
    String = 6,
    /// One dimension of 64-bit IEEE floats, NaN and infinity among them.
    Array = 7,
}

impl ColumnType {
    /// The type with this number in a file, if there is one.
    pub fn from_byte(byte: u8) -> Option<ColumnType> {
        Some(match byte {
            0 => ColumnType::Timestamp,
            1 => ColumnType::Tag,
            2 => ColumnType::Float,
            3 => ColumnType::Integer,
            4 => ColumnType::Unsigned,
            5 => ColumnType::Boolean,
            6 => ColumnType::String,
            7 => ColumnType::Array,
            _ => return None,
        })
    }

    /// The word used in messages and in `table_columns('t')`.
    pub fn name(self) -> &'static str {
        match self {
            ColumnType::Timestamp => "timestamp",
            ColumnType::Tag => "tag",
            ColumnType::Float => "float",
            ColumnType::Integer => "integer",
            ColumnType::Unsigned => "unsigned",
            ColumnType::Boolean => "boolean",
            ColumnType::String => "string",
            ColumnType::Array => "array",
        }
    }
}
