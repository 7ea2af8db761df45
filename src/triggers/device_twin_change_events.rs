//! The hub tells of a change of a twin.

use serde_json::Value;

use super::Trigger;
use super::event_stream::position::Position;
use super::event_stream::told::Kind;
use crate::bindings::exports::workflow::connector::metadata::TriggerDescriptor;
use crate::bindings::exports::workflow::connector::trigger::{Event, Page, Partition, PollRequest};
use crate::bindings::workflow::connector::types::Cursor;
use crate::error::Result;
use crate::manifest::schema::literal;
use crate::session::Session;

/// `device-twin-change-events`.
pub struct DeviceTwinChangeEvents;

const KIND: Kind = Kind {
    id: "device-twin-change-events",
    title: "Device twin change event",
    help: "Fires for each change of a device twin, as the hub tells it: every change, in order. The hub sends such events only where a route takes **Device Twin Change Events** to the endpoint **events**; without one, use **Device twin changed**.",
    sources: &["twinChangeEvents"],
    event_type: "azure.iot.hub.twin-change",
    sample_body: || literal!({ "version": 5, "tags": { "site": "north" } }),
    sample_properties: || literal!({ "opType": "updateTwin", "deviceId": "press-17", "hubName": "plant" }),
};

impl Trigger for DeviceTwinChangeEvents {
    fn id(&self) -> &'static str {
        KIND.id
    }

    fn descriptor(&self) -> TriggerDescriptor {
        KIND.descriptor()
    }

    fn poll(&self, session: &Session, config: Value, request: &PollRequest) -> Result<Page> {
        KIND.poll(session, config, request)
    }

    fn sample(&self, session: &Session, config: Value, limit: u32) -> Result<Vec<Event>> {
        KIND.sample(session, config, limit)
    }

    fn partitions(&self, session: &Session, _config: Value) -> Result<Vec<Partition>> {
        KIND.partitions(session)
    }

    fn check_cursor(&self, cursor: &Cursor) -> Result<()> {
        Position::read(cursor).map(drop)
    }
}
