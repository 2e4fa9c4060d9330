//! The writers of a server: lent to one connection at a time, at most so many in all.

use super::config::WalConfig;
use super::error::WalError;
use super::format::Identity;
use super::ledger::{ClosedSegment, Ledger};
use super::purge::remove_segment;
use super::restore::FrameCopier;
use super::writer::WalWriter;
use crate::io::Fs;
use crate::types::{SegmentId, WriterId};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lends writers. A writer that comes back keeps its open segment for the next borrower, so that many short
/// connections fill few segments. Clones share the pool.
#[derive(Clone, Debug)]
pub struct WriterPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Arc<WalConfig>,
    fs: Fs,
    wal_dir: PathBuf,
    uuid: [u8; 16],
    epoch: u64,
    ledger: Ledger,
    permits: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Debug)]
struct Idle {
    /// The last one back is lent first: the others may stay idle long enough to be closed.
    writers: Vec<WalWriter>,
    next: WriterId,
}

/// A borrowed writer; it goes back when this is dropped.
#[derive(Debug)]
pub struct Lease {
    /// `None` only while it is being dropped.
    writer: Option<WalWriter>,
    pool: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl WriterPool {
    /// A pool whose writers are numbered from `first_writer` on: one that no earlier start has used, since a segment
    /// of an earlier start is never continued. Whoever reads the segments while they are written shares the `ledger`.
    pub fn new(
        config: WalConfig,
        fs: Fs,
        wal_dir: PathBuf,
        uuid: [u8; 16],
        epoch: u64,
        first_writer: WriterId,
        ledger: Ledger,
    ) -> WriterPool {
        let permits = Arc::new(Semaphore::new(config.writers_max));
        let idle = Mutex::new(Idle { writers: Vec::new(), next: first_writer });
        let config = Arc::new(config);
        WriterPool(Arc::new(Shared { config, fs, wal_dir, uuid, epoch, ledger, permits, idle }))
    }

    /// Borrows a writer; waits while all are lent, and is served in turn.
    pub async fn borrow(&self) -> Lease {
        let permit = self.0.permits.clone().acquire_owned().await;
        self.lend(permit.expect("the pool never closes its semaphore"))
    }

    /// A writer for somebody who keeps it, beyond those that go round. To be asked for before anybody waits for one.
    ///
    /// # Panics
    /// When somebody waits: the writer is then theirs.
    pub fn lend_for_good(&self) -> Lease {
        self.0.permits.add_permits(1);
        self.try_borrow().expect("nobody waits for a writer yet")
    }

    /// True while all writers are lent: whoever can do without one for a moment gives it back.
    pub fn is_exhausted(&self) -> bool {
        self.0.permits.available_permits() == 0
    }

    /// Borrows a writer unless all are lent.
    pub fn try_borrow(&self) -> Option<Lease> {
        Some(self.lend(self.0.permits.clone().try_acquire_owned().ok()?))
    }

    /// Closes the open segments of writers that nobody has borrowed, so that they can be purged.
    pub fn close_idle(&self) {
        for writer in &mut self.0.idle().writers {
            writer.roll();
        }
    }

    /// Segments that a writer may still append to.
    pub fn open_segments(&self) -> Vec<(WriterId, SegmentId)> {
        self.0.ledger.books().open.iter().map(|(&writer, open)| (writer, open.segment)).collect()
    }

    /// Has everything that was appended so far written to its files: what only the log has comes back to a segment at the next start, but
    /// definitions in it are looked for by starts that do not read that far.
    pub fn write_out_all(&self) {
        for (writer, segment) in self.open_segments() {
            if let Err(error) = self.write_out(writer, segment) {
                tracing::warn!(%error, "a segment lacks commits that only the log has");
            }
        }
    }

    /// A copier of frames of a segment, which has everything that was appended so far.
    ///
    /// # Errors
    /// The segment cannot be opened, or not be written to.
    pub fn copier(&self, identity: Identity) -> Result<FrameCopier, WalError> {
        self.write_out(identity.writer, identity.segment)?;
        FrameCopier::open(&self.0.fs, &self.0.wal_dir, identity)
    }

    /// Has everything that was appended to a segment so far written to its file, which whoever syncs the file relies on.
    ///
    /// # Errors
    /// [`WalError::Io`]; readers that share the ledger go on to find all of it.
    pub fn write_out(&self, writer: WriterId, segment: SegmentId) -> Result<(), WalError> {
        let unwritten = self.0.ledger.unwritten(writer, segment);
        Ok(unwritten.map_or(Ok(()), |unwritten| unwritten.write(&[]))?)
    }

    /// Segments of this start that are closed and not yet purged.
    pub fn closed_segments(&self) -> Vec<ClosedSegment> {
        self.0.ledger.books().closed.clone()
    }

    /// Removes a segment whose rows are all in synced parts.
    ///
    /// # Errors
    /// [`WalError::Io`]; the segment stays among the closed ones.
    ///
    /// # Panics
    /// When a writer may still append to it.
    pub fn purge(&self, writer: WriterId, segment: SegmentId) -> Result<(), WalError> {
        let is_open = self.0.ledger.unwritten(writer, segment).is_some();
        assert!(!is_open, "an open segment is not purged");
        remove_segment(&self.0.fs, &self.0.wal_dir, writer, segment)?;
        self.0.ledger.books().closed.retain(|c| (c.writer, c.segment) != (writer, segment));
        Ok(())
    }

    fn lend(&self, permit: OwnedSemaphorePermit) -> Lease {
        let shared = &self.0;
        let mut idle = shared.idle();
        let writer = idle.writers.pop().unwrap_or_else(|| {
            let writer = idle.next;
            idle.next = WriterId(writer.0 + 1);
            WalWriter::new(
                shared.config.clone(),
                shared.fs.clone(),
                shared.wal_dir.clone(),
                shared.epoch,
                shared.ledger.clone(),
                Identity { uuid: shared.uuid, writer, segment: SegmentId(0) },
            )
        });
        Lease { writer: Some(writer), pool: shared.clone(), _permit: permit }
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Lease {
    type Target = WalWriter;

    fn deref(&self) -> &WalWriter {
        self.writer.as_ref().expect("a lease holds its writer until it is dropped")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut WalWriter {
        self.writer.as_mut().expect("a lease holds its writer until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The permit goes after this, so whoever it wakes finds the writer.
        if let Some(mut writer) = self.writer.take() {
            writer.change_hands();
            self.pool.idle().writers.push(writer);
        }
    }
}
