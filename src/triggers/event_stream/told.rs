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
use crate::instant::rfc3339;
use crate::session::Session;
use crate::triggers::cursor::digest;
use crate::triggers::glob::fits_any;
use crate::triggers::misfit;

/// The source of what devices send.
const TELEMETRY: &str = "Telemetry";

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

/// What a trigger with its configuration tells of a hub's events.
pub struct HubTelling<'s> {
    trigger: &'s LogTrigger,
    hub: &'s str,
    config: Config,
    filter: Option<Group>,
}

impl<'s> HubTelling<'s> {
    /// Reads the configuration.
    ///
    /// # Errors
    /// `invalid-config` where its filter makes no sense.
    pub fn new(trigger: &'s LogTrigger, session: &'s Session, config: Value) -> Result<Self> {
        let mut config: Config = typed(config)?;
        let filter = config.filter.take().map(|filter| Group::read(filter, "/filter")).transpose();
        let filter = filter.map_err(|error| misfit(&error))?;
        Ok(Self { trigger, hub: &session.account().hub.host, config, filter })
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
        digest([self.trigger.id, self.hub, partition])
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
            body: &decoded.content,
            body_encoding: decoded.encoding(),
            body_note: decoded.note,
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
        let number = message.sequence_number.to_string();
        Some(Told {
            id: format!("{partition}-{number}"),
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
