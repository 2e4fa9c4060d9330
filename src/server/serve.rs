//! `headwater serve`: from flags to a running server to exit code 0.

use super::process::{Signals, init_log, raise_descriptor_limit};
use super::{Server, StartError};
use crate::config::{LogFormat, Settings, SettingsArgs};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Take line protocol, keep it, answer queries
#[derive(clap::Args, Clone, Default, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,

    /// Print the effective configuration and end
    #[arg(long)]
    pub print_config: bool,
}

/// Serves until SIGTERM or SIGINT. Code 0 after a clean stop; 2 when the server cannot start, and 74 when a sync failed as it did, after one
/// line on standard error that says why.
pub fn serve(args: &ServeArgs) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}{}", error.way_on());
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(args: &ServeArgs) -> Result<(), StartError> {
    let (settings, warnings) = args.settings.load()?;
    if args.print_config {
        print!("{}", settings.to_toml());
        return Ok(());
    }
    init_log(&settings.log)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let descriptors = raise_descriptor_limit();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if settings.threads > 0 {
        runtime.worker_threads(settings.threads);
    }
    let runtime = runtime.thread_name("headwater").enable_all().build()?;
    runtime.block_on(run(&settings, descriptors))
}

async fn run(settings: &Settings, descriptors: Option<u64>) -> Result<(), StartError> {
    let mut signals = Signals::listen()?;
    let server = tokio::select! {
        server = Server::start(settings) => server?,
        // Recovery can take a while, and what it has written is written: another start begins it anew.
        signal = signals.next() => {
            tracing::warn!(signal, "stopped before the start was done");
            return Ok(());
        }
    };
    announce(settings, &server, descriptors);
    let signal = signals.next().await;
    tracing::info!(
        signal,
        deadline_ms = settings.shutdown_deadline_ms,
        "stopping; a second signal ends at once"
    );
    tokio::select! {
        report = server.stop() => tracing::info!(?report, "stopped"),
        signal = signals.next() => {
            tracing::warn!(signal, "ends at once; what was not flushed is in the WAL");
            std::process::exit(EXIT_AT_ONCE);
        }
    }
    Ok(())
}

fn announce(settings: &Settings, server: &Server, descriptors: Option<u64>) {
    let (ilp, http) = (server.ilp_addr(), server.http_addr());
    let durability = settings.durability_name();
    let data_dir = settings.data_dir.display();
    tracing::info!(%ilp, %http, durability, %data_dir, "ready");
    for (what, addr) in [("line protocol", ilp), ("HTTP", http)] {
        if !addr.ip().is_loopback() {
            tracing::warn!(%addr, "{what} is open to the network without TLS or authentication; \
                put it behind a firewall or a TLS proxy");
        }
    }
    let wanted = (settings.limits.connections
        + settings.http.connections_max
        + settings.wal.writers_max) as u64;
    if let Some(limit) = descriptors.filter(|limit| *limit < wanted) {
        tracing::warn!(
            limit,
            wanted,
            "fewer file descriptors than connections and segments may need (ulimit -n); so many fewer connections are taken"
        );
    }
    if settings.log.format == LogFormat::Text {
        let banner = banner(ilp, http, durability, &data_dir.to_string());
        // Nobody may be reading: a closed standard output is no reason to stop.
        drop(std::io::stdout().write_all(banner.as_bytes()));
    }
}

fn banner(ilp: SocketAddr, http: SocketAddr, durability: &str, data_dir: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (host, port) = (reachable(ilp).ip(), ilp.port());
    let (other_http, http) = (http.port() != 9000, reachable(http));
    let flag = if other_http { format!(" --http-addr {http}") } else { String::new() };
    format!(
        "\
headwater {version}
  line protocol  {ilp}   (durability {durability})
  HTTP           http://{http}   (/metrics, /health, /write, /exec)
  data           {data_dir}

Try it:
  echo 'weather,city=Bern temp=21.5' | nc -N {host} {port}
  headwater write{flag} 'weather,city=Bern temp=21.7,rain=false'
  headwater query{flag} 'SELECT * FROM weather'
"
    )
}

/// An address that a client on this machine can use.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let mut addr = addr;
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

/// As a shell reports a process that SIGINT ended.
const EXIT_AT_ONCE: i32 = 130;
