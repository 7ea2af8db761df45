//! An event of a partition.

use serde_json::Value as Json;

use super::members::Members;
use super::plain;
use crate::amqp::codec::json::object;
use crate::amqp::message::Lossy;
use crate::amqp::{Body, Message, Value};

/// The longest offset, in bytes: offsets of Event Hubs have about twenty.
pub(super) const LONGEST_OFFSET: usize = 1_024;

/// An event with the values that Event Hubs stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// The event's number in the partition.
    pub sequence_number: i64,
    /// The event's position in the partition. It is opaque text, because with geo-replication it is not a number.
    pub offset: String,
    /// When the event was enqueued, in milliseconds since the Unix epoch.
    pub enqueued_time_ms: i64,
    /// The key by which the event's partition was chosen.
    pub partition_key: Option<String>,
    /// Other annotations of the service: `iothub-…` of IoT Hub, `dt-…` of IoT Plug and Play.
    pub system_properties: Members,
    /// The properties that the sender added: a device's own properties, or those of IoT Hub's own events, such as
    /// `opType`.
    pub application_properties: Members,
    /// The body.
    pub body: EventBody,
    /// The id that the sender gave the event.
    pub message_id: Option<String>,
    /// The user who sent the event, as text if the value is text, otherwise as base64.
    pub user_id: Option<String>,
    /// The address that the event was sent to. IoT Hub uses `/devices/{id}/messages/events`.
    pub to: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The address for an answer.
    pub reply_to: Option<String>,
    /// The group that the event belongs to.
    pub group_id: Option<String>,
    /// The event's number in the group.
    pub group_sequence: Option<u32>,
    /// The group that an answer belongs to.
    pub reply_to_group_id: Option<String>,
    /// The id of the message that this event answers.
    pub correlation_id: Option<String>,
    /// The media type of the data.
    pub content_type: Option<String>,
    /// The character set or compression of the data, as the sender stated it. IoT Hub uses it for the character set.
    pub content_encoding: Option<String>,
    /// When the event expires, in milliseconds since the Unix epoch.
    pub absolute_expiry_time_ms: Option<i64>,
    /// When the event was created, in milliseconds since the Unix epoch.
    pub creation_time_ms: Option<i64>,
    /// Why the message cannot be decoded from some section on; then the body holds the bytes from that section on. The
    /// event still has its position in the partition, so that no sender can block a reader.
    pub malformed: Option<String>,
    /// Why some annotations were left out.
    pub left_out: Option<String>,
    /// The size of the whole message, in bytes.
    pub size: usize,
    /// How much memory the event takes up, in bytes. It counts the decoded values, not the received bytes.
    pub memory: usize,
    /// The end of the partition when this event was sent, if the receiver asked for it.
    pub last_enqueued: Option<LastEnqueued>,
}

/// The body of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum EventBody {
    /// Bytes, which is what devices send.
    Data(Vec<u8>),
    /// One value.
    Value(Json),
    /// A list of values. If the message has several lists, their items are joined into one list.
    Sequence(Vec<Json>),
}

/// The end of a partition: its last event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastEnqueued {
    /// The last event's sequence number.
    pub sequence_number: Option<i64>,
    /// The last event's offset.
    pub offset: Option<String>,
    /// When the last event was enqueued, in milliseconds since the Unix epoch.
    pub enqueued_time_ms: Option<i64>,
}

impl Event {
    /// Reads an event; none if its number, offset or time is missing.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        plain::read(bytes).or_else(|| Self::read_any(bytes))
    }

    /// Reads an event in the thorough way. What it reads is the event; [`plain`] must read the same one, or none.
    pub(super) fn read_any(bytes: &[u8]) -> Option<Self> {
        let Lossy { mut message, error, left_out, memory } = Message::decode_lossy(bytes);
        let sequence_number = message.take_annotation("x-opt-sequence-number")?.as_i64()?;
        let offset = message.take_annotation("x-opt-offset")?.into_text()?;
        // The length is limited because the offset becomes part of the position of each event.
        let offset = Some(offset).filter(|offset| offset.len() <= LONGEST_OFFSET)?;
        let enqueued_time_ms = message.take_annotation("x-opt-enqueued-time")?.as_i64()?;
        let partition_key = message.take_annotation("x-opt-partition-key").and_then(Value::into_text);
        let properties = message.properties;
        Some(Self {
            sequence_number,
            offset,
            enqueued_time_ms,
            partition_key,
            system_properties: object(message.message_annotations).into(),
            application_properties: object(message.application_properties).into(),
            body: EventBody::read(message.body),
            message_id: properties.message_id.and_then(Value::into_text),
            user_id: properties.user_id.and_then(|bytes| match String::from_utf8(bytes) {
                Ok(text) => Some(text),
                Err(bytes) => Value::Binary(bytes.into_bytes()).into_text(),
            }),
            to: properties.to,
            subject: properties.subject,
            reply_to: properties.reply_to,
            group_id: properties.group_id,
            group_sequence: properties.group_sequence,
            reply_to_group_id: properties.reply_to_group_id,
            correlation_id: properties.correlation_id.and_then(Value::into_text),
            content_type: properties.content_type,
            content_encoding: properties.content_encoding,
            absolute_expiry_time_ms: properties.absolute_expiry_time,
            creation_time_ms: properties.creation_time,
            malformed: error.map(|error| error.to_string()),
            left_out: left_out.map(|error| error.to_string()),
            size: bytes.len(),
            memory,
            last_enqueued: LastEnqueued::read(&message.delivery_annotations),
        })
    }
}

impl Default for EventBody {
    fn default() -> Self {
        Self::Data(Vec::new())
    }
}

impl EventBody {
    /// The body's size, in bytes: of data, the bytes that the sender sent; of values, the bytes of their JSON text.
    pub fn size(&self) -> usize {
        let text = match self {
            Self::Data(bytes) => return bytes.len(),
            Self::Value(value) => serde_json::to_string(value),
            Self::Sequence(values) => serde_json::to_string(values),
        };
        text.map_or(0, |text| text.len())
    }

    fn read(body: Body) -> Self {
        match body {
            // Most messages have one data section, which is not copied.
            Body::Data(mut sections) if sections.len() == 1 => Self::Data(sections.pop().unwrap_or_default()),
            Body::Data(sections) => Self::Data(sections.concat()),
            Body::Value(value) => Self::Value(value.into_json()),
            Body::Sequence(sections) => Self::Sequence(sections.into_iter().flatten().map(Value::into_json).collect()),
        }
    }
}

impl LastEnqueued {
    fn read(annotations: &[(Value, Value)]) -> Option<Self> {
        let find = |name: &str| {
            let found = annotations.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value);
            found.filter(|value| **value != Value::Null)
        };
        let last = Self {
            sequence_number: find("last_enqueued_sequence_number").and_then(Value::as_i64),
            offset: find("last_enqueued_offset").and_then(Value::to_text),
            enqueued_time_ms: find("last_enqueued_time_utc").and_then(Value::as_i64),
        };
        (last != Self::default()).then_some(last)
    }
}
