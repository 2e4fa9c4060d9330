//! The data directory of a server that does not run, for commands that look into it.

use crate::clock::Clock;
use crate::config::SettingsArgs;
use crate::engine::Engine;
use crate::io::Fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Opens the folder, replays what its WAL holds, and flushes it, so that every row is in the parts of
/// [`Engine::source`]. The folder is locked until the engine is dropped.
///
/// # Errors
/// One line that says why: a server runs on the folder, it is none, or it cannot be read.
pub fn open_stopped(dir: &Path) -> Result<Arc<Engine>, String> {
    if !Fs::real().exists(&dir.join("wal")).unwrap_or(false) {
        return Err(format!("{} is no data directory", dir.display()));
    }
    let args = SettingsArgs {
        data_dir: Some(dir.to_string_lossy().into_owned()),
        ..SettingsArgs::default()
    };
    let (settings, _) = args.load().map_err(|e| e.to_string())?;
    let engine =
        Engine::open(settings.engine(), Fs::real(), Clock::real()).map_err(|e| e.to_string())?;
    if !engine.close(CLOSE_TIME_MAX).flushed {
        return Err(format!(
            "{}: what the WAL holds could not be written to Parquet",
            dir.display()
        ));
    }
    Ok(engine)
}

/// Far beyond what a replay takes.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(3600);
