//! Models of a table's watermarks.

use super::progress::TableProgress;
use crate::Told;
use crate::types::SeqTxn;
use loom::future::block_on;
use loom::thread;
use std::sync::Arc;

pub(crate) const ALL: &[(&str, fn())] = &[
    ("who_sees_seq_txn_sees_what_was_committed", committed),
    ("who_sees_applied_txn_sees_what_was_applied", applied),
    ("who_sees_flushed_txn_sees_what_was_flushed", flushed),
    ("whoever_waits_for_a_transaction_is_woken", waits),
    ("whoever_waits_hears_of_a_suspension", hears),
];

fn committed() {
    watch(|progress| progress.committed(SeqTxn(1), 1), |progress| progress.seq_txn() == SeqTxn(1));
}

fn applied() {
    watch(
        |progress| progress.applied(SeqTxn(1), 1),
        |progress| progress.applied_txn() == SeqTxn(1),
    );
}

fn flushed() {
    watch(|progress| progress.flushed(SeqTxn(1)), |progress| progress.flushed_txn() == SeqTxn(1));
}

fn watch(step: fn(&TableProgress), is_there: fn(&TableProgress) -> bool) {
    let (progress, done) = (Arc::new(TableProgress::new(SeqTxn::NONE)), Arc::new(Told::new()));
    let (other, doing) = (progress.clone(), done.clone());
    let stepper = thread::spawn(move || {
        doing.write(1);
        step(&other);
    });
    if is_there(&progress) {
        assert_eq!(done.read(), 1);
    }
    stepper.join().unwrap();
    assert!(is_there(&progress));
}

fn waits() {
    let (progress, done) = (Arc::new(TableProgress::new(SeqTxn::NONE)), Arc::new(Told::new()));
    let (other, told) = (progress.clone(), done.clone());
    let waiter = thread::spawn(move || {
        block_on(other.wait_applied(SeqTxn(2))).unwrap();
        assert_eq!(told.read(), 1);
    });
    progress.applied(SeqTxn(1), 1);
    done.write(1);
    progress.applied(SeqTxn(2), 1);
    waiter.join().unwrap();
}

fn hears() {
    use super::progress::Stage;
    use super::{ErrorTag, Trouble};
    let progress = Arc::new(TableProgress::new(SeqTxn::NONE));
    let other = progress.clone();
    let waiter = thread::spawn(move || block_on(other.wait_flushed(SeqTxn(1))).unwrap_err());
    progress.fail(Stage::Apply, Trouble { tag: ErrorTag::CorruptWal });
    assert_eq!(waiter.join().unwrap().tag, ErrorTag::CorruptWal);
}
