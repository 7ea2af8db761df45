//! A device sent something.

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

/// `device-telemetry`.
pub struct DeviceTelemetry;

const KIND: Kind = Kind {
    id: "device-telemetry",
    title: "Device telemetry",
    help: "Fires for each message that a device or module sends to the hub. The messages of one device come in order. A custom route can keep them from the built-in endpoint: then none arrives here.",
    sources: &["Telemetry"],
    event_type: "azure.iot.hub.telemetry",
    sample_body: || literal!({ "temperature": 81.5, "pressure": 1.013 }),
    sample_properties: || literal!({ "level": "warning" }),
};

impl Trigger for DeviceTelemetry {
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
