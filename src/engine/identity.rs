//! Who this data directory is: a UUID for ever, and an epoch that rises at every start.
//!
//! Both go into the header of every log, so that a file of another server or of an earlier life never passes for a current one.
//! The byte map is in `docs/formats/identity.md`.

use super::OpenError;
use crate::io::Fs;
use crate::types::wire::{Put, Take};
use crate::types::{Dump, SegmentId, WriterId};
use crate::wal;
use std::path::Path;

const MAGIC: &[u8; 8] = b"HWIDENT\0";
const VERSION: u16 = 1;

/// The identity of a data directory in this life of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    /// Made once, when the folder was first opened.
    pub(super) uuid: [u8; 16],
    /// Starts of the server on this folder, from 1.
    pub(super) epoch: u64,
}

impl Identity {
    /// Reads the identity of `dir`, raises its epoch and writes it back, durable on return. A folder without one gets one.
    pub(super) fn next(fs: &Fs, dir: &Path) -> Result<Identity, OpenError> {
        let new = || Identity { uuid: *uuid::Uuid::new_v4().as_bytes(), epoch: 0 };
        let old = Identity::read(fs, dir)?.unwrap_or_else(new);
        let next = Identity { epoch: old.epoch + 1, ..old };
        next.write(fs, dir)?;
        Ok(next)
    }

    /// Reads the identity of `dir`; `None` when it has none.
    pub(super) fn read(fs: &Fs, dir: &Path) -> Result<Option<Identity>, OpenError> {
        let path = dir.join("identity");
        match fs.read(&path) {
            Ok(bytes) => match Identity::decode(&bytes) {
                // Row I3.
                Ok(identity) => Ok(Some(identity)),
                Err(Fault::Damaged(what)) => Err(OpenError::Identity { path, what }),
                Err(Fault::Future(version)) => {
                    Err(OpenError::FutureIdentity { path, version, newest: VERSION })
                }
            },
            // Row I1; row I2 was looked for before.
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes it, durable on return.
    pub(super) fn write(&self, fs: &Fs, dir: &Path) -> Result<(), OpenError> {
        fs.replace(&dir.join("identity"), &self.encode())?;
        Ok(())
    }

    /// Prints the bytes of an identity file.
    pub(super) fn inspect(bytes: &[u8]) -> Dump {
        let mut dump = Dump::default();
        match Identity::decode(bytes) {
            Ok(Identity { uuid, epoch }) => {
                let uuid = uuid::Uuid::from_bytes(uuid);
                dump.line(format!("identity, version 1, server {uuid}, start {epoch}"));
            }
            Err(Fault::Damaged(what)) => dump.damaged(0, bytes.len() as u64, what),
            Err(Fault::Future(version)) => {
                dump.damaged(8, 10, format!("format version {version}, from a newer release"));
            }
        }
        dump
    }

    /// The identity of a segment of this server.
    pub(super) fn segment(&self, writer: WriterId, segment: SegmentId) -> wal::Identity {
        wal::Identity { uuid: self.uuid, writer, segment }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend_from_slice(MAGIC);
        bytes.put_u16(VERSION);
        bytes.put_u16(0);
        bytes.extend_from_slice(&self.uuid);
        bytes.put_u64(self.epoch);
        bytes.put_u32(crc32c::crc32c(&bytes));
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Identity, Fault> {
        let mut from = Take(bytes);
        if from.slice(8) != Some(MAGIC) {
            return Err(Fault::Damaged("it does not begin as an identity does"));
        }
        match from.u16() {
            Some(VERSION) => {}
            // Row I5, unless the checksum says that it was ours: then row I4.
            Some(version) if version > VERSION && !holds_as_ours(bytes) => {
                return Err(Fault::Future(version));
            }
            _ => return Err(Fault::Damaged("no version has this number")),
        }
        let mut take = || {
            from.u16()?;
            let uuid = *from.slice(16)?.first_chunk()?;
            let epoch = from.u64()?;
            let body = bytes.get(..bytes.len() - from.0.len())?;
            let is_whole = from.u32()? == crc32c::crc32c(body) && from.is_empty();
            is_whole.then_some(Identity { uuid, epoch })
        };
        // Row I4.
        take().ok_or(Fault::Damaged("its length or its checksum is wrong"))
    }
}

/// Why bytes are no identity. Whether it is the identity of these logs, row I6, they know: rows C5 and L5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Damaged(&'static str),
    /// Of this version.
    Future(u16),
}

/// Whether the checksum holds once our version is put in.
fn holds_as_ours(bytes: &[u8]) -> bool {
    let mut mended = bytes.to_vec();
    let Some(version) = mended.get_mut(8..10) else { return false };
    version.copy_from_slice(&VERSION.to_le_bytes());
    Identity::decode(&mended).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uuid_stays_and_the_epoch_rises_at_every_start() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::next(&Fs::real(), dir.path()).unwrap();
        let second = Identity::next(&Fs::real(), dir.path()).unwrap();
        assert_eq!((first.uuid, first.epoch, second.epoch), (second.uuid, 1, 2));
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let golden = include_bytes!("../../tests/fixtures/identity-v1");
        let uuid = std::array::from_fn(|at| at as u8);
        assert_eq!(Identity { uuid, epoch: 3 }.encode(), golden);
        assert_eq!(Identity::decode(golden), Ok(Identity { uuid, epoch: 3 }));
    }

    #[test]
    fn a_damaged_or_future_identity_is_refused() {
        let good = Identity { uuid: [7; 16], epoch: 3 }.encode();
        assert_eq!(Identity::decode(&good), Ok(Identity { uuid: [7; 16], epoch: 3 }));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Identity::decode(&bad).is_err(), "byte {at}");
            assert!(Identity::decode(&good[..at]).is_err(), "cut at {at}");
        }
        let mut future = good;
        future[8] = 2;
        assert!(matches!(Identity::decode(&future), Err(Fault::Damaged(_))), "the rest is ours");
        future[20] ^= 1;
        assert_eq!(Identity::decode(&future), Err(Fault::Future(2)));
    }
}
