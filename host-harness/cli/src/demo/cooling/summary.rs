//! The numbers of the workflow that cools machines.

use std::collections::BTreeMap;
use std::time::Duration;

use azure_iot_emulator::MachineState;
use serde::Serialize;

use super::super::numbers::Latency;
use super::check::{self, Evidence};
use super::ledger::{Entries, Step};
use super::store::DeadLetter;

/// The result of the workflow.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CoolingSummary {
    /// Messages that machines and sensors sent.
    pub sent: u64,
    /// The numbers of each partition.
    pub partitions: Vec<PartitionNumbers>,
    /// The numbers of each machine.
    pub machines: Vec<MachineNumbers>,
    /// Hot readings that were answered.
    pub answered: u64,
    /// Hot readings that were parked because an action kept failing.
    pub dead_letters: Vec<DeadLetter>,
    /// The time from the moment when the hub received a hot reading to the machine's first answer.
    pub reaction: Latency,
    /// The number of polls, including failed ones.
    pub polls: u64,
    /// The number of polls that failed, by error code. Each was repeated.
    pub poll_failures: BTreeMap<String, u64>,
    /// Notices of the connector, by code.
    pub notices: BTreeMap<String, u64>,
}

/// The numbers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionNumbers {
    /// The id of the partition.
    pub id: String,
    /// Hot readings in the hub's log.
    pub hot_readings: u64,
    /// Deliveries to the workflow, including repeated ones.
    pub deliveries: u64,
    /// Commits of the partition's cursor.
    pub commits: u64,
    /// How often the partition's loop died and continued from its last commit.
    pub restarts: u64,
}

/// The numbers of a machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineNumbers {
    /// The machine's device id.
    pub device_id: String,
    /// The highest temperature that the machine sent, in degrees Celsius.
    pub hottest: f64,
    /// The machine's temperature at the end, in degrees Celsius.
    pub temperature: f64,
    /// How often the machine was cooled down.
    pub cooled: u32,
    /// Whether the machine switched itself off and nobody cooled it.
    pub stopped: bool,
}

pub(super) fn summarize(
    sent: u64,
    partitions: &[String],
    entries: Entries,
    evidence: &Evidence,
    dead_letters: Vec<DeadLetter>,
    states: Vec<MachineState>,
) -> CoolingSummary {
    let mut numbers: BTreeMap<&str, PartitionNumbers> = partitions
        .iter()
        .map(|id| (id.as_str(), PartitionNumbers { id: id.clone(), ..PartitionNumbers::default() }))
        .collect();
    for recorded in &evidence.recorded {
        numbers.entry(&recorded.partition).or_default().hot_readings += 1;
    }
    for step in &evidence.steps {
        match step {
            Step::Delivered(hot) => numbers.entry(&hot.partition).or_default().deliveries += 1,
            Step::Settled { .. } => {}
            Step::Committed { partition, .. } => numbers.entry(partition).or_default().commits += 1,
            Step::Died { partition } => numbers.entry(partition).or_default().restarts += 1,
        }
    }
    let reactions = check::reactions(evidence).into_iter();
    CoolingSummary {
        sent,
        partitions: numbers.into_values().collect(),
        machines: states.into_iter().map(MachineNumbers::from).collect(),
        answered: check::answered(evidence),
        dead_letters,
        reaction: Latency::of(reactions.map(|took| Duration::from_nanos(u64::try_from(took).unwrap_or_default()))),
        polls: entries.polls,
        poll_failures: entries.failures,
        notices: entries.notices,
    }
}

impl From<MachineState> for MachineNumbers {
    fn from(state: MachineState) -> Self {
        Self {
            device_id: state.id,
            hottest: state.hottest,
            temperature: state.temperature,
            cooled: state.cooled,
            stopped: state.stopped,
        }
    }
}
