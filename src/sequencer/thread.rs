//! The sequencer as others hold it: its thread, the way in, the way to stop it.

use super::commit::Committer;
use super::inbox::{Consumer, Inbox, Order, TurnEnd};
use super::log::Log;
use super::purge::Closed;
use super::sync::{Builder, JoinHandle, Mutex};
use super::{Committed, LogError, LogState, Receipt};
use crate::clock::Clock;
use crate::io::{EndOnPanic, Fs};
use crate::planted::{Bug, is_planted};
use crate::types::{SegmentId, SeqTxn, TableId, WriterId};
use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// What an acknowledgement promises.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Durability {
    /// The rows are on the device: they survive a power cut. Published rows are on the device too.
    #[default]
    Sync = 0,
    /// The rows are on the device. They are published, and may be read, up to an interval before that.
    Async = 1,
    /// The kernel has the rows: they survive a kill, not a power cut.
    NoSync = 2,
}

/// How the sequencer works.
#[derive(Clone, Debug)]
pub struct SequencerConfig {
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Under `async`, the longest time from a commit to its sync.
    pub async_interval: Duration,
    /// Bytes after which a chunk of the log is ended. A chunk may exceed it by one record.
    pub chunk_bytes: u64,
    /// Whether rows wait for reports. Without a reporter everything counts as reported.
    pub reports: bool,
}

/// Called on the sequencer's thread with the transactions of every group commit, in order, before their watermarks rise.
/// Commits wait for it, so it must be quick and must not block.
pub type OnCommit = Box<dyn FnMut(&[Committed]) + Send>;

/// The running sequencer. Dropping it without [`Sequencer::shutdown`] ends it at once and without a seal, as a kill would.
pub struct Sequencer {
    shared: Arc<Shared>,
    closed: Arc<Closed>,
    thread: Mutex<Option<JoinHandle<Result<(), LogError>>>>,
}

/// What the sequencer's thread does, turn by turn.
pub struct SequencerTurns {
    committer: Committer,
    waiting: VecDeque<Arrived>,
}

/// A receipt and when it came in.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) receipt: Receipt,
    /// Monotonic.
    pub(super) at: Duration,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    inbox: Inbox<Arrived>,
}

impl Default for SequencerConfig {
    fn default() -> SequencerConfig {
        SequencerConfig {
            durability: Durability::Sync,
            async_interval: Duration::from_millis(200),
            chunk_bytes: 64 << 20,
            reports: true,
        }
    }
}

impl Durability {
    /// The word used in configuration, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Sync => "sync",
            Durability::Async => "async",
            Durability::NoSync => "nosync",
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Durability> {
        [Durability::Sync, Durability::Async, Durability::NoSync]
            .into_iter()
            .find(|durability| *durability as u8 == byte)
    }
}

impl Sequencer {
    /// Opens a new chunk of the log in `dir` after `recovered` and starts the thread.
    ///
    /// # Errors
    /// The chunk cannot be created, or the thread cannot be started. Nothing is running then.
    pub fn start(
        config: SequencerConfig,
        fs: Fs,
        dir: &Path,
        clock: Clock,
        recovered: LogState,
        on_commit: OnCommit,
    ) -> Result<Sequencer, LogError> {
        let (sequencer, turns) = Sequencer::open(config, fs, dir, clock, recovered, on_commit)?;
        sequencer.spawn(turns)?;
        Ok(sequencer)
    }

    /// Opens a new chunk of the log in `dir` after `recovered`. Nothing is committed before [`Sequencer::spawn`] starts the thread, or
    /// somebody takes the turns.
    ///
    /// # Errors
    /// The chunk cannot be created.
    pub fn open(
        config: SequencerConfig,
        fs: Fs,
        dir: &Path,
        clock: Clock,
        mut recovered: LogState,
        on_commit: OnCommit,
    ) -> Result<(Sequencer, SequencerTurns), LogError> {
        recovered.forget_dropped();
        if is_planted(Bug::SeqTxnReused) {
            recovered.tables.values_mut().for_each(|table| table.seq_txn.0 -= 1);
        }
        recovered.set_reports(config.reports);
        let log = Log::create(&fs, dir, &config, &mut recovered, clock.wall_nanos())?;
        let closed = log.closed();
        let shared = Arc::new(Shared { clock, inbox: Inbox::new() });
        let committer = Committer::new(config, fs, shared.clone(), log, recovered, on_commit);
        let turns = SequencerTurns { committer, waiting: VecDeque::new() };
        Ok((Sequencer { shared, closed, thread: Mutex::new(None) }, turns))
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn spawn(&self, mut turns: SequencerTurns) -> Result<(), LogError> {
        let shared = self.shared.clone();
        let is_simulated = turns.committer.is_simulated();
        let thread = Builder::new()
            .name("sequencer".to_owned())
            .spawn(move || {
                // Connections would go on to read what nobody commits.
                let _ends = EndOnPanic::unless(is_simulated);
                shared.inbox.serve(&mut turns.committer, &mut turns.waiting)
            })
            .map_err(|source| LogError::Thread { source })?;
        self.shared.inbox.attend(thread.thread());
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Hands a receipt in. Never blocks. Its outcome is told through its [`super::Progress`]; after
    /// [`Sequencer::shutdown`] it has none.
    pub fn push(&self, receipt: Receipt) {
        let at = self.shared.clock.monotonic();
        self.shared.inbox.push(Arrived { receipt, at });
    }

    /// Removes the oldest chunks of the log that nobody needs any more, and returns how many.
    ///
    /// `flushed` says up to which transaction a table's rows are in synced parts (the highest number there is for a table that is
    /// gone for good). `settled` says whether a segment is synced up to a byte, or gone.
    ///
    /// # Errors
    /// A chunk could not be removed; it is tried again the next time.
    pub fn purge(
        &self,
        flushed: impl FnMut(TableId) -> SeqTxn,
        settled: impl FnMut(WriterId, SegmentId, u64) -> bool,
    ) -> Result<usize, LogError> {
        self.closed.purge(flushed, settled)
    }

    /// Commits everything that was pushed before, makes it durable in every mode, seals the log and ends the thread. A
    /// second call does nothing.
    ///
    /// # Errors
    /// The log cannot be written: what was not committed has not been acknowledged, and the log has no seal.
    pub fn shutdown(&self) -> Result<(), LogError> {
        self.end(Order::Finish)
    }

    fn end(&self, order: Order) -> Result<(), LogError> {
        self.shared.inbox.give(order);
        match self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => Ok(()),
        }
    }
}

impl Drop for Sequencer {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Err(error) = self.end(Order::Abandon)
        {
            tracing::warn!(%error, "the sequencer was dropped with work it could not log");
        }
    }
}

impl fmt::Debug for Sequencer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequencer").field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl Shared {
    /// True once nothing more will come in.
    pub(super) fn is_ending(&self) -> bool {
        self.inbox.order() != Order::Run
    }
}

impl SequencerTurns {
    /// Commits what has been pushed, as much as goes into one record, and syncs what is due.
    ///
    /// # Errors
    /// The log cannot be written and the sequencer has been told to end: nothing more will be committed.
    pub fn turn(&mut self) -> Result<TurnEnd, LogError> {
        let shared = self.committer.shared();
        shared.inbox.turn(&mut self.committer, &mut self.waiting)
    }
}

impl fmt::Debug for SequencerTurns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SequencerTurns")
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl Consumer<Arrived> for Committer {
    type Error = LogError;

    fn expects(&self) -> Option<(usize, Duration)> {
        self.expected_company()
    }

    fn now(&self) -> Duration {
        self.monotonic()
    }

    fn turn(&mut self, waiting: &mut VecDeque<Arrived>) -> Result<(), LogError> {
        self.commit_batch(waiting)
    }

    fn idle(&mut self) -> Result<Option<Duration>, LogError> {
        self.sync_when_due()
    }

    fn finish(&mut self) -> Result<(), LogError> {
        self.end()
    }
}
