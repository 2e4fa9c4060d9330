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

    /// Has the kernel bring in a range, as touching it would. What it cannot get is an error here.
    pub(super) fn populate(&self, start: usize, len: usize) -> std::io::Result<()> {
        let Kind::Real(map) = &self.0;
        map.advise_range(memmap2::Advice::PopulateRead, start, len)
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Kind::Real(map) = &self.0;
        map
    }
}

#[cfg(test)]
mod tests {
    use crate::io::{Fs, Operation};

    #[test]
    fn what_a_map_cannot_be_given_is_an_error_that_names_file_and_bytes_and_no_signal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let file = Fs::real().create(&path).unwrap();
        file.write_all_at(&[1; 20_000], 0).unwrap();
        let map = file.map(40_000).unwrap();
        file.fetch(&map, 10..20_000).unwrap();
        // To touch it would now end the process.
        file.set_len(0).unwrap();
        let error = file.fetch(&map, 5000..20_000).unwrap_err();
        assert_eq!((error.operation, &error.path), (Operation::Read, &path));
        assert!(error.to_string().contains("bytes 5000 to 20000"), "{error}");
    }
}
