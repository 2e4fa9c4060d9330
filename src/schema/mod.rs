//! Tables and columns: what they are called, what they hold, and who claimed them first.
//!
//! The [`Registry`] is read by every connection without locks and maps (database, name) to a [`Table`]; a table maps a column
//! name to a [`Column`]. Names, types and partitions that a line brings along are **claimed** there together, all or none,
//! after every other check of the line and before its row enters a frame. The first claim wins; a later line of
//! another type is refused at once; so apply never meets a row that it must refuse.
//!
//! A claim is not yet in any log. Sessions attach the [`Definition`]s they use to their receipts until they see them marked
//! as logged; the sequencer logs the first one and marks it. At a start the registry is rebuilt from catalog and log.
//!
//! A statement's change of a table ([`TableChange`]) is made in the registry and handed to the log in one step, under the table's own
//! claims: whoever sees it logs what follows later. So the log has changes and claims in an order in which each is
//! possible, and sessions that still use an old definition name ids, which mean the same for ever: a row of a dropped column loses
//! that value, a row of a renamed table or column lands in it, a value of a retyped column is converted. A [`Shape`] is a
//! table after all its changes; registry, storage and recovery build it from the same [`Alteration`]s.
//!
//! Names: 1 to `name_bytes` bytes of UTF-8 without control characters. Case is kept; two names of one database (or two columns
//! of one table) that differ by case only are refused, since open readers fold case. No name ever builds a path.

mod alteration;
mod change;
mod definition;
mod options;
mod shape;

mod name;
mod registry;
mod sync;
mod table;
mod version;

pub use alteration::Alteration;
pub use change::{AlterError, DedupRule, TableChange};
pub use definition::{ColumnDef, Definition, TableDef};
pub use name::{check_column_name, check_table_name, is_deceptive};
pub use options::{Dedup, Keys, TableOptions};
pub use registry::{Claim, ClaimError, CreateError, Registry, SchemaLimits, TablePolicy};
pub use shape::{Became, Shape};
pub use table::{Column, Schema, Table};
