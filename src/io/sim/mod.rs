//! A machine in memory: files that lose at a power cut what was not synced, fail when told to, and end the process on demand.
//!
//! [`SimDisk`] keeps what the kernel shows and what the device holds apart: bytes, lengths and names. A sync moves one to the other.
//! A [`SimDisk::power_cut`] keeps, of everything that was not synced, a seeded choice: nothing, all, single writes, single sectors
//! of a write, a length without its bytes, a name without its file's bytes. A [`SimDisk::kill`] keeps what the kernel has.
//! After either, handles of the life before answer with errors.
//!
//! A [`Fault`] is planned for the n-th operation it can hit. When it ends the process, the operation unwinds with an [`Ended`] in the
//! place of the panic's message, so that whoever drives the simulation gets control where a real process would just be gone.
//!
//! Nothing here waits, and nothing depends on anything but the seed and the order of calls: a run can be repeated exactly.
//!
//! What is modelled beyond the obvious:
//! - A failed sync marks what it covered as clean: the kernel goes on to show it, the device never gets it, and the next sync succeeds.
//!   [`crate::io::File::forget_cached`] then shows what the device has. Nobody can forget names, so these are what the device has
//!   from the next process on: a file system that cannot keep its names has to be mounted again.
//! - Syncing a file makes its name durable or not, by a toss: nothing may rely on it.
//! - A removal that was not synced may be undone by a power cut.

mod content;
mod disk;
mod fault;
mod handle;
mod rng;

pub use disk::SimDisk;
pub use fault::{Ended, Fault, FaultKind, Moment};
pub use rng::Rng;

pub(super) use handle::{SimFile, SimFs, SimLock};

#[cfg(test)]
mod tests;
