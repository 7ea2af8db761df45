//! The record of what the engine does. It survives the engine's deaths, and the self-check reads it.

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
    /// When the hub received the reading, RFC 3339.
    pub(super) time: String,
    /// Events with the same order key are worked on one after the other.
    pub(super) order_key: String,
}

impl Hot {
    /// Reads an event of the trigger. A missing field becomes an empty value, so that the self-check notices it.
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
    /// The work on an event ended.
    Settled { partition: String, sequence: i64, outcome: Outcome },
    /// A cursor was committed, and with it every event up to the sequence number `through`.
    Committed { partition: String, through: Option<i64> },
    /// The partition's loop died, and lost everything that was not committed.
    Died { partition: String },
}

/// The state of reading a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Events in the hub's log that were still to be read after the last poll.
    pub(super) lag: Option<u64>,
    /// Events and ends of pages that were read and are not committed yet.
    pub(super) in_flight: usize,
    /// The error of the last poll; `None` if it succeeded.
    pub(super) trouble: Option<String>,
}

/// Everything that was recorded.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// The engine's steps, in order.
    pub(super) steps: Vec<Step>,
    pub(super) polls: u64,
    /// Polls that failed, by error code.
    pub(super) failures: BTreeMap<String, u64>,
    /// Notices of the connector, by code.
    pub(super) notices: BTreeMap<String, u64>,
    /// The state of reading, by partition.
    pub(super) reading: BTreeMap<String, Reading>,
}

/// [`Entries`] that many tasks write to.
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
