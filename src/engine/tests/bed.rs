//! Data directories for the rows of the recovery tables: a server that lived, what it left, and hands that spoil it.

use crate::apply::ErrorTag;
use crate::clock::Clock;
use crate::codec::Precision;
use crate::engine::steps::{Actor, Steps};
use crate::engine::{DEFAULT_DATABASE, EngineConfig, OpenError, Origin, Session};
use crate::io::Fs;
use crate::sequencer::{self, Change, Committed, Durability, Frame, Progress, Receipt};
use crate::types::TableId;
use bytes::BytesMut;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

/// A data directory on the machine's own disk.
pub(super) struct Bed {
    folder: tempfile::TempDir,
    pub(super) config: EngineConfig,
}

impl Bed {
    pub(super) fn new(carry_bytes: usize) -> Bed {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = EngineConfig::new(folder.path());
        config.wal.carry_bytes = carry_bytes;
        config.wal.free_bytes_min = 0;
        config.apply.workers = 1;
        config.hook.enabled = false;
        Bed { folder, config }
    }

    pub(super) fn dir(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn open(&self) -> Result<Steps, OpenError> {
        Steps::open(self.config.clone(), Fs::real(), Clock::manual(1_700_000_000_000_000_000))
    }

    /// A life of the server that ends with a kill.
    pub(super) fn life(self, work: impl FnOnce(&mut Life)) -> Bed {
        work(&mut self.begin());
        self
    }

    /// A start, and a client.
    pub(super) fn begin(&self) -> Life {
        Life::of(self.open().expect("a sound folder"))
    }

    /// The file and the bytes of the n-th frame of a table.
    pub(super) fn frame(&self, table: &str, n: usize) -> (PathBuf, Range<usize>) {
        frame(&Fs::real(), self.dir(), table, n)
    }

    /// A chunk of the log.
    pub(super) fn log(&self, chunk: u64) -> PathBuf {
        self.dir().join(format!("wal/txnlog/{chunk:08}.log"))
    }

    /// The last chunk of the log.
    pub(super) fn last_log(&self) -> PathBuf {
        newest(&self.dir().join("wal/txnlog"))
    }

    /// The only shelf.
    pub(super) fn shelf(&self) -> PathBuf {
        let files = std::fs::read_dir(self.dir().join("wal/txnlog")).expect("the log");
        let mut paths = files.map(|entry| entry.unwrap().path());
        paths.find(|path| sequencer::ShelfFile::is_at(path)).expect("a shelf")
    }

    pub(super) fn identity(&self) -> PathBuf {
        self.dir().join("identity")
    }

    /// The newest chunk of the catalog.
    pub(super) fn catalog(&self) -> PathBuf {
        newest(&self.dir().join("catalog"))
    }

    /// The part of table `a`.
    pub(super) fn part(&self) -> PathBuf {
        let folder = self.dir().join("tables/a~1/hw_day=1970-01-01");
        std::fs::read_dir(folder).unwrap().next().expect("a part").unwrap().path()
    }
}

/// The server's number in its identity.
pub(super) fn uuid(fs: &Fs, dir: &Path) -> [u8; 16] {
    *fs.read(&dir.join("identity")).unwrap()[12..].first_chunk().unwrap()
}

/// The file and the bytes of the n-th frame of a table.
pub(super) fn frame(fs: &Fs, dir: &Path, table: &str, n: usize) -> (PathBuf, Range<usize>) {
    let log = sequencer::survey(fs, &dir.join("wal/txnlog"), &uuid(fs, dir), &mut |_| true);
    let log = log.expect("a sound log").expect("a log");
    let named = log.state.tables().find(|(_, state)| &*state.name == table);
    let (id, _) = named.expect("the table");
    let frames = log.transactions.iter().filter(|txn| txn.table == id);
    let frame = frames.filter_map(|txn| txn.kind.frame()).nth(n).expect("a frame");
    let Frame { writer, segment, offset, len, .. } = *frame;
    let path = dir.join(format!("wal/{writer}/{segment}.wal"));
    (path, offset as usize..offset as usize + len as usize)
}

pub(super) fn client(steps: &Steps) -> Session {
    let origin = Origin { peer: "test".into(), precision: Precision::Nanosecond };
    steps.engine().session(DEFAULT_DATABASE.into(), origin)
}

/// The file whose name comes last.
pub(super) fn newest(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.unwrap().path());
    files.max().expect("a file")
}

/// Changes the bytes of a file.
pub(super) fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("the file");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("the file");
}

pub(super) fn flip(path: &Path, at: usize) {
    edit(path, |bytes| bytes[at] ^= 0x10);
}

pub(super) fn cut(path: &Path, len: usize) {
    edit(path, |bytes| bytes.truncate(len));
}

/// Ends a file at `len`, then with so many zeros.
pub(super) fn resize(path: &Path, len: usize, zeros: usize) {
    edit(path, |bytes| {
        bytes.truncate(len);
        bytes.resize(len + zeros, 0);
    });
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("a copy");
}

/// Puts a folder in a file's place.
pub(super) fn to_folder(path: &Path) {
    std::fs::remove_file(path).expect("the file");
    std::fs::create_dir(path).expect("a folder");
}

/// Puts a second shelf beside the only one, with some of its transactions, changed.
pub(super) fn shelve_again(bed: &Bed, some: Range<usize>, change: fn(&mut Committed)) {
    let (fs, dir) = (Fs::real(), bed.dir().join("wal/txnlog"));
    let uuid = uuid(&fs, bed.dir());
    let files = sequencer::shelf_files(&fs, &dir).expect("the log");
    let shelf = sequencer::read_shelf(&fs, &files[0], &uuid).expect("a shelf");
    let mut transactions = shelf.transactions[some].to_vec();
    transactions.iter_mut().for_each(change);
    sequencer::shelve(&fs, &dir, &uuid, &transactions, shelf.carried).expect("room");
}

/// Makes a header one of version 2 whose checksum this release cannot check.
pub(super) fn to_future(path: &Path) {
    edit(path, |bytes| {
        bytes[8] = 2;
        bytes[30] ^= 1;
    });
}

/// Where the records of a log begin.
pub(super) fn records(path: &Path) -> Vec<usize> {
    let bytes = std::fs::read(path).expect("the file");
    memchr::memmem::find_iter(&bytes, b"HWTR").collect()
}

/// Where the last record of a log ends.
pub(super) fn end_of_records(path: &Path) -> usize {
    let bytes = std::fs::read(path).expect("the file");
    let last = *records(path).last().expect("a record");
    let len: [u8; 4] = *bytes[last + 4..].first_chunk().unwrap();
    last + 32 + u32::from_le_bytes(len) as usize
}

/// Where the records of a catalog begin: behind a checksum and a length each.
pub(super) fn edits(path: &Path) -> Vec<usize> {
    edits_in(&std::fs::read(path).expect("the file"))
}

pub(super) fn edits_in(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut found) = (48, Vec::new());
    while at + 17 <= bytes.len() {
        found.push(at);
        let len: [u8; 4] = *bytes[at + 4..].first_chunk().unwrap();
        at += 17 + u32::from_le_bytes(len) as usize;
    }
    found
}

/// A running server with one client.
pub(super) struct Life {
    pub(super) steps: Steps,
    session: Session,
}

impl Life {
    pub(super) fn of(steps: Steps) -> Life {
        let session = client(&steps);
        Life { steps, session }
    }

    /// A row for each of the tables, one a commit, all of one series.
    pub(super) fn rows(&mut self, tables: &[&str], numbers: Range<u64>) {
        for n in numbers {
            let mut context = Context::from_waker(Waker::noop());
            assert!(pin!(self.session.ready()).poll(&mut context).is_ready());
            let lines: String =
                tables.iter().map(|table| format!("{table},h=x v={n}i {n}\n")).collect();
            self.session.ingest(&mut BytesMut::from(lines.as_str())).expect("good lines");
            self.session.commit().expect("room");
            while self.steps.step(Actor::Sequencer) {}
        }
        while self.steps.step(Actor::Worker) {}
    }

    pub(super) fn flush(&mut self) {
        assert!(self.steps.flush());
        self.steps.step(Actor::Housekeeper);
    }

    pub(super) fn id(&self, table: &str) -> TableId {
        let tables = self.steps.engine().source().table_status();
        tables.iter().find(|status| &*status.name == table).expect("the table").id
    }

    /// Commits a change.
    pub(super) fn push(&mut self, change: Change) {
        let receipt = Receipt::without_frames(Progress::new(), 1);
        self.steps.engine().shared.sequencer.push(Receipt { change: Some(change), ..receipt });
        while self.steps.step(Actor::Sequencer) {}
    }

    pub(super) fn suspend(&self, table: &str) {
        let apply = &self.steps.engine().shared.apply;
        assert!(apply.suspend(self.id(table), ErrorTag::OnRequest, "a test"));
    }

    /// The client leaves, what can be flushed is, and enough time passes for the rest to be shelved.
    pub(super) fn keep_house(&mut self) {
        let shared = self.steps.engine().shared.clone();
        // Its segment would stay open.
        self.session = client(&self.steps);
        shared.apply.want_flush_all();
        while self.steps.step(Actor::Worker) {}
        shared.clock.advance(Duration::from_secs(61));
        for _ in 0..3 {
            shared.writers.close_idle();
            self.steps.step(Actor::Housekeeper);
            while self.steps.step(Actor::Sequencer) {}
        }
    }
}

pub(super) const BOTH: &[&str] = &["a", "b"];

/// A kill; every commit's segment was synced.
pub(super) fn synced() -> Bed {
    Bed::new(0).life(|life| life.rows(BOTH, 0..3))
}

/// A kill; only `a` has rows.
pub(super) fn only_a() -> Bed {
    Bed::new(0).life(|life| life.rows(&["a"], 0..3))
}

/// A kill; every commit is carried by the log.
pub(super) fn carried() -> Bed {
    Bed::new(16 << 10).life(|life| life.rows(BOTH, 0..3))
}

/// A kill, after two rows were flushed; the third is in the same segment, its series in the first frame.
pub(super) fn half_flushed() -> Bed {
    Bed::new(0).life(|life| {
        life.rows(BOTH, 0..2);
        life.flush();
        life.rows(BOTH, 2..3);
    })
}

/// A clean stop after all was flushed.
pub(super) fn stopped() -> Bed {
    let bed = Bed::new(0).life(|life| life.rows(BOTH, 0..3));
    assert!(bed.open().expect("a sound folder").close().flushed);
    bed
}

/// A kill, after all was flushed and the WAL behind it has gone.
pub(super) fn purged() -> Bed {
    Bed::new(0).life(|life| {
        life.rows(BOTH, 0..3);
        life.keep_house();
    })
}

/// The same of a table that the catalog knew before.
pub(super) fn purged_later() -> Bed {
    Bed::new(0).life(|life| {
        life.rows(BOTH, 0..2);
        life.flush();
        life.rows(BOTH, 2..3);
        life.keep_house();
    })
}

/// A kill, after two rows of `a` were flushed; the third is in the same segment.
pub(super) fn half_flushed_a() -> Bed {
    Bed::new(0).life(|life| {
        life.rows(&["a"], 0..2);
        life.flush();
        life.rows(&["a"], 2..3);
    })
}

/// A kill, after the parts of both tables were merged and those before have gone.
pub(super) fn compacted() -> Bed {
    let mut bed = Bed::new(0);
    bed.config.apply.compaction.fan_in = 2;
    bed.config.wal_retention = Duration::from_secs(3600);
    bed.life(|life| {
        for n in 0..3 {
            life.rows(BOTH, n..n + 1);
            life.flush();
        }
        while life.steps.step(Actor::Compaction) {}
    })
}

/// A kill, after a third table was dropped and the WAL behind it has gone.
pub(super) fn dropped() -> Bed {
    let mut bed = Bed::new(0);
    bed.config.sequencer.chunk_bytes = 1;
    bed.life(|life| {
        life.rows(BOTH, 0..3);
        life.rows(&["c"], 0..1);
        life.flush();
        life.push(Change::Drop { table: life.id("c") });
        life.keep_house();
    })
}

/// Three lives without a flush: their chunks of the log are all there.
pub(super) fn three_lives() -> Bed {
    let one = |n| move |life: &mut Life| life.rows(BOTH, n..n + 1);
    Bed::new(0).life(one(0)).life(one(1)).life(one(2))
}

/// Three lives whose WAL is kept; what the first two sent is flushed.
pub(super) fn retained() -> Bed {
    let mut bed = Bed::new(0);
    bed.config.wal_retention = Duration::from_secs(3600);
    let flushed = |n| {
        move |life: &mut Life| {
            life.rows(BOTH, n..n + 1);
            life.flush();
        }
    };
    bed.life(flushed(0)).life(flushed(1)).life(|life| life.rows(BOTH, 2..3))
}

pub(super) fn unsynced() -> Bed {
    let mut bed = Bed::new(0);
    bed.config.sequencer.durability = Durability::NoSync;
    bed.life(|life| life.rows(BOTH, 0..3))
}

/// A kill, after the sync of the last interval and before anything else was committed.
pub(super) fn acknowledged_async() -> Bed {
    let mut bed = Bed::new(0);
    bed.config.sequencer.durability = Durability::Async;
    let interval = bed.config.sequencer.async_interval;
    bed.life(|life| {
        life.rows(BOTH, 0..3);
        life.steps.engine().shared.clock.advance(interval);
        while life.steps.step(Actor::Sequencer) {}
    })
}

/// A kill, while all that was sent to `a` after its first row lies on a shelf, and nowhere else.
pub(super) fn shelved() -> Bed {
    let mut bed = Bed::new(0);
    bed.config.sequencer.chunk_bytes = 1;
    bed.life(|life| {
        life.rows(BOTH, 0..1);
        life.flush();
        life.suspend("a");
        life.rows(BOTH, 1..3);
        life.rows(&["b"], 3..5);
        life.keep_house();
    })
}
