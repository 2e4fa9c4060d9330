//! All integration tests, in one binary, since each binary links the whole server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test looks at files and clocks from outside"
)]

mod allocations;
mod apply_flush;
mod apply_lab;
mod apply_removal;
mod apply_trouble;
mod apply_visible;
mod check_command;
mod codec_agreement;
mod codec_corpus;
mod codec_docs;
mod codec_limits;
mod codec_support;
mod engine;
mod lines;
mod oracle;
mod oracle_list;
mod oracle_model;
mod segment_golden;
mod server_http;
mod server_ilp;
mod server_memory;
mod server_process;
#[cfg(feature = "query")]
mod server_query;
mod server_support;
mod statements;
mod statements_flight;
mod statements_support;
mod tidy;
