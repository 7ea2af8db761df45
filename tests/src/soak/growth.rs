//! Whether the process grows after its warm-up.

use std::time::Duration;

use crate::process;
use anyhow::{Context as _, Result, ensure};

/// How much more than the third quarter of a run the last quarter may need. Allocators keep some pages, and some
/// connections are just being replaced.
struct Slack {
    percent: u64,
    memory: u64,
    descriptors: u64,
}

/// The limits for short runs, which are still warming up.
const SHORT: Slack = Slack { percent: 10, memory: 24 << 20, descriptors: 100 };
const LONG: Slack = Slack { percent: 2, memory: 4 << 20, descriptors: 40 };
/// Runs of at least this length are judged by [`LONG`].
const WARM: Duration = Duration::from_secs(15 * 60);

/// Samples of the process over time.
#[derive(Default)]
pub struct Growth(Vec<Sample>);

#[derive(Clone, Copy)]
struct Sample {
    after: Duration,
    memory: u64,
    descriptors: usize,
}

impl Growth {
    /// Takes a sample of the process.
    ///
    /// # Errors
    /// Where the system does not report the numbers.
    pub fn observe(&mut self, after: Duration) -> Result<()> {
        let (memory, descriptors) = (process::private_memory()?, process::file_descriptors()?);
        self.0.push(Sample { after, memory, descriptors });
        Ok(())
    }

    /// Whether the last sample begins another minute.
    pub fn is_minute(&self) -> bool {
        let minutes = |sample: &Sample| sample.after.as_secs() / 60;
        matches!(self.0.as_slice(), [.., before, last] if minutes(before) != minutes(last))
    }

    /// The last sample, as text.
    pub fn latest(&self) -> String {
        self.0
            .last()
            .map(|last| format!("{} MiB, {} descriptors", last.memory >> 20, last.descriptors))
            .unwrap_or_default()
    }

    /// Fails where the last quarter of the run needs more than the third quarter.
    ///
    /// # Errors
    /// The resource that has grown, and by how much.
    pub fn judge(&self, length: Duration) -> Result<()> {
        let (warm, last) = self.compared(length)?;
        let Slack { percent, memory, descriptors } = if length < WARM { SHORT } else { LONG };
        let judge = |what: &str, warm: u64, last: u64, slack: u64| {
            ensure!(last <= warm + warm * percent / 100 + slack, "{what} grow: {warm} when warm, {last} at the end");
            Ok(())
        };
        judge("bytes of memory", warm.memory, last.memory, memory)?;
        judge("file descriptors", warm.descriptors as u64, last.descriptors as u64, descriptors)?;
        Ok(())
    }

    /// Both quarters in one line.
    ///
    /// # Errors
    /// As [`Self::judge`], where a quarter has no samples.
    pub fn summary(&self, length: Duration) -> Result<String> {
        let (warm, last) = self.compared(length)?;
        Ok(format!(
            "memory {} MiB when warm, {} MiB at the end; descriptors {} and {}",
            warm.memory >> 20,
            last.memory >> 20,
            warm.descriptors,
            last.descriptors
        ))
    }

    /// The medians of the third and of the fourth quarter.
    fn compared(&self, length: Duration) -> Result<(Sample, Sample)> {
        let quarter = |from: u32| {
            let range = length * from / 4..length * (from + 1) / 4 + Duration::from_secs(1);
            let samples: Vec<&Sample> = self.0.iter().filter(|sample| range.contains(&sample.after)).collect();
            let median = |value: fn(&Sample) -> u64| {
                let mut values: Vec<u64> = samples.iter().map(|sample| value(sample)).collect();
                values.sort_unstable();
                values.get(values.len() / 2).copied().context("the soak ended too early")
            };
            Ok::<_, anyhow::Error>(Sample {
                after: range.start,
                memory: median(|sample| sample.memory)?,
                descriptors: median(|sample| sample.descriptors as u64)? as usize,
            })
        };
        Ok((quarter(2)?, quarter(3)?))
    }
}
