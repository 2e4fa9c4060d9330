//! Drops, partitions beyond their time to live, and tables that damage stops.

use crate::apply_lab::{HOUR, Lab, ROWS, block_on, check_whole, quiet, sorted_values};
use headwater::apply::{ErrorTag, TxnKind};
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

#[test]
fn a_damaged_frame_suspends_its_table_and_no_other() {
    let mut lab = Lab::new(quiet());
    let (table, other) = (lab.create(1), lab.create(2));
    lab.write(table, 0);
    let data = lab.append(table, 1, 1);
    let segment = lab.path("wal").join(format!("{}/{}.wal", data.writer, data.segment));
    let mut bytes = std::fs::read(&segment).unwrap();
    let place = usize::try_from(data.offset).unwrap() + data.len as usize - 1;
    bytes[place] ^= 1;
    write_in_place(&segment, &bytes);
    lab.commit(table, TxnKind::Data(data));
    lab.write(table, 2);
    lab.write(other, 0);
    let progress = lab.pool().progress(table).unwrap();
    let trouble = block_on(progress.wait_applied(SeqTxn(5))).unwrap_err();
    assert_eq!(trouble.tag, ErrorTag::CorruptWal);
    assert!(trouble.message.contains(".wal is damaged at bytes"), "{trouble}");
    assert!(progress.is_suspended());
    check_whole(&lab.snapshot(table));
    assert_eq!(lab.snapshot(table).applied_txn, SeqTxn(3));
    lab.pool().tick();
    assert!(block_on(lab.pool().flush(table)).is_err());
    check_whole(&lab.flush(other));

    bytes[place] ^= 1;
    write_in_place(&segment, &bytes);
    assert!(lab.pool().resume(table));
    assert!(!lab.pool().resume(other));
    check_whole(&lab.applied(table));
    check_whole(&lab.flush(table));
}

#[test]
fn a_missing_segment_suspends_its_table() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    let data = lab.append(table, 0, 1);
    lab.close_writers();
    std::fs::remove_file(lab.path("wal").join(format!("{}/{}.wal", data.writer, data.segment)))
        .unwrap();
    let txn = lab.commit(table, TxnKind::Data(data));
    let progress = lab.pool().progress(table).unwrap();
    let trouble = block_on(progress.wait_applied(txn)).unwrap_err();
    assert_eq!(trouble.tag, ErrorTag::CorruptWal);
}

#[test]
fn a_flush_that_fails_is_tried_again_with_nothing_lost() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    let last = lab.write(table, 0);
    lab.applied(table);
    // A file stands where the table's folder should be.
    let blocker = lab.path("tables").join("t1~1");
    std::fs::write(&blocker, b"in the way").unwrap();
    let progress = lab.pool().progress(table).unwrap();
    block_on(async {
        let mut flush = std::pin::pin!(lab.pool().flush(table));
        let waiting = std::future::poll_fn(|context| {
            assert!(flush.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        });
        waiting.await;
    });
    while progress.trouble().is_none() {
        std::thread::yield_now();
    }
    assert!(!progress.is_suspended());
    check_whole(&lab.snapshot(table));
    std::fs::remove_file(blocker).unwrap();
    lab.pool().tick();
    block_on(progress.wait_flushed(last)).unwrap();
    check_whole(&lab.snapshot(table));
    assert_eq!(progress.trouble(), None);
}

fn write_in_place(path: &std::path::Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}
