//! Times as people write them.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;

/// A time as text, in UTC unless it says otherwise, as nanoseconds since 1970.
///
/// # Errors
/// What to tell whoever wrote it.
pub fn parse_time(text: &str) -> Result<i64, String> {
    string_to_timestamp_nanos(text.trim()).map_err(|_| {
        format!(
            "'{text}' is no time that 64 bits of nanoseconds hold; write it as 2026-11-22T10:00:00Z"
        )
    })
}
