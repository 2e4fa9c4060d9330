//! A stream reads the same however it is cut. The first byte says how.
#![no_main]

use headwater::codec::Limits;
use headwater::codec::grammar::Rules;
use headwater::ways::by_stream;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&seed, stream)) = data.split_first() else { return };
    let line_bytes = if seed & 1 == 0 { 30 } else { 1 << 20 };
    let rules = Rules { limits: Limits { line_bytes, ..Limits::default() }, ..Rules::default() };
    let whole = by_stream(rules, std::iter::once(stream));

    let mut state = u32::from(seed) + 1;
    let mut rest = stream;
    let pieces = std::iter::from_fn(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, tail) = rest.split_at(rest.len().min(1 + (state >> 28) as usize));
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    });
    assert_eq!(by_stream(rules, pieces), whole);
});
