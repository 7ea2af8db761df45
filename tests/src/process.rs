//! Resources that this process uses, as Linux reports them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

/// Private memory that was written to, in bytes. Shared code and untouched mappings do not count.
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
    // Reading the list needs a descriptor too, so one is subtracted.
    Ok(std::fs::read_dir("/proc/self/fd").context("no /proc/self/fd; this needs Linux")?.count() - 1)
}

/// The computing time of this process so far.
#[must_use]
pub fn computed() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

/// The computing time of the caller's thread so far.
#[must_use]
pub fn thread_computed() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    clock_gettime(clock).try_into().unwrap_or_default()
}
