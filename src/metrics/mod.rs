//! Every metric the server has: its name, what it counts, and the handle that stages touch.
//!
//! [`families`] is the contract: `docs/metrics.md` lists the same families (a test compares them), dashboards may use no
//! other names, and every family without a table label is exported from the start, at zero.
//!
//! Rules: prefix `headwater_`; base units; counters end in `_total`, gauges never do; labels come from closed sets, except the
//! capped table labels of [`table`]. Stages add once per batch, not once per row.
//!
//! Nothing here imports from the crate. Not here: serving the text (`server`), deciding what is worth counting (each stage).

mod families;
mod process;
mod recorder;
mod tables;

pub use families::*;
pub use recorder::{Exporter, install};
pub use tables::{LABELLED_TABLES_MAX, TableMetrics, table};
