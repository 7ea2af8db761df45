//! Device identities.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag::Precondition;
use crate::records::device::DeviceBody;
use crate::records::identity::Status;
use crate::sync::lock;
use crate::versions::At;
use crate::web::answer::{json_response, no_content, ok};
use crate::web::request::{JsonBody, list_limit};
use crate::world::Shared;

/// `GET /devices`.
pub(crate) async fn list(State(world): State<Shared>, at: At, uri: Uri) -> Response {
    let hub = lock(&world.hub);
    let registry = world.options.device_registry.as_ref();
    ok(&hub.devices.iter().take(list_limit(&uri)).map(|device| device.to_json(at, registry)).collect())
}

/// `GET /devices/{id}`.
pub(crate) async fn get(State(world): State<Shared>, at: At, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let hub = lock(&world.hub);
    let device = hub.device(&id)?;
    let shown = device.to_json(at, world.options.device_registry.as_ref());
    Ok(json_response(StatusCode::OK, Some(&device.etag), &shown))
}

/// `PUT /devices/{id}`. The body must have a `deviceId` that equals the id in the path.
pub(crate) async fn put(
    State(world): State<Shared>,
    at: At,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<DeviceBody>,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    match &body.device_id {
        None => return Err(ServiceError::new(ErrorCode::ARGUMENT_NULL, "the device has no deviceId")),
        Some(device_id) if *device_id != id => {
            return Err(invalid(format!("the deviceId '{device_id}' must equal the id of the path, '{id}'")));
        }
        Some(_) => {}
    }
    let mut hub = lock(&world.hub);
    hub.put_device(&id, body, &precondition, at)?;
    let device = hub.device(&id)?;
    let shown = device.to_json(at, world.options.device_registry.as_ref());
    let response = json_response(StatusCode::OK, Some(&device.etag), &shown);
    let disabled = device.status == Status::Disabled;
    drop(hub);
    if disabled {
        world.sessions.drop_connection(&id);
    }
    Ok(response)
}

/// `DELETE /devices/{id}`.
pub(crate) async fn delete(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    lock(&world.hub).delete_device(&id, &precondition)?;
    world.sessions.drop_connection(&id);
    Ok(no_content())
}
