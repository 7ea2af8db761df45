//! What is in a partition, and how it looks on the wire.
//!
//! | section | content |
//! |---|---|
//! | delivery annotations | the reader's runtime metrics, for links that asked for them |
//! | message annotations | position and enqueued time; the hub's own system properties (`iothub-*`, `dt-*`) |
//! | properties | message id, user id, to, correlation id, content type and encoding, creation time |
//! | application properties | the device's own, and those of system events |
//! | body | data, one section or several; a value; sequences |
//!
//! Source: the system properties page of IoT Hub and what Microsoft's clients read (`azure-eventhub`, the IoT extension
//! of the Azure CLI).

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use bytes::Bytes;
use serde_amqp::Value;
use time::OffsetDateTime;

use crate::amqp::codec::{binary, composite, described, encode, map, symbol, text, timestamp};
use crate::device_side::TelemetryMessage;

/// Where an event comes from: the value of `iothub-message-source`, and what a route can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EventSource {
    /// A device's own message. Routed, unless a custom route takes it elsewhere.
    #[default]
    Telemetry,
    /// A device or module was created or deleted.
    DeviceLifecycle,
    /// Tags or properties of a twin changed.
    TwinChange,
    /// A device connected or disconnected.
    DeviceConnectionState,
    /// Properties of a digital twin changed.
    DigitalTwinChange,
    /// A job did its work on one device, or failed to.
    DeviceJobLifecycle,
}

impl EventSource {
    /// Every source that needs a route.
    pub const SYSTEM: [Self; 5] = [
        Self::DeviceLifecycle,
        Self::TwinChange,
        Self::DeviceConnectionState,
        Self::DigitalTwinChange,
        Self::DeviceJobLifecycle,
    ];

    /// The text on the wire, for example `twinChangeEvents`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Telemetry => "Telemetry",
            Self::DeviceLifecycle => "deviceLifecycleEvents",
            Self::TwinChange => "twinChangeEvents",
            Self::DeviceConnectionState => "deviceConnectionStateEvents",
            Self::DigitalTwinChange => "digitalTwinChangeEvents",
            Self::DeviceJobLifecycle => "deviceJobLifecycleEvents",
        }
    }
}

impl fmt::Display for EventSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for EventSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::SYSTEM.into_iter().find(|source| source.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let known: Vec<_> = Self::SYSTEM.map(Self::as_str).to_vec();
            format!("there is no source of system events '{text}'; there are {}", known.join(", "))
        })
    }
}

/// The body of an event, one of the three kinds that AMQP has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventBody {
    /// One data section: what devices send.
    Data(Bytes),
    /// Several data sections, which a reader has to put together.
    MultipleData(Vec<Bytes>),
    /// One value; JSON stands for the AMQP value of the same kind (a whole number becomes a `long`).
    Value(serde_json::Value),
    /// Sequence sections, each a list of values.
    Sequence(Vec<Vec<serde_json::Value>>),
    /// Body sections as their sender has encoded them: the service passes them on as they are.
    Encoded(Bytes),
}

impl EventBody {
    /// The bytes of the data sections, or of encoded ones; none for values and sequences.
    pub fn len(&self) -> usize {
        match self {
            Self::Data(data) | Self::Encoded(data) => data.len(),
            Self::MultipleData(sections) => sections.iter().map(Bytes::len).sum(),
            Self::Value(_) | Self::Sequence(_) => 0,
        }
    }

    /// Whether [`EventBody::len`] is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sections(&self, out: &mut Vec<u8>) {
        let data = |bytes: &Bytes| encode(&described(0x75, binary(bytes.to_vec())));
        match self {
            Self::Data(bytes) => out.extend(data(bytes)),
            Self::Encoded(bytes) => out.extend_from_slice(bytes),
            Self::MultipleData(sections) => out.extend(sections.iter().flat_map(data)),
            Self::Value(value) => out.extend(encode(&described(0x77, from_json(value)))),
            Self::Sequence(sections) => out.extend(
                sections
                    .iter()
                    .flat_map(|items| encode(&described(0x76, Value::List(items.iter().map(from_json).collect())))),
            ),
        }
    }
}

impl From<Bytes> for EventBody {
    fn from(bytes: Bytes) -> Self {
        Self::Data(bytes)
    }
}

impl From<&'static str> for EventBody {
    fn from(text: &'static str) -> Self {
        Self::Data(Bytes::from_static(text.as_bytes()))
    }
}

impl From<String> for EventBody {
    fn from(text: String) -> Self {
        Self::Data(text.into())
    }
}

fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Long(number),
            (None, Some(number)) => Value::Ulong(number),
            (None, None) => Value::Double(number.as_f64().unwrap_or(f64::NAN).into()),
        },
        serde_json::Value::String(string) => text(string.as_str()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(from_json).collect()),
        serde_json::Value::Object(members) => {
            map(members.iter().map(|(name, value)| (text(name.as_str()), from_json(value))))
        }
    }
}

/// An event for the built-in endpoint. Start from [`TelemetryEvent::new`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TelemetryEvent {
    /// The device: `iothub-connection-device-id`, and what decides on the partition.
    pub device_id: String,
    /// The module: `iothub-connection-module-id`.
    pub module_id: Option<String>,
    /// `iothub-message-source`.
    pub source: EventSource,
    /// The body.
    pub body: EventBody,
    /// The content type, for example `application/json`.
    pub content_type: Option<String>,
    /// The content encoding, for example `utf-8`.
    pub content_encoding: Option<String>,
    /// The message id.
    pub message_id: Option<String>,
    /// The correlation id.
    pub correlation_id: Option<String>,
    /// The user id, bytes.
    pub user_id: Option<Bytes>,
    /// When the device made the message: `iothub-creation-time-utc` and the property of AMQP.
    pub creation_time: Option<OffsetDateTime>,
    /// Where it was sent to; by default the hub's address for it, where there is a message id.
    pub to: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// Where an answer goes.
    pub reply_to: Option<String>,
    /// When it expires.
    pub absolute_expiry_time: Option<OffsetDateTime>,
    /// The group, and the place in it.
    pub group: Option<(String, u32)>,
    /// The group for answers.
    pub reply_to_group_id: Option<String>,
    /// `x-opt-partition-key`.
    pub partition_key: Option<String>,
    /// The id of the device's model: `dt-dataschema`.
    pub model_id: Option<String>,
    /// The component of the model: `dt-subject`.
    pub component: Option<String>,
    /// Application properties, in order.
    pub properties: Vec<(String, String)>,
    /// The partition; by default the one of the device.
    pub partition: Option<u16>,
    /// When it was enqueued; by default now. A partition's clock never runs backwards: an earlier time than that of the
    /// event before counts as that.
    pub enqueued: Option<OffsetDateTime>,
    pub(crate) auth: AuthOrigin,
}

/// How the device had proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthOrigin {
    pub(crate) kind: &'static str,
    pub(crate) generation: String,
}

impl Default for AuthOrigin {
    fn default() -> Self {
        Self { kind: "sas", generation: "0".to_owned() }
    }
}

impl TelemetryEvent {
    /// Telemetry of a device.
    pub fn new(device_id: impl Into<String>, body: impl Into<EventBody>) -> Self {
        Self {
            device_id: device_id.into(),
            module_id: None,
            source: EventSource::Telemetry,
            body: body.into(),
            content_type: None,
            content_encoding: None,
            message_id: None,
            correlation_id: None,
            user_id: None,
            creation_time: None,
            to: None,
            subject: None,
            reply_to: None,
            absolute_expiry_time: None,
            group: None,
            reply_to_group_id: None,
            partition_key: None,
            model_id: None,
            component: None,
            properties: Vec::new(),
            partition: None,
            enqueued: None,
            auth: AuthOrigin::default(),
        }
    }

    /// Sets the content type and encoding of a JSON message.
    pub fn json(mut self) -> Self {
        self.content_type = Some("application/json".to_owned());
        self.content_encoding = Some("utf-8".to_owned());
        self
    }

    /// Adds an application property.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Sets the message id.
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// Sets the partition.
    pub fn partition(mut self, partition: u16) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets when it was enqueued.
    pub fn enqueued(mut self, at: OffsetDateTime) -> Self {
        self.enqueued = Some(at);
        self
    }

    pub(crate) fn from_message(message: &TelemetryMessage, auth: AuthOrigin) -> Self {
        Self {
            content_type: message.content_type.clone(),
            content_encoding: message.content_encoding.clone(),
            message_id: message.message_id.clone(),
            correlation_id: message.correlation_id.clone(),
            properties: message.properties.clone(),
            enqueued: Some(message.enqueued),
            auth,
            ..Self::new(message.device_id.as_str(), message.body.clone())
        }
    }
}

/// An event in its place.
#[derive(Debug)]
pub(crate) struct StoredEvent {
    pub(crate) sequence: i64,
    pub(crate) offset: i64,
    /// Milliseconds since the Unix epoch.
    pub(crate) enqueued: i64,
    pub(crate) event: TelemetryEvent,
    /// The message without delivery annotations, written when it is first read.
    encoded: OnceLock<Bytes>,
}

impl StoredEvent {
    pub(crate) fn new(sequence: i64, offset: i64, enqueued: i64, event: TelemetryEvent) -> Self {
        Self { sequence, offset, enqueued, event, encoded: OnceLock::new() }
    }

    /// The message from its message annotations on.
    pub(crate) fn encoded(&self) -> Bytes {
        self.encoded.get_or_init(|| self.encode()).clone()
    }

    fn encode(&self) -> Bytes {
        let event = &self.event;
        let mut annotations = vec![
            (symbol("x-opt-sequence-number"), Value::Long(self.sequence)),
            (symbol("x-opt-offset"), text(self.offset.to_string())),
            (symbol("x-opt-enqueued-time"), timestamp(self.enqueued)),
            (symbol("iothub-connection-device-id"), text(event.device_id.as_str())),
        ];
        let mut optional = |name: &'static str, value: &Option<String>| {
            if let Some(value) = value {
                annotations.push((symbol(name), text(value.as_str())));
            }
        };
        optional("iothub-connection-module-id", &event.module_id);
        optional("dt-dataschema", &event.model_id);
        optional("dt-subject", &event.component);
        optional("x-opt-partition-key", &event.partition_key);
        let module = event.module_id.is_some();
        if event.source == EventSource::Telemetry {
            let method = format!(
                r#"{{"scope":"{}","type":"{}","issuer":"iothub","acceptingIpFilterRule":null}}"#,
                if module { "module" } else { "device" },
                event.auth.kind
            );
            annotations.push((symbol("iothub-connection-auth-method"), text(method)));
            let generation = text(event.auth.generation.as_str());
            annotations.push((symbol("iothub-connection-auth-generation-id"), generation));
        }
        if let Some(created) = event.creation_time {
            annotations.push((symbol("iothub-creation-time-utc"), timestamp(milliseconds(created))));
        }
        annotations.push((symbol("iothub-enqueuedtime"), timestamp(self.enqueued)));
        annotations.push((symbol("iothub-message-source"), text(event.source.as_str())));
        let mut bytes = encode(&described(0x72, map(annotations)));
        if let Some(properties) = self.properties() {
            bytes.extend(encode(&properties));
        }
        if !event.properties.is_empty() {
            let properties = event.properties.iter().map(|(name, value)| (text(name.as_str()), text(value.as_str())));
            bytes.extend(encode(&described(0x74, map(properties))));
        }
        event.body.sections(&mut bytes);
        bytes.into()
    }

    fn properties(&self) -> Option<Value> {
        let event = &self.event;
        let text_of = |value: &Option<String>| value.as_deref().map(text);
        let symbol_of = |value: &Option<String>| value.as_deref().map(symbol);
        let to = match &event.module_id {
            Some(module) => format!("/devices/{}/modules/{module}/messages/events", event.device_id),
            None => format!("/devices/{}/messages/events", event.device_id),
        };
        let time_of = |time: Option<OffsetDateTime>| time.map(|time| timestamp(milliseconds(time)));
        let is_addressed = event.source == EventSource::Telemetry && event.message_id.is_some();
        let fields = [
            text_of(&event.message_id),
            event.user_id.as_ref().map(|id| binary(id.to_vec())),
            text_of(&event.to).or_else(|| is_addressed.then(|| text(to))),
            text_of(&event.subject),
            text_of(&event.reply_to),
            text_of(&event.correlation_id),
            symbol_of(&event.content_type),
            symbol_of(&event.content_encoding),
            time_of(event.absolute_expiry_time),
            time_of(event.creation_time),
            event.group.as_ref().map(|(id, _)| text(id.as_str())),
            event.group.as_ref().map(|(_, sequence)| Value::Uint(*sequence)),
            text_of(&event.reply_to_group_id),
        ];
        fields
            .iter()
            .any(Option::is_some)
            .then(|| composite(0x73, fields.into_iter().map(Option::unwrap_or_default).collect()))
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn milliseconds(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}
