//! Messages to devices and from devices.
//!
//! Sending to a device over HTTPS is not in the service's description, but Azure IoT explorer, which Microsoft ships,
//! does it: `POST /devices/{id}/messages/deviceBound`, properties as `iothub-app-*` headers.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::{AuthenticationType, Device, Status};
use crate::device_side::{DeviceMessage, TelemetryMessage};
use crate::error::{ErrorCode, ServiceError};
use crate::event_hub::{AuthOrigin, TelemetryEvent};
use crate::journal::ChangeKind;
use crate::random;
use crate::server::{no_content, ok};
use crate::service_bound::{Feedback, FeedbackStatus, Queue};
use crate::world::{Shared, World, lock, now};

const MAX_CLOUD_TO_DEVICE: usize = 64 << 10;
const MAX_TELEMETRY: usize = 256 << 10;
const MAX_QUEUE: usize = 50;
const DEFAULT_EXPIRY: Duration = Duration::hours(1);
const MAX_EXPIRY: Duration = Duration::days(2);
const PROPERTY_PREFIX: &str = "iothub-app-";

/// `POST /devices/{id}/messages/deviceBound`.
pub(super) async fn send(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ServiceError> {
    check_size(&body, MAX_CLOUD_TO_DEVICE)?;
    let message_id = text(&headers, "iothub-messageid").unwrap_or_else(random::uuid);
    let message = DeviceMessage::new(message_id, properties(&headers), body);
    // Whether the service heeds an expiry or an acknowledgement over HTTPS is not known: it does not here.
    queue_message(&world, &id, CloudMessage { message, ack: Ack::None })?;
    Ok(no_content())
}

/// Whether the sender of a message wants to hear what became of it: `iothub-ack`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ack {
    /// Not at all.
    #[default]
    None,
    /// When the device completed it.
    Positive,
    /// When it expired, was rejected or purged.
    Negative,
    /// In either case.
    Full,
}

impl Ack {
    /// Reads the value of `iothub-ack`; `None` for one that there is not.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "positive" => Some(Self::Positive),
            "negative" => Some(Self::Negative),
            "full" => Some(Self::Full),
            _ => None,
        }
    }

    fn wants(self, status: FeedbackStatus) -> bool {
        match self {
            Self::None => false,
            Self::Positive => status == FeedbackStatus::Success,
            Self::Negative => status != FeedbackStatus::Success,
            Self::Full => true,
        }
    }
}

/// A message in a device's queue.
#[derive(Clone, Debug)]
pub(crate) struct CloudMessage {
    pub(crate) message: DeviceMessage,
    pub(crate) ack: Ack,
}

/// Puts a message into a device's queue: at most 64 KB with its properties, at most 50 messages, at most two days.
pub(crate) fn queue_message(world: &World, id: &str, mut queued: CloudMessage) -> Result<(), ServiceError> {
    let message = &mut queued.message;
    let properties = message.properties.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    check_length(message.body.len() + properties, MAX_CLOUD_TO_DEVICE)?;
    let now = now();
    let latest = now + MAX_EXPIRY;
    if message.expires.is_some_and(|expires| expires > latest) {
        return Err(ServiceError::new(ErrorCode::INVALID_MESSAGE_EXPIRY, "a message may wait for two days at most"));
    }
    message.expires.get_or_insert(now + DEFAULT_EXPIRY);
    let mut hub = lock(&world.hub);
    if let Some(module) = &message.module_id {
        hub.module(id, module)?;
    }
    let device = hub.device_mut(id)?;
    world.service_bound.add_feedback(expired(device, now));
    if device.queue.len() >= MAX_QUEUE {
        return Err(ServiceError::new(
            ErrorCode::QUEUE_DEPTH_EXCEEDED,
            format!("the device's queue already holds {MAX_QUEUE} messages"),
        ));
    }
    let detail = json!({ "messageId": message.message_id, "bytes": message.body.len() });
    device.queue.push_back(queued);
    hub.journal.append(ChangeKind::MessageQueued, id, None, detail);
    Ok(())
}

/// Takes everything out of a device's queue that has not expired, with the given end.
pub(crate) fn take_messages(
    world: &World,
    id: &str,
    status: FeedbackStatus,
) -> Result<Vec<DeviceMessage>, ServiceError> {
    let mut hub = lock(&world.hub);
    let device = hub.device_mut(id)?;
    let now = now();
    world.service_bound.add_feedback(expired(device, now));
    let taken: Vec<_> = device.queue.drain(..).collect();
    world.service_bound.add_feedback(feedback_on(device, &taken, status, now));
    Ok(taken.into_iter().map(|queued| queued.message).collect())
}

/// Drops expired messages from every queue, for those who wait for feedback.
pub(crate) fn expire_messages(world: &World) {
    let now = now();
    let mut hub = lock(&world.hub);
    let feedback: Vec<_> = hub.devices.iter_mut().flat_map(|device| expired(device, now)).collect();
    world.service_bound.add_feedback(feedback);
}

fn expired(device: &mut Device, now: OffsetDateTime) -> Vec<Feedback> {
    let is_over = |queued: &CloudMessage| queued.message.expires.is_some_and(|expires| expires <= now);
    if !device.queue.iter().any(is_over) {
        return Vec::new();
    }
    let (over, waiting): (Vec<_>, Vec<_>) = device.queue.drain(..).partition(is_over);
    device.queue.extend(waiting);
    feedback_on(device, &over, FeedbackStatus::Expired, now)
}

fn feedback_on(
    device: &Device,
    messages: &[CloudMessage],
    status: FeedbackStatus,
    at: OffsetDateTime,
) -> Vec<Feedback> {
    let wanted = messages.iter().filter(|queued| queued.ack.wants(status));
    wanted
        .map(|queued| Feedback {
            message_id: queued.message.message_id.clone(),
            status,
            device_id: device.id.clone(),
            generation: device.generation.clone(),
            at,
        })
        .collect()
}

/// `DELETE /devices/{id}/commands`.
pub(super) async fn purge(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let mut hub = lock(&world.hub);
    let device = hub.device_mut(&id)?;
    let messages: Vec<_> = device.queue.drain(..).collect();
    let purged = messages.len();
    world.service_bound.add_feedback(feedback_on(device, &messages, FeedbackStatus::Purged, now()));
    hub.journal.append(ChangeKind::MessagesPurged, id.as_str(), None, json!({ "totalMessagesPurged": purged }));
    Ok(ok(&json!({ "totalMessagesPurged": purged, "deviceId": id })))
}

/// `GET /messages/serviceBound/feedback`: the batch of records as over AMQP, its lock token in `ETag`. Neither place is
/// described by the service; both go by analogy with the devices' side.
pub(super) async fn feedback(State(world): State<Shared>) -> Response {
    expire_messages(&world);
    let Some(locked) = world.service_bound.take(Queue::Feedback) else { return no_content() };
    let mut response = Response::new(axum::body::Body::from(locked.body));
    let content_type = HeaderValue::from_static(Queue::Feedback.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    if let Some(token) = crate::etag::header_value(&random::encode_hex(&locked.token)) {
        response.headers_mut().insert(header::ETAG, token);
    }
    response
}

/// `DELETE /messages/serviceBound/feedback/{token}`: completes a batch.
pub(super) async fn complete_feedback(
    State(world): State<Shared>,
    Path(token): Path<String>,
) -> Result<Response, ServiceError> {
    settle(&token, |token| world.service_bound.complete(token))
}

/// `POST /messages/serviceBound/feedback/{token}/abandon`: puts a batch back.
pub(super) async fn abandon_feedback(
    State(world): State<Shared>,
    Path(token): Path<String>,
) -> Result<Response, ServiceError> {
    settle(&token, |token| world.service_bound.abandon(token))
}

fn settle(token: &str, settle: impl FnOnce(&[u8; 16]) -> bool) -> Result<Response, ServiceError> {
    let digits: String = token.chars().filter(char::is_ascii_hexdigit).collect();
    let token = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
    if token.is_some_and(|token| settle(&token.to_be_bytes())) {
        return Ok(no_content());
    }
    Err(ServiceError::new(ErrorCode::MESSAGE_LOCK_LOST, "the lock token is not valid, or no longer"))
}

/// `DELETE /devices/{id}/messages/deviceBound/{token}`, the device's side: completes a message it has received. Devices
/// of the emulator take their messages in process, so no lock token is ever given out over HTTPS.
pub(super) async fn complete(
    State(world): State<Shared>,
    Path((id, _token)): Path<(String, String)>,
) -> Result<Response, ServiceError> {
    lock(&world.hub).device_mut(&id)?;
    Err(ServiceError::new(ErrorCode::MESSAGE_LOCK_LOST, "the lock token is not valid, or no longer"))
}

/// `POST /devices/{id}/messages/events`, the device's side.
pub(super) async fn receive(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ServiceError> {
    let message = TelemetryMessage {
        device_id: id,
        enqueued: now(),
        content_type: text(&headers, "iothub-contenttype").or_else(|| text(&headers, "content-type")),
        content_encoding: text(&headers, "iothub-contentencoding").or_else(|| text(&headers, "content-encoding")),
        message_id: text(&headers, "iothub-messageid"),
        properties: properties(&headers),
        body,
    };
    accept_telemetry(&world, message)?;
    Ok(no_content())
}

/// Takes telemetry from HTTPS and from in-process devices alike.
pub(crate) fn accept_telemetry(world: &World, message: TelemetryMessage) -> Result<(), ServiceError> {
    check_size(&message.body, MAX_TELEMETRY)?;
    let mut hub = lock(&world.hub);
    let device = hub.device_mut(&message.device_id)?;
    if device.status == Status::Disabled {
        return Err(ServiceError::new(ErrorCode::DEVICE_DISABLED, format!("Device {} is disabled", message.device_id)));
    }
    device.last_activity = Some(message.enqueued);
    let auth = AuthOrigin { kind: auth_type(device), generation: device.generation.clone() };
    let detail = json!({
        "bytes": message.body.len(),
        "contentType": message.content_type,
        "properties": message.properties.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "body": String::from_utf8_lossy(&message.body),
    });
    hub.journal.append(ChangeKind::TelemetryReceived, message.device_id.as_str(), None, detail);
    // Under the hub's lock, so that the partition has the order of the journal.
    if !world.options.telemetry_routed_away {
        world.event_hub.append_all([TelemetryEvent::from_message(&message, auth)]);
    }
    drop(hub);
    for sink in world.sinks.read().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
        sink.accept(&message);
    }
    Ok(())
}

/// The `type` in `iothub-connection-auth-method`.
fn auth_type(device: &Device) -> &'static str {
    match device.authentication.kind {
        AuthenticationType::Sas => "sas",
        AuthenticationType::SelfSigned => "x509Thumbprint",
        AuthenticationType::CertificateAuthority => "x509Certificate",
        AuthenticationType::None => "none",
    }
}

fn check_size(body: &Bytes, limit: usize) -> Result<(), ServiceError> {
    check_length(body.len(), limit)
}

fn check_length(length: usize, limit: usize) -> Result<(), ServiceError> {
    if length <= limit {
        return Ok(());
    }
    Err(ServiceError::new(ErrorCode::MESSAGE_TOO_LARGE, format!("a message may have no more than {limit} bytes")))
}

fn properties(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(PROPERTY_PREFIX)?;
            Some((name.to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
