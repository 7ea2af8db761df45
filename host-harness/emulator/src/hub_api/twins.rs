//! Device and module twins.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::error::ServiceError;
use crate::etag::Precondition;
use crate::records::twin::{Change, TwinBody};
use crate::sync::lock;
use crate::versions::At;
use crate::web::answer::json_response;
use crate::web::request::JsonBody;
use crate::world::Shared;

fn read(world: &Shared, device: &str, module: Option<&str>, at: At) -> Result<Response, ServiceError> {
    let (etag, twin) = lock(&world.hub).twin_json(device, module, at)?;
    Ok(json_response(StatusCode::OK, Some(&etag), &twin))
}

fn write(
    world: &Shared,
    device: &str,
    module: Option<&str>,
    headers: &HeaderMap,
    body: TwinBody,
    change: Change,
    at: At,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(headers)?;
    let mut hub = lock(&world.hub);
    hub.write_twin(device, module, body, change, &precondition)?;
    let (etag, twin) = hub.twin_json(device, module, at)?;
    Ok(json_response(StatusCode::OK, Some(&etag), &twin))
}

/// `GET /twins/{id}`.
pub(crate) async fn get(State(world): State<Shared>, at: At, Path(id): Path<String>) -> Result<Response, ServiceError> {
    read(&world, &id, None, at)
}

/// `PATCH /twins/{id}`.
pub(crate) async fn patch(
    State(world): State<Shared>,
    at: At,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<TwinBody>,
) -> Result<Response, ServiceError> {
    write(&world, &id, None, &headers, body, Change::Merge, at)
}

/// `PUT /twins/{id}`.
pub(crate) async fn put(
    State(world): State<Shared>,
    at: At,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<TwinBody>,
) -> Result<Response, ServiceError> {
    write(&world, &id, None, &headers, body, Change::Replace, at)
}

/// `GET /twins/{id}/modules/{module}`.
pub(crate) async fn get_module(
    State(world): State<Shared>,
    at: At,
    Path((id, module)): Path<(String, String)>,
) -> Result<Response, ServiceError> {
    read(&world, &id, Some(&module), at)
}

/// `PATCH /twins/{id}/modules/{module}`.
pub(crate) async fn patch_module(
    State(world): State<Shared>,
    at: At,
    Path((id, module)): Path<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<TwinBody>,
) -> Result<Response, ServiceError> {
    write(&world, &id, Some(&module), &headers, body, Change::Merge, at)
}

/// `PUT /twins/{id}/modules/{module}`.
pub(crate) async fn put_module(
    State(world): State<Shared>,
    at: At,
    Path((id, module)): Path<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<TwinBody>,
) -> Result<Response, ServiceError> {
    write(&world, &id, Some(&module), &headers, body, Change::Replace, at)
}
