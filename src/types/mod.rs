//! Words that every stage shares: ids, transaction numbers, time partitions, column types.
//!
//! Nothing here has behaviour beyond arithmetic and spelling, and nothing here imports from the crate.

mod column;
mod dump;
mod ids;
mod partition;
mod time;
pub mod wire;

pub use column::ColumnType;
pub use dump::{Damage, Dump};
pub use ids::{ColumnId, SegmentId, SeqTxn, TableId, WriterId};
pub use partition::{PartitionBy, PartitionKey};
pub use time::parse_time;
