//! The faces of the server: line protocol over TCP, HTTP, the process around them.
//!
//! # Acknowledgement over TCP
//!
//! - **FIN.** A client that half-closes gets our FIN after every line it sent is durable, and a reset in every other case: a last
//!   line without newline, a stop, a failure, a kill. The listener carries `SO_LINGER(1, 0)`, which accepted sockets inherit, so that
//!   the kernel resets the sockets of a killed process; it is cleared after durability, just before the close.
//! - **`# ack TOKEN`.** Answered by `ok TOKEN lines=N rejected=M[ first=LINE:REASON]` once everything before it on the connection is
//!   durable: N rows committed and M lines refused since the reply before. `err TOKEN REASON` and a close on failure.
//! - Unasked, nothing is sent to a client that speaks line protocol. One that speaks HTTP or TLS gets one answer that says so.
//!
//! # Reading and not reading
//!
//! A connection is not read while its WAL has no room, while the memory gate is closed, while all writers are lent, while the
//! sequencer has too many of its commits before it, or while too many of its replies are outstanding. TCP carries that to the client; nothing is dropped. A bad line costs itself only.
//!
//! Each line-protocol connection stays on one of the event loops; HTTP, and whoever accepts, share the threads of the process's runtime.
//!
//! # Start and stop
//!
//! Bind, recover, listen: a port in use is said at once, and nobody connects before the data is there. A stop ends the accepting,
//! reads on until clients pause or half the deadline is over, commits, answers, and gives the rest of the deadline to flushing. A
//! second signal ends the process at once, which the WAL is made for.
//!
//! # Limits
//!
//! Connections, bytes of a receive buffer, outstanding replies (1,024 of a connection), bytes of HTTP bodies, time of a request.
//!
//! Not here: what a line means (`codec`), what becomes of a row (`engine`), the flags of the command line (`main`).

mod error;
mod event_loops;
mod listener;

mod connection;
mod foreign;
mod ilp;
mod replies;

mod http;

mod process;
mod running;
mod serve;

mod check;
mod files;
mod stopped;

pub use check::{CheckArgs, InspectArgs, check, inspect};
pub use error::StartError;
pub use files::{FilesArgs, files};
pub use running::Server;
pub use serve::{ServeArgs, serve};
pub use stopped::open_stopped;
