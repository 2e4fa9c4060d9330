//! Queries over hand-made snapshots.

mod answers;
mod fixture;
mod formats;
mod limits;
mod views;
