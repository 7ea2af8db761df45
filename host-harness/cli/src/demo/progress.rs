//! How far a run is.

use std::time::Duration;

use super::summary::PlantNumbers;

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Simulated time.
    pub at: Duration,
    /// The time of the last thing that is planned.
    pub of: Duration,
    /// The workflow that cools machines, where it runs.
    pub cooling: Option<CoolingProgress>,
    /// The workflow that commissions devices, where it runs.
    pub commissioning: Option<CommissioningProgress>,
    /// Actions that have ended.
    pub actions: usize,
    /// Failures injected.
    pub injected: u64,
    /// What happened since the last time, in words.
    pub news: Vec<String>,
}

/// How far the cooling of machines is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoolingProgress {
    /// Messages that machines and sensors have sent.
    pub sent: u64,
    /// Hot readings that reached the workflow.
    pub hot_readings: u64,
    /// Of these, those that were answered.
    pub answered: u64,
    /// Of these, those that were given up on.
    pub parked: u64,
    /// How often a partition's loop has died and gone on.
    pub restarts: u64,
    /// Machines that are hot and not being cooled, with their temperatures in degrees Celsius.
    pub hot: Vec<(String, f64)>,
    /// Machines that are being cooled, with their temperatures.
    pub cooling: Vec<(String, f64)>,
    /// How often a machine was cooled down.
    pub cooled: u64,
    /// The partitions.
    pub partitions: Vec<PartitionProgress>,
}

/// How far a partition is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionProgress {
    /// Its id.
    pub id: String,
    /// Hot readings from it.
    pub hot: u64,
    /// Events in the hub's log that were not read at the last poll, hot or not.
    pub lag: Option<u64>,
    /// Hot readings and pages that were read and are not committed.
    pub in_flight: usize,
    /// The sequence number of the last hot reading that is committed.
    pub committed: Option<i64>,
    /// What went wrong with the last poll.
    pub trouble: Option<String>,
}

/// How far the commissioning of devices is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommissioningProgress {
    /// The plant so far.
    pub plant: PlantNumbers,
    /// Events delivered.
    pub events: u64,
    /// Events that the workflow has worked off.
    pub handled: u64,
    /// Alarms raised.
    pub alarms: usize,
    /// How often the engine has died and gone on.
    pub restarts: u64,
}
