//! The numbers of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use azure_iot_emulator::{Exchange, Service};
use serde::Serialize;

use super::actions::{ActionRecord, Caller};
use super::check::SelfCheck;
use super::commissioning::CommissioningSummary;
use super::cooling::CoolingSummary;

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The seed: the same one makes the same keys, the same overloads and the same failures.
    pub seed: u64,
    /// How much faster than its plan it ran.
    pub speed: f64,
    /// How long the run took, in milliseconds, linking not counted.
    pub elapsed_ms: u64,
    /// The workflow that cools machines, where it ran.
    pub cooling: Option<CoolingSummary>,
    /// The workflow that commissions devices, where it ran.
    pub commissioning: Option<CommissioningSummary>,
    /// Actions by caller, name and outcome.
    pub actions: Vec<ActionNumbers>,
    /// Attempts of actions that failed and were made again, by error code.
    pub action_failures: BTreeMap<String, u64>,
    /// What went over HTTP.
    pub traffic: TrafficNumbers,
    /// From calling an action to its end, by name.
    pub action_latency: BTreeMap<String, Latency>,
    /// What the component did beside what the emulator recorded.
    pub check: SelfCheck,
}

/// What happened in the plant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlantNumbers {
    /// Rows of the fleet file.
    pub devices: usize,
    /// Enrollments made.
    pub enrolled: usize,
    /// Registrations, repeated ones too.
    pub registered: usize,
    /// Registrations that were refused for a wrong credential.
    pub refused: usize,
    /// Devices that were taken out.
    pub left: usize,
}

/// Calls of one action with one outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionNumbers {
    /// `plant`, `commissioning` or `cooling`.
    pub caller: &'static str,
    /// The action's id.
    pub action: String,
    /// `done`, or the code of the error.
    pub outcome: String,
    /// How many.
    pub count: u64,
    /// Attempts beyond the first, made by the engine.
    pub repeats: u64,
}

/// What went over HTTP, and the failures of both protocols.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficNumbers {
    /// Requests.
    pub requests: u64,
    /// Bytes of all bodies.
    pub bytes: u64,
    /// Failures that the emulator was set to make, and made.
    pub injected: u64,
    /// Answers by status; `dropped` where there was none.
    pub answers: BTreeMap<String, u64>,
    /// Failed requests by what they were for.
    pub failed: BTreeMap<String, u64>,
    /// Injected failures that the component overcame by itself: no call ended with them.
    pub overcome_inside: u64,
}

impl TrafficNumbers {
    pub(super) fn add(&mut self, exchanges: &[Exchange]) {
        for exchange in exchanges {
            self.requests += 1;
            self.bytes += (exchange.request_body.len() + exchange.response_body.len()) as u64;
            let status = exchange.status.map_or_else(|| "dropped".to_owned(), |status| status.to_string());
            if exchange.status.is_none_or(|status| status == 429 || status >= 500) {
                let service = if exchange.service == Service::Hub { "hub" } else { "dps" };
                // The first and the last segment say what it was; ids in between would only make it long.
                let mut segments = exchange.path.split('/').filter(|segment| !segment.is_empty());
                let first = segments.next().unwrap_or_default();
                let last = match segments.next_back() {
                    Some("query") => "/query",
                    Some(_) => "/…",
                    None => "",
                };
                let key = format!("{service} {} /{first}{last}: {status}", exchange.method);
                *self.failed.entry(key).or_default() += 1;
            }
            *self.answers.entry(status).or_default() += 1;
        }
    }
}

/// A distribution, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// The median.
    pub p50_ms: f64,
    /// What 95 of 100 stay below.
    pub p95_ms: f64,
    /// The longest.
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

pub(super) fn action_numbers(records: &[ActionRecord]) -> Vec<ActionNumbers> {
    let mut counts: BTreeMap<(Caller, &str, &str), (u64, u64)> = BTreeMap::new();
    for record in records {
        let (count, repeats) = counts.entry((record.caller, record.action, &record.outcome)).or_default();
        *count += 1;
        *repeats += u64::from(record.attempts - 1);
    }
    let numbers = counts.into_iter().map(|((caller, action, outcome), (count, repeats))| ActionNumbers {
        caller: caller.as_str(),
        action: action.to_owned(),
        outcome: outcome.to_owned(),
        count,
        repeats,
    });
    numbers.collect()
}

pub(super) fn action_latency(records: &[ActionRecord]) -> BTreeMap<String, Latency> {
    let mut times: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for record in records {
        times.entry(record.action.to_owned()).or_default().push(record.took);
    }
    times.into_iter().map(|(action, times)| (action, Latency::of(times))).collect()
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
