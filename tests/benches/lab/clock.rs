//! The clocks of a round.

use std::time::{Duration, Instant};

use connector_tests::process::computed;
use serde::{Deserialize, Serialize};

/// What a round did, and the time that it took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// How many events or calls.
    pub events: usize,
    /// The elapsed time, in seconds.
    pub wall: f64,
    /// The computing time of the process, in seconds: all its threads, and the kernel's work for them.
    pub cpu: f64,
    /// The largest linear memory of the instance, in bytes; 0 where there is none.
    #[serde(default)]
    pub memory: usize,
    /// The bytes that came through sockets, TLS included; 0 where nobody counted.
    #[serde(default)]
    pub wire: u64,
}

impl Cost {
    /// How many a second of computing: what one core does if nothing else uses it.
    #[must_use]
    pub fn per_core(self) -> f64 {
        self.events as f64 / self.cpu
    }

    /// How many a second of elapsed time.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.events as f64 / self.wall
    }
}

/// The clocks at the beginning of a round.
pub struct Clocks {
    wall: Instant,
    cpu: Duration,
}

impl Clocks {
    /// Starts the clocks.
    #[must_use]
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: computed() }
    }

    /// Reads the clocks, after so many events or calls.
    #[must_use]
    pub fn stop(self, events: usize) -> Cost {
        let cpu = computed().saturating_sub(self.cpu).as_secs_f64();
        Cost { events, wall: self.wall.elapsed().as_secs_f64(), cpu, memory: 0, wire: 0 }
    }
}

/// The computing time of all ended child processes that were waited for, in seconds, in steps of 10 ms.
///
/// # Errors
/// Where there is no `/proc/self/stat`.
pub fn computed_by_children() -> anyhow::Result<f64> {
    use anyhow::Context as _;
    let stat = std::fs::read_to_string("/proc/self/stat").context("no /proc/self/stat; this needs Linux")?;
    // The name of the program is in parentheses, and may have blanks in it. Linux counts in hundredths of a second.
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let ticks = |index: usize| -> anyhow::Result<f64> {
        Ok(fields.split_whitespace().nth(index).context("too few fields")?.parse::<f64>()?)
    };
    Ok((ticks(13)? + ticks(14)?) / 100.0)
}
