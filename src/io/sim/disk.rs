//! Names and files of a simulated machine, and its life: faults, kills, power cuts.

use super::content::{Content, Survival};
use super::fault::{Ended, Fate, Fault, Moment, Plan};
use super::handle::SimFs;
use super::rng::Rng;
use crate::io::{DirEntry, Fs, Operation, Room};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A simulated machine. Clones share it.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<Disk>>);

/// A file or folder, whatever its name.
pub(super) type NodeId = usize;

const ROOT: NodeId = 0;

#[derive(Debug)]
pub(super) struct Disk {
    rng: Rng,
    nodes: Vec<Node>,
    /// Changes of names that were not synced, in order.
    pending: Vec<NameChange>,
    plan: Plan,
    /// Rises when a process ends: handles of the life before are void.
    pub(super) life: u64,
    ended: Option<Ended>,
    locked: BTreeSet<PathBuf>,
    /// Bytes that files may have in all.
    capacity: Option<u64>,
    operations: u64,
    /// Of what a sync was asked, in order.
    syncs: Vec<PathBuf>,
    /// What the device has refused to do for this process.
    broken: Vec<Operation>,
    /// A digest of every operation so far.
    trace: u64,
}

#[derive(Debug)]
enum Node {
    Folder(Folder),
    File(Content),
}

#[derive(Default, Debug)]
struct Folder {
    shown: BTreeMap<String, NodeId>,
    device: BTreeMap<String, NodeId>,
    /// A sync of it has failed in this life: it shows names that the device will never have.
    is_in_doubt: bool,
}

/// One change of names, which happens as a whole.
#[derive(Debug)]
struct NameChange(Vec<(NodeId, String, Option<NodeId>)>);

impl NameChange {
    fn is_of(&self, node: NodeId) -> bool {
        self.0.iter().any(|(folder, ..)| *folder == node)
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(Disk {
            rng: Rng::new(seed),
            nodes: vec![Node::Folder(Folder::default())],
            pending: Vec::new(),
            plan: Plan::default(),
            life: 0,
            ended: None,
            locked: BTreeSet::new(),
            capacity: None,
            operations: 0,
            syncs: Vec::new(),
            broken: Vec::new(),
            trace: 0,
        })))
    }

    /// Its file system, for the process that begins now.
    pub fn fs(&self) -> Fs {
        let life = self.lock().life;
        Fs::sim(SimFs { disk: self.clone(), life })
    }

    /// Replaces the faults to come.
    pub fn plan(&self, faults: &[Fault]) {
        self.lock().plan.set(faults);
    }

    /// How often one of the faults planned last has struck.
    pub fn hits(&self) -> u64 {
        self.lock().plan.hits
    }

    /// No more faults, and as much room as anybody wants.
    pub fn heal(&self) {
        let mut disk = self.lock();
        disk.plan.clear();
        disk.capacity = None;
    }

    /// Bounds what all files may have together.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = Some(bytes);
    }

    /// How the process has ended, unless it goes on.
    pub fn ended(&self) -> Option<Ended> {
        self.lock().ended
    }

    /// Operations since the beginning.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The files and folders that syncs were asked of since this was last called.
    pub fn take_syncs(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.lock().syncs)
    }

    /// What the device has failed to do for this process, a full disk and the like aside.
    pub fn broken(&self) -> Vec<Operation> {
        self.lock().broken.clone()
    }

    /// A digest of every operation since the beginning: two runs that are the same have the same.
    pub fn trace(&self) -> u64 {
        self.lock().trace
    }

    /// The power goes and comes back: of what was not synced, a seeded choice is left. Handles of before are void.
    pub fn power_cut(&self) {
        tracing::debug!("the power goes");
        let mut disk = self.lock();
        disk.lose();
        disk.next_life();
    }

    /// The process is gone, the kernel lives on: everything that was written is there. Handles of before are void.
    pub fn kill(&self) {
        tracing::debug!("the process is killed");
        self.lock().next_life();
    }

    /// Turns one bit of a file over, counted from 0. Nobody is told.
    ///
    /// # Errors
    /// There is no such file.
    pub fn flip(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut disk = self.lock();
        let node = disk.find(path)?;
        disk.content(node)?.flip(bit);
        Ok(())
    }

    /// Has the device fail to read this range of a file, and no other. An empty one makes all of it readable again.
    ///
    /// # Errors
    /// There is no such file.
    pub fn make_unreadable(&self, path: &Path, range: Range<u64>) -> io::Result<()> {
        let mut disk = self.lock();
        let node = disk.find(path)?;
        disk.content(node)?.make_unreadable(range);
        Ok(())
    }

    /// All files with their lengths, in order of their names.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.lock().files()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    pub(super) fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Counts an operation and lets its fault strike.
    pub(super) fn begin(
        &mut self,
        life: u64,
        operation: Operation,
        path: &Path,
        size: u64,
    ) -> io::Result<Begun> {
        if life != self.life {
            return Err(gone());
        }
        if let Some(ended) = self.ended {
            return Err(self.end(ended));
        }
        self.operations += 1;
        self.note(operation, path, size);
        if operation == Operation::Sync {
            self.syncs.push(path.to_owned());
        }
        let fate = self.plan.fate(operation);
        tracing::trace!(path = %path.display(), size, ?fate, "{operation}");
        match fate {
            Fate::Happens => Ok(Begun::Happens),
            Fate::Fails(errno) => {
                if errno == Errno::IO.raw_os_error() {
                    self.broken.push(operation);
                }
                Err(io::Error::from_raw_os_error(errno))
            }
            Fate::Shortened => Ok(Begun::Shortened),
            Fate::Ends(ended, Moment::Before) => Err(self.end(ended)),
            Fate::Ends(ended, Moment::After) => Ok(Begun::Ends(ended)),
        }
    }

    /// After an operation: the process may end with it.
    pub(super) fn after(&mut self, begun: Begun) {
        if let Begun::Ends(ended) = begun {
            self.end(ended);
        }
    }

    /// Ends the process: unwinds, or says so where it unwinds already.
    pub(super) fn end(&mut self, ended: Ended) -> io::Error {
        self.ended.get_or_insert(ended);
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new(ended));
        }
        gone()
    }

    fn note(&mut self, operation: Operation, path: &Path, size: u64) {
        let mut digest = self.trace ^ (operation as u64) << 56 ^ size;
        for byte in path.as_os_str().as_encoded_bytes() {
            digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.trace = Rng::new(digest).next_u64();
    }

    fn next_life(&mut self) {
        self.life += 1;
        self.ended = None;
        self.locked.clear();
        self.broken.clear();
        let mut doubtful = BTreeSet::new();
        for (number, node) in self.nodes.iter_mut().enumerate() {
            match node {
                Node::File(content) => content.unmap(),
                Node::Folder(folder) if folder.is_in_doubt => {
                    folder.is_in_doubt = false;
                    folder.shown = folder.device.clone();
                    doubtful.insert(number);
                }
                Node::Folder(_) => {}
            }
        }
        for change in std::mem::take(&mut self.pending) {
            self.show(&change, |folder| doubtful.contains(&folder));
            self.pending.push(change);
        }
    }

    fn lose(&mut self) {
        let survival = Survival::pick(&mut self.rng);
        for change in std::mem::take(&mut self.pending) {
            if survival.keeps(&mut self.rng) {
                self.make_durable(change);
            }
        }
        for node in &mut self.nodes {
            match node {
                Node::Folder(folder) => folder.shown = folder.device.clone(),
                Node::File(content) if content.is_dirty() => {
                    let survival = Survival::pick(&mut self.rng);
                    content.power_cut(survival, &mut self.rng);
                }
                Node::File(content) => content.power_cut(Survival::Nothing, &mut self.rng),
            }
        }
    }

    fn make_durable(&mut self, change: NameChange) {
        for (folder, name, node) in change.0 {
            if let Node::Folder(folder) = &mut self.nodes[folder] {
                match node {
                    Some(node) => folder.device.insert(name, node),
                    None => folder.device.remove(&name),
                };
            }
        }
    }

    /// Makes durable, in order, the changes of names that `which` picks.
    fn sync_names(&mut self, which: impl Fn(&NameChange) -> bool) {
        let (synced, pending): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(which);
        self.pending = pending;
        for change in synced {
            self.make_durable(change);
        }
    }

    fn change_names(&mut self, change: Vec<(NodeId, String, Option<NodeId>)>) {
        let change = NameChange(change);
        self.show(&change, |_| true);
        self.pending.push(change);
    }

    /// Shows what a change does to the folders that `which` picks.
    fn show(&mut self, change: &NameChange, which: impl Fn(NodeId) -> bool) {
        for (folder, name, node) in change.0.iter().filter(|(folder, ..)| which(*folder)) {
            if let Node::Folder(folder) = &mut self.nodes[*folder] {
                match node {
                    Some(node) => folder.shown.insert(name.clone(), *node),
                    None => folder.shown.remove(name),
                };
            }
        }
    }

    /// The device refused the changes of names that `which` picks: the kernel forgets that it owes them, and goes on to show them.
    fn fail_names(&mut self, which: impl Fn(&NameChange) -> bool) {
        let (failed, pending): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(which);
        self.pending = pending;
        for (folder, ..) in failed.into_iter().flat_map(|change| change.0) {
            if let Node::Folder(folder) = &mut self.nodes[folder] {
                folder.is_in_doubt = true;
            }
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for name in names(path) {
            let next = self.folder(node)?.shown.get(&name).copied();
            node = next.ok_or_else(|| io::Error::from(Errno::NOENT))?;
        }
        Ok(node)
    }

    /// The folder that has, or would have, the name.
    fn place(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let mut names: Vec<String> = names(path).collect();
        let name = names.pop().ok_or_else(|| io::Error::from(Errno::EXIST))?;
        let folder = self.find(&names.iter().collect::<PathBuf>())?;
        self.folder(folder)?;
        Ok((folder, name))
    }

    fn folder(&self, node: NodeId) -> io::Result<&Folder> {
        match &self.nodes[node] {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(Errno::NOTDIR.into()),
        }
    }

    pub(super) fn content(&mut self, node: NodeId) -> io::Result<&mut Content> {
        match &mut self.nodes[node] {
            Node::File(content) => Ok(content),
            Node::Folder(_) => Err(Errno::ISDIR.into()),
        }
    }

    pub(super) fn is_folder(&self, path: &Path) -> bool {
        self.find(path).is_ok_and(|node| self.folder(node).is_ok())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<NodeId> {
        self.add(path, Node::File(Content::default()))
    }

    pub(super) fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        self.add(path, Node::Folder(Folder::default())).map(|_| ())
    }

    fn add(&mut self, path: &Path, new: Node) -> io::Result<NodeId> {
        let (folder, name) = self.place(path)?;
        if self.folder(folder)?.shown.contains_key(&name) {
            return Err(Errno::EXIST.into());
        }
        let node = self.nodes.len();
        self.nodes.push(new);
        self.change_names(vec![(folder, name, Some(node))]);
        Ok(node)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        let (from_folder, from_name) = self.place(from)?;
        let (to_folder, to_name) = self.place(to)?;
        self.change_names(vec![(from_folder, from_name, None), (to_folder, to_name, Some(node))]);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path, is_folder: bool) -> io::Result<()> {
        let node = self.find(path)?;
        match &self.nodes[node] {
            Node::Folder(_) if !is_folder => return Err(Errno::ISDIR.into()),
            Node::Folder(folder) if !folder.shown.is_empty() => return Err(Errno::NOTEMPTY.into()),
            Node::File(_) if is_folder => return Err(Errno::NOTDIR.into()),
            _ => {}
        }
        let (folder, name) = self.place(path)?;
        self.change_names(vec![(folder, name, None)]);
        Ok(())
    }

    pub(super) fn remove_all(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        if let Node::Folder(folder) = &self.nodes[node] {
            let names: Vec<String> = folder.shown.keys().cloned().collect();
            for name in names {
                self.remove_all(&path.join(name))?;
            }
            return self.remove(path, true);
        }
        self.remove(path, false)
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let node = self.find(path)?;
        let entry = |(name, node): (&String, &NodeId)| match &self.nodes[*node] {
            Node::Folder(_) => DirEntry { name: name.clone(), is_dir: true, len: 0 },
            Node::File(content) => {
                DirEntry { name: name.clone(), is_dir: false, len: content.len() }
            }
        };
        Ok(self.folder(node)?.shown.iter().map(entry).collect())
    }

    pub(super) fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        self.folder(node)?;
        self.sync_names(|change| change.is_of(node));
        Ok(())
    }

    pub(super) fn sync_all(&mut self) {
        self.sync_names(|_| true);
        for node in &mut self.nodes {
            if let Node::File(content) = node {
                content.sync();
            }
        }
    }

    pub(super) fn sync_file(&mut self, node: NodeId) -> io::Result<()> {
        self.content(node)?.sync();
        // As a journal does, that commits what it has.
        if self.rng.one_in(2) {
            self.sync_names(|_| true);
        }
        Ok(())
    }

    pub(super) fn fail_sync_folder(&mut self, path: &Path) {
        if let Ok(node) = self.find(path) {
            self.fail_names(|change| change.is_of(node));
        }
    }

    pub(super) fn fail_sync_all(&mut self) {
        self.fail_names(|_| true);
        for node in 0..self.nodes.len() {
            self.fail_sync_file(node);
        }
    }

    pub(super) fn fail_sync_file(&mut self, node: NodeId) {
        if let Node::File(content) = &mut self.nodes[node] {
            content.fail_sync();
        }
    }

    /// Fails when `more` bytes would be more than there is room for.
    pub(super) fn reserve(&self, more: u64) -> io::Result<()> {
        if more > self.free() { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }

    pub(super) fn free(&self) -> u64 {
        let used = || self.files().iter().map(|(_, len)| len).sum();
        self.capacity.map_or(u64::MAX / 2, |capacity| capacity.saturating_sub(used()))
    }

    pub(super) fn room(&self) -> Room {
        Room { free: self.free(), total: self.capacity.unwrap_or(u64::MAX / 2) }
    }

    fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut folders = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, node)) = folders.pop() {
            let Node::Folder(folder) = &self.nodes[node] else { continue };
            for (name, node) in &folder.shown {
                match &self.nodes[*node] {
                    Node::Folder(_) => folders.push((path.join(name), *node)),
                    Node::File(content) => found.push((path.join(name), content.len())),
                }
            }
        }
        found.sort();
        found
    }

    /// True when the caller is the first to hold the lock.
    pub(super) fn take_lock(&mut self, path: &Path) -> bool {
        self.locked.insert(path.to_owned())
    }

    pub(super) fn release_lock(&mut self, life: u64, path: &Path) {
        if life == self.life {
            self.locked.remove(path);
        }
    }
}

/// How an operation has begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begun {
    Happens,
    Shortened,
    Ends(Ended),
}

/// What a handle of a process that is no more answers.
fn gone() -> io::Error {
    io::Error::other("the simulated process has ended")
}

fn names(path: &Path) -> impl Iterator<Item = String> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}
