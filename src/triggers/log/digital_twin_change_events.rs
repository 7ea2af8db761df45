//! A digital twin has changed.
//!
//! ```scenario
//! config {}
//! message digitalTwinChangeEvents {"deviceId": "press-1", "hubName": "plant"} [{"op": "replace", "path": "/target", "value": 21}]
//! ```

use super::engine::trigger::LogTrigger;
use crate::form::schema::literal;

pub static TRIGGER: LogTrigger = LogTrigger {
    id: "digital-twin-change-events",
    title: "Digital twin change event",
    help: "Fires for each change of a digital twin (IoT Plug and Play), as a JSON Patch. The hub sends such events only where a route takes **Digital Twin Change Events** to the endpoint **events**.",
    sources: &["digitalTwinChangeEvents"],
    event_type: "azure.iot.hub.digital-twin-change",
    sample_body: || literal!([{ "op": "replace", "path": "/thermostat/targetTemperature", "value": 21 }]),
    sample_properties: || literal!({ "deviceId": "press-17", "hubName": "plant" }),
};
