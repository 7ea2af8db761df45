//! The hub tells of a change of a digital twin.

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

/// `digital-twin-change-events`.
pub struct DigitalTwinChangeEvents;

const KIND: Kind = Kind {
    id: "digital-twin-change-events",
    title: "Digital twin change event",
    help: "Fires for each change of a digital twin (IoT Plug and Play), as a JSON Patch. The hub sends such events only where a route takes **Digital Twin Change Events** to the endpoint **events**.",
    sources: &["digitalTwinChangeEvents"],
    event_type: "azure.iot.hub.digital-twin-change",
    sample_body: || literal!([{ "op": "replace", "path": "/thermostat/targetTemperature", "value": 21 }]),
    sample_properties: || literal!({ "deviceId": "press-17", "hubName": "plant" }),
};

impl Trigger for DigitalTwinChangeEvents {
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
