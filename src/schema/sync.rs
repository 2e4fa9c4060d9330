//! What versions use of the memory model, in one place, so that a model checker can stand in for it: see `models/`.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
