//! Answers that are no errors.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use crate::etag;

pub(crate) const JSON: &str = "application/json; charset=utf-8";

/// An answer with a JSON body and, where the entity has one, its ETag.
pub(crate) fn json_response(status: StatusCode, etag: Option<&str>, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    if let Some(value) = etag.and_then(etag::header_value) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// An answer with status 200 and a JSON body.
pub(crate) fn ok(body: &Value) -> Response {
    json_response(StatusCode::OK, None, body)
}

/// An answer with status 204.
pub(crate) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
