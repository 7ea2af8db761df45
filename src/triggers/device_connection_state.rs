//! A device connected or disconnected.

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

/// `device-connection-state-events`.
pub struct DeviceConnectionState;

const KIND: Kind = Kind {
    id: "device-connection-state-events",
    title: "Device connected or disconnected",
    help: "Fires when a device or module connects or disconnects. The hub sends such events only where a route takes **Device Connection State Events** to the endpoint **events**.",
    sources: &["deviceConnectionStateEvents"],
    event_type: "azure.iot.hub.connection",
    sample_body: || literal!({ "sequenceNumber": "000000000000000001D4132452F67CE200000002000000000000000000000001" }),
    sample_properties: || literal!({ "opType": "deviceConnected", "deviceId": "press-17", "hubName": "plant" }),
};

impl Trigger for DeviceConnectionState {
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
