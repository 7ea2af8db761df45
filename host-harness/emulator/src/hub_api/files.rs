//! Files that devices upload: the hub names a blob and a signature for it, and is told when the file is there.
//!
//! Source: "Upload files with IoT Hub". Microsoft's clients differ in where they put the correlation id of the notice:
//! in the path or in the body.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use crate::blobs::CONTAINER;
use crate::clock::{now, rfc3339};
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::operations::connections::check_enabled;
use crate::records::identity::Target;
use crate::service_bound::FileUpload;
use crate::web::answer::{json_response, no_content};
use crate::web::request::JsonBody;
use crate::world::{Shared, World};

/// The longest name of a blob ("Naming and referencing containers, blobs, and metadata").
const LONGEST_NAME: usize = 1024;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wish {
    blob_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Notice {
    correlation_id: Option<String>,
    is_success: bool,
}

/// `POST /devices/{id}/files`: where the device may write its file. The blob's host is the one that the device has
/// called.
pub(crate) async fn begin(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(wish): JsonBody<Wish>,
) -> Result<Response, ServiceError> {
    check_enabled(&world, &Target::new(id.as_str(), None))?;
    if wish.blob_name.is_empty() || wish.blob_name.len() > LONGEST_NAME {
        return Err(invalid(format!("blobName must have 1 to {LONGEST_NAME} characters")));
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let host = host.unwrap_or_else(|| world.hub_host());
    let upload = world.blobs.begin(&id, &wish.blob_name, &host, now()).ok_or_else(|| {
        ServiceError::new(ErrorCode::TOO_MANY_UPLOADS, "too many file uploads of the device are under way")
    })?;
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (expiry, signature) = (escape(&rfc3339(upload.expires)), escape(&upload.signature));
    let body = json!({
        "correlationId": upload.correlation,
        "hostName": upload.host,
        "containerName": CONTAINER,
        "blobName": upload.blob,
        "sasToken": format!("?sv=2018-03-28&sr=b&sig={signature}&se={expiry}&sp=rw"),
    });
    Ok(json_response(StatusCode::OK, None, &body))
}

/// `POST /devices/{id}/files/notifications`, with the correlation id in the body.
pub(crate) async fn end(
    State(world): State<Shared>,
    Path(id): Path<String>,
    JsonBody(notice): JsonBody<Notice>,
) -> Result<Response, ServiceError> {
    let correlation = notice.correlation_id.as_deref().ok_or_else(|| invalid("the notice has no correlationId"))?;
    finish(&world, &id, correlation, notice.is_success)
}

/// `POST /devices/{id}/files/notifications/{correlation}`.
pub(crate) async fn end_by_path(
    State(world): State<Shared>,
    Path((id, correlation)): Path<(String, String)>,
    JsonBody(notice): JsonBody<Notice>,
) -> Result<Response, ServiceError> {
    // A client has been seen to add a space.
    finish(&world, &id, correlation.trim(), notice.is_success)
}

fn finish(world: &World, device: &str, correlation: &str, success: bool) -> Result<Response, ServiceError> {
    check_enabled(world, &Target::new(device, None))?;
    let missing = || invalid(format!("the device has no file upload '{correlation}' under way"));
    let (upload, size) = world.blobs.end(device, correlation).ok_or_else(missing)?;
    // The hub notifies its back ends of a file only if it is there.
    if let Some(size) = size.filter(|_| success) {
        world.service_bound.add_file(FileUpload {
            device_id: upload.device,
            blob_uri: format!("https://{}/{CONTAINER}/{}", upload.host, upload.blob),
            blob_name: upload.blob,
            size,
        });
    }
    Ok(no_content())
}
