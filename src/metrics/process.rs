//! What the kernel says of this process, read when somebody asks.

use metrics::gauge;

/// Refreshes the `process_*` families. What the kernel does not tell is left as it was.
#[allow(clippy::disallowed_methods, reason = "/proc is no data file")]
pub(super) fn update() {
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let kib = |key: &str| -> Option<f64> {
            let line = status.lines().find_map(|l| l.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        if let Some(resident) = kib("VmRSS:") {
            gauge!("process_resident_memory_bytes").set(resident * 1024.0);
        }
        if let Some(anonymous) = kib("RssAnon:") {
            gauge!("process_anonymous_memory_bytes").set(anonymous * 1024.0);
        }
    }
    if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(fds.count() as f64);
    }
    if let Some(max) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        gauge!("process_max_fds").set(max as f64);
    }
    if let Some((cpu_ticks, start_ticks)) = stat() {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        // The exporter's counters are whole numbers, and CPU time moves in hundredths.
        gauge!("process_cpu_seconds").set(cpu_ticks as f64 / ticks);
        if let Some(boot) = boot_time() {
            gauge!("process_start_time_seconds").set(boot as f64 + start_ticks as f64 / ticks);
        }
    }
}

/// Ticks of CPU spent, and ticks after boot at which the process started.
#[allow(clippy::disallowed_methods, reason = "/proc is no data file")]
fn stat() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in brackets and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let start: u64 = fields.nth(6)?.parse().ok()?;
    Some((user + system, start))
}

#[allow(clippy::disallowed_methods, reason = "/proc is no data file")]
fn boot_time() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()
}
