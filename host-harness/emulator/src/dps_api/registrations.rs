//! Registration records.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::enrollments::page_response;
use crate::dps::kind::{Kind, key};
use crate::error::ServiceError;
use crate::etag::Precondition;
use crate::sync::lock;
use crate::web::answer::{json_response, no_content};
use crate::world::Shared;

/// `GET /registrations/{id}`: 404202 for a device that has not registered yet.
pub(crate) async fn get(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let dps = lock(&world.dps);
    let state = &dps.registration(&id)?.state;
    Ok(json_response(StatusCode::OK, Some(&state.etag), &json!(state)))
}

/// `DELETE /registrations/{id}`. The device identity in the hub stays.
pub(crate) async fn delete(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    let mut dps = lock(&world.dps);
    precondition.check(&dps.registration(&id)?.state.etag)?;
    dps.remove_registration(&key(&id));
    Ok(no_content())
}

/// `POST /registrations/{group}/query`: the records of a group's devices. There is no body.
pub(crate) async fn query(
    State(world): State<Shared>,
    Path(group): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let group = key(&group);
    let request = world.pager.request(&headers, &format!("registrations {group}"))?;
    let dps = lock(&world.dps);
    dps.enrollment(Kind::Group, &group)?;
    let records = dps
        .registrations
        .after(request.after)
        .filter(|(_, registration)| registration.group.as_deref() == Some(group.as_str()))
        .map(|(sequence, registration)| (sequence, json!(registration.state)));
    let page = world.pager.page(&request, records);
    Ok(page_response(page, request.size, "DeviceRegistration"))
}
