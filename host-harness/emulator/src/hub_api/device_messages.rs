//! What devices call: telemetry, and messages from the cloud.
//!
//! Source: "Communicate with IoT Hub using the HTTPS REST API", with the headers that Microsoft's HTTPS transport of
//! devices reads.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::Response;
use bytes::Bytes;

use super::event_batch;
use super::messages::{PROPERTY_PREFIX, properties, text};
use crate::clock::{now, rfc3339};
use crate::error::ServiceError;
use crate::etag::header_value;
use crate::messages::TelemetryMessage;
use crate::operations::messages::{MAX_TELEMETRY, accept_telemetry, check_size};
use crate::operations::receiving::{Settlement, receive_message, settle_message};
use crate::records::identity::Target;
use crate::web::answer::no_content;
use crate::web::request::query_parameter;
use crate::world::Shared;

/// `POST /devices/{id}/messages/events`: one message, or a batch of at most 256 KB in all.
pub(crate) async fn send(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ServiceError> {
    if event_batch::is_batch(&headers) {
        check_size(&body, MAX_TELEMETRY)?;
        event_batch::read(&id, &body)?.into_iter().try_for_each(|message| accept_telemetry(&world, message))?;
        return Ok(no_content());
    }
    let message = TelemetryMessage {
        device_id: id,
        enqueued: now(),
        content_type: text(&headers, "iothub-contenttype").or_else(|| text(&headers, "content-type")),
        content_encoding: text(&headers, "iothub-contentencoding").or_else(|| text(&headers, "content-encoding")),
        message_id: text(&headers, "iothub-messageid"),
        correlation_id: text(&headers, "iothub-correlationid"),
        properties: properties(&headers),
        body,
    };
    accept_telemetry(&world, message)?;
    Ok(no_content())
}

/// `GET /devices/{id}/messages/deviceBound`: the oldest message under a lock of a minute, whose token is in `ETag`; 204
/// when no message waits.
pub(crate) async fn receive(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let Some(locked) = receive_message(&world, &Target::new(id.as_str(), None), None)? else {
        return Ok(no_content());
    };
    let message = locked.message;
    let mut response = Response::new(Body::from(message.body));
    let headers = response.headers_mut();
    let fields = [
        ("iothub-messageid", Some(message.message_id)),
        ("iothub-correlationid", message.correlation_id),
        ("iothub-userid", message.user_id.map(|id| String::from_utf8_lossy(&id).into_owned())),
        ("iothub-to", Some(format!("/devices/{id}/messages/deviceBound"))),
        ("iothub-expiry", message.expires.map(rfc3339)),
        ("iothub-ack", locked.ack.map(str::to_owned)),
        ("iothub-deliverycount", Some((locked.deliveries - 1).to_string())),
        ("iothub-enqueuedtime", Some(rfc3339(locked.enqueued))),
        ("iothub-contentencoding", message.content_encoding),
        ("content-type", message.content_type),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let own = message.properties.into_iter().map(|(name, value)| (format!("{PROPERTY_PREFIX}{name}"), value));
    for (name, value) in fields.chain(own) {
        // A property whose name or value HTTP does not allow in a header cannot reach the device this way.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    if let Some(token) = header_value(&locked.token) {
        headers.insert(header::ETAG, token);
    }
    Ok(response)
}

/// `DELETE /devices/{id}/messages/deviceBound/{token}`: completes a message, or rejects it with the parameter `reject`.
pub(crate) async fn complete(
    State(world): State<Shared>,
    Path((id, token)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, ServiceError> {
    let rejects = query_parameter(&uri, "reject").is_some();
    let settlement = if rejects { Settlement::Reject } else { Settlement::Complete };
    settle_message(&world, &Target::new(id, None), token.trim_matches('"'), settlement)?;
    Ok(no_content())
}

/// `POST /devices/{id}/messages/deviceBound/{token}/abandon`: returns a message to the queue.
pub(crate) async fn abandon(
    State(world): State<Shared>,
    Path((id, token)): Path<(String, String)>,
) -> Result<Response, ServiceError> {
    settle_message(&world, &Target::new(id, None), token.trim_matches('"'), Settlement::Abandon)?;
    Ok(no_content())
}
