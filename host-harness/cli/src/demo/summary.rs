//! The numbers of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use azure_iot_emulator::{Exchange, Service};
use serde::Serialize;

use super::actions::{ActionRecord, Caller};
use super::check::SelfCheck;
use super::commissioning::CommissioningSummary;
use super::cooling::CoolingSummary;

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The seed: the same seed makes the same keys, the same overloads and the same failures.
    pub seed: u64,
    /// The factor by which the run was faster than planned.
    pub speed: f64,
    /// How long the run took, in milliseconds, without the time for linking the account.
    pub elapsed_ms: u64,
    /// The result of the workflow that cools machines; `None` if it did not run.
    pub cooling: Option<CoolingSummary>,
    /// The result of the workflow that commissions devices; `None` if it did not run.
    pub commissioning: Option<CommissioningSummary>,
    /// The calls of actions, by caller, action and outcome.
    pub actions: Vec<ActionNumbers>,
    /// The number of failed attempts of actions that were repeated, by error code.
    pub action_failures: BTreeMap<String, u64>,
    /// The HTTP traffic, and the failures of HTTP and AMQP.
    pub traffic: TrafficNumbers,
    /// The time from the call of an action to its end, by the action's id.
    pub action_latency: BTreeMap<String, Latency>,
    /// The comparison of what the component did with what the emulator recorded.
    pub check: SelfCheck,
}

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
    /// The number of calls.
    pub count: u64,
    /// The number of attempts that the engine made after the first attempt of each call.
    pub repeats: u64,
}

/// The HTTP traffic, and the failures of HTTP and AMQP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficNumbers {
    /// The number of HTTP requests.
    pub requests: u64,
    /// The bytes of all request and response bodies.
    pub bytes: u64,
    /// The number of failures that the emulator injected.
    pub injected: u64,
    /// The number of answers by HTTP status; `dropped` counts requests without an answer.
    pub answers: BTreeMap<String, u64>,
    /// The number of failed requests, by service, method, path and status.
    pub failed: BTreeMap<String, u64>,
    /// The number of injected failures that the component overcame by itself: no call ended with them.
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
                // The first segment and a last `query` state what the request was for. Ids are left out, because they
                // would make the key long.
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
