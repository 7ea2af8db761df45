//! The numbers of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use azure_iot_emulator::MachineState;
use serde::Serialize;

use super::super::summary::Latency;
use super::check::{self, Evidence};
use super::ledger::{Entries, Step};
use super::store::DeadLetter;

/// What the workflow came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CoolingSummary {
    /// Messages that machines and sensors sent.
    pub sent: u64,
    /// How each partition went.
    pub partitions: Vec<PartitionNumbers>,
    /// How each machine fared.
    pub machines: Vec<MachineNumbers>,
    /// Hot readings that were answered.
    pub answered: u64,
    /// Hot readings that were given up on.
    pub dead_letters: Vec<DeadLetter>,
    /// From the hub's taking a hot reading to the machine's first answer.
    pub reaction: Latency,
    /// Polls, failed ones too.
    pub polls: u64,
    /// Polls that failed, by error code; each was made again.
    pub poll_failures: BTreeMap<String, u64>,
    /// Notices of the connector, by code.
    pub notices: BTreeMap<String, u64>,
}

/// How a partition went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionNumbers {
    /// Its id.
    pub id: String,
    /// Hot readings in the hub's log.
    pub hot_readings: u64,
    /// Deliveries to the workflow, repeated ones too.
    pub deliveries: u64,
    /// Commits of its cursor.
    pub commits: u64,
    /// How often its loop died and went on from what was committed.
    pub restarts: u64,
}

/// How a machine fared.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineNumbers {
    /// Its device id.
    pub device_id: String,
    /// The highest temperature that it sent, in degrees Celsius.
    pub hottest: f64,
    /// Its temperature at the end.
    pub temperature: f64,
    /// How often it was cooled down.
    pub cooled: u32,
    /// It switched itself off, and nobody cooled it.
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
