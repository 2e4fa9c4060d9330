//! Intake, inbox and watermarks under loom: every interleaving of a few threads, and every value that a load may return.
//!
//! `cargo run --release --bin exhaustive [NAME ...]`. The files are those of the server, over stand-ins for atomics, threads and
//! notifications. What threads hand over is a [`Told`], whose reading fails where the writing did not happen before it.

#[allow(dead_code, unused_imports, reason = "the server uses the rest")]
#[path = "../../src/types/mod.rs"]
mod types;

mod notify;
mod waker;

/// As much of metrics as the gate sets.
mod metrics {
    pub(crate) struct Gauge;

    impl Gauge {
        pub(crate) fn set(&self, _: f64) {}
    }

    pub(crate) const TAIL_BUDGET_BYTES: Gauge = Gauge;
}

#[allow(dead_code, reason = "the server uses the rest")]
mod sequencer {
    mod sync {
        pub(super) use crate::waker::AtomicWaker;
        pub(super) use loom::sync::atomic::{AtomicIsize, AtomicPtr, AtomicU8, AtomicU64, Ordering};
        pub(super) use loom::thread::{Thread, current, park};

        /// The time is up at once; a wake that comes later stays for the next park. To yield would let the others go first every time.
        pub(super) fn park_timeout(_: std::time::Duration) {}
    }
    #[path = "../../../src/sequencer/inbox.rs"]
    mod inbox;
    #[path = "../../../src/sequencer/intake.rs"]
    mod intake;
    #[path = "../../../src/sequencer/progress.rs"]
    mod progress;

    pub(super) mod models;
}

#[allow(dead_code, reason = "the server uses the rest")]
mod apply {
    mod sync {
        pub(super) use crate::notify::Notify;
        pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
        pub(super) use loom::sync::{Mutex, MutexGuard};
    }
    #[path = "../../../src/apply/gate.rs"]
    mod gate;
    #[path = "../../../src/apply/progress.rs"]
    mod progress;

    /// As much of trouble as the watermarks look at.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Trouble {
        pub(super) tag: ErrorTag,
    }

    impl Trouble {
        fn is_transient(&self) -> bool {
            self.tag.is_transient()
        }

        fn is_in_doubt(&self) -> bool {
            false
        }
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) enum ErrorTag {
        CorruptWal,
        Internal,
    }

    impl ErrorTag {
        pub(super) fn is_transient(self) -> bool {
            false
        }
    }

    pub(super) mod models;
}

/// Something that one thread writes and another reads after it was told that it may.
struct Told(loom::cell::UnsafeCell<u64>);

// SAFETY: loom checks each access, which is what this type is for.
unsafe impl Sync for Told {}
// SAFETY: as above.
unsafe impl Send for Told {}

impl Told {
    fn new() -> Told {
        Told(loom::cell::UnsafeCell::new(0))
    }

    fn write(&self, value: u64) {
        // SAFETY: loom fails the model when another access is not ordered with this one.
        self.0.with_mut(|p| unsafe { *p = value });
    }

    fn read(&self) -> u64 {
        // SAFETY: as above.
        self.0.with(|p| unsafe { *p })
    }
}

fn main() {
    let models = sequencer::models::ALL.iter().chain(apply::models::ALL);
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (name, model) in
        models.filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        let mut builder = loom::model::Builder::new();
        // Three forced switches find what there is to be found, and keep the number of runs within seconds.
        builder.preemption_bound = Some(3);
        builder.check(model);
        println!("ok {name}");
    }
}
