//! Individual enrollments and enrollment groups: the same operations, at `/enrollments` and at `/enrollmentGroups`.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::any_case::any_case;
use crate::dps::enrollment::EnrollmentBody;
use crate::dps::kind::{Kind, key};
use crate::dps::provisioning::Dps;
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag::Precondition;
use crate::paging;
use crate::query_page::{parse_query, row_start, select};
use crate::sync::lock;
use crate::versions::At;
use crate::web::answer::{json_response, no_content, ok};
use crate::web::request::JsonBody;
use crate::world::{Shared, World};

const MAX_BULK: usize = 10;

/// A kind of enrollment as a type parameter, so that one handler serves the routes of both kinds.
pub(super) trait OfKind: 'static {
    const KIND: Kind;
}

/// The kind of `/enrollments`.
pub(super) struct Individual;

/// The kind of `/enrollmentGroups`.
pub(super) struct Group;

impl OfKind for Individual {
    const KIND: Kind = Kind::Individual;
}

impl OfKind for Group {
    const KIND: Kind = Kind::Group;
}

/// A bulk request of either kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BulkBody {
    #[serde(alias = "enrollmentGroups")]
    enrollments: Vec<EnrollmentBody>,
    #[serde(deserialize_with = "any_case")]
    mode: BulkMode,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum BulkMode {
    Create,
    Update,
    #[serde(rename = "updateIfMatchETag")]
    UpdateIfMatchEtag,
    Delete,
}

#[derive(Debug, Deserialize)]
pub(super) struct QueryBody {
    query: Option<String>,
}

/// `GET /{kind}/{id}`.
pub(super) async fn get<K: OfKind>(
    State(world): State<Shared>,
    at: At,
    Path(id): Path<String>,
) -> Result<Response, ServiceError> {
    render(&world, K::KIND, &id, at)
}

fn render(world: &World, kind: Kind, id: &str, at: At) -> Result<Response, ServiceError> {
    let dps = lock(&world.dps);
    let enrollment = dps.enrollment(kind, id)?;
    Ok(json_response(StatusCode::OK, Some(&enrollment.etag), &dps.to_json(kind, enrollment, at)))
}

/// `PUT /{kind}/{id}`. Without `If-Match` it creates an enrollment, and answers 409 when the enrollment exists. Clients
/// that want to update send the ETag or `*` (the Azure CLI sends `*` by default).
pub(super) async fn put<K: OfKind>(
    State(world): State<Shared>,
    at: At,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<EnrollmentBody>,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    lock(&world.dps).put(K::KIND, &id, body, &precondition, at)?;
    render(&world, K::KIND, &id, at)
}

/// `DELETE /{kind}/{id}`.
pub(super) async fn delete<K: OfKind>(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    lock(&world.dps).delete(K::KIND, &id, &precondition)?;
    Ok(no_content())
}

/// `POST /{kind}/{id}/attestationmechanism`: the only operation that returns keys.
pub(super) async fn attestation<K: OfKind>(
    State(world): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, ServiceError> {
    let dps = lock(&world.dps);
    Ok(ok(&json!(dps.enrollment(K::KIND, &id)?.attestation)))
}

/// `POST /{kind}/query`.
pub(super) async fn query<K: OfKind>(
    State(world): State<Shared>,
    at: At,
    headers: HeaderMap,
    JsonBody(body): JsonBody<QueryBody>,
) -> Result<Response, ServiceError> {
    let kind = K::KIND;
    let text = body
        .query
        .ok_or_else(|| ServiceError::new(ErrorCode::ARGUMENT_NULL, "the query specification has no query"))?;
    let (source, item_type) = match kind {
        Kind::Individual => ("enrollments", "Enrollment"),
        Kind::Group => ("enrollmentgroups", "EnrollmentGroup"),
    };
    // The samples of the Node.js client ask for everything in this way.
    let all = text.trim() == "*";
    let query = parse_query(if all { "SELECT *" } else { &text }, Some(source))?;
    if query.source != source {
        return Err(invalid(format!("the collection must be '{source}', not '{}'", query.source)));
    }
    let request = world.pager.request(&headers, &format!("{source} {text}"))?;
    let dps = lock(&world.dps);
    let enrollments = dps.store(kind).after(row_start(&query, request.after));
    let page = select(
        &world.pager,
        &query,
        &request,
        enrollments.map(|(sequence, enrollment)| (sequence, dps.to_json(kind, enrollment, at))),
    );
    Ok(page_response(page, request.size, item_type))
}

/// A page with the three headers that DPS declares.
pub(super) fn page_response(page: paging::Page<Value>, size: usize, item_type: &'static str) -> Response {
    let mut response = ok(&Value::Array(page.items));
    paging::write_headers(response.headers_mut(), item_type, page.continuation.as_deref());
    response.headers_mut().insert("x-ms-max-item-count", HeaderValue::from(size));
    response
}

/// `POST /{kind}`: a bulk operation. Each entry is handled by itself; the status is 200 even when some entries failed.
pub(super) async fn bulk<K: OfKind>(
    State(world): State<Shared>,
    at: At,
    JsonBody(body): JsonBody<BulkBody>,
) -> Result<Response, ServiceError> {
    let kind = K::KIND;
    if body.enrollments.is_empty() || body.enrollments.len() > MAX_BULK {
        return Err(ServiceError::new(
            ErrorCode::TOO_MANY_ENROLLMENTS,
            format!("a bulk request must hold 1 to {MAX_BULK} enrollments, not {}", body.enrollments.len()),
        ));
    }
    let mut dps = lock(&world.dps);
    let mut seen = std::collections::HashSet::new();
    let mut errors = Vec::new();
    for entry in body.enrollments {
        let id = match kind {
            Kind::Individual => entry.registration_id.clone(),
            Kind::Group => entry.enrollment_group_id.clone(),
        }
        .unwrap_or_default();
        let outcome = if seen.insert(key(&id)) {
            bulk_entry(&mut dps, kind, body.mode, &id, entry, at)
        } else {
            Err(ServiceError::new(
                ErrorCode::REGISTRATION_ID_DEFINED_MULTIPLE_TIMES,
                "the id is in the list more than once",
            ))
        };
        if let Err(error) = outcome {
            errors.push(json!({
                kind.id_member(): id,
                "errorCode": error.code().number(),
                "errorStatus": error.message(),
            }));
        }
    }
    Ok(ok(&json!({ "isSuccessful": errors.is_empty(), "errors": errors })))
}

fn bulk_entry(
    dps: &mut Dps,
    kind: Kind,
    mode: BulkMode,
    id: &str,
    entry: EnrollmentBody,
    at: At,
) -> Result<(), ServiceError> {
    let etag = entry.etag.as_deref().map_or(Precondition::None, Precondition::from_text);
    match mode {
        BulkMode::Create => dps.put(kind, id, entry, &Precondition::None, at),
        BulkMode::Update => dps.put(kind, id, entry, &Precondition::Any, at),
        BulkMode::UpdateIfMatchEtag if etag == Precondition::None => {
            Err(invalid("the mode updateIfMatchETag needs an etag in every entry"))
        }
        BulkMode::UpdateIfMatchEtag => dps.put(kind, id, entry, &etag, at),
        BulkMode::Delete => dps.delete(kind, id, &etag),
    }
}
