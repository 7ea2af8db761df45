//! The progress of a run.

use std::time::Duration;

use super::numbers::PlantNumbers;

/// The progress of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The simulated time that has passed.
    pub at: Duration,
    /// The simulated time of the last step that is planned.
    pub of: Duration,
    /// The progress of the workflow that cools machines; `None` if it does not run.
    pub cooling: Option<CoolingProgress>,
    /// The progress of the workflow that commissions devices; `None` if it does not run.
    pub commissioning: Option<CommissioningProgress>,
    /// The number of calls of actions that have ended.
    pub actions: usize,
    /// The number of failures that the emulator has injected.
    pub injected: u64,
    /// What happened since the last report, in words.
    pub news: Vec<String>,
}

/// The progress of the workflow that cools machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoolingProgress {
    /// Messages that machines and sensors have sent.
    pub sent: u64,
    /// Hot readings that reached the workflow.
    pub hot_readings: u64,
    /// Hot readings that the workflow has answered.
    pub answered: u64,
    /// Hot readings that were parked because an action kept failing.
    pub parked: u64,
    /// How often the loop of a partition died and was started again.
    pub restarts: u64,
    /// Machines that are hot and not being cooled, with their temperatures in degrees Celsius.
    pub hot: Vec<(String, f64)>,
    /// Machines that are being cooled, with their temperatures.
    pub cooling: Vec<(String, f64)>,
    /// How often a machine was cooled down.
    pub cooled: u64,
    /// The progress of each partition.
    pub partitions: Vec<PartitionProgress>,
}

/// The progress of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionProgress {
    /// The id of the partition.
    pub id: String,
    /// Hot readings of this partition that reached the workflow.
    pub hot: u64,
    /// Events in the hub's log, hot or not, that were still to be read after the last poll.
    pub lag: Option<u64>,
    /// Hot readings and pages that were read and are not committed yet.
    pub in_flight: usize,
    /// The sequence number of the last hot reading that is committed.
    pub committed: Option<i64>,
    /// The error of the last poll; `None` if it succeeded.
    pub trouble: Option<String>,
}

/// The progress of the workflow that commissions devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommissioningProgress {
    /// What has happened in the plant so far.
    pub plant: PlantNumbers,
    /// Events delivered.
    pub events: u64,
    /// Events that the workflow has finished with.
    pub handled: u64,
    /// Alarms raised.
    pub alarms: usize,
    /// How often the engine died and was started again.
    pub restarts: u64,
}
