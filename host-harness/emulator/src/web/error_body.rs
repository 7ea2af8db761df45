//! The one file in which a refusal becomes an HTTP answer.
//!
//! Handlers return a [`ServiceError`]. How it looks on the wire depends on the service that answers, so the body is
//! rendered last, by [`render`], when the service is known.
//!
//! | service | body |
//! |---|---|
//! | IoT Hub, registry and twins | `{"Message":"ErrorCode:DeviceNotFound;…","ExceptionMessage":"Tracking ID:…"}` |
//! | IoT Hub, direct methods | `{"Message":"{\"errorCode\":404103,…}","ExceptionMessage":""}`, an object inside a string |
//! | DPS | `{"errorCode":404201,"trackingId":…,"message":…,"timestampUtc":…}` |

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;

use super::answer::JSON;
use crate::clock::rfc3339;
use crate::error::{ErrorCode, ServiceError};
use crate::random;
use crate::service::Service;

/// Renders the answer in the form of the service.
pub(crate) fn render(error: &ServiceError, service: Service, now: OffsetDateTime) -> Response {
    let code = error.code();
    let tracking = random::hex(16);
    let timestamp = rfc3339(now);
    let details = json!({
        "errorCode": code.number(),
        "trackingId": tracking,
        "message": error.message(),
        "timestampUtc": timestamp,
    });
    let (header_name, body) = match service {
        Service::Dps => ("x-ms-error-code", details),
        _ if is_nested(code) => ("iothub-errorcode", json!({ "Message": details.to_string(), "ExceptionMessage": "" })),
        _ => (
            "iothub-errorcode",
            json!({
                "Message": format!("ErrorCode:{};{}", code.name(), error.message()),
                "ExceptionMessage": format!("Tracking ID:{tracking}-G:0-TimeStamp:{timestamp}"),
            }),
        ),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status(error.status());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(header_name, HeaderValue::from_static(code.name()));
    if let Some(seconds) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

impl IntoResponse for ServiceError {
    /// Carries the error to the end of the pipeline, where the service is known and the body is rendered.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status(self.code().status());
        response.extensions_mut().insert(self);
        response
    }
}

/// Direct methods answer with an object inside the message string; everything else with `ErrorCode:Name;text`.
fn is_nested(code: ErrorCode) -> bool {
    matches!(code.number(), 404_103 | 504_101)
}

fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
