//! The write-ahead log: rows of one connection, column by column, in segment files that only grow.
//!
//! ```text
//! session ──rows──▶ Batch (one a table) ──append──▶ frames of one commit ──one write──▶ wal/<writer>/<segment>.wal
//!                                                                                       │
//! apply ◀──Arrow arrays── decode ◀── frame(offset, len), checksum ◀── memory map ◀──────┘
//! ```
//!
//! A **[`WalWriter`]** belongs to one connection at a time and appends to one **segment**. A **frame** holds the rows of one
//! table of one commit, and the definitions of the **series** (distinct tag sets) that this table has not yet had in
//! this segment; rows then name a series by its number. A frame needs only earlier frames of its own table and segment, and each
//! points to the frame before it that has definitions, so that any frame can be read first. The bytes are described in
//! `docs/formats/segment.md`.
//!
//! Promises:
//! - [`WalWriter::append`] takes all frames of a commit or leaves the segment as it was: after an error the file is cut back to
//!   its last good byte, the batches are untouched, and the same call may be tried again.
//! - A commit that the log will carry may stay in memory, to be written with those behind it. Whoever shares the [`Ledger`] reads it there;
//!   before anything relies on the file, it is written: see [`WriterPool::write_out`].
//! - Nothing here syncs on the way in. The caller gets the file and the length that must be durable; frames of a
//!   small commit also come back as bytes, so that a log can carry them.
//! - A frame verifies only in its own place: the checksum is seeded with server, writer, segment and offset.
//! - A segment is created by [`WalWriter::prepare`], which is called with the first bytes that a connection sends, or else by the append, and
//!   starts small. A closed one is never written to again, except by [`restore()`], which puts
//!   frames back that a log carried and the file lost.
//! - Reading never panics and never allocates more than a checksummed header admits, whatever the file holds.
//!
//! Invariants: `written <= end <= reserved` within a segment; series numbers of a table are dense from 0 in each segment, and definitions
//! reach the file in that order; commit ordinals of a writer are dense from 1.
//!
//! Not here: transaction numbers, syncs, the decision what may be purged, names of tables and columns.

mod config;
mod error;

// The way in.
mod batch;
mod encode;
mod format;
mod series;

mod ledger;
mod pool;
mod segment;
mod sync;
mod unwritten;
mod writer;

// The way out.
mod decode;
mod joined;
mod reader;

mod inspect;
mod purge;
mod restore;

#[cfg(test)]
mod tests;

pub use batch::{Batch, ColumnBuffer};
pub use config::WalConfig;
pub use decode::Rows;
pub use encode::{FrameMeta, Place, encode_frame};
pub use error::WalError;
pub use format::{FrameHeader, Identity, Seal, Seed, VERSION};
pub use inspect::inspect;
pub use joined::JoinedRows;
pub use ledger::{ClosedSegment, Ledger};
pub use pool::{Lease, WriterPool};
pub use purge::{SegmentFile, list_segments, list_writers, remove_segment, remove_writer};
pub use reader::{FrameView, Record, Records, SegmentReader};
pub use restore::{FrameCopier, is_frame, restore};
pub use series::{SeriesCursor, SeriesDefinitions};
pub use writer::{Appended, WalWriter};
