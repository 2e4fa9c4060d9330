//! A bed for the sequencer's tests: a folder, a clock that stands still, receipts made of numbers.

mod damage;
mod golden;
mod life;
mod order;
mod reports;

use super::format::{
    ChunkHeader, HEADER_BYTES, RecordHeader, RecordKind, Seed, finish_record, read_record,
};
use super::log::chunk_path;
use super::*;
use crate::clock::Clock;
use crate::io::Fs;
use crate::schema::{Alteration, ColumnDef, Dedup, Definition, Keys, TableDef, TableOptions};
use crate::types::{ColumnId, ColumnType, PartitionBy, SegmentId, SeqTxn, TableId, WriterId};
use bytes::Bytes;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const UUID: [u8; 16] = *b"0123456789abcdef";
const NOW: i64 = 1_795_305_600_000_000_000;

/// One data directory and what was committed in it.
struct Bed {
    folder: tempfile::TempDir,
    clock: Clock,
    committed: Arc<Mutex<Vec<Committed>>>,
}

impl Bed {
    fn new() -> Bed {
        Bed {
            // In memory where there is such a folder: thousands of small syncs are not what is tested.
            folder: tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .expect("a temporary folder"),
            clock: Clock::manual(NOW),
            committed: Arc::default(),
        }
    }

    /// A log of these chunks, numbered from 1.
    fn of(chunks: &[&[u8]]) -> Bed {
        let bed = Bed::new();
        std::fs::create_dir(bed.dir()).expect("a folder");
        for (n, bytes) in chunks.iter().enumerate() {
            std::fs::write(chunk_path(&bed.dir(), n as u64 + 1), bytes).expect("a chunk");
        }
        bed
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("txnlog")
    }

    fn recover(&self) -> Result<Option<Recovered>, LogError> {
        recover(&Fs::real(), &self.dir(), &UUID, &|_| SeqTxn::NONE, &mut |_| true)
    }

    fn recovered(&self) -> Recovered {
        self.recover().expect("a sound log").expect("a log")
    }

    fn start(&self, config: SequencerConfig) -> Sequencer {
        let recovered = self.recover().expect("a sound log");
        let state = recovered.map_or_else(|| LogState::new(UUID), |recovered| recovered.state);
        let committed = self.committed.clone();
        let on_commit: OnCommit =
            Box::new(move |batch| committed.lock().expect("no panic").extend_from_slice(batch));
        Sequencer::start(config, Fs::real(), &self.dir(), self.clock.clone(), state, on_commit)
            .expect("a new chunk")
    }

    fn committed(&self) -> Vec<Committed> {
        self.committed.lock().expect("no panic").clone()
    }

    /// The bytes of a chunk without the room that is reserved behind its last record.
    fn chunk(&self, number: u64) -> Vec<u8> {
        let mut bytes = std::fs::read(chunk_path(&self.dir(), number)).expect("a chunk");
        let end = records(&bytes).last().expect("a checkpoint").1.end;
        bytes.truncate(end);
        bytes
    }
}

/// The records of a chunk, each with its place.
fn records(chunk: &[u8]) -> Vec<(RecordKind, Range<usize>)> {
    let header = ChunkHeader::decode(chunk, Path::new("chunk")).expect("a header");
    let seed = Seed::new(&header.uuid, header.chunk);
    let mut at = HEADER_BYTES;
    let mut found = Vec::new();
    while let Some(view) = read_record(chunk, at, seed) {
        found.push((view.header.kind, at..view.end));
        at = view.end;
    }
    found
}

/// A small config: everything else as it ships.
fn chunks_of(chunk_bytes: u64) -> SequencerConfig {
    SequencerConfig { chunk_bytes, ..SequencerConfig::default() }
}

fn create(table: u32) -> Definition {
    Definition::Create(TableDef {
        id: TableId(table),
        database: "public".into(),
        name: format!("t{table}").into(),
        partition_by: PartitionBy::Day,
        time_column: "time".into(),
        time_place: u32::MAX,
        created: NOW,
        options: TableOptions::default(),
    })
}

fn add_column(table: u32, column: u32) -> Definition {
    let column = ColumnDef {
        id: ColumnId(column),
        name: format!("c{column}").into(),
        ty: ColumnType::Float,
    };
    Definition::AddColumn { table: TableId(table), column }
}

/// One writer whose frames of 100 bytes follow each other in its segment 0.
struct Producer {
    writer: u32,
    progress: Arc<Progress>,
    ordinal: u64,
    offset: u64,
}

impl Producer {
    fn new(writer: u32) -> Producer {
        Producer { writer, progress: Progress::new(), ordinal: 0, offset: 64 }
    }

    /// A commit that carries a frame of each table, with so many rows.
    fn rows(&mut self, frames: &[(u32, u32)]) -> Receipt {
        let first = self.offset;
        let frame = |(table, rows): &(u32, u32)| {
            let offset = self.offset;
            self.offset += 100;
            FrameRef {
                table: TableId(*table),
                offset,
                len: 100,
                rows: *rows,
                bytes: u64::from(*rows) * 10,
                min_time: i64::from(*rows),
                max_time: offset as i64,
            }
        };
        let frames = frames.iter().map(frame).collect();
        let bytes = vec![self.writer as u8; (self.offset - first) as usize];
        let mut receipt = self.empty();
        receipt.writer = WriterId(self.writer);
        receipt.segment = SegmentId(0);
        receipt.frames = frames;
        receipt.end = self.offset;
        receipt.carried = Some(Bytes::from(bytes));
        receipt
    }

    fn empty(&mut self) -> Receipt {
        self.ordinal += 1;
        Receipt::without_frames(self.progress.clone(), self.ordinal)
    }

    /// Pushes and waits, so that the receipt is a batch of its own.
    fn commit(&self, sequencer: &Sequencer, receipt: Receipt) {
        let ordinal = receipt.ordinal;
        sequencer.push(receipt);
        self.progress.wait(ordinal);
    }
}

fn numbers(committed: &[Committed], table: u32) -> Vec<u64> {
    committed.iter().filter(|txn| txn.table == TableId(table)).map(|txn| txn.seq_txn.0).collect()
}
