//! What this process takes from the machine, as Linux tells.

use anyhow::{Context as _, Result};

/// Memory that is this process's alone and was written to, in bytes: neither shared code nor untouched mappings.
///
/// # Errors
/// Where there is no `/proc/self/smaps_rollup`.
pub fn private_memory() -> Result<u64> {
    let told = std::fs::read_to_string("/proc/self/smaps_rollup").context("no smaps_rollup; this needs Linux")?;
    let line = told.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).context("no Private_Dirty")?;
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
