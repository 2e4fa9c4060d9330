//! What a check says of damage that many transactions run into, and what a repair keeps of it.

use super::rows::{BOTH, Bed, flip};
use crate::engine::{check, repair};
use crate::io::Fs;
use std::ops::Range;

#[test]
fn a_damaged_segment_is_one_finding_for_each_of_its_tables_and_is_kept_once() {
    let bed = Bed::new(0);
    bed.begin().rows(BOTH, 0..20);
    flip(&bed.frame("a", 0).0, 20);
    let (report, done) = repair(&Fs::real(), bed.dir()).expect("a copy");
    let [a, b] = &report.findings[..] else { panic!("{:?}", report.findings) };
    for (finding, table) in [(a, "a"), (b, "b")] {
        assert!(finding.what.contains("bytes 0 to 64"), "{finding:?}");
        let lost = format!("20 rows of \"public\".\"{table}\", 20 transactions from 3 to 22");
        assert_eq!(finding.lost, [lost]);
        assert!(finding.way_on.contains("RESUME WAL FROM TXN 23"), "{finding:?}");
    }
    assert!(done.len() == 1 && done[0].starts_with("copied "), "{done:?}");
}

#[test]
fn frames_damaged_in_one_way_are_one_finding_that_names_the_first_and_the_last() {
    let bed = Bed::new(0);
    bed.begin().rows(&["a"], 0..3);
    let (first, last) = (bed.frame("a", 1).1, bed.frame("a", 2).1);
    [&first, &last].into_iter().for_each(|frame| flip(&bed.frame("a", 0).0, frame.start + 70));
    let report = check(&Fs::real(), bed.dir()).expect("a look at the rest");
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    for Range { start, end } in [first, last] {
        assert!(finding.what.contains(&format!("bytes {start} to {end}")), "{finding:?}");
    }
    assert!(finding.lost[0].starts_with("2 rows"), "{finding:?}");
}
