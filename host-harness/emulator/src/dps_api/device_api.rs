//! The registration API that devices call.
//!
//! Over HTTPS only symmetric keys can be used: the emulator asks for no client certificates and has no TPM challenge.
//! In process ([`crate::DeviceSide`]) every type of attestation can be used.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use crate::error::{ErrorCode, ServiceError};
use crate::operations::registration::{Proof, attest, register};
use crate::sync::lock;
use crate::token::{Token, unauthorized};
use crate::web::answer::json_response;
use crate::world::{Shared, World};

/// How many seconds a device should wait before it asks again; DPS says 3.
const RETRY_AFTER: u64 = 3;

pub(crate) fn token(world: &World, scope: &str, id: &str, headers: &HeaderMap) -> Result<Token, ServiceError> {
    if !scope.eq_ignore_ascii_case(&world.options.id_scope) {
        return Err(unauthorized());
    }
    let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(unauthorized)?;
    let token = Token::parse(text)?;
    // Here a token's resource begins with the id scope, not with a host name.
    let path = ["registrations", id].map(str::to_owned);
    token.covers(std::slice::from_ref(&world.options.id_scope), &path)?;
    Ok(token)
}

/// `PUT /{idScope}/registrations/{id}/register`.
pub(crate) async fn put(
    State(world): State<Shared>,
    Path((scope, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let token = token(&world, &scope, &id, &headers)?;
    let (_, operation) = register(&world, &id, &Proof::Token(&token))?;
    let body = json!({ "operationId": operation, "status": "assigning" });
    let mut response = json_response(StatusCode::ACCEPTED, None, &body);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
    Ok(response)
}

/// `GET /{idScope}/registrations/{id}/operations/{operation}`.
pub(crate) async fn operation(
    State(world): State<Shared>,
    Path((scope, id, operation)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let token = token(&world, &scope, &id, &headers)?;
    let dps = lock(&world.dps);
    attest(&dps, &world, &id, &Proof::Token(&token))?;
    let registration = dps.registration(&id)?;
    if registration.operation != operation {
        return Err(ServiceError::new(ErrorCode::OPERATION_NOT_FOUND, "there is no such operation"));
    }
    let state = &registration.state;
    let body = json!({ "operationId": operation, "status": state.status, "registrationState": state });
    Ok(json_response(StatusCode::OK, None, &body))
}

/// `POST /{idScope}/registrations/{id}`: the device asks for its own record.
pub(crate) async fn lookup(
    State(world): State<Shared>,
    Path((scope, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let token = token(&world, &scope, &id, &headers)?;
    let dps = lock(&world.dps);
    attest(&dps, &world, &id, &Proof::Token(&token))?;
    Ok(json_response(StatusCode::OK, None, &json!(dps.registration(&id)?.state)))
}
