//! The simulated machine, held to what a real one does.

use super::*;
use crate::io::{Fs, Operation};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

fn path(name: &str) -> &Path {
    Path::new(name)
}

/// A synced file of four sectors, and its disk.
fn disk(seed: u64) -> (SimDisk, Fs) {
    let disk = SimDisk::new(seed);
    let fs = disk.fs();
    fs.create_dir_all(path("/d")).unwrap();
    let file = fs.create(path("/d/a")).unwrap();
    file.write_all_at(&[1; 2048], 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(path("/d")).unwrap();
    (disk, fs)
}

#[test]
fn what_was_synced_survives_every_power_cut_and_what_was_not_survives_some() {
    let mut seen = [0; 3];
    for seed in 0..200 {
        let (disk, fs) = disk(seed);
        let file = fs.open(path("/d/a")).unwrap();
        file.write_all_at(&[2; 1024], 1024).unwrap();
        disk.power_cut();
        let bytes = disk.fs().read(path("/d/a")).unwrap();
        assert_eq!(bytes[..1024], [1; 1024], "seed {seed}");
        assert_eq!(bytes.len(), 2048);
        let new = bytes[1024..].chunks(512).filter(|sector| **sector == [2; 512]).count();
        seen[new] += 1;
    }
    assert!(seen.iter().all(|count| *count > 10), "nothing, one sector and all: {seen:?}");
}

#[test]
fn a_name_that_was_not_synced_may_go_and_a_removed_one_may_come_back() {
    let (mut gone, mut back) = (0, 0);
    for seed in 0..200 {
        let (disk, fs) = disk(seed);
        fs.create(path("/d/b")).unwrap();
        fs.remove(path("/d/a")).unwrap();
        disk.power_cut();
        gone += u32::from(!disk.fs().exists(path("/d/b")).unwrap());
        back += u32::from(disk.fs().exists(path("/d/a")).unwrap());
    }
    assert!((50..150).contains(&gone) && (50..150).contains(&back), "{gone} {back}");
}

#[test]
fn a_replaced_file_is_old_or_new_and_never_a_mixture() {
    for seed in 0..200 {
        let (disk, fs) = disk(seed);
        fs.replace(path("/d/c"), &[1; 1000]).unwrap();
        disk.plan(&[Fault {
            kind: FaultKind::PowerCut(Moment::After),
            nth: seed % 7 + 1,
            persistent: false,
        }]);
        let ended = catch_unwind(AssertUnwindSafe(|| fs.replace(path("/d/c"), &[2; 1500])));
        if let Err(payload) = ended {
            assert_eq!(payload.downcast_ref::<Ended>(), Some(&Ended::PowerCut));
            disk.power_cut();
        }
        let bytes = disk.fs().read(path("/d/c")).unwrap();
        assert!(bytes == [1; 1000] || bytes == [2; 1500], "seed {seed}: {} bytes", bytes.len());
    }
}

#[test]
fn a_folder_that_was_created_in_several_tries_survives_every_power_cut() {
    let kinds = [FaultKind::Io, FaultKind::NoSpace, FaultKind::NoDescriptors, FaultKind::NoMemory];
    for (kind, seed) in kinds.into_iter().flat_map(|kind| (0..100).map(move |seed| (kind, seed))) {
        let (disk, fs) = disk(seed);
        disk.plan(&[Fault { kind, nth: seed % 6 + 1, persistent: false }]);
        match fs.create_dir_all(path("/d/e/f")) {
            // The process ends.
            Err(error) if error.operation == Operation::Sync => continue,
            Err(_) => fs.create_dir_all(path("/d/e/f")).expect("the fault has passed"),
            Ok(()) => {}
        }
        disk.power_cut();
        assert!(disk.fs().exists(path("/d/e/f")).unwrap(), "{kind:?}, seed {seed}");
    }
}

#[test]
fn a_kill_loses_nothing_and_voids_the_handles() {
    let (disk, fs) = disk(1);
    let file = fs.open(path("/d/a")).unwrap();
    file.write_all_at(b"kept", 0).unwrap();
    let lock = fs.lock(path("/d")).unwrap();
    assert!(lock.is_some() && fs.lock(path("/d")).unwrap().is_none());
    disk.kill();
    assert!(file.write_all_at(b"late", 0).is_err() && fs.read(path("/d/a")).is_err());
    let fs = disk.fs();
    assert!(fs.lock(path("/d")).unwrap().is_some(), "the lock went with its process");
    assert_eq!(&fs.read(path("/d/a")).unwrap()[..4], b"kept");
}

#[test]
fn after_a_failed_sync_the_kernel_shows_what_the_device_lacks_and_the_next_sync_succeeds() {
    let (disk, fs) = disk(1);
    let file = fs.open(path("/d/a")).unwrap();
    file.write_all_at(&[9; 512], 0).unwrap();
    disk.plan(&[Fault { kind: FaultKind::Io, nth: 1, persistent: false }]);
    assert_eq!(file.sync_data().unwrap_err().operation, Operation::Sync);
    file.sync_data().unwrap();
    assert_eq!(fs.read(path("/d/a")).unwrap()[0], 9);
    file.forget_cached().unwrap();
    assert_eq!(fs.read(path("/d/a")).unwrap()[0], 1);
}

#[test]
fn after_a_failed_sync_of_names_they_are_shown_until_the_process_ends_and_no_sync_keeps_them() {
    let sync_dir = |fs: &Fs| fs.sync_dir(path("/d"));
    let sync_all = |fs: &Fs| fs.sync_all(path("/d"));
    for sync in [&sync_dir as &dyn Fn(&Fs) -> crate::io::Result<()>, &sync_all] {
        for seed in 0..20 {
            let (disk, fs) = disk(seed);
            fs.create(path("/d/b")).unwrap();
            fs.remove(path("/d/a")).unwrap();
            disk.plan(&[Fault { kind: FaultKind::Sync, nth: 1, persistent: false }]);
            assert_eq!(sync(&fs).unwrap_err().operation, Operation::Sync);
            fs.create(path("/d/c")).unwrap();
            sync(&fs).unwrap();
            fs.create(path("/d/e")).unwrap();
            let names = |fs: &Fs| {
                let entries = fs.list(path("/d")).unwrap();
                entries.into_iter().map(|entry| entry.name).collect::<String>()
            };
            assert_eq!(names(&fs), "bce");
            disk.kill();
            assert_eq!(names(&disk.fs()), "ace");
            disk.power_cut();
            let left = names(&disk.fs());
            assert!(left == "ac" || left == "ace", "seed {seed}: {left}");
        }
    }
}

#[test]
fn faults_strike_the_nth_operation_they_can_hit_once_or_for_ever() {
    let (disk, fs) = disk(1);
    let file = fs.open(path("/d/a")).unwrap();
    let write = || file.write_all_at(&[7; 100], 2048);
    disk.plan(&[Fault { kind: FaultKind::NoSpace, nth: 2, persistent: false }]);
    write().unwrap();
    file.len().unwrap();
    assert!(write().unwrap_err().is_no_space());
    write().unwrap();
    disk.plan(&[Fault { kind: FaultKind::ShortWrite, nth: 1, persistent: true }]);
    file.set_len(2048).unwrap();
    assert!(write().is_err() && write().is_err());
    assert_eq!(file.len().unwrap(), 2098, "a part was written");
    assert_eq!(disk.hits(), 2);
    disk.heal();
    write().unwrap();
    disk.set_capacity(2200);
    assert!(file.allocate(2148, 1000).unwrap_err().is_no_space());
    assert_eq!(fs.room(path("/d")).unwrap().free, 52);
}

#[test]
fn a_map_shows_what_is_written_after_it_was_made() {
    let (_disk, fs) = disk(1);
    let file = fs.open(path("/d/a")).unwrap();
    file.allocate(2048, 4096).unwrap();
    let map = fs.open_read(path("/d/a")).unwrap().map(6144).unwrap();
    assert_eq!((map[0], map[3000]), (1, 0));
    file.write_all_at(&[5; 10], 3000).unwrap();
    assert_eq!(map[3000..3010], [5; 10]);
}

#[test]
fn the_same_seed_and_calls_give_the_same_disk() {
    let run = || {
        let (disk, fs) = disk(77);
        for n in 0..20u8 {
            let file = fs.create(&path("/d").join(n.to_string())).unwrap();
            file.write_all_at(&[n; 3000], 0).unwrap();
        }
        disk.power_cut();
        let fs = disk.fs();
        let files = disk.files();
        let bytes: Vec<_> = files.iter().map(|(path, _)| fs.read(path).unwrap()).collect();
        (disk.trace(), files, bytes)
    };
    assert_eq!(run(), run());
}
