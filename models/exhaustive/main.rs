//! Intake, inbox, watermarks, gate, unwritten commits and versions under loom: every interleaving of a few threads, and every value that a load may return.
//!
//! `cargo run --release --bin exhaustive [NAME ...]`. The files are those of the server, over stand-ins for atomics, threads and
//! notifications. What threads hand over is a [`Told`], whose reading fails where the writing did not happen before it.

#[allow(dead_code, unused_imports, reason = "the server uses the rest")]
#[path = "../../src/types/mod.rs"]
mod types;

mod arc;
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

        fn is_standstill(&self) -> bool {
            !self.is_transient()
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

/// As much of files as a segment's end needs, for two bytes.
mod io {
    use crate::Told;

    pub(crate) type Result<T> = std::result::Result<T, ()>;

    pub(crate) struct File([Told; 2]);

    impl std::fmt::Debug for File {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("File")
        }
    }

    impl File {
        pub(crate) fn new() -> File {
            File([Told::new(), Told::new()])
        }

        pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
            for (told, byte) in self.0[offset as usize..].iter().zip(bytes) {
                told.write(u64::from(*byte));
            }
            Ok(())
        }

        pub(crate) fn byte(&self, offset: u64) -> u8 {
            self.0[offset as usize].read() as u8
        }
    }
}

mod wal {
    mod sync {
        pub(super) use crate::arc::{Arc, Weak};
        pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
        pub(super) use loom::sync::{Mutex, MutexGuard};
    }
    #[path = "../../../src/wal/unwritten.rs"]
    mod unwritten;

    pub(super) mod models;
}

mod schema {
    mod sync {
        pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
    }
    #[path = "../../../src/schema/version.rs"]
    mod version;

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
    let models = [sequencer::models::ALL, apply::models::ALL, wal::models::ALL, schema::models::ALL];
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (name, model) in
        models.into_iter().flatten().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        let mut builder = loom::model::Builder::new();
        // Three forced switches find what there is to be found, and keep the number of runs within seconds.
        builder.preemption_bound = Some(3);
        builder.check(model);
        println!("ok {name}");
    }
}
