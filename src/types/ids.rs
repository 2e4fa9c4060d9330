//! Newtypes for every number that names something, so that two of them never change places.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A table, for ever: a dropped table's id is never used again.
    TableId,
    u32
);
id!(
    /// A column of one table, dense from 0, for ever. Column 0 is the designated timestamp.
    ColumnId,
    u32
);
id!(
    /// A WalWriter: the folder `wal/<writer>` and everything in it.
    WriterId,
    u32
);
id!(
    /// One file of a writer, dense from 0.
    SegmentId,
    u32
);
id!(
    /// A table's transaction number: dense, from 1. 0 means "none yet".
    SeqTxn,
    u64
);

impl ColumnId {
    /// The designated timestamp of every table.
    pub const TIME: ColumnId = ColumnId(0);
}

impl SeqTxn {
    /// No transaction yet.
    pub const NONE: SeqTxn = SeqTxn(0);

    /// The transaction after this one.
    pub fn next(self) -> SeqTxn {
        SeqTxn(self.0 + 1)
    }
}
