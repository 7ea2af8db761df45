//! An identity was created or deleted.

use super::engine::trigger::LogTrigger;
use crate::form::schema::literal;

/// The trigger `device-lifecycle-events`.
pub static DEVICE_LIFECYCLE: LogTrigger = LogTrigger {
    id: "device-lifecycle-events",
    title: "Device created or deleted",
    help: "Fires when a device or module identity is created or deleted. The hub sends such events only where a route takes **Device Lifecycle Events** to the endpoint **events**.",
    sources: &["deviceLifecycleEvents", "moduleLifecycleEvents"],
    event_type: "azure.iot.hub.lifecycle",
    sample_body: || literal!({ "deviceId": "press-17", "etag": "AAAAAAAAAAE=", "properties": { "desired": {}, "reported": {} } }),
    sample_properties: || literal!({ "opType": "createDeviceIdentity", "deviceId": "press-17", "hubName": "plant" }),
};
