//! A device completed a cloud-to-device message, or the message ended in another way.
//!
//! ```scenario
//! config {}
//! queue feedback
//! ```

use serde::Deserialize;
use serde_json::Value;

use super::engine::position::Position;
use super::engine::record::Record;
use super::engine::{Reader, descriptor, poll, raw_fields};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::TriggerDescriptor;
use crate::bindings::exports::workflow::connector::trigger::{Event, Page, PollRequest};
use crate::bindings::workflow::connector::types::Cursor;
use crate::error::Result;
use crate::form::schema::{list, literal, object, one_of, open_object, string, with};
use crate::form::{Spec, typed};
use crate::iothub::{FEEDBACK_MEMBERS, FEEDBACK_STATUSES, ServiceQueue, feedback_status};
use crate::session::Session;
use crate::triggers::shared::Trigger;
use crate::triggers::shared::event::EventDraft;
use crate::triggers::shared::glob::{fits_any, patterns};

pub struct CloudToDeviceMessageFeedback;

pub static TRIGGER: CloudToDeviceMessageFeedback = CloudToDeviceMessageFeedback;

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
                   The hub has **one** queue of feedback: what this trigger reads no other reader is given, so let one workflow of a hub use it. Feedback waits for an hour unless the hub is set up otherwise. Starting with *now* passes over what waits, and the hub removes it. \
                   A record that the filters cannot judge fires as well.",
            group: "Messages",
            input: object(
                [
                    ("deviceIds", patterns("Device ids", 1024)),
                    (
                        "statuses",
                        with(
                            list("Statuses", one_of("Status", &FEEDBACK_STATUSES)),
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
        let mapper = |record: &Record| draft(&config, record);
        poll(
            session,
            &Reader { queue: ServiceQueue::Feedback, members: &FEEDBACK_MEMBERS, mapper: &mapper },
            &text,
            request,
        )
    }

    /// Never reads the account's queue: reading locks the messages, and the hub counts each reading as a delivery.
    fn sample(&self, _session: &Session, _config: Value, _limit: u32) -> Result<Vec<Event>> {
        Ok(Vec::new())
    }

    fn check_cursor(&self, cursor: &Cursor) -> Result<()> {
        Position::read(cursor).map(drop)
    }
}

/// The event draft of a record. None where the configuration holds the record back.
fn draft(config: &Config, record: &Record) -> Option<EventDraft> {
    let device = record.text("deviceId");
    let status = feedback_status(record.value());
    // A filter cannot hold a record back for a member that the record does not have.
    let status_fits = config.statuses.is_empty()
        || status.as_ref().is_none_or(|status| config.statuses.iter().any(|wanted| wanted == status));
    let device_fits = device.is_none_or(|device| fits_any(&config.device_ids, device));
    (status_fits && device_fits).then(|| {
        let mut data = record.named(&FEEDBACK_MEMBERS);
        if let Some(status) = &status {
            data["statusCode"] = status.as_str().into();
        }
        let status = status.as_deref().unwrap_or("Unknown");
        EventDraft {
            event_type: format!("azure.iot.hub.cloud-to-device-message.{}", status.to_ascii_lowercase()),
            subject: device.map(|device| format!("devices/{device}")),
            time: None,
            data: data.to_string(),
            summary: format!(
                "Message {} to {}: {status}",
                record.text("originalMessageId").unwrap_or("without an id"),
                device.unwrap_or("a device")
            ),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// In an earlier version, a filter on the status held back all records in the oldest form, and the queue lost them.
    #[test]
    fn records_of_every_age_are_delivered() {
        let of = |statuses: &[&str], devices: &[&str], record: Value| {
            let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let config = Config { statuses: own(statuses), device_ids: own(devices) };
            draft(&config, &Record::new(record)).map(|draft| {
                let data = crate::json::parse(draft.data.as_bytes()).expect("JSON");
                (draft.event_type, draft.subject, data)
            })
        };
        let first = json!({
            "OriginalMessageId": "m1", "DeviceId": "press-17", "DeviceGenerationId": "1", "Description": "Success",
            "EnqueuedTimeUtc": "2015-07-28T16:24:48.789Z", "Extra": 1.10
        });
        let event = of(&["Success"], &["press-*"], first.clone()).expect("an event");
        assert_eq!(event.0, "azure.iot.hub.cloud-to-device-message.success");
        assert_eq!(event.1.as_deref(), Some("devices/press-17"));
        assert_eq!(
            event.2,
            json!({
                "originalMessageId": "m1", "deviceId": "press-17", "deviceGenerationId": "1", "description": "Success",
                "enqueuedTimeUtc": "2015-07-28T16:24:48.789Z", "statusCode": "Success", "Extra": 1.10
            })
        );
        assert_eq!(of(&["Expired"], &[], first.clone()), None, "the record states another status");
        assert_eq!(of(&[], &["oven-*"], first), None);

        let numbered = json!({ "deviceId": "a", "statusCode": 1, "description": "" });
        assert_eq!(of(&["Expired"], &[], numbered).expect("an event").2["statusCode"], "Expired");
        // A record whose status is not known is delivered, whatever the filter is.
        let mute = json!({ "deviceId": "a", "description": "it went somehow" });
        assert_eq!(of(&["Expired"], &[], mute).expect("an event").0, "azure.iot.hub.cloud-to-device-message.unknown");
        let nobody = json!({ "originalMessageId": "m", "statusCode": "Expired" });
        assert_eq!(of(&["Expired"], &["press-*"], nobody).expect("an event").1, None);
    }
}
