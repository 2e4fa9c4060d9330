//! When tails become parts, and what holds memory and segments until then.

use crate::apply_lab::{HOUR, Lab, ROWS, block_on, check_whole, quiet};
use headwater::apply::{ApplyConfig, CompactionConfig};
use headwater::types::SeqTxn;
use std::time::Duration;

#[test]
fn a_tail_is_flushed_when_its_oldest_transaction_is_old_enough() {
    let mut lab = Lab::new(ApplyConfig { flush_age_ms: 1000, ..quiet() });
    let table = lab.create(1);
    lab.applied(table);
    lab.clock.advance(Duration::from_millis(600));
    let last = lab.write(table, 0);
    lab.applied(table);
    lab.pool().tick();
    assert_eq!(lab.snapshot(table).flushed_txn, SeqTxn::NONE);
    lab.clock.advance(Duration::from_millis(400));
    lab.pool().tick();
    let progress = lab.pool().progress(table).unwrap();
    block_on(progress.wait_flushed(last)).unwrap();
    let snapshot = lab.snapshot(table);
    assert!(snapshot.tail.is_empty());
    check_whole(&snapshot);
}

#[test]
fn a_start_makes_no_tail_younger_than_its_commits() {
    let mut lab = Lab::new(ApplyConfig { flush_age_ms: 1000, ..quiet() });
    let table = lab.create(1);
    let last = lab.write(table, 0);
    lab.applied(table);
    for _ in 0..3 {
        lab.clock.advance(Duration::from_millis(300));
        lab.restart();
        lab.applied(table);
        lab.pool().tick();
        assert_eq!(lab.snapshot(table).flushed_txn, SeqTxn::NONE);
    }
    lab.clock.advance(Duration::from_millis(100));
    lab.pool().tick();
    let progress = lab.pool().progress(table).unwrap();
    block_on(progress.wait_flushed(last)).unwrap();
    check_whole(&lab.snapshot(table));
}

#[test]
fn a_large_tail_becomes_a_part_for_each_worker_in_order_of_transactions() {
    let mut lab = Lab::new(ApplyConfig { flush_piece_bytes: 1000, workers: 3, ..quiet() });
    let table = lab.create(1);
    for n in 0..100 {
        lab.write(table, n);
        lab.applied(table);
    }
    let snapshot = lab.flush(table);
    check_whole(&snapshot);
    let txns = |part: &std::sync::Arc<headwater::storage::Part>| {
        (part.meta().id.first_txn, part.meta().id.last_txn)
    };
    let txns: Vec<_> = snapshot.parts.iter().map(txns).collect();
    assert!((2..=3).contains(&txns.len()), "{txns:?}");
    assert_eq!((txns[0].0, txns[txns.len() - 1].1), (SeqTxn(3), SeqTxn(102)));
    assert!(txns.windows(2).all(|pair| pair[0].1.next() == pair[1].0), "{txns:?}");
    lab.restart();
    check_whole(&lab.applied(table));
}

#[test]
fn a_tail_is_flushed_when_it_is_large_enough() {
    let mut lab = Lab::new(ApplyConfig { flush_bytes: 1, ..quiet() });
    let table = lab.create(1);
    let last = lab.write(table, 0);
    let progress = lab.pool().progress(table).unwrap();
    block_on(progress.wait_flushed(last)).unwrap();
    check_whole(&lab.snapshot(table));
}

#[test]
fn the_gate_closes_past_the_budget_and_opens_after_the_flush() {
    let mut lab = Lab::new(ApplyConfig { memory_budget: 16 << 10, ..quiet() });
    let tables = [lab.create(1), lab.create(2)];
    for n in 0..400 {
        lab.write(tables[0], n);
        lab.write(tables[1], n);
    }
    for table in tables {
        check_whole(&lab.applied(table));
    }
    block_on(lab.pool().gate().wait());
    assert!(lab.pool().gate().admitted());
    assert!(lab.pool().gate().tail_bytes() <= 16 << 10);
    let parts: usize = tables.iter().map(|table| lab.snapshot(*table).parts.len()).sum();
    assert!(parts > 1, "the budget made for flushes on the way");
    block_on(lab.pool().flush_all()).unwrap();
    assert_eq!((lab.pool().gate().tail_bytes(), lab.pool().gate().unapplied_bytes()), (0, 0));
}

#[test]
fn a_turn_ends_past_the_budget_so_that_a_flush_comes_before_more_is_applied() {
    /// Transactions that apply takes at once.
    const CHUNK: i64 = 4096;
    let mut lab = Lab::new(ApplyConfig { memory_budget: 16 << 10, ..quiet() });
    let table = lab.create(1);
    lab.applied(table);
    for n in 0..2 * CHUNK + 1 {
        lab.write_without_notice(table, n);
    }
    // The clock stands still, so that no turn's time is ever up.
    lab.pool().tick();
    lab.applied(table);
    let snapshot = lab.flush(table);
    check_whole(&snapshot);
    let txns = snapshot
        .parts
        .iter()
        .map(|part| part.meta().id.last_txn.0 - part.meta().id.first_txn.0 + 1);
    let txns: Vec<u64> = txns.collect();
    assert!(txns.iter().all(|txns| *txns <= CHUNK as u64), "{txns:?}");
}

#[test]
fn what_is_committed_and_not_applied_closes_the_gate_too() {
    let mut lab = Lab::new(ApplyConfig { unapplied_bytes: 100, ..quiet() });
    let table = lab.create(1);
    lab.applied(table);
    lab.write_without_notice(table, 0);
    assert!(!lab.pool().gate().admitted());
    lab.pool().tick();
    block_on(lab.pool().gate().wait());
    check_whole(&lab.applied(table));
}

#[test]
fn a_segment_is_needed_until_all_its_transactions_are_flushed() {
    let mut lab = Lab::new(quiet());
    let (first, second) = (lab.create(1), lab.create(2));
    let data = lab.append(first, 0, 1);
    lab.commit(first, headwater::apply::TxnKind::Data(data));
    lab.write(second, 0);
    let is_needed = |lab: &Lab| lab.pool().is_segment_needed(data.writer, data.segment);
    assert!(is_needed(&lab));
    lab.flush(second);
    assert!(is_needed(&lab));
    lab.flush(first);
    assert!(!is_needed(&lab));
    assert_eq!(lab.pool().flushed_txn(first), SeqTxn(3));
}

#[test]
fn a_flush_of_definitions_alone_moves_the_watermark() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    let snapshot = lab.flush(table);
    assert_eq!((snapshot.flushed_txn, snapshot.parts.len()), (SeqTxn(2), 0));
    lab.restart();
    assert_eq!(lab.applied(table).schema.columns().len(), 2);
}

#[test]
fn a_merge_reads_no_more_bytes_a_second_than_it_may() {
    let compaction = CompactionConfig { fan_in: 2, bytes_per_s: 1, ..CompactionConfig::default() };
    let mut lab = Lab::new(ApplyConfig { compaction, ..quiet() });
    let table = lab.create(1);
    let bytes: u64 = (0..2)
        .map(|_| {
            lab.write(table, 0);
            let snapshot = lab.flush(table);
            snapshot.parts.last().expect("a part").meta().bytes
        })
        .sum();
    // The merge waits for this clock.
    let mut seconds = 0;
    while lab.pool().is_compacting() {
        lab.clock.advance(Duration::from_secs(1));
        seconds += 1;
        std::thread::sleep(Duration::from_micros(100));
    }
    assert!(seconds >= bytes, "{bytes} bytes in {seconds} seconds");
    check_whole(&lab.snapshot(table));
    assert_eq!(lab.snapshot(table).parts.len(), 1);
}

#[test]
fn compaction_keeps_the_rows_and_leaves_few_parts() {
    let compaction = CompactionConfig { fan_in: 4, ..CompactionConfig::default() };
    let mut lab = Lab::new(ApplyConfig { compaction, ..quiet() });
    let table = lab.create(1);
    for n in 0..32 {
        lab.write(table, n % 2 * HOUR);
        lab.flush(table);
    }
    let snapshot = lab.compacted(table);
    check_whole(&snapshot);
    assert!(snapshot.parts.len() <= 8, "{}", snapshot.parts.len());
    let held = snapshot.parts.len();
    drop(snapshot);
    // Inputs go with the last snapshot; a thread may be about to let go of one.
    while files_below(&lab) != held {
        std::thread::yield_now();
    }
    lab.restart();
    let snapshot = lab.applied(table);
    check_whole(&snapshot);
    assert_eq!(snapshot.parts.len(), held);
}

#[test]
fn a_partition_that_has_ended_becomes_one_part_once_it_is_quiet() {
    let compaction = CompactionConfig { close_after_ms: 1000, ..CompactionConfig::default() };
    let mut lab = Lab::new(ApplyConfig { compaction, ..quiet() });
    let table = lab.create(1);
    let parts_of = |lab: &Lab, hour: i64| {
        lab.pool().tick();
        let snapshot = lab.compacted(table);
        check_whole(&snapshot);
        let is_in = |part: &&std::sync::Arc<_>| {
            headwater::storage::Part::meta(part).id.partition.0 == hour * HOUR
        };
        snapshot.parts.iter().filter(is_in).count()
    };
    for n in 0..6 {
        lab.write(table, n % 2 * 2 * HOUR);
        lab.flush(table);
    }
    assert_eq!((parts_of(&lab, 0), parts_of(&lab, 2)), (3, 3), "there may be more late rows");
    lab.clock.advance(Duration::from_secs(1));
    assert_eq!((parts_of(&lab, 0), parts_of(&lab, 2)), (1, 3), "the last hour has not ended");
    lab.clock.advance(Duration::from_secs(3 * 3600));
    assert_eq!((parts_of(&lab, 0), parts_of(&lab, 2)), (1, 1), "now it has");
    lab.write(table, 5);
    lab.applied(table);
    assert_eq!(parts_of(&lab, 0), 1);
    lab.flush(table);
    assert_eq!(parts_of(&lab, 0), 2);
    lab.restart();
    lab.applied(table);
    assert_eq!(parts_of(&lab, 0), 2);
    lab.clock.advance(Duration::from_secs(1));
    assert_eq!(parts_of(&lab, 0), 1);
}

#[test]
fn a_table_may_say_how_long_its_rows_wait_for_late_ones() {
    let mut lab = Lab::new(ApplyConfig { flush_age_ms: 60_000, ..quiet() });
    let (short, ordinary) = (lab.create(1), lab.create(2));
    lab.write(short, 0);
    lab.write(ordinary, 0);
    lab.applied(short);
    lab.applied(ordinary);
    lab.pool().set_max_lags(|def| (def.id == short).then_some(Duration::from_secs(1)));
    lab.clock.advance(Duration::from_secs(1));
    lab.pool().tick();
    let progress = lab.pool().progress(short).unwrap();
    block_on(progress.wait_flushed(SeqTxn(3))).unwrap();
    assert_eq!(lab.snapshot(ordinary).flushed_txn, SeqTxn::NONE);
}

#[test]
fn old_tails_become_files_no_faster_than_allowed_and_the_oldest_first() {
    let mut lab = Lab::new(ApplyConfig { flush_age_ms: 1000, flush_parts_per_s: 4, ..quiet() });
    let tables: Vec<_> = (0..10).map(|id| lab.create(id)).collect();
    block_on(lab.pool().flush_all()).unwrap();
    for table in tables.iter().rev() {
        lab.write(*table, 0);
        lab.applied(*table);
        lab.clock.advance(Duration::from_millis(1));
    }
    lab.clock.advance(Duration::from_secs(2));
    for done in [4, 8, 10] {
        lab.pool().tick();
        for table in tables.iter().rev().take(done) {
            let progress = lab.pool().progress(*table).unwrap();
            block_on(progress.wait_flushed(SeqTxn(3))).unwrap();
        }
        assert_eq!(files_below(&lab), done);
        lab.clock.advance(Duration::from_secs(1));
    }
}

#[test]
fn files_that_the_catalog_does_not_name_go_at_the_next_start() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    lab.write(table, 0);
    let part = lab.flush(table).parts[0].path();
    let orphan = part.with_file_name("part-9-9-0-0.parquet");
    std::fs::copy(part, orphan).unwrap();
    lab.restart();
    check_whole(&lab.applied(table));
    assert_eq!(files_below(&lab), 1);
}

#[test]
fn many_tables_are_flushed_together() {
    let mut lab = Lab::new(ApplyConfig { flush_age_ms: 1, ..quiet() });
    let tables: Vec<_> = (0..50).map(|id| lab.create(id)).collect();
    for table in &tables {
        lab.write(*table, 0);
    }
    for table in &tables {
        lab.applied(*table);
    }
    lab.clock.advance(Duration::from_millis(1));
    lab.pool().tick();
    for table in &tables {
        let progress = lab.pool().progress(*table).unwrap();
        block_on(progress.wait_flushed(SeqTxn(3))).unwrap();
        check_whole(&lab.snapshot(*table));
    }
    assert_eq!(lab.pool().tables().len(), 50);
    assert_eq!(lab.snapshot(tables[7]).rows(), ROWS as u64);
}

fn files_below(lab: &Lab) -> usize {
    let mut count = 0;
    let mut folders = vec![lab.path("tables")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { count += 1 }
        }
    }
    count
}
