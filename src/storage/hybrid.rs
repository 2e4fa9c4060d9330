//! Parquet's hybrid of run lengths and bit packing, for dictionary indices and definition levels.

/// Equal values in a row from which a run length is shorter than packing and worth a switch.
const RUN_MIN: usize = 16;

/// Appends `values`, each below `2^width`, as alternating packed groups and runs.
///
/// # Panics
/// A width of 0 or above 32.
pub(super) fn encode(values: &[u32], width: u32, out: &mut Vec<u8>) {
    assert!((1..=32).contains(&width));
    let mut packed_from = 0;
    let mut at = 0;
    while at < values.len() {
        let run = run_len(&values[at..]);
        // Packed groups are of eight values, so the run may have to complete the last one.
        let fill = (at - packed_from).wrapping_neg() % 8;
        if run >= fill + RUN_MIN {
            pack(&values[packed_from..at + fill], width, out);
            put_varint((run - fill) << 1, out);
            out.extend_from_slice(&values[at].to_le_bytes()[..width.div_ceil(8) as usize]);
            packed_from = at + run;
        }
        at += run;
    }
    pack(&values[packed_from..], width, out);
}

/// The width that holds `0..count`.
pub(super) fn width_of(count: usize) -> u32 {
    (usize::BITS - count.saturating_sub(1).leading_zeros()).max(1)
}

fn run_len(values: &[u32]) -> usize {
    let first = values[0];
    values.iter().take_while(|&&v| v == first).count()
}

/// One packed stretch; the last group is filled with zeros, which readers know to leave out.
fn pack(values: &[u32], width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(8);
    put_varint((groups << 1) | 1, out);
    let end = out.len() + groups * width as usize;
    let (mut bits, mut filled) = (0_u64, 0);
    for &value in values {
        bits |= u64::from(value) << filled;
        filled += width;
        if filled >= 32 {
            out.extend_from_slice(&bits.to_le_bytes()[..4]);
            bits >>= 32;
            filled -= 32;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes()[..filled.div_ceil(8) as usize]);
    out.resize(end, 0);
}

fn put_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The format read back bit by bit, as its specification puts it.
    fn decode(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let (mut header, mut shift) = (0_usize, 0);
            loop {
                header |= usize::from(bytes[0] & 0x7f) << shift;
                shift += 7;
                let is_last = bytes[0] < 0x80;
                bytes = &bytes[1..];
                if is_last {
                    break;
                }
            }
            if header & 1 == 0 {
                let len = width.div_ceil(8) as usize;
                let mut value = [0; 4];
                value[..len].copy_from_slice(&bytes[..len]);
                values.resize(values.len() + (header >> 1), u32::from_le_bytes(value));
                bytes = &bytes[len..];
            } else {
                let len = (header >> 1) * width as usize;
                for n in 0..(header >> 1) * 8 {
                    let bit = |b: usize| u32::from(bytes[b / 8] >> (b % 8) & 1);
                    let first = n * width as usize;
                    values.push((0..width as usize).map(|b| bit(first + b) << b).sum());
                }
                bytes = &bytes[len..];
            }
        }
        assert!(bytes.is_empty());
        values.truncate(count);
        values
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(
            runs in prop::collection::vec((any::<u32>(), 1_usize..40), 0..30),
            width in 1_u32..=32,
        ) {
            let mask = u32::MAX >> (32 - width);
            let values: Vec<u32> =
                runs.iter().flat_map(|&(v, n)| std::iter::repeat_n(v & mask, n)).collect();
            let mut bytes = Vec::new();
            encode(&values, width, &mut bytes);
            prop_assert_eq!(decode(&bytes, width, values.len()), values);
        }
    }

    #[test]
    fn the_width_holds_the_last_index() {
        let check = |count, expect| assert_eq!(width_of(count), expect, "{count}");
        for (count, expect) in [(0, 1), (1, 1), (2, 1), (3, 2), (256, 8), (257, 9), (65_537, 17)] {
            check(count, expect);
        }
    }
}
