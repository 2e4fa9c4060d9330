//! Models of a table's watermarks, and of the gate.

use super::gate::Gate;
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
    ("whoever_waits_at_the_gate_is_let_in", let_in),
    ("the_gate_is_open_once_nothing_fills_it", open_at_rest),
    ("the_gate_is_closed_once_too_much_fills_it", closed_at_rest),
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

fn let_in() {
    let gate = Arc::new(Gate::new(80, 80));
    gate.committed(81, false);
    let other = gate.clone();
    let waiter = thread::spawn(move || block_on(other.wait()));
    gate.applied(81, false);
    waiter.join().unwrap();
    assert!(gate.admitted());
}

/// One fills the gate beyond its bound while another makes room: neither does anything afterwards.
fn open_at_rest() {
    let gate = Arc::new(Gate::new(80, 80));
    gate.tail_grew(0, 70);
    gate.froze(70);
    let other = gate.clone();
    let flusher = thread::spawn(move || other.flushed(70));
    gate.tail_grew(70, 90);
    flusher.join().unwrap();
    assert!(gate.admitted(), "20 of 80 bytes are taken");
}

fn closed_at_rest() {
    let gate = Arc::new(Gate::new(80, 80));
    let other = gate.clone();
    let worker = thread::spawn(move || other.tail_grew(0, 50));
    gate.tail_grew(0, 50);
    worker.join().unwrap();
    assert!(!gate.admitted(), "100 of 80 bytes are taken");
}
