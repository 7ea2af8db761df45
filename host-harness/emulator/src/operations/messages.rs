//! Messages to devices and from devices.

use bytes::Bytes;
use serde_json::json;
use time::{Duration, OffsetDateTime};

use crate::clock::now;
use crate::error::{ErrorCode, ServiceError};
use crate::event_hub::event::{AuthOrigin, TelemetryEvent};
use crate::journal::ChangeKind;
use crate::messages::{DeviceMessage, TelemetryMessage};
use crate::records::cloud_message::CloudMessage;
use crate::records::device::Device;
use crate::records::identity::{Authentication, AuthenticationType, Status, Target};
use crate::service_bound::{Feedback, FeedbackStatus};
use crate::sessions::ToDevice;
use crate::sync::lock;
use crate::world::World;

pub(crate) const MAX_CLOUD_TO_DEVICE: usize = 64 << 10;
pub(crate) const MAX_TELEMETRY: usize = 256 << 10;
const MAX_QUEUE: usize = 50;
const DEFAULT_EXPIRY: Duration = Duration::hours(1);
const MAX_EXPIRY: Duration = Duration::days(2);

/// Puts a message into a device's queue. Limits: 64 KB with its properties, 50 messages in the queue, a lifetime of two
/// days.
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
    let target = Target::new(id, message.module_id.as_deref());
    device.queue.push_back(queued);
    hub.journal.append(ChangeKind::MessageQueued, id, None, detail);
    world.sessions.notify(&target.key(), ToDevice::MessageWaiting);
    Ok(())
}

/// Takes all unexpired messages that no reader has locked out of a device's queue, and gives feedback with this status.
pub(crate) fn take_messages(
    world: &World,
    id: &str,
    status: FeedbackStatus,
) -> Result<Vec<DeviceMessage>, ServiceError> {
    let mut hub = lock(&world.hub);
    let device = hub.device_mut(id)?;
    let now = now();
    world.service_bound.add_feedback(expired(device, now));
    let (locked, taken): (Vec<_>, Vec<_>) = device.queue.drain(..).partition(|queued| queued.lock.is_some());
    device.queue.extend(locked);
    world.service_bound.add_feedback(feedback_on(device, &taken, status, now));
    Ok(taken.into_iter().map(|queued| queued.message).collect())
}

/// Drops expired messages from every queue, so that their feedback can be read.
pub(crate) fn expire_messages(world: &World) {
    let now = now();
    let mut hub = lock(&world.hub);
    let feedback: Vec<_> = hub.devices.iter_mut().flat_map(|device| expired(device, now)).collect();
    world.service_bound.add_feedback(feedback);
}

/// Drops the device's expired messages, except those that it has locked.
pub(super) fn expired(device: &mut Device, now: OffsetDateTime) -> Vec<Feedback> {
    let is_over =
        |queued: &CloudMessage| queued.lock.is_none() && queued.message.expires.is_some_and(|expires| expires <= now);
    if !device.queue.iter().any(is_over) {
        return Vec::new();
    }
    let (over, waiting): (Vec<_>, Vec<_>) = device.queue.drain(..).partition(is_over);
    device.queue.extend(waiting);
    feedback_on(device, &over, FeedbackStatus::Expired, now)
}

pub(crate) fn feedback_on(
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

/// Accepts telemetry from HTTPS and from devices in process.
pub(crate) fn accept_telemetry(world: &World, message: TelemetryMessage) -> Result<(), ServiceError> {
    accept_event(world, TelemetryEvent::from_message(&message))
}

/// Accepts telemetry with everything that an event can state, from a device or a module.
pub(crate) fn accept_event(world: &World, mut event: TelemetryEvent) -> Result<(), ServiceError> {
    check_length(event.body.len(), MAX_TELEMETRY)?;
    let message = event.to_message();
    let mut hub = lock(&world.hub);
    let device = hub.device_mut(&message.device_id)?;
    if device.status == Status::Disabled {
        return Err(ServiceError::new(ErrorCode::DEVICE_DISABLED, format!("Device {} is disabled", message.device_id)));
    }
    device.last_activity = Some(message.enqueued);
    event.auth = match &event.module_id {
        None => AuthOrigin { kind: auth_type(&device.authentication), generation: device.generation.clone() },
        Some(module) => {
            let module = hub.module_mut(&message.device_id, module)?;
            module.last_activity = Some(message.enqueued);
            AuthOrigin { kind: auth_type(&module.authentication), generation: module.generation.clone() }
        }
    };
    let detail = json!({
        "bytes": message.body.len(),
        "contentType": message.content_type,
        "properties": message.properties.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "body": String::from_utf8_lossy(&message.body),
    });
    let target = Target::new(&message.device_id, event.module_id.as_deref());
    hub.journal.append(ChangeKind::TelemetryReceived, target.key(), None, detail);
    // The event is enqueued under the hub's lock, so that the partition and the journal have the same order.
    if !world.options.telemetry_routed_away {
        world.event_hub.append_all([event]);
    }
    drop(hub);
    for sink in world.sinks.read().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
        sink.accept(&message);
    }
    Ok(())
}

/// The `type` in `iothub-connection-auth-method`.
fn auth_type(authentication: &Authentication) -> &'static str {
    match authentication.kind {
        AuthenticationType::Sas => "sas",
        AuthenticationType::SelfSigned => "x509Thumbprint",
        AuthenticationType::CertificateAuthority => "x509Certificate",
        AuthenticationType::None => "none",
    }
}

pub(crate) fn check_size(body: &Bytes, limit: usize) -> Result<(), ServiceError> {
    check_length(body.len(), limit)
}

fn check_length(length: usize, limit: usize) -> Result<(), ServiceError> {
    if length <= limit {
        return Ok(());
    }
    Err(ServiceError::new(ErrorCode::MESSAGE_TOO_LARGE, format!("a message may have no more than {limit} bytes")))
}
