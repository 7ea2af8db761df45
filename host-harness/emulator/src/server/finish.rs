//! The last step of every answer: the form of its error, and the headers that all answers have.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::clock::{http_date, skewed};
use crate::error::{ErrorCode, ServiceError};
use crate::random;
use crate::service::Service;
use crate::web::error_body::render;

/// Gives errors the form of the service and every answer the common headers.
pub(crate) fn finish(response: Response, service: Service, offset: i64) -> Response {
    let now = skewed(offset);
    let error = response.extensions().get::<ServiceError>().cloned().or_else(|| {
        // The framework itself answers when there is no route, no such method on a route, or no UTF-8 in the path.
        let plain = !response.headers().contains_key(header::CONTENT_TYPE)
            || response
                .headers()
                .get(header::CONTENT_TYPE)
                .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
        match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => {
                Some(ServiceError::new(ErrorCode::METHOD_NOT_ALLOWED, "the method is not allowed on this path"))
            }
            status if status.is_client_error() && plain => {
                Some(ServiceError::new(ErrorCode::for_status(status.as_u16()), "the request is not valid"))
            }
            _ => None,
        }
    });
    let mut response = error.map_or(response, |error| render(&error, service, now));
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&random::uuid()) {
        headers.entry("x-ms-request-id").or_insert(id);
    }
    if let Ok(date) = HeaderValue::from_str(&http_date(now)) {
        headers.insert(header::DATE, date);
    }
    response
}
