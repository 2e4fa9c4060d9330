//! Which parts of a partition to merge next.
//!
//! Parts are told apart by order of magnitude. A stretch of neighbours (in order of transactions) is merged once `fan_in` of
//! them have one magnitude and none between them a larger; so a row is rewritten once a magnitude. Where sizes are so
//! mixed that this never happens, the cheapest stretch is merged once there are more than `parts_max`.
//!
//! A closed partition becomes one part whatever the sizes, but the less a late part has beside the rest, the longer it waits for
//! others: a trickle of late rows must not rewrite a day again and again.

use super::CompactionConfig;
use std::ops::Range;
use std::time::Duration;

/// Parts below this size are of the least magnitude.
const LEAST_BYTES: u64 = 64 << 10;

/// A closed partition waits longer only where its small parts are less than one in so many of the large one's bytes.
const REWRITE_SHARE: u64 = 16;
/// With ten minutes, a day.
const PAUSE_FACTOR_MAX: u64 = 144;

/// The neighbours to merge, by their place in `sizes`; `None` when nothing is due.
pub(super) fn plan(sizes: &[u64], config: &CompactionConfig) -> Option<Range<usize>> {
    let fan_in = config.fan_in.max(2);
    let magnitudes: Vec<u32> = sizes.iter().map(|&bytes| magnitude(bytes, fan_in)).collect();
    let largest = magnitudes.iter().max().copied()?;
    let due = (0..=largest).find_map(|top| {
        stretches(&magnitudes, top)
            .flat_map(|stretch| fitting(stretch, sizes, config.part_bytes_max))
            .find(|range| magnitudes[range.clone()].iter().filter(|&&m| m == top).count() >= fan_in)
    });
    due.or_else(|| {
        let crowded = sizes.len() > config.parts_max;
        if crowded { cheapest(sizes, fan_in, config.part_bytes_max) } else { None }
    })
}

/// How long a closed partition must have been quiet before its parts become one.
pub(super) fn closing_pause(sizes: &[u64], close_after: Duration) -> Duration {
    let largest = sizes.iter().max().copied().unwrap_or(0);
    let rest = sizes.iter().sum::<u64>() - largest;
    let factor = (largest / (rest * REWRITE_SHARE).max(1)).clamp(1, PAUSE_FACTOR_MAX);
    close_after * u32::try_from(factor).unwrap_or(u32::MAX)
}

fn magnitude(bytes: u64, fan_in: usize) -> u32 {
    (bytes / LEAST_BYTES).max(1).ilog(fan_in as u64)
}

/// The longest stretches of neighbours whose magnitude is at most `top`.
fn stretches(magnitudes: &[u32], top: u32) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    magnitudes.chunk_by(move |a, b| (*a <= top) == (*b <= top)).filter_map(move |stretch| {
        let range = start..start + stretch.len();
        start = range.end;
        (stretch[0] <= top).then_some(range)
    })
}

/// A stretch cut so that no piece has more than `bytes_max`.
fn fitting(stretch: Range<usize>, sizes: &[u64], bytes_max: u64) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let (mut start, mut bytes) = (stretch.start, 0);
    for n in stretch.clone() {
        if n > start && bytes + sizes[n] > bytes_max {
            pieces.push(start..n);
            (start, bytes) = (n, 0);
        }
        bytes += sizes[n];
    }
    pieces.push(start..stretch.end);
    pieces
}

/// Of the stretches of up to `fan_in` parts that fit, the one that rewrites the fewest bytes for each part that goes.
fn cheapest(sizes: &[u64], fan_in: usize, bytes_max: u64) -> Option<Range<usize>> {
    let windows = (2..=fan_in.min(sizes.len()))
        .flat_map(|len| sizes.windows(len).enumerate().map(move |(n, w)| (w, n..n + len)));
    let priced = windows.filter_map(|(window, range)| {
        let bytes: u64 = window.iter().sum();
        (bytes <= bytes_max).then_some((bytes / (range.len() as u64 - 1), range))
    });
    priced.min_by_key(|(price, range)| (*price, range.start)).map(|(_, range)| range)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn config() -> CompactionConfig {
        let default = CompactionConfig::default();
        CompactionConfig { fan_in: 4, parts_max: 10, part_bytes_max: 100 * MIB, ..default }
    }

    #[track_caller]
    fn check(sizes: &[u64], expect: Option<Range<usize>>) {
        assert_eq!(plan(sizes, &config()), expect, "{sizes:?}");
    }

    #[test]
    fn neighbours_of_one_magnitude_are_merged_once_there_are_enough() {
        check(&[], None);
        check(&[MIB; 3], None);
        check(&[MIB; 4], Some(0..4));
        check(&[16 * MIB, 1, 2, 3, 4], Some(1..5));
        check(&[16 * MIB, 1, 16 * MIB, 2, 16 * MIB, 3, 16 * MIB], Some(0..7));
        check(&[16 * MIB, 16 * MIB, 16 * MIB, 1, 2, 3], None);
    }

    #[test]
    fn no_merge_makes_a_part_beyond_the_bound() {
        check(&[30 * MIB; 4], None);
        check(&[20 * MIB; 9], Some(0..5));
        check(&[200 * MIB; 40], None);
    }

    #[test]
    fn a_crowded_partition_merges_where_it_is_cheapest() {
        let mixed: Vec<u64> = (0..11).map(|n| if n % 4 == 3 { 90 * MIB } else { MIB }).collect();
        check(&mixed, Some(0..3));
    }

    #[test]
    fn a_closed_partition_waits_the_longer_the_less_there_is_to_gain() {
        let pause = |sizes: &[u64]| closing_pause(sizes, Duration::from_secs(600)).as_secs() / 600;
        assert_eq!(pause(&[MIB, MIB]), 1);
        assert_eq!(pause(&[100 * MIB, 5 * MIB, 2 * MIB]), 1);
        assert_eq!(pause(&[320 * MIB, MIB, MIB]), 10);
        assert_eq!(pause(&[1 << 40, 1]), 144);
    }

    #[test]
    fn a_row_is_rewritten_once_a_magnitude() {
        let mut parts: Vec<u64> = Vec::new();
        let mut rewritten = 0;
        for _ in 0..4096 {
            parts.extend([LEAST_BYTES]);
            while let Some(range) = plan(&parts, &config()) {
                let bytes = parts[range.clone()].iter().sum();
                rewritten += bytes;
                parts.splice(range, [bytes]);
            }
        }
        let amplification = rewritten / (4096 * LEAST_BYTES);
        assert!(parts.len() <= 12 && amplification <= 6, "{} {amplification}", parts.len());
    }
}
