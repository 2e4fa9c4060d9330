//! TSBS cpu-only: 4,000 hosts, each with ten tags and ten integers that walk between 0 and 100, every ten seconds.
//!
//! This client shares the machine with the server that it loads, so a line costs one random number and ten copies of
//! prepared text. The values are drawn afresh for every row: a loop over a prepared block would let a server's
//! compression find the period.

use std::io;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use super::series::{Lines, Share, Stamp};

const HOSTS: usize = 4_000;

const FIELDS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

/// The highest value of a field; the lowest is 0.
const VALUE_MAX: i8 = 100;

/// Room for `,NAME=VALUEi`: two vector stores, whatever its real length.
const PIECE_BYTES: usize = 32;

const _: () = assert!(PIECE_BYTES > ",usage_guest_nice=100i".len());

/// Six random bits to one step of the walk: a normal distribution of width 1, rounded.
const STEPS: [i8; 64] = {
    let mut steps = [0; 64];
    let mut i = 0;
    while i < 64 {
        steps[i] = match i {
            0..=3 => -2,
            4..=18 => -1,
            19..=44 => 0,
            45..=59 => 1,
            _ => 2,
        };
        i += 1;
    }
    steps
};

/// One connection's hosts.
#[derive(Debug)]
pub(crate) struct Cpu {
    hosts: Vec<Host>,
    /// The host whose turn it is.
    next: usize,
    /// By field and value.
    pieces: Vec<Vec<Piece>>,
    stamp: Stamp,
    rng: StdRng,
}

#[derive(Debug)]
struct Host {
    /// Measurement, tags and the space behind them.
    head: Vec<u8>,
    values: [i8; FIELDS.len()],
}

#[derive(Debug)]
struct Piece {
    text: [u8; PIECE_BYTES],
    len: usize,
}

impl Cpu {
    pub(crate) fn new(share: Share) -> Cpu {
        Cpu {
            hosts: share.series(HOSTS).map(|host| Host::new(share, host)).collect(),
            next: 0,
            pieces: pieces(),
            stamp: Stamp::new(share.start_nanos),
            rng: share.rng(),
        }
    }
}

impl Lines for Cpu {
    fn next_line(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        if self.next == self.hosts.len() {
            self.next = 0;
            self.stamp.advance();
        }
        let host = &mut self.hosts[self.next];
        self.next += 1;
        out.extend_from_slice(&host.head);
        let mut at = out.len();
        out.resize(at + FIELDS.len() * PIECE_BYTES, 0);
        let mut bits = self.rng.next_u64();
        for (value, pieces) in host.values.iter_mut().zip(&self.pieces) {
            *value = (*value + STEPS[(bits & 63) as usize]).clamp(0, VALUE_MAX);
            bits >>= 6;
            let piece = &pieces[usize::from(value.unsigned_abs())];
            out[at..at + PIECE_BYTES].copy_from_slice(&piece.text);
            at += piece.len;
        }
        out.truncate(at);
        out.extend_from_slice(self.stamp.text());
        Ok(true)
    }
}

impl Host {
    fn new(share: Share, host: usize) -> Host {
        const REGIONS: [(&str, &[u8]); 9] = [
            ("us-east-1", b"abce"),
            ("us-west-1", b"ab"),
            ("us-west-2", b"abc"),
            ("eu-west-1", b"abc"),
            ("eu-central-1", b"ab"),
            ("ap-southeast-1", b"ab"),
            ("ap-southeast-2", b"ab"),
            ("ap-northeast-1", b"ac"),
            ("sa-east-1", b"abc"),
        ];
        let mut rng = share.series_rng(host);
        let mut pick = |from: &[&'static str]| from[rng.random_range(0..from.len())];
        let os = pick(&["Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"]);
        let arch = pick(&["x64", "x86"]);
        let team = pick(&["SF", "NYC", "LON", "CHI"]);
        let environment = pick(&["production", "staging", "test"]);
        let (region, zones) = REGIONS[rng.random_range(0..REGIONS.len())];
        let zone = char::from(zones[rng.random_range(0..zones.len())]);
        let rack = rng.random_range(0..100);
        let service = rng.random_range(0..20);
        let version = rng.random_range(0..2);
        let head = format!(
            "cpu,hostname=host_{host},region={region},datacenter={region}{zone},rack={rack},os={os},arch={arch},\
             team={team},service={service},service_version={version},service_environment={environment} "
        );
        let values = std::array::from_fn(|_| rng.random_range(0..=VALUE_MAX));
        Host { head: head.into_bytes(), values }
    }
}

/// The text of every field with every value.
fn pieces() -> Vec<Vec<Piece>> {
    let mut all = Vec::with_capacity(FIELDS.len());
    for (index, name) in FIELDS.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let of_value = |value: i8| {
            let written = format!("{comma}{name}={value}i");
            let mut text = [0; PIECE_BYTES];
            text[..written.len()].copy_from_slice(written.as_bytes());
            Piece { text, len: written.len() }
        };
        all.push((0..=VALUE_MAX).map(of_value).collect());
    }
    all
}
