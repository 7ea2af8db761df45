//! What is observed of the engine from outside. It outlives the engine's deaths, and the self-check reads it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use connector_host::interface::trigger::{Event, Payload};

/// A hot reading, as it reached the workflow.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hot {
    /// The event's id.
    pub(super) event: String,
    pub(super) partition: String,
    pub(super) sequence: i64,
    pub(super) device: String,
    /// In degrees Celsius.
    pub(super) temperature: f64,
    /// When the hub took it, RFC 3339.
    pub(super) time: String,
    /// Events with the same one are worked on one after the other.
    pub(super) order_key: String,
}

impl Hot {
    /// Reads an event of the trigger. What is missing is empty, so that the self-check sees it.
    pub(super) fn read(event: &Event) -> Self {
        let data: Value = match &event.data {
            Payload::Json(text) => serde_json::from_str(text).unwrap_or_default(),
            Payload::Text(_) | Payload::Bytes(_) => Value::Null,
        };
        Self {
            event: event.id.clone(),
            partition: event.partition.clone(),
            sequence: data.get("sequenceNumber").and_then(Value::as_i64).unwrap_or(-1),
            device: data.get("deviceId").and_then(Value::as_str).unwrap_or_default().to_owned(),
            temperature: data.pointer("/fields/temperature").and_then(Value::as_f64).unwrap_or(f64::NAN),
            time: event.time.clone().unwrap_or_default(),
            order_key: event.order_key.clone(),
        }
    }
}

/// How an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every action succeeded.
    Done,
    /// An action kept failing, and the event was put aside.
    Parked,
}

/// One thing that the engine did.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// An event reached the workflow.
    Delivered(Hot),
    /// Its work ended.
    Settled { partition: String, sequence: i64, outcome: Outcome },
    /// A cursor was committed, and with it every event up to this one.
    Committed { partition: String, through: Option<i64> },
    /// The partition's loop died with all that was not committed.
    Died { partition: String },
}

/// How reading a partition goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Events that the hub has and that were not read yet, at the last poll.
    pub(super) lag: Option<u64>,
    /// Events that were read and are not committed.
    pub(super) in_flight: usize,
    /// What went wrong with the last poll.
    pub(super) trouble: Option<String>,
}

/// Everything that was observed.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// In order.
    pub(super) steps: Vec<Step>,
    pub(super) polls: u64,
    /// Polls that failed, by error code.
    pub(super) failures: BTreeMap<String, u64>,
    /// Notices of the connector, by code.
    pub(super) notices: BTreeMap<String, u64>,
    /// By partition.
    pub(super) reading: BTreeMap<String, Reading>,
}

/// [`Entries`] that many tasks write.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Entries>);

impl Ledger {
    pub(super) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, step: Step) {
        self.entries().steps.push(step);
    }
}
