//! What a check says of damage that many transactions run into, and what a repair keeps of it.

use super::bed::{BOTH, Bed, flip};
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
fn what_an_earlier_repair_has_kept_is_not_copied_again_until_it_changes() {
    let bed = Bed::new(0);
    bed.begin().rows(BOTH, 0..3);
    let segment = bed.frame("a", 0).0;
    flip(&segment, 20);
    let mend = || repair(&Fs::real(), bed.dir()).expect("a repair").1;
    let is_copied = |done: &[String]| done.len() == 1 && done[0].starts_with("copied ");
    let first = mend();
    assert!(is_copied(&first), "{first:?}");
    let kept = segment.strip_prefix(bed.dir()).expect("below it");
    let folder = bed.dir().join("quarantine").join(kept.parent().expect("a folder"));
    let copies = || std::fs::read_dir(&folder).expect("the copies").count();
    for _ in 0..2 {
        let done = mend();
        let [said] = &done[..] else { panic!("{done:?}") };
        assert!(said.contains("is kept already"), "{said}");
        assert_eq!(copies(), 1);
    }
    // Damaged in another place, it is another file.
    flip(&segment, 21);
    for copied in [true, false] {
        assert_eq!(is_copied(&mend()), copied);
        assert_eq!(copies(), 2);
    }
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
