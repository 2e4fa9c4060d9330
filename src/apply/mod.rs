//! Committed transactions become visible, and then durable in parts.
//!
//! ```text
//!  sequencer ──Txn──▶ queue of its table ──turn──▶ frames decoded into runs ──▶ next tail ──store──▶ snapshot (applied_txn)
//!                                                                                │ size, age, memory, FLUSH
//!                                                                                ▼
//!  catalog ◀──one edit: parts, flushed_txn── one sorted part a partition ◀── frozen tail ──store──▶ snapshot (flushed_txn)
//!     ▲
//!     └──{remove, add}── compaction: neighbouring parts of one partition become one
//! ```
//!
//! **Turns.** Every table has a queue of its own. A worker takes a table for a turn of at most `turn_ms`, applies its next
//! transactions in order, and puts it back at the end of the line; no table has two workers. Consecutive transactions with
//! rows are read together, small ones joined, and published in one store, so that a commit of one row costs a fraction of a run.
//! The worker that has the table numbers their series, in order; checksums, columns and sorting go by groups, of which workers that
//! have nothing to do take some.
//!
//! **Flush.** The worker that has the table takes its tail away at one `seq_txn`: the tail is *frozen*, readers go on to see
//! it, and the next one is open. Any worker writes a partition of it as a part, and a large partition is cut by transactions into a part for
//! each worker, so that all cores serve one hot table. Several small parts share one sync of the file system. Frozen tails of a table are committed in order,
//! whichever is written first; many tables share a commit of the catalog. After the commit one store puts the parts in the
//! tail's place: a reader sees the one or the other, never both or neither. The table's creation and new columns enter the
//! catalog with the flush that covers them.
//!
//! **Memory.** One budget holds for the tails of all tables. Past three quarters of it the largest tails are flushed, and one table at a time
//! is applied while the other workers flush; past all of it the [`Gate`] closes, so that connections wait, and apply itself waits for the
//! flushes under way. What is committed and not applied is bounded, too. Frozen tails of stuck tables, below, may take half of the budget
//! beside it; what they take beyond that the others have less, so that all tails together take no more than one and a half times the budget,
//! and a turn's rows for each table that gets stuck after that. No others wait for their flushes.
//!
//! **Compaction.** Neighbours in order of transactions, of one partition and about one size, are merged, by threads of low
//! priority of its own, which pause between batches while a worker has anything to do. A partition that has ended and gets no rows any more becomes
//! one sorted part. What it reads stays until no snapshot holds it; when its inputs are gone before it commits, the
//! catalog refuses the exchange and nothing has happened.
//!
//! **Taking rows away.** A truncation, a replaced range, an expiry, a drop is a transaction like any other; it waits until all before
//! it is flushed or gone, and is one commit of the catalog that raises `flushed_txn` to itself. Transactions that wait before it
//! and whose rows it takes away altogether are passed over, unread, and become visible with it.
//!
//! **Changes of definition** are one store: rows of before stay where they are under the ids they were written with, and readers,
//! flush and compaction take them for what they are today. A value of a dropped column in a late frame is left out, one of a
//! retyped column is converted.
//!
//! **Trouble.** What may pass by itself (a full disk, too many open files) is tried again after a pause that doubles up to a minute, with
//! nothing lost. Where it is a table's own (an error of one of its files, `IO ERROR`, and not one of disk, file system, descriptors, memory or catalog, which
//! are everybody's), the table is *stuck* until that work succeeds, and all other tables go on. What is visible of it is frozen, and flushed where
//! that can be. While its flush is what fails, it gets no more rows: what is committed waits in the WAL. When all tables are stuck, none gets
//! more, so that memory is bounded as ever; connections go on to commit, up to `suspended_bytes`. What will not pass (a damaged frame) suspends
//! its table at the transaction before; all other tables go on. What is visible of a suspended table is flushed, so that it holds no memory.
//! What a stuck or suspended table still gets is counted apart, so that it does not close the gate; past `suspended_bytes` of all such tables,
//! whoever sends to one of them waits. Somebody resumes a suspended one, if need be behind the transactions whose rows cannot be read: those
//! are skipped for good, their definitions are not.
//!
//! Invariants, for every table: `flushed_txn <= frozen <= applied_txn <= seq_txn`. A snapshot at n has the rows of 1..=n once.
//! Progress needs no notification: a tick finds every table with work. Applying begins from `flushed_txn` at every start
//! and passes over what is flushed, so that replaying is idempotent. A segment is needed until all its committed transactions
//! are flushed.
//!
//! Not here: the order of transactions (sequencer), the bytes of frames (wal), of parts and the catalog (storage), when partitions
//! expire and segments are deleted (engine).

mod config;
mod progress;
mod retry;
mod sync;
mod trouble;
mod txn;

mod table;
mod turn;

mod merge;
mod overwrite;
mod segments;

mod flush;
mod publication;

mod compaction;
mod compaction_plan;

mod gate;
mod pool;
mod scheduler;
mod shared;
mod suspension;
mod written;

pub use config::{ApplyConfig, CompactionConfig};
pub use gate::Gate;
pub use pool::{ApplyPaths, ApplyPool, TableView};
pub use progress::TableProgress;
pub use suspension::WaitingApart;
pub use trouble::{ErrorTag, ResumeError, Trouble};
pub use txn::{Data, Txn, TxnKind};
