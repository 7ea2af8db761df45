//! An identity was created or deleted.

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

/// `device-lifecycle-events`.
pub struct DeviceLifecycle;

const KIND: Kind = Kind {
    id: "device-lifecycle-events",
    title: "Device created or deleted",
    help: "Fires when a device or module identity is created or deleted. The hub sends such events only where a route takes **Device Lifecycle Events** to the endpoint **events**.",
    sources: &["deviceLifecycleEvents", "moduleLifecycleEvents"],
    event_type: "azure.iot.hub.lifecycle",
    sample_body: || literal!({ "deviceId": "press-17", "etag": "AAAAAAAAAAE=", "properties": { "desired": {}, "reported": {} } }),
    sample_properties: || literal!({ "opType": "createDeviceIdentity", "deviceId": "press-17", "hubName": "plant" }),
};

impl Trigger for DeviceLifecycle {
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
