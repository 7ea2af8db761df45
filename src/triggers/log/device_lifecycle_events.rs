//! An identity was created or deleted.
//!
//! ```scenario
//! config {}
//! message deviceLifecycleEvents {"opType": "createDeviceIdentity", "deviceId": "press-1", "hubName": "plant"} {"deviceId": "press-1"}
//! ```

use super::engine::trigger::LogTrigger;
use crate::form::schema::literal;

pub static TRIGGER: LogTrigger = LogTrigger {
    id: "device-lifecycle-events",
    title: "Device created or deleted",
    help: "Fires when a device or module identity is created or deleted. The hub sends such events only where a route takes **Device Lifecycle Events** to the endpoint **events**.",
    sources: &["deviceLifecycleEvents", "moduleLifecycleEvents"],
    event_type: "azure.iot.hub.lifecycle",
    sample_body: || literal!({ "deviceId": "press-17", "etag": "AAAAAAAAAAE=", "properties": { "desired": {}, "reported": {} } }),
    sample_properties: || literal!({ "opType": "createDeviceIdentity", "deviceId": "press-17", "hubName": "plant" }),
};
