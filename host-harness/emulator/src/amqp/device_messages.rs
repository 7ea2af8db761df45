//! Messages between the hub and devices, in the form that AMQP gives them.
//!
//! | message | its form |
//! |---|---|
//! | telemetry | the message as the device sent it; a batch has one data section for each message |
//! | message to a device | properties, application properties; the delivery count is in the header |
//! | method, and its answer | `IoThub-methodname`, `IoThub-status`; the correlation id is a UUID; the payload is JSON |
//! | request for the twin, and its answer | annotations `operation` and `resource`, `status` and `version`; JSON |
//! | change of desired properties | JSON without a correlation id |
//!
//! Source: azure-iot-device-amqp 1.14.4; the batch of messages is that of Event Hubs.

use bytes::Bytes;
use fe2o3_amqp_types::messaging::annotations::OwnedKey;
use fe2o3_amqp_types::messaging::{Body, Message, MessageId};
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::Value;
use serde_amqp::primitives::Timestamp;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::codec::decode_message;
use super::message::{id_text, simple_text};
use super::session::Delivery;
use super::values::{binary, composite, described, encode, map, optional, string_of, symbol, text, timestamp};
use crate::clock::milliseconds;
use crate::event_hub::event::{EventBody, TelemetryEvent};
use crate::operations::receiving::LockedMessage;
use crate::sessions::MethodCall;

/// The message format of a batch.
const BATCH: u32 = 0x8001_3700;
pub(super) const METHOD_NAME: &str = "IoThub-methodname";
pub(super) const METHOD_STATUS: &str = "IoThub-status";

type Received = Message<Body<Value>>;

/// The events of a delivery: one, or those of a batch. `None` when a message cannot be read.
pub(super) fn telemetry(delivery: &Delivery) -> Option<Vec<TelemetryEvent>> {
    let message = decode_message(&delivery.bytes)?;
    if delivery.format != BATCH {
        return Some(vec![event(message)]);
    }
    let Body::Data(sections) = message.body else { return None };
    sections.into_iter().map(|section| decode_message(&section.0).map(event)).collect()
}

fn event(message: Received) -> TelemetryEvent {
    let body = match message.body {
        Body::Data(sections) => {
            let mut sections: Vec<Bytes> = sections.into_iter().map(|section| section.0.into_vec().into()).collect();
            if sections.len() > 1 {
                EventBody::MultipleData(sections)
            } else {
                sections.pop().unwrap_or_default().into()
            }
        }
        Body::Value(value) => EventBody::Encoded(encode(&described(0x77, value.0)).into()),
        Body::Sequence(sections) => {
            let sections = sections.into_iter().flat_map(|section| encode(&described(0x76, Value::List(section.0))));
            EventBody::Encoded(sections.collect::<Vec<u8>>().into())
        }
        Body::Empty => EventBody::Data(Bytes::new()),
    };
    let mut event = TelemetryEvent::new("", body);
    if let Some(properties) = message.properties {
        event.message_id = properties.message_id.map(id_text);
        event.user_id = properties.user_id.map(|id| id.into_vec().into());
        event.to = properties.to;
        event.subject = properties.subject;
        event.reply_to = properties.reply_to;
        event.correlation_id = properties.correlation_id.map(id_text);
        event.content_type = properties.content_type.map(|kind| kind.into_inner());
        event.content_encoding = properties.content_encoding.map(|encoding| encoding.into_inner());
        event.absolute_expiry_time = properties.absolute_expiry_time.and_then(|time| time_of(&time));
        event.creation_time = properties.creation_time.and_then(|time| time_of(&time));
        event.group = properties.group_id.map(|id| (id, properties.group_sequence.unwrap_or_default()));
        event.reply_to_group_id = properties.reply_to_group_id;
    }
    for (name, value) in message.message_annotations.iter().flat_map(|annotations| annotations.0.iter()) {
        match (name, string_of(value)) {
            (OwnedKey::Symbol(name), Some(value)) if name.as_str() == "dt-subject" => {
                event.component = Some(value.to_owned());
            }
            _ => {}
        }
    }
    for (name, value) in message.application_properties.into_iter().flat_map(|properties| properties.0) {
        match (name.as_str(), simple_text(&value)) {
            ("iothub-creation-time-utc", Some(text)) => {
                event.creation_time = OffsetDateTime::parse(&text, &Rfc3339).ok()
            }
            // The output of a module means something to an edge hub only.
            ("iothub-outputname", _) => {}
            (_, Some(text)) => event.properties.push((name, text)),
            (_, None) => {}
        }
    }
    event
}

fn time_of(time: &Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.milliseconds()) * 1_000_000).ok()
}

/// The sections of a message: header, annotations, properties, application properties, one data section.
fn sections(
    deliveries: Option<u32>,
    annotations: Vec<(&str, Value)>,
    properties: Vec<Value>,
    application: Vec<(&str, Value)>,
    body: impl Into<Vec<u8>>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(deliveries) = deliveries {
        let mut header = vec![Value::Null; 4];
        header.push(Value::Uint(deliveries.saturating_sub(1)));
        bytes.extend(encode(&composite(0x70, header)));
    }
    if !annotations.is_empty() {
        let annotations = annotations.into_iter().map(|(name, value)| (symbol(name), value));
        bytes.extend(encode(&described(0x72, map(annotations))));
    }
    if !properties.is_empty() {
        bytes.extend(encode(&composite(0x73, properties)));
    }
    if !application.is_empty() {
        let application = application.into_iter().map(|(name, value)| (text(name), value));
        bytes.extend(encode(&described(0x74, map(application))));
    }
    bytes.extend(encode(&described(0x75, binary(body))));
    bytes
}

/// The delivery tag of a message to a device: its lock token as 16 bytes.
pub(super) fn delivery_tag(locked: &LockedMessage) -> Vec<u8> {
    let digits: String = locked.token.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_or_else(|_| locked.token.clone().into_bytes(), |tag| tag.to_be_bytes().into())
}

/// A message from the cloud for the device or module with this key.
pub(super) fn device_bound(device: &str, locked: &LockedMessage) -> Vec<u8> {
    let message = &locked.message;
    let path = device.replacen('/', "/modules/", 1);
    let properties = vec![
        text(message.message_id.as_str()),
        optional(message.user_id.as_ref().map(|id| binary(id.to_vec()))),
        text(format!("/devices/{path}/messages/devicebound")),
        Value::Null,
        Value::Null,
        optional(message.correlation_id.as_deref().map(text)),
        optional(message.content_type.as_deref().map(symbol)),
        optional(message.content_encoding.as_deref().map(symbol)),
        optional(message.expires.filter(|_| locked.has_expiry).map(|time| timestamp(milliseconds(time)))),
    ];
    let mut application: Vec<_> =
        message.properties.iter().map(|(name, value)| (name.as_str(), text(value.as_str()))).collect();
    application.extend(locked.ack.map(|ack| ("iothub-ack", text(ack))));
    let annotations = vec![("x-opt-enqueued-time", timestamp(milliseconds(locked.enqueued)))];
    sections(Some(locked.deliveries), annotations, properties, application, message.body.to_vec())
}

/// A direct method.
pub(super) fn method(request: &str, call: &MethodCall) -> Vec<u8> {
    let application = vec![(METHOD_NAME, text(call.method.as_str()))];
    sections(None, Vec::new(), correlated(request_uuid(request)), application, call.payload.to_string())
}

/// The properties of a message that has only a correlation id.
fn correlated(id: Value) -> Vec<Value> {
    let mut properties = vec![Value::Null; 5];
    properties.push(id);
    properties
}

/// The UUID for a request id, which is a number: a random UUID with these last 48 bits. Clients expect a UUID.
fn request_uuid(request: &str) -> Value {
    let number = request.parse::<u64>().unwrap_or_default() & 0xffff_ffff_ffff;
    let bytes = (0x4000_8000_0000_0000_0000_u128 | u128::from(number)).to_be_bytes();
    Value::Uuid(bytes.into())
}

/// A device's answer to a method.
pub(super) struct MethodAnswer {
    pub(super) request: String,
    pub(super) status: i32,
    pub(super) payload: serde_json::Value,
}

/// Reads an answer to a method; `None` when it lacks its id or its status, or when its payload is not JSON.
pub(super) fn method_answer(message: Received) -> Option<MethodAnswer> {
    let id = message.properties.as_ref()?.correlation_id.clone()?;
    let hex = match id {
        MessageId::Uuid(id) => crate::random::encode_hex(&id.into_inner()),
        id => id_text(id).chars().filter(|c| *c != '-').collect(),
    };
    let request = u128::from_str_radix(&hex, 16).ok()? & 0xffff_ffff_ffff;
    let status = message.application_properties.as_ref()?.0.get(METHOD_STATUS).and_then(|status| match status {
        SimpleValue::Int(status) => Some(*status),
        other => simple_text(other)?.parse().ok(),
    })?;
    let body = data(&message)?;
    let payload = if body.is_empty() { serde_json::Value::Null } else { serde_json::from_slice(&body).ok()? };
    Some(MethodAnswer { request: request.to_string(), status, payload })
}

/// The body of a message in data sections.
pub(super) fn data(message: &Received) -> Option<Vec<u8>> {
    match &message.body {
        Body::Data(sections) => Some(sections.iter().flat_map(|section| section.0.iter().copied()).collect()),
        Body::Value(value) => string_of(&value.0).map(|text| text.as_bytes().to_vec()),
        Body::Empty => Some(Vec::new()),
        Body::Sequence(_) => None,
    }
}

/// A message annotation as text.
pub(super) fn annotation(message: &Received, name: &str) -> Option<String> {
    let annotations = message.message_annotations.as_ref()?;
    let is_it = |key: &OwnedKey| matches!(key, OwnedKey::Symbol(key) if key.as_str() == name);
    let (_, value) = annotations.0.iter().find(|(key, _)| is_it(key))?;
    string_of(value).map(str::to_owned)
}

/// The answer to a request for the twin.
pub(super) fn twin_answer(id: Value, status: u16, version: Option<u64>, body: Option<serde_json::Value>) -> Vec<u8> {
    let mut annotations = vec![("status", Value::Int(i32::from(status)))];
    let version = version.and_then(|version| i64::try_from(version).ok());
    annotations.extend(version.map(|version| ("version", Value::Long(version))));
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    sections(None, annotations, correlated(id), Vec::new(), body)
}

/// A change of desired properties.
pub(super) fn desired(version: u64, mut patch: serde_json::Value) -> Vec<u8> {
    if let serde_json::Value::Object(members) = &mut patch {
        members.insert("$version".to_owned(), json!(version));
    }
    sections(None, Vec::new(), Vec::new(), Vec::new(), patch.to_string())
}

/// The answer to a request of a device that registers.
pub(super) fn registration_answer(id: Value, retry_after: Option<u64>, body: &serde_json::Value) -> Vec<u8> {
    let retry_after = retry_after.and_then(|seconds| i32::try_from(seconds).ok());
    let application = retry_after.map(|seconds| ("retry-after", Value::Int(seconds))).into_iter().collect();
    sections(None, Vec::new(), correlated(id), application, body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_survives_its_way_to_a_device_and_back() {
        let call = MethodCall::new("stop".to_owned(), json!({"hard": true}));
        let message = decode_message(&method("281474976710655", &call)).expect("a message");
        assert_eq!(data(&message).expect("data"), br#"{"hard":true}"#);
        let id = message.properties.and_then(|properties| properties.correlation_id).expect("an id");
        let Value::Uuid(uuid) = request_uuid("281474976710655") else { panic!("no UUID") };
        assert!(matches!(&id, MessageId::Uuid(found) if found.as_ref() == uuid.as_ref()));
        // One client repeats the UUID, another writes it as text.
        for id in [Value::Uuid(uuid.clone()), text(id_text(MessageId::Uuid(uuid)))] {
            let answer = sections(None, Vec::new(), correlated(id), vec![(METHOD_STATUS, Value::Int(200))], "[1]");
            let answer = method_answer(decode_message(&answer).expect("a message")).expect("an answer");
            assert_eq!((answer.request.as_str(), answer.status), ("281474976710655", 200));
            assert_eq!(answer.payload, json!([1]));
        }
    }

    #[test]
    fn a_batch_of_telemetry_comes_apart() {
        let one = |n: &str| sections(None, Vec::new(), vec![text(n)], vec![("level", text(n))], n);
        let batch = [one("1"), one("2")].iter().flat_map(|one| encode(&described(0x75, binary(one.clone())))).collect();
        let delivery = |bytes: Vec<u8>, format| Delivery { id: 0, settled: false, format, bytes: bytes.into() };
        let events = telemetry(&delivery(batch, BATCH)).expect("events");
        let ids: Vec<_> = events.iter().map(|event| event.message_id.as_deref()).collect();
        assert_eq!(ids, [Some("1"), Some("2")]);
        assert_eq!(events[1].body, EventBody::from("2"));
        assert_eq!(events[1].properties, [("level".to_owned(), "2".to_owned())]);
        assert!(telemetry(&delivery(b"nonsense".to_vec(), 0)).is_none());
    }
}
