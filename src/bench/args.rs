//! The flags of `headwater bench`.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};

/// Loads a line-protocol server over TCP and reports the rows it acknowledged, showed and settled.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Line-protocol address of the server
    #[arg(long, default_value = "127.0.0.1:9009", env = "HEADWATER_ILP_ADDR", value_name = "ADDR")]
    pub addr: String,

    /// HTTP address of the server, where rows are counted
    #[arg(
        long,
        default_value = "127.0.0.1:9000",
        env = "HEADWATER_HTTP_ADDR",
        value_name = "ADDR"
    )]
    pub http_addr: String,

    /// What to send
    #[arg(long, value_enum, default_value_t = Workload::Cpu)]
    pub workload: Workload,

    /// Send this file instead of a workload, split over the connections
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "rows", "duration", "start"])]
    pub file: Option<PathBuf>,

    /// Connections, one thread each
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub connections: u16,

    /// Stop after this many lines over all connections
    #[arg(long, value_name = "LINES", conflicts_with = "duration")]
    pub rows: Option<u64>,

    /// Stop after this time, as 500ms, 10s, 5m or 1h [default: 10s]
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// Lines a second over all connections [default: as fast as the server takes them]
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,

    /// Seed of the values: the same seed and connections give the same lines
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Time of the first row, as in RFC 3339
    #[arg(long, default_value = "2016-01-01T00:00:00Z", value_name = "TIME")]
    pub start: DateTime<Utc>,

    /// Lines of a connection between two acknowledgements asked for
    #[arg(long, default_value_t = 10_000, value_name = "LINES", conflicts_with = "no_ack",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub ack_every: u64,

    /// For other servers: ask for no acknowledgement and no FLUSH
    #[arg(long)]
    pub no_ack: bool,

    /// For servers without SQL over HTTP: count no rows
    #[arg(long, conflicts_with_all = ["verify", "freshness"])]
    pub no_count: bool,

    /// Measure also how long a new row stays invisible: a probe writes ten rows a second
    #[arg(long)]
    pub freshness: bool,

    /// Longest wait for the server to show, and then to settle, what it took
    #[arg(long, default_value = "5m", value_parser = parse_duration, value_name = "DURATION")]
    pub wait: Duration,

    /// Exit 1 unless sent = acknowledged = visible; nothing else may write to the tables meanwhile
    #[arg(long)]
    pub verify: bool,

    /// Write the results to this file as JSON as well
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What a run sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Workload {
    /// TSBS cpu-only: 4,000 hosts, 10 tags, 10 integers, every 10 s, about 347 bytes a line
    Cpu,
    /// Telegraf's cpu, mem, disk and net under the prefix telegraf_: fields in random order, one line per write
    Telegraf,
    /// TSBS iot: readings and diagnostics of trucks, with late, missing and sparse rows
    Iot,
}

/// A whole number and a unit: `500ms`, `10s`, `5m`, `1h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("expected a number and ms, s, m or h, such as 10s".to_owned()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit_millis))
        .filter(|millis| *millis > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a positive number before the unit, such as 10s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(parse_duration(text).ok(), millis.map(Duration::from_millis), "{text}");
        };
        check("500ms", Some(500));
        check("10s", Some(10_000));
        check("5m", Some(300_000));
        check("1h", Some(3_600_000));
        check("10", None);
        check("0s", None);
        check("s", None);
        check("-1s", None);
        check("1.5s", None);
        check("99999999999999999999s", None);
        check("18446744073709551615h", None);
    }
}
