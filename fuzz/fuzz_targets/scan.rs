//! Any bytes: lines are found and read, or refused, without a panic, and no byte is lost.
#![no_main]

use headwater::codec::grammar::Rules;
use headwater::codec::{Limits, LineSplitter, Split};
use headwater::ways::{by_parser, parser};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let rules =
        Rules { limits: Limits { line_bytes: 200, ..Limits::default() }, ..Rules::default() };
    let mut splitter = LineSplitter::new(rules.limits.line_bytes);
    let mut parser = parser(rules);
    let mut rest = data;
    loop {
        let consumed = match splitter.finish(rest) {
            Split::Line { text, consumed } => {
                let _outcome = by_parser(&mut parser, text);
                consumed
            }
            Split::Skipped { consumed, .. } => consumed,
            Split::Incomplete => break,
        };
        assert!(consumed > 0);
        rest = &rest[consumed..];
    }
    assert!(rest.is_empty());
});
