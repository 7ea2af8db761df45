//! A device uploaded a file.
//!
//! ```scenario
//! config {}
//! queue files
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
use crate::form::schema::{integer, literal, object, open_object, string};
use crate::form::{Spec, typed};
use crate::iothub::ServiceQueue;
use crate::session::Session;
use crate::triggers::shared::Trigger;
use crate::triggers::shared::event::EventDraft;
use crate::triggers::shared::glob::{fits_any, patterns};

pub struct FileUploadNotifications;

pub static TRIGGER: FileUploadNotifications = FileUploadNotifications;

/// The members of a record.
const MEMBERS: [&str; 6] = ["deviceId", "blobUri", "blobName", "blobSizeInBytes", "lastUpdatedTime", "enqueuedTimeUtc"];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    device_ids: Vec<String>,
    blob_names: Vec<String>,
}

impl Trigger for FileUploadNotifications {
    fn id(&self) -> &'static str {
        "file-upload-notifications"
    }

    fn descriptor(&self) -> TriggerDescriptor {
        descriptor(Spec {
            id: self.id(),
            title: "File upload notifications",
            help: "Fires when a device has uploaded a file through the hub. Notifications have to be switched on: in the Azure portal open the hub, then **Hub settings**, then **File upload**. \
                   The hub has **one** queue of them: what this trigger reads no other reader is given, so let one workflow of a hub use it. A notification waits for an hour unless the hub is set up otherwise. Starting with *now* passes over what waits, and the hub removes it. \
                   A record that the filters cannot judge fires as well.",
            group: "Files",
            input: object(
                [("deviceIds", patterns("Device ids", 1024)), ("blobNames", patterns("Blob names", 1024))],
                &[],
            ),
            output: open_object(
                [
                    ("deviceId", string("Device id")),
                    ("blobUri", string("URI of the blob")),
                    ("blobName", string("Name of the blob")),
                    ("blobSizeInBytes", integer("Size (bytes)", 0, i64::MAX)),
                    ("lastUpdatedTime", string("Last updated")),
                    ("enqueuedTimeUtc", string("When it came to be")),
                ]
                .into_iter()
                .chain(raw_fields()),
                &[],
            ),
            input_sample: literal!({ "deviceIds": ["press-*"], "blobNames": ["*.jpg"] }),
            output_sample: literal!({
                "deviceId": "press-17",
                "blobUri": "https://plant.blob.core.windows.net/uploads/press-17/weld.jpg",
                "blobName": "press-17/weld.jpg",
                "blobSizeInBytes": 204800,
                "lastUpdatedTime": "2026-05-04T07:30:00Z",
                "enqueuedTimeUtc": "2026-05-04T07:30:00.250Z"
            }),
            dynamic_output: false,
            permissions: &[Permission::ServiceConnect],
            limits: &[("Uploads of a device at a time", 10, "uploads")],
        })
    }

    fn poll(&self, session: &Session, config: Value, request: &PollRequest) -> Result<Page> {
        let text = config.to_string();
        let config: Config = typed(config)?;
        let mapper = |record: &Record| draft(&config, record);
        poll(
            session,
            &Reader { queue: ServiceQueue::FileNotifications, members: &MEMBERS, mapper: &mapper },
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
    let (device, blob) = (record.text("deviceId"), record.text("blobName"));
    // A filter cannot hold a record back for a member that the record does not have.
    let wanted = device.is_none_or(|device| fits_any(&config.device_ids, device))
        && blob.is_none_or(|blob| fits_any(&config.blob_names, blob));
    wanted.then(|| EventDraft {
        event_type: "azure.iot.hub.file-uploaded".to_owned(),
        subject: device.map(|device| format!("devices/{device}")),
        time: None,
        data: record.named(&MEMBERS).to_string(),
        summary: format!("{} uploaded by {}", blob.unwrap_or("A file"), device.unwrap_or("a device")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(data: &str) -> Value {
        crate::json::parse(data.as_bytes()).expect("JSON")
    }

    #[test]
    fn what_a_filter_cannot_judge_is_delivered() {
        let config = Config { device_ids: vec!["press-*".into()], blob_names: vec!["*.jpg".into()] };
        let of = |record: Value| draft(&config, &Record::new(record)).map(|draft| value(&draft.data));
        let capital =
            json!({ "DeviceId": "press-1", "BlobName": "a.jpg", "BlobSizeInBytes": 9_007_199_254_740_993_u64 });
        let expected =
            json!({ "deviceId": "press-1", "blobName": "a.jpg", "blobSizeInBytes": 9_007_199_254_740_993_u64 });
        assert_eq!(of(capital), Some(expected));
        for delivered in
            [json!({ "blobUri": "https://x/y" }), json!({ "deviceId": "press-1" }), json!({ "blobName": "a.jpg" })]
        {
            assert_eq!(of(delivered.clone()), Some(delivered));
        }
        for held_back in [json!({ "deviceId": "oven" }), json!({ "deviceId": "press-1", "blobName": "a.txt" })] {
            assert_eq!(of(held_back), None);
        }
    }
}
