//! What a table's owner may change of it: how it treats duplicates, how long it keeps rows, when it hurries.

use crate::types::ColumnId;
use crate::types::wire::{Put, Take};

/// The properties of a table that a statement may change. `None` leaves a matter to the server's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TableOptions {
    /// What becomes of rows with one key.
    pub dedup: Dedup,
    /// Seconds after which a partition goes; 0 keeps everything.
    pub ttl_s: Option<u64>,
    /// Milliseconds that a tail may wait for late rows before it is flushed.
    pub o3_max_lag_ms: Option<u64>,
    /// Rows of this table after which a segment ends.
    pub segment_rows: Option<u64>,
}

/// What becomes of rows of one time and one key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Dedup {
    /// All of them are kept.
    #[default]
    Append,
    /// The last one replaces those before it.
    Replace(Keys),
    /// They become one row: in each column the last value that is not null. The key is the tag set.
    Merge,
}

/// What tells rows of one time apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keys {
    /// All tags that the table has.
    Tags,
    /// These columns, in order of their ids.
    Columns(Vec<ColumnId>),
}

impl Dedup {
    /// What tells rows of one time apart; `None` when nothing does.
    pub fn keys(&self) -> Option<&Keys> {
        match self {
            Dedup::Append => None,
            Dedup::Replace(keys) => Some(keys),
            Dedup::Merge => Some(&Keys::Tags),
        }
    }

    /// Appends the rule: its number, then the list of key columns of the one that has it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Dedup::Append => out.put_u8(0),
            Dedup::Replace(Keys::Tags) => out.put_u8(1),
            Dedup::Replace(Keys::Columns(columns)) => {
                out.put_u8(2);
                out.put_u32(u32::try_from(columns.len()).expect("columns are limited"));
                columns.iter().for_each(|column| out.put_u32(column.0));
            }
            Dedup::Merge => out.put_u8(3),
        }
    }

    /// Takes what [`Dedup::encode`] wrote; `None` when it is damaged.
    pub fn decode(from: &mut Take<'_>) -> Option<Dedup> {
        Some(match from.u8()? {
            0 => Dedup::Append,
            1 => Dedup::Replace(Keys::Tags),
            2 => {
                let columns = (0..from.u32()?).map(|_| from.u32().map(ColumnId));
                Dedup::Replace(Keys::Columns(columns.collect::<Option<Vec<ColumnId>>>()?))
            }
            3 => Dedup::Merge,
            _ => return None,
        })
    }
}

impl TableOptions {
    /// Appends the options: the rule for duplicates, then three numbers of which the highest stands for none.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.dedup.encode(out);
        for number in [self.ttl_s, self.o3_max_lag_ms, self.segment_rows] {
            out.put_u64(number.unwrap_or(u64::MAX));
        }
    }

    /// Takes what [`TableOptions::encode`] wrote; `None` when it is damaged.
    pub fn decode(from: &mut Take<'_>) -> Option<TableOptions> {
        let dedup = Dedup::decode(from)?;
        let mut number = || from.u64().map(|n| (n != u64::MAX).then_some(n));
        Some(TableOptions {
            dedup,
            ttl_s: number()?,
            o3_max_lag_ms: number()?,
            segment_rows: number()?,
        })
    }
}
