//! Device and module twins.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::error::ServiceError;
use crate::etag::Precondition;
use crate::records::identity::Target;
use crate::records::twin::{Change, TwinBody};
use crate::sync::lock;
use crate::versions::At;
use crate::web::answer::json_response;
use crate::web::request::JsonBody;
use crate::world::{Shared, World};

/// `GET /twins/{id}` and `GET /twins/{id}/modules/{module}`.
pub(crate) async fn get(
    State(world): State<Shared>,
    at: At,
    Path(target): Path<Target>,
) -> Result<Response, ServiceError> {
    let (etag, twin) = lock(&world.hub).twin_json(&target.device, target.module.as_deref(), at)?;
    Ok(json_response(StatusCode::OK, Some(&etag), &twin))
}

/// `PATCH /twins/{id}` and `PATCH /twins/{id}/modules/{module}`.
pub(crate) async fn patch(
    State(world): State<Shared>,
    at: At,
    Path(target): Path<Target>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<TwinBody>,
) -> Result<Response, ServiceError> {
    write(&world, &target, &headers, body, Change::Merge, at)
}

/// `PUT /twins/{id}` and `PUT /twins/{id}/modules/{module}`.
pub(crate) async fn put(
    State(world): State<Shared>,
    at: At,
    Path(target): Path<Target>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<TwinBody>,
) -> Result<Response, ServiceError> {
    write(&world, &target, &headers, body, Change::Replace, at)
}

fn write(
    world: &World,
    target: &Target,
    headers: &HeaderMap,
    body: TwinBody,
    change: Change,
    at: At,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(headers)?;
    let (device, module) = (target.device.as_str(), target.module.as_deref());
    let mut hub = lock(&world.hub);
    hub.write_twin(device, module, body, change, &precondition)?;
    let (etag, twin) = hub.twin_json(device, module, at)?;
    Ok(json_response(StatusCode::OK, Some(&etag), &twin))
}
