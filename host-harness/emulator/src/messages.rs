//! Messages as devices know them: what the cloud sends to a device, and what a device sends.

use bytes::Bytes;
use serde_json::Value;
use time::OffsetDateTime;

use crate::clock::now;

/// A message from the cloud in a device's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceMessage {
    /// The message id, given by the sender or generated.
    pub message_id: String,
    /// The module for which the message is meant; `None` for the device itself.
    pub module_id: Option<String>,
    /// The correlation id, given by the sender.
    pub correlation_id: Option<String>,
    /// The user id, given by the sender.
    pub user_id: Option<Bytes>,
    /// The content type, given by the sender.
    pub content_type: Option<String>,
    /// The content encoding, given by the sender.
    pub content_encoding: Option<String>,
    /// When the message expires: at the sender's time, or an hour after it was sent.
    pub expires: Option<OffsetDateTime>,
    /// Application properties.
    pub properties: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl DeviceMessage {
    pub(crate) fn new(message_id: String, properties: Vec<(String, String)>, body: Bytes) -> Self {
        Self {
            message_id,
            module_id: None,
            correlation_id: None,
            user_id: None,
            content_type: None,
            content_encoding: None,
            expires: None,
            properties,
            body,
        }
    }
}

/// A telemetry message from a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryMessage {
    /// The device that sent the message.
    pub device_id: String,
    /// When the hub accepted the message.
    pub enqueued: OffsetDateTime,
    /// The content type, for example `application/json`.
    pub content_type: Option<String>,
    /// The content encoding, for example `utf-8`.
    pub content_encoding: Option<String>,
    /// The message id.
    pub message_id: Option<String>,
    /// The correlation id.
    pub correlation_id: Option<String>,
    /// Application properties.
    pub properties: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl TelemetryMessage {
    /// A JSON message, enqueued now.
    pub fn json(device_id: impl Into<String>, body: &Value) -> Self {
        Self {
            device_id: device_id.into(),
            enqueued: now(),
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            message_id: None,
            correlation_id: None,
            properties: Vec::new(),
            body: body.to_string().into(),
        }
    }
}

/// Receives the messages that devices send, in the order in which the hub accepts them, independently of routes.
pub trait TelemetrySink: Send + Sync {
    /// Takes one message. Must not block.
    fn accept(&self, message: &TelemetryMessage);
}
