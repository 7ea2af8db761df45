//! Numbers that more than one part of the summary has.

use std::time::Duration;

use serde::Serialize;

/// What happened in the plant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlantNumbers {
    /// Rows of the fleet file.
    pub devices: usize,
    /// Enrollments that were created.
    pub enrolled: usize,
    /// Registrations, including repeated ones.
    pub registered: usize,
    /// Registrations that were refused for a wrong credential.
    pub refused: usize,
    /// Devices that left: their enrollment or their registration was deleted.
    pub left: usize,
}

/// The distribution of measured times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// The number of times that were measured.
    pub count: u64,
    /// The median.
    pub p50_ms: f64,
    /// The 95th percentile: 95 of 100 times are not longer.
    pub p95_ms: f64,
    /// The longest time.
    pub max_ms: f64,
}

impl Latency {
    pub(super) fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort();
        let rank = |share: f64| {
            let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
            times.get(index).map_or(0.0, |time| (time.as_secs_f64() * 100_000.0).round() / 100.0)
        };
        Self { count: times.len() as u64, p50_ms: rank(0.5), p95_ms: rank(0.95), max_ms: rank(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let latency = Latency::of((1..=100).rev().map(Duration::from_millis));
        assert_eq!((latency.count, latency.p50_ms, latency.p95_ms, latency.max_ms), (100, 50.0, 95.0, 100.0));
        assert_eq!(Latency::of([]), Latency::default());
        assert_eq!(Latency::of([Duration::from_micros(1500)]).p50_ms, 1.5);
    }
}
