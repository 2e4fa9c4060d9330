//! The catalog: which tables, columns and parts there are, and up to which transaction each table is flushed.
//!
//! One log for the server, of [`Edit`]s. A commit is a list of edits that take effect together, each with a precondition; commits that wait at
//! the same time share one append and one sync. When [`Catalog::commit`] returns, the commit is on the device.
//!
//! The log is a chain of chunks of which only the newest counts: it opens with a checkpoint of everything and appears under its
//! name whole. Every start writes one, with the start's epoch, and so does a log that has grown long. `docs/formats/catalog-log.md`
//! has the bytes, the table of what recovery does, and what it expects of the medium.

mod edit;
mod format;
mod inspect;
mod log;
mod state;
#[cfg(test)]
mod tests;

pub use edit::Edit;
pub(super) use format::VERSION;
pub use inspect::inspect_catalog;
pub use log::{Catalog, FoundCatalog, TornEnd};
pub use state::{CatalogState, TableState};
