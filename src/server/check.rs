//! `headwater inspect FILE` and `headwater check DIR`: what is on disk, without a server.

use crate::engine::{self, CheckReport};
use crate::io::Fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print what a file of a data directory holds, damaged or not
///
/// Takes segments (wal/WRITER/SEGMENT.wal), the transaction log (wal/txnlog/N.log), the catalog (catalog/N.log), the file
/// identity, and parts (tables/.../*.parquet). Every record is printed with its offset; bytes that do not verify are printed as DAMAGED
/// with their range, and what follows them is printed again as soon as something verifies.
#[derive(clap::Args, Clone, Debug)]
#[command(
    after_help = "Exit code: 0 when the file is sound, 1 when bytes of it are damaged, 2 when it cannot be read."
)]
pub struct InspectArgs {
    /// The file
    pub file: PathBuf,
}

/// Verify the data directory of a stopped server
///
/// Reads everything that a start relies on: the identity, the catalog, the transaction log, every frame that is not in Parquet yet, and the
/// length and checksum of every part. Says for each fault which file and bytes it is, what is lost, and the way on. Changes nothing
/// without --repair.
#[derive(clap::Args, Clone, Debug)]
#[command(
    after_help = "Exit code: 0 when the directory is sound, 1 when something is damaged, 2 when it could not be looked at \
    (in use, not there, not readable)."
)]
pub struct CheckArgs {
    /// The data directory
    pub dir: PathBuf,

    /// Make the directory fit to start from: copy what is damaged to DIR/quarantine, then cut or take out what cannot be read.
    /// What that costs is printed before as lost; run without this flag first
    #[arg(long)]
    pub repair: bool,
}

/// Prints a file.
pub fn inspect(args: &InspectArgs) -> ExitCode {
    match engine::inspect(&Fs::real(), &args.file) {
        Ok(dump) => {
            dump.lines.iter().for_each(|line| say(line));
            if dump.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => refuse(&error),
    }
}

/// Checks a directory, and repairs it when asked to.
pub fn check(args: &CheckArgs) -> ExitCode {
    let fs = Fs::real();
    let (report, done) = if args.repair {
        match engine::repair(&fs, &args.dir) {
            Ok(repaired) => repaired,
            Err(error) => return refuse(&error),
        }
    } else {
        match engine::check(&fs, &args.dir) {
            Ok(report) => (report, Vec::new()),
            Err(error) => return refuse(&error),
        }
    };
    print(&report);
    for line in &done {
        say(&format!("done: {line}"));
    }
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(report: &CheckReport) {
    report.summary.iter().for_each(|line| say(line));
    for finding in &report.findings {
        say(&format!("DAMAGED: {}", finding.what));
        for lost in &finding.lost {
            say(&format!("  lost: {lost}"));
        }
        say(&format!("  way on: {}", finding.way_on));
    }
    match report.findings.len() {
        0 => say("everything verifies"),
        1 => say("1 fault"),
        n => say(&format!("{n} faults")),
    }
}

/// Prints a line. A reader that has seen enough, as `head` has, is no failure.
fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

fn refuse(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(2)
}
