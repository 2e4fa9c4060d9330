//! Where rows are once they are visible: sorted runs in memory, sorted Parquet parts on disk, and the catalog that says
//! which parts count. Written by apply alone; read by anybody through snapshots.
//!
//! A table is a list of **parts** (immutable files, each of one partition), the **tails** being flushed, and the open tail. A
//! **tail** holds, per partition, **runs**: rows in order of (time, arrival), whose tag sets are numbers of the tail's
//! **series set**. One pointer per table, [`TableStore`], holds all of this as a [`Snapshot`] of one transaction.
//!
//! Promises:
//! - A snapshot never changes and never loses a file: a part's file goes with the last snapshot that holds it.
//! - Order is total: rows sort by time, then by transaction, then by place in the transaction; runs, flush and compaction
//!   keep that order, so that a merge of merges is the merge of all.
//! - Duplicates are resolved on reading ([`Resolved`]) by the rule in force at the later row's transaction: a part's rows are as its
//!   rule leaves them, a run may have several of one key, and what is under different rules is never merged into one part.
//! - A part counts once the catalog names it. What the catalog does not name is garbage and goes at the next start.
//! - A row is encoded once by the flush, and copied in memory a few times at most before.
//!
//! Formats: `docs/formats/part.md`, `docs/formats/catalog-log.md`.

mod error;
mod pool;
mod series_set;
mod table_schema;

mod evolve;
mod gather;
mod merge;
mod rows;
mod run;
mod tail;

mod cursor;
mod hybrid;
mod inspect_part;
mod keyring;
mod merge_parts;
mod part;
mod part_reader;
mod part_writer;
mod read_back;
mod resolve;
mod rewrite_part;
mod table_dir;
mod tag_chunk;
mod write_part;

mod catalog;
mod snapshot;

#[cfg(test)]
mod tests;

pub use catalog::{
    Catalog, CatalogState, Edit, FoundCatalog, TableState, TornEnd, inspect_catalog,
};
pub use error::{Refusal, StorageError};
pub use evolve::conversion;
pub use inspect_part::inspect_part;
pub use merge_parts::merge_parts;
pub use part::{Part, PartId, PartMeta};
pub use part_reader::PartFile;
pub use part_writer::PartSync;
pub use read_back::{FoundPart, read_back};
pub use resolve::{Resolved, Source};
pub use rewrite_part::rewrite_without;
pub use rows::Rows;
pub use run::Run;
pub use series_set::SeriesSet;
pub use snapshot::{Snapshot, TableStore};
pub use table_dir::{Orphan, TableDir, list_tables, orphans, remove_orphans};
pub use table_schema::{FIELD_ID_KEY, TableSchema, arrow_type};
pub use tail::Tail;
pub use write_part::write_part;
