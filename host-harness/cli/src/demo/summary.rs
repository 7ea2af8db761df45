//! The numbers of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use azure_iot_emulator::{Exchange, Service};
use serde::Serialize;

use super::actions::{ActionRecord, Caller};
use super::check::SelfCheck;
use super::commissioning::CommissioningSummary;
use super::cooling::CoolingSummary;
use super::numbers::Latency;

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
