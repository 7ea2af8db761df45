//! What an event of an IoT hub says: who sent it, what it is, what is in it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::decode::{Content, Decoded, decode};
use super::filter::Group;
use super::link::Reader;
use super::trigger::LogTrigger;
use super::{Telling, Told};
use crate::actions::typed;
use crate::error::Result;
use crate::eventhub::{Event as Message, EventBody};
use crate::host_name::aliases;
use crate::instant::rfc3339;
use crate::json;
use crate::session::Session;
use crate::triggers::cursor::digest;
use crate::triggers::glob::fits_any;
use crate::triggers::misfit;

/// The note of an event some of whose annotations are left out.
const LEFT_OUT: &str = "annotations that cannot be read are left out of the system properties";
/// The source of what devices send.
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

/// What a trigger with its configuration tells of a hub's events.
pub struct HubTelling<'s> {
    trigger: &'s LogTrigger,
    /// The hub's classic host, by whatever name it is spoken to.
    hub: String,
    config: Config,
    filter: Option<Group>,
}

impl<'s> HubTelling<'s> {
    /// Reads the configuration.
    ///
    /// # Errors
    /// `invalid-config` where its filter makes no sense.
    pub fn new(trigger: &'s LogTrigger, session: &'s Session, config: Value) -> Result<Self> {
        let mut config = config;
        let filter = json::take_some(&mut config, "filter").map(|filter| Group::read(filter, "/filter")).transpose();
        let filter = filter.map_err(|error| misfit(&error))?;
        let config: Config = typed(config)?;
        Ok(Self { trigger, hub: session.hub().identity(), config, filter })
    }

    /// Who reads, and of what: a partition, or all of them where it is empty.
    pub fn reader(&self, partition: &str) -> Reader {
        Reader {
            consumer_group: self.config.consumer_group.clone().unwrap_or_else(|| "$Default".to_owned()),
            partition: partition.to_owned(),
            owner_level: self.config.owner_level,
        }
    }

    fn wants(&self, device: &str, module: &str) -> bool {
        fits_any(&self.config.device_ids, device) && fits_any(&self.config.module_ids, module)
    }
}

fn member<'m>(map: &'m Map<String, Value>, names: &[&str]) -> Option<&'m str> {
    names.iter().find_map(|name| map.get(*name).and_then(Value::as_str))
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

/// What an event's data holds. Written at once, without a copy of its parts: a busy hub has tens of thousands a second.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'m> {
    #[serde(skip_serializing_if = "str::is_empty")]
    device_id: &'m str,
    #[serde(skip_serializing_if = "str::is_empty")]
    module_id: &'m str,
    message_source: &'m str,
    enqueued_time: &'m str,
    sequence_number: i64,
    offset: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    absolute_expiry_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_sequence: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to_group_id: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_key: Option<&'m str>,
    body: &'m Content<'m>,
    body_encoding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_note: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Map<String, Value>>,
    properties: &'m Map<String, Value>,
    system_properties: &'m Map<String, Value>,
}

impl Data<'_> {
    fn write(&self) -> String {
        // Its keys are text and it goes to memory: there is nothing to fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Telling for HubTelling<'_> {
    fn scope(&self, partition: &str) -> [u8; 8] {
        digest([self.trigger.id, self.hub.as_str(), partition])
    }

    fn scopes_by_other_names(&self, partition: &str) -> Vec<[u8; 8]> {
        aliases(&self.hub).iter().map(|hub| digest([self.trigger.id, hub.as_str(), partition])).collect()
    }

    fn tell(&self, message: &Message, partition: &str) -> Option<Told> {
        let source = member(&message.system_properties, &["iothub-message-source"]).unwrap_or(TELEMETRY);
        if !self.trigger.sources.contains(&source) {
            return None;
        }
        // The hub's own events name the device in their properties, a device's in the annotations.
        let device = member(&message.system_properties, &["iothub-connection-device-id"])
            .or_else(|| member(&message.application_properties, &["deviceId"]))
            .unwrap_or_default();
        let module = member(&message.system_properties, &["iothub-connection-module-id"])
            .or_else(|| member(&message.application_properties, &["moduleId"]))
            .unwrap_or_default();
        if !self.wants(device, module) {
            return None;
        }
        let decoded = body_of(message);
        let is_looked_into = self.filter.is_some() || !self.config.fields.is_empty();
        let json_body = if is_looked_into { decoded.json() } else { None };
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.passes(json_body.as_ref(), &message.application_properties))
        {
            return None;
        }
        let fields = || {
            let named = |field: &Field| Some((field.name.clone(), json_body.as_ref()?.pointer(&field.path)?.clone()));
            self.config.fields.iter().filter_map(named).collect()
        };
        let data = Data {
            device_id: device,
            module_id: module,
            message_source: source,
            enqueued_time: &rfc3339(message.enqueued_time_ms),
            sequence_number: message.sequence_number,
            offset: &message.offset,
            message_id: message.message_id.as_deref(),
            correlation_id: message.correlation_id.as_deref(),
            content_type: message.content_type.as_deref(),
            content_encoding: message.content_encoding.as_deref(),
            user_id: message.user_id.as_deref(),
            subject: message.subject.as_deref(),
            to: message.to.as_deref(),
            reply_to: message.reply_to.as_deref(),
            creation_time: message.creation_time_ms.map(rfc3339),
            absolute_expiry_time: message.absolute_expiry_time_ms.map(rfc3339),
            group_id: message.group_id.as_deref(),
            group_sequence: message.group_sequence,
            reply_to_group_id: message.reply_to_group_id.as_deref(),
            partition_key: message.partition_key.as_deref(),
            body: &decoded.content,
            body_encoding: decoded.encoding(),
            body_note: decoded.note.or(message.left_out.as_ref().map(|_| LEFT_OUT)),
            fields: (!self.config.fields.is_empty()).then(fields),
            properties: &message.application_properties,
            system_properties: &message.system_properties,
        };
        let operation = member(&message.application_properties, &["opType"]).filter(|_| source != TELEMETRY);
        let event_type = operation.map_or_else(
            || self.trigger.event_type.to_owned(),
            |operation| format!("{}.{operation}", self.trigger.event_type),
        );
        let subject = match (device.is_empty(), module.is_empty()) {
            (true, _) => None,
            (false, true) => Some(format!("devices/{device}")),
            (false, false) => Some(format!("devices/{device}/modules/{module}")),
        };
        Some(Told {
            source: format!("https://{}/messages/events", self.hub),
            event_type,
            summary: format!(
                "{} of {} ({} bytes)",
                operation.unwrap_or(source),
                if device.is_empty() { "the hub" } else { device },
                message.body.size()
            ),
            order_key: subject.clone().unwrap_or_else(|| partition.to_owned()),
            subject,
            data: data.write(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::amqp::message::Properties;
    use crate::amqp::{Body, Message as AmqpMessage, Value as AmqpValue};
    use crate::bindings::workflow::connector::types::Connection;
    use crate::connection::Account;
    use crate::platform::fake::FakePlatform;
    use crate::triggers::device_telemetry::DEVICE_TELEMETRY;

    fn event(config: Value, message: AmqpMessage) -> Option<Told> {
        let values = json!({ "iotHubName": "plant.azure-devices.net", "sharedAccessKeyName": "service", "sharedAccessKey": "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==" });
        let connection = Connection { auth_profile: "shared-access-key".into(), values: values.to_string() };
        let account = Account::open(&connection).expect("an account");
        let platform = FakePlatform::at(1);
        let session = Session::new(&platform, &account, 1_000, false);
        let telling = HubTelling::new(&DEVICE_TELEMETRY, &session, config).expect("a configuration");
        let message = Message::read(&message.encode()).expect("an event");
        telling.tell(&message, "0")
    }

    fn told(config: Value, message: AmqpMessage) -> Option<Value> {
        event(config, message).map(|told| json::parse(told.data.as_bytes()).expect("JSON"))
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
    fn all_properties_of_a_message_are_told() {
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
        let data = told(json!({}), AmqpMessage { properties, ..message("1") }).expect("an event");
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
            told(json!({}), AmqpMessage { properties: bytes, ..message("1") }).expect("an event")["userId"],
            "/wA="
        );
    }

    #[test]
    fn named_values_keep_their_digits() {
        let config = json!({ "fields": [{ "name": "n", "path": "/a/0" }, { "name": "all", "path": "/a" }] });
        for number in
            ["9007199254740993", "123456789012345678901234567890", "0.1000000000000000055", "1.10", "-0", "1e-400"]
        {
            let data = told(config.clone(), message(&format!("{{\"a\":[{number}]}}"))).expect("an event");
            assert_eq!(data["fields"].to_string(), format!("{{\"all\":[{number}],\"n\":{number}}}"));
            assert_eq!(data["body"].to_string(), format!("{{\"a\":[{number}]}}"));
        }
    }

    /// With doubles, the first condition held for both and the second for neither.
    #[test]
    fn conditions_tell_neighbours_apart() {
        let filter = |operator: &str| json!({ "filter": { "conditions": [{ "path": "/n", "operator": operator, "value": 9_007_199_254_740_992_u64 }] } });
        let passes = |operator: &str, n: &str| told(filter(operator), message(&format!("{{\"n\":{n}}}"))).is_some();
        for (n, is_equal, is_greater) in [
            ("9007199254740992", true, false),
            ("9007199254740993", false, true),
            ("9007199254740992.0000001", false, true),
        ] {
            assert_eq!((passes("equals", n), passes("greaterThan", n)), (is_equal, is_greater), "{n}");
        }
        let big = json!({ "filter": { "conditions": [{ "path": "/n", "operator": "greaterThan", "value": 1e18 }] } });
        assert!(told(big, message("{\"n\":1e400}")).is_some());
    }
}
