//! Putting frames back that the log carried and their segment lost.

use super::error::WalError;
use super::format::{
    HEADER_LEN, HeaderFault, Identity, VERSION, check_header, put_header, writer_dir,
};
use crate::io::{File, Fs};
use bytes::Bytes;
use std::path::Path;

/// Writes carried frames to where they were, so that readers need segments only, and makes them durable. A file that is
/// missing is created, and one that was cut short is lengthened. Doing it again changes nothing.
///
/// Each of `carried` is an offset and the bytes of consecutive frames there.
///
/// # Errors
/// [`WalError::Io`], and [`WalError::Misplaced`] or [`WalError::FutureVersion`] when another segment is in the place:
/// that one is left alone. A damaged header is written anew.
pub fn restore(
    fs: &Fs,
    wal_dir: &Path,
    identity: &Identity,
    epoch: u64,
    carried: &[(u64, Bytes)],
) -> Result<(), WalError> {
    let dir = writer_dir(wal_dir, identity.writer);
    fs.create_dir_all(&dir)?;
    let path = identity.path(wal_dir);
    let file = if fs.exists(&path)? { fs.open(&path)? } else { fs.create(&path)? };
    match header_of(&file, identity)? {
        // Row S5. Written again even where it is good: after a failed sync only the kernel may have it.
        Ok(epoch) => write_header(&file, identity, epoch)?,
        // Row S9.
        Err(HeaderFault::Damaged(_)) => write_header(&file, identity, epoch)?,
        // Row S13.
        Err(HeaderFault::Misplaced) => return Err(WalError::Misplaced { path }),
        Err(HeaderFault::FutureVersion(found)) => {
            return Err(WalError::FutureVersion { path, found, newest: VERSION });
        }
    }
    for (offset, frames) in carried {
        file.write_all_at(frames, *offset)?;
    }
    file.sync_data()?;
    fs.sync_dir(&dir)?;
    Ok(())
}

fn write_header(file: &File, identity: &Identity, epoch: u64) -> Result<(), WalError> {
    let mut header = Vec::with_capacity(HEADER_LEN);
    put_header(&mut header, identity, epoch);
    Ok(file.write_all_at(&header, 0)?)
}

fn header_of(file: &File, identity: &Identity) -> Result<Result<u64, HeaderFault>, WalError> {
    let mut header = [0; HEADER_LEN];
    if file.len()? >= HEADER_LEN as u64 {
        file.read_exact_at(&mut header, 0)?;
    }
    Ok(check_header(&header, identity))
}
