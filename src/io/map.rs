//! Read-only memory maps.

use std::ops::Deref;

/// The first bytes of a file, mapped for reading.
///
/// Whoever maps a file promises, as with every map, that nobody shortens it while the map lives: WAL segments only grow and
/// are removed by name, and the data directory is locked against a second process.
#[derive(Debug)]
pub struct Map(Kind);

#[derive(Debug)]
enum Kind {
    Real(memmap2::Mmap),
}

impl Map {
    #[allow(unsafe_code, reason = "mapping a file is unsafe by nature")]
    pub(super) fn real(file: &std::fs::File, len: u64) -> std::io::Result<Map> {
        let len = usize::try_from(len).map_err(std::io::Error::other)?;
        // SAFETY: the files that come here are append-only and inside the locked data directory, so mapped bytes that
        // were written stay as they are, and the file is never shortened below what readers touch.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map(file)? };
        Ok(Map(Kind::Real(map)))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Kind::Real(map) = &self.0;
        map
    }
}
