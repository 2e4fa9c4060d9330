//! What the workloads have in common: one connection's share of the series, and the time that its rows carry.

use std::io;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::bench::args::Workload;

use super::{Cpu, Iot, Telegraf};

/// One connection's lines.
pub(crate) trait Lines: Send {
    /// Appends the next line, newline included, to `out`; `false` if there are no more.
    ///
    /// # Errors
    /// When the file that the lines come from cannot be read.
    fn next_line(&mut self, out: &mut Vec<u8>) -> io::Result<bool>;
}

/// The series that one connection writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) seed: u64,
    pub(crate) connection: u16,
    pub(crate) connections: u16,
    /// Nanoseconds since 1970 of the first row.
    pub(crate) start_nanos: i64,
}

/// An odd multiplier, of the golden ratio, that sets neighbouring numbers far apart.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Share {
    /// The numbers, of `count`, of this connection's series.
    pub(super) fn series(self, count: usize) -> impl Iterator<Item = usize> {
        (usize::from(self.connection)..count).step_by(usize::from(self.connections))
    }

    /// Randomness of this connection alone.
    pub(super) fn rng(self) -> StdRng {
        StdRng::seed_from_u64(
            self.seed ^ u64::from(self.connection).wrapping_mul(SPREAD).rotate_left(32),
        )
    }

    /// Randomness of one series, the same whichever connection writes it.
    pub(super) fn series_rng(self, series: usize) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ (series as u64 + 1).wrapping_mul(SPREAD))
    }
}

impl Workload {
    /// The tables that this workload writes to.
    pub(crate) fn tables(self) -> &'static [&'static str] {
        match self {
            Workload::Cpu => &["cpu"],
            Workload::Telegraf => {
                &["telegraf_cpu", "telegraf_mem", "telegraf_disk", "telegraf_net"]
            }
            Workload::Iot => &["readings", "diagnostics"],
        }
    }

    /// The lines of one connection.
    pub(crate) fn lines(self, share: Share) -> Box<dyn Lines> {
        match self {
            Workload::Cpu => Box::new(Cpu::new(share)),
            Workload::Telegraf => Box::new(Telegraf::new(share)),
            Workload::Iot => Box::new(Iot::new(share)),
        }
    }

    /// Telegraf's socket writer hands every line to the kernel alone.
    pub(crate) fn one_line_per_write(self) -> bool {
        self == Workload::Telegraf
    }
}

/// The time of a tick, kept as the text that ends each of its lines.
#[derive(Debug)]
pub(super) struct Stamp {
    nanos: i64,
    text: Vec<u8>,
}

impl Stamp {
    pub(super) const INTERVAL_NANOS: i64 = 10_000_000_000;

    pub(super) fn new(nanos: i64) -> Stamp {
        Stamp { nanos, text: format!(" {nanos}\n").into_bytes() }
    }

    /// Ten seconds later.
    pub(super) fn advance(&mut self) {
        *self = Stamp::new(self.nanos.saturating_add(Self::INTERVAL_NANOS));
    }

    /// A space, the nanoseconds and the newline.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }
}
