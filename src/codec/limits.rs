//! What a listener chooses about the lines it takes: limits, precision, dialect.

/// Bounds on one line. A line beyond a bound is refused, never truncated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a line, without its newline.
    pub line_bytes: usize,
    /// Bytes of a measurement, a tag key or a field key, after unescaping.
    pub name_bytes: usize,
    /// Bytes of a tag value or a string field, after unescaping.
    pub string_bytes: usize,
    /// Tags of a line.
    pub tags: usize,
    /// Fields of a line.
    pub fields: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line_bytes: 1 << 20,
            name_bytes: 127,
            string_bytes: 64 << 10,
            tags: 1024,
            fields: 2048,
        }
    }
}

/// The unit of a timestamp that has no suffix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// 1 ns
    #[default]
    Nanosecond,
    /// 1,000 ns
    Microsecond,
    /// 1,000,000 ns
    Millisecond,
    /// 1,000,000,000 ns
    Second,
}

impl Precision {
    /// Nanoseconds in one unit.
    pub fn nanos(self) -> i64 {
        match self {
            Precision::Nanosecond => 1,
            Precision::Microsecond => 1_000,
            Precision::Millisecond => 1_000_000,
            Precision::Second => 1_000_000_000,
        }
    }

    /// The precision that a `precision=` parameter of a write request names, in any spelling that
    /// an InfluxDB client sends.
    pub fn from_name(name: &str) -> Option<Precision> {
        Some(match name {
            "n" | "ns" | "nanosecond" => Precision::Nanosecond,
            "u" | "us" | "µ" | "µs" | "microsecond" => Precision::Microsecond,
            "ms" | "millisecond" => Precision::Millisecond,
            "s" | "second" => Precision::Second,
            _ => return None,
        })
    }
}

/// Whose backslashes. Every dialect reads `\,`, `\=` and space-escapes in names and `\"` and `\\`
/// in strings alike; they differ in what else a backslash may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dialect {
    /// InfluxDB 1.x, which is also what Telegraf writes: `\\` in a name is two bytes, `\n` in a
    /// string is two bytes.
    #[default]
    Influx1,
    /// The Go line-protocol v2 library: `\\` in a name is two bytes; `\n`, `\r` and `\t` in a
    /// string are control characters.
    V2,
    /// InfluxDB 3: `\\` in a name is one backslash, and a name may not end in one; `\n` in a
    /// string is two bytes.
    Influx3,
}

impl Dialect {
    /// The dialect that the configuration names.
    pub fn from_name(name: &str) -> Option<Dialect> {
        Some(match name {
            "v1" | "1x" | "influx1" => Dialect::Influx1,
            "v2" => Dialect::V2,
            "v3" | "influx3" => Dialect::Influx3,
            _ => return None,
        })
    }
}
