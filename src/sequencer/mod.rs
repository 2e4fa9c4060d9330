//! Receipts in, dense transaction numbers out: one order for everything, and the log that remembers it.
//!
//! A WalWriter that has appended its frames pushes a [`Receipt`] and goes on reading its socket. One thread drains the
//! receipts, gives every change of a table the table's next `seq_txn`, appends **one** record for the whole batch to the
//! transaction log, makes it durable, and publishes.
//!
//! # A turn
//! 1. Drain what is there. What arrives meanwhile is the next batch: one sync serves as many commits as came in during the sync before, so
//!    batches grow with the load and vanish without it. Under `sync` and load, wait for most of those who are about to commit again.
//! 2. Under [`Durability::Sync`], sync the segments of the receipts that carry no bytes, several at once. A receipt that
//!    carries its frames needs no sync of its segment: the bytes go into the record.
//! 3. Number: definitions first (a creation is 1; the new columns of one receipt are one transaction), then frames, then
//!    the change. The first definition of a table or column is logged, later ones are ignored. A frame for a table whose drop
//!    has been numbered gets no number: it is acknowledged and counted.
//! 4. Append the record; under `sync`, sync the log.
//! 5. Call `on_commit` with what was committed, then raise the [`Progress`] of every receipt. Whoever sees a watermark can rely on
//!    `on_commit` having run for it.
//!
//! # Durability
//! | | `committed` rises when | survives |
//! |---|---|---|
//! | `sync` | record and frames are on the device | a power cut |
//! | `async` | the next interval's sync of segments, then log, is done | a power cut |
//! | `nosync` | the record is written | a kill |
//!
//! # Failures
//! - A failed sync ends the process (`io::abort_on_failed_sync`): nothing in doubt is ever acknowledged.
//! - A failed append (disk full, read-only) is cut back and tried again with growing pauses for as long as it takes. Nothing is
//!   acknowledged meanwhile, and nothing is lost.
//! - A damaged log refuses the start and names the byte range, except for a torn end of an unsealed log, which is cut. The
//!   decision table is in `docs/formats/txn-log.md`; [`recover`] is the code of it.
//!
//! # Shelves
//! What waits for a suspended table can be copied out of log and segments into files of its own ([`shelve`]), so that it keeps
//! neither. A start reads them before the log; the engine decides when they are written and when they go.
//!
//! # Order and memory
//! Receipts of one producer keep their order; receipts of several are numbered in the order of their arrival. `seq_txn` of a
//! table is dense from 1, also across restarts. Memory is one entry per table plus the receipts in hand.
//!
//! Not here: what is inside a frame (`wal`), who applies it (`apply`), which segments can go (`engine`).

mod receipt;

mod inbox;
mod intake;
mod progress;
mod sync;

mod commit;
mod segments;
mod thread;

mod format;
mod log;
mod purge;
mod record;
mod state;

mod error;
mod history;
mod inspect;
mod recovery;
mod repair;
mod shelf;

pub use error::LogError;
pub use history::{logged, transactions};
pub use inbox::TurnEnd;
pub use inspect::inspect;
pub use progress::Progress;
pub use receipt::{Change, Committed, Frame, FrameRef, Receipt, Reported, TxnKind};
pub use recovery::{CarriedFrames, Cut, Recovered, done_at, recover, survey, survey_unflushed};
pub use repair::{begin, beyond, chunks_from, cut, newest_header, place_of};
pub use shelf::{Shelf, ShelfFile, read_shelf, remove_shelf, shelf_files, shelve};
pub use state::{LogState, Sum, TableState};
pub use thread::{Durability, OnCommit, Sequencer, SequencerConfig, SequencerTurns};

#[cfg(test)]
mod tests;
