//! `headwater`: flags to what they ask for.

use clap::{Parser, Subcommand};
use headwater::bench::{self, BenchArgs, WriteArgs};
use headwater::config::{self, SettingsArgs};
use headwater::query::{self, QueryArgs};
use headwater::server::{self, CheckArgs, FilesArgs, InspectArgs, ServeArgs};
use std::process::ExitCode;

/// Frames and tails come in bursts; this allocator gives the memory back to the system after them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Line protocol in, durable in milliseconds, open Parquet out.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Take line protocol, keep it, answer queries
    Serve(ServeArgs),
    /// Send lines and say what became of them
    Write(WriteArgs),
    /// Ask in SQL
    Query(QueryArgs),
    /// Load a server and say what it held
    Bench(BenchArgs),
    /// Print the Parquet files of one version of a table
    Files(FilesArgs),
    /// Print what a file of a data directory holds, damaged or not
    Inspect(InspectArgs),
    /// Verify the data directory of a stopped server, and repair it
    Check(CheckArgs),
    /// Print the configuration that `serve` would use
    Config(ConfigArgs),
}

#[derive(clap::Args, Debug)]
struct ConfigArgs {
    #[command(flatten)]
    settings: SettingsArgs,

    /// Print the page that documents every key instead
    #[arg(long)]
    reference: bool,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => server::serve(&args),
        Command::Write(args) => bench::write(args),
        Command::Query(args) => ask(args),
        Command::Bench(args) => bench::run(args),
        Command::Files(args) => server::files(&args),
        Command::Inspect(args) => server::inspect(&args),
        Command::Check(args) => server::check(&args),
        Command::Config(args) => print_config(&args),
    }
}

fn ask(args: QueryArgs) -> ExitCode {
    // Kept until the answer is printed: it holds the lock of the folder.
    let mut opened = None;
    query::query(args, |dir| Ok(opened.insert(server::open_stopped(dir)?).source()))
}

fn print_config(args: &ConfigArgs) -> ExitCode {
    if args.reference {
        print!("{}", config::reference());
        return ExitCode::SUCCESS;
    }
    server::serve(&ServeArgs { settings: args.settings.clone(), print_config: true })
}
