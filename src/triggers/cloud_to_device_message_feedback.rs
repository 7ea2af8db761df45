//! A message to a device was taken by it, or ended otherwise.

use serde::Deserialize;
use serde_json::Value;

use super::Trigger;
use super::glob::{fits_any, patterns};
use super::service_queue::position::Position;
use super::service_queue::record::Record;
use super::service_queue::{Told, descriptor, poll, raw_fields};
use crate::actions::typed;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::TriggerDescriptor;
use crate::bindings::exports::workflow::connector::trigger::{Event, Page, PollRequest};
use crate::bindings::workflow::connector::types::Cursor;
use crate::error::Result;
use crate::iothub::ServiceQueue;
use crate::manifest::Spec;
use crate::manifest::schema::{list, literal, object, one_of, open_object, string, with};
use crate::session::Session;

/// `cloud-to-device-message-feedback`.
pub struct CloudToDeviceMessageFeedback;

/// How a message can end ("Send cloud-to-device messages from an IoT hub").
const STATUSES: [&str; 5] = ["Success", "Expired", "DeliveryCountExceeded", "Rejected", "Purged"];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    device_ids: Vec<String>,
    statuses: Vec<String>,
}

impl Trigger for CloudToDeviceMessageFeedback {
    fn id(&self) -> &'static str {
        "cloud-to-device-message-feedback"
    }

    fn descriptor(&self) -> TriggerDescriptor {
        descriptor(Spec {
            id: self.id(),
            title: "Cloud-to-device message feedback",
            help: "Fires when a device has taken a cloud-to-device message, and when one expired, was rejected or purged, for messages that were sent with an acknowledgement. \
                   The hub has **one** queue of feedback: what this trigger reads no other reader is given, so let one workflow of a hub use it. Feedback waits for an hour unless the hub is set up otherwise. Starting with *now* clears what waits.",
            group: "Messages",
            input: object(
                [
                    ("deviceIds", patterns("Device ids", 1024)),
                    (
                        "statuses",
                        with(
                            list("Statuses", one_of("Status", &STATUSES)),
                            literal!({ "description": "Only these. Empty: all.", "maxItems": 5 }),
                        ),
                    ),
                ],
                &[],
            ),
            output: open_object(
                [
                    ("originalMessageId", string("Message id")),
                    ("deviceId", string("Device id")),
                    ("deviceGenerationId", string("Generation id of the device")),
                    ("statusCode", string("Status")),
                    ("description", string("Description")),
                    ("enqueuedTimeUtc", string("When it came to be")),
                ]
                .into_iter()
                .chain(raw_fields()),
                &[],
            ),
            input_sample: literal!({ "deviceIds": ["press-*"], "statuses": ["Expired", "Rejected"] }),
            output_sample: literal!({
                "originalMessageId": "5f0c1d2b8e7a4c39b6d2f1a0e9c8b7a6",
                "deviceId": "press-17",
                "deviceGenerationId": "638675123456789012",
                "statusCode": "Expired",
                "description": "Expired",
                "enqueuedTimeUtc": "2026-05-04T07:30:00.250Z"
            }),
            dynamic_output: false,
            permissions: &[Permission::ServiceConnect],
            limits: &[("Records in one feedback message", 64, "records")],
        })
    }

    fn poll(&self, session: &Session, config: Value, request: &PollRequest) -> Result<Page> {
        let text = config.to_string();
        let config: Config = typed(config)?;
        let tell = |record: &Record| {
            let device = record.text("deviceId");
            let status = record.text("statusCode").unwrap_or("Unknown");
            let wanted = config.statuses.is_empty() || config.statuses.iter().any(|wanted| wanted == status);
            (wanted && fits_any(&config.device_ids, device.unwrap_or_default())).then(|| Told {
                event_type: format!("azure.iot.hub.cloud-to-device-message.{}", status.to_ascii_lowercase()),
                subject: device.map(|device| format!("devices/{device}")),
                summary: format!(
                    "Message {} to {}: {status}",
                    record.text("originalMessageId").unwrap_or("without an id"),
                    device.unwrap_or("a device")
                ),
            })
        };
        poll(session, ServiceQueue::Feedback, &text, &tell, request)
    }

    /// None from the account: looking at a queue locks what is in it, and the hub counts the looks.
    fn sample(&self, _session: &Session, _config: Value, _limit: u32) -> Result<Vec<Event>> {
        Ok(Vec::new())
    }

    fn check_cursor(&self, cursor: &Cursor) -> Result<()> {
        Position::read(cursor).map(drop)
    }
}
