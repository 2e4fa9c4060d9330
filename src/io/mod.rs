//! The only door to files.
//!
//! WAL, transaction log, catalog and parts reach the disk through [`Fs`] and [`File`] alone. They are enums over
//! their implementations, so that a call costs a branch and no virtual dispatch. Every operation
//! returns an [`IoError`] that names the operation and the path.
//!
//! Rules that callers rely on:
//! - [`File::sync_data`] makes the file's bytes and its length durable, never its name; a name is
//!   durable after [`Fs::sync_dir`] of its folder.
//! - A failed sync is never retried: what it covered is in doubt for ever. [`abort_on_failed_sync`] ends the process.
//! - Writes never go through a map. A store into a sparse map dies with SIGBUS on a full disk, an
//!   append returns ENOSPC. Maps are read-only.
//! - What this process has not just written is brought in with [`File::fetch`] before it is touched in a map: a page that the
//!   device cannot read is SIGBUS there.
//!
//! Each has a second implementation, [`sim`], for tests: a disk in memory that loses what was not synced.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is the door")]

mod error;
mod file;
mod fs;
mod lock;
mod map;

#[doc(hidden)]
pub mod sim;

pub use error::{
    EXIT_DIRECTORY_LOST, EXIT_PANICKED, EXIT_SYNC_FAILED, EndOnPanic, IoError, Operation,
    abort_on_failed_sync, abort_on_lost_directory, synced,
};
pub use file::File;
pub use fs::{DirEntry, Fs, Room};
pub use lock::DirLock;
pub use map::Map;

/// Result of a file operation.
pub type Result<T> = std::result::Result<T, IoError>;
