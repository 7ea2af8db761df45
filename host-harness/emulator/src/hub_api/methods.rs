//! Direct methods.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;

use crate::error::ServiceError;
use crate::operations::methods::call;
use crate::records::method::{MethodBody, MethodTarget};
use crate::web::answer::ok;
use crate::web::request::JsonBody;
use crate::world::{Shared, World};

/// `POST /twins/{id}/methods`.
pub(crate) async fn invoke(
    State(world): State<Shared>,
    Path(device): Path<String>,
    JsonBody(body): JsonBody<MethodBody>,
) -> Result<Response, ServiceError> {
    run(&world, MethodTarget { device, module: None }, body).await
}

/// `POST /twins/{id}/modules/{module}/methods`.
pub(crate) async fn invoke_module(
    State(world): State<Shared>,
    Path((device, module)): Path<(String, String)>,
    JsonBody(body): JsonBody<MethodBody>,
) -> Result<Response, ServiceError> {
    run(&world, MethodTarget { device, module: Some(module) }, body).await
}

async fn run(world: &World, target: MethodTarget, body: MethodBody) -> Result<Response, ServiceError> {
    let (status, payload) = call(world, target, body).await?;
    Ok(ok(&json!({ "status": status, "payload": payload })))
}
