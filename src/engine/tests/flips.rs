//! Single bits turned over on the disk of a stopped server: each is noticed or harmless.

use super::bed::edits_in;
use super::model::check_values;
use super::world::{Outcome, World};
use crate::engine::steps::Actor;
use crate::engine::{check, repair};
use crate::io::sim::{Ended, Rng};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Flips of an ordinary test run; `HEADWATER_SIM_FLIPS` asks for more.
const FLIPS: u64 = 150;

/// A stopped server with rows in segments, log, catalog and parts.
fn stopped(seed: u64) -> World {
    let mut world = running(seed);
    if seed.is_multiple_of(2) {
        world.end(Ended::Killed);
    } else {
        world.close_unflushed().expect("a sound disk");
    }
    world
}

/// The same in its second life, before it ends.
fn running(seed: u64) -> World {
    let mut world = World::new(seed);
    // Room that is reserved takes most of a segment, and nobody minds bits in it.
    world.config.wal.carry_bytes = 200;
    for life in 0..2 {
        assert_eq!(world.start(&[]), Ok(Outcome::Lives));
        assert_eq!(world.drain_and_check(true), Ok(Outcome::Lives));
        for _ in 0..60 {
            let choice = world.rng.below(97);
            world.guard(|world| world.act(choice)).expect("no fault is planned");
            world.hear();
        }
        if life == 0 {
            world.end(Ended::Killed);
        }
    }
    world
}

/// Has all that is committed flushed, and the WAL behind it removed.
fn purge(world: &mut World) {
    world.leave();
    world.steps().engine().shared.apply.want_flush_all();
    assert!(world.settle());
    let shared = world.steps().engine().shared.clone();
    for _ in 0..3 {
        shared.clock.advance(Duration::from_secs(61));
        shared.writers.close_idle();
        world.step(Actor::Housekeeper);
        assert!(world.settle());
    }
}

/// Flips one bit and holds check, start and repair to it. Says what came of it.
fn flip(seed: u64) -> Result<&'static str, String> {
    let mut world = stopped(seed / 8);
    let mut rng = Rng::new(seed);
    let files = world.disk.files();
    let files: Vec<_> =
        files.into_iter().filter(|(path, len)| *len > 0 && !path.ends_with("lock")).collect();
    let (path, len) = &files[rng.below(files.len() as u64) as usize];
    // Most files are reserved room behind their first bytes.
    let reach = if rng.one_in(2) { (*len).min(2000) } else { *len };
    let bit = rng.below(reach * 8);
    world.disk.flip(path, bit).map_err(|e| e.to_string())?;
    let place = format!("byte {} of {}", bit / 8, path.display());
    // Whatever the catalog lacks, the WAL has, or the start says so.
    let may_lose = !path.starts_with("/data/catalog");
    judge(&mut world, may_lose).map_err(|what| format!("{place}: {what}"))
}

fn judge(world: &mut World, may_lose: bool) -> Result<&'static str, String> {
    let dir = Path::new("/data");
    let fs = world.disk.fs();
    let report = check(&fs, dir).map_err(|e| e.to_string())?;
    let is_sound = report.findings.is_empty() && !report.cut_short;
    let found = match world.try_start() {
        Err(error) if is_sound => return Err(format!("check saw nothing, the start says {error}")),
        Err(_) => {
            world.end(Ended::Killed);
            "refused"
        }
        Ok(()) if is_sound || !may_lose => {
            world.drain_and_check(true)?;
            world.end(Ended::Killed);
            return Ok("harmless");
        }
        Ok(()) => {
            let is_well = world.settle();
            let unreadable = check_values(world.steps().engine())?;
            world.end(Ended::Killed);
            match (is_well, unreadable) {
                (true, 0) => "cut",
                (false, _) => "suspended",
                (true, _) => "unreadable",
            }
        }
    };
    let fs = world.disk.fs();
    let (before, _) = repair(&fs, dir).map_err(|e| e.to_string())?;
    let can_be_mended = before.findings.iter().all(|f| f.is_mendable());
    match world.try_start() {
        Ok(()) => {
            world.settle();
            check_values(world.steps().engine())?;
        }
        Err(error) if can_be_mended => return Err(format!("repaired, and still {error}")),
        Err(_) => {}
    }
    world.end(Ended::Killed);
    Ok(found)
}

#[test]
fn a_rotten_last_commit_of_the_catalog_is_noticed_or_costs_nothing() {
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..FLIPS / 4 {
        // Without a seal, nothing rules out that the commit was cut off.
        let mut world = running(seed);
        if seed.is_multiple_of(2) {
            purge(&mut world);
        }
        world.end(Ended::Killed);
        let newest = world.disk.files().into_iter().map(|(path, _)| path);
        let newest = newest.filter(|path| path.starts_with("/data/catalog")).max().expect("one");
        let bytes = world.disk.fs().read(&newest).expect("a sound disk");
        let commits = edits_in(&bytes);
        let [_, .., last] = commits[..] else { continue };
        let bit = Rng::new(seed).below((bytes.len() - last) as u64 * 8) + last as u64 * 8;
        world.disk.flip(&newest, bit).expect("a file");
        match judge(&mut world, false) {
            Ok(outcome) => *outcomes.entry(outcome).or_default() += 1,
            Err(what) => panic!("bit {bit} of {}, seed {seed}: {what}", newest.display()),
        }
    }
    eprintln!("{outcomes:?}");
    assert!(outcomes.contains_key("harmless") && outcomes.contains_key("refused"), "{outcomes:?}");
}

#[test]
fn every_flipped_bit_is_noticed_or_harmless_and_never_a_wrong_value() {
    let asked = std::env::var("HEADWATER_SIM_FLIPS").ok().map(|n| n.parse().expect("a number"));
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..asked.unwrap_or(FLIPS) {
        match flip(seed) {
            Ok(outcome) => *outcomes.entry(outcome).or_default() += 1,
            Err(what) => panic!("flip {seed}: {what}"),
        }
    }
    eprintln!("{outcomes:?}");
    assert!(outcomes.contains_key("harmless") && outcomes.contains_key("refused"), "{outcomes:?}");
}
