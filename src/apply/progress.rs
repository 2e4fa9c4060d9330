//! How far a table has come: watermarks that only rise, for anyone to read or wait for.

use super::Trouble;
use super::sync::{AtomicU64, Mutex, MutexGuard, Notify, Ordering};
use crate::types::SeqTxn;
use std::sync::PoisonError;

/// The watermarks of one table: `flushed_txn <= applied_txn <= seq_txn`.
///
/// Each is stored with Release after what it promises, and read with Acquire: who sees `applied_txn >= n` loads a
/// snapshot that has n.
#[derive(Debug)]
pub struct TableProgress {
    seq_txn: AtomicU64,
    applied_txn: AtomicU64,
    flushed_txn: AtomicU64,
    /// Rows since the start.
    committed_rows: AtomicU64,
    applied_rows: AtomicU64,
    skipped_txns: AtomicU64,
    trouble: Mutex<Option<(Stage, Trouble)>>,
    moved: Notify,
}

/// Who is in trouble: success elsewhere does not end it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Reading frames into the tail.
    Apply,
    /// Writing the tail into parts.
    Flush,
    /// Merging parts, which keeps nothing from being visible.
    Compact,
}

impl TableProgress {
    pub(super) fn new(flushed_txn: SeqTxn) -> TableProgress {
        TableProgress {
            seq_txn: AtomicU64::new(flushed_txn.0),
            applied_txn: AtomicU64::new(flushed_txn.0),
            flushed_txn: AtomicU64::new(flushed_txn.0),
            committed_rows: AtomicU64::new(0),
            applied_rows: AtomicU64::new(0),
            skipped_txns: AtomicU64::new(0),
            trouble: Mutex::new(None),
            moved: Notify::new(),
        }
    }

    /// The last committed transaction.
    pub fn seq_txn(&self) -> SeqTxn {
        SeqTxn(self.seq_txn.load(Ordering::Acquire))
    }

    /// The last transaction that queries see.
    pub fn applied_txn(&self) -> SeqTxn {
        SeqTxn(self.applied_txn.load(Ordering::Acquire))
    }

    /// The last transaction whose rows, and all before, are in synced parts.
    pub fn flushed_txn(&self) -> SeqTxn {
        SeqTxn(self.flushed_txn.load(Ordering::Acquire))
    }

    /// Rows that are committed and that queries do not see yet.
    pub fn unapplied_rows(&self) -> u64 {
        let applied = self.applied_rows.load(Ordering::Relaxed);
        self.committed_rows.load(Ordering::Relaxed).saturating_sub(applied)
    }

    /// Transactions since the start whose frames were never read, because a later one took all their rows away.
    pub fn skipped_txns(&self) -> u64 {
        self.skipped_txns.load(Ordering::Relaxed)
    }

    pub(super) fn skipped(&self, txns: u64) {
        self.skipped_txns.fetch_add(txns, Ordering::Relaxed);
    }

    /// What keeps the table from moving on, if anything does.
    pub fn trouble(&self) -> Option<Trouble> {
        self.lock().as_ref().map(|(_, trouble)| trouble.clone())
    }

    /// True while the table stands still for a reason of its own: suspended, or in trouble with one of its files.
    pub(super) fn is_standing_still(&self) -> bool {
        self.lock().as_ref().is_some_and(|(_, trouble)| trouble.is_standstill())
    }

    /// True when the table waits for somebody to resume it.
    pub fn is_suspended(&self) -> bool {
        self.lock().as_ref().is_some_and(|(_, t)| !t.is_transient())
    }

    /// Returns once queries see `txn`.
    ///
    /// # Errors
    /// The table is suspended, or waits for a file of its own to be readable or writable again, which may take long.
    pub async fn wait_applied(&self, txn: SeqTxn) -> Result<(), Trouble> {
        self.wait(&self.applied_txn, txn, Trouble::is_standstill).await
    }

    /// Returns once `txn` and all before it are in synced parts. A table that is dropped meanwhile has nothing left to flush,
    /// so this returns then, too.
    ///
    /// # Errors
    /// The table is suspended.
    pub async fn wait_flushed(&self, txn: SeqTxn) -> Result<(), Trouble> {
        self.wait(&self.flushed_txn, txn, |trouble| !trouble.is_transient()).await
    }

    async fn wait(
        &self,
        mark: &AtomicU64,
        txn: SeqTxn,
        ends: impl Fn(&Trouble) -> bool,
    ) -> Result<(), Trouble> {
        loop {
            let moved = self.moved.notified();
            let mut moved = std::pin::pin!(moved);
            moved.as_mut().enable();
            if mark.load(Ordering::Acquire) >= txn.0 {
                return Ok(());
            }
            match self.trouble() {
                Some(trouble) if ends(&trouble) => return Err(trouble),
                _ => moved.await,
            }
        }
    }

    pub(super) fn committed(&self, txn: SeqTxn, rows: u64) {
        self.committed_rows.fetch_add(rows, Ordering::Relaxed);
        let before = self.seq_txn.swap(txn.0, Ordering::Release);
        assert!(before < txn.0, "seq_txn goes from {before} to {txn}");
    }

    pub(super) fn applied(&self, txn: SeqTxn, rows: u64) {
        self.applied_rows.fetch_add(rows, Ordering::Relaxed);
        let before = self.applied_txn.swap(txn.0, Ordering::Release);
        assert!(before <= txn.0, "applied_txn goes from {before} to {txn}");
        self.moved.notify_waiters();
    }

    pub(super) fn flushed(&self, txn: SeqTxn) {
        // A flush and the transaction behind it that takes rows away may both be about to say how far they came.
        self.flushed_txn.fetch_max(txn.0, Ordering::Release);
        self.moved.notify_waiters();
    }

    /// Says what is wrong. A suspension stays when something transient comes after it. True when it is news.
    pub(super) fn fail(&self, stage: Stage, trouble: Trouble) -> bool {
        let mut held = self.lock();
        if held.as_ref().is_some_and(|(_, t)| !t.is_transient() || *t == trouble) {
            return false;
        }
        *held = Some((stage, trouble));
        drop(held);
        self.moved.notify_waiters();
        true
    }

    /// Forgets transient trouble of a stage: its work has succeeded.
    pub(super) fn recovered(&self, stage: Stage) {
        let mut held = self.lock();
        if held.as_ref().is_some_and(|(whose, t)| *whose == stage && t.is_transient()) {
            *held = None;
        }
    }

    /// Forgets any trouble but our own mistakes, after which the table's state is in doubt.
    pub(super) fn resume(&self) {
        let mut held = self.lock();
        if held.as_ref().is_some_and(|(_, t)| !t.is_in_doubt()) {
            *held = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Stage, Trouble)>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
