//! What stops a table, what goes on meanwhile, and how the table goes on.

use crate::apply_lab::{Lab, ROWS, block_on, check_whole, quiet, sorted_values};
use headwater::apply::{ApplyConfig, CompactionConfig, Data, ErrorTag, ResumeError, TxnKind};
use headwater::schema::ColumnDef;
use headwater::types::{ColumnId, ColumnType, SeqTxn};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    assert_eq!(lab.pool().resume(table, None), Ok(()));
    assert_eq!(lab.pool().resume(other, None), Err(ResumeError::NotSuspended));
    check_whole(&lab.applied(table));
    check_whole(&lab.flush(table));
}

#[test]
fn a_damaged_part_that_is_to_be_merged_suspends_its_table_and_no_other() {
    let compaction = CompactionConfig { fan_in: 2, ..CompactionConfig::default() };
    let mut lab = Lab::new(ApplyConfig { compaction, ..quiet() });
    let (table, other) = (lab.create(1), lab.create(2));
    lab.write(table, 0);
    let part = lab.flush(table).parts[0].path();
    let mut bytes = std::fs::read(&part).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&part, &bytes).unwrap();
    lab.write(table, 0);
    lab.flush(table);
    assert_eq!(lab.compacted(table).parts.len(), 2, "its inputs stay");
    let progress = lab.pool().progress(table).unwrap();
    let trouble = progress.trouble().expect("the merge failed");
    assert_eq!(trouble.tag, ErrorTag::CorruptPart);
    assert!(trouble.message.contains(part.to_str().unwrap()), "{trouble}");
    lab.pool().tick();
    assert!(progress.is_suspended() && !lab.pool().is_compacting(), "it is not tried again");
    let waiting = lab.write(table, 0);
    assert!(block_on(progress.wait_applied(waiting)).is_err());
    for _ in 0..2 {
        lab.write(other, 0);
        lab.flush(other);
    }
    assert_eq!(lab.compacted(other).parts.len(), 1);

    bytes[100] ^= 1;
    std::fs::write(&part, &bytes).unwrap();
    assert_eq!(lab.pool().resume(table, None), Ok(()));
    check_whole(&lab.applied(table));
    lab.flush(table);
    lab.pool().tick();
    check_whole(&lab.compacted(table));
    assert!(lab.snapshot(table).parts.len() < 3 && progress.trouble().is_none());
}

#[test]
fn whatever_stands_before_a_damaged_frame_of_a_large_turn_is_visible() {
    let mut lab = Lab::new(ApplyConfig { workers: 4, ..quiet() });
    let table = lab.create(1);
    lab.applied(table);
    // Enough for a turn whose frames several workers read.
    let txns: Vec<(SeqTxn, Data)> = (0..4000).map(|n| lab.queue(table, n)).collect();
    let (damaged, data) = txns[2500];
    let segment = segment(&lab, data);
    flip_last_byte(&segment, data);
    lab.pool().tick();
    let progress = lab.pool().progress(table).unwrap();
    let trouble = block_on(progress.wait_applied(damaged)).unwrap_err();
    assert_eq!(trouble.tag, ErrorTag::CorruptWal);
    let before = lab.snapshot(table);
    assert_eq!(before.applied_txn.next(), damaged);
    check_whole(&before);
    flip_last_byte(&segment, data);
    assert_eq!(lab.pool().resume(table, None), Ok(()));
    check_whole(&lab.applied(table));
}

#[test]
fn a_mistake_of_ours_in_a_worker_stops_its_table_and_no_other() {
    let mut lab = Lab::new(quiet());
    let (table, other) = (lab.create(1), lab.create(2));
    lab.write(table, 0);
    // No log has a table created twice: a worker that comes upon it panics.
    let def = lab.applied(table).schema.def().clone();
    let txn = lab.commit(table, TxnKind::Create(def));
    let progress = lab.pool().progress(table).unwrap();
    let trouble = block_on(progress.wait_applied(txn)).unwrap_err();
    assert_eq!(trouble.tag, ErrorTag::Internal);
    assert_eq!(lab.pool().resume(table, None), Err(ResumeError::InDoubt));
    lab.write(other, 0);
    check_whole(&lab.flush(other));
    check_whole(&lab.snapshot(table));
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
    // The trouble shows a moment before the flush waits for its next try.
    while progress.flushed_txn() < last {
        lab.clock.advance(Duration::from_millis(500));
        lab.pool().tick();
        std::thread::yield_now();
    }
    check_whole(&lab.snapshot(table));
    assert_eq!(progress.trouble(), None);
}

#[test]
fn a_suspended_table_holds_no_memory_and_does_not_stop_the_others() {
    let config = ApplyConfig { unapplied_bytes: 2000, suspended_bytes: 4000, ..quiet() };
    let mut lab = Lab::new(config);
    let (table, other) = (lab.create(1), lab.create(2));
    lab.write(table, 0);
    lab.applied(table);
    assert!(lab.pool().suspend(table, ErrorTag::OnRequest, "a test asks for it"));
    assert!(!lab.pool().suspend(table, ErrorTag::OnRequest, "twice"));
    let progress = lab.pool().progress(table).unwrap();
    assert_eq!(progress.trouble().unwrap().tag, ErrorTag::OnRequest);
    while lab.snapshot(table).flushed_txn < SeqTxn(3) {
        std::thread::yield_now();
    }
    let mut written = 0;
    while !lab.pool().is_held_up(table) {
        lab.write(table, written);
        lab.write(other, written);
        written += 1;
    }
    assert!(written > 10);
    check_whole(&lab.applied(other));
    assert!(lab.pool().gate().admitted() && !lab.pool().is_held_up(other));
    assert_eq!(lab.snapshot(table).applied_txn, SeqTxn(3));
    assert!(lab.snapshot(table).tail.is_empty());
    assert!(block_on(lab.pool().flush(table)).is_err());

    assert_eq!(lab.pool().resume(table, None), Ok(()));
    let snapshot = lab.applied(table);
    check_whole(&snapshot);
    assert_eq!(snapshot.rows(), (1 + written as u64) * ROWS as u64);
    assert!(!lab.pool().is_held_up(table));
    assert_eq!(lab.pool().gate().apart_bytes(), 0);
    check_whole(&lab.flush(table));
    assert!(lab.pool().suspend(table, ErrorTag::OnRequest, "once more"));
    lab.restart();
    check_whole(&lab.applied(table));
}

#[test]
fn rows_that_cannot_be_read_are_skipped_for_good_and_their_neighbours_are_not() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    lab.write(table, 0);
    let bad = lab.append(table, 1, 1);
    flip_last_byte(&segment(&lab, bad), bad);
    let at = lab.commit(table, TxnKind::Data(bad));
    lab.commit(table, TxnKind::RemoveBefore(i64::MIN));
    lab.write(table, 2);
    let progress = lab.pool().progress(table).unwrap();
    assert!(block_on(progress.wait_applied(at)).is_err());
    let resume = |from: u64| lab.pool().resume(table, Some(SeqTxn(from)));
    let out_of_range = Err(ResumeError::OutOfRange { first: at, last: SeqTxn(7) });
    assert_eq!((resume(at.0 - 1), resume(8)), (out_of_range, out_of_range));
    assert_eq!(resume(at.0 + 1), Ok(()));
    assert_eq!(resume(at.0 + 1), Err(ResumeError::NotSuspended));
    block_on(progress.wait_flushed(at)).unwrap();
    let expect: Vec<i64> = (0..10).chain(20..30).collect();
    assert_eq!(sorted_values(&lab.applied(table)), expect);
    assert_eq!(progress.unapplied_rows(), 0);
    lab.restart();
    assert_eq!(sorted_values(&lab.applied(table)), expect);
    lab.flush(table);
    assert!(!lab.pool().is_segment_needed(bad.writer, bad.segment));
}

#[test]
fn rows_are_skipped_also_where_a_later_transaction_takes_others_away() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    lab.write(table, 0);
    lab.applied(table);
    lab.pool().suspend(table, ErrorTag::OnRequest, "a test asks for it");
    let column = ColumnDef { id: ColumnId(3), name: "more".into(), ty: ColumnType::Float };
    lab.commit(table, TxnKind::AddColumns(vec![column]));
    lab.write(table, 100);
    let bad = lab.append(table, 200, 1);
    flip_last_byte(&segment(&lab, bad), bad);
    lab.commit(table, TxnKind::Data(bad));
    let behind = lab.commit(table, TxnKind::Replace { from: 100, to: 200, data: None });
    assert_eq!(lab.pool().resume(table, Some(behind)), Ok(()));
    let expect: Vec<i64> = (0..10).collect();
    assert_eq!(sorted_values(&lab.applied(table)), expect);
    lab.restart();
    assert_eq!(sorted_values(&lab.applied(table)), expect);
}

#[test]
fn a_table_is_suspended_with_the_reason_that_somebody_gives() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    lab.applied(table);
    assert!(lab.pool().suspend(table, ErrorTag::DiskFull, "as a drill"));
    let progress = lab.pool().progress(table).unwrap();
    let trouble = progress.trouble().unwrap();
    assert_eq!(trouble.to_string(), "DISK FULL: as a drill");
    assert!(progress.is_suspended() && !trouble.is_transient());
    lab.write(table, 0);
    lab.clock.advance(Duration::from_secs(600));
    lab.pool().tick();
    assert_eq!(block_on(progress.wait_applied(SeqTxn(3))), Err(trouble));
    for tag in [ErrorTag::Internal, ErrorTag::OutOfMemory] {
        assert_eq!(lab.pool().resume(table, None), Ok(()));
        assert!(lab.pool().suspend(table, tag, "another drill"));
        assert!(!lab.pool().is_short_of_memory());
    }
    assert_eq!(lab.pool().resume(table, None), Ok(()));
    check_whole(&lab.applied(table));
}

#[test]
fn a_suspended_table_can_be_dropped() {
    let mut lab = Lab::new(quiet());
    let table = lab.create(1);
    let bad = lab.append(table, 1, 1);
    flip_last_byte(&segment(&lab, bad), bad);
    let at = lab.commit(table, TxnKind::Data(bad));
    lab.write(table, 2);
    let progress = lab.pool().progress(table).unwrap();
    assert!(block_on(progress.wait_applied(at)).is_err());
    let drop = lab.commit(table, TxnKind::Drop);
    block_on(progress.wait_flushed(drop)).unwrap();
    assert!(lab.pool().table(table).is_none());
    assert!(!lab.pool().is_segment_needed(bad.writer, bad.segment));
    let gate = lab.pool().gate();
    assert_eq!((gate.apart_bytes(), gate.unapplied_bytes(), gate.tail_bytes()), (0, 0, 0));
}

fn segment(lab: &Lab, data: Data) -> PathBuf {
    lab.path("wal").join(format!("{}/{}.wal", data.writer, data.segment))
}

fn flip_last_byte(segment: &Path, data: Data) {
    let mut bytes = std::fs::read(segment).unwrap();
    bytes[usize::try_from(data.offset).unwrap() + data.len as usize - 1] ^= 1;
    write_in_place(segment, &bytes);
}

fn write_in_place(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}
