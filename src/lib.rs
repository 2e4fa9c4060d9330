//! Headwater: line protocol in over TCP, sorted Parquet partitions out, durable in between.
//!
//! ```text
//! socket ─▶ codec ─▶ WalWriter ─▶ segment      (server, engine, codec, wal)
//!                       │ receipt
//!                       ▼
//!                   sequencer ─▶ flush hook     (sequencer, hooks)
//!                       │ seq_txn
//!                       ▼
//!                   apply pool ─▶ tails ─▶ parts ─▶ SQL    (apply, storage, query)
//! ```
//!
//! The stages, in the order in which a row meets them; each folder's `mod.rs` is its specification.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "a test looks at files from outside; the library itself is linted without its tests, too"
    )
)]

pub mod types;

mod planted;

pub mod clock;
pub mod io;
pub mod metrics;
pub mod schema;

pub mod codec;
pub mod wal;

pub mod sequencer;

pub mod storage;

pub mod apply;
pub mod hooks;

pub mod query;

pub mod engine;

pub mod config;
pub mod server;

pub mod bench;
