//! The journal: an append-only record of every change of state, in the order in which the changes took effect.
//!
//! A demonstration compares the events that a component reported with the changes in the journal.

use std::ops::RangeBounds;
use std::sync::Mutex;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::clock::rfc3339;
use crate::sync::lock;

/// Which part of a twin changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TwinPart {
    /// The tags, which only the service side sees.
    Tags,
    /// The desired properties, which the service writes and the device reads.
    Desired,
    /// The reported properties, which the device writes.
    Reported,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ChangeKind {
    /// A device identity was created; `id` is the device id.
    DeviceCreated,
    /// A device identity was updated.
    DeviceUpdated,
    /// A device identity was deleted, with its twin and modules.
    DeviceDeleted,
    /// A module identity was created; `id` is `device/module`.
    ModuleCreated,
    /// A module identity was updated.
    ModuleUpdated,
    /// A module identity was deleted.
    ModuleDeleted,
    /// Part of a device or module twin changed; the detail is the patch.
    TwinUpdated(TwinPart),
    /// A device connected or disconnected; the detail has the new state.
    ConnectionChanged,
    /// A configuration was created.
    ConfigurationCreated,
    /// A configuration was updated.
    ConfigurationUpdated,
    /// A configuration was deleted.
    ConfigurationDeleted,
    /// Configuration content was applied to one edge device.
    ConfigurationApplied,
    /// A job was made or changed its status; the detail has the status.
    JobChanged,
    /// A direct method was called; the detail has the method, the payload and the outcome.
    MethodInvoked,
    /// A message was queued for a device.
    MessageQueued,
    /// A device's message queue was emptied.
    MessagesPurged,
    /// A device sent telemetry.
    TelemetryReceived,
    /// An individual enrollment was created; `id` is the registration id.
    EnrollmentCreated,
    /// An individual enrollment was updated.
    EnrollmentUpdated,
    /// An individual enrollment was deleted.
    EnrollmentDeleted,
    /// An enrollment group was created.
    EnrollmentGroupCreated,
    /// An enrollment group was updated.
    EnrollmentGroupUpdated,
    /// An enrollment group was deleted.
    EnrollmentGroupDeleted,
    /// A device registered (for the first time or again) or failed to register; the detail is the registration state.
    RegistrationChanged,
    /// A registration record was deleted.
    RegistrationDeleted,
}

/// One entry of the journal.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Position in the journal, from 1, without gaps.
    pub seq: u64,
    /// When the change took effect, UTC.
    #[serde(serialize_with = "serialize_time")]
    pub at: OffsetDateTime,
    /// What happened.
    pub kind: ChangeKind,
    /// The entity's id.
    pub id: String,
    /// The entity's ETag after the change, where it has one.
    pub etag: Option<String>,
    /// Details of the change. They never contain keys.
    pub detail: Value,
}

/// The record of all changes since the emulator started.
#[derive(Debug)]
pub struct Journal {
    changes: Mutex<Vec<Change>>,
    length: watch::Sender<u64>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { changes: Mutex::default(), length: watch::Sender::new(0) }
    }
}

impl Journal {
    /// The changes whose `seq` lies in the range, for example `journal.snapshot(1..)`.
    pub fn snapshot(&self, range: impl RangeBounds<u64>) -> Vec<Change> {
        let changes = lock(&self.changes);
        changes.iter().filter(|change| range.contains(&change.seq)).cloned().collect()
    }

    /// The `seq` of the newest change; 0 when nothing has happened yet.
    pub fn last(&self) -> u64 {
        *self.length.borrow()
    }

    /// A receiver that follows [`Journal::last`], for callers that wait for a change.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.length.subscribe()
    }

    pub(crate) fn append(&self, kind: ChangeKind, id: impl Into<String>, etag: Option<&str>, detail: Value) {
        let mut changes = lock(&self.changes);
        let seq = changes.len() as u64 + 1;
        changes.push(Change {
            seq,
            at: OffsetDateTime::now_utc(),
            kind,
            id: id.into(),
            etag: etag.map(str::to_owned),
            detail,
        });
        self.length.send_replace(seq);
    }
}

fn serialize_time<S: serde::Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_by_sequence_number() {
        let journal = Journal::default();
        for id in ["a", "b", "c"] {
            journal.append(ChangeKind::DeviceCreated, id, None, Value::Null);
        }
        assert_eq!(journal.last(), 3);
        let ids: Vec<_> = journal.snapshot(2..).into_iter().map(|change| change.id).collect();
        assert_eq!(ids, ["b", "c"]);
    }
}
