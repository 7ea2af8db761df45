//! Messages to devices and from devices.
//!
//! Sending to a device over HTTPS is not in the service's description, but Azure IoT explorer, which Microsoft ships,
//! does it: `POST /devices/{id}/messages/deviceBound`, properties as `iothub-app-*` headers.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;

use super::Status;
use crate::device_side::{DeviceMessage, TelemetryMessage};
use crate::error::{ErrorCode, ServiceError};
use crate::journal::ChangeKind;
use crate::random;
use crate::server::{no_content, ok};
use crate::world::{Shared, World, lock, now};

const MAX_CLOUD_TO_DEVICE: usize = 64 << 10;
const MAX_TELEMETRY: usize = 256 << 10;
const MAX_QUEUE: usize = 50;
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
    let mut hub = lock(&world.hub);
    let device = hub.device_mut(&id)?;
    if device.queue.len() >= MAX_QUEUE {
        return Err(ServiceError::new(
            ErrorCode::QUEUE_DEPTH_EXCEEDED,
            format!("the device's queue already holds {MAX_QUEUE} messages"),
        ));
    }
    let detail = json!({ "messageId": message.message_id, "bytes": message.body.len() });
    device.queue.push_back(message);
    hub.journal.append(ChangeKind::MessageQueued, id, None, detail);
    Ok(no_content())
}

/// `DELETE /devices/{id}/commands`.
pub(super) async fn purge(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let mut hub = lock(&world.hub);
    let device = hub.device_mut(&id)?;
    let purged = device.queue.len();
    device.queue.clear();
    hub.journal.append(ChangeKind::MessagesPurged, id.as_str(), None, json!({ "totalMessagesPurged": purged }));
    Ok(ok(&json!({ "totalMessagesPurged": purged, "deviceId": id })))
}

/// `GET /messages/serviceBound/feedback`: simulated devices give no feedback, so the queue is empty.
pub(super) async fn feedback() -> Response {
    no_content()
}

/// Completing or abandoning feedback: no lock token is ever valid.
pub(super) async fn settle_feedback(Path(_token): Path<String>) -> ServiceError {
    ServiceError::new(ErrorCode::MESSAGE_LOCK_LOST, "the lock token is not valid, or no longer")
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
    let detail = json!({
        "bytes": message.body.len(),
        "contentType": message.content_type,
        "properties": message.properties.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "body": String::from_utf8_lossy(&message.body),
    });
    hub.journal.append(ChangeKind::TelemetryReceived, message.device_id.as_str(), None, detail);
    drop(hub);
    for sink in world.sinks.read().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
        sink.accept(&message);
    }
    Ok(())
}

fn check_size(body: &Bytes, limit: usize) -> Result<(), ServiceError> {
    if body.len() <= limit {
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
