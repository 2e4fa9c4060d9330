//! The simulated machine as [`crate::io::Fs`] and [`crate::io::File`] see it.

use super::disk::{Begun, Disk, NodeId, SimDisk};
use super::fault::Ended;
use crate::io::{DirEntry, Operation, Room};
use rustix::io::Errno;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The file system of one life of the process.
#[derive(Clone, Debug)]
pub(in crate::io) struct SimFs {
    pub(super) disk: SimDisk,
    pub(super) life: u64,
}

/// An open file of one life of the process.
#[derive(Debug)]
pub(in crate::io) struct SimFile {
    fs: SimFs,
    node: NodeId,
    path: PathBuf,
    is_read_only: bool,
}

/// A lock of one life of the process.
#[derive(Debug)]
pub(in crate::io) struct SimLock {
    fs: SimFs,
    path: PathBuf,
}

impl SimFs {
    fn run<T>(
        &self,
        operation: Operation,
        path: &Path,
        act: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disk = self.disk.lock();
        let begun = disk.begin(self.life, operation, path, 0)?;
        let done = act(&mut disk);
        disk.after(begun);
        done
    }

    /// Advice to the kernel, and so no operation that may fail.
    pub(in crate::io) fn forget_cached(&self, path: &Path) {
        let mut disk = self.disk.lock();
        if let Ok(node) = disk.find(path)
            && let Ok(content) = disk.content(node)
        {
            content.forget_cached();
        }
    }

    pub(in crate::io) fn create(&self, path: &Path) -> io::Result<SimFile> {
        let node = self.run(Operation::Create, path, |disk| disk.create(path))?;
        Ok(SimFile { fs: self.clone(), node, path: path.to_owned(), is_read_only: false })
    }

    pub(in crate::io) fn open(&self, path: &Path, is_read_only: bool) -> io::Result<SimFile> {
        let node = self.run(Operation::Open, path, |disk| {
            let node = disk.find(path)?;
            disk.content(node)?;
            Ok(node)
        })?;
        Ok(SimFile { fs: self.clone(), node, path: path.to_owned(), is_read_only })
    }

    pub(in crate::io) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.run(Operation::Read, path, |disk| {
            let node = disk.find(path)?;
            let content = disk.content(node)?;
            content.readable(&(0..content.len()))?;
            Ok(content.all())
        })
    }

    pub(in crate::io) fn is_dir(&self, path: &Path) -> bool {
        self.disk.lock().is_folder(path)
    }

    pub(in crate::io) fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Create, path, |disk| disk.create_folder(path))
    }

    pub(in crate::io) fn open_dir(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Open, path, |disk| match disk.is_folder(path) {
            true => Ok(()),
            false => Err(Errno::NOENT.into()),
        })
    }

    pub(in crate::io) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let synced = self.run(Operation::Sync, path, |disk| disk.sync_folder(path));
        self.unless_synced(synced, |disk| disk.fail_sync_folder(path))
    }

    pub(in crate::io) fn sync_all(&self, path: &Path) -> io::Result<()> {
        let synced = self.run(Operation::Sync, path, |disk| {
            disk.sync_all();
            Ok(())
        });
        self.unless_synced(synced, Disk::fail_sync_all)
    }

    /// What a failed sync leaves, unless the process has ended before it.
    fn unless_synced(
        &self,
        synced: io::Result<()>,
        fail: impl FnOnce(&mut Disk),
    ) -> io::Result<()> {
        if synced.is_err() {
            let mut disk = self.disk.lock();
            if self.life == disk.life && disk.ended().is_none() {
                fail(&mut disk);
            }
        }
        synced
    }

    pub(in crate::io) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Operation::Rename, from, |disk| disk.rename(from, to))
    }

    pub(in crate::io) fn remove(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Remove, path, |disk| disk.remove(path, false))
    }

    pub(in crate::io) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Remove, path, |disk| disk.remove(path, true))
    }

    pub(in crate::io) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Remove, path, |disk| disk.remove_all(path))
    }

    pub(in crate::io) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.run(Operation::List, path, |disk| disk.list(path))
    }

    pub(in crate::io) fn exists(&self, path: &Path) -> io::Result<bool> {
        self.run(Operation::Measure, path, |disk| Ok(disk.find(path).is_ok()))
    }

    pub(in crate::io) fn room(&self, path: &Path) -> io::Result<Room> {
        self.run(Operation::Measure, path, |disk| Ok(disk.room()))
    }

    pub(in crate::io) fn lock(&self, path: &Path) -> io::Result<Option<SimLock>> {
        let taken = self.run(Operation::Lock, path, |disk| Ok(disk.take_lock(path)))?;
        Ok(taken.then(|| SimLock { fs: self.clone(), path: path.to_owned() }))
    }

    /// Ends the process after a failed sync.
    pub(in crate::io) fn abort(&self) -> ! {
        drop(self.disk.lock().end(Ended::FailedSync));
        std::panic::resume_unwind(Box::new(Ended::FailedSync))
    }
}

impl SimFile {
    pub(in crate::io) fn fs(&self) -> &SimFs {
        &self.fs
    }

    fn run<T>(
        &self,
        operation: Operation,
        size: u64,
        act: impl FnOnce(&mut Disk, NodeId, Begun) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disk = self.fs.disk.lock();
        let begun = disk.begin(self.fs.life, operation, &self.path, size)?;
        let done = act(&mut disk, self.node, begun);
        disk.after(begun);
        done
    }

    fn writable(&self) -> io::Result<()> {
        if self.is_read_only { Err(Errno::BADF.into()) } else { Ok(()) }
    }

    pub(in crate::io) fn len(&self) -> io::Result<u64> {
        self.run(Operation::Measure, 0, |disk, node, _| Ok(disk.content(node)?.len()))
    }

    pub(in crate::io) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.writable()?;
        let end = offset + bytes.len() as u64;
        self.run(Operation::Write, end, |disk, node, begun| {
            let more = end.saturating_sub(disk.content(node)?.len());
            disk.reserve(more)?;
            if begun == Begun::Shortened {
                disk.content(node)?.write(offset, &bytes[..bytes.len() / 2])?;
                return Err(Errno::NOSPC.into());
            }
            disk.content(node)?.write(offset, bytes)
        })
    }

    pub(in crate::io) fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.run(Operation::Read, offset, |disk, node, _| {
            disk.content(node)?.readable(&(offset..offset + out.len() as u64))?;
            let is_there = disk.content(node)?.read(out, offset);
            if is_there { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })
    }

    pub(in crate::io) fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.writable()?;
        self.run(Operation::Allocate, offset + len, |disk, node, _| {
            let more = (offset + len).saturating_sub(disk.content(node)?.len());
            disk.reserve(more)?;
            disk.content(node)?.allocate(offset + len)
        })
    }

    pub(in crate::io) fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        self.run(Operation::Truncate, len, |disk, node, _| disk.content(node)?.set_len(len))
    }

    pub(in crate::io) fn sync_data(&self) -> io::Result<()> {
        let synced = self.run(Operation::Sync, 0, |disk, node, _| disk.sync_file(node));
        self.fs.unless_synced(synced, |disk| disk.fail_sync_file(self.node))
    }

    pub(in crate::io) fn forget_cached(&self) -> io::Result<()> {
        self.run(Operation::Read, 0, |disk, node, _| {
            disk.content(node)?.forget_cached();
            Ok(())
        })
    }

    pub(in crate::io) fn map<T>(
        &self,
        map: impl FnOnce(&std::fs::File) -> io::Result<T>,
    ) -> io::Result<T> {
        self.run(Operation::Map, 0, |disk, node, _| map(disk.content(node)?.map()?))
    }

    /// A map shows what is unreadable all the same: whoever touches it without asking here is not found out.
    pub(in crate::io) fn fetch(&self, range: &Range<u64>) -> io::Result<()> {
        self.run(Operation::Read, range.start, |disk, node, _| disk.content(node)?.readable(range))
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.fs.disk.lock().release_lock(self.fs.life, &self.path);
    }
}
