//! The codec: bytes to borrowed lines, and lines to bytes. Pure: no I/O, no clock, no tables.
//!
//! # What it promises
//!
//! - **One dialect, said once.** `docs/line-protocol.md` is the contract; [`grammar`] is the same
//!   contract as a readable nom grammar; [`Parser`] and [`Cursor`] are held to it by tests, by
//!   proptest and by fuzzing.
//! - **A bad line costs itself.** [`LineSplitter`] finds the next line whatever the last one held,
//!   and a [`LineError`] says why ([`Reason`], a closed set), where (a byte), and in words.
//! - **Fragments do not matter.** Lines are found in a growing buffer; every byte is looked at a
//!   bounded number of times however it was cut into reads.
//! - **No allocation per line** in the steady state, no quadratic behaviour, no panic, on any bytes.
//!
//! # Two ways through
//!
//! ```text
//!            memchr '\n'            key known, fields as expected
//!  bytes ────────────────▶ Cursor ─────────────────────────────────▶ row
//!            │ anything unusual: the line is begun again
//!            ▼
//!       LineSplitter ─────▶ Parser ─────────────────────────────────▶ row, or LineError
//! ```
//!
//! [`Cursor`] never decides what is wrong; it only recognises what is plainly right, and gives what
//! [`Parser`] would give. Names are validated by `Parser` alone: the caller of `Cursor` knows a
//! series or a field because `Parser` let it pass before. A series that is new goes through
//! [`Parser::series`] alone, so that its line need not begin again.
//!
//! Not here: table and column names that a file system or a peer could choke on, types of columns,
//! server time (all `schema` and `engine`), sockets (`server`).

mod limits;
mod reason;

mod binary;
mod line;
mod number;
mod scan;

mod cursor;
mod parser;
mod split;

pub mod encode;
mod foreign;
pub mod grammar;

pub use binary::Doubles;
pub use cursor::{Cursor, Next};
pub use foreign::{Foreign, Greeting};
pub use limits::{Dialect, Limits, Precision};
pub use line::{FieldValue, Item, Line};
pub use parser::Parser;
pub use reason::{LineError, Reason};
pub use split::{LineSplitter, Split};
