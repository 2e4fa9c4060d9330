//! Which bytes mean something: one table of byte classes, and the loop that skips what means nothing.

/// Ends a tag set's member or a field.
pub(super) const COMMA: u8 = 1;
/// Ends a key.
pub(super) const EQUALS: u8 = 2;
/// Ends a section of the line.
pub(super) const SPACE: u8 = 4;
/// May escape what follows.
pub(super) const BACKSLASH: u8 = 8;
/// Not allowed in names.
pub(super) const CONTROL: u8 = 16;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = CONTROL;
        byte += 1;
    }
    table[0x7f] = CONTROL;
    table[b',' as usize] = COMMA;
    table[b'=' as usize] = EQUALS;
    table[b' ' as usize] = SPACE;
    table[b'\\' as usize] = BACKSLASH;
    table
}

/// The class of a byte; 0 for an ordinary one.
pub(super) fn class(byte: u8) -> u8 {
    CLASS[byte as usize]
}

/// The index of the first byte from `from` on whose class is in `stop`; the length if there is none.
#[inline]
pub(super) fn find_class(bytes: &[u8], from: usize, stop: u8) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().position(|&b| class(b) & stop != 0).unwrap_or(rest.len())
}

/// The index of the first byte from `from` on that is no space.
#[inline]
pub(super) fn skip_spaces(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().position(|&b| b != b' ').unwrap_or(rest.len())
}

/// Whether two slices of one length are equal, the last eight bytes first: keys differ there most often, and short ones
/// need no call to compare.
#[inline]
pub(super) fn equal(a: &[u8], b: &[u8]) -> bool {
    match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(last_a), Some(last_b)) => {
            u64::from_ne_bytes(*last_a) == u64::from_ne_bytes(*last_b)
                && a.as_chunks::<8>()
                    .0
                    .iter()
                    .zip(b.as_chunks::<8>().0)
                    .all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
        }
        _ => a.iter().zip(b).all(|(a, b)| a == b),
    }
}
