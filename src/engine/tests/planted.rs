//! Every planted bug is found.

use super::{bounded_start, faults, seeds};
use crate::io::sim::Ended;
use crate::planted::Bug;
use std::panic::catch_unwind;

/// Seeds after which a bug counts as not found.
const SEEDS_MAX: u64 = 4_000;

/// What finds the bug: a history made for it, a seed, or a fault at some operation of the short history.
fn found_by(bug: Bug) -> Option<String> {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = bug.planted(|| {
        let is_lost = |ended| {
            !matches!(
                catch_unwind(|| bounded_start::rows_behind_a_chunk_that_is_gone(ended)),
                Ok(Ok(_))
            )
        };
        if bug == Bug::CarriedPurgedUnwritten && is_lost(Ended::Killed) {
            return (None, Some("a kill behind a chunk that is gone".to_owned()));
        }
        let by_cut = || catch_unwind(faults::every_sync_before_a_power_cut);
        if bug == Bug::NameSyncRetried && by_cut().is_err() {
            return (None, Some("a power cut after a failed sync".to_owned()));
        }
        let by_seed = (0..SEEDS_MAX).find_map(|seed| match catch_unwind(|| seeds::run(seed)) {
            Ok(Ok(_)) => None,
            Ok(Err(what)) => Some((seed, what)),
            Err(_) => Some((seed, "an assertion".to_owned())),
        });
        let by_fault = || catch_unwind(faults::every_fault).err().map(|_| "a fault".to_owned());
        match by_seed {
            Some((seed, what)) => (Some(seed), Some(format!("seed {seed}: {what}"))),
            None => (None, by_fault()),
        }
    });
    std::panic::set_hook(quiet);
    // It is the bug that was found.
    found.0.map(|seed| seeds::run(seed).expect("without the bug, the seed holds"));
    found.1
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    let only = std::env::var("HEADWATER_SIM_BUG").ok();
    let is_asked = |bug: &Bug| only.as_ref().is_none_or(|only| format!("{bug:?}") == *only);
    for bug in Bug::ALL.into_iter().filter(is_asked) {
        match found_by(bug) {
            Some(how) => eprintln!("{bug:?}: found by {how}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
