//! Any file of a data directory, printed.

use super::identity::Identity;
use crate::io::{Fs, IoError};
use crate::types::Dump;
use crate::{sequencer, storage, wal};
use std::path::Path;

/// Prints a file, also a damaged one. What it is, its first bytes say, or else its name.
///
/// # Errors
/// It cannot be read.
pub fn inspect(fs: &Fs, path: &Path) -> Result<Dump, IoError> {
    let bytes = fs.read(path)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_below = |folder: &str| path.parent().is_some_and(|p| p.ends_with(folder));
    Ok(match bytes.first_chunk::<8>() {
        Some(b"HWSEGMNT") => wal::inspect(&bytes, path, server_of(fs, path)),
        Some(b"HWTXNLOG" | b"HWTSHELF") => sequencer::inspect(&bytes, path),
        Some(b"HWCATLOG") => storage::inspect_catalog(&bytes, path),
        Some(b"HWIDENT\0") => Identity::inspect(&bytes),
        Some([b'P', b'A', b'R', b'1', ..]) => storage::inspect_part(fs, path),
        _ if name == "identity" => Identity::inspect(&bytes),
        _ if name.ends_with(".wal") => wal::inspect(&bytes, path, server_of(fs, path)),
        _ if name.ends_with(".parquet") => storage::inspect_part(fs, path),
        _ if name.ends_with(".shelf") => sequencer::inspect(&bytes, path),
        _ if name.ends_with(".log") && is_below("txnlog") => sequencer::inspect(&bytes, path),
        _ if name.ends_with(".log") && is_below("catalog") => {
            storage::inspect_catalog(&bytes, path)
        }
        _ => {
            let mut dump = Dump::default();
            dump.damaged(
                0,
                bytes.len() as u64,
                "none of our files, by its first bytes or its name",
            );
            dump
        }
    })
}

/// The server whose data directory the segment lies in.
fn server_of(fs: &Fs, path: &Path) -> Option<[u8; 16]> {
    let dir = path.parent()?.parent()?.parent()?;
    Identity::read(fs, dir).ok()?.map(|identity| identity.uuid)
}
