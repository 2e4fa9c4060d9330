//! Reports count every committed row once, wherever the log is cut.

use super::*;
use crate::sequencer::record::Batch;

/// Commits with a report after every third one, as the engine writes it: rows of table 9 and the marks, in one receipt.
fn reported_log() -> Vec<u8> {
    let bed = Bed::new();
    let sequencer = bed.start(SequencerConfig::default());
    let mut producer = Producer::new(1);
    let mut unreported = Vec::new();
    for n in 1..=12_u32 {
        let table = n % 2 + 1;
        let mut receipt = producer.rows(&[(table, n)]);
        receipt.definitions = vec![create(table)];
        producer.commit(&sequencer, receipt);
        let last = bed.committed().pop().expect("a commit");
        unreported.push(Reported {
            table: last.table,
            through: last.seq_txn,
            rows: u64::from(n),
            bytes: u64::from(n) * 10,
        });
        if n % 3 == 0 {
            let mut report = producer.rows(&[(9, 2)]);
            report.definitions = vec![create(9)];
            // The newest commit came in after the report was drawn up.
            let newest = unreported.pop();
            report.reported = std::mem::take(&mut unreported);
            unreported.extend(newest);
            producer.commit(&sequencer, report);
        }
    }
    drop(sequencer);
    bed.chunk(1)
}

/// Rows committed to and reported of the tables that are reported, by what the records say.
fn counted(chunk: &[u8]) -> (u64, u64) {
    let bytes = Bytes::copy_from_slice(chunk);
    let (mut committed, mut reported) = (0, 0);
    for (kind, place) in records(chunk) {
        if kind != RecordKind::Batch {
            continue;
        }
        let body = &bytes[place.start + format::RECORD_HEADER_BYTES..place.end];
        let batch = Batch::decode(body, &bytes).expect("a whole record");
        reported += batch.reported.iter().map(|reported| reported.rows).sum::<u64>();
        for txn in batch.transactions {
            if let TxnKind::Data(Frame { rows, .. }) = txn.kind
                && txn.table != TableId(9)
            {
                committed += u64::from(rows);
            }
        }
    }
    (committed, reported)
}

#[test]
fn reported_and_unreported_rows_add_up_to_the_committed_ones_after_any_cut() {
    let chunk = reported_log();
    let mut cuts = 0;
    for (_, place) in records(&chunk) {
        let cut = &chunk[..place.end];
        let state = Bed::of(&[cut]).recovered().state;
        let unreported: u64 = state
            .tables()
            .filter(|(table, _)| *table != TableId(9))
            .map(|(_, table)| table.unreported.rows)
            .sum();
        let (committed, reported) = counted(cut);
        assert_eq!(reported + unreported, committed, "cut at {}", place.end);
        cuts += 1;
    }
    assert_eq!(cuts, 1 + 12 + 4);
    assert_eq!(counted(&chunk).0, (1..=12).sum::<u64>());
}

#[test]
fn a_report_that_counts_what_was_never_committed_is_not_taken_into_account() {
    let bed = Bed::new();
    let sequencer = bed.start(SequencerConfig::default());
    let mut producer = Producer::new(1);
    let mut receipt = producer.rows(&[(1, 2)]);
    receipt.definitions = vec![create(1)];
    let too_many = Reported { table: TableId(1), through: SeqTxn(2), rows: 3, bytes: 20 };
    let unknown = Reported { table: TableId(5), through: SeqTxn(2), rows: 0, bytes: 0 };
    receipt.reported = vec![too_many, unknown];
    producer.commit(&sequencer, receipt);
    drop(sequencer);
    let table = bed.recovered().state.table(TableId(1)).cloned().expect("a table");
    assert_eq!((table.unreported.rows, table.unreported.bytes), (2, 20));
}
