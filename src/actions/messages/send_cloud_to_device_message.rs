//! Puts a message into a device's queue.
//!
//! ```scenario
//! done {"deviceId": "press-1", "body": {"command": "cool-down"}, "properties": {"priority": "high", "step": 3, "dry": false}, "acknowledgement": "full", "expiresAfterSeconds": 600}
//! done {"deviceId": "press-2", "body": "plain words", "messageId": "m-1", "correlationId": "c-1"}
//! done {"deviceId": "press-2", "body": "/wCA", "bodyEncoding": "base64", "acknowledgement": "negative"}
//! done {"deviceId": "$odd", "body": [1, 2], "contentType": "application/vnd.plant+json"}
//! not-found {"deviceId": "missing", "body": 1}
//! not-found {"deviceId": "press-1", "moduleId": "missing", "body": 1}
//! quota-exceeded {"deviceId": "press-1", "body": 1} under hub-amqp:SEND /*=reject:amqp:resource-limit-exceeded
//! unavailable {"deviceId": "press-1", "body": 1} under hub-amqp:SEND /*=drop
//! payload-too-large {"deviceId": "press-1", "body": "$x*65537"}
//! invalid-input {"deviceId": "press-1", "body": "no base64", "bodyEncoding": "base64"}
//! ```

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::message::{self, MessageInput};
use crate::actions::shared::Action;
use crate::amqp::message::Properties;
use crate::amqp::{Body, Message, Value as AmqpValue};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::error::Result;
use crate::form::schema::{help, integer, literal, object, one_of, string, with};
use crate::form::{Spec, fields, typed};
use crate::iothub::{DeviceId, Identity, ModuleId};
use crate::json::from_members;
use crate::session::Session;
use crate::session::service_endpoint::{Purpose, with_service_endpoint};

/// The action.
pub static ACTION: SendCloudToDeviceMessage = SendCloudToDeviceMessage;

pub struct SendCloudToDeviceMessage;

/// The largest message with its properties, in bytes (Microsoft's "IoT Hub quotas and throttling").
pub(super) const LARGEST: usize = 64 * 1024;
/// The largest number of messages in a device's queue.
pub(super) const LONGEST_QUEUE: u64 = 50;
/// The longest time that a message waits in a device's queue, in seconds.
pub(super) const LONGEST_WAIT: i64 = 2 * 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    device_id: String,
    module_id: Option<String>,
    expires_after_seconds: Option<u64>,
    acknowledgement: Option<String>,
}

impl Action for SendCloudToDeviceMessage {
    fn id(&self) -> &'static str {
        "send-cloud-to-device-message"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let recipient = [("deviceId", fields::device_id()), ("moduleId", recipient_module())];
        let delivery = [
            (
                "acknowledgement",
                with(
                    help(
                        one_of("Acknowledgement", &["none", "positive", "negative", "full"]),
                        "What the trigger **Cloud-to-device message feedback** reports: that the device took the message, that it did not, or either.",
                    ),
                    literal!({ "default": "none" }),
                ),
            ),
            (
                "expiresAfterSeconds",
                help(
                    integer("Expires after (s)", 1, LONGEST_WAIT),
                    "How long the message waits for the device, at the most two days. Empty: as the hub is set up, usually an hour.",
                ),
            ),
        ];
        let spec = Spec {
            id: self.id(),
            title: "Send a cloud-to-device message",
            help: "Puts a message into a device's queue, where it waits until the device takes it or it expires. Done once the hub has it: whether the device took it is reported by the trigger **Cloud-to-device message feedback**, if an acknowledgement was asked for. \
                   The hub does not recognize a message that is sent twice; a device can, by the message id. Needs a hub of the Standard or Free tier.",
            group: "Messages",
            input: object(recipient.into_iter().chain(message::fields()).chain(delivery), &["deviceId", "body"]),
            output: object(
                [
                    ("deviceId", string("Device id")),
                    ("moduleId", string("Module id")),
                    ("messageId", string("Message id")),
                ],
                &["deviceId", "messageId"],
            ),
            input_sample: literal!({
                "deviceId": "press-17",
                "body": { "command": "cool-down", "minutes": 5 },
                "properties": { "priority": "high" },
                "acknowledgement": "full",
                "expiresAfterSeconds": 600
            }),
            output_sample: literal!({ "deviceId": "press-17", "messageId": "5f0c1d2b8e7a4c39b6d2f1a0e9c8b7a6" }),
            dynamic_output: false,
            permissions: &[Permission::ServiceConnect],
            limits: &[
                ("Message with its properties", LARGEST as u64, "bytes"),
                ("Messages waiting for a device", LONGEST_QUEUE, "messages"),
                ("Cloud-to-device messages of an S1 unit", 100, "messages/minute"),
            ],
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
        let device = DeviceId::parse(&input.device_id, "/deviceId")?;
        let module = input.module_id.as_deref().map(|id| ModuleId::parse(id, "/moduleId")).transpose()?;
        let recipient = Identity { device, module };
        let message = message.read(session.platform(), call, &[&recipient.address()], LARGEST)?;
        let acknowledgement = input.acknowledgement.as_deref().unwrap_or("none");
        let expires = input.expires_after_seconds.map(|seconds| expiry(session, seconds));
        if call.dry_run {
            return Ok(Outcome::Planned(plan(session, &recipient, &message, acknowledgement, expires).to_string()));
        }
        send(session, &recipient, &message, acknowledgement, expires)?;
        let mut output = json!({ "deviceId": input.device_id, "messageId": message.message_id });
        if let Some(module) = input.module_id {
            output["moduleId"] = module.into();
        }
        Ok(Outcome::Done(output.to_string()))
    }
}

/// The field that states how long a message waits for the device.
pub(super) fn expires_after() -> Value {
    help(
        integer("Expires after (s)", 1, LONGEST_WAIT),
        "How long the message waits for the device, at the most two days. Empty: as the hub is set up, usually an hour.",
    )
}

/// The moment in so many seconds from now, in milliseconds since the Unix epoch.
pub(super) fn expiry(session: &Session, seconds: u64) -> i64 {
    let at = session.platform().unix_time().saturating_add(Duration::from_secs(seconds));
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// The module that a message is for.
pub(super) fn recipient_module() -> Value {
    with(
        help(fields::module_id(), "Empty: the message is for the device itself."),
        literal!({ "x-visibility": "advanced" }),
    )
}

/// Puts the message into the recipient's queue.
///
/// # Errors
/// The errors of IoT Hub.
pub(super) fn send(
    session: &Session,
    recipient: &Identity,
    message: &message::Message,
    acknowledgement: &str,
    expires: Option<i64>,
) -> Result<()> {
    let sent = encode(recipient, message, acknowledgement, expires);
    with_service_endpoint(session, Purpose::Send, |endpoint| endpoint.send(recipient, &sent))
}

/// The AMQP message.
pub(super) fn encode(
    recipient: &Identity,
    message: &message::Message,
    acknowledgement: &str,
    expires: Option<i64>,
) -> Message {
    let text = |text: &str| AmqpValue::string(text);
    let mut properties: Vec<(AmqpValue, AmqpValue)> =
        message.properties.iter().map(|(name, value)| (text(name), text(value))).collect();
    properties.push((text("iothub-ack"), text(acknowledgement)));
    Message {
        properties: Properties {
            message_id: Some(text(&message.message_id)),
            to: Some(recipient.address()),
            correlation_id: message.correlation_id.as_deref().map(text),
            content_type: Some(message.content_type.clone()),
            content_encoding: message.content_encoding.clone(),
            absolute_expiry_time: expires,
            ..Properties::default()
        },
        application_properties: properties,
        body: Body::Data(vec![message.body.clone()]),
        ..Message::default()
    }
}

/// The plan of a dry run: it describes the AMQP transfer in the form of an HTTP request.
pub(super) fn plan(
    session: &Session,
    recipient: &Identity,
    message: &message::Message,
    acknowledgement: &str,
    expires: Option<i64>,
) -> Value {
    let mut headers = json!({
        "to": recipient.address(),
        "message-id": message.message_id,
        "content-type": message.content_type,
        "iothub-ack": acknowledgement,
        "application-properties": from_members(message.properties.iter().cloned().map(|(name, value)| (name, value.into()))),
    });
    let more = [
        ("correlation-id", message.correlation_id.clone().map(Value::from)),
        ("content-encoding", message.content_encoding.clone().map(Value::from)),
        ("absolute-expiry-time", expires.map(Value::from)),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            headers[name] = value;
        }
    }
    json!({
        "method": "TRANSFER",
        "url": format!("amqps://{}/messages/devicebound", session.account().hub_amqp.authority()),
        "headers": headers,
        "body": crate::http::readable(&message.body),
    })
}
