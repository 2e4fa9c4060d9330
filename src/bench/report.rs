//! What a run found, for people and for machines.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The results of a run. Everything not measured is absent, in JSON `null`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What was sent: a workload's name, or a file's.
    pub(super) source: String,
    pub(super) addr: String,
    pub(super) connections: u16,
    pub(super) seed: u64,
    /// When the load began, seconds since 1970.
    pub(super) started_at_unix_seconds: f64,
    /// Lines a second asked for.
    pub(super) rate: Option<u64>,
    pub(super) sent: Phase,
    pub(super) acknowledged: Option<Phase>,
    pub(super) visible: Option<Phase>,
    pub(super) settled: Option<Phase>,
    pub(super) bytes: u64,
    pub(super) rejected: Option<u64>,
    pub(super) first_rejection: Option<String>,
    pub(super) ack_latency: Option<Latency>,
    pub(super) freshness: Option<Latency>,
    /// Everything that did not go as it should.
    pub(super) failures: Vec<String>,
}

/// A number of rows, and the seconds from the start of the load until that many had come this far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Phase {
    pub(super) rows: u64,
    pub(super) seconds: f64,
    pub(super) rows_per_second: f64,
}

impl Phase {
    pub(super) fn new(rows: u64, took: Duration) -> Phase {
        let seconds = took.as_secs_f64();
        let rows_per_second = if seconds > 0.0 { rows as f64 / seconds } else { 0.0 };
        Phase { rows, seconds, rows_per_second }
    }
}

/// Percentiles of a latency, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) count: u64,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
    pub(super) max_ms: f64,
}

impl Latency {
    /// The percentiles of microseconds; `None` if nothing was recorded.
    pub(super) fn of(histogram_us: &Histogram<u64>) -> Option<Latency> {
        let at = |quantile| histogram_us.value_at_quantile(quantile) as f64 / 1e3;
        (!histogram_us.is_empty()).then(|| Latency {
            count: histogram_us.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram_us.max() as f64 / 1e3,
        })
    }
}

impl Report {
    /// The rows that every stage counted, with `=` or `!=` between them, and whether all agree.
    pub(super) fn verdict(&self) -> (String, bool) {
        let mut text = format!("sent {}", Grouped(self.sent.rows));
        let mut agree = true;
        let mut before = self.sent.rows;
        for (name, phase) in [("acknowledged", self.acknowledged), ("visible", self.visible)] {
            if let Some(Phase { rows, .. }) = phase {
                let sign = if rows == before { "=" } else { "!=" };
                agree &= rows == before;
                before = rows;
                // Writing to a string does not fail.
                write!(text, " {sign} {name} {}", Grouped(rows)).unwrap_or_default();
            }
        }
        (text, agree)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { source, addr, connections, seed, .. } = self;
        let rate =
            self.rate.map_or("unlimited".to_owned(), |rate| format!("{} lines/s", Grouped(rate)));
        writeln!(f, "{source} to {addr}, {connections} connections, seed {seed}, rate {rate}\n")?;
        writeln!(f, "{:12} {:>14} {:>10} {:>12}", "", "rows", "seconds", "rows/s")?;
        let phases = [
            ("sent", Some(self.sent)),
            ("acknowledged", self.acknowledged),
            ("visible", self.visible),
            ("settled", self.settled),
        ];
        for (name, phase) in phases {
            match phase {
                Some(Phase { rows, seconds, rows_per_second }) => {
                    let (rows, rate) = (Grouped(rows), Grouped(rows_per_second as u64));
                    writeln!(f, "{name:12} {rows:>14} {seconds:>10.3} {rate:>12}")?;
                }
                None => writeln!(f, "{name:12} {:>14}", "not measured")?,
            }
        }
        let megabytes_per_second = self.bytes as f64 / 1e6 / self.sent.seconds.max(1e-9);
        writeln!(f, "\nbytes        {} sent, {megabytes_per_second:.1} MB/s", Grouped(self.bytes))?;
        if let Some(rejected) = self.rejected {
            let first = self.first_rejection.as_ref().map(|first| format!(", first at {first}"));
            writeln!(f, "rejected     {}{}", Grouped(rejected), first.unwrap_or_default())?;
        }
        for (name, latency) in [("ack latency", self.ack_latency), ("freshness", self.freshness)] {
            if let Some(latency) = latency {
                writeln!(f, "{name:12} {latency}")?;
            }
        }
        for failure in &self.failures {
            writeln!(f, "failed       {failure}")?;
        }
        writeln!(f, "\n{}", self.verdict().0)
    }
}

impl Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms } = self;
        write!(
            f,
            "p50 {p50_ms:.2} ms, p90 {p90_ms:.2}, p99 {p99_ms:.2}, p99.9 {p999_ms:.2}, max {max_ms:.2} ({} samples)",
            Grouped(*count)
        )
    }
}

/// A number with a comma between thousands.
pub(super) struct Grouped(pub(super) u64);

impl Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sent: u64, acknowledged: Option<u64>, visible: Option<u64>) -> Report {
        let phase = |rows| Phase::new(rows, Duration::from_secs(2));
        Report {
            source: "cpu".to_owned(),
            addr: "127.0.0.1:9009".to_owned(),
            connections: 4,
            seed: 1,
            started_at_unix_seconds: 0.0,
            rate: None,
            sent: phase(sent),
            acknowledged: acknowledged.map(phase),
            visible: visible.map(phase),
            settled: None,
            bytes: 694_000_000,
            rejected: acknowledged.map(|rows| sent.saturating_sub(rows)),
            first_rejection: None,
            ack_latency: None,
            freshness: None,
            failures: Vec::new(),
        }
    }

    #[test]
    fn the_verdict_agrees_only_if_every_stage_counts_the_same_rows() {
        let check = |sent, acknowledged, visible, text: &str, agree| {
            let found = report(sent, acknowledged, visible).verdict();
            assert_eq!(found, (text.to_owned(), agree));
        };
        check(9, Some(9), Some(9), "sent 9 = acknowledged 9 = visible 9", true);
        check(9, Some(8), Some(8), "sent 9 != acknowledged 8 = visible 8", false);
        check(9, Some(9), Some(8), "sent 9 = acknowledged 9 != visible 8", false);
        check(9, Some(9), Some(10), "sent 9 = acknowledged 9 != visible 10", false);
        check(1_234, None, Some(1_234), "sent 1,234 = visible 1,234", true);
        check(9, None, None, "sent 9", true);
    }

    #[test]
    fn rates_are_rows_over_seconds_from_the_start() {
        let Phase { rows, seconds, rows_per_second } = Phase::new(10, Duration::from_millis(2_500));
        assert_eq!((rows, seconds, rows_per_second), (10, 2.5, 4.0));
    }

    #[test]
    fn what_was_not_measured_says_so_and_the_verdict_comes_last() {
        let text = report(2_000_000, None, Some(2_000_000)).to_string();
        assert!(text.contains("acknowledged   not measured"), "{text}");
        assert!(text.contains("sent              2,000,000      2.000    1,000,000"), "{text}");
        assert!(text.ends_with("\nsent 2,000,000 = visible 2,000,000\n"), "{text}");
    }

    #[test]
    fn thousands_are_set_apart() {
        let check = |number, text: &str| assert_eq!(Grouped(number).to_string(), text);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(12_345_678, "12,345,678");
    }
}
