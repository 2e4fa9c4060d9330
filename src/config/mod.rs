//! The configuration: every key of every stage, its default, and the layers that may set it.
//!
//! A key is spelled `section.key`, or `key` for the few that belong to the whole server. Four layers set keys, later ones win:
//! the defaults, a TOML file, the environment (`wal.segment_bytes` is `HEADWATER_WAL_SEGMENT_BYTES`), and the command line.
//!
//! - [`Settings`] declares the keys once: type, default and help. `docs/configuration.md` is printed from it ([`reference()`]).
//! - [`Layers`] puts the layers together. A key that is not known, or a value that does not fit, is an error that says
//!   where it stands and what would be right; only an unknown *environment variable* is no more than a warning, because
//!   other programs set variables too (Kubernetes adds `HEADWATER_PORT` to every pod beside a service of that name).
//! - What needs more than one key to judge is judged in [`Settings::validate`], once.
//!
//! Not here: what the keys do (each stage), reading the command line (`main`).

mod settings;

mod layers;

mod args;

mod compose;
mod reference;

pub use args::SettingsArgs;
pub use layers::{ConfigError, Layers};
pub use reference::reference;
pub use settings::*;
