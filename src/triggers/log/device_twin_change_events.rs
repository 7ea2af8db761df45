//! A device twin has changed.
//!
//! ```scenario
//! config {}
//! message twinChangeEvents {"opType": "updateTwin", "deviceId": "press-1", "hubName": "plant"} {"version": 2, "tags": {"site": "north"}}
//! ```

use super::engine::trigger::LogTrigger;
use crate::form::schema::literal;

pub static TRIGGER: LogTrigger = LogTrigger {
    id: "device-twin-change-events",
    title: "Device twin change event",
    help: "Fires for each change of a device twin, as the hub reports it: every change, in order. The hub sends such events only where a route takes **Device Twin Change Events** to the endpoint **events**; without one, use **Device twin changed**.",
    sources: &["twinChangeEvents"],
    event_type: "azure.iot.hub.twin-change",
    sample_body: || literal!({ "version": 5, "tags": { "site": "north" } }),
    sample_properties: || literal!({ "opType": "updateTwin", "deviceId": "press-17", "hubName": "plant" }),
};
