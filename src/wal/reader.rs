//! Reading a segment through a memory map: one frame by its place, or all records in turn. What its writer has not written yet is read from
//! the writer's memory.

use super::decode::{Rows, take_rows};
use super::error::WalError;
use super::format::{
    FRAME_HEADER_LEN, FrameHeader, HEADER_LEN, HeaderFault, Identity, KIND_FRAME, KIND_SEAL,
    PREFIX_LEN, SEAL_LEN, Seal, Seed, VERSION, check_header, verifies,
};
use super::joined::JoinedRows;
use super::ledger::Ledger;
use super::series::{SeriesCursor, SeriesDefinitions, skip_definitions};
use super::unwritten::WeakUnwritten;
use crate::io::{File, Fs, Map};
use crate::types::wire::Take;
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Result<T> = std::result::Result<T, WalError>;

/// One segment, which its writer may still be appending to. Any number of threads read it.
#[derive(Debug)]
pub struct SegmentReader {
    file: File,
    seed: Seed,
    epoch: u64,
    /// Read by every frame, and so without a lock.
    mapped: ArcSwap<Mapped>,
    /// Held by whoever replaces it.
    growing: Mutex<()>,
    /// Of a segment that was open in this process.
    unwritten: WeakUnwritten,
    /// By piece of the file, whether it was brought in before it is touched. `None` of a segment that was open in this process: what was
    /// written a moment ago is in the page cache, and to ask for each frame would cost.
    fetched: Option<Vec<AtomicBool>>,
}

/// Bytes of a segment that are brought in together.
const PIECE: u64 = 128 << 10;

/// A segment grows while it is read, and a map is dear to replace: it covers more than the file has.
#[derive(Clone, Debug)]
struct Mapped {
    map: Arc<Map>,
    /// The file was this long when it was last asked. Nothing past it may be touched.
    len: u64,
}

/// Where bytes of a segment are found. All offsets are those of the segment.
#[derive(Debug)]
enum Held {
    Mapped(Arc<Mapped>),
    /// A commit that is not in the file yet, and where it begins.
    Unwritten(u64, Bytes),
}

/// A frame whose checksum holds.
#[derive(Debug)]
pub struct FrameView<'a> {
    reader: &'a SegmentReader,
    held: Held,
    offset: u64,
    header: FrameHeader,
}

/// What follows the header of a segment.
#[derive(Debug)]
pub enum Record<'a> {
    /// Rows of a table.
    Frame(FrameView<'a>),
    /// The segment was closed; nothing follows.
    Seal(Seal),
}

impl SegmentReader {
    /// Opens a segment whose header has been written, to read what is in its file.
    ///
    /// # Errors
    /// [`WalError::Io`] when it is not there or cannot be mapped; the others when its header is not what it should be.
    pub fn open(fs: &Fs, wal_dir: &Path, identity: &Identity) -> Result<SegmentReader> {
        // Row S7 is a file that is not there.
        let file = fs.open_read(&identity.path(wal_dir))?;
        let len = file.len()?;
        // Rows S10, S11 and S12.
        let damaged = |what| damage(file.path(), 0..HEADER_LEN as u64, what);
        if len < HEADER_LEN as u64 {
            return Err(damaged("the header is cut short"));
        }
        let mapped = Mapped { map: Arc::new(file.map(mapped_len(len))?), len };
        file.fetch(&mapped.map, 0..HEADER_LEN as u64)?;
        let path = || file.path().to_owned();
        match check_header(&mapped.map[..HEADER_LEN], identity) {
            Ok(epoch) => {
                let (mapped, growing) = (ArcSwap::from_pointee(mapped), Mutex::default());
                let (seed, unwritten) = (identity.seed(), WeakUnwritten::default());
                let pieces = (0..len.div_ceil(PIECE)).map(|_| AtomicBool::default());
                let fetched = Some(pieces.collect());
                Ok(SegmentReader { file, seed, epoch, mapped, growing, unwritten, fetched })
            }
            Err(HeaderFault::Damaged(what)) => Err(damaged(what)),
            Err(HeaderFault::Misplaced) => Err(WalError::Misplaced { path: path() }),
            Err(HeaderFault::FutureVersion(found)) => {
                Err(WalError::FutureVersion { path: path(), found, newest: VERSION })
            }
        }
    }

    /// Opens a segment that a writer of this process may still be appending to, to read everything that was appended.
    ///
    /// # Errors
    /// As [`SegmentReader::open`].
    pub fn open_live(
        fs: &Fs,
        wal_dir: &Path,
        identity: &Identity,
        ledger: &Ledger,
    ) -> Result<SegmentReader> {
        let unwritten = ledger.unwritten(identity.writer, identity.segment);
        let reader = SegmentReader::open(fs, wal_dir, identity)?;
        Ok(match &unwritten {
            Some(unwritten) => {
                SegmentReader { unwritten: WeakUnwritten::of(unwritten), fetched: None, ..reader }
            }
            None => reader,
        })
    }

    /// The start of the server that created the segment.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where the segment is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The frame at a place that a receipt or the log named: row S1. What lies elsewhere, rows S2, S3 and S4, nobody asks for.
    ///
    /// # Errors
    /// [`WalError::Damaged`] when no whole frame of this length is there.
    pub fn frame(&self, offset: u64, len: u32) -> Result<FrameView<'_>> {
        let frame = self.frame_at(offset)?;
        if frame.header.len == len {
            Ok(frame)
        } else {
            Err(self.damage(offset, len, "the frame has another length than the log says"))
        }
    }

    /// The definitions of series of the frame at a place that the log named, as [`FrameView::new_series`] gives them. A frame whose
    /// series `cursor` knows is not read past its header, nor verified: whoever reads its rows does that.
    ///
    /// # Errors
    /// [`WalError::Damaged`] when there are definitions to read and they, or the frames that they are in, are not whole.
    pub fn new_series(
        &self,
        offset: u64,
        len: u32,
        cursor: &mut SeriesCursor,
    ) -> Result<SeriesDefinitions> {
        let header_len = FRAME_HEADER_LEN as u32;
        let header = match self.unwritten(offset) {
            Some(held) => held.get(offset, header_len).and_then(FrameHeader::take),
            None => {
                let mapped = self.mapped.load();
                self.fetch(&mapped, offset, header_len)?;
                mapped.get(offset, header_len).and_then(FrameHeader::take)
            }
        };
        let is_known = |header: FrameHeader| header.series_after() <= Some(cursor.known);
        if header.is_some_and(is_known) {
            return Ok(SeriesDefinitions::starting_at(cursor.known));
        }
        self.frame(offset, len)?.new_series(cursor)
    }

    /// All records in turn, up to the seal, the end of the file, or room that was reserved and not used.
    pub fn records(&self) -> Records<'_> {
        Records { reader: self, offset: HEADER_LEN as u64, done: false }
    }

    fn frame_at(&self, offset: u64) -> Result<FrameView<'_>> {
        let (held, record) = self.record_at(offset)?;
        if record.kind != KIND_FRAME {
            return Err(self.damage(offset, record.len, "no frame begins here"));
        }
        self.view(held, offset, record)
    }

    fn view(&self, held: Held, offset: u64, record: Prefix) -> Result<FrameView<'_>> {
        match FrameHeader::take(record.bytes(&held, offset)) {
            Some(header) => Ok(FrameView { reader: self, held, offset, header }),
            None => Err(self.damage(offset, record.len, "the frame's header does not add up")),
        }
    }

    /// The record at `offset`, of either kind, once its checksum holds.
    fn record_at(&self, offset: u64) -> Result<(Held, Prefix)> {
        let short = PREFIX_LEN as u32;
        let cut = |len| self.damage(offset, len, "the file ends before the record does");
        let mut held = self.held(offset, short)?.ok_or_else(|| cut(short))?;
        self.fetch_held(&held, offset, short)?;
        let prefix = held.get(offset, short).and_then(Prefix::of);
        let prefix = prefix.ok_or_else(|| self.damage(offset, short, "no record begins here"))?;
        if held.get(offset, prefix.len).is_none() {
            held = self.held(offset, prefix.len)?.ok_or_else(|| cut(prefix.len))?;
        }
        self.fetch_held(&held, offset, prefix.len)?;
        if verifies(prefix.bytes(&held, offset), self.seed, offset) {
            Ok((held, prefix))
        } else {
            // Row S6.
            Err(self.damage(offset, prefix.len, "the record's checksum does not hold"))
        }
    }

    /// What its writer has not written yet, if that is where `offset` is.
    fn unwritten(&self, offset: u64) -> Option<Held> {
        let (start, commit) = self.unwritten.get(offset)?;
        Some(Held::Unwritten(start, commit))
    }

    /// Where `[offset, offset + len)` is found; `None` when the segment does not have it.
    fn held(&self, offset: u64, len: u32) -> Result<Option<Held>> {
        match self.unwritten(offset) {
            Some(held) => Ok(held.get(offset, len).is_some().then_some(held)),
            None => Ok(self.mapped(offset, len)?.map(Held::Mapped)),
        }
    }

    /// Has bytes brought in before they are touched, where nobody did before: that the device cannot read them is then an error of the
    /// frame that they are in. Bytes that have left memory since, and cannot be read a second time, still end the process.
    fn fetch(&self, mapped: &Mapped, offset: u64, len: u32) -> Result<()> {
        let Some(fetched) = &self.fetched else { return Ok(()) };
        let known = mapped.len.min(mapped.map.len() as u64);
        let end = offset.saturating_add(u64::from(len)).min(known);
        if offset >= end {
            return Ok(());
        }
        for piece in offset / PIECE..end.div_ceil(PIECE) {
            let is_fetched = usize::try_from(piece).ok().and_then(|piece| fetched.get(piece));
            // Relaxed: what is fetched twice is fetched.
            if is_fetched.is_some_and(|is_fetched| is_fetched.load(Ordering::Relaxed)) {
                continue;
            }
            let (from, to) = (piece * PIECE, (piece * PIECE + PIECE).min(known));
            match (self.file.fetch(&mapped.map, from..to), is_fetched) {
                (Ok(()), Some(is_fetched)) => is_fetched.store(true, Ordering::Relaxed),
                (Ok(()), None) => {}
                // Row S15, unless others are there.
                (Err(_), _) => self.file.fetch(&mapped.map, from.max(offset)..to.min(end))?,
            }
        }
        Ok(())
    }

    fn fetch_held(&self, held: &Held, offset: u64, len: u32) -> Result<()> {
        match held {
            Held::Mapped(mapped) => self.fetch(mapped, offset, len),
            Held::Unwritten(..) => Ok(()),
        }
    }

    /// A map that covers `[offset, offset + len)`; `None` when the file does not.
    fn mapped(&self, offset: u64, len: u32) -> Result<Option<Arc<Mapped>>> {
        let mapped = self.mapped.load_full();
        if mapped.get(offset, len).is_some() {
            return Ok(Some(mapped));
        }
        let Some(end) = offset.checked_add(u64::from(len)) else { return Ok(None) };
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mapped = Mapped::clone(&self.mapped.load());
        if end > mapped.len {
            mapped.len = self.file.len()?;
        }
        if end > mapped.map.len() as u64 && end <= mapped.len {
            mapped.map = Arc::new(self.file.map(mapped_len(mapped.len))?);
        }
        let mapped = Arc::new(mapped);
        self.mapped.store(mapped.clone());
        Ok(mapped.get(offset, len).is_some().then_some(mapped))
    }

    fn damage(&self, offset: u64, len: u32, what: &'static str) -> WalError {
        damage(self.path(), offset..offset.saturating_add(u64::from(len)), what)
    }
}

impl Mapped {
    /// So many bytes of the file, where it is known to have them and they are mapped.
    fn get(&self, offset: u64, len: u32) -> Option<&[u8]> {
        let end = offset.checked_add(u64::from(len)).filter(|end| *end <= self.len)?;
        self.map.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
    }
}

impl Held {
    /// So many bytes, where they are found here.
    fn get(&self, offset: u64, len: u32) -> Option<&[u8]> {
        match self {
            Held::Mapped(mapped) => mapped.get(offset, len),
            Held::Unwritten(start, commit) => {
                let from = usize::try_from(offset.checked_sub(*start)?).ok()?;
                commit.get(from..from.checked_add(len as usize)?)
            }
        }
    }
}

/// Twice what the file has, and enough for most segments.
fn mapped_len(file_len: u64) -> u64 {
    file_len.saturating_mul(2).max(MAPPED_MIN)
}

const MAPPED_MIN: u64 = 1 << 20;

fn damage(path: &Path, range: std::ops::Range<u64>, what: &'static str) -> WalError {
    WalError::Damaged { path: path.to_owned(), offset: range.start, end: range.end, what }
}

/// Kind and length in front of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    kind: [u8; 4],
    pub(super) len: u32,
}

impl Prefix {
    /// The prefix that `record` begins with; `None` when it cannot be one.
    pub(super) fn of(record: &[u8]) -> Option<Prefix> {
        let mut take = Take(record);
        take.u32()?;
        let kind = *take.slice(4)?.first_chunk()?;
        let len = take.u32()?;
        let sane = match kind {
            KIND_FRAME => len as usize >= FRAME_HEADER_LEN,
            KIND_SEAL => len as usize == SEAL_LEN,
            _ => false,
        };
        sane.then_some(Prefix { kind, len })
    }

    /// The record's bytes, which are all there.
    fn bytes<'h>(&self, held: &'h Held, offset: u64) -> &'h [u8] {
        held.get(offset, self.len).unwrap_or_default()
    }
}

impl FrameView<'_> {
    /// What stands before the rows.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Offset in the segment.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The whole frame, as the log carries it.
    pub fn bytes(&self) -> &[u8] {
        self.held.get(self.offset, self.header.len).unwrap_or_default()
    }

    /// The definitions of series that `cursor` does not know: of this frame and, where they are missing, of the frames before it.
    /// The cursor then knows them; after an error it is as it was.
    ///
    /// # Errors
    /// [`WalError::Damaged`] when this frame does not add up, or one before it that defines its series.
    pub fn new_series(&self, cursor: &mut SeriesCursor) -> Result<SeriesDefinitions> {
        let mut new_series = SeriesDefinitions::starting_at(cursor.known);
        for earlier in self.undefined(cursor.known)?.iter().rev() {
            earlier.take_definitions(&mut new_series)?;
        }
        self.take_definitions(&mut new_series)?;
        cursor.known = cursor.known.max(self.header.first_series + self.header.new_series);
        Ok(new_series)
    }

    /// Decodes the rows, whose series `known` knows by now.
    ///
    /// # Errors
    /// [`WalError::Damaged`] when the frame does not add up, or names series that are not known.
    pub fn rows(&self, known: SeriesCursor) -> Result<Rows> {
        let rows = self.columns(known).and_then(|mut take| take_rows(&mut take, &self.header));
        rows.ok_or_else(|| self.damage("the frame's columns do not add up"))
    }

    /// Like [`FrameView::rows`], but appends the rows to those of the frames before.
    ///
    /// # Errors
    /// As [`FrameView::rows`]; `onto` is then to be thrown away.
    pub fn rows_onto(&self, known: SeriesCursor, onto: &mut JoinedRows) -> Result<()> {
        let taken = self.columns(known).and_then(|mut take| onto.take(&mut take, &self.header));
        taken.ok_or_else(|| self.damage("the frame's columns do not add up"))
    }

    /// The frames before this one that define series from `known` on, latest first.
    fn undefined(&self, known: u32) -> Result<Vec<FrameView<'_>>> {
        let mut found: Vec<FrameView<'_>> = Vec::new();
        let mut header = self.header;
        let mut offset = self.offset;
        while known < header.first_series {
            // Row S8. Offsets fall strictly, so that no chain runs for ever.
            if header.chain == 0 || header.chain >= offset {
                return Err(self.damage("the frame does not say where its series are defined"));
            }
            let earlier = self.reader.frame_at(header.chain)?;
            let fits = earlier.header.table == header.table
                && earlier.header.series_after() == Some(header.first_series);
            if !fits {
                return Err(self.damage("the frame's series are not defined where it says"));
            }
            (header, offset) = (earlier.header, earlier.offset);
            found.push(earlier);
        }
        Ok(found)
    }

    /// Adds the definitions of this frame that are not known.
    fn take_definitions(&self, into: &mut SeriesDefinitions) -> Result<()> {
        let first = self.header.first_series;
        let taken = into.extend(&mut self.body(), first..first + self.header.new_series);
        taken.ok_or_else(|| self.damage("the frame's series definitions do not add up"))
    }

    /// What follows the definitions; `None` when they are damaged, or `known` does not know the series.
    fn columns(&self, known: SeriesCursor) -> Option<Take<'_>> {
        let is_known = self.header.series_after() <= Some(known.known);
        let mut take = is_known.then(|| self.body())?;
        skip_definitions(&mut take, self.header.new_series)?;
        Some(take)
    }

    /// What follows the header.
    fn body(&self) -> Take<'_> {
        Take(self.bytes().get(FRAME_HEADER_LEN..).unwrap_or_default())
    }

    fn damage(&self, what: &'static str) -> WalError {
        self.reader.damage(self.offset, self.header.len, what)
    }
}

/// Iterator over the records of a segment; see [`SegmentReader::records`]. After an error there is nothing more, since
/// nothing says where the next record begins.
#[derive(Debug)]
pub struct Records<'a> {
    reader: &'a SegmentReader,
    offset: u64,
    done: bool,
}

impl Records<'_> {
    /// The byte after the last good record.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// True when nothing but zeros follows.
    fn at_end(&self) -> Result<bool> {
        let len = self.reader.file.len()?;
        let mut piece = Vec::new();
        for at in (self.offset..len).step_by(PIECE as usize) {
            piece.resize(PIECE.min(len - at) as usize, 0);
            self.reader.file.read_exact_at(&mut piece, at)?;
            if piece.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>>;

    fn next(&mut self) -> Option<Result<Record<'a>>> {
        if self.done {
            return None;
        }
        let reader = self.reader;
        let found = reader.record_at(self.offset).and_then(|(held, prefix)| {
            let record = if prefix.kind == KIND_SEAL {
                self.done = true;
                let seal = Seal::take(prefix.bytes(&held, self.offset));
                Record::Seal(seal.ok_or_else(|| {
                    reader.damage(self.offset, prefix.len, "the seal does not add up")
                })?)
            } else {
                Record::Frame(reader.view(held, self.offset, prefix)?)
            };
            self.offset += u64::from(prefix.len);
            Ok(record)
        });
        match found {
            Ok(record) => Some(Ok(record)),
            Err(error) => {
                self.done = true;
                match self.at_end() {
                    Ok(true) => None,
                    Ok(false) => Some(Err(error)),
                    Err(error) => Some(Err(error)),
                }
            }
        }
    }
}
