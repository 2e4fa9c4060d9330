//! Endless lines of a known shape: the same seed and number of connections always give the same lines.
//!
//! The series of a workload are dealt out to the connections, so that each series comes from one connection and its
//! timestamps rise, as they do when every host has its own agent.

mod cpu;
mod iot;
mod series;
mod telegraf;
#[cfg(test)]
mod tests;

pub(super) use cpu::Cpu;
pub(super) use iot::Iot;
pub(super) use series::{Lines, Share};
pub(super) use telegraf::Telegraf;
