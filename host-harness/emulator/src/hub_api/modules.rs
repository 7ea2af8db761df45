//! Module identities.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag::{Precondition, Write};
use crate::records::identity::module_key;
use crate::records::module::ModuleBody;
use crate::sync::lock;
use crate::versions::At;
use crate::web::answer::{json_response, no_content, ok};
use crate::web::request::JsonBody;
use crate::world::Shared;

/// `GET /devices/{id}/modules`.
pub(crate) async fn list(
    State(world): State<Shared>,
    at: At,
    Path(id): Path<String>,
) -> Result<Response, ServiceError> {
    let hub = lock(&world.hub);
    let modules = &hub.device(&id)?.modules;
    Ok(ok(&modules
        .iter()
        .filter_map(|module| hub.modules.get(&module_key(&id, module)))
        .map(|module| module.to_json(at))
        .collect()))
}

/// `GET /devices/{id}/modules/{module}`.
pub(crate) async fn get(
    State(world): State<Shared>,
    at: At,
    Path((id, module)): Path<(String, String)>,
) -> Result<Response, ServiceError> {
    let hub = lock(&world.hub);
    let module = hub.module(&id, &module)?;
    Ok(json_response(StatusCode::OK, Some(&module.etag), &module.to_json(at)))
}

/// `PUT /devices/{id}/modules/{module}`: 201 for a new module, 200 for an update.
pub(crate) async fn put(
    State(world): State<Shared>,
    at: At,
    Path((id, module)): Path<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ModuleBody>,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    if body.device_id.as_ref().is_some_and(|body| *body != id) {
        return Err(invalid("the deviceId of the body must equal the id of the path"));
    }
    match &body.module_id {
        None => return Err(ServiceError::new(ErrorCode::ARGUMENT_NULL, "the module has no moduleId")),
        Some(module_id) if *module_id != module => {
            return Err(invalid(format!("the moduleId '{module_id}' must equal the id of the path, '{module}'")));
        }
        Some(_) => {}
    }
    let mut hub = lock(&world.hub);
    let status = match hub.put_module(&id, &module, body, &precondition, at)? {
        Write::Create => StatusCode::CREATED,
        Write::Update => StatusCode::OK,
    };
    let module = hub.module(&id, &module)?;
    Ok(json_response(status, Some(&module.etag), &module.to_json(at)))
}

/// `DELETE /devices/{id}/modules/{module}`.
pub(crate) async fn delete(
    State(world): State<Shared>,
    Path((id, module)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    lock(&world.hub).delete_module(&id, &module, &precondition)?;
    Ok(no_content())
}
