//! How often something was changed that sessions remember.

use super::sync::{AtomicU64, Ordering};

/// Rises with every change. Whoever remembers what is changed here remembers the number that it saw before it looked, and looks anew when
/// there is another one.
#[derive(Debug)]
pub(super) struct Version(AtomicU64);

impl Version {
    pub(super) fn new() -> Version {
        Version(AtomicU64::new(0))
    }

    /// Says that something has changed. Release; pairs with the Acquire in [`Version::get`], so that whoever sees the number finds the change.
    pub(super) fn rise(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// The number now. Acquire; pairs with the Release in [`Version::rise`].
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
