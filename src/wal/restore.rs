//! Taking frames out of a segment, and putting frames back that were carried elsewhere and that their segment lost.

use super::error::WalError;
use super::format::{
    FrameHeader, HEADER_LEN, HeaderFault, Identity, KIND_FRAME, PREFIX_LEN, VERSION, check_header,
    put_header, verifies, writer_dir,
};
use super::reader::Prefix;
use crate::io::{File, Fs, synced};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;

/// Copies frames of one segment, as they are: one that is damaged stays what it was, wherever it goes.
#[derive(Debug)]
pub struct FrameCopier {
    /// With its length: a frame that the log names was there before. `None` when the segment is not there.
    file: Option<(File, u64)>,
    identity: Identity,
    copied: BTreeMap<u64, Bytes>,
}

impl FrameCopier {
    /// Opens a segment, of which the file has everything. One that is not there has no frames.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(
        fs: &Fs,
        wal_dir: &Path,
        identity: Identity,
    ) -> Result<FrameCopier, WalError> {
        let file = match fs.open_read(&identity.path(wal_dir)) {
            Ok(file) => {
                let len = file.len()?;
                Some((file, len))
            }
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        Ok(FrameCopier { file, identity, copied: BTreeMap::new() })
    }

    /// Copies the frame that the log names and, where they are whole, those before it that define its series.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub fn copy(&mut self, offset: u64, len: u32) -> Result<(), WalError> {
        if self.copied.contains_key(&offset) {
            return Ok(());
        }
        let mut next = self.read(offset, len)?.map(|bytes| (offset, bytes));
        while let Some((offset, bytes)) = next.take() {
            let chain = FrameHeader::take(&bytes).map_or(0, |header| header.chain);
            self.copied.insert(offset, bytes);
            if chain != 0 && chain < offset && !self.copied.contains_key(&chain) {
                next = self.whole_frame(chain)?.map(|bytes| (chain, bytes));
            }
        }
        Ok(())
    }

    /// Everything that was copied, by offset.
    pub fn finish(self) -> Vec<(u64, Bytes)> {
        self.copied.into_iter().collect()
    }

    /// The frame at an offset that a frame names, if a whole one is there.
    fn whole_frame(&self, offset: u64) -> Result<Option<Bytes>, WalError> {
        let prefix = self.read(offset, PREFIX_LEN as u32)?;
        let Some(prefix) = prefix.and_then(|bytes| Prefix::of(&bytes)) else { return Ok(None) };
        let frame = self.read(offset, prefix.len)?;
        Ok(frame.filter(|frame| is_frame(&self.identity, offset, frame)))
    }

    /// So many bytes; `None` when the segment does not have them.
    fn read(&self, offset: u64, len: u32) -> Result<Option<Bytes>, WalError> {
        let Some((file, file_len)) = &self.file else { return Ok(None) };
        if offset.checked_add(u64::from(len)).is_none_or(|end| end > *file_len) {
            return Ok(None);
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(Some(bytes.into()))
    }
}

/// True when the bytes are a whole frame that belongs at this offset of the segment.
pub fn is_frame(identity: &Identity, offset: u64, bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(&KIND_FRAME)
        && verifies(bytes, identity.seed(), offset)
        && FrameHeader::take(bytes).is_some()
}

/// Writes carried frames to where they were, so that readers need segments only, and makes them durable. A file that is
/// missing is created, and one that was cut short is lengthened. Doing it again changes nothing.
///
/// Each of `carried` is an offset and the bytes of consecutive frames there. Ends the process when a sync fails.
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
    synced(fs.create_dir_all(&dir))?;
    let path = identity.path(wal_dir);
    let file = if fs.exists(&path)? { fs.open(&path)? } else { fs.create(&path)? };
    // Row S16: one that cannot be read may be another's, and is not written over.
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
    synced(file.sync_data())?;
    synced(fs.sync_dir(&dir))?;
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
