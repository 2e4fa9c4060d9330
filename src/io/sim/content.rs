//! The bytes of one file, what the kernel shows and what the device holds.

use super::rng::Rng;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The unit that a device writes whole.
const SECTOR: usize = 512;

/// Bytes and a length; what is past the bytes is zero.
#[derive(Clone, Default, Debug)]
struct Image {
    bytes: Vec<u8>,
    len: u64,
}

/// A change that was not synced.
#[derive(Clone, Debug)]
enum Change {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// Room was reserved: the length grows to this.
    Grow(u64),
    SetLen(u64),
}

/// One file.
#[derive(Default, Debug)]
pub(super) struct Content {
    shown: Image,
    device: Image,
    /// What `shown` has and a sync would bring to `device`, in order.
    pending: Vec<Change>,
    /// The shown bytes in a file of the real kernel, once somebody has mapped them.
    mapped: Option<File>,
    /// Where the device fails to read.
    unreadable: Range<u64>,
}

/// How much of what was not synced a power cut leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Survival {
    Nothing,
    All,
    Some,
}

impl Survival {
    pub(super) fn pick(rng: &mut Rng) -> Survival {
        match rng.below(8) {
            0 | 1 => Survival::Nothing,
            2 => Survival::All,
            _ => Survival::Some,
        }
    }

    /// Whether one change survives.
    pub(super) fn keeps(self, rng: &mut Rng) -> bool {
        match self {
            Survival::Nothing => false,
            Survival::All => true,
            Survival::Some => rng.one_in(2),
        }
    }
}

impl Image {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let start = offset as usize;
        let end = start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
        self.len = self.len.max(end as u64);
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { offset, bytes } => self.write(*offset, bytes),
            Change::Grow(len) => self.len = self.len.max(*len),
            Change::SetLen(len) => {
                self.len = *len;
                self.bytes.truncate(*len as usize);
            }
        }
    }

    fn read(&self, out: &mut [u8], offset: u64) -> bool {
        let end = offset + out.len() as u64;
        if end > self.len {
            return false;
        }
        out.fill(0);
        let start = (offset as usize).min(self.bytes.len());
        let held = self.bytes.len().min(end as usize) - start;
        out[..held].copy_from_slice(&self.bytes[start..start + held]);
        true
    }
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.shown.len
    }

    /// Fails where the device does.
    pub(super) fn readable(&self, range: &Range<u64>) -> io::Result<()> {
        let (start, end) =
            (range.start.max(self.unreadable.start), range.end.min(self.unreadable.end));
        if start < end { Err(Errno::IO.into()) } else { Ok(()) }
    }

    pub(super) fn make_unreadable(&mut self, range: Range<u64>) {
        self.unreadable = range;
    }

    /// False when the file ends before.
    pub(super) fn read(&self, out: &mut [u8], offset: u64) -> bool {
        self.shown.read(out, offset)
    }

    pub(super) fn all(&self) -> Vec<u8> {
        let mut bytes = self.shown.bytes.clone();
        bytes.resize(self.shown.len as usize, 0);
        bytes
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Change::Write { offset, bytes: bytes.to_vec() })
    }

    pub(super) fn allocate(&mut self, end: u64) -> io::Result<()> {
        self.change(Change::Grow(end))
    }

    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen(len))
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        let before = self.shown.len;
        self.shown.apply(&change);
        self.pending.push(change);
        let Some(file) = &self.mapped else { return Ok(()) };
        match self.pending.last() {
            Some(Change::Write { offset, bytes }) => file.write_all_at(bytes, *offset)?,
            // Never shortened: somebody may look at the bytes through a map.
            _ if self.shown.len < before => {
                let zeros = vec![0; (before - self.shown.len) as usize];
                file.write_all_at(&zeros, self.shown.len)?;
            }
            _ => {}
        }
        let held = file.metadata()?.len();
        if held < self.shown.len { file.set_len(self.shown.len) } else { Ok(()) }
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            self.device.apply(&change);
        }
    }

    /// The device refused: the kernel forgets that it owes these bytes, and goes on to show them.
    pub(super) fn fail_sync(&mut self) {
        self.pending.clear();
    }

    /// Shows the device's bytes again where nothing is owed to it.
    pub(super) fn forget_cached(&mut self) {
        self.shown = self.device.clone();
        for change in &self.pending {
            self.shown.apply(change);
        }
        self.mapped = None;
    }

    /// A file of the real kernel with the shown bytes, which follows them from now on.
    pub(super) fn map(&mut self) -> io::Result<&File> {
        if self.mapped.is_none() {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            let file = File::from(rustix::fs::memfd_create("headwater-simulated", flags)?);
            file.write_all_at(&self.shown.bytes, 0)?;
            file.set_len(self.shown.len)?;
            self.mapped = Some(file);
        }
        Ok(self.mapped.as_ref().expect("made just above"))
    }

    /// Maps made before look at a file of their own from now on.
    pub(super) fn unmap(&mut self) {
        self.mapped = None;
    }

    pub(super) fn power_cut(&mut self, survival: Survival, rng: &mut Rng) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { offset, bytes } if survival == Survival::Some => {
                    self.tear(offset, &bytes, rng);
                }
                change if survival.keeps(rng) => self.device.apply(&change),
                _ => {}
            }
        }
        self.shown = self.device.clone();
        self.mapped = None;
    }

    /// Leaves a part of a write.
    fn tear(&mut self, offset: u64, bytes: &[u8], rng: &mut Rng) {
        let end = offset + bytes.len() as u64;
        match rng.below(4) {
            0 => {}
            1 => self.device.write(offset, bytes),
            2 => self.device.len = self.device.len.max(end),
            _ => {
                let mut at = 0;
                while at < bytes.len() {
                    let in_sector = (offset as usize + at) % SECTOR;
                    let to = (at + SECTOR - in_sector).min(bytes.len());
                    match rng.below(8) {
                        0..4 => self.device.write(offset + at as u64, &bytes[at..to]),
                        // Rarely, blocks of an earlier life show through.
                        4 => {
                            let stale: Vec<u8> = (at..to).map(|_| rng.next_u64() as u8).collect();
                            if offset + at as u64 >= self.device.len {
                                self.device.write(offset + at as u64, &stale);
                            }
                        }
                        _ => {}
                    }
                    at = to;
                }
                if rng.one_in(2) {
                    self.device.len = self.device.len.max(end);
                }
            }
        }
    }

    /// Turns one bit over, on the device and in what is shown.
    pub(super) fn flip(&mut self, bit: u64) {
        let (byte, bit) = ((bit / 8) as usize, bit % 8);
        for image in [&mut self.shown, &mut self.device] {
            if image.bytes.len() <= byte {
                image.bytes.resize(byte + 1, 0);
            }
            image.bytes[byte] ^= 1 << bit;
        }
        self.mapped = None;
    }
}
