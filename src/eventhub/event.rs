//! One event of a partition.

use serde_json::{Map, Value as Json};

use crate::amqp::codec::json::object;
use crate::amqp::message::Lossy;
use crate::amqp::{Body, Message, Value};

/// The longest offset, in bytes: those of Event Hubs have some twenty.
const LONGEST_OFFSET: usize = 1_024;

/// An event as it was enqueued.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// Its number in the partition.
    pub sequence_number: i64,
    /// Its place in the partition: opaque, since it is no number with geo-replication.
    pub offset: String,
    /// When it was enqueued, in milliseconds since the Unix epoch.
    pub enqueued_time_ms: i64,
    /// What its partition was chosen by.
    pub partition_key: Option<String>,
    /// Annotations of the service besides those above: `iothub-…` of IoT Hub, `dt-…` of IoT Plug and Play.
    pub system_properties: Map<String, Json>,
    /// What the sender added: a device's properties, or `opType` and the like of IoT Hub's own events.
    pub application_properties: Map<String, Json>,
    /// What it is about.
    pub body: EventBody,
    /// The sender's id of it.
    pub message_id: Option<String>,
    /// Who sent it, as text where it is text and base64 otherwise.
    pub user_id: Option<String>,
    /// Where it was sent to; with IoT Hub, `/devices/{id}/messages/events`.
    pub to: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// Where an answer goes.
    pub reply_to: Option<String>,
    /// The group that it belongs to.
    pub group_id: Option<String>,
    /// Its place in the group.
    pub group_sequence: Option<u32>,
    /// The group for answers.
    pub reply_to_group_id: Option<String>,
    /// What it answers.
    pub correlation_id: Option<String>,
    /// The media type of its data.
    pub content_type: Option<String>,
    /// The character set or compression of its data, as the sender said it; IoT Hub means the character set.
    pub content_encoding: Option<String>,
    /// When it is of no more use, in milliseconds since the Unix epoch.
    pub absolute_expiry_time_ms: Option<i64>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub creation_time_ms: Option<i64>,
    /// Why the message cannot be read from some section on, where it cannot: the body is the bytes from there on. Its
    /// place in the partition is known all the same, so that no sender can block a reader.
    pub malformed: Option<String>,
    /// Why annotations are left out, where some are.
    pub left_out: Option<String>,
    /// Bytes of the whole message.
    pub size: usize,
    /// Bytes of memory that it takes up, counted by what it was decoded to and not by what came.
    pub memory: usize,
    /// The partition's end when this was sent, where the receiver asked for it.
    pub last_enqueued: Option<LastEnqueued>,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq)]
pub enum EventBody {
    /// Bytes: what devices send.
    Data(Vec<u8>),
    /// One value.
    Value(Json),
    /// A list of values; of several such lists, their items one after the other.
    Sequence(Vec<Json>),
}

/// A partition's end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastEnqueued {
    /// The last event's number.
    pub sequence_number: Option<i64>,
    /// The last event's offset.
    pub offset: Option<String>,
    /// When it was enqueued, in milliseconds since the Unix epoch.
    pub enqueued_time_ms: Option<i64>,
}

impl Event {
    /// Reads an event; none where it lacks what makes it one: number, offset and time.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let Lossy { mut message, error, left_out, memory } = Message::decode_lossy(bytes);
        let sequence_number = message.take_annotation("x-opt-sequence-number")?.as_i64()?;
        let offset = message.take_annotation("x-opt-offset")?.into_text()?;
        // It goes into the position of each event.
        let offset = Some(offset).filter(|offset| offset.len() <= LONGEST_OFFSET)?;
        let enqueued_time_ms = message.take_annotation("x-opt-enqueued-time")?.as_i64()?;
        let partition_key = message.take_annotation("x-opt-partition-key").and_then(Value::into_text);
        let properties = message.properties;
        Some(Self {
            sequence_number,
            offset,
            enqueued_time_ms,
            partition_key,
            system_properties: object(message.message_annotations),
            application_properties: object(message.application_properties),
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
    /// Its bytes: what the sender sent; of values, those of their JSON text.
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
            // One section is the rule, and needs no copy.
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
