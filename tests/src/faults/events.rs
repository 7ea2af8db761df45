//! Events with every kind of body, and the data that the connector must deliver for each. The expected data is computed
//! from the emulator's own record, by the connector's documentation and without its code.

use anyhow::{Result, ensure};
use azure_iot_emulator::{Emulator, EventBody, EventPosition, TelemetryEvent};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Map, Value, json};

const DEVICES: usize = 60;

/// An event with its place in the partition.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The event's sequence number in the partition.
    pub sequence: i64,
    /// The event's offset in the partition.
    pub offset: String,
    /// When the event was enqueued, in milliseconds since the Unix epoch.
    pub enqueued_ms: i64,
    /// The event as it was sent.
    pub event: TelemetryEvent,
}

/// All events in the partitions, as the emulator keeps them.
#[derive(Debug)]
pub struct Record {
    partitions: Vec<Vec<Recorded>>,
}

impl Record {
    /// Events by partition, in order.
    #[must_use]
    pub fn new(partitions: Vec<Vec<Recorded>>) -> Self {
        Self { partitions }
    }

    /// Sends the events, and reads the emulator's record of them.
    ///
    /// # Errors
    /// Where the record differs from what was sent.
    pub fn send(emulator: &Emulator, events: Vec<TelemetryEvent>) -> Result<Self> {
        let count = events.len();
        let telemetry = emulator.telemetry();
        let mut positions = vec![Vec::new(); usize::from(telemetry.partition_count())];
        for position in telemetry.send_all(events) {
            positions[usize::from(position.partition)].push(position);
        }
        let of = |(number, positions): (u16, Vec<EventPosition>)| {
            let kept = telemetry.events(number);
            ensure!(kept.len() == positions.len(), "the emulator keeps {} of {}", kept.len(), positions.len());
            kept.into_iter()
                .zip(positions)
                .map(|((sequence, enqueued, event), position)| {
                    ensure!(position.sequence_number == sequence, "the emulator's positions do not fit");
                    let enqueued_ms = i64::try_from(enqueued.unix_timestamp_nanos() / 1_000_000)?;
                    Ok(Recorded { sequence, offset: position.offset, enqueued_ms, event })
                })
                .collect::<Result<Vec<_>>>()
        };
        let record = Self::new((0..).zip(positions).map(of).collect::<Result<_>>()?);
        ensure!(
            record.partitions.iter().map(Vec::len).sum::<usize>() == count,
            "the emulator does not keep all events"
        );
        Ok(record)
    }

    /// The numbers of the partitions.
    pub fn partitions(&self) -> impl Iterator<Item = u16> + use<> {
        (0..).take(self.partitions.len())
    }

    /// The events of a partition.
    ///
    /// # Panics
    /// Where there is no such partition.
    #[must_use]
    pub fn of(&self, partition: u16) -> &[Recorded] {
        &self.partitions[usize::from(partition)]
    }

    /// The index of the event with this sequence number.
    #[must_use]
    pub fn index(&self, partition: u16, sequence: i64) -> Option<usize> {
        self.of(partition).binary_search_by_key(&sequence, |event| event.sequence).ok()
    }
}

impl Recorded {
    /// The part of the event's id that must follow the id of the log.
    #[must_use]
    pub fn id(&self, partition: u16) -> String {
        format!("{partition}-{}", self.sequence)
    }

    /// The data that must be delivered. Where a note is expected, it is `true`, because its words do not matter.
    #[must_use]
    pub fn expected(&self) -> Value {
        let event = &self.event;
        let (body, encoding, noted) = body(event);
        let mut data = json!({
            "deviceId": event.device_id,
            "messageSource": "Telemetry",
            "enqueuedTime": rfc3339(self.enqueued_ms),
            "sequenceNumber": self.sequence,
            "offset": self.offset,
            "body": body,
            "bodyEncoding": encoding,
            "properties": event.properties.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "systemProperties": self.system_properties(),
        });
        if noted {
            data["bodyNote"] = true.into();
        }
        if event.message_id.is_some() {
            let module = event.module_id.as_ref().map(|id| format!("/modules/{id}")).unwrap_or_default();
            data["to"] = format!("/devices/{}{module}/messages/events", event.device_id).into();
        }
        for (name, value) in [
            ("moduleId", &event.module_id),
            ("messageId", &event.message_id),
            ("correlationId", &event.correlation_id),
            ("contentType", &event.content_type),
            ("contentEncoding", &event.content_encoding),
        ] {
            if let Some(value) = value {
                data[name] = value.as_str().into();
            }
        }
        data
    }

    fn system_properties(&self) -> Map<String, Value> {
        let event = &self.event;
        let scope = if event.module_id.is_some() { "module" } else { "device" };
        let method = format!(r#"{{"scope":"{scope}","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}}"#);
        let mut properties = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            properties.extend(value.map(|value| (name.to_owned(), value)));
        };
        let text = |value: &Option<String>| value.as_deref().map(Value::from);
        put("iothub-connection-device-id", Some(event.device_id.as_str().into()));
        put("iothub-connection-module-id", text(&event.module_id));
        put("iothub-connection-auth-method", Some(method.into()));
        put("iothub-connection-auth-generation-id", Some("0".into()));
        put("iothub-enqueuedtime", Some(self.enqueued_ms.into()));
        put("iothub-message-source", Some("Telemetry".into()));
        put("dt-dataschema", text(&event.model_id));
        put("dt-subject", text(&event.component));
        properties
    }
}

/// The body that must be delivered, its encoding, and whether there must be a note.
fn body(event: &TelemetryEvent) -> (Value, &'static str, bool) {
    let bytes = match &event.body {
        EventBody::Data(bytes) => bytes.to_vec(),
        EventBody::MultipleData(parts) => parts.concat(),
        EventBody::Value(value) => return (value.clone(), "json", false),
        EventBody::Sequence(lists) => return (lists.concat().into(), "json", false),
        other => panic!("a kind of body that is not sent here: {other:?}"),
    };
    let as_bytes = |noted| (STANDARD.encode(&bytes).into(), "base64", noted);
    let as_json = || serde_json::from_slice::<Value>(&bytes).ok().map(|value| (value, "json", false));
    let as_text = || std::str::from_utf8(&bytes).ok().map(|text| (text.into(), "text", false));
    match event.content_type.as_deref() {
        Some("application/json") => as_json().unwrap_or_else(|| as_bytes(true)),
        Some("text/plain") => as_text().unwrap_or_else(|| as_bytes(true)),
        Some(_) => as_bytes(false),
        None => as_json().or_else(as_text).unwrap_or_else(|| as_bytes(false)),
    }
}

/// A time in milliseconds since the Unix epoch, in the connector's form.
pub(crate) fn rfc3339(milliseconds: i64) -> String {
    let form = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000);
    time.ok().and_then(|time| time.format(form).ok()).unwrap_or_default()
}

/// Events with every kind of body. The same seed gives the same events.
///
/// JSON is written as `serde_json` writes it. A body that is read and written again then has the same bytes.
#[must_use]
pub fn mixed(seed: u64, count: usize) -> Vec<TelemetryEvent> {
    let mut random = Rng::with_seed(seed);
    (0..count).map(|number| event(number, &mut random)).collect()
}

fn event(number: usize, random: &mut Rng) -> TelemetryEvent {
    let device = format!("press-{:02}", random.usize(..DEVICES));
    let tenths = f64::from(random.u32(200..1_000)) / 10.0;
    let level = ["low", "grün", "hot"][number % 3];
    let reading = json!({ "device": device, "level": level, "n": number, "t": tenths });
    let text = reading.to_string();
    let noise = |random: &mut Rng, length: usize| Bytes::from((0..length).map(|_| random.u8(..)).collect::<Vec<_>>());
    let (kind, content_type, body): (&str, Option<&str>, EventBody) = match random.u32(..1_000) {
        0..500 => ("json", Some("application/json"), text.into()),
        500..560 => ("undeclared-json", None, text.into()),
        560..660 => ("text", Some("text/plain"), format!("{number}: {tenths} °C at {device}").into()),
        660..720 => ("undeclared-text", None, format!("{number}: {tenths} °C at {device}").into()),
        720..780 => {
            let length = random.usize(..400);
            ("binary", Some("application/octet-stream"), noise(random, length).into())
        }
        780..810 => {
            // These bytes can never be UTF-8.
            let rest = noise(random, 40);
            ("undeclared-binary", None, Bytes::from([&[0xff, 0xfe][..], &rest].concat()).into())
        }
        810..850 => ("malformed-json", Some("application/json"), Bytes::from(text.into_bytes()).slice(..20).into()),
        850..865 => ("malformed-text", Some("text/plain"), Bytes::from_static(b"gr\xfcn").into()),
        865..880 => ("empty", Some("application/json"), EventBody::Data(Bytes::new())),
        880..915 => {
            let parts = Bytes::from(text.into_bytes());
            let parts = vec![parts.slice(..7), Bytes::new(), parts.slice(7..)];
            ("multiple", Some("application/json"), EventBody::MultipleData(parts))
        }
        915..950 => ("value", None, EventBody::Value(json!({ "list": [1.5, true, null, "x", -3], "of": reading }))),
        950..980 => {
            let lists = vec![vec![json!(number), json!("eins")], vec![reading, Value::Null]];
            ("sequence", None, EventBody::Sequence(lists))
        }
        980..998 => {
            let readings: Vec<_> = (0..random.usize(20..150)).map(|n| json!({ "n": n, "of": reading })).collect();
            ("long-json", Some("application/json"), Value::from(readings).to_string().into())
        }
        // This body needs several frames. The hub's limit for a whole message is 256 KB.
        _ => {
            let length = random.usize(70_000..250_000);
            ("big", Some("application/octet-stream"), noise(random, length).into())
        }
    };
    let mut event = TelemetryEvent::new(device, body).property("kind", kind);
    event.content_type = content_type.map(str::to_owned);
    event.content_encoding = content_type.filter(|media| !media.ends_with("stream")).map(|_| "utf-8".to_owned());
    if random.u32(..3) == 0 {
        event = event.message_id(format!("m{number}")).property("größe", "groß").property("empty", "");
    }
    if random.u32(..10) == 0 {
        event.correlation_id = Some(format!("c{number}"));
        event.module_id = Some("m 1".to_owned());
        event.model_id = Some("dtmi:example:press;1".to_owned());
        event.component = Some("thermostat".to_owned());
    }
    event
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_makes_the_same_events_of_every_kind() {
        let events = mixed(3, 20_000);
        assert_eq!(events, mixed(3, 20_000));
        assert_ne!(events, mixed(4, 20_000));
        let kinds: BTreeSet<&str> = events.iter().map(|event| event.properties[0].1.as_str()).collect();
        assert_eq!(kinds.len(), 14, "{kinds:?}");
    }

    #[test]
    fn what_is_expected_of_each_kind() {
        for event in mixed(3, 20_000) {
            let kind = event.properties[0].1.clone();
            let (_, encoding, noted) = body(&event);
            let expected = match kind.as_str() {
                "json" | "undeclared-json" | "multiple" | "value" | "sequence" | "long-json" => ("json", false),
                "text" | "undeclared-text" => ("text", false),
                "binary" | "undeclared-binary" | "big" => ("base64", false),
                _ => ("base64", true),
            };
            assert_eq!((encoding, noted), expected, "{kind}");
        }
    }
}
