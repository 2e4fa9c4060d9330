//! A change of a table as a statement asks for it, and why it may be refused.

use super::ClaimError;
use crate::types::ColumnType;
use std::sync::Arc;

/// A change of a table as a statement asks for it, by names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TableChange {
    /// The table gets more columns.
    AddColumns {
        /// Their names and types.
        columns: Vec<(String, ColumnType)>,
        /// Those that are there are left alone.
        if_not_exists: bool,
    },
    /// The table gets another name.
    Rename(String),
    /// A column goes.
    DropColumn {
        /// Which column.
        name: String,
        /// A column that does not exist is no error.
        if_exists: bool,
    },
    /// A column gets another name.
    RenameColumn {
        /// The name that it has.
        from: String,
        /// The name that it gets.
        to: String,
    },
    /// A column gets another type; its values are converted.
    RetypeColumn {
        /// Which column.
        name: String,
        /// What it holds from now on.
        ty: ColumnType,
    },
    /// Another rule for duplicates.
    Dedup(DedupRule),
    /// Seconds after which a partition goes; 0 keeps everything, `None` leaves it to the configuration.
    TtlS(Option<u64>),
    /// Milliseconds that late rows are waited for before a flush.
    O3MaxLagMs(Option<u64>),
    /// Rows after which a segment ends.
    SegmentRows(Option<u64>),
}

/// A rule for duplicates as a statement names it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum DedupRule {
    /// All rows are kept.
    #[default]
    Append,
    /// The last row of these columns replaces those before it. The designated timestamp is one of them.
    Replace(Vec<String>),
    /// The last row of a tag set replaces those before it.
    ReplaceByTags,
    /// The rows of a tag set become one.
    Merge,
}

/// Why a change is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AlterError {
    /// There is no such column.
    #[error("column '{0}' does not exist")]
    NoColumn(String),
    /// The designated timestamp stays what it is.
    #[error("the designated timestamp cannot be changed")]
    Designated,
    /// Duplicates are found by it, or those of rows of before.
    #[error(
        "column '{0}' is or was a key of the table's duplicates and cannot be {1}: older rows are told apart by it"
    )]
    Key(String, &'static str),
    /// The name, or one that differs by case only, is in use.
    #[error("the name '{0}', or one that differs from it by case only, is in use")]
    NameTaken(String),
    /// An array is neither a key nor converted.
    #[error("column '{0}' holds arrays, which are neither keys nor converted")]
    Array(String),
    /// A value that does not convert would let an older one show.
    #[error(
        "values of column '{0}' may not convert, which a table that is or was under MERGE does not allow: only to VARCHAR, or to a type that has them all"
    )]
    Lossy(String),
    /// The keys of duplicates must have the designated timestamp among them.
    #[error("the keys must include the designated timestamp '{0}'")]
    KeysWithoutTime(Arc<str>),
    /// A name breaks a rule, or a limit is reached.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}
