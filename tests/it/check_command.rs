//! `headwater check` and `headwater inspect` on the folder of a stopped server.

use crate::statements_support::{config, open, send, session};
use headwater::clock::Clock;
use headwater::engine::{DEFAULT_DATABASE, Engine};
use headwater::io::Fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with rows in log and segments, as a kill leaves it.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut session = session(&engine);
    for n in 0..5 {
        assert_eq!(send(&mut session, &format!("t,h=a v={n}i {n}\n")), 0);
    }
    drop(session);
    drop(engine);
    dir
}

fn headwater(args: &[&str], path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.arg(args[0]).arg(path).args(&args[1..]).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn log(dir: &Path) -> PathBuf {
    dir.join("wal/txnlog/00000001.log")
}

/// Turns over a byte of the log's second record, which others follow.
fn damage_log(dir: &Path) {
    let mut bytes = std::fs::read(log(dir)).unwrap();
    let second = bytes.windows(4).enumerate().filter(|(_, four)| four == b"HWTR").nth(1).unwrap().0;
    bytes[second + 40] ^= 0x10;
    std::fs::write(log(dir), bytes).unwrap();
}

#[test]
fn a_sound_folder_passes_and_every_file_of_it_can_be_inspected() {
    let dir = folder();
    let checked = headwater(&["check"], dir.path());
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    assert!(text(&checked).contains("everything verifies"));
    for (file, says) in [
        ("identity", "identity, version 1"),
        ("catalog/0.log", "checkpoint"),
        ("wal/txnlog/00000001.log", "1 rows in"),
        ("wal/1/0.wal", "frame of"),
    ] {
        let printed = headwater(&["inspect"], &dir.path().join(file));
        assert!(text(&printed).contains(says), "{file}: {}", text(&printed));
    }
}

#[test]
fn a_damaged_log_is_named_with_what_is_lost_and_the_server_starts_after_a_repair() {
    let dir = folder();
    damage_log(dir.path());
    let inspected = headwater(&["inspect"], &log(dir.path()));
    assert_eq!(inspected.status.code(), Some(1));
    assert!(text(&inspected).contains("DAMAGED"), "{}", text(&inspected));
    let refused = Engine::open(config(dir.path()), Fs::real(), Clock::real());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("00000001.log") && refused.contains("check --repair"), "{refused}");
    let checked = headwater(&["check"], dir.path());
    assert_eq!(checked.status.code(), Some(1));
    assert!(text(&checked).contains("lost: table 1"), "{}", text(&checked));
    let repaired = headwater(&["check", "--repair"], dir.path());
    assert!(text(&repaired).contains("done: ended the log"), "{}", text(&repaired));
    assert!(dir.path().join("quarantine/wal/txnlog/00000001.log").exists());
    assert_eq!(headwater(&["check"], dir.path()).status.code(), Some(0));
    Engine::open(config(dir.path()), Fs::real(), Clock::real()).unwrap();
}

#[test]
fn a_damaged_or_lost_catalog_is_made_anew_and_the_server_starts_with_all_rows() {
    let spoils: [fn(&Path); 3] = [
        |catalog| std::fs::remove_dir_all(catalog).unwrap(),
        |catalog| turn_over(&newest(catalog), 20),
        |catalog| turn_over(&newest(catalog), 60),
    ];
    for spoil in spoils {
        let dir = folder();
        let open = || Engine::open(config(dir.path()), Fs::real(), Clock::real());
        assert!(open().unwrap().close(std::time::Duration::from_secs(60)).flushed);
        spoil(&dir.path().join("catalog"));
        let refused = open().unwrap_err().to_string();
        assert!(refused.contains("catalog") && refused.contains("check --repair"), "{refused}");
        let checked = headwater(&["check"], dir.path());
        assert_eq!(checked.status.code(), Some(1));
        assert!(
            text(&checked).contains("a new catalog would have 1 tables, 1 parts"),
            "{}",
            text(&checked)
        );
        let repaired = headwater(&["check", "--repair"], dir.path());
        let said = "\"t\" into a new catalog: 1 parts, 5 rows";
        assert!(text(&repaired).contains(said), "{}", text(&repaired));
        assert_eq!(headwater(&["check"], dir.path()).status.code(), Some(0));
        let engine = open().unwrap();
        assert_eq!(engine.snapshot(DEFAULT_DATABASE, "t").unwrap().rows(), 5);
    }
}

/// The file whose name comes last.
fn newest(folder: &Path) -> PathBuf {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
}

fn turn_over(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_no_finding() {
    let missing = headwater(&["check"], Path::new("/nonexistent/data"));
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("not there"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let dir = folder();
    let file = dir.path().join("identity");
    for args in [["inspect", file.to_str().unwrap()], ["check", dir.path().to_str().unwrap()]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        let status = command.args(args).stdout(writer).status().unwrap();
        assert_eq!(status.code(), Some(0), "{args:?}");
    }
}
