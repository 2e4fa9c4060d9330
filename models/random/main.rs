//! The whole sequencer, its watermarks and the purge under shuttle: random interleavings, over real files in memory.
//!
//! `cargo run --release --bin random [SCHEDULES]`. A failing schedule is printed by shuttle and can be replayed with it.

#![allow(dead_code, unused_imports, reason = "the server uses the rest")]

#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/io/mod.rs"]
mod io;
#[path = "../../src/planted.rs"]
mod planted;
#[path = "../../src/schema/mod.rs"]
mod schema;
#[path = "../../src/types/mod.rs"]
mod types;

#[path = "../../src/metrics"]
mod metrics {
    mod families;
    pub use families::*;
}

#[path = "../../src/sequencer"]
mod sequencer {
    mod sync {
        pub(super) use atomic_waker::AtomicWaker;
        pub(super) use shuttle::sync::atomic::{
            AtomicIsize, AtomicPtr, AtomicU8, AtomicU64, Ordering,
        };
        pub(super) use shuttle::sync::{Mutex, MutexGuard};
        pub(super) use shuttle::thread::{
            Builder, JoinHandle, Thread, current, park, park_timeout,
        };
    }
    mod commit;
    mod error;
    mod format;
    mod inbox;
    mod intake;
    mod log;
    mod progress;
    mod purge;
    mod receipt;
    mod record;
    mod recovery;
    mod segments;
    mod shelf;
    mod state;
    mod thread;

    pub(crate) use error::LogError;
    pub(crate) use progress::Progress;
    pub(crate) use receipt::{Change, Committed, Frame, FrameRef, Receipt, Reported, TxnKind};
    pub(crate) use recovery::{CarriedFrames, Cut, Recovered, recover};
    pub(crate) use state::{LogState, Sum, TableState};
    pub(crate) use inbox::TurnEnd;
    pub(crate) use thread::{Durability, OnCommit, Sequencer, SequencerConfig, SequencerTurns};
}

mod engine {
    #[path = "../../../src/engine/fence.rs"]
    mod fence;

    mod model;
    pub(super) use model::purge_never_outruns_a_commit;
}

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

fn main() {
    let schedules: usize =
        std::env::args().nth(1).map_or(1000, |n| n.parse().expect("a number of schedules"));
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    Runner::new(RandomScheduler::new(schedules), config.clone())
        .run(engine::purge_never_outruns_a_commit);
    println!("ok {schedules} random schedules");
    Runner::new(PctScheduler::new(5, schedules), config).run(engine::purge_never_outruns_a_commit);
    println!("ok {schedules} schedules with few switches in unlikely places");
}
