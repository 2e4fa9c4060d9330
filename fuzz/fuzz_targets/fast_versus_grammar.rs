//! Parser, cursor and grammar agree on any line. The first byte chooses the rules.
#![no_main]

use headwater::codec::grammar::Rules;
use headwater::codec::{Dialect, Limits, Precision};
use headwater::ways::agree;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, line)) = data.split_first() else { return };
    let dialect = [Dialect::Influx1, Dialect::V2, Dialect::Influx3][usize::from(choice % 3)];
    let precision = if choice & 8 == 0 { Precision::Nanosecond } else { Precision::Second };
    let limits = match choice & 16 {
        0 => Limits::default(),
        _ => Limits { line_bytes: 40, name_bytes: 4, string_bytes: 5, tags: 2, fields: 2 },
    };
    let _outcome = agree(Rules { limits, precision, dialect }, line);
});
