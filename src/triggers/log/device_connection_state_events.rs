//! A device connected or disconnected.
//!
//! ```scenario
//! config {}
//! message deviceConnectionStateEvents {"opType": "deviceConnected", "deviceId": "press-1", "hubName": "plant"} {"sequenceNumber": "000000000000000001D4132452F67CE200000002000000000000000000000001"}
//! ```

use super::engine::trigger::LogTrigger;
use crate::form::schema::literal;

pub static TRIGGER: LogTrigger = LogTrigger {
    id: "device-connection-state-events",
    title: "Device connected or disconnected",
    help: "Fires when a device or module connects or disconnects. The hub sends such events only where a route takes **Device Connection State Events** to the endpoint **events**.",
    sources: &["deviceConnectionStateEvents"],
    event_type: "azure.iot.hub.connection",
    sample_body: || literal!({ "sequenceNumber": "000000000000000001D4132452F67CE200000002000000000000000000000001" }),
    sample_properties: || literal!({ "opType": "deviceConnected", "deviceId": "press-17", "hubName": "plant" }),
};
