//! The bundled clients: `headwater bench`, which loads a server and says what it held, and `headwater write`,
//! which sends lines and says what was wrong with them.
//!
//! Both talk to a server as any client would: line protocol over TCP, SQL and `/write` over HTTP. Nothing here knows
//! how the server works, so the same client measures any server that speaks line protocol.
//!
//! # What a run measures
//! One thread per connection writes a [workload](Workload) that depends on nothing but the seed and the number of
//! connections. Rates count from the instant at which all connections, already open, begin to write:
//!
//! | rate | until |
//! |---|---|
//! | sent | the last byte is with the kernel |
//! | acknowledged | every connection has been closed by a FIN of the server, which follows durability |
//! | visible | `SELECT count(*)` over the workload's tables has grown by the acknowledged lines |
//! | settled | `FLUSH` has returned: all rows are in sorted files and no compaction is due |
//!
//! Every `--ack-every` lines a comment `# ack N` goes along, and the time until `ok N lines=L rejected=R` comes back
//! is one latency. With `--rate` it counts from when the line *should* have been written, so a server that stalls is
//! charged for every line that it kept waiting (no coordinated omission). A reply that never comes, a reset in the
//! place of a FIN, and a count that differs are failures, never smoothed over.
//!
//! # Cost
//! The client shares the machine with the server, so a line of the `cpu` workload costs it well under 100 ns beside
//! the write itself: one random number, table look-ups, no formatting.

#![allow(
    clippy::disallowed_types,
    reason = "a client reads and writes the files that its user names"
)]

mod args;
mod workload;

mod file;
mod pace;
mod reply;

mod connection;
mod http;
mod probe;

mod report;
mod run;

mod write;

pub use args::{BenchArgs, Workload};
pub use run::run;
pub use write::{WriteArgs, write};
