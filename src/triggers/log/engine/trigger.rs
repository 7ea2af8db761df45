//! A trigger on the hub's log. The five log triggers differ in the events that they take and in their names.

use serde_json::{Value, json};

use super::filter::group_schema;
use super::link::{self, Reader, with_log};
use super::mapper::HubEventMapper;
use super::position::Position;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{StartMode, TriggerDescriptor, TriggerKind};
use crate::bindings::exports::workflow::connector::trigger::{
    Budget, Event, LostPolicy, Page, Partition, PollRequest, Start,
};
use crate::bindings::workflow::connector::types::{Connection, Cursor};
use crate::error::Result;
use crate::form::Spec;
use crate::form::schema::{any, any_object, help, integer, list, literal, object, one_of, string, with};
use crate::session::Session;
use crate::triggers::shared::Trigger;
use crate::triggers::shared::glob::patterns;

/// The properties of one log trigger.
pub struct LogTrigger {
    /// The trigger's id.
    pub id: &'static str,
    /// The trigger's name for a person.
    pub title: &'static str,
    /// The help text, in Markdown.
    pub help: &'static str,
    /// The values of `iothub-message-source` that the trigger takes. A message without this annotation counts as
    /// telemetry.
    pub sources: &'static [&'static str],
    /// The beginning of CloudEvents `type`.
    pub event_type: &'static str,
    /// Makes an example of a body.
    pub sample_body: fn() -> Value,
    /// Makes an example of the application properties.
    pub sample_properties: fn() -> Value,
}

impl Trigger for LogTrigger {
    fn id(&self) -> &'static str {
        self.id
    }

    fn descriptor(&self) -> TriggerDescriptor {
        let field = object(
            [
                ("name", with(string("Name"), literal!({ "minLength": 1, "maxLength": 128 }))),
                (
                    "path",
                    with(
                        string("Path"),
                        literal!({ "minLength": 1, "maxLength": 512, "pattern": "^/", "$comment": "must be a JSON Pointer, which begins with /", "x-options": "telemetry-paths" }),
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
                    ("deviceIds", patterns("Device ids", 128)),
                    ("moduleIds", patterns("Module ids", 128)),
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
                    ("userId", help(string("User id"), "Base64 where it is no text.")),
                    ("subject", string("Subject")),
                    ("to", string("To")),
                    ("replyTo", string("Reply to")),
                    ("creationTime", string("Created")),
                    ("absoluteExpiryTime", string("Expires")),
                    ("groupId", string("Group id")),
                    ("groupSequence", integer("Group sequence", 0, i64::from(u32::MAX))),
                    ("replyToGroupId", string("Group id for replies")),
                    ("partitionKey", string("Partition key")),
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
            dynamic_output: true,
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

    /// One poll of a partition, or of all partitions where the request names none.
    fn poll(&self, session: &Session, config: Value, request: &PollRequest) -> Result<Page> {
        let mapper = HubEventMapper::new(self, session, config)?;
        let reader = mapper.reader(&request.partition);
        with_log(session, &reader, |log| super::poll(log, &mapper, request))
    }

    /// Events of all partitions.
    fn sample(&self, session: &Session, config: Value, limit: u32) -> Result<Vec<Event>> {
        let mapper = HubEventMapper::new(self, session, config)?;
        // A sample must not disconnect another reader, so it claims no owner level.
        let reader = Reader { owner_level: None, ..mapper.reader("") };
        let request = self.one_look(limit);
        with_log(session, &reader, |log| super::poll(log, &mapper, &request)).map(|page| page.events)
    }

    fn check_cursor(&self, cursor: &Cursor) -> Result<()> {
        Position::read(cursor).map(drop)
    }

    fn partitions(&self, session: &Session, _config: Value) -> Result<Vec<Partition>> {
        let ids = link::partitions(session)?;
        Ok(ids.into_iter().map(|id| Partition { title: format!("Partition {id}"), id }).collect())
    }
}

impl LogTrigger {
    fn one_look(&self, most: u32) -> PollRequest {
        PollRequest {
            connection: Connection { auth_profile: String::new(), values: String::new() },
            trigger: self.id.to_owned(),
            partition: String::new(),
            config: String::new(),
            start: Start::Earliest,
            on_position_lost: LostPolicy::Earliest,
            cursor: None,
            budget: Budget { events: most, bytes: 1 << 20, wait_ms: 0, deadline_ms: 0 },
        }
    }
}
