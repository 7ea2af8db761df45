//! The registration API that devices call.
//!
//! A device proves who it is with a token or with the certificate of its TLS connection. TPM attestation is served only
//! in process ([`crate::DeviceSide`]), because the emulator has no TPM challenge.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use crate::client_certificate::ClientCertificate;
use crate::error::ServiceError;
use crate::operations::registration::{Proof, RETRY_AFTER, attest, device_token, operation_status, register};
use crate::sync::lock;
use crate::token::{Token, unauthorized};
use crate::web::answer::json_response;
use crate::world::{Shared, World};

/// What a device proves itself with in a request.
enum Given {
    Token(Token),
    Certificate(ClientCertificate),
}

impl Given {
    fn of(
        world: &World,
        (scope, id): (&str, &str),
        headers: &HeaderMap,
        certificate: Option<Extension<ClientCertificate>>,
    ) -> Result<Self, ServiceError> {
        match (headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()), certificate) {
            (Some(text), _) => device_token(world, scope, id, text).map(Self::Token),
            (None, Some(Extension(certificate))) if scope.eq_ignore_ascii_case(&world.options.id_scope) => {
                Ok(Self::Certificate(certificate))
            }
            _ => Err(unauthorized()),
        }
    }

    fn proof(&self) -> Proof<'_> {
        match self {
            Self::Token(token) => Proof::Token(token),
            Self::Certificate(certificate) => Proof::Certificate(certificate),
        }
    }
}

/// `PUT /{idScope}/registrations/{id}/register`.
pub(crate) async fn put(
    State(world): State<Shared>,
    Path((scope, id)): Path<(String, String)>,
    headers: HeaderMap,
    certificate: Option<Extension<ClientCertificate>>,
) -> Result<Response, ServiceError> {
    let given = Given::of(&world, (&scope, &id), &headers, certificate)?;
    let (_, operation) = register(&world, &id, &given.proof())?;
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
    certificate: Option<Extension<ClientCertificate>>,
) -> Result<Response, ServiceError> {
    let given = Given::of(&world, (&scope, &id), &headers, certificate)?;
    let body = operation_status(&world, &id, &operation, &given.proof())?;
    Ok(json_response(StatusCode::OK, None, &body))
}

/// `POST /{idScope}/registrations/{id}`: the device asks for its own record.
pub(crate) async fn lookup(
    State(world): State<Shared>,
    Path((scope, id)): Path<(String, String)>,
    headers: HeaderMap,
    certificate: Option<Extension<ClientCertificate>>,
) -> Result<Response, ServiceError> {
    let given = Given::of(&world, (&scope, &id), &headers, certificate)?;
    let dps = lock(&world.dps);
    attest(&dps, &world, &id, &given.proof())?;
    Ok(json_response(StatusCode::OK, None, &json!(dps.registration(&id)?.state)))
}
