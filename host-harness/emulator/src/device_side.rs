//! The simulated devices' side, in process. It takes the same paths through the emulator as the HTTPS device endpoints.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::dps::{Proof, register};
use crate::error::{ErrorCode, ServiceError};
use crate::hub::{MethodTarget, Status, accept_telemetry, check_target, take_messages};
use crate::journal::{ChangeKind, rfc3339};
use crate::service_bound::{FeedbackStatus, FileUpload};
use crate::world::{Shared, lock, now};

/// How a device proves to the provisioning service who it is.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// The key of an individual enrollment, or the one derived from a group's key for this registration id; base64.
    SymmetricKey(String),
    /// A client certificate.
    X509 {
        /// The common name of the certificate's subject; it must be the registration id.
        subject: String,
        /// The certificate's SHA-1 or SHA-256 thumbprint, hexadecimal.
        thumbprint: String,
        /// The thumbprints, or names as CA references, of those who signed it.
        issuers: Vec<String>,
    },
    /// The endorsement key of a trusted platform module, base64. The challenge is taken as passed.
    Tpm {
        /// The public endorsement key.
        endorsement_key: String,
    },
}

impl Credential {
    /// The credential of a device in an enrollment group with a symmetric key, derived from the group's key.
    ///
    /// Returns `None` when the key is not base64.
    pub fn derived(group_key: &str, registration_id: &str) -> Option<Self> {
        crate::auth::derive_device_key(group_key, registration_id).map(Self::SymmetricKey)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SymmetricKey(_) => "SymmetricKey(redacted)",
            Self::X509 { .. } => "X509",
            Self::Tpm { .. } => "Tpm",
        })
    }
}

/// A registration record, as DPS keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RegistrationState {
    /// The registration id, as the device wrote it.
    pub registration_id: String,
    /// When the device first registered.
    #[serde(serialize_with = "as_text")]
    pub created_date_time_utc: OffsetDateTime,
    /// The hub it was assigned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_hub: Option<String>,
    /// Its device id there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// `assigned`, `failed` or `disabled`.
    pub status: &'static str,
    /// How it came to be assigned: `initialAssignment`, `deviceDataMigrated`, `deviceDataReset`,
    /// `reprovisionedToInitialAssignment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub substatus: Option<&'static str>,
    /// The six-digit code of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<u32>,
    /// What failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// When the record last changed.
    #[serde(serialize_with = "as_text")]
    pub last_updated_date_time_utc: OffsetDateTime,
    /// The record's ETag, with its quotes.
    pub etag: String,
}

fn as_text<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// A direct method, as it reaches a device.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MethodCall {
    /// The method's name.
    pub method: String,
    /// The payload; `null` when there is none.
    pub payload: Value,
}

impl MethodCall {
    pub(crate) fn new(method: String, payload: Value) -> Self {
        Self { method, payload }
    }
}

/// What a device does about a direct method.
#[derive(Clone, Debug, PartialEq)]
pub enum MethodReply {
    /// It answers.
    Answer {
        /// The device's own status.
        status: i32,
        /// Any JSON.
        payload: Value,
    },
    /// It never answers, so the service times out.
    Silence,
}

impl MethodReply {
    /// An answer.
    pub fn answer(status: i32, payload: Value) -> Self {
        Self::Answer { status, payload }
    }

    /// An answer after a while.
    pub async fn delayed(delay: Duration, status: i32, payload: Value) -> Self {
        tokio::time::sleep(delay).await;
        Self::Answer { status, payload }
    }
}

/// A message from the cloud in a device's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceMessage {
    /// The message id, given by the sender or made up.
    pub message_id: String,
    /// The module that it is for, if it is not for the device itself.
    pub module_id: Option<String>,
    /// The correlation id, given by the sender.
    pub correlation_id: Option<String>,
    /// The user id, given by the sender.
    pub user_id: Option<Bytes>,
    /// The content type, given by the sender.
    pub content_type: Option<String>,
    /// The content encoding, given by the sender.
    pub content_encoding: Option<String>,
    /// When it expires: as the sender said, or an hour after it was sent.
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
    /// Who sent it.
    pub device_id: String,
    /// When the hub took it.
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

/// Receives what devices send, in the order in which the hub took it, beside the built-in endpoint.
pub trait TelemetrySink: Send + Sync {
    /// Takes one message. Must not block.
    fn accept(&self, message: &TelemetryMessage);
}

pub(crate) type Handler = Arc<dyn Fn(MethodCall) -> Pin<Box<dyn Future<Output = MethodReply> + Send>> + Send + Sync>;

/// Which devices are connected and how they answer methods.
pub(crate) struct Sessions {
    sessions: Mutex<HashMap<String, Session>>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Session {
    /// `None`: nobody has connected or disconnected it.
    connected: Option<bool>,
    handler: Option<Handler>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { sessions: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Sessions {
    pub(crate) fn handler(&self, key: &str) -> Option<Handler> {
        lock(&self.sessions).get(key)?.handler.clone()
    }

    pub(crate) fn connected(&self, key: &str) -> Option<bool> {
        lock(&self.sessions).get(key)?.connected
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The service cut the device off (disabled or deleted it); a simulator did not.
    pub(crate) fn drop_connection(&self, key: &str) {
        if let Some(session) = lock(&self.sessions).get_mut(key)
            && session.connected == Some(true)
        {
            session.connected = None;
        }
    }

    fn change(&self, key: &str, change: impl FnOnce(&mut Session)) {
        change(lock(&self.sessions).entry(key.to_owned()).or_default());
        self.changed.send_modify(|count| *count += 1);
    }
}

/// Acts as devices do. Cheap to clone.
#[derive(Clone)]
pub struct DeviceSide {
    world: Shared,
}

impl DeviceSide {
    pub(crate) fn new(world: Shared) -> Self {
        Self { world }
    }

    /// Registers with the provisioning service, for the first time or again, and creates the device in the hub.
    ///
    /// The answer may be a registration that failed or is disabled: look at its status.
    ///
    /// # Errors
    /// 401002 when no enrollment fits the credential; 400202 for an id that cannot be one.
    pub async fn provision(
        &self,
        registration_id: &str,
        credential: Credential,
    ) -> Result<RegistrationState, ServiceError> {
        register(&self.world, registration_id, &Proof::Credential(&credential)).map(|(state, _)| state)
    }

    /// Sends reported properties; `null` deletes.
    ///
    /// # Errors
    /// 404001 for an unknown device, 403012 for a disabled one, 400004 when the limits of twins are broken.
    pub async fn report(&self, device_id: &str, patch: Value) -> Result<(), ServiceError> {
        self.activity(device_id)?;
        lock(&self.world.hub).report(device_id, None, patch)
    }

    /// Sends reported properties of a module.
    ///
    /// # Errors
    /// As [`DeviceSide::report`], and 404010 for an unknown module.
    pub async fn report_module(&self, device_id: &str, module_id: &str, patch: Value) -> Result<(), ServiceError> {
        self.activity(device_id)?;
        lock(&self.world.hub).report(device_id, Some(module_id), patch)
    }

    /// The device's desired properties, as the device reads them.
    ///
    /// # Errors
    /// 404001 for an unknown device.
    pub async fn desired(&self, device_id: &str) -> Result<Value, ServiceError> {
        let hub = lock(&self.world.hub);
        Ok(Value::Object(hub.device(device_id)?.twin.desired.values.clone()))
    }

    /// Attaches a simulator that answers the device's direct methods, and connects the device if it exists. Replaces
    /// an earlier one.
    pub fn on_method<F, R>(&self, device_id: &str, handler: F)
    where
        F: Fn(MethodCall) -> R + Send + Sync + 'static,
        R: Future<Output = MethodReply> + Send + 'static,
    {
        self.attach(&MethodTarget { device: device_id.to_owned(), module: None }, handler);
    }

    /// Attaches a simulator that answers a module's direct methods.
    pub fn on_module_method<F, R>(&self, device_id: &str, module_id: &str, handler: F)
    where
        F: Fn(MethodCall) -> R + Send + Sync + 'static,
        R: Future<Output = MethodReply> + Send + 'static,
    {
        self.attach(&MethodTarget { device: device_id.to_owned(), module: Some(module_id.to_owned()) }, handler);
    }

    /// Connects the device.
    ///
    /// # Errors
    /// 404001 for an unknown device, 403012 for a disabled one.
    pub async fn connect(&self, device_id: &str) -> Result<(), ServiceError> {
        self.activity(device_id)?;
        self.set_connected(&MethodTarget { device: device_id.to_owned(), module: None }, true);
        Ok(())
    }

    /// Disconnects the device.
    ///
    /// # Errors
    /// 404001 for an unknown device.
    pub async fn disconnect(&self, device_id: &str) -> Result<(), ServiceError> {
        let target = MethodTarget { device: device_id.to_owned(), module: None };
        check_target(&self.world, &target)?;
        self.set_connected(&target, false);
        Ok(())
    }

    /// Sends telemetry.
    ///
    /// # Errors
    /// 404001 for an unknown device, 403012 for a disabled one, 413001 for more than 256 KB.
    pub async fn send_telemetry(&self, message: TelemetryMessage) -> Result<(), ServiceError> {
        accept_telemetry(&self.world, message)
    }

    /// Takes the messages that wait for the device, and completes them.
    ///
    /// # Errors
    /// 404001 for an unknown device.
    pub async fn take_messages(&self, device_id: &str) -> Result<Vec<DeviceMessage>, ServiceError> {
        take_messages(&self.world, device_id, FeedbackStatus::Success)
    }

    /// Takes the messages that wait for the device, and rejects them.
    ///
    /// # Errors
    /// 404001 for an unknown device.
    pub async fn reject_messages(&self, device_id: &str) -> Result<Vec<DeviceMessage>, ServiceError> {
        take_messages(&self.world, device_id, FeedbackStatus::Rejected)
    }

    /// Tells the hub that a file was uploaded, which it passes on to its service side.
    ///
    /// # Errors
    /// 404001 for an unknown device.
    pub async fn upload_file(&self, file: FileUpload) -> Result<(), ServiceError> {
        lock(&self.world.hub).device(&file.device_id)?;
        self.world.service_bound.add_file(file);
        Ok(())
    }

    fn attach<F, R>(&self, target: &MethodTarget, handler: F)
    where
        F: Fn(MethodCall) -> R + Send + Sync + 'static,
        R: Future<Output = MethodReply> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call| Box::pin(handler(call)));
        self.world.sessions.change(&target.key(), |session| session.handler = Some(handler));
        self.set_connected(target, true);
    }

    fn set_connected(&self, target: &MethodTarget, connected: bool) {
        let now = now();
        let mut hub = lock(&self.world.hub);
        let key = target.key();
        let known = match target.module {
            None => hub
                .devices
                .get_mut(&key)
                .map(|device| (&mut device.connected, &mut device.connection_updated, &mut device.last_activity)),
            Some(_) => hub
                .modules
                .get_mut(&key)
                .map(|module| (&mut module.connected, &mut module.connection_updated, &mut module.last_activity)),
        };
        if let Some((state, updated, activity)) = known
            && *state != connected
        {
            *state = connected;
            *updated = Some(now);
            *activity = Some(now);
            let detail = json!({ "connected": connected });
            self.world.journal.append(ChangeKind::ConnectionChanged, key.as_str(), None, detail);
            self.world.system_events.connection(&target.device, target.module.as_deref(), connected);
        }
        drop(hub);
        self.world.sessions.change(&key, |session| session.connected = Some(connected));
    }

    /// Notes that the device was active, which a disabled one cannot be.
    fn activity(&self, device_id: &str) -> Result<(), ServiceError> {
        let mut hub = lock(&self.world.hub);
        let device = hub.device_mut(device_id)?;
        if device.status == Status::Disabled {
            return Err(ServiceError::new(ErrorCode::DEVICE_DISABLED, format!("Device {device_id} is disabled")));
        }
        device.last_activity = Some(now());
        Ok(())
    }
}
