//! What readers see while transactions are applied, flushed, compacted and replayed.

use crate::apply_lab::{HOUR, Lab, ROWS, check_whole, quiet, values};
use headwater::apply::{ApplyConfig, CompactionConfig};
use headwater::types::SeqTxn;

/// Flushes after every few transactions, and compacts what comes of it.
fn busy() -> ApplyConfig {
    ApplyConfig {
        flush_bytes: 4096,
        flush_piece_bytes: 1,
        compaction: CompactionConfig { fan_in: 3, ..CompactionConfig::default() },
        ..quiet()
    }
}

#[test]
fn every_snapshot_has_exactly_the_rows_of_its_transactions_whatever_goes_on() {
    let mut lab = Lab::new(busy());
    let table = lab.create(1);
    lab.applied(table);
    let store = lab.pool().table(table).unwrap().store;
    let end = SeqTxn(300);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || {
                let mut seen = 0;
                loop {
                    let snapshot = store.load();
                    check_whole(&snapshot);
                    seen += 1;
                    if snapshot.flushed_txn == end {
                        return seen;
                    }
                }
            })
        })
        .collect();
    for n in 3..=end.0 as i64 {
        // Late, early and equal times, in three partitions.
        lab.write_spread(table, n * 37 % 11 * HOUR / 4, 1);
        if n % 20 == 0 {
            lab.flush(table);
        }
    }
    let snapshot = lab.applied(table);
    check_whole(&snapshot);
    lab.flush(table);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
    let snapshot = lab.compacted(table);
    check_whole(&snapshot);
    assert!(snapshot.parts.iter().any(|part| part.meta().id.level > 0), "something was compacted");
}

#[test]
fn rows_of_one_time_stay_in_order_of_their_transactions() {
    let mut lab = Lab::new(busy());
    let table = lab.create(1);
    for _ in 0..60 {
        lab.write_spread(table, 0, 0);
    }
    lab.flush(table);
    let snapshot = lab.compacted(table);
    let in_order: Vec<i64> = values(&snapshot).concat();
    assert!(in_order.is_sorted(), "{in_order:?}");
    assert_eq!(in_order.len(), 60 * ROWS);
}

#[test]
fn a_commit_that_spans_many_partitions_makes_a_part_of_each() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    lab.write_spread(table, -3 * HOUR, HOUR);
    let snapshot = lab.flush(table);
    assert_eq!(snapshot.parts.len(), ROWS);
    assert!(snapshot.tail.is_empty() && snapshot.frozen.is_empty());
    check_whole(&snapshot);
}

#[test]
fn a_start_replays_what_is_not_flushed_and_passes_over_what_is() {
    let mut lab = Lab::new(quiet());
    let (flushed, mixed) = (lab.create(1), lab.create(2));
    for n in 0..5 {
        lab.write(flushed, n);
        lab.write(mixed, n);
    }
    lab.flush(flushed);
    lab.flush(mixed);
    lab.write(mixed, 9);
    lab.applied(mixed);
    for _ in 0..2 {
        lab.restart();
        let snapshot = lab.applied(flushed);
        check_whole(&snapshot);
        assert!(snapshot.tail.is_empty());
        let snapshot = lab.applied(mixed);
        check_whole(&snapshot);
        assert_eq!(snapshot.tail.rows(), ROWS as u64);
        assert_eq!(snapshot.schema.columns().len(), 2);
    }
    lab.write(mixed, 10);
    check_whole(&lab.flush(mixed));
}

#[test]
fn a_start_after_nothing_was_flushed_begins_from_the_first_transaction() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    lab.write(table, 0);
    lab.applied(table);
    lab.restart();
    check_whole(&lab.applied(table));
    check_whole(&lab.flush(table));
}

#[test]
fn with_every_notification_lost_ticks_and_starts_find_all_work() {
    let mut lab = Lab::new(quiet());
    let tables: Vec<_> = (0..20).map(|id| lab.create(id)).collect();
    for round in 0..3 {
        for table in &tables {
            lab.write_without_notice(*table, round);
        }
        if round == 1 {
            // A start is given the log without notice, too.
            lab.restart_without_notice();
        }
        lab.pool().tick();
        for table in &tables {
            check_whole(&lab.applied(*table));
        }
    }
}

#[test]
fn a_lost_notification_is_found_by_the_next_tick() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    lab.applied(table);
    let txn = lab.write_without_notice(table, 0);
    let progress = lab.pool().progress(table).unwrap();
    assert_eq!((progress.seq_txn(), progress.unapplied_rows()), (txn, ROWS as u64));
    lab.pool().tick();
    check_whole(&lab.applied(table));
    assert_eq!(progress.unapplied_rows(), 0);
}
