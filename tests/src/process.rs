//! What this process takes from the machine, as Linux reports it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

/// Memory that is this process's alone and was written to, in bytes: neither shared code nor untouched mappings.
///
/// # Errors
/// Where there is no `/proc/self/smaps_rollup`.
pub fn private_memory() -> Result<u64> {
    let report = std::fs::read_to_string("/proc/self/smaps_rollup").context("no smaps_rollup; this needs Linux")?;
    let line = report.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).context("no Private_Dirty")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes << 10)
}

/// Open file descriptors.
///
/// # Errors
/// Where there is no `/proc/self/fd`.
pub fn file_descriptors() -> Result<usize> {
    // The list is read through a descriptor, too.
    Ok(std::fs::read_dir("/proc/self/fd").context("no /proc/self/fd; this needs Linux")?.count() - 1)
}

/// What this process has computed so far.
#[must_use]
pub fn computed() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

/// What the caller's thread has computed so far.
#[must_use]
pub fn thread_computed() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    clock_gettime(clock).try_into().unwrap_or_default()
}
