//! What goes wrong, and when.

use crate::io::Operation;

/// Something that goes wrong at the n-th operation it can hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// Which operation, from 1, of those that `kind` can hit, counted from the moment of planning.
    pub nth: u64,
    /// True when all later ones fail too, until [`super::SimDisk::heal`].
    pub persistent: bool,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The device fails: any operation answers EIO. A sync that does marks its bytes as clean.
    Io,
    /// As `Io`, and only syncs fail.
    Sync,
    /// The disk is full: what needs room answers ENOSPC.
    NoSpace,
    /// The process may open no more files: what opens one answers EMFILE.
    NoDescriptors,
    /// The kernel has no memory: what needs some answers ENOMEM.
    NoMemory,
    /// A write ends after a part of its bytes, with ENOSPC.
    ShortWrite,
    /// The power goes.
    PowerCut(Moment),
    /// The process is killed; the kernel lives on.
    Kill(Moment),
}

/// Where in an operation a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Nothing of it happens.
    Before,
    /// It was the last one.
    After,
}

/// How a simulated process ended; the payload of its unwinding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The power went.
    PowerCut,
    /// It was killed.
    Killed,
    /// It ended itself after a failed sync.
    FailedSync,
    /// It waited for a disk that stayed full or broken, and somebody lost patience.
    Stuck,
}

/// Failures in a row after which somebody ends a process that tries again and again.
const PATIENCE: u64 = 200;

/// The faults to come, and what came of them.
#[derive(Default, Debug)]
pub(super) struct Plan {
    faults: Vec<(Fault, u64)>,
    pub(super) hits: u64,
}

/// What becomes of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Happens,
    Fails(i32),
    /// A write leaves a part, then fails.
    Shortened,
    Ends(Ended, Moment),
}

impl Plan {
    pub(super) fn set(&mut self, faults: &[Fault]) {
        self.faults = faults.iter().map(|fault| (*fault, 0)).collect();
        self.hits = 0;
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
    }

    /// What becomes of the next operation.
    pub(super) fn fate(&mut self, operation: Operation) -> Fate {
        let mut fate = Fate::Happens;
        for (fault, seen) in &mut self.faults {
            if !fault.kind.hits(operation) {
                continue;
            }
            *seen += 1;
            let is_due = *seen == fault.nth || (fault.persistent && *seen > fault.nth);
            if is_due && fate == Fate::Happens {
                self.hits += 1;
                fate = match fault.kind {
                    _ if self.hits > PATIENCE => Fate::Ends(Ended::Stuck, Moment::Before),
                    FaultKind::Io | FaultKind::Sync => {
                        Fate::Fails(rustix::io::Errno::IO.raw_os_error())
                    }
                    FaultKind::NoSpace => Fate::Fails(rustix::io::Errno::NOSPC.raw_os_error()),
                    FaultKind::NoDescriptors => {
                        Fate::Fails(rustix::io::Errno::MFILE.raw_os_error())
                    }
                    FaultKind::NoMemory => Fate::Fails(rustix::io::Errno::NOMEM.raw_os_error()),
                    FaultKind::ShortWrite => Fate::Shortened,
                    FaultKind::PowerCut(moment) => Fate::Ends(Ended::PowerCut, moment),
                    FaultKind::Kill(moment) => Fate::Ends(Ended::Killed, moment),
                };
            }
        }
        fate
    }
}

impl FaultKind {
    /// Whether it can hit such an operation.
    fn hits(self, operation: Operation) -> bool {
        use Operation as Op;
        match self {
            FaultKind::Io => true,
            FaultKind::Sync => operation == Op::Sync,
            FaultKind::NoSpace => {
                matches!(operation, Op::Create | Op::Write | Op::Allocate | Op::Rename)
            }
            FaultKind::NoDescriptors => matches!(operation, Op::Create | Op::Open | Op::List),
            FaultKind::NoMemory => matches!(operation, Op::Create | Op::Open | Op::Map | Op::Write),
            FaultKind::ShortWrite => operation == Op::Write,
            // Between two changes nothing differs.
            FaultKind::PowerCut(_) | FaultKind::Kill(_) => !matches!(
                operation,
                Op::Open | Op::Read | Op::List | Op::Map | Op::Lock | Op::Measure
            ),
        }
    }
}
