//! The AMQP message in which a reader receives an event.
//!
//! | section | content |
//! |---|---|
//! | delivery annotations | the reader's runtime metrics, for links that asked for them |
//! | message annotations | position and enqueued time; the hub's own system properties (`iothub-*`, `dt-*`) |
//! | properties | message id, user id, to, correlation id, content type and encoding, creation time |
//! | application properties | the properties that the device set, or those of a system event |
//! | body | one or several data sections, one value, or sequences |
//!
//! Source: the system properties page of IoT Hub and what Microsoft's clients read (`azure-eventhub`, the IoT extension
//! of the Azure CLI).

use bytes::Bytes;
use serde_amqp::Value;
use time::OffsetDateTime;

use super::values::{binary, composite, described, encode, map, symbol, text, timestamp};
use crate::clock::milliseconds;
use crate::event_hub::event::{EventBody, EventSource, StoredEvent, TelemetryEvent};
use crate::world::World;

/// The encoded message of an event, without delivery annotations.
pub(super) fn encoded(event: &StoredEvent) -> Bytes {
    event.encoded(encode_event)
}

fn body_sections(body: &EventBody, out: &mut Vec<u8>) {
    let data = |bytes: &Bytes| encode(&described(0x75, binary(bytes.to_vec())));
    match body {
        EventBody::Data(bytes) => out.extend(data(bytes)),
        EventBody::Encoded(bytes) => out.extend_from_slice(bytes),
        EventBody::MultipleData(sections) => out.extend(sections.iter().flat_map(data)),
        EventBody::Value(value) => out.extend(encode(&described(0x77, from_json(value)))),
        EventBody::Sequence(sections) => out.extend(
            sections
                .iter()
                .flat_map(|items| encode(&described(0x76, Value::List(items.iter().map(from_json).collect())))),
        ),
    }
}

fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Long(number),
            (None, Some(number)) => Value::Ulong(number),
            (None, None) => Value::Double(number.as_f64().unwrap_or(f64::NAN).into()),
        },
        serde_json::Value::String(string) => text(string.as_str()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(from_json).collect()),
        serde_json::Value::Object(members) => {
            map(members.iter().map(|(name, value)| (text(name.as_str()), from_json(value))))
        }
    }
}

fn encode_event(stored: &StoredEvent) -> Bytes {
    let event = &stored.event;
    let mut annotations = vec![
        (symbol("x-opt-sequence-number"), Value::Long(stored.sequence)),
        (symbol("x-opt-offset"), text(stored.offset.to_string())),
        (symbol("x-opt-enqueued-time"), timestamp(stored.enqueued)),
        (symbol("iothub-connection-device-id"), text(event.device_id.as_str())),
    ];
    let mut optional = |name: &'static str, value: &Option<String>| {
        if let Some(value) = value {
            annotations.push((symbol(name), text(value.as_str())));
        }
    };
    optional("iothub-connection-module-id", &event.module_id);
    optional("dt-dataschema", &event.model_id);
    optional("dt-subject", &event.component);
    optional("x-opt-partition-key", &event.partition_key);
    let module = event.module_id.is_some();
    if event.source == EventSource::Telemetry {
        let method = format!(
            r#"{{"scope":"{}","type":"{}","issuer":"iothub","acceptingIpFilterRule":null}}"#,
            if module { "module" } else { "device" },
            event.auth.kind
        );
        annotations.push((symbol("iothub-connection-auth-method"), text(method)));
        let generation = text(event.auth.generation.as_str());
        annotations.push((symbol("iothub-connection-auth-generation-id"), generation));
    }
    if let Some(created) = event.creation_time {
        annotations.push((symbol("iothub-creation-time-utc"), timestamp(milliseconds(created))));
    }
    annotations.push((symbol("iothub-enqueuedtime"), timestamp(stored.enqueued)));
    annotations.push((symbol("iothub-message-source"), text(event.source.as_str())));
    let mut bytes = encode(&described(0x72, map(annotations)));
    if let Some(properties) = properties(event) {
        bytes.extend(encode(&properties));
    }
    if !event.properties.is_empty() {
        let properties = event.properties.iter().map(|(name, value)| (text(name.as_str()), text(value.as_str())));
        bytes.extend(encode(&described(0x74, map(properties))));
    }
    body_sections(&event.body, &mut bytes);
    bytes.into()
}

fn properties(event: &TelemetryEvent) -> Option<Value> {
    let text_of = |value: &Option<String>| value.as_deref().map(text);
    let symbol_of = |value: &Option<String>| value.as_deref().map(symbol);
    let to = match &event.module_id {
        Some(module) => format!("/devices/{}/modules/{module}/messages/events", event.device_id),
        None => format!("/devices/{}/messages/events", event.device_id),
    };
    let time_of = |time: Option<OffsetDateTime>| time.map(|time| timestamp(milliseconds(time)));
    let is_addressed = event.source == EventSource::Telemetry && event.message_id.is_some();
    let fields = [
        text_of(&event.message_id),
        event.user_id.as_ref().map(|id| binary(id.to_vec())),
        text_of(&event.to).or_else(|| is_addressed.then(|| text(to))),
        text_of(&event.subject),
        text_of(&event.reply_to),
        text_of(&event.correlation_id),
        symbol_of(&event.content_type),
        symbol_of(&event.content_encoding),
        time_of(event.absolute_expiry_time),
        time_of(event.creation_time),
        event.group.as_ref().map(|(id, _)| text(id.as_str())),
        event.group.as_ref().map(|(_, sequence)| Value::Uint(*sequence)),
        text_of(&event.reply_to_group_id),
    ];
    fields
        .iter()
        .any(Option::is_some)
        .then(|| composite(0x73, fields.into_iter().map(Option::unwrap_or_default).collect()))
}

/// The delivery annotations of a reader that asked for runtime metrics.
pub(super) fn metrics(world: &World, partition: u16) -> Vec<u8> {
    let Some(properties) = world.event_hub.properties(partition) else { return Vec::new() };
    encode(&described(
        0x71,
        map([
            (symbol("last_enqueued_sequence_number"), Value::Long(properties.last_sequence)),
            (symbol("last_enqueued_offset"), text(properties.last_offset.to_string())),
            (symbol("last_enqueued_time_utc"), timestamp(properties.last_enqueued)),
            (symbol("runtime_info_retrieval_time_utc"), timestamp(milliseconds(OffsetDateTime::now_utc()))),
        ]),
    ))
}
