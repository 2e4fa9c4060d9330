//! Everything of the memory model that this stage uses, in one place, so that a model checker can stand in for it: see `models/`.

pub(super) use atomic_waker::AtomicWaker;
pub(super) use std::sync::atomic::{AtomicIsize, AtomicPtr, AtomicU8, AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard};
pub(super) use std::thread::{Builder, JoinHandle, Thread, current, park, park_timeout};
