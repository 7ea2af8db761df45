//! Messages to devices, and feedback on them.
//!
//! Sending to a device over HTTPS is not in the service's description, but Azure IoT explorer, which Microsoft ships,
//! does it: `POST /devices/{id}/messages/deviceBound`, with properties as `iothub-app-*` headers.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;

use crate::clock::now;
use crate::error::{ErrorCode, ServiceError};
use crate::etag::header_value;
use crate::journal::ChangeKind;
use crate::messages::DeviceMessage;
use crate::operations::messages::{MAX_CLOUD_TO_DEVICE, check_size, expire_messages, feedback_on, queue_message};
use crate::random;
use crate::records::cloud_message::{Ack, CloudMessage};
use crate::service_bound::{FeedbackStatus, Queue};
use crate::sync::lock;
use crate::web::answer::{no_content, ok};
use crate::world::Shared;

pub(super) const PROPERTY_PREFIX: &str = "iothub-app-";

/// `POST /devices/{id}/messages/deviceBound`.
pub(crate) async fn send(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ServiceError> {
    check_size(&body, MAX_CLOUD_TO_DEVICE)?;
    let message_id = text(&headers, "iothub-messageid").unwrap_or_else(random::uuid);
    let message = DeviceMessage::new(message_id, properties(&headers), body);
    // It is not known whether the service honours an expiry or an acknowledgement over HTTPS. The emulator ignores
    // both.
    queue_message(&world, &id, CloudMessage::new(message, Ack::None))?;
    Ok(no_content())
}

/// `DELETE /devices/{id}/commands`.
pub(crate) async fn purge(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let mut hub = lock(&world.hub);
    let device = hub.device_mut(&id)?;
    let messages: Vec<_> = device.queue.drain(..).collect();
    let purged = messages.len();
    world.service_bound.add_feedback(feedback_on(device, &messages, FeedbackStatus::Purged, now()));
    hub.journal.append(ChangeKind::MessagesPurged, id.as_str(), None, json!({ "totalMessagesPurged": purged }));
    Ok(ok(&json!({ "totalMessagesPurged": purged, "deviceId": id })))
}

/// `GET /messages/serviceBound/feedback`: the batch of records in the same form as over AMQP, with its lock token in
/// `ETag`. The service's description states neither; both follow the operation with which devices receive messages.
pub(crate) async fn feedback(State(world): State<Shared>) -> Response {
    expire_messages(&world);
    let Some(locked) = world.service_bound.take(Queue::Feedback) else { return no_content() };
    let mut response = Response::new(axum::body::Body::from(locked.body));
    let content_type = HeaderValue::from_static(Queue::Feedback.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    if let Some(token) = header_value(&random::encode_hex(&locked.token)) {
        response.headers_mut().insert(header::ETAG, token);
    }
    response
}

/// `DELETE /messages/serviceBound/feedback/{token}`: completes a batch.
pub(crate) async fn complete_feedback(
    State(world): State<Shared>,
    Path(token): Path<String>,
) -> Result<Response, ServiceError> {
    settle(&token, |token| world.service_bound.complete(token))
}

/// `POST /messages/serviceBound/feedback/{token}/abandon`: returns a batch to the queue.
pub(crate) async fn abandon_feedback(
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

pub(super) fn properties(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(PROPERTY_PREFIX)?;
            Some((name.to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect()
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
