//! What waits for a suspended table lies in files of its own, and comes back when the table goes on.

use super::bed::{BOTH, Bed, Life, flip};
use super::rows::start;
use crate::engine::steps::Actor;
use crate::engine::{DEFAULT_DATABASE, check, repair};
use crate::io::Fs;
use crate::sequencer::Change;
use crate::types::SeqTxn;
use std::path::PathBuf;

/// Small segments and chunks or large ones, with frames in segments or in the log: what can be purged differs.
fn beds() -> Vec<Bed> {
    let mut beds = Vec::new();
    for (carry_bytes, segment_bytes, chunk_bytes) in
        [(0, 1024, 1), (0, 64 << 20, 1), (16 << 10, 1024, 512), (16 << 10, 64 << 20, 512)]
    {
        let mut bed = Bed::new(carry_bytes);
        bed.config.wal.segment_bytes = segment_bytes;
        bed.config.sequencer.chunk_bytes = chunk_bytes;
        beds.push(bed);
    }
    beds
}

/// Files below `wal/` of this kind.
fn held(bed: &Bed, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(bed.dir().join("wal")).unwrap().flatten() {
        let files = std::fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.path());
        found.extend(files.filter(|path| path.extension().is_some_and(|e| e == extension)));
    }
    found
}

/// `a` is suspended after five rows, of which all are in a part; 25 more wait on a shelf.
fn shelve(bed: &Bed) -> Life {
    let mut life = bed.begin();
    life.rows(BOTH, 0..5);
    life.flush();
    life.suspend("a");
    life.rows(BOTH, 5..20);
    life.keep_house();
    life.rows(BOTH, 20..30);
    life.rows(&["b"], 30..32);
    life.keep_house();
    life
}

fn rows(life: &Life, table: &str) -> u64 {
    let snapshot = life.steps.engine().snapshot(DEFAULT_DATABASE, table);
    snapshot.map_or(0, |snapshot| snapshot.rows())
}

fn resume(life: &mut Life, from: Option<SeqTxn>) {
    let id = life.id("a");
    let resumed = life.steps.engine().shared.resume_table(id, from);
    assert_eq!(resumed.expect("room"), Ok(()));
    while life.steps.step(Actor::Worker) {}
}

#[test]
fn a_suspended_table_keeps_no_segments_and_no_chunks_of_the_log() {
    for bed in beds() {
        let life = shelve(&bed);
        assert_eq!((rows(&life, "a"), rows(&life, "b")), (5, 32));
        assert_eq!(held(&bed, "wal"), Vec::<PathBuf>::new());
        assert_eq!(held(&bed, "log").len(), 1);
        assert_eq!(held(&bed, "shelf").len(), 2);
    }
}

#[test]
fn a_resumed_table_finds_what_was_shelved_and_the_shelves_go_once_it_is_in_parts() {
    for bed in beds() {
        let mut life = shelve(&bed);
        life.rows(BOTH, 40..45);
        resume(&mut life, None);
        assert_eq!((rows(&life, "a"), rows(&life, "b")), (35, 37));
        life.steps.step(Actor::Housekeeper);
        assert_eq!(held(&bed, "shelf").len(), 2, "not before they are in parts");
        life.keep_house();
        assert_eq!(held(&bed, "shelf"), Vec::<PathBuf>::new());
        assert_eq!(held(&bed, "wal"), Vec::<PathBuf>::new());
        drop(life);
        assert_eq!(start(&bed), Ok((35, 37, Vec::new())));
    }
}

#[test]
fn a_start_brings_back_what_was_shelved() {
    for bed in beds() {
        drop(shelve(&bed));
        let report = check(&Fs::real(), bed.dir()).expect("a folder");
        assert_eq!(report.findings, []);
        assert_eq!(start(&bed), Ok((30, 32, Vec::new())));
        assert_eq!(start(&bed), Ok((30, 32, Vec::new())), "a second start");
    }
}

#[test]
fn what_is_shelved_is_not_copied_again_when_the_table_is_suspended_again() {
    for bed in beds() {
        let mut life = shelve(&bed);
        let shelves = held(&bed, "shelf");
        resume_nothing(&mut life);
        life.keep_house();
        assert_eq!((held(&bed, "shelf"), held(&bed, "wal")), (shelves.clone(), Vec::new()));
        // And the same after a start.
        drop(life);
        let mut life = bed.begin();
        life.steps.step(Actor::Worker);
        if rows(&life, "a") < 30 {
            life.suspend("a");
            life.keep_house();
            assert_eq!(rows(&life, "a"), 5);
            assert_eq!(held(&bed, "wal"), Vec::<PathBuf>::new());
        }
        drop(life);
        assert_eq!(start(&bed), Ok((30, 32, Vec::new())));
    }
}

/// Resumes the table and suspends it before anybody applies a thing.
fn resume_nothing(life: &mut Life) {
    let id = life.id("a");
    let resumed = life.steps.engine().shared.resume_table(id, None);
    assert_eq!(resumed.expect("room"), Ok(()));
    life.suspend("a");
}

#[test]
fn rows_on_a_shelf_can_be_skipped() {
    for bed in beds() {
        let mut life = shelve(&bed);
        let first = life.steps.engine().shared.apply.progress(life.id("a")).unwrap().applied_txn();
        // All of the first shelf and some of the second.
        resume(&mut life, Some(SeqTxn(first.0 + 19)));
        assert_eq!(rows(&life, "a"), 5 + 25 - 18);
        life.keep_house();
        assert_eq!(held(&bed, "shelf"), Vec::<PathBuf>::new());
        drop(life);
        assert_eq!(start(&bed), Ok((12, 32, Vec::new())));
    }
}

#[test]
fn the_shelves_of_a_dropped_table_go() {
    for bed in beds() {
        let mut life = shelve(&bed);
        life.push(Change::Drop { table: life.id("a") });
        while life.steps.step(Actor::Worker) {}
        life.keep_house();
        assert_eq!(held(&bed, "shelf"), Vec::<PathBuf>::new());
        drop(life);
        assert_eq!(start(&bed), Ok((0, 32, Vec::new())));
    }
}

#[test]
fn a_damaged_frame_is_shelved_as_it_is_and_stops_its_table_again() {
    for mut bed in beds() {
        // What is damaged is in the file.
        bed.config.wal.unwritten_bytes = 0;
        let mut life = bed.begin();
        life.rows(BOTH, 0..3);
        life.suspend("a");
        life.rows(BOTH, 3..6);
        let (path, frame) = bed.frame("a", 4);
        flip(&path, frame.start + 70);
        life.rows(&["b"], 6..8);
        life.keep_house();
        life.keep_house();
        assert_eq!(held(&bed, "wal"), Vec::<PathBuf>::new());
        assert_eq!(held(&bed, "shelf").len(), 1);
        resume(&mut life, None);
        assert_eq!(rows(&life, "a"), 4);
        let trouble = life.steps.engine().shared.apply.progress(life.id("a")).unwrap().trouble();
        let trouble = trouble.expect("it stops again").to_string();
        assert!(trouble.starts_with("CORRUPT WAL") && trouble.contains(".wal"), "{trouble}");
        life.keep_house();
        drop(life);
        let report = check(&Fs::real(), bed.dir()).expect("a folder");
        assert!(!report.findings.is_empty(), "the check sees it on the shelf");
        let (a, b, troubles) = start(&bed).expect("the others go on");
        assert_eq!((a, b, troubles.len()), (4, 8, 1));
    }
}

#[test]
fn one_repair_is_enough_where_the_log_is_damaged_and_a_shelf_is_lost() {
    for bed in beds() {
        let mut life = shelve(&bed);
        life.rows(&["b"], 32..35);
        drop(life);
        for shelf in held(&bed, "shelf") {
            std::fs::remove_file(shelf).expect("a shelf");
        }
        // Row L7: the checkpoint. The gap, row H6, shows once the log is cut before it.
        flip(held(&bed, "log").iter().max().expect("a chunk"), 64 + 40);
        let (report, done) = repair(&Fs::real(), bed.dir()).expect("a repair");
        assert!(report.findings.len() >= 2, "{report:?}");
        let again = check(&Fs::real(), bed.dir()).expect("a folder");
        assert_eq!(again.findings, [], "{done:?}");
        let (a, _, troubles) = start(&bed).expect("a start");
        assert_eq!((a, troubles), (5, Vec::new()));
    }
}
