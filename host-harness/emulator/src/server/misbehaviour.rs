//! What fault rules do to answers.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use crate::error::{ErrorCode, ServiceError};
use crate::faults::{FaultAction, Refusal};
use crate::web::answer::JSON;
use crate::{etag, random};

/// Ends the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault rule dropped the connection")]
pub(crate) struct Dropped;

/// How much of the body is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Whole,
    Truncated,
    Stalled,
}

impl Delivery {
    pub(crate) fn body(self, body: Bytes) -> Body {
        let half = stream::iter([Ok(body.slice(..body.len() / 2))]);
        match self {
            Self::Whole => Body::from(body),
            Self::Truncated => {
                // The error comes a little later, so that the first half is really sent before the connection closes.
                let end = stream::once(async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Err(Dropped)
                });
                Body::from_stream(half.chain(end))
            }
            Self::Stalled => Body::from_stream(half.chain(stream::pending::<Result<Bytes, Dropped>>())),
        }
    }
}

pub(crate) fn parts_with_length(
    mut parts: axum::http::response::Parts,
    body: &Bytes,
    delivery: Delivery,
) -> axum::http::response::Parts {
    // The router set the length before the fault rules changed the body.
    parts.headers.remove(header::CONTENT_LENGTH);
    if delivery != Delivery::Whole {
        // The header states the full length, although only a half of the body is sent.
        let length = HeaderValue::from(body.len().max(2));
        parts.headers.insert(header::CONTENT_LENGTH, length);
    }
    parts
}

pub(crate) fn faulty_status(actions: &[FaultAction]) -> Option<Response> {
    actions.iter().find_map(|action| {
        if let FaultAction::Refuse(refusal) = action {
            return Some(refused(refusal));
        }
        let FaultAction::Status { status, code, retry_after_secs, body } = action else { return None };
        if let Some(body) = body {
            let mut response = Response::new(Body::from(body.clone()));
            *response.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if let Some(seconds) = retry_after_secs {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
            return Some(response);
        }
        let code = code.and_then(ErrorCode::from_number).unwrap_or_else(|| ErrorCode::for_status(*status));
        let error = ServiceError::new(code, "The service cannot carry out the operation now")
            .with_status(*status)
            .with_retry_after(*retry_after_secs);
        Some(error.into_response())
    })
}

fn refused(refusal: &Refusal) -> Response {
    let (content_type, body, code) = refusal.render();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(code) = code.and_then(|code| HeaderValue::from_str(code).ok()) {
        headers.insert("iothub-errorcode", code);
    }
    if let Some(seconds) = refusal.retry_after_secs {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

pub(crate) fn wrong_etag(headers: &mut HeaderMap, body: Bytes) -> Bytes {
    let wrong = format!("wrong-{}", random::hex(4));
    if let Some(value) = etag::header_value(&wrong) {
        headers.insert(header::ETAG, value);
    }
    match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(mut object)) if object.contains_key("etag") => {
            object.insert("etag".to_owned(), Value::String(wrong));
            Value::Object(object).to_string().into()
        }
        _ => body,
    }
}
