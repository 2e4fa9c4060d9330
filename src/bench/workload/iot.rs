//! TSBS iot: readings and diagnostics of trucks that are now and then out of reach. Of the rows, a tenth never comes,
//! and a third comes minutes late, with the time at which it was measured; tags and fields are missing here and there.

use std::collections::VecDeque;
use std::io::{self, Write};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::series::{Lines, Share, Stamp};

const TRUCKS: usize = 2_000;

/// Rows that are lost on the way.
const MISSING_SHARE: f64 = 0.10;

/// Rows that come late.
pub(super) const LATE_SHARE: f64 = 0.30;

/// The longest delay of a late row, in ticks of ten seconds.
pub(super) const LATE_TICKS_MAX: usize = 30;

/// Tags (never the name) and measured fields that a row lacks.
const SPARSE_SHARE: f64 = 0.05;

/// A field's name, its lowest and its highest value, and the digits behind its point (`None`: an integer).
type Field = (&'static str, f64, f64, Option<usize>);

const TABLES: [(&str, &[Field]); 2] = [
    (
        "readings",
        &[
            ("latitude", -90.0, 90.0, Some(5)),
            ("longitude", -180.0, 180.0, Some(5)),
            ("elevation", 0.0, 5_000.0, Some(0)),
            ("velocity", 0.0, 100.0, Some(0)),
            ("heading", 0.0, 360.0, Some(0)),
            ("grade", 0.0, 100.0, Some(0)),
            ("fuel_consumption", 0.0, 50.0, Some(1)),
        ],
    ),
    (
        "diagnostics",
        &[
            ("fuel_state", 0.0, 1.0, Some(1)),
            ("current_load", 0.0, 5_000.0, Some(0)),
            ("status", 0.0, 5.0, None),
        ],
    ),
];

/// One connection's trucks.
#[derive(Debug)]
pub(crate) struct Iot {
    trucks: Vec<Truck>,
    /// The truck, and the table of it, whose turn it is.
    next: (usize, usize),
    /// Late lines that have come due.
    due: Vec<Vec<u8>>,
    /// Late lines by the ticks to wait, less one.
    late: VecDeque<Vec<Vec<u8>>>,
    stamp: Stamp,
    rng: StdRng,
}

#[derive(Debug)]
struct Truck {
    name: String,
    /// Tags but the name, each with its comma.
    tags: [String; 4],
    /// Properties that TSBS sends as fields of every row.
    capacities: &'static str,
}

impl Iot {
    pub(crate) fn new(share: Share) -> Iot {
        Iot {
            trucks: share.series(TRUCKS).map(|truck| Truck::new(share, truck)).collect(),
            next: (0, 0),
            due: Vec::new(),
            late: (0..LATE_TICKS_MAX).map(|_| Vec::new()).collect(),
            stamp: Stamp::new(share.start_nanos),
            rng: share.rng(),
        }
    }

    /// Passes the turn on: every truck's tables, then the next tick, which brings the late rows that are due.
    fn turn(&mut self) {
        let (truck, table) = self.next;
        self.next = if table + 1 < TABLES.len() { (truck, table + 1) } else { (truck + 1, 0) };
        if self.next.0 == self.trucks.len() {
            self.next.0 = 0;
            self.stamp.advance();
            self.due = self.late.pop_front().unwrap_or_default();
            self.late.push_back(Vec::new());
        }
    }

    /// Appends the row of a truck as measured now.
    fn row(&mut self, (truck, table): (usize, usize), out: &mut Vec<u8>) -> io::Result<()> {
        let (truck, rng) = (&self.trucks[truck], &mut self.rng);
        let (name, fields) = TABLES[table];
        write!(out, "{name},name={}", truck.name)?;
        for tag in truck.tags.iter().filter(|_| !rng.random_bool(SPARSE_SHARE)) {
            out.extend_from_slice(tag.as_bytes());
        }
        write!(out, " {}", truck.capacities)?;
        for (field, low, high, digits) in fields {
            if rng.random_bool(SPARSE_SHARE) {
                continue;
            }
            let value = rng.random_range(*low..=*high);
            match digits {
                Some(digits) => write!(out, ",{field}={value:.digits$}")?,
                None => write!(out, ",{field}={}i", value as i64)?,
            }
        }
        out.extend_from_slice(self.stamp.text());
        Ok(())
    }
}

impl Lines for Iot {
    fn next_line(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            if let Some(line) = self.due.pop() {
                out.extend_from_slice(&line);
                return Ok(true);
            }
            // The turn is passed on behind the row, since the last turn of a tick moves the clock.
            let draw: f64 = self.rng.random();
            if draw < MISSING_SHARE {
                self.turn();
            } else if draw < MISSING_SHARE + LATE_SHARE {
                let mut line = Vec::new();
                self.row(self.next, &mut line)?;
                // The front of the queue is what the next tick brings.
                let delay = self.rng.random_range(0..LATE_TICKS_MAX);
                self.late[delay].push(line);
                self.turn();
            } else {
                self.row(self.next, out)?;
                self.turn();
                return Ok(true);
            }
        }
    }
}

impl Truck {
    fn new(share: Share, truck: usize) -> Truck {
        let mut rng = share.series_rng(truck);
        let mut pick = |from: &[&'static str]| *from.choose(&mut rng).unwrap_or(&"");
        let fleet = pick(&["East", "West", "North", "South"]);
        let driver = pick(&["Derek", "Rodney", "Albert", "Andy", "Seth", "Trish"]);
        let version = pick(&["v1.0", "v1.5", "v2.0", "v2.3"]);
        let (model, capacities) = *[
            ("F-150", "load_capacity=2000,fuel_capacity=200,nominal_fuel_consumption=15"),
            ("G-2000", "load_capacity=5000,fuel_capacity=300,nominal_fuel_consumption=19"),
            ("H-2", "load_capacity=1500,fuel_capacity=150,nominal_fuel_consumption=12"),
        ]
        .choose(&mut rng)
        .expect("the list is not empty");
        Truck {
            name: format!("truck_{truck}"),
            tags: [
                format!(",fleet={fleet}"),
                format!(",driver={driver}"),
                format!(",model={model}"),
                format!(",device_version={version}"),
            ],
            capacities,
        }
    }
}
