//! A device sent a message.
//!
//! ```scenario
//! config {}
//! message Telemetry {"level": "warning"} {"temperature": 81.5}
//! ```

use super::engine::trigger::LogTrigger;
use crate::form::schema::literal;

pub static TRIGGER: LogTrigger = LogTrigger {
    id: "device-telemetry",
    title: "Device telemetry",
    help: "Fires for each message that a device or module sends to the hub. The messages of one device come in order. A custom route can keep them from the built-in endpoint: then none arrives here.",
    sources: &["Telemetry"],
    event_type: "azure.iot.hub.telemetry",
    sample_body: || literal!({ "temperature": 81.5, "pressure": 1.013 }),
    sample_properties: || literal!({ "level": "warning" }),
};
