//! Makes an event draft of a hub's message: its device, its type, its body and its properties.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::EventMapper;
use super::decode::{Content, Decoded, decode};
use super::filter::Group;
use super::link::Reader;
use super::trigger::LogTrigger;
use crate::error::Result;
use crate::eventhub::{Event as Message, EventBody};
use crate::form::typed;
use crate::host_name::aliases;
use crate::instant::rfc3339;
use crate::json::{self, ObjectWriter};
use crate::session::Session;
use crate::triggers::shared::event::EventDraft;
use crate::triggers::shared::glob::fits_any;
use crate::triggers::shared::hash::digest;
use crate::triggers::shared::misfit;

/// The note of an event some of whose annotations were left out.
const LEFT_OUT: &str = "annotations that cannot be read are left out of the system properties";
/// The largest size of all named fields' values together, as bytes of JSON.
const MOST_OF_FIELDS: usize = 1024 * 1024;
/// The note of an event whose named fields are left out.
const TOO_MUCH_OF_FIELDS: &str = "the named fields are left out: together they have more than 1 MiB";
/// The note of an event whose body needs too much memory for its filter and named fields to be computed.
const UNJUDGED: &str =
    "the body needs too much memory to be parsed: the filter and the named fields were not applied to it";
/// The message source of telemetry.
const TELEMETRY: &str = "Telemetry";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    consumer_group: Option<String>,
    owner_level: Option<i64>,
    device_ids: Vec<String>,
    module_ids: Vec<String>,
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    path: String,
}

/// Makes event drafts of a hub's events, for one trigger with its configuration.
pub struct HubEventMapper<'s> {
    trigger: &'s LogTrigger,
    /// The hub's classic host name, whichever of its names the connection uses.
    hub: String,
    config: Config,
    filter: Option<Group>,
}

impl<'s> HubEventMapper<'s> {
    /// Reads the configuration.
    ///
    /// # Errors
    /// `invalid-config` where its filter cannot be read.
    pub fn new(trigger: &'s LogTrigger, session: &'s Session, config: Value) -> Result<Self> {
        let mut config = config;
        let filter = json::take_some(&mut config, "filter").map(|filter| Group::read(filter, "/filter")).transpose();
        let filter = filter.map_err(|error| misfit(&error))?;
        let config: Config = typed(config)?;
        Ok(Self { trigger, hub: session.hub().identity(), config, filter })
    }

    /// The reader of a partition, or of all partitions where `partition` is empty.
    pub fn reader(&self, partition: &str) -> Reader {
        Reader {
            consumer_group: self.config.consumer_group.clone().unwrap_or_else(|| "$Default".to_owned()),
            partition: partition.to_owned(),
            owner_level: self.config.owner_level,
        }
    }

    /// The values of the named fields, or the note why they are left out. Each value is a copy, and several may be the
    /// same large part of a body, so their sum is limited.
    fn fields(&self, body: Option<&Value>) -> (Option<Map<String, Value>>, Option<&'static str>) {
        if self.config.fields.is_empty() {
            return (None, None);
        }
        let mut found = Map::new();
        let mut bytes = 0_usize;
        for Field { name, path } in &self.config.fields {
            let Some(value) = body.and_then(|body| body.pointer(path)) else { continue };
            bytes = bytes.saturating_add(text_length(value));
            if bytes > MOST_OF_FIELDS {
                return (Some(Map::new()), Some(TOO_MUCH_OF_FIELDS));
            }
            found.insert(name.clone(), value.clone());
        }
        (Some(found), None)
    }

    fn wants(&self, device: &str, module: &str) -> bool {
        fits_any(&self.config.device_ids, device) && fits_any(&self.config.module_ids, module)
    }
}

/// Whether a text can be a part of an event's type: a few letters, digits and `-`.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn body_of(message: &Message) -> Decoded<'_> {
    match &message.body {
        EventBody::Data(bytes) if message.malformed.is_some() => {
            Decoded::bytes(bytes, Some("the message itself is malformed; these are its bytes from where it is"))
        }
        EventBody::Data(bytes) => decode(bytes, message.content_type.as_deref(), message.content_encoding.as_deref()),
        EventBody::Value(value) => Decoded::of_value(value),
        EventBody::Sequence(values) => Decoded::of_value(&values.iter().cloned().collect()),
    }
}

/// The length of a value as JSON, in bytes. The JSON itself is not kept.
fn text_length(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // The counter cannot fail, so there is no error to handle.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// About how many bytes an event's data has besides its body and its properties.
const AROUND_BODY: usize = 512;

impl EventMapper for HubEventMapper<'_> {
    fn scope(&self, partition: &str) -> [u8; 8] {
        digest([self.trigger.id, self.hub.as_str(), partition])
    }

    fn source(&self) -> String {
        format!("https://{}/messages/events", self.hub)
    }

    fn scopes_by_other_names(&self, partition: &str) -> Vec<[u8; 8]> {
        aliases(&self.hub).iter().map(|hub| digest([self.trigger.id, hub.as_str(), partition])).collect()
    }

    fn draft(&self, message: &Message) -> Option<EventDraft> {
        let Message { system_properties: system, application_properties: application, .. } = message;
        let source = system.text("iothub-message-source").unwrap_or(TELEMETRY);
        if !self.trigger.sources.contains(&source) {
            return None;
        }
        // The hub's own events name the device in their application properties; a device's message has it in its
        // annotations.
        let device =
            system.text("iothub-connection-device-id").or_else(|| application.text("deviceId")).unwrap_or_default();
        let module =
            system.text("iothub-connection-module-id").or_else(|| application.text("moduleId")).unwrap_or_default();
        if !self.wants(device, module) {
            return None;
        }
        let decoded = body_of(message);
        let is_looked_into = self.filter.is_some() || !self.config.fields.is_empty();
        let json_body = if is_looked_into { decoded.json() } else { None };
        // Where the filter cannot be applied, the event is delivered.
        let is_unjudged = is_looked_into && json_body.is_none() && matches!(decoded.content, Content::Json(_));
        let is_held_back = |filter: &Group| !filter.passes(json_body.as_ref(), &application.to_map()) && !is_unjudged;
        if self.filter.as_ref().is_some_and(is_held_back) {
            return None;
        }
        let (fields, mut note) = self.fields(json_body.as_ref());
        note = note.or(is_unjudged.then_some(UNJUDGED));
        let time = rfc3339(message.enqueued_time_ms);
        let length = AROUND_BODY + decoded.content.length() + application.length() + system.length();
        let mut data = ObjectWriter::with_capacity(length);
        data.some_text("deviceId", Some(device).filter(|device| !device.is_empty()));
        data.some_text("moduleId", Some(module).filter(|module| !module.is_empty()));
        data.text("messageSource", source);
        data.text("enqueuedTime", &time);
        data.integer("sequenceNumber", message.sequence_number);
        data.text("offset", &message.offset);
        data.some_text("messageId", message.message_id.as_deref());
        data.some_text("correlationId", message.correlation_id.as_deref());
        data.some_text("contentType", message.content_type.as_deref());
        data.some_text("contentEncoding", message.content_encoding.as_deref());
        data.some_text("userId", message.user_id.as_deref());
        data.some_text("subject", message.subject.as_deref());
        data.some_text("to", message.to.as_deref());
        data.some_text("replyTo", message.reply_to.as_deref());
        data.some_text("creationTime", message.creation_time_ms.map(rfc3339).as_deref());
        data.some_text("absoluteExpiryTime", message.absolute_expiry_time_ms.map(rfc3339).as_deref());
        data.some_text("groupId", message.group_id.as_deref());
        if let Some(number) = message.group_sequence {
            data.integer("groupSequence", number.into());
        }
        data.some_text("replyToGroupId", message.reply_to_group_id.as_deref());
        data.some_text("partitionKey", message.partition_key.as_deref());
        decoded.content.write("body", &mut data);
        data.text("bodyEncoding", decoded.encoding());
        data.some_text("bodyNote", decoded.note.or(message.left_out.as_ref().map(|_| LEFT_OUT)).or(note));
        if let Some(fields) = fields {
            data.value("fields", &fields);
        }
        data.written("properties", |out| application.write(out));
        data.written("systemProperties", |out| system.write(out));
        // The hub's own events state their operation here. Any other text must not become part of an event's type.
        let operation = application.text("opType").filter(|operation| source != TELEMETRY && is_word(operation));
        let event_type = operation.map_or_else(
            || self.trigger.event_type.to_owned(),
            |operation| format!("{}.{operation}", self.trigger.event_type),
        );
        let subject = match (device.is_empty(), module.is_empty()) {
            (true, _) => None,
            (false, true) => Some(["devices/", device].concat()),
            (false, false) => Some(["devices/", device, "/modules/", module].concat()),
        };
        let of = if device.is_empty() { "the hub" } else { device };
        let mut size = itoa::Buffer::new();
        let size = size.format(message.body.size());
        Some(EventDraft {
            event_type,
            summary: [operation.unwrap_or(source), " of ", of, " (", size, " bytes)"].concat(),
            subject,
            time: Some(time),
            data: data.finish(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::account::Account;
    use crate::amqp::message::Properties;
    use crate::amqp::{Body, Message as AmqpMessage, Value as AmqpValue};
    use crate::bindings::workflow::connector::types::Connection;
    use crate::platform::fake::FakePlatform;

    static TELEMETRY: LogTrigger = LogTrigger {
        id: "device-telemetry",
        title: "",
        help: "",
        sources: &["Telemetry"],
        event_type: "azure.iot.hub.telemetry",
        sample_body: || json!({}),
        sample_properties: || json!({}),
    };

    fn event(config: Value, message: AmqpMessage) -> Option<EventDraft> {
        let values = json!({ "iotHubName": "plant.azure-devices.net", "sharedAccessKeyName": "service", "sharedAccessKey": "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==" });
        let connection = Connection { auth_profile: "shared-access-key".into(), values: values.to_string() };
        let account = Account::open(&connection).expect("an account");
        let platform = FakePlatform::at(1);
        let session = Session::new(&platform, &account, 1_000, false);
        let mapper = HubEventMapper::new(&TELEMETRY, &session, config).expect("a configuration");
        let message = Message::read(&message.encode()).expect("an event");
        mapper.draft(&message)
    }

    fn data_of(config: Value, message: AmqpMessage) -> Option<Value> {
        event(config, message).map(|draft| json::parse(draft.data.as_bytes()).expect("JSON"))
    }

    fn message(body: &str) -> AmqpMessage {
        let annotation = |name: &str, value: AmqpValue| (AmqpValue::symbol(name), value);
        AmqpMessage {
            message_annotations: vec![
                annotation("iothub-connection-device-id", "press-1".into()),
                annotation("x-opt-sequence-number", AmqpValue::Long(7)),
                annotation("x-opt-offset", "700".into()),
                annotation("x-opt-enqueued-time", AmqpValue::Timestamp(1_700_000_000_123)),
                annotation("x-opt-partition-key", "key".into()),
            ],
            properties: Properties { content_type: Some("application/json".into()), ..Properties::default() },
            body: Body::Data(vec![body.as_bytes().to_vec()]),
            ..AmqpMessage::default()
        }
    }

    #[test]
    fn a_summary_states_the_bytes_of_the_body_alone() {
        let summary = |message| event(json!({}), message).expect("an event").summary;
        assert_eq!(summary(message(r#"{"t":21}"#)), "Telemetry of press-1 (8 bytes)");
        let parts = Body::Data(vec![b"12".to_vec(), b"345".to_vec()]);
        assert_eq!(summary(AmqpMessage { body: parts, ..message("") }), "Telemetry of press-1 (5 bytes)");
    }

    #[test]
    fn all_properties_of_a_message_are_delivered() {
        let properties = Properties {
            message_id: Some("m1".into()),
            user_id: Some(b"operator".to_vec()),
            to: Some("/devices/press-1/messages/events".into()),
            subject: Some("alarm".into()),
            reply_to: Some("answers".into()),
            correlation_id: Some(AmqpValue::Ulong(u64::MAX)),
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            absolute_expiry_time: Some(1_700_000_060_000),
            creation_time: Some(1_699_999_999_999),
            group_id: Some("line-3".into()),
            group_sequence: Some(u32::MAX),
            reply_to_group_id: Some("line-4".into()),
        };
        let data = data_of(json!({}), AmqpMessage { properties, ..message("1") }).expect("an event");
        assert_eq!(
            data,
            json!({
                "deviceId": "press-1",
                "messageSource": "Telemetry",
                "enqueuedTime": "2023-11-14T22:13:20.123Z",
                "sequenceNumber": 7,
                "offset": "700",
                "messageId": "m1",
                "correlationId": "18446744073709551615",
                "contentType": "application/json",
                "contentEncoding": "utf-8",
                "userId": "operator",
                "subject": "alarm",
                "to": "/devices/press-1/messages/events",
                "replyTo": "answers",
                "creationTime": "2023-11-14T22:13:19.999Z",
                "absoluteExpiryTime": "2023-11-14T22:14:20.000Z",
                "groupId": "line-3",
                "groupSequence": 4_294_967_295_u32,
                "replyToGroupId": "line-4",
                "partitionKey": "key",
                "body": 1,
                "bodyEncoding": "json",
                "properties": {},
                "systemProperties": { "iothub-connection-device-id": "press-1" },
            })
        );
        let bytes = Properties { user_id: Some(vec![0xff, 0]), ..Properties::default() };
        assert_eq!(
            data_of(json!({}), AmqpMessage { properties: bytes, ..message("1") }).expect("an event")["userId"],
            "/wA="
        );
    }

    /// The host must be able to read the data, whatever the body and the configuration are. The test uses the host's
    /// own rule.
    #[test]
    fn no_event_is_deeper_than_the_host_reads() {
        let config = json!({ "fields": [{ "name": "inner", "path": "/a" }, { "name": "first", "path": "/0" }] });
        for levels in [1, 100, 124, 125, 126, 127, 128, 300] {
            for body in
                ["[".repeat(levels) + &"]".repeat(levels), r#"{"a":"#.repeat(levels) + "1" + &"}".repeat(levels)]
            {
                let data = event(config.clone(), message(&body)).expect("an event").data;
                assert_eq!(connector_rules::json::check(&data), Ok(()), "{levels}");
                let data = json::parse(data.as_bytes()).expect("JSON");
                assert_eq!(data["bodyEncoding"], if levels < 127 { "json" } else { "base64" }, "{levels}");
            }
        }
        let deep = (0..60).fold(AmqpValue::Null, |value, _| AmqpValue::List(vec![value]));
        for levels in [1, 20, 31] {
            let value = (0..levels).fold(AmqpValue::Null, |value, _| AmqpValue::described(7, value));
            let message = AmqpMessage {
                application_properties: vec![("deep".into(), value.clone())],
                body: Body::Value(value),
                ..message("")
            };
            let data = event(json!({}), message).expect("an event").data;
            assert_eq!(connector_rules::json::check(&data), Ok(()), "{levels}");
        }
        let data = event(json!({}), AmqpMessage { body: Body::Value(deep), ..message("") }).expect("an event").data;
        let data = json::parse(data.as_bytes()).expect("JSON");
        assert_eq!((&data["bodyEncoding"], data["bodyNote"].is_string()), (&json!("base64"), true));
    }

    /// Each named field is a copy. In an earlier version, 64 fields with the whole of a 256 KB body made 16 MB, which
    /// every host refuses in every poll.
    #[test]
    fn named_fields_do_not_multiply_a_body() {
        let fields: Vec<Value> = (0..64).map(|n| json!({ "name": n.to_string(), "path": "/a" })).collect();
        let body = |bytes: usize| json!({ "a": "x".repeat(bytes) }).to_string();
        let of = |bytes: usize| event(json!({ "fields": fields }), message(&body(bytes))).expect("an event").data;
        let small = json::parse(of(1_000).as_bytes()).expect("JSON");
        assert_eq!((small["fields"].as_object().map(Map::len), small.get("bodyNote")), (Some(64), None));
        let data = of(250_000);
        assert!(data.len() < 300_000, "{}", data.len());
        let large = json::parse(data.as_bytes()).expect("JSON");
        assert_eq!((&large["fields"], large["bodyNote"].is_string()), (&json!({}), true));
    }

    /// A megabyte of empty objects takes fifty megabytes as values. In an earlier version, every poll of the partition
    /// ran out of memory.
    #[test]
    fn a_body_that_is_too_large_to_be_looked_into_is_delivered() {
        let body = format!("[{}0]", r#"{"":0},"#.repeat(150_000));
        let condition = json!({ "path": "/0/none", "operator": "equals", "value": 1 });
        let config = json!({ "filter": { "conditions": [condition] }, "fields": [{ "name": "f", "path": "/0" }] });
        let data = event(config.clone(), message(&body)).expect("an event").data;
        assert!(data.contains(UNJUDGED) && data.contains(&body[..1_000]));
        assert!(event(config, message(r#"[{"":0}]"#)).is_none());
    }

    #[test]
    fn a_word_of_the_hub_is_a_part_of_the_type_and_nothing_else_is() {
        let long = "x".repeat(65);
        for (word, is_one) in
            [("createDeviceIdentity", true), ("", false), ("a\u{202e}b", false), ("a\nb", false), (&*long, false)]
        {
            assert_eq!(is_word(word), is_one, "{word:?}");
        }
    }

    #[test]
    fn named_values_keep_their_digits() {
        let config = json!({ "fields": [{ "name": "n", "path": "/a/0" }, { "name": "all", "path": "/a" }] });
        for number in
            ["9007199254740993", "123456789012345678901234567890", "0.1000000000000000055", "1.10", "-0", "1e-400"]
        {
            let data = data_of(config.clone(), message(&format!("{{\"a\":[{number}]}}"))).expect("an event");
            assert_eq!(data["fields"].to_string(), format!("{{\"all\":[{number}],\"n\":{number}}}"));
            assert_eq!(data["body"].to_string(), format!("{{\"a\":[{number}]}}"));
        }
    }

    /// As doubles, both numbers met the first condition and neither met the second.
    #[test]
    fn conditions_distinguish_neighbours() {
        let filter = |operator: &str| json!({ "filter": { "conditions": [{ "path": "/n", "operator": operator, "value": 9_007_199_254_740_992_u64 }] } });
        let passes = |operator: &str, n: &str| data_of(filter(operator), message(&format!("{{\"n\":{n}}}"))).is_some();
        for (n, is_equal, is_greater) in [
            ("9007199254740992", true, false),
            ("9007199254740993", false, true),
            ("9007199254740992.0000001", false, true),
        ] {
            assert_eq!((passes("equals", n), passes("greaterThan", n)), (is_equal, is_greater), "{n}");
        }
        let big = json!({ "filter": { "conditions": [{ "path": "/n", "operator": "greaterThan", "value": 1e18 }] } });
        assert!(data_of(big, message("{\"n\":1e400}")).is_some());
    }
}
