//! Installing the recorder and rendering what it holds.

use super::families::{FAMILIES, Kind, acks, lines_rejected, queries, touch_all};
use super::process;
use metrics::gauge;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

/// Renders every metric as Prometheus text.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter")
    }
}

/// Installs the recorder for the whole process and exports every family at zero. A second call returns the same exporter.
///
/// `reasons` are the closed set of reasons for which lines are refused.
///
/// # Errors
/// Another recorder is installed already, or the buckets are malformed.
pub fn install(reasons: &[&'static str]) -> Result<Exporter, BuildError> {
    static EXPORTER: OnceLock<Exporter> = OnceLock::new();
    if let Some(exporter) = EXPORTER.get() {
        return Ok(exporter.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_receipts".to_owned()), COUNTS)?
        .install_recorder()?;
    describe();
    touch_all();
    for reason in reasons {
        lines_rejected(reason).increment(0);
    }
    for result in ["ok", "err"] {
        acks(result).increment(0);
    }
    for result in ["ok", "error", "timeout", "cancelled"] {
        queries(result).increment(0);
    }
    Ok(EXPORTER.get_or_init(|| Exporter { handle }).clone())
}

impl Exporter {
    /// Says once what is running.
    pub fn set_build_info(&self, version: &'static str, durability: &'static str) {
        gauge!("headwater_build_info", "version" => version, "durability" => durability).set(1.0);
    }

    /// The whole scrape, text format 0.0.4.
    pub fn render(&self) -> String {
        process::update();
        self.handle.run_upkeep();
        self.handle.render()
    }
}

fn describe() {
    for family in FAMILIES {
        match family.kind {
            Kind::Counter => metrics::describe_counter!(family.name, family.help),
            Kind::Gauge => metrics::describe_gauge!(family.name, family.help),
            Kind::Histogram => metrics::describe_histogram!(family.name, family.help),
        }
    }
}

/// From one sync of a fast device to a stuck one.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
