//! The events in a partition.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::clock::now;
use crate::messages::TelemetryMessage;

/// Where an event comes from: the value of `iothub-message-source`, by which routes select events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EventSource {
    /// A device's own message. It goes to the built-in endpoint, unless a custom route sends it elsewhere.
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
    /// A job finished or failed on one device.
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
            format!("the source of system events must be one of {}, not '{text}'", known.join(", "))
        })
    }
}

/// The body of an event, one of the three kinds that AMQP has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventBody {
    /// One data section: what devices send.
    Data(Bytes),
    /// Several data sections, which a reader must put together.
    MultipleData(Vec<Bytes>),
    /// One AMQP value, given as JSON. It becomes the AMQP value of the same type; a whole number becomes a `long`.
    Value(serde_json::Value),
    /// Sequence sections, each a list of values.
    Sequence(Vec<Vec<serde_json::Value>>),
    /// Body sections that their sender has already encoded. The service passes them on unchanged.
    Encoded(Bytes),
}

impl EventBody {
    /// The number of bytes in data sections or encoded sections; 0 for values and sequences.
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

/// An event for the built-in endpoint. Start from [`TelemetryEvent::new`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TelemetryEvent {
    /// The device id (`iothub-connection-device-id`), which also decides on the partition.
    pub device_id: String,
    /// The module id (`iothub-connection-module-id`).
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
    /// When the device created the message: `iothub-creation-time-utc` and the AMQP property for it.
    pub creation_time: Option<OffsetDateTime>,
    /// The address to which the message was sent. If it is missing, a message with a message id gets the device's
    /// address at the hub.
    pub to: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The address for answers.
    pub reply_to: Option<String>,
    /// When the message expires.
    pub absolute_expiry_time: Option<OffsetDateTime>,
    /// The id of the message's group, and the message's position in the group.
    pub group: Option<(String, u32)>,
    /// The id of the group for answers.
    pub reply_to_group_id: Option<String>,
    /// `x-opt-partition-key`.
    pub partition_key: Option<String>,
    /// The id of the device's model: `dt-dataschema`.
    pub model_id: Option<String>,
    /// The component of the model: `dt-subject`.
    pub component: Option<String>,
    /// Application properties, in order.
    pub properties: Vec<(String, String)>,
    /// The partition; by default the device's partition.
    pub partition: Option<u16>,
    /// When the event was enqueued; by default now. Times in a partition never go backwards: a time before that of the
    /// previous event is replaced by the previous event's time.
    pub enqueued: Option<OffsetDateTime>,
    pub(crate) auth: AuthOrigin,
}

/// How the device proved its identity.
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

    /// Sets the time at which the event was enqueued.
    pub fn enqueued(mut self, at: OffsetDateTime) -> Self {
        self.enqueued = Some(at);
        self
    }

    pub(crate) fn from_message(message: &TelemetryMessage) -> Self {
        Self {
            content_type: message.content_type.clone(),
            content_encoding: message.content_encoding.clone(),
            message_id: message.message_id.clone(),
            correlation_id: message.correlation_id.clone(),
            properties: message.properties.clone(),
            enqueued: Some(message.enqueued),
            ..Self::new(message.device_id.as_str(), message.body.clone())
        }
    }
}

impl TelemetryEvent {
    /// What a [`crate::TelemetrySink`] receives of the event.
    pub(crate) fn to_message(&self) -> TelemetryMessage {
        let body = match &self.body {
            EventBody::Data(bytes) | EventBody::Encoded(bytes) => bytes.clone(),
            EventBody::MultipleData(sections) => sections.concat().into(),
            EventBody::Value(value) => value.to_string().into(),
            EventBody::Sequence(items) => serde_json::json!(items).to_string().into(),
        };
        TelemetryMessage {
            device_id: self.device_id.clone(),
            enqueued: self.enqueued.unwrap_or_else(now),
            content_type: self.content_type.clone(),
            content_encoding: self.content_encoding.clone(),
            message_id: self.message_id.clone(),
            correlation_id: self.correlation_id.clone(),
            properties: self.properties.clone(),
            body,
        }
    }
}

/// An event with its position in the partition.
#[derive(Debug)]
pub(crate) struct StoredEvent {
    pub(crate) sequence: i64,
    pub(crate) offset: i64,
    /// Milliseconds since the Unix epoch.
    pub(crate) enqueued: i64,
    pub(crate) event: TelemetryEvent,
    /// The encoded message without delivery annotations; it is made when the event is first read.
    encoded: OnceLock<Bytes>,
}

impl StoredEvent {
    pub(crate) fn new(sequence: i64, offset: i64, enqueued: i64, event: TelemetryEvent) -> Self {
        Self { sequence, offset, enqueued, event, encoded: OnceLock::new() }
    }

    /// The encoded message without delivery annotations. `encode` is called only the first time.
    pub(crate) fn encoded(&self, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(self)).clone()
    }
}
