//! Numbers: dense, in order, one definition of everything.

use super::*;
use crate::sequencer::inbox::{Consumer, Inbox, Order};
use std::collections::VecDeque;
use std::time::Duration;

#[test]
fn numbers_of_a_table_are_dense_under_many_producers_and_each_keeps_its_order() {
    const PRODUCERS: u32 = 8;
    const EACH: u32 = 300;
    const TABLES: u32 = 5;
    let bed = Bed::new();
    let sequencer = bed.start(chunks_of(256 << 10));
    std::thread::scope(|scope| {
        for writer in 1..=PRODUCERS {
            let sequencer = &sequencer;
            scope.spawn(move || {
                let mut producer = Producer::new(writer);
                for n in 0..EACH {
                    let tables = [(writer + n) % TABLES + 1, (writer * n) % TABLES + 6];
                    let mut receipt = producer.rows(&tables.map(|table| (table, n + 1)));
                    let definitions = tables.map(|t| [create(t), add_column(t, 1)]);
                    receipt.definitions = definitions.into_iter().flatten().collect();
                    sequencer.push(receipt);
                }
                producer.progress.wait(u64::from(EACH));
            });
        }
    });
    sequencer.shutdown().expect("a seal");
    let committed = bed.committed();
    let mut total = 0;
    for table in 1..=2 * TABLES {
        let numbers = numbers(&committed, table);
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "table {table}");
        total += numbers.len();
    }
    let definitions = 2 * 2 * TABLES as usize;
    assert_eq!(total, definitions + 2 * (PRODUCERS * EACH) as usize);
    for writer in 1..=PRODUCERS {
        let offsets = committed.iter().filter_map(|txn| match txn.kind {
            TxnKind::Data(Frame { writer: of, offset, .. }) if of.0 == writer => Some(offset),
            _ => None,
        });
        assert!(offsets.is_sorted(), "writer {writer}");
    }
    assert_eq!(bed.recovered().transactions, committed);
}

#[test]
fn a_creation_is_transaction_1_and_columns_and_data_follow() {
    let bed = Bed::new();
    let sequencer = bed.start(SequencerConfig::default());
    let mut producer = Producer::new(1);
    let mut receipt = producer.rows(&[(7, 3)]);
    receipt.definitions = vec![add_column(7, 1), create(7), add_column(7, 2)];
    producer.commit(&sequencer, receipt);
    let kinds: Vec<_> = bed.committed().into_iter().map(|txn| (txn.seq_txn.0, txn.kind)).collect();
    assert_eq!(kinds.len(), 3);
    assert!(matches!(&kinds[0], (1, TxnKind::Create(def)) if def.id == TableId(7)));
    assert!(matches!(&kinds[1], (2, TxnKind::AddColumns(columns)) if columns.len() == 2));
    assert!(matches!(&kinds[2], (3, TxnKind::Data(Frame { rows: 3, .. }))));
}

#[test]
fn a_definition_that_two_receipts_bring_is_logged_once() {
    let bed = Bed::new();
    let sequencer = bed.start(SequencerConfig::default());
    let mut producers = [Producer::new(1), Producer::new(2)];
    for (n, columns) in [(0, 1..=2), (1, 1..=3), (0, 1..=3)] {
        let producer = &mut producers[n];
        let mut receipt = producer.rows(&[(7, 1)]);
        receipt.definitions =
            std::iter::once(create(7)).chain(columns.map(|n| add_column(7, n))).collect();
        producer.commit(&sequencer, receipt);
    }
    let mut columns = Vec::new();
    let mut creations = 0;
    for txn in bed.committed() {
        match txn.kind {
            TxnKind::Create(_) => creations += 1,
            TxnKind::AddColumns(more) => columns.extend(more.into_iter().map(|c| c.id.0)),
            _ => {}
        }
    }
    assert_eq!((creations, columns), (1, vec![1, 2, 3]));
}

#[test]
fn frames_after_a_drop_are_acknowledged_without_a_number() {
    let bed = Bed::new();
    let sequencer = bed.start(SequencerConfig::default());
    let mut producer = Producer::new(1);
    let mut receipt = producer.rows(&[(1, 1), (2, 1)]);
    receipt.definitions = vec![create(1), create(2)];
    producer.commit(&sequencer, receipt);
    let mut drop_table = producer.empty();
    drop_table.change = Some(Change::Drop { table: TableId(1) });
    producer.commit(&sequencer, drop_table);
    let mut late = producer.rows(&[(1, 5), (2, 5)]);
    late.definitions = vec![create(1), add_column(1, 1)];
    producer.commit(&sequencer, late);
    let only_late = producer.rows(&[(1, 5)]);
    producer.commit(&sequencer, only_late);
    let committed = bed.committed();
    assert_eq!(numbers(&committed, 1), [1, 2, 3]);
    assert_eq!(numbers(&committed, 2), [1, 2, 3]);
    assert!(committed.iter().any(|txn| txn.kind == TxnKind::Drop && txn.seq_txn.0 == 3));
    drop(sequencer);
    let recovered = bed.recovered();
    assert_eq!(recovered.transactions, committed);
    assert!(recovered.state.table(TableId(1)).is_some_and(|table| table.dropped));
}

#[test]
fn a_removal_by_time_takes_its_place_in_the_order_of_its_table() {
    let bed = Bed::new();
    let sequencer = bed.start(SequencerConfig::default());
    let mut producer = Producer::new(1);
    let mut receipt = producer.rows(&[(1, 1)]);
    receipt.definitions = vec![create(1)];
    receipt.change = Some(Change::RemoveBefore { table: TableId(1), time: 99 });
    producer.commit(&sequencer, receipt);
    let last = bed.committed().pop().expect("a transaction");
    assert_eq!((last.seq_txn.0, last.kind), (3, TxnKind::RemoveBefore(99)));
}

/// A consumer whose idle work takes away a wake that came meanwhile, as waiting for threads of its own does.
struct Absent<'a> {
    inbox: &'a Inbox<u32>,
    idle_turns: u32,
    taken: Vec<u32>,
}

impl Consumer<u32> for Absent<'_> {
    type Error = ();

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn turn(&mut self, waiting: &mut VecDeque<u32>) -> Result<(), ()> {
        self.taken.extend(waiting.drain(..));
        Ok(())
    }

    fn idle(&mut self) -> Result<Option<Duration>, ()> {
        self.idle_turns += 1;
        match self.idle_turns {
            1 => self.inbox.push(7),
            2 => self.inbox.give(Order::Finish),
            _ => return Ok(None),
        }
        std::thread::park();
        Ok(None)
    }

    fn finish(&mut self) -> Result<(), ()> {
        Ok(())
    }
}

#[test]
fn what_comes_in_while_an_idle_sequencer_syncs_is_not_slept_over() {
    let inbox = Inbox::new();
    inbox.attend(&std::thread::current());
    std::thread::park();
    let mut consumer = Absent { inbox: &inbox, idle_turns: 0, taken: Vec::new() };
    assert_eq!(inbox.serve(&mut consumer, &mut VecDeque::new()), Ok(()));
    assert_eq!(consumer.taken, [7]);
}
