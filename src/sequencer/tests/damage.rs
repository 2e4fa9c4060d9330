//! What is left of a log when bytes are missing or wrong.

use super::*;

/// Four commits of a batch each; sealed or as a kill leaves it.
fn log(sealed: bool) -> (Vec<u8>, Vec<Committed>) {
    let bed = Bed::new();
    let sequencer = bed.start(SequencerConfig::default());
    let mut producer = Producer::new(1);
    for n in 1..=4 {
        let mut receipt = producer.rows(&[(1, n)]);
        receipt.definitions = vec![create(1), add_column(1, n)];
        producer.commit(&sequencer, receipt);
    }
    if sealed {
        sequencer.shutdown().expect("a seal");
    }
    drop(sequencer);
    (bed.chunk(1), bed.committed())
}

/// How many of the transactions lie in the records that end at or before `end`: three in the first, two in each later one.
fn transactions_before(chunk: &[u8], end: usize) -> usize {
    let batches = records(chunk)
        .into_iter()
        .filter(|(kind, place)| *kind == RecordKind::Batch && place.end <= end)
        .count();
    if batches == 0 { 0 } else { 1 + 2 * batches }
}

fn range(error: &LogError) -> Range<usize> {
    match error {
        LogError::Damaged { from, to, .. } => *from as usize..*to as usize,
        other => panic!("{other}"),
    }
}

#[test]
fn a_log_cut_at_any_byte_gives_exactly_the_whole_records_before() {
    let (chunk, committed) = log(false);
    let checkpoint = records(&chunk)[0].1.end;
    for end in 0..chunk.len() {
        let bed = Bed::of(&[&chunk[..end]]);
        if end < checkpoint {
            let error = bed.recover().expect_err("a chunk has a checkpoint from its first moment");
            assert!(range(&error).start <= end, "{error}");
            continue;
        }
        let recovered = bed.recovered();
        let whole = transactions_before(&chunk, end);
        assert_eq!(recovered.transactions, committed[..whole], "cut at {end}");
        let torn = records(&chunk).iter().all(|(_, place)| place.end != end);
        assert_eq!(recovered.cut.is_some(), torn, "cut at {end}");
    }
}

#[test]
fn a_torn_record_before_reserved_room_is_cut_once_and_the_log_goes_on() {
    let (chunk, committed) = log(false);
    let last = records(&chunk).pop().expect("a record").1;
    let mut torn = chunk[..last.start + 40].to_vec();
    torn.resize(chunk.len() + 5000, 0);
    let bed = Bed::of(&[&torn]);
    let cut = bed.recovered().cut.expect("a cut");
    assert_eq!((cut.at, cut.path), (last.start as u64, chunk_path(&bed.dir(), 1)));
    assert!(cut.bytes > 0 && cut.bytes <= 40);
    let again = bed.recovered();
    assert_eq!(again.cut, None);
    assert_eq!(again.transactions, committed[..transactions_before(&chunk, last.start)]);
    drop(bed.start(SequencerConfig::default()));
    assert_eq!(bed.recovered().transactions, again.transactions);
}

#[test]
fn reserved_room_behind_the_last_record_is_no_cut() {
    let (mut chunk, committed) = log(false);
    chunk.resize(chunk.len() + 4096, 0);
    let recovered = Bed::of(&[&chunk]).recovered();
    assert_eq!((recovered.cut, recovered.transactions), (None, committed));
}

#[test]
fn any_flipped_byte_before_the_seal_refuses_the_start_and_names_the_range() {
    let (chunk, committed) = log(true);
    let seal = records(&chunk).pop().expect("a seal").1.start;
    for at in 0..chunk.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = chunk.clone();
            damaged[at] ^= flip;
            let bed = Bed::of(&[&damaged]);
            if at < seal {
                let error = bed.recover().expect_err("damage");
                assert!(range(&error).contains(&at), "byte {at}: {error}");
                assert!(error.to_string().contains("00000001.log"), "{error}");
                let kept = std::fs::read(chunk_path(&bed.dir(), 1)).expect("the chunk");
                assert_eq!(kept, damaged, "a refused start changes nothing");
            } else {
                // No row lies in the seal: without it, the log ends as after a kill.
                let recovered = bed.recovered();
                assert_eq!(recovered.transactions, committed, "byte {at}");
                assert!(recovered.cut.is_some());
            }
        }
    }
}

#[test]
fn a_flipped_byte_in_the_last_record_of_an_unsealed_log_is_cut_and_elsewhere_refused() {
    let (chunk, committed) = log(false);
    let last = records(&chunk).pop().expect("a record").1;
    for at in 0..chunk.len() {
        let mut damaged = chunk.clone();
        damaged[at] ^= 0x10;
        let bed = Bed::of(&[&damaged]);
        if last.contains(&at) {
            let recovered = bed.recovered();
            assert_eq!(
                recovered.transactions,
                committed[..transactions_before(&chunk, last.start)]
            );
            assert_eq!(recovered.cut.map(|cut| cut.at), Some(last.start as u64));
        } else {
            let error = bed.recover().expect_err("damage");
            assert!(range(&error).contains(&at), "byte {at}: {error}");
        }
    }
}

#[test]
fn a_chunk_that_is_not_the_last_must_be_whole() {
    let bed = Bed::new();
    let sequencer = bed.start(chunks_of(600));
    let mut producer = Producer::new(1);
    for n in 1..=8 {
        let mut receipt = producer.rows(&[(1, n)]);
        receipt.definitions = vec![create(1)];
        producer.commit(&sequencer, receipt);
    }
    drop(sequencer);
    let (one, two, three) = (bed.chunk(1), bed.chunk(2), bed.chunk(3));
    assert_eq!(Bed::of(&[&one, &two, &three]).recovered().transactions[..5], bed.committed()[..5]);
    let last = records(&one).pop().expect("a record").1;
    // Cut inside a record, before a record, and with room behind it that a roll would have cut.
    for end in [last.start + 10, last.start] {
        let error = Bed::of(&[&one[..end], &two]).recover().expect_err("damage");
        assert!(matches!(error, LogError::Damaged { .. } | LogError::Foreign { .. }), "{error}");
    }
    let mut long = one.clone();
    long.resize(one.len() + 10, 0);
    let error = Bed::of(&[&long, &two]).recover().expect_err("damage");
    assert_eq!(range(&error), one.len()..one.len() + 10);
}

#[test]
fn a_missing_chunk_a_swapped_one_and_one_of_another_server_are_refused_by_name() {
    let (chunk, _) = log(false);
    let bed = Bed::of(&[&chunk]);
    drop(bed.start(SequencerConfig::default()));
    drop(bed.start(SequencerConfig::default()));
    let (two, three) = (bed.chunk(2), bed.chunk(3));
    std::fs::remove_file(chunk_path(&bed.dir(), 2)).expect("chunk 2");
    match bed.recover().expect_err("a gap") {
        LogError::MissingChunk { path } => assert_eq!(path, chunk_path(&bed.dir(), 2)),
        other => panic!("{other}"),
    }
    for chunks in [[&chunk, &three], [&chunk, &chunk], [&two, &two]] {
        let error = Bed::of(&chunks.map(|chunk| &chunk[..])).recover().expect_err("not a log");
        assert!(matches!(error, LogError::Foreign { .. }), "{error}");
    }
    let other = Bed::new();
    let state = LogState { chunk: 2, ..LogState::new([9; 16]) };
    let start = Sequencer::start(
        SequencerConfig::default(),
        Fs::real(),
        &other.dir(),
        other.clock.clone(),
        state,
        Box::new(|_| {}),
    );
    drop(start.expect("a chunk"));
    let error = Bed::of(&[&chunk, &other.chunk(2)]).recover().expect_err("two servers");
    assert!(matches!(error, LogError::Foreign { what, .. } if what.contains("server")), "{error}");
}

#[test]
fn a_whole_record_that_does_not_follow_is_refused_with_its_range() {
    let (chunk, _) = log(false);
    let places = records(&chunk);
    let (kind, last) = places.last().expect("a record").clone();
    let header = ChunkHeader::decode(&chunk, Path::new("chunk")).expect("a header");
    let seed = Seed::new(&header.uuid, header.chunk);
    let view = read_record(&chunk, last.start, seed).expect("a record").header;
    let (next, first) = (view.ordinal + 1, RecordKind::Checkpoint);
    // Another number, another kind, a body that is none, the same transactions once more.
    let wrong: [(RecordHeader, &[u8]); 4] = [
        (RecordHeader { ordinal: next, ..view }, &chunk[last.start + 32..last.end]),
        (RecordHeader { kind: first, ..view }, &chunk[last.start + 32..last.end]),
        (RecordHeader { kind, ..view }, b"no batch"),
        (view, &chunk[places[1].1.start + 32..places[1].1.end]),
    ];
    for (n, (header, body)) in wrong.into_iter().enumerate() {
        let mut record = vec![0; 32];
        record.extend_from_slice(body);
        finish_record(&mut record, header, seed, last.start as u64);
        let mut damaged = chunk[..last.start].to_vec();
        damaged.extend_from_slice(&record);
        let error = Bed::of(&[&damaged]).recover().expect_err("row L14");
        assert_eq!(range(&error), last.start..damaged.len(), "row {}, {n}: {error}", "L14");
    }
}

#[test]
fn a_chunk_whose_creation_was_cut_short_is_no_chunk() {
    let (chunk, committed) = log(false);
    let bed = Bed::of(&[&chunk]);
    let unfinished = bed.dir().join("00000002.log.tmp");
    std::fs::write(&unfinished, &chunk[..70]).expect("a file");
    assert_eq!(bed.recovered().transactions, committed);
    assert!(!unfinished.exists());
}

#[test]
fn without_syncs_the_log_ends_before_the_first_frame_that_was_lost() {
    let bed = Bed::new();
    let config = SequencerConfig { durability: Durability::NoSync, ..SequencerConfig::default() };
    let sequencer = bed.start(config);
    let mut producer = Producer::new(1);
    for n in 1..=4 {
        let mut receipt = producer.rows(&[(1, n)]);
        receipt.definitions = vec![create(1)];
        producer.commit(&sequencer, receipt);
    }
    drop(sequencer);
    let lost = |txn: &Committed| txn.seq_txn != SeqTxn(4);
    let recovered = recover(&Fs::real(), &bed.dir(), &UUID, &|_| SeqTxn::NONE, &mut { lost })
        .expect("a log")
        .expect("one");
    assert_eq!(numbers(&recovered.transactions, 1), [1, 2, 3]);
    assert!(recovered.cut.is_some());
    assert_eq!(numbers(&bed.recovered().transactions, 1), [1, 2, 3]);
}

#[test]
fn a_frame_below_a_synced_point_is_never_asked_about() {
    let bed = Bed::new();
    let config = SequencerConfig { durability: Durability::NoSync, ..SequencerConfig::default() };
    let sequencer = bed.start(config);
    let mut producer = Producer::new(1);
    let mut receipt = producer.rows(&[(1, 1)]);
    receipt.definitions = vec![create(1)];
    producer.commit(&sequencer, receipt);
    sequencer.shutdown().expect("a seal");
    let mut asked = 0;
    let mut ask = |_: &Committed| {
        asked += 1;
        false
    };
    let recovered = recover(&Fs::real(), &bed.dir(), &UUID, &|_| SeqTxn::NONE, &mut ask)
        .expect("a log")
        .expect("one");
    assert_eq!((recovered.transactions.len(), asked), (2, 0));
}
