//! Drops, and partitions beyond their time to live.

use crate::apply_lab::{HOUR, Lab, ROWS, block_on, check_whole, quiet, sorted_values};
use headwater::apply::TxnKind;
use headwater::types::SeqTxn;
use std::time::Duration;

#[test]
fn a_dropped_table_is_gone_at_once_and_its_files_with_the_last_reader() {
    let mut lab = Lab::new(quiet());
    let (table, other) = (lab.create(1), lab.create(2));
    lab.write(table, 0);
    lab.write(other, 0);
    let reader = lab.flush(table);
    let data = lab.append(table, HOUR, 1);
    lab.commit(table, TxnKind::Data(data));
    let progress = lab.pool().progress(table).unwrap();
    let last = lab.commit(table, TxnKind::Drop);
    block_on(progress.wait_flushed(last)).unwrap();
    assert!(lab.pool().table(table).is_none());
    assert_eq!(lab.pool().flushed_txn(table), SeqTxn(u64::MAX));
    assert!(!lab.pool().is_segment_needed(data.writer, data.segment));
    check_whole(&reader);
    let dir = reader.parts[0].path();
    let dir = dir.parent().and_then(|p| p.parent()).unwrap();
    assert!(dir.exists());
    let dir = dir.to_owned();
    drop(reader);
    // The worker may be about to let go of the table.
    while dir.exists() {
        std::thread::yield_now();
    }
    check_whole(&lab.applied(other));
    lab.restart();
    assert!(lab.pool().table(table).is_none());
    assert_eq!(lab.pool().flushed_txn(table), SeqTxn(u64::MAX));
    check_whole(&lab.applied(other));
}

#[test]
fn a_table_may_be_dropped_before_anything_of_it_is_flushed() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    lab.write(table, 0);
    let progress = lab.pool().progress(table).unwrap();
    let last = lab.commit(table, TxnKind::Drop);
    block_on(progress.wait_flushed(last)).unwrap();
    lab.restart();
    assert!(lab.pool().table(table).is_none());
    assert_eq!(lab.pool().gate().tail_bytes(), 0);
}

#[test]
fn removing_takes_whole_partitions_of_earlier_transactions_only() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    for hour in 0..4 {
        lab.write(table, hour * HOUR);
    }
    lab.flush(table);
    lab.write(table, 0);
    lab.write(table, 2 * HOUR);
    // The third hour has not ended at this time.
    lab.commit(table, TxnKind::RemoveBefore(2 * HOUR + HOUR / 2));
    lab.write(table, HOUR);
    let values = |from: i64| (from * ROWS as i64)..((from + 1) * ROWS as i64);
    let expect: Vec<i64> = [2, 3, 5, 6].into_iter().flat_map(values).collect();
    assert_eq!(sorted_values(&lab.applied(table)), expect);
    assert_eq!(sorted_values(&lab.flush(table)), expect);
    lab.restart();
    assert_eq!(sorted_values(&lab.applied(table)), expect);
}

#[test]
fn only_whole_partitions_expire_and_time_stands_still_without_new_rows() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    lab.write(table, 0);
    lab.write(table, 5 * HOUR);
    lab.flush(table);
    lab.write(table, HOUR);
    lab.applied(table);
    let ttl = |hours: u64| move |_: &_| Some(Duration::from_secs(hours * 3600));
    assert_eq!(lab.pool().expired(ttl(3)), [], "the wall clock stands before all of them");
    lab.clock.advance(Duration::from_secs(4 * 3600));
    assert_eq!(lab.pool().expired(ttl(2)), [(table, 2 * HOUR)]);
    assert_eq!(lab.pool().expired(ttl(3)), [(table, HOUR)]);
    assert_eq!(lab.pool().expired(|_| None), []);
    lab.clock.advance(Duration::from_secs(100 * 3600));
    assert_eq!(lab.pool().expired(ttl(4)), [(table, HOUR)], "the newest row is at five");
}
