//! Enrollment groups: the routes; what they do is in [`super::model`].

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::model::{self, BulkBody, EnrollmentBody, Kind, QueryBody};
use crate::error::ServiceError;
use crate::server::JsonBody;
use crate::versions::At;
use crate::world::Shared;

/// `GET /enrollmentGroups/{id}`.
pub(super) async fn get(State(world): State<Shared>, at: At, Path(id): Path<String>) -> Result<Response, ServiceError> {
    model::get(&world, Kind::Group, &id, at)
}

/// `PUT /enrollmentGroups/{id}`.
pub(super) async fn put(
    State(world): State<Shared>,
    at: At,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<EnrollmentBody>,
) -> Result<Response, ServiceError> {
    model::put(&world, Kind::Group, &id, &headers, body, at)
}

/// `DELETE /enrollmentGroups/{id}`.
pub(super) async fn delete(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    model::delete(&world, Kind::Group, &id, &headers)
}

/// `POST /enrollmentGroups/query`.
pub(super) async fn query(
    State(world): State<Shared>,
    at: At,
    headers: HeaderMap,
    JsonBody(body): JsonBody<QueryBody>,
) -> Result<Response, ServiceError> {
    model::query(&world, Kind::Group, &headers, body, at)
}

/// `POST /enrollmentGroups`.
pub(super) async fn bulk(
    State(world): State<Shared>,
    at: At,
    JsonBody(body): JsonBody<BulkBody>,
) -> Result<Response, ServiceError> {
    model::bulk(&world, Kind::Group, body, at)
}

/// `POST /enrollmentGroups/{id}/attestationmechanism`.
pub(super) async fn attestation(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    model::attestation(&world, Kind::Group, &id)
}
