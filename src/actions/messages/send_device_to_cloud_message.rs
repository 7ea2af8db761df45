//! Sends a message to the hub in the name of a device.
//!
//! ```scenario
//! done {"deviceId": "press-1", "body": {"temperature": 81.5}, "properties": {"level": "warning"}}
//! done {"deviceId": "press-2", "body": "plain words", "messageId": "m-1", "correlationId": "c-1"}
//! done {"deviceId": "$odd", "body": "/wCA", "bodyEncoding": "base64"}
//! not-found {"deviceId": "missing", "body": 1}
//! payload-too-large {"deviceId": "press-1", "body": "$x*262145"}
//! invalid-input {"deviceId": "press-1", "body": 1, "bodyEncoding": "text"}
//! ```

use serde::Deserialize;
use serde_json::{Value, json};

use super::message::{self, MessageInput};
use crate::actions::shared::Action;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::error::Result;
use crate::form::schema::{literal, object, string};
use crate::form::{Spec, fields, typed};
use crate::iothub::DeviceId;
use crate::session::Session;

/// The action.
pub static ACTION: SendDeviceToCloudMessage = SendDeviceToCloudMessage;

pub struct SendDeviceToCloudMessage;

/// The largest message with its properties, in bytes (Microsoft's "IoT Hub quotas and throttling").
const LARGEST: usize = 256 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    device_id: String,
}

impl Action for SendDeviceToCloudMessage {
    fn id(&self) -> &'static str {
        "send-device-to-cloud-message"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Send a device-to-cloud message",
            help: "Sends a message to the hub in the name of a device, as the device itself does over HTTPS: routes and the trigger **Device telemetry** see it. \
                   Names of application properties arrive in lower case. A message that is sent again is a second one, with the same message id.",
            group: "Messages",
            input: object(
                [("deviceId", fields::device_id())].into_iter().chain(message::fields()),
                &["deviceId", "body"],
            ),
            output: object(
                [("deviceId", string("Device id")), ("messageId", string("Message id"))],
                &["deviceId", "messageId"],
            ),
            input_sample: literal!({
                "deviceId": "press-17",
                "body": { "temperature": 81.5 },
                "properties": { "level": "warning" }
            }),
            output_sample: literal!({ "deviceId": "press-17", "messageId": "5f0c1d2b8e7a4c39b6d2f1a0e9c8b7a6" }),
            dynamic_output: false,
            permissions: &[Permission::DeviceConnect],
            limits: &[("Message with its properties", LARGEST as u64, "bytes")],
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Write,
            idempotency: Idempotency::None,
            paged: false,
        }
    }

    fn invoke(&self, session: &Session, input: Value, call: &Call) -> Result<Outcome> {
        let mut input = input;
        let message = MessageInput::take(&mut input)?;
        let input: Input = typed(input)?;
        let id = DeviceId::parse(&input.device_id, "/deviceId")?;
        let message = message.read(session.platform(), call, &[id.as_str()], LARGEST)?;
        let message_id = message.message_id.clone();
        session.hub().send_event(&id, headers(&message), message.body)?;
        Ok(Outcome::Done(json!({ "deviceId": id.as_str(), "messageId": message_id }).to_string()))
    }
}

/// The headers of the message, with the names that Microsoft's device clients send over HTTPS.
fn headers(message: &message::Message) -> Vec<(String, String)> {
    let system = [
        ("iothub-messageid", Some(&message.message_id)),
        ("iothub-correlationid", message.correlation_id.as_ref()),
        ("iothub-contenttype", Some(&message.content_type)),
        ("iothub-contentencoding", message.content_encoding.as_ref()),
    ];
    let system = system.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.clone())));
    let own = message
        .properties
        .iter()
        .map(|(name, value)| (format!("iothub-app-{}", name.to_ascii_lowercase()), value.clone()));
    system.chain(own).collect()
}
