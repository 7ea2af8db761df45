//! What an event of an IoT hub says: who sent it, what it is, what is in it. The five triggers differ in which events they
//! take and in what they call them.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::decode::{Decoded, body_fields, decode};
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
                                "One of the hub's (Built-in endpoints). Best one that nobody else reads from.",
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

fn body_of(message: &Message) -> Decoded {
    if let (Some(_), EventBody::Data(bytes)) = (&message.malformed, &message.body) {
        let note = Some("the message itself is malformed; these are its bytes from where it is");
        return Decoded { content: super::decode::Content::Bytes(bytes.clone()), note };
    }
    match &message.body {
        EventBody::Data(bytes) => decode(bytes, message.content_type.as_deref(), message.content_encoding.as_deref()),
        EventBody::Value(value) => Decoded { content: super::decode::Content::Json(value.clone()), note: None },
        EventBody::Sequence(values) => {
            Decoded { content: super::decode::Content::Json(values.clone().into()), note: None }
        }
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
        let json_body = match &decoded.content {
            super::decode::Content::Json(value) => Some(value),
            _ => None,
        };
        if self.filter.as_ref().is_some_and(|filter| !filter.passes(json_body, &message.application_properties)) {
            return None;
        }
        let mut data = body_fields(&decoded);
        data["messageSource"] = source.into();
        data["enqueuedTime"] = rfc3339(message.enqueued_time_ms).into();
        data["sequenceNumber"] = message.sequence_number.into();
        data["offset"] = message.offset.as_str().into();
        data["properties"] = message.application_properties.clone().into();
        data["systemProperties"] = message.system_properties.clone().into();
        let texts = [
            ("deviceId", Some(device).filter(|id| !id.is_empty())),
            ("moduleId", Some(module).filter(|id| !id.is_empty())),
            ("messageId", message.message_id.as_deref()),
            ("correlationId", message.correlation_id.as_deref()),
            ("contentType", message.content_type.as_deref()),
            ("contentEncoding", message.content_encoding.as_deref()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                data[name] = text.into();
            }
        }
        if !self.config.fields.is_empty() {
            let found = self
                .config
                .fields
                .iter()
                .filter_map(|field| Some((field.name.clone(), json_body?.pointer(&field.path)?.clone())));
            data["fields"] = found.collect::<Map<String, Value>>().into();
        }
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
            data,
        })
    }
}
