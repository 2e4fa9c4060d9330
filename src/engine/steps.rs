//! The engine without threads: whoever holds [`Steps`] decides what happens next.
//!
//! For simulations, where one seed must give one run.

use super::housekeeper::Housekeeper;
use super::open::Work;
use super::{CloseReport, Engine, EngineConfig, OpenError};
use crate::clock::Clock;
use crate::hooks::ReportRuns;
use crate::io::Fs;
use crate::sequencer::{SequencerTurns, TurnEnd};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Steps of a stop after which what is not flushed stays in the WAL.
const CLOSE_STEPS_MAX: usize = 10_000;

/// An engine whose threads are not running, and their work.
#[derive(Debug)]
pub struct Steps {
    engine: Arc<Engine>,
    sequencer: SequencerTurns,
    reporter: Option<ReportRuns>,
    housekeeper: Housekeeper,
}

/// Who does the next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    /// Commits what has been pushed.
    Sequencer,
    /// Applies or flushes.
    Worker,
    /// Merges parts.
    Compaction,
    /// Finds what is old, tries again what failed.
    Ticker,
    /// Reports what was committed.
    Reporter,
    /// Purges and expires.
    Housekeeper,
}

impl Steps {
    /// Opens a data directory as [`Engine::open`] does, and starts nothing.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open(config: EngineConfig, fs: Fs, clock: Clock) -> Result<Steps, OpenError> {
        let (engine, work) = Engine::open_idle(config, fs, clock)?;
        let Work { sequencer, reporter, housekeeper } = work;
        Ok(Steps { engine, sequencer, reporter, housekeeper })
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Does one step. False when there was nothing to do.
    pub fn step(&mut self, actor: Actor) -> bool {
        let apply = &self.engine.shared.apply;
        match actor {
            Actor::Sequencer => self.sequence(),
            Actor::Worker => apply.step(),
            Actor::Compaction => apply.step_compaction(),
            Actor::Ticker => {
                apply.tick();
                true
            }
            Actor::Reporter => {
                let due = self.reporter.as_mut().filter(|reporter| reporter.is_settled());
                due.map(ReportRuns::report).is_some()
            }
            Actor::Housekeeper => {
                self.housekeeper.round();
                true
            }
        }
    }

    fn sequence(&mut self) -> bool {
        match self.sequencer.turn() {
            Ok(end) => end == TurnEnd::Worked,
            Err(error) => {
                tracing::error!(%error, "the log cannot be written");
                false
            }
        }
    }

    /// Stops as [`Engine::close`] does. Sessions must be gone.
    pub fn close(mut self) -> CloseReport {
        while self.sequence() {}
        if self.reporter.as_ref().is_some_and(ReportRuns::is_settled) {
            self.step(Actor::Reporter);
        }
        let shared = self.engine.shared.clone();
        let sealed = shared.sequencer.shutdown().and_then(|()| {
            while self.sequencer.turn()? != TurnEnd::Ended {}
            Ok(())
        });
        let flushed = self.flush();
        shared.apply.stop();
        if flushed && sealed.is_ok() {
            self.housekeeper.last_round();
        }
        if let Err(error) = self.engine.catalog.seal() {
            tracing::warn!(%error, "the catalog ends without a seal");
        }
        CloseReport { flushed }
    }

    /// Flushes all that is committed; false when something is in the way.
    pub fn flush(&mut self) -> bool {
        let shared = self.engine.shared.clone();
        let mut flushed = pin!(shared.apply.flush_all());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..CLOSE_STEPS_MAX {
            if let Poll::Ready(flushed) = flushed.as_mut().poll(&mut context) {
                return flushed.is_ok();
            }
            if !self.step(Actor::Worker) && !self.step(Actor::Compaction) {
                self.step(Actor::Ticker);
            }
        }
        false
    }
}
