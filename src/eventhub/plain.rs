//! The quick way to read an event: one pass over the bytes, without a value in between for each part.
//!
//! It reads what Event Hubs and IoT Hub send nearly always: values without parts, one body of bytes, each section once,
//! and less memory than any limit allows. `Event::read` reads all other messages in the thorough way, which also decides
//! what is valid. Where this way reads an event, both ways read the same event; the tests compare them.

use super::event::{Event, EventBody, LONGEST_OFFSET, LastEnqueued};
use super::members::{Members, NewMember};
use crate::amqp::Value;
use crate::amqp::codec::{DecodeError, Decoder, Limits, MEMBERS, Scalar, VALUE};
use crate::amqp::composite::composite_code;

type Result<T> = std::result::Result<T, DecodeError>;

/// Less than each limit of a message and of one annotation, so that none of them needs a look.
const PLAIN: Limits = Limits { depth: 2, memory: 1 << 20 };
const _: () = assert!(PLAIN.memory < Limits::MESSAGE.memory / 2, "a plain message is within the limits of any message");

/// The code of the first section. The codes of the others follow it.
const HEADER: u64 = 0x70;
/// How many sections a message may have. The body is the last of them.
const SECTIONS: usize = 6;

/// Room for the texts and the number of annotations that IoT Hub writes, and of a device's own properties. More is
/// possible.
const SYSTEM: (usize, usize) = (320, 8);
const APPLICATION: (usize, usize) = (64, 4);

/// Reads an event. None where the message is not plain.
pub(super) fn read(bytes: &[u8]) -> Option<Event> {
    let mut decoder = Decoder::new(bytes, PLAIN);
    let mut draft = Draft::default();
    let mut seen = [false; SECTIONS];
    while !decoder.is_empty() {
        let code = composite_code(&decoder.descriptor().ok()?)?;
        let seen = seen.get_mut(usize::try_from(code.checked_sub(HEADER)?).ok()?)?;
        if std::mem::replace(seen, true) {
            return None;
        }
        draft.section(code, &mut decoder).ok()?;
    }
    let [.., true] = seen else { return None };
    let Draft { mut event, place, newest } = draft;
    event.sequence_number = place.sequence_number?;
    event.offset = place.offset.filter(|offset| offset.len() <= LONGEST_OFFSET)?.to_owned();
    event.enqueued_time_ms = place.enqueued_time_ms?;
    event.partition_key = place.partition_key.map(str::to_owned);
    event.last_enqueued = newest.read()?;
    event.system_properties.sort();
    event.application_properties.sort();
    event.size = bytes.len();
    event.memory = decoder.memory();
    Some(event)
}

#[derive(Default)]
struct Draft<'a> {
    event: Event,
    place: Stored<'a>,
    newest: Newest<'a>,
}

impl<'a> Draft<'a> {
    fn section(&mut self, code: u64, decoder: &mut Decoder<'a>) -> Result<()> {
        let Self { event, place, newest } = self;
        match code {
            0x70 => decoder.scalars(|_, _| Ok(())),
            0x71 => decoder.scalar_pairs(0, |name, value| newest.note(text(name)?, value)),
            0x72 => {
                event.system_properties = Members::with_capacity(SYSTEM);
                decoder.scalar_pairs(0, |name, value| {
                    let name = text(name)?;
                    match place.note(name, value)? {
                        Noted::Yes => {}
                        Noted::No => event.system_properties.push(name, member(value)),
                    }
                    Ok(())
                })
            }
            0x73 => decoder.scalars(|index, value| property(event, index, value)),
            0x74 => {
                event.application_properties = Members::with_capacity(APPLICATION);
                decoder.scalar_pairs(VALUE + MEMBERS, |name, value| {
                    event.application_properties.push(text(name)?, member(value));
                    Ok(())
                })
            }
            0x75 => {
                event.body = EventBody::Data(decoder.binary()?.to_vec());
                Ok(())
            }
            _ => Err(DecodeError::Composite),
        }
    }
}

/// The annotations with which Event Hubs states the place of an event.
#[derive(Default)]
struct Stored<'a> {
    sequence_number: Option<i64>,
    offset: Option<&'a str>,
    enqueued_time_ms: Option<i64>,
    partition_key: Option<&'a str>,
}

enum Noted {
    Yes,
    No,
}

impl<'a> Stored<'a> {
    fn note(&mut self, name: &str, value: Scalar<'a>) -> Result<Noted> {
        let once = match name {
            "x-opt-sequence-number" => set(&mut self.sequence_number, value.as_i64()),
            "x-opt-offset" => set(&mut self.offset, value.as_str()),
            "x-opt-enqueued-time" => set(&mut self.enqueued_time_ms, value.as_i64()),
            "x-opt-partition-key" => set(&mut self.partition_key, value.as_str()),
            _ => return Ok(Noted::No),
        };
        once.map(|()| Noted::Yes)
    }
}

/// Sets a value that must be there, and only once.
fn set<T>(place: &mut Option<T>, value: Option<T>) -> Result<()> {
    if value.is_none() || place.is_some() {
        return Err(DecodeError::Composite);
    }
    *place = value;
    Ok(())
}

/// The annotations about the end of the partition. Of several with one name, the first one counts.
#[derive(Default)]
struct Newest<'a> {
    sequence_number: Option<Scalar<'a>>,
    offset: Option<Scalar<'a>>,
    enqueued_time: Option<Scalar<'a>>,
}

impl<'a> Newest<'a> {
    fn note(&mut self, name: &str, value: Scalar<'a>) -> Result<()> {
        let place = match name {
            "last_enqueued_sequence_number" => &mut self.sequence_number,
            "last_enqueued_offset" => &mut self.offset,
            "last_enqueued_time_utc" => &mut self.enqueued_time,
            _ => return Ok(()),
        };
        place.get_or_insert(value);
        Ok(())
    }

    /// What they state together. None where the offset is neither a text nor null.
    fn read(self) -> Option<Option<LastEnqueued>> {
        let last = LastEnqueued {
            sequence_number: self.sequence_number.and_then(Scalar::as_i64),
            offset: match self.offset {
                None | Some(Scalar::Null) => None,
                Some(offset) => Some(offset.as_str()?.to_owned()),
            },
            enqueued_time_ms: self.enqueued_time.and_then(Scalar::as_i64),
        };
        Some((last != LastEnqueued::default()).then_some(last))
    }
}

fn text(name: Scalar<'_>) -> Result<&str> {
    name.as_str().ok_or(DecodeError::Composite)
}

fn member(value: Scalar<'_>) -> NewMember<'_> {
    match value {
        Scalar::String(text) | Scalar::Symbol(text) => NewMember::Text(text),
        Scalar::Uint(number) => NewMember::Signed(number.into()),
        Scalar::Integer(number) | Scalar::Timestamp(number) => NewMember::Signed(number),
        Scalar::Ulong(number) => NewMember::Unsigned(number),
        Scalar::Null => NewMember::Json(serde_json::Value::Null),
        Scalar::Boolean(flag) => NewMember::Json(flag.into()),
        Scalar::Double(number) => NewMember::Json(Value::Double(number).into_json()),
        Scalar::Binary(bytes) => NewMember::Json(Value::Binary(bytes.to_vec()).into_json()),
    }
}

/// Reads a field of the standard's own properties.
fn property(event: &mut Event, index: u32, value: Scalar<'_>) -> Result<()> {
    if value == Scalar::Null {
        return Ok(());
    }
    // An id may be of several types. Only a text is plain.
    let field = match index {
        0 => &mut event.message_id,
        1 => &mut event.user_id,
        2 => &mut event.to,
        3 => &mut event.subject,
        4 => &mut event.reply_to,
        5 => &mut event.correlation_id,
        6 => &mut event.content_type,
        7 => &mut event.content_encoding,
        10 => &mut event.group_id,
        12 => &mut event.reply_to_group_id,
        8 | 9 => {
            let Scalar::Timestamp(ms) = value else { return Err(DecodeError::Composite) };
            let field = if index == 8 { &mut event.absolute_expiry_time_ms } else { &mut event.creation_time_ms };
            *field = Some(ms);
            return Ok(());
        }
        11 => {
            let Scalar::Uint(number) = value else { return Err(DecodeError::Composite) };
            event.group_sequence = Some(number);
            return Ok(());
        }
        // Further fields have no meaning.
        _ => return Ok(()),
    };
    let text = match (index, value) {
        (_, Scalar::String(text)) => text,
        (1, Scalar::Binary(bytes)) => std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?,
        (2..=4 | 6 | 7 | 10 | 12, Scalar::Symbol(text)) => text,
        _ => return Err(DecodeError::Composite),
    };
    *field = Some(text.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::amqp::codec::tests::value;
    use crate::amqp::message::{Body, Message, Properties};

    /// A message as IoT Hub passes it on from a device.
    fn message() -> Message {
        let annotation = |name: &str, value: Value| (Value::symbol(name), value);
        Message {
            delivery_annotations: vec![
                annotation("last_enqueued_sequence_number", Value::Long(41)),
                annotation("last_enqueued_offset", "4100".into()),
                annotation("last_enqueued_time_utc", Value::Timestamp(1_700_000_009_000)),
                annotation("runtime_info_retrieval_time_utc", Value::Timestamp(1_700_000_009_000)),
            ],
            message_annotations: vec![
                annotation("iothub-connection-device-id", "press-1".into()),
                annotation("iothub-connection-auth-method", r#"{"scope":"device","type":"sas"}"#.into()),
                annotation("iothub-connection-auth-generation-id", "637".into()),
                annotation("iothub-enqueuedtime", Value::Timestamp(1_700_000_000_000)),
                annotation("iothub-message-source", "Telemetry".into()),
                annotation("x-opt-sequence-number", Value::Long(40)),
                annotation("x-opt-offset", "4000".into()),
                annotation("x-opt-enqueued-time", Value::Timestamp(1_700_000_000_123)),
            ],
            properties: Properties {
                message_id: Some("m1".into()),
                correlation_id: Some("c1".into()),
                user_id: Some(b"u".to_vec()),
                to: Some("/devices/press-1/messages/events".into()),
                content_type: Some("application/json".into()),
                content_encoding: Some("utf-8".into()),
                creation_time: Some(1_700_000_000_000),
                group_sequence: Some(7),
                ..Properties::default()
            },
            application_properties: vec![("level".into(), "hot".into()), ("count".into(), Value::Ulong(u64::MAX))],
            body: Body::Data(vec![br#"{"t":1}"#.to_vec()]),
        }
    }

    #[test]
    fn a_message_of_a_device_is_plain() {
        let bytes = message().encode();
        let event = read(&bytes);
        assert!(event.is_some());
        assert_eq!(event, Event::read_any(&bytes));
    }

    /// Names that mean something to the connector, and others.
    fn name() -> impl Strategy<Value = Value> {
        let known = proptest::sample::select(
            [
                "x-opt-sequence-number",
                "x-opt-offset",
                "x-opt-enqueued-time",
                "x-opt-partition-key",
                "iothub-connection-device-id",
                "last_enqueued_sequence_number",
                "last_enqueued_offset",
                "last_enqueued_time_utc",
                "é\"\\",
            ]
            .as_slice(),
        );
        prop_oneof![
            6 => known.clone().prop_map(Value::symbol),
            1 => known.prop_map(Value::string),
            2 => "[a-c]{0,2}".prop_map(Value::symbol),
            1 => value(),
        ]
    }

    fn plain_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            any::<u32>().prop_map(Value::Uint),
            any::<u64>().prop_map(Value::Ulong),
            any::<i8>().prop_map(Value::Byte),
            any::<i32>().prop_map(Value::Int),
            any::<i64>().prop_map(Value::Long),
            any::<i64>().prop_map(Value::Timestamp),
            any::<f32>().prop_map(Value::Float),
            any::<f64>().prop_map(Value::Double),
            ".{0,9}".prop_map(Value::String),
            ".{0,9}".prop_map(Value::Symbol),
            proptest::collection::vec(any::<u8>(), 0..9).prop_map(Value::Binary),
        ]
    }

    fn pairs() -> impl Strategy<Value = Vec<(Value, Value)>> {
        proptest::collection::vec((name(), prop_oneof![9 => plain_value(), 1 => value()]), 0..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        /// What the quick way reads, the thorough way reads as well, whatever a message has besides.
        #[test]
        fn both_ways_read_the_same_event(
            delivery in pairs(), annotations in pairs(), application in pairs(),
            replaced in proptest::option::weighted(0.5, (any::<prop::sample::Index>(), plain_value())),
            fields in proptest::collection::vec(prop_oneof![3 => Just(Value::Null), 2 => plain_value()], 0..15),
            has_fields in any::<bool>(),
            sections in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..3),
            damage in proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut message = message();
            message.delivery_annotations.extend(delivery);
            message.message_annotations.extend(annotations);
            message.application_properties.extend(application);
            if let Some((index, value)) = replaced {
                let index = index.index(message.message_annotations.len());
                message.message_annotations[index].1 = value;
            }
            message.body = Body::Data(sections);
            let mut bytes = Vec::new();
            if has_fields {
                message.properties = Properties::default();
                crate::amqp::codec::encode(&Value::described(0x73, Value::List(fields)), &mut bytes);
            }
            bytes.extend(message.encode());
            if let Some((at, byte)) = damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(event) = read(&bytes) {
                prop_assert_eq!(Some(event), Event::read_any(&bytes));
            }
        }
    }
}
