//! Direct methods.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;

use crate::error::ServiceError;
use crate::operations::methods::call;
use crate::records::identity::Target;
use crate::records::method::MethodBody;
use crate::web::answer::ok;
use crate::web::request::JsonBody;
use crate::world::Shared;

/// `POST /twins/{id}/methods` and `POST /twins/{id}/modules/{module}/methods`.
pub(crate) async fn invoke(
    State(world): State<Shared>,
    Path(target): Path<Target>,
    JsonBody(body): JsonBody<MethodBody>,
) -> Result<Response, ServiceError> {
    let (status, payload) = call(&world, target, body).await?;
    Ok(ok(&json!({ "status": status, "payload": payload })))
}
