//! What an event of an IoT hub says: who sent it, what it is, what is in it. The five triggers differ in which events they
//! take and in what they call them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::decode::{Content, Decoded, decode};
use super::filter::{Group, group_schema};
use super::link::{self, Reader, with_log};
use super::{Telling, Told};
use crate::actions::typed;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{StartMode, TriggerDescriptor, TriggerKind};
use crate::bindings::exports::workflow::connector::trigger::{
    Budget, Event, LostPolicy, Page, Partition, PollRequest, Start,
};
use crate::error::{Error, ErrorCode, Result};
use crate::eventhub::{Event as Message, EventBody};
use crate::instant::rfc3339;
use crate::manifest::Spec;
use crate::manifest::schema::{any, any_object, help, integer, list, literal, object, one_of, string, with};
use crate::session::Session;
use crate::triggers::cursor::digest;
use crate::triggers::glob;

/// What a trigger on the hub's log is.
pub struct Kind {
    /// The trigger's id.
    pub id: &'static str,
    /// Its name for a person.
    pub title: &'static str,
    /// Markdown.
    pub help: &'static str,
    /// The values of `iothub-message-source` that it takes; an event without one is telemetry.
    pub sources: &'static [&'static str],
    /// What CloudEvents `type` begins with.
    pub event_type: &'static str,
    /// An example of what its data has as body.
    pub sample_body: fn() -> Value,
    /// An example of the properties.
    pub sample_properties: fn() -> Value,
}

/// The source of what devices send.
pub const TELEMETRY: &str = "Telemetry";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    consumer_group: Option<String>,
    owner_level: Option<i64>,
    device_ids: Vec<String>,
    module_ids: Vec<String>,
    filter: Option<Value>,
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    path: String,
}

impl Kind {
    /// What the trigger declares.
    pub fn descriptor(&self) -> TriggerDescriptor {
        let patterns = |title: &str| {
            let pattern = with(string("Pattern"), literal!({ "minLength": 1, "maxLength": 128 }));
            with(
                list(title, pattern),
                literal!({ "description": "Only these: `*` stands for any characters, `?` for one. Empty: all.", "maxItems": 64 }),
            )
        };
        let field = object(
            [
                ("name", with(string("Name"), literal!({ "minLength": 1, "maxLength": 128 }))),
                (
                    "path",
                    with(
                        string("Path"),
                        literal!({ "minLength": 1, "maxLength": 512, "pattern": "^/", "$comment": "must be a JSON Pointer, which begins with /" }),
                    ),
                ),
            ],
            &["name", "path"],
        );
        let spec = Spec {
            id: self.id,
            title: self.title,
            help: self.help,
            group: "Events",
            input: object(
                [
                    (
                        "consumerGroup",
                        with(
                            help(
                                string("Consumer group"),
                                "One of the hub's. Best one that nobody else reads from: in the hub open **Hub settings**, then **Built-in endpoints**, and enter a new name under **Consumer groups**.",
                            ),
                            literal!({ "minLength": 1, "maxLength": 50, "pattern": "^[A-Za-z0-9$._\\-]+$", "$comment": "must be the name of a consumer group", "default": "$Default" }),
                        ),
                    ),
                    ("deviceIds", patterns("Device ids")),
                    ("moduleIds", patterns("Module ids")),
                    ("filter", group_schema()),
                    (
                        "fields",
                        with(
                            list("Fields", with(field, literal!({ "title": "Field" }))),
                            literal!({ "description": "Named values of a JSON body that become members of `fields` in the event's data.", "maxItems": 64 }),
                        ),
                    ),
                    (
                        "ownerLevel",
                        with(
                            help(
                                integer("Owner level", 0, i64::from(i32::MAX)),
                                "Claim each partition: readers with a lower level, or without one, are sent away. Empty: up to five read side by side.",
                            ),
                            literal!({ "x-visibility": "advanced" }),
                        ),
                    ),
                ],
                &[],
            ),
            output: object(
                [
                    ("deviceId", string("Device id")),
                    ("moduleId", string("Module id")),
                    ("messageSource", string("Message source")),
                    ("enqueuedTime", string("Enqueued")),
                    ("sequenceNumber", integer("Sequence number", 0, i64::MAX)),
                    ("offset", string("Offset")),
                    ("messageId", string("Message id")),
                    ("correlationId", string("Correlation id")),
                    ("contentType", string("Content type")),
                    ("contentEncoding", string("Content encoding")),
                    ("body", any("Body")),
                    ("bodyEncoding", one_of("Body encoding", &["json", "text", "base64"])),
                    ("bodyNote", help(string("Note"), "Why the body is not what its content type says.")),
                    ("fields", any_object("Fields")),
                    ("properties", any_object("Application properties")),
                    ("systemProperties", any_object("System properties")),
                ],
                &[
                    "messageSource",
                    "enqueuedTime",
                    "sequenceNumber",
                    "offset",
                    "body",
                    "bodyEncoding",
                    "properties",
                    "systemProperties",
                ],
            ),
            input_sample: literal!({
                "consumerGroup": "workflows",
                "deviceIds": ["press-*"],
                "filter": { "match": "any", "conditions": [{ "path": "/temperature", "operator": "greaterThan", "value": 80 }] },
                "fields": [{ "name": "temperature", "path": "/temperature" }]
            }),
            output_sample: json!({
                "deviceId": "press-17",
                "messageSource": self.sources.first(),
                "enqueuedTime": "2026-05-04T07:30:00.250Z",
                "sequenceNumber": 4711,
                "offset": "30064771072",
                "contentType": "application/json",
                "contentEncoding": "utf-8",
                "body": (self.sample_body)(),
                "bodyEncoding": "json",
                "properties": (self.sample_properties)(),
                "systemProperties": { "iothub-connection-device-id": "press-17", "iothub-message-source": self.sources.first() },
            }),
            dynamic_output: false,
            permissions: &[Permission::ServiceConnect],
            limits: &[
                ("Readers of a partition in one consumer group", 5, "readers"),
                ("Retention of the built-in endpoint", 7, "days"),
            ],
        };
        TriggerDescriptor {
            operation: spec.operation(),
            kind: TriggerKind::Streaming,
            start_modes: vec![StartMode::Now, StartMode::Earliest, StartMode::AtTime, StartMode::AtPosition],
            min_interval_ms: 0,
        }
    }

    /// One poll of a partition, or of all of them where the request names none.
    ///
    /// # Errors
    /// As the interface's `poll`.
    pub fn poll(&self, session: &Session, config: Value, request: &PollRequest) -> Result<Page> {
        let telling = self.telling(session, config)?;
        let reader = telling.reader(&request.partition);
        with_log(session, &reader, |log| super::poll(log, &telling, request))
    }

    /// Events of all partitions, up to `limit`.
    ///
    /// # Errors
    /// Those of the service.
    pub fn sample(&self, session: &Session, config: Value, limit: u32) -> Result<Vec<Event>> {
        let telling = self.telling(session, config)?;
        // Nobody is sent away for a look.
        let reader = Reader { owner_level: None, ..telling.reader("") };
        let request = self.one_look(limit);
        with_log(session, &reader, |log| super::poll(log, &telling, &request)).map(|page| page.events)
    }

    /// The partitions of the hub.
    ///
    /// # Errors
    /// Those of the service.
    pub fn partitions(&self, session: &Session) -> Result<Vec<Partition>> {
        let ids = link::partitions(session)?;
        Ok(ids.into_iter().map(|id| Partition { title: format!("Partition {id}"), id }).collect())
    }

    fn one_look(&self, most: u32) -> PollRequest {
        PollRequest {
            connection: crate::bindings::workflow::connector::types::Connection {
                auth_profile: String::new(),
                values: String::new(),
            },
            trigger: self.id.to_owned(),
            partition: String::new(),
            config: String::new(),
            start: Start::Earliest,
            on_position_lost: LostPolicy::Earliest,
            cursor: None,
            budget: Budget { events: most, bytes: 1 << 20, wait_ms: 0, deadline_ms: 0 },
        }
    }

    fn telling<'s>(&'s self, session: &'s Session, config: Value) -> Result<HubTelling<'s>> {
        let config: Config = typed(config)?;
        let filter =
            config.filter.clone().map(|filter| Group::read(filter, "/filter")).transpose().map_err(|error| {
                Error::fields(
                    ErrorCode::InvalidConfig,
                    "The trigger's configuration does not fit",
                    error.record().fields.clone(),
                )
            })?;
        let hub = &session.account().hub.host;
        Ok(HubTelling { kind: self, hub, config, filter })
    }
}

struct HubTelling<'s> {
    kind: &'s Kind,
    hub: &'s str,
    config: Config,
    filter: Option<Group>,
}

impl HubTelling<'_> {
    fn reader(&self, partition: &str) -> Reader {
        Reader {
            consumer_group: self.config.consumer_group.clone().unwrap_or_else(|| "$Default".to_owned()),
            partition: partition.to_owned(),
            owner_level: self.config.owner_level,
        }
    }

    fn wants(&self, device: &str, module: &str) -> bool {
        let fits = |patterns: &[String], id: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| glob::fits(pattern, id))
        };
        fits(&self.config.device_ids, device) && fits(&self.config.module_ids, module)
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
        let mut scope = [0; 8];
        scope.copy_from_slice(&digest([self.kind.id, self.hub, partition])[..8]);
        scope
    }

    fn tell(&self, message: &Message, partition: &str) -> Option<Told> {
        let source = member(&message.system_properties, &["iothub-message-source"]).unwrap_or(TELEMETRY);
        if !self.kind.sources.contains(&source) {
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
            body: &decoded.content,
            body_encoding: decoded.encoding(),
            body_note: decoded.note,
            fields: (!self.config.fields.is_empty()).then(fields),
            properties: &message.application_properties,
            system_properties: &message.system_properties,
        };
        let operation = member(&message.application_properties, &["opType"]).filter(|_| source != TELEMETRY);
        let event_type = operation.map_or_else(
            || self.kind.event_type.to_owned(),
            |operation| format!("{}.{operation}", self.kind.event_type),
        );
        let subject = match (device.is_empty(), module.is_empty()) {
            (true, _) => None,
            (false, true) => Some(format!("devices/{device}")),
            (false, false) => Some(format!("devices/{device}/modules/{module}")),
        };
        let number = message.sequence_number.to_string();
        Some(Told {
            id: format!("{partition}-{number}"),
            source: format!("https://{}/messages/events", self.hub),
            event_type,
            summary: format!(
                "{} of {} ({} bytes)",
                operation.unwrap_or(source),
                if device.is_empty() { "the hub" } else { device },
                message.size
            ),
            order_key: subject.clone().unwrap_or_else(|| partition.to_owned()),
            subject,
            data: data.write(),
        })
    }
}
