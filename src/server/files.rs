//! `headwater files TABLE`: the parts of one version of a table, one path a line.

use super::open_stopped;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Print the Parquet files of one version of a table
#[derive(clap::Args, Clone, Debug)]
pub struct FilesArgs {
    /// Name of the table
    pub table: String,

    /// Database that the table is in
    #[arg(long, default_value = "public")]
    pub db: String,

    /// HTTP address of the server
    #[arg(
        long,
        default_value = "127.0.0.1:9000",
        env = "HEADWATER_HTTP_ADDR",
        value_name = "ADDR"
    )]
    pub http_addr: String,

    /// Read this folder of a stopped server instead, after replaying what its WAL holds
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Prints the paths; code 1 when there is no such table or nobody to ask.
pub fn files(args: &FilesArgs) -> ExitCode {
    let listed = match &args.data_dir {
        None => ask(args),
        Some(dir) => open(args, dir),
    };
    match listed {
        Ok(paths) => {
            for path in paths {
                println!("{path}");
            }
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn ask(args: &FilesArgs) -> Result<Vec<String>, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .build()
        .into();
    let url = format!("http://{}/api/v1/files", args.http_addr);
    let answer = agent.get(&url).query("db", &args.db).query("table", &args.table).call();
    let mut answer = answer.map_err(|e| format!("{url}: {e}; is the server running?"))?;
    let text = answer.body_mut().read_to_string().map_err(|e| format!("{url}: {e}"))?;
    let json: Value = serde_json::from_str(&text).map_err(|e| format!("{url}: {e}"))?;
    if let Some(fault) = json["error"].as_str() {
        return Err(fault.to_owned());
    }
    let files = json["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(files.iter().filter_map(|file| file["path"].as_str().map(str::to_owned)).collect())
}

fn open(args: &FilesArgs, dir: &Path) -> Result<Vec<String>, String> {
    let engine = open_stopped(dir)?;
    let found = engine.source().snapshot(&args.db, &args.table);
    let found = found.ok_or_else(|| {
        format!("table {:?} does not exist in database {:?}", args.table, args.db)
    })?;
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    Ok(found
        .parts
        .iter()
        .map(|part| absolute(part.path()).to_string_lossy().into_owned())
        .collect())
}

const TIMEOUT: Duration = Duration::from_secs(30);
