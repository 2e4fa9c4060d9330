//! What the watermarks and the gate use of the memory model, in one place, so that a model checker can stand in for it: see `models/`.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
pub(super) use std::sync::{Mutex, MutexGuard};
pub(super) use tokio::sync::Notify;
