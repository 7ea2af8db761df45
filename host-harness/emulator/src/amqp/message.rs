//! Encodes the messages that the emulator makes itself, and converts received ids and properties to text.

use bytes::Bytes;
use fe2o3_amqp_types::messaging::MessageId;
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::Value;

use super::values;
use super::values::{composite, described, encode, map, symbol, text};
use crate::random;
use crate::service_bound::{Locked, Queue};

/// Encodes a message. `properties` are the fields of the properties section in the order of the AMQP standard.
pub(super) fn message(properties: Vec<Value>, application: Vec<(&str, Value)>, body: Value) -> Vec<u8> {
    let mut bytes = encode(&composite(0x73, properties));
    if !application.is_empty() {
        bytes.extend(encode(&described(0x74, map(application.into_iter().map(|(name, value)| (text(name), value))))));
    }
    bytes.extend(encode(&body));
    bytes
}

/// The message that carries a batch of feedback or a file notification.
pub(super) fn notice(queue: Queue, locked: &Locked) -> Bytes {
    let mut properties = vec![Value::Null; 6];
    properties[0] = text(random::uuid());
    properties.push(symbol(queue.content_type()));
    properties.push(symbol("utf-8"));
    let body = described(0x75, values::binary(locked.body.as_bytes()));
    message(properties, Vec::new(), body).into()
}

/// An id as text: a UUID in its usual form, bytes in hexadecimal.
pub(super) fn id_text(id: MessageId) -> String {
    match id {
        MessageId::String(id) => id,
        MessageId::Ulong(id) => id.to_string(),
        MessageId::Uuid(id) => {
            let hex = random::encode_hex(&id.into_inner());
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        }
        MessageId::Binary(id) => random::encode_hex(&id),
    }
}

/// An id as the correlation id of an answer.
pub(super) fn id_value(id: Option<MessageId>) -> Value {
    match id {
        Some(MessageId::String(id)) => Value::String(id),
        Some(MessageId::Ulong(id)) => Value::Ulong(id),
        Some(MessageId::Uuid(id)) => Value::Uuid(id),
        Some(MessageId::Binary(id)) => Value::Binary(id),
        None => Value::Null,
    }
}

pub(super) fn simple_text(value: &SimpleValue) -> Option<String> {
    Some(match value {
        SimpleValue::String(text) => text.clone(),
        SimpleValue::Symbol(symbol) => symbol.as_str().to_owned(),
        SimpleValue::Bool(value) => value.to_string(),
        SimpleValue::Int(number) => number.to_string(),
        SimpleValue::Long(number) => number.to_string(),
        SimpleValue::Uint(number) => number.to_string(),
        SimpleValue::Ulong(number) => number.to_string(),
        SimpleValue::Double(number) => number.to_string(),
        SimpleValue::Float(number) => number.to_string(),
        SimpleValue::Timestamp(time) => time.milliseconds().to_string(),
        _ => return None,
    })
}
