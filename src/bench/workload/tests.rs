//! The promises of the workloads: shape, determinism, rising timestamps, late and sparse rows.

use std::collections::HashSet;

use crate::bench::args::Workload;
use crate::codec::{Item, Limits, Parser, Precision};

use super::Share;
use super::iot::{LATE_SHARE, LATE_TICKS_MAX};
use super::series::Stamp;

const START: i64 = 1_451_606_400_000_000_000;

fn share(seed: u64, connection: u16, connections: u16) -> Share {
    Share { seed, connection, connections, start_nanos: START }
}

fn lines(workload: Workload, share: Share, count: usize) -> Vec<String> {
    let mut lines = workload.lines(share);
    let line = |_| {
        let mut out = Vec::new();
        assert!(lines.next_line(&mut out).expect("memory does not fail"), "workloads do not end");
        let line = String::from_utf8(out).expect("workloads are UTF-8");
        line.strip_suffix('\n').expect("a line ends with its newline").to_owned()
    };
    (0..count).map(line).collect()
}

/// Measurement with tags, fields, timestamp: no name or value of a workload holds a space.
fn split(line: &str) -> (&str, Vec<&str>, i64) {
    let [series, fields, time] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("three parts: {line}")
    };
    (series, fields.split(',').collect(), time.parse().expect("a timestamp"))
}

const ALL: [Workload; 3] = [Workload::Cpu, Workload::Telegraf, Workload::Iot];

#[test]
fn the_same_seed_gives_the_same_lines_and_another_gives_others() {
    for workload in ALL {
        let once = lines(workload, share(7, 1, 4), 5_000);
        assert_eq!(once, lines(workload, share(7, 1, 4), 5_000));
        assert_ne!(once, lines(workload, share(8, 1, 4), 5_000));
    }
}

#[test]
fn every_row_goes_to_a_table_that_will_be_counted() {
    for workload in ALL {
        let found: HashSet<String> = lines(workload, share(1, 0, 4), 5_000)
            .iter()
            .map(|line| split(line).0.split(',').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(found, workload.tables().iter().map(|table| (*table).to_owned()).collect());
    }
}

#[test]
fn every_line_is_line_protocol() {
    for workload in ALL {
        let mut parser = Parser::new(Limits::default(), Precision::default());
        for line in lines(workload, share(1, 3, 4), 20_000) {
            match parser.parse(line.as_bytes()) {
                Ok(Item::Row(row)) => {
                    assert!(workload.tables().contains(&row.measurement), "{line}");
                    assert_eq!(row.timestamp, Some(split(&line).2), "{line}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}

#[test]
fn cpu_is_ten_tags_and_ten_small_integers_of_4_000_hosts_every_ten_seconds() {
    let lines = lines(Workload::Cpu, share(1, 0, 1), 8_001);
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    assert!((335..360).contains(&(bytes / lines.len())), "{} bytes a line", bytes / lines.len());
    for (index, line) in lines.iter().enumerate() {
        let (series, fields, time) = split(line);
        assert_eq!(series.split(',').count(), 11);
        assert!(series.starts_with(&format!("cpu,hostname=host_{},", index % 4_000)));
        assert_eq!(fields.len(), 10);
        for field in fields {
            let (_, value) = field.split_once('=').expect("a field has a value");
            let value: u8 = value.strip_suffix('i').expect("an integer").parse().expect("a number");
            assert!(value <= 100);
        }
        assert_eq!(time, START + (index / 4_000) as i64 * Stamp::INTERVAL_NANOS);
    }
}

#[test]
fn connections_share_the_hosts_and_never_the_series() {
    let of = |connection| {
        lines(Workload::Cpu, share(1, connection, 3), 1_333)
            .iter()
            .map(|line| split(line).0.to_owned())
            .collect::<HashSet<_>>()
    };
    let all: Vec<_> = (0..3).map(of).collect();
    assert!(all.iter().all(|series| series.len() == 1_333));
    assert!(all[0].is_disjoint(&all[1]) && all[1].is_disjoint(&all[2]));
}

#[test]
fn timestamps_of_cpu_and_telegraf_never_go_back() {
    for workload in [Workload::Cpu, Workload::Telegraf] {
        let times: Vec<i64> =
            lines(workload, share(1, 2, 4), 9_000).iter().map(|l| split(l).2).collect();
        assert!(times.is_sorted());
        assert!(times.first() < times.last());
    }
}

#[test]
fn telegraf_shuffles_the_fields_of_every_line() {
    let lines = lines(Workload::Telegraf, share(1, 0, 1), 4_000);
    let order = |line: &String| -> Vec<String> {
        let name = |field: &str| field.split('=').next().unwrap_or_default().to_owned();
        split(line).1.into_iter().map(name).collect()
    };
    let orders: Vec<_> =
        lines.iter().filter(|l| l.starts_with("telegraf_cpu,")).map(order).collect();
    let distinct: HashSet<_> = orders.iter().collect();
    assert!(distinct.len() > orders.len() * 9 / 10);
    let names = |order: &Vec<String>| order.iter().cloned().collect::<HashSet<_>>();
    assert!(orders.iter().all(|order| order.len() == 10 && names(order) == names(&orders[0])));
}

#[test]
fn iot_is_late_by_the_share_and_the_bound_it_says() {
    let mut newest = i64::MIN;
    let mut late = 0_usize;
    let lines = lines(Workload::Iot, share(1, 0, 4), 100_000);
    for line in &lines {
        let time = split(line).2;
        newest = newest.max(time);
        late += usize::from(time < newest);
        assert!(newest - time <= LATE_TICKS_MAX as i64 * Stamp::INTERVAL_NANOS);
    }
    // Of the rows that are sent at all; those late in the last ticks are still to come.
    let expected = LATE_SHARE / 0.9;
    let share = late as f64 / lines.len() as f64;
    assert!((share - expected).abs() < 0.05, "{share} late, expected {expected}");
}

#[test]
fn iot_rows_are_sparse_and_no_point_comes_twice() {
    let lines = lines(Workload::Iot, share(1, 0, 4), 50_000);
    let points: HashSet<_> = lines
        .iter()
        .map(|line| {
            let (series, _, time) = split(line);
            let mut parts = series.split(',');
            (parts.next(), parts.next(), time)
        })
        .collect();
    assert_eq!(points.len(), lines.len());
    let tags: HashSet<usize> = lines.iter().map(|line| split(line).0.split(',').count()).collect();
    assert!(tags.len() > 2, "rows with different numbers of tags: {tags:?}");
    assert!(lines.iter().any(|line| !line.contains("latitude=") && line.starts_with("readings")));
}
