//! The catalog's log: opening, committing in groups, starting new chunks.
//!
//! Failures: a write that finds no room is cut back and reported, and the catalog stays as it was. A failed sync ends the
//! process, since what the device holds is then unknown. The labels in comments are those of the table in `docs/formats/catalog-log.md`.

use super::edit::{decode_edits, encode_edits};
use super::format::{HEADER_LEN, Header, Record, RecordKind, damaged, read};
use super::state::Undo;
use super::{CatalogState, Edit};
use crate::io::{File, Fs, synced};
use crate::planted::{Bug, is_planted};
use crate::storage::StorageError;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A chunk longer than this, and than twice its checkpoint, is followed by a new one.
const CHUNK_BYTES: u64 = 16 << 20;

/// The catalog of a running server.
#[derive(Debug)]
pub struct Catalog {
    /// Commits that nobody has written yet.
    waiting: Mutex<Vec<Arc<Waiting>>>,
    /// Whoever holds this writes for all who wait.
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Waiting {
    edits: Vec<Edit>,
    result: OnceLock<Result<(), StorageError>>,
}

#[derive(Debug)]
struct Writer {
    fs: Fs,
    dir: PathBuf,
    header: Header,
    file: File,
    /// Where the next record goes: all before is good and on the device.
    end: u64,
    ordinal: u64,
    /// The length at which a new chunk begins.
    roll_at: u64,
    state: CatalogState,
    is_sealed: bool,
    /// Bytes past `end` of a failed write are still there and must be cut before the next.
    needs_cut: bool,
}

/// The end of an unsealed chunk that does not verify: row C7, a commit that was cut off, unless what it would lack speaks against it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornEnd {
    /// The chunk.
    pub path: PathBuf,
    /// Where its good records end.
    pub from: u64,
    /// Where the file ends.
    pub to: u64,
}

impl TornEnd {
    /// Row C14: it was on the device as a whole once.
    pub fn damaged(&self) -> StorageError {
        let fault = "the last commit does not verify, and what it said is nowhere else";
        damaged(&self.path, self.from, self.to, fault)
    }
}

/// What a folder's newest chunk says.
#[derive(Debug)]
pub struct FoundCatalog {
    header: Header,
    ordinal: u64,
    /// The state after its last good record.
    pub state: CatalogState,
    /// What is behind that, if anything.
    pub torn: Option<TornEnd>,
}

impl Catalog {
    /// Reads the catalog in `dir`, which may be missing, begins a chunk of this start, and returns both.
    ///
    /// # Errors
    /// The newest chunk is damaged, from the future, or another server's; or a file operation failed.
    pub fn open(
        fs: &Fs,
        dir: &Path,
        uuid: [u8; 16],
        epoch: u64,
    ) -> Result<(Catalog, CatalogState), StorageError> {
        let found = find(fs, dir, Some(uuid))?;
        Catalog::begin(fs, dir, (uuid, epoch), found)
    }

    /// Begins a chunk of this start after what [`Catalog::survey`] found. A torn end is gone then.
    ///
    /// # Errors
    /// A file operation failed.
    pub fn begin(
        fs: &Fs,
        dir: &Path,
        (uuid, epoch): ([u8; 16], u64),
        found: Option<FoundCatalog>,
    ) -> Result<(Catalog, CatalogState), StorageError> {
        fs.create_dir_all(dir)?;
        let (chunk, ordinal, state) = match found {
            Some(found) => {
                if let Some(TornEnd { path, from, to }) = &found.torn {
                    tracing::warn!(path = %path.display(), bytes = to - from,
                        "the catalog ends in a commit that was cut off; left out");
                }
                (found.header.chunk + 1, found.ordinal + 1, found.state)
            }
            None => (0, 0, CatalogState::default()),
        };
        let header = Header { uuid, epoch, chunk };
        let (file, end) = write_chunk(fs, dir, &header, ordinal, &state)?;
        let writer = Writer {
            fs: fs.clone(),
            dir: dir.to_owned(),
            header,
            file,
            end,
            ordinal: ordinal + 1,
            roll_at: CHUNK_BYTES.max(2 * end),
            state: state.clone(),
            is_sealed: false,
            needs_cut: false,
        };
        writer.remove_old_chunks()?;
        Ok((Catalog { waiting: Mutex::default(), writer: Mutex::new(writer) }, state))
    }

    /// Reads the catalog of a stopped server without changing it; `None` when there is none.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn read(fs: &Fs, dir: &Path) -> Result<Option<CatalogState>, StorageError> {
        Ok(find(fs, dir, None)?.map(|found| found.state))
    }

    /// As [`Catalog::read`], of the server `uuid`; also says where a commit that was cut off is at the end, and can be gone on with.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn survey(
        fs: &Fs,
        dir: &Path,
        uuid: [u8; 16],
    ) -> Result<Option<FoundCatalog>, StorageError> {
        find(fs, dir, Some(uuid))
    }

    /// The files of the catalog, the newest last.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn files(fs: &Fs, dir: &Path) -> Result<Vec<PathBuf>, StorageError> {
        let mut chunks = chunks(fs, dir)?;
        chunks.sort_unstable();
        Ok(chunks.into_iter().map(|chunk| chunk_path(dir, chunk)).collect())
    }

    /// Server and start that the newest readable chunk names.
    ///
    /// # Errors
    /// A chunk cannot be read.
    pub fn newest_header(fs: &Fs, dir: &Path) -> Result<Option<([u8; 16], u64)>, StorageError> {
        for path in Catalog::files(fs, dir)?.iter().rev() {
            if let Ok(header) = Header::decode(&fs.read(path)?, path) {
                return Ok(Some((header.uuid, header.epoch)));
            }
        }
        Ok(None)
    }

    /// What a damaged catalog of the server `uuid` says before the damage, and whether that is all that it said.
    ///
    /// # Errors
    /// The newest chunk cannot be read.
    pub fn salvage(
        fs: &Fs,
        dir: &Path,
        uuid: [u8; 16],
    ) -> Result<(CatalogState, bool), StorageError> {
        let Some(path) = Catalog::files(fs, dir)?.pop() else { return Ok(Default::default()) };
        let bytes = fs.read_from_device(&path)?;
        let bytes = Header::with_version(&bytes).unwrap_or(bytes);
        let mut state = CatalogState::default();
        let Ok(header) = Header::decode(&bytes, &path) else { return Ok((state, false)) };
        if header.uuid != uuid {
            return Ok((state, false));
        }
        let (mut at, mut ordinal) = (HEADER_LEN, None);
        while let Some(record) = header.record(&bytes, at) {
            let follows = ordinal.is_none_or(|before: u64| before + 1 == record.ordinal);
            if record.kind == RecordKind::Seal || !follows || apply(&record, &mut state).is_err() {
                break;
            }
            (at, ordinal) = (record.range.1 as usize, Some(record.ordinal));
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let seal = header.record(&bytes, at).filter(|record| record.kind == RecordKind::Seal);
        let is_all = ordinal.is_some()
            && (rest.is_empty() || seal.is_some_and(|seal| seal.range.1 == bytes.len() as u64));
        Ok((state, is_all))
    }

    /// Makes this state the catalog of a stopped server, whatever is there: as a chunk after the newest. Those before go.
    ///
    /// # Errors
    /// A file operation failed.
    pub fn write_anew(
        fs: &Fs,
        dir: &Path,
        (uuid, epoch): ([u8; 16], u64),
        state: &CatalogState,
    ) -> Result<(), StorageError> {
        fs.create_dir_all(dir)?;
        let old = chunks(fs, dir)?;
        let header = Header { uuid, epoch, chunk: old.iter().max().map_or(0, |newest| newest + 1) };
        write_chunk(fs, dir, &header, 0, state)?;
        for chunk in old {
            fs.remove(&chunk_path(dir, chunk))?;
        }
        Ok(synced(fs.sync_dir(dir))?)
    }

    /// Makes edits take effect together. On return they are on the device, or nothing of them is anywhere.
    ///
    /// Blocks for a sync. Commits that arrive meanwhile share the next one.
    ///
    /// # Errors
    /// An edit is refused, or there is no room; the latter may be tried again.
    ///
    /// # Panics
    /// After [`Catalog::seal`].
    pub fn commit(&self, edits: Vec<Edit>) -> Result<(), StorageError> {
        let mine = Arc::new(Waiting { edits, result: OnceLock::new() });
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(mine.clone());
        let mut writer = self.writer();
        if mine.result.get().is_none() {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let group = std::mem::take(&mut *waiting);
            drop(waiting);
            writer.commit(&group);
        }
        drop(writer);
        mine.result.get().expect("whoever took the group answered all of it").clone()
    }

    /// Ends the log: the server stops cleanly. Nothing may be committed after it.
    ///
    /// # Errors
    /// There is no room. The log is whole without the seal.
    pub fn seal(&self) -> Result<(), StorageError> {
        self.writer().seal()
    }

    /// Commits these as if all had waited at once.
    #[cfg(test)]
    pub(crate) fn commit_together(&self, commits: Vec<Vec<Edit>>) -> Vec<Result<(), StorageError>> {
        let waiting = |edits| Arc::new(Waiting { edits, result: OnceLock::new() });
        let group: Vec<_> = commits.into_iter().map(waiting).collect();
        self.writer().commit(&group);
        group.into_iter().map(|waiting| waiting.result.get().expect("an answer").clone()).collect()
    }

    /// Makes the next commit past this length begin a chunk.
    #[cfg(test)]
    pub(crate) fn roll_at(&self, len: u64) {
        self.writer().roll_at = len;
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Writes and answers a group of commits: one record, one sync.
    ///
    /// Were they records of their own, a power cut could leave a later one whole and an earlier one torn, which would look like damage.
    fn commit(&mut self, group: &[Arc<Waiting>]) {
        assert!(!self.is_sealed, "the catalog was sealed at shutdown");
        let (mut edits, mut undo, mut accepted) = (Vec::new(), Vec::new(), Vec::new());
        for waiting in group {
            match self.accept(&waiting.edits, &mut undo) {
                Ok(()) => {
                    edits.extend_from_slice(&waiting.edits);
                    accepted.push(waiting);
                }
                Err(error) => waiting.answer(Err(error)),
            }
        }
        let written = if edits.is_empty() { Ok(()) } else { self.write(&edits) };
        if written.is_err() {
            self.state.roll_back(&mut undo, 0);
        }
        for waiting in accepted {
            waiting.answer(written.clone());
        }
        if self.end > self.roll_at {
            self.roll();
        }
    }

    /// Applies the edits of one commit to the state: all or none.
    fn accept(&mut self, edits: &[Edit], undo: &mut Vec<Undo>) -> Result<(), StorageError> {
        let held = undo.len();
        let result = edits.iter().try_for_each(|edit| self.state.apply(edit, undo));
        if result.is_err() {
            self.state.roll_back(undo, held);
        }
        result
    }

    /// Appends a record, durably.
    fn write(&mut self, edits: &[Edit]) -> Result<(), StorageError> {
        let (mut payload, mut bytes) = (Vec::new(), Vec::new());
        encode_edits(edits, &mut payload);
        self.header.put_record(RecordKind::Edits, self.ordinal, self.end, &payload, &mut bytes);
        self.append(&bytes)?;
        self.ordinal += 1;
        Ok(())
    }

    /// Appends and syncs, or leaves the file as it was.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        if self.needs_cut {
            self.file.set_len(self.end)?;
            self.needs_cut = false;
        }
        if let Err(error) = self.file.write_all_at(bytes, self.end) {
            self.needs_cut = self.file.set_len(self.end).is_err();
            return Err(error.into());
        }
        if !is_planted(Bug::CatalogNotSynced) {
            synced(self.file.sync_data())?;
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Begins the next chunk. When there is no room, this one goes on for a while.
    fn roll(&mut self) {
        let header = Header { chunk: self.header.chunk + 1, ..self.header };
        match write_chunk(&self.fs, &self.dir, &header, self.ordinal, &self.state) {
            Ok((file, end)) => {
                (self.header, self.file, self.end) = (header, file, end);
                self.ordinal += 1;
                self.roll_at = CHUNK_BYTES.max(2 * end);
                self.needs_cut = false;
                if let Err(error) = self.remove_old_chunks() {
                    tracing::warn!(%error, "an old catalog chunk stays until the next start");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the catalog cannot begin a new chunk yet");
                self.roll_at = self.end + CHUNK_BYTES;
            }
        }
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        let mut bytes = Vec::new();
        self.header.put_record(RecordKind::Seal, self.ordinal, self.end, &[], &mut bytes);
        self.append(&bytes)?;
        self.is_sealed = true;
        Ok(())
    }

    fn remove_old_chunks(&self) -> Result<(), StorageError> {
        for chunk in chunks(&self.fs, &self.dir)?.into_iter().filter(|&n| n < self.header.chunk) {
            self.fs.remove(&chunk_path(&self.dir, chunk))?;
        }
        Ok(())
    }
}

impl Waiting {
    fn answer(&self, result: Result<(), StorageError>) {
        assert!(self.result.set(result).is_ok(), "a commit is answered once");
    }
}

/// Writes a chunk with a checkpoint, durable under its name, and opens it. Returns its length too.
fn write_chunk(
    fs: &Fs,
    dir: &Path,
    header: &Header,
    ordinal: u64,
    state: &CatalogState,
) -> Result<(File, u64), StorageError> {
    let (mut bytes, mut payload) = (Vec::new(), Vec::new());
    header.encode(&mut bytes);
    encode_edits(&state.to_edits(), &mut payload);
    let offset = HEADER_LEN as u64;
    header.put_record(RecordKind::Checkpoint, ordinal, offset, &payload, &mut bytes);
    let path = chunk_path(dir, header.chunk);
    // Past the rename the chunk counts, so an unsure sync of its name must not let the old one grow.
    Ok((synced(fs.replace(&path, &bytes))?, bytes.len() as u64))
}

/// Reads the newest chunk. Older ones, row C2, were left by a start or a roll that was cut off before it removed them.
fn find(fs: &Fs, dir: &Path, uuid: Option<[u8; 16]>) -> Result<Option<FoundCatalog>, StorageError> {
    // Row C1: nothing is there. Whether that can be, the engine knows.
    let Some(chunk) = chunks(fs, dir)?.into_iter().max() else { return Ok(None) };
    let path = chunk_path(dir, chunk);
    let bytes = fs.read_from_device(&path)?;
    let read = read(&bytes, &path)?;
    if uuid.is_some_and(|uuid| uuid != read.header.uuid) {
        // Row C5.
        return Err(StorageError::Foreign { path });
    }
    if read.header.chunk != chunk {
        // Row C3.
        return Err(damaged(&path, 0, HEADER_LEN as u64, "the file has another chunk's name"));
    }
    let mut state = CatalogState::default();
    let mut ordinal = 0;
    for record in &read.records {
        ordinal = record.ordinal;
        if record.kind == RecordKind::Seal {
            // Row C11.
            break;
        }
        // Row C10.
        apply(record, &mut state)
            .map_err(|fault| damaged(&path, record.range.0, record.range.1, fault))?;
    }
    let (from, to) = (bytes.len() as u64 - read.torn_bytes, bytes.len() as u64);
    let torn = (from < to).then_some(TornEnd { path, from, to });
    Ok(Some(FoundCatalog { header: read.header, ordinal, state, torn }))
}

/// Applies the edits of a record, or says what is wrong with them.
fn apply(record: &Record<'_>, state: &mut CatalogState) -> Result<(), &'static str> {
    let edits = decode_edits(record.payload).ok_or("the edits do not decode")?;
    edits.iter().try_for_each(|edit| {
        let applied = state.apply(edit, &mut Vec::new());
        applied.map_err(|_| "an edit does not fit what is before it")
    })
}

fn chunks(fs: &Fs, dir: &Path) -> Result<Vec<u64>, StorageError> {
    let names = fs.list(dir)?.into_iter().filter(|entry| !entry.is_dir);
    Ok(names.filter_map(|entry| entry.name.strip_suffix(".log")?.parse().ok()).collect())
}

fn chunk_path(dir: &Path, chunk: u64) -> PathBuf {
    dir.join(format!("{chunk}.log"))
}
