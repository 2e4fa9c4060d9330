//! The command line's layer of the configuration.

use super::{ConfigError, Layers, Settings};
use std::path::PathBuf;

/// Flags that set keys. Every other key is set by file or environment.
#[derive(clap::Args, Clone, Default, Debug)]
pub struct SettingsArgs {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", env = "HEADWATER_CONFIG")]
    pub config: Option<PathBuf>,

    /// Folder of everything that is kept [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,

    /// Where to take line protocol [default: 127.0.0.1:9009]
    #[arg(long, value_name = "ADDR")]
    pub ilp_addr: Option<String>,

    /// Where to speak HTTP [default: 127.0.0.1:9000]
    #[arg(long, value_name = "ADDR")]
    pub http_addr: Option<String>,

    /// What an acknowledgement promises: sync (it is on the device), async (the same, later), nosync (the kernel has it)
    /// [default: sync]
    #[arg(long, value_name = "MODE")]
    pub durability: Option<String>,

    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// error, warn, info, debug or trace, or a filter such as info,headwater::apply=debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl SettingsArgs {
    /// The effective settings, and what deserves a warning: defaults, file, environment, then these flags.
    ///
    /// # Errors
    /// The file cannot be read, or a layer sets what is none of ours.
    #[allow(
        clippy::disallowed_methods,
        reason = "a file of the operator, not of the data directory"
    )]
    pub fn load(&self) -> Result<(Settings, Vec<String>), ConfigError> {
        let mut layers = Layers::defaults();
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path).map_err(|e| ConfigError {
                place: path.display().to_string(),
                fault: format!("cannot be read: {e}"),
            })?;
            layers.file(path, &text)?;
        }
        // Names and values that are not UTF-8 are no keys of ours.
        let variables = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        layers.environment(variables)?;
        for (flag, key, value) in [
            ("--data-dir", "data_dir", &self.data_dir),
            ("--ilp-addr", "ilp.addr", &self.ilp_addr),
            ("--http-addr", "http.addr", &self.http_addr),
            ("--durability", "durability", &self.durability),
            ("--log-format", "log.format", &self.log_format),
            ("--log-level", "log.level", &self.log_level),
        ] {
            if let Some(value) = value {
                layers.flag(flag, key, value)?;
            }
        }
        layers.finish()
    }
}
