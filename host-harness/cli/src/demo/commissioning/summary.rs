//! The numbers of the workflow that commissions devices.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::super::numbers::{Latency, PlantNumbers};
use super::check::{Coalescing, Delivery, Findings};
use super::engine::Observed;
use super::workflow::Alarm;

/// The result of the workflow.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommissioningSummary {
    /// What happened in the plant.
    pub plant: PlantNumbers,
    /// The number of events, by trigger and change.
    pub events: Vec<EventNumbers>,
    /// Devices that could not register.
    pub alarms: Vec<Alarm>,
    /// Polls and scans.
    pub polling: PollingNumbers,
    /// The time from a change in the emulator's journal to the change's event, including the pause between polls.
    pub event_latency: Latency,
    /// For each collection, the number of changes and the number of events.
    pub changes: Vec<Coalescing>,
}

/// The number of events of one trigger with one kind of change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventNumbers {
    /// The trigger's id.
    pub trigger: String,
    /// `created`, `updated` or `deleted`.
    pub change: String,
    /// The number of events.
    pub count: u64,
}

/// How the triggers were polled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PollingNumbers {
    /// The number of polls, including failed ones.
    pub polls: u64,
    /// The number of complete scans.
    pub scans: u64,
    /// The number of polls that failed, by error code. Each was repeated.
    pub failures: BTreeMap<String, u64>,
    /// Notices of the connector, by code.
    pub notices: BTreeMap<String, u64>,
    /// How often the engine died and continued from its committed cursor, by trigger.
    pub crashes: BTreeMap<String, u64>,
}

pub(super) fn summarize(
    plant: PlantNumbers,
    observed: &Observed,
    alarms: Vec<Alarm>,
    findings: &Findings,
) -> CommissioningSummary {
    let times = findings.latencies.iter().flatten();
    CommissioningSummary {
        plant,
        events: event_numbers(&observed.deliveries),
        alarms,
        polling: PollingNumbers {
            polls: observed.polls,
            scans: observed.scans.len() as u64,
            failures: observed.failures.clone(),
            notices: observed.notices.clone(),
            crashes: observed.crashes.iter().map(|(it, count)| (it.trigger().to_owned(), *count)).collect(),
        },
        event_latency: Latency::of(
            times.map(|nanoseconds| Duration::from_nanos(u64::try_from(*nanoseconds).unwrap_or_default())),
        ),
        changes: findings.changes.clone(),
    }
}

fn event_numbers(deliveries: &[Delivery]) -> Vec<EventNumbers> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for delivery in deliveries {
        *counts.entry((delivery.collection.trigger(), &delivery.change)).or_default() += 1;
    }
    let numbers = counts.into_iter().map(|((trigger, change), count)| EventNumbers {
        trigger: trigger.to_owned(),
        change: change.to_owned(),
        count,
    });
    numbers.collect()
}
