//! The process: how it stops, and how it refuses to start.

use crate::server_support::{Running, command, outcome, rows};
use rustix::process::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::tempdir;

/// Runs a server that cannot start: code 2 and one line, which is returned.
fn refused(command: Command) -> String {
    let (code, stderr) = outcome(command);
    let errors: Vec<&str> = stderr.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!((code, errors.len()), (2, 1), "{stderr}");
    errors[0].to_owned()
}

#[test]
fn sigterm_takes_what_clients_have_sent_and_leaves_parquet_only() {
    let dir = tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    let mut streams: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for n in 0..1_000 {
        for stream in &mut streams {
            stream.write_all(format!("m n={n}i {n}\n").as_bytes()).unwrap();
        }
    }
    assert_eq!(server.stop(), 0);
    assert_eq!(rows(dir.path(), "m", &["n"]).len(), 8_000);
    assert_eq!(server.segments(), Vec::<std::path::PathBuf>::new());
    for stream in &mut streams {
        // None of them half-closed, so none may take the end for a promise.
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn sigterm_takes_the_first_line_of_connections_that_have_just_come() {
    let dir = tempdir().unwrap();
    let mut command = command(dir.path(), &[]);
    // 200 segments are created within half of it, however busy the machine is.
    command.env("HEADWATER_SHUTDOWN_DEADLINE_MS", "60000");
    let mut server = Running::spawn(command, dir.path());
    let streams: Vec<_> = (0..200)
        .map(|n| {
            let mut stream = server.connect();
            stream.write_all(format!("m n={n}i {n}\n").as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(server.stop(), 0);
    assert_eq!(rows(dir.path(), "m", &["n"]).len(), streams.len());
}

#[test]
fn a_client_that_does_not_read_its_replies_leaves_time_to_flush() {
    let dir = tempdir().unwrap();
    let mut command = command(dir.path(), &[]);
    command.env("HEADWATER_SHUTDOWN_DEADLINE_MS", "6000");
    let mut server = Running::spawn(command, dir.path());
    server.send("m v=1 1\n");
    let mut deaf = server.connect();
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let asks = format!("# ack {}\n", "x".repeat(64)).repeat(1_000);
    while deaf.write_all(asks.as_bytes()).is_ok() {}
    assert_eq!(server.stop(), 0);
    assert_eq!(server.segments(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn sigint_stops_as_sigterm_does() {
    let dir = tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    server.send("m v=1 1\n");
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), 0);
    assert_eq!(rows(dir.path(), "m", &["v"]).len(), 1);
}

#[test]
fn a_restart_goes_on_where_the_last_life_ended() {
    let dir = tempdir().unwrap();
    for life in 0..3 {
        let mut server = Running::start(dir.path(), &[]);
        server.send(&format!("m life={life}i {life}\n"));
        assert_eq!(server.stop(), 0);
    }
    assert_eq!(rows(dir.path(), "m", &["life"]), [["0"], ["1"], ["2"]]);
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let dir = tempdir().unwrap();
    let _first = Running::start(dir.path(), &[]);
    let error = refused(command(dir.path(), &[]));
    assert!(error.contains(dir.path().to_str().unwrap()) && error.contains("in use"), "{error}");
}

#[test]
fn a_port_in_use_is_said_with_the_flag_that_changes_it() {
    let dir = tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for flag in ["--ilp-addr", "--http-addr"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        let other = if flag == "--ilp-addr" { "--http-addr" } else { "--ilp-addr" };
        command.args(["serve", flag, &addr, other, "127.0.0.1:0", "--data-dir"]).arg(dir.path());
        let error = refused(command);
        assert!(error.contains(&addr) && error.contains(flag), "{error}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = refused(command(&file.join("data"), &[]));
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}

#[test]
fn a_bad_configuration_is_named_with_its_place_and_what_is_meant() {
    let dir = tempdir().unwrap();
    let config = dir.path().join("hw.toml");
    let data = dir.path().join("data");
    let with = |text: &str| {
        std::fs::write(&config, text).unwrap();
        refused(command(&data, &["--config", config.to_str().unwrap()]))
    };
    let error = with("[wal]\n\nsegment_byte = 1\n");
    assert!(
        error.contains(
            "hw.toml:3: unknown key `wal.segment_byte`; did you mean `wal.segment_bytes`?"
        ),
        "{error}"
    );
    let error = with("durability = 'maybe'\n");
    assert!(error.contains("hw.toml:1: durability cannot be \"maybe\""), "{error}");
    let error = refused(command(&data, &["--durability", "fast"]));
    assert!(error.contains("--durability: "), "{error}");
    for level in ["headwater=loud", "loud", "info,loud"] {
        let error = refused(command(&data, &["--log-level", level]));
        assert!(error.contains("log.level: "), "{error}");
    }
    let mut environment = command(&data, &[]);
    environment.env("HEADWATER_WAL_SEGMENT_BYTES", "lots");
    assert!(refused(environment).contains("HEADWATER_WAL_SEGMENT_BYTES: "));
    assert!(!data.exists());
}

#[test]
fn flags_win_over_environment_over_file() {
    let dir = tempdir().unwrap();
    let config = dir.path().join("hw.toml");
    std::fs::write(&config, "[ilp]\naddr = 'file:1'\ndatabase = 'file'\n[log]\nlevel = 'warn'\n")
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.args(["config", "--ilp-addr", "flag:1", "--config"]).arg(&config);
    command.env("HEADWATER_ILP_ADDR", "env:1").env("HEADWATER_ILP_DATABASE", "env");
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let settings: toml::Table = toml::from_str(&printed).unwrap();
    assert_eq!(settings["ilp"]["addr"].as_str(), Some("flag:1"));
    assert_eq!(settings["ilp"]["database"].as_str(), Some("env"));
    assert_eq!(settings["log"]["level"].as_str(), Some("warn"));
}

#[test]
fn files_prints_the_parts_of_a_running_and_of_a_stopped_server() {
    let dir = tempdir().unwrap();
    let files = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        let output = command.arg("files").args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let data_dir = dir.path().to_str().unwrap();
    let mut server = Running::start(dir.path(), &[]);
    server.send("m v=1 1\nm v=2 86400000000001\n");
    assert_eq!(server.stop(), 0);
    let (code, stopped) = files(&["m", "--data-dir", data_dir]);
    assert_eq!((code, stopped.lines().count()), (Some(0), 2));
    assert!(stopped.lines().all(|path| Path::new(path).is_file()), "{stopped}");

    let server = Running::start(dir.path(), &[]);
    let (code, running) = files(&["m", "--http-addr", &server.http.to_string()]);
    assert_eq!((code, running), (Some(0), stopped));
    assert_eq!(files(&["none", "--http-addr", &server.http.to_string()]), (Some(1), String::new()));
}
