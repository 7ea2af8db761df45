//! Enrollments of both kinds: they differ in two members and the name of their id.
//!
//! Keys of symmetric-key attestations appear in the answer of `attestationmechanism` only; GET, PUT and query leave
//! them out, so that a policy that may read enrollments cannot impersonate devices. A PUT that leaves them out keeps
//! the ones on record (a client that changes what it has read must not change the keys), or makes new ones. The same
//! holds for certificates, which are answered by their descriptions.

use std::fmt;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::Dps;
use super::certificate_info::{self, CertificateInfo};
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag::{self, Precondition, Write};
use crate::hub::twins::{Change, PropertiesBody, Twin, TwinBody};
use crate::hub::{parse_query, row_start, select};
use crate::journal::{ChangeKind, rfc3339};
use crate::paging;
use crate::random;
use crate::server::{json_response, ok};
use crate::store::Store;
use crate::versions::At;
use crate::world::{World, lock, now};

const MAX_BULK: usize = 10;
const KEY_BYTES: usize = 64;

/// The two kinds of enrollments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Individual,
    Group,
}

/// A stored enrollment.
#[derive(Clone, Debug)]
pub(super) struct Enrollment {
    pub(super) id: String,
    pub(super) body: EnrollmentBody,
    pub(super) attestation: Attestation,
    pub(super) created: OffsetDateTime,
    updated: OffsetDateTime,
    etag: String,
}

/// An enrollment as clients send it; read-only members are ignored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EnrollmentBody {
    #[serde(skip_serializing)]
    registration_id: Option<String>,
    #[serde(skip_serializing)]
    enrollment_group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    optional_device_information: Option<Map<String, Value>>,
    #[serde(skip_serializing)]
    attestation: Option<Attestation>,
    pub(super) capabilities: Capabilities,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) iot_hub_host_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) initial_twin: Option<InitialTwin>,
    #[serde(skip_serializing)]
    etag: Option<String>,
    pub(super) provisioning_status: ProvisioningStatus,
    pub(super) reprovision_policy: ReprovisionPolicy,
    pub(super) allocation_policy: AllocationPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) iot_hubs: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_allocation_definition: Option<CustomAllocation>,
    #[serde(flatten)]
    certificates: CertificateNames,
}

/// What version 2026-11-01 added: where devices have their certificates issued.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CertificateNames {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_policy_name: Option<String>,
}

impl CertificateNames {
    /// The lengths and patterns of the API's description.
    fn check(&self) -> Result<(), ServiceError> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let authority_or_policy = |name: &str| {
            (3..=63).contains(&name.len())
                && name.bytes().all(inner)
                && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        };
        let namespace = |name: &str| {
            (3..=64).contains(&name.len())
                && name.bytes().all(|byte| lower(byte) || byte == b'-')
                && name.bytes().next().is_some_and(lower)
                && name.bytes().next_back().is_some_and(lower)
        };
        let is_bad = |name: &Option<String>, fits: &dyn Fn(&str) -> bool| name.as_deref().is_some_and(|it| !fits(it));
        for (member, bad) in [
            ("namespaceName", is_bad(&self.namespace_name, &namespace)),
            ("certificateAuthorityName", is_bad(&self.certificate_authority_name, &authority_or_policy)),
            ("certificatePolicyName", is_bad(&self.certificate_policy_name, &authority_or_policy)),
        ] {
            if bad {
                return Err(invalid(format!("{member} does not fit the pattern of such a name")));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Capabilities {
    pub(super) iot_edge: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct InitialTwin {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tags: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) properties: Option<InitialProperties>,
}

impl InitialTwin {
    /// What the hub is asked to write.
    pub(super) fn into_twin(self) -> TwinBody {
        let desired = self.properties.and_then(|properties| properties.desired);
        let properties = desired.map(|desired| PropertiesBody { desired: Some(desired) });
        TwinBody { tags: self.tags, properties }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct InitialProperties {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) desired: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ProvisioningStatus {
    #[default]
    Enabled,
    Disabled,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ReprovisionPolicy {
    pub(super) update_hub_assignment: bool,
    pub(super) migrate_device_data: bool,
}

impl Default for ReprovisionPolicy {
    fn default() -> Self {
        Self { update_hub_assignment: true, migrate_device_data: true }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum AllocationPolicy {
    #[default]
    Hashed,
    GeoLatency,
    Static,
    Custom,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CustomAllocation {
    webhook_url: String,
    api_version: String,
}

/// How devices prove who they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attestation {
    #[serde(rename = "type")]
    pub(super) kind: AttestationType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tpm: Option<Tpm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) x509: Option<X509>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) symmetric_key: Option<SymmetricKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum AttestationType {
    None,
    Tpm,
    X509,
    SymmetricKey,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tpm {
    pub(super) endorsement_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage_root_key: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct X509 {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_certificates: Option<Certificates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signing_certificates: Option<Certificates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca_references: Option<CaReferences>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Certificates {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) primary: Option<Certificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secondary: Option<Certificate>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Certificate {
    #[serde(skip_serializing)]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) info: Option<CertificateInfo>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CaReferences {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) primary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secondary: Option<String>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SymmetricKey {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) primary_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secondary_key: Option<String>,
}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SymmetricKey(redacted)")
    }
}

/// A bulk request of either kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BulkBody {
    #[serde(alias = "enrollmentGroups")]
    enrollments: Vec<EnrollmentBody>,
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

impl Kind {
    fn id_member(self) -> &'static str {
        match self {
            Self::Individual => "registrationId",
            Self::Group => "enrollmentGroupId",
        }
    }

    fn bad_id(self) -> ErrorCode {
        match self {
            Self::Individual => ErrorCode::INVALID_REGISTRATION_ID,
            Self::Group => ErrorCode::INVALID_ENROLLMENT_GROUP_ID,
        }
    }

    fn missing(self, id: &str) -> ServiceError {
        match self {
            Self::Individual => {
                ServiceError::new(ErrorCode::ENROLLMENT_NOT_FOUND, format!("Enrollment {id} not found"))
            }
            Self::Group => {
                ServiceError::new(ErrorCode::ENROLLMENT_GROUP_NOT_FOUND, format!("Enrollment group {id} not found"))
            }
        }
    }

    fn conflict(self, id: &str) -> ServiceError {
        let (code, what) = match self {
            Self::Individual => (ErrorCode::ENROLLMENT_CONFLICT, "Enrollment"),
            Self::Group => (ErrorCode::ENROLLMENT_GROUP_CONFLICT, "Enrollment group"),
        };
        ServiceError::new(code, format!("{what} {id} already exists. Use an If-Match header to update it"))
    }

    fn changes(self) -> [ChangeKind; 3] {
        match self {
            Self::Individual => {
                [ChangeKind::EnrollmentCreated, ChangeKind::EnrollmentUpdated, ChangeKind::EnrollmentDeleted]
            }
            Self::Group => [
                ChangeKind::EnrollmentGroupCreated,
                ChangeKind::EnrollmentGroupUpdated,
                ChangeKind::EnrollmentGroupDeleted,
            ],
        }
    }
}

/// Ids of DPS are case-insensitive.
pub(super) fn key(id: &str) -> String {
    id.to_ascii_lowercase()
}

/// 128 characters at most, letters and digits and `: . _ -`. The first is a letter or digit, as the API's description has
/// it; the last may be a dash as well, as the articles on the service have it.
pub(super) fn check_id(kind: Kind, id: &str) -> Result<(), ServiceError> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b":._-".contains(&byte);
    let bytes = id.as_bytes();
    let begins = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    let ends = bytes.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    if bytes.len() <= 128 && begins && ends && bytes.iter().copied().all(inner) {
        return Ok(());
    }
    let member = kind.id_member();
    Err(ServiceError::new(
        kind.bad_id(),
        format!(
            "{member} '{id}' must have 1 to 128 ASCII letters, digits or any of ':', '.', '_', '-', with a letter or digit \
             first and a letter, digit or '-' last"
        ),
    ))
}

impl Attestation {
    /// Checks an attestation and fills in what the client may leave out.
    fn complete(mut self, kind: Kind, existing: Option<&Attestation>) -> Result<Self, ServiceError> {
        let existing = existing.filter(|existing| existing.kind == self.kind);
        match self.kind {
            AttestationType::None => {
                return Err(invalid("the attestation type 'none' cannot be used for an enrollment"));
            }
            AttestationType::Tpm => {
                let tpm = self.tpm.as_ref().filter(|_| kind == Kind::Individual);
                let tpm = tpm.ok_or_else(|| invalid("TPM attestation needs a tpm member, and no group can have it"))?;
                if !STANDARD.decode(&tpm.endorsement_key).is_ok_and(|key| !key.is_empty()) {
                    return Err(ServiceError::new(
                        ErrorCode::INVALID_ENDORSEMENT_KEY,
                        "the endorsement key must be base64",
                    ));
                }
                (self.x509, self.symmetric_key) = (None, None);
            }
            AttestationType::X509 => {
                let mut x509 = self.x509.unwrap_or_default();
                let old = existing.and_then(|existing| existing.x509.clone()).unwrap_or_default();
                complete_certificates(&mut x509.client_certificates, old.client_certificates)?;
                complete_certificates(&mut x509.signing_certificates, old.signing_certificates)?;
                let own = match kind {
                    Kind::Individual => &x509.client_certificates,
                    Kind::Group => &x509.signing_certificates,
                };
                if own.is_none() && x509.ca_references.is_none() {
                    return Err(invalid(match kind {
                        Kind::Individual => "X.509 attestation of a device needs clientCertificates or caReferences",
                        Kind::Group => "X.509 attestation of a group needs signingCertificates or caReferences",
                    }));
                }
                self.x509 = Some(x509);
                (self.tpm, self.symmetric_key) = (None, None);
            }
            AttestationType::SymmetricKey => {
                let given = self.symmetric_key.unwrap_or_default();
                let old = existing.and_then(|existing| existing.symmetric_key.clone()).unwrap_or_default();
                for key in [&given.primary_key, &given.secondary_key].into_iter().flatten() {
                    if !STANDARD.decode(key).is_ok_and(|key| (16..=64).contains(&key.len())) {
                        return Err(invalid("a symmetric key must be 16 to 64 bytes in base64"));
                    }
                }
                let choose = |given: Option<String>, old: Option<String>| {
                    Some(given.or(old).unwrap_or_else(|| random::key(KEY_BYTES)))
                };
                self.symmetric_key = Some(SymmetricKey {
                    primary_key: choose(given.primary_key, old.primary_key),
                    secondary_key: choose(given.secondary_key, old.secondary_key),
                });
                (self.tpm, self.x509) = (None, None);
            }
        }
        Ok(self)
    }

    fn without_keys(&self) -> Self {
        Self { symmetric_key: self.symmetric_key.as_ref().map(|_| SymmetricKey::default()), ..self.clone() }
    }

    /// The symmetric keys, none for other types.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.symmetric_key
            .iter()
            .flat_map(|keys| [&keys.primary_key, &keys.secondary_key])
            .flatten()
            .map(String::as_str)
    }
}

fn complete_certificates(given: &mut Option<Certificates>, old: Option<Certificates>) -> Result<(), ServiceError> {
    let Some(given) = given else { return Ok(()) };
    let old = old.unwrap_or_default();
    for (given, old) in [(&mut given.primary, old.primary), (&mut given.secondary, old.secondary)] {
        let Some(certificate) = given else { continue };
        certificate.info = match &certificate.certificate {
            Some(text) => Some(certificate_info::describe(text)?),
            // What a client has read holds only the description.
            None => match old.and_then(|old| old.info) {
                Some(info) => Some(info),
                None => return Err(invalid("a certificate is missing")),
            },
        };
        certificate.certificate = None;
    }
    if given.primary.is_none() {
        return Err(invalid("the primary certificate is missing"));
    }
    Ok(())
}

impl Dps {
    pub(super) fn store(&self, kind: Kind) -> &Store<Enrollment> {
        match kind {
            Kind::Individual => &self.enrollments,
            Kind::Group => &self.groups,
        }
    }

    fn store_mut(&mut self, kind: Kind) -> &mut Store<Enrollment> {
        match kind {
            Kind::Individual => &mut self.enrollments,
            Kind::Group => &mut self.groups,
        }
    }

    pub(super) fn enrollment(&self, kind: Kind, id: &str) -> Result<&Enrollment, ServiceError> {
        self.store(kind).get(&key(id)).ok_or_else(|| kind.missing(id))
    }

    /// The enrollment as the service writes it.
    fn to_json(&self, kind: Kind, enrollment: &Enrollment, at: At) -> Value {
        let mut object = json!(enrollment.body);
        if let (false, Some(members)) = (at.has_certificates(), object.as_object_mut()) {
            let newer = ["namespaceName", "certificateAuthorityName", "certificatePolicyName"];
            members.retain(|name, _| !newer.contains(&name.as_str()));
        }
        object[kind.id_member()] = json!(enrollment.id);
        object["attestation"] = json!(enrollment.attestation.without_keys());
        object["etag"] = json!(enrollment.etag);
        object["createdDateTimeUtc"] = json!(rfc3339(enrollment.created));
        object["lastUpdatedDateTimeUtc"] = json!(rfc3339(enrollment.updated));
        if kind == Kind::Individual {
            object["registrationState"] = match self.registrations.get(&key(&enrollment.id)) {
                Some(registration) => json!(registration.state),
                // As the service shows a device that has not registered yet.
                None => json!({
                    "registrationId": enrollment.id,
                    "createdDateTimeUtc": rfc3339(enrollment.created),
                    "status": "unassigned",
                    "lastUpdatedDateTimeUtc": rfc3339(enrollment.created),
                }),
            };
        }
        object
    }

    fn put(
        &mut self,
        kind: Kind,
        id: &str,
        mut body: EnrollmentBody,
        precondition: &Precondition,
        at: At,
    ) -> Result<(), ServiceError> {
        check_id(kind, id)?;
        let member = match kind {
            Kind::Individual => &body.registration_id,
            Kind::Group => &body.enrollment_group_id,
        };
        if !member.as_ref().is_some_and(|member| member.eq_ignore_ascii_case(id)) {
            return Err(ServiceError::new(
                kind.bad_id(),
                format!("{} of the body must equal the id of the path, '{id}'", kind.id_member()),
            ));
        }
        if body.allocation_policy == AllocationPolicy::Custom && body.custom_allocation_definition.is_none() {
            return Err(invalid("the allocation policy 'custom' needs a customAllocationDefinition"));
        }
        if kind == Kind::Group {
            (body.device_id, body.optional_device_information) = (None, None);
        } else if let Some(device_id) = &body.device_id {
            crate::hub::check_id("deviceId", device_id)?;
        }
        if let Some(twin) = body.initial_twin.clone() {
            // A twin that breaks the hub's limits would make every registration fail.
            Twin::new(now()).write(twin.into_twin(), Change::Merge, now())?;
        }
        let existing = self.store(kind).get(&key(id));
        let old = existing.map(|existing| existing.body.certificates.clone());
        body.certificates = at.replace(at.has_certificates(), Some(body.certificates), old).unwrap_or_default();
        body.certificates.check()?;
        let write = precondition.decide(
            existing.map(|existing| existing.etag.as_str()),
            || kind.conflict(id),
            || kind.missing(id),
        )?;
        let attestation = match (body.attestation.take(), existing) {
            (Some(attestation), _) => attestation.complete(kind, existing.map(|existing| &existing.attestation))?,
            (None, _) => return Err(invalid("the enrollment has no attestation")),
        };
        let now = now();
        let enrollment = Enrollment {
            id: existing.map_or_else(|| id.to_owned(), |existing| existing.id.clone()),
            created: existing.map_or(now, |existing| existing.created),
            body,
            attestation,
            updated: now,
            etag: etag::fresh_quoted(),
        };
        let [created, updated, _] = kind.changes();
        let change = if write == Write::Create { created } else { updated };
        let detail = self.to_json(kind, &enrollment, At::INTERNAL);
        self.journal.append(change, enrollment.id.as_str(), Some(&enrollment.etag), detail);
        self.store_mut(kind).insert(&key(id), enrollment);
        Ok(())
    }

    /// Deletes an enrollment with the registration records that came of it.
    fn delete(&mut self, kind: Kind, id: &str, precondition: &Precondition) -> Result<(), ServiceError> {
        precondition.check(&self.enrollment(kind, id)?.etag)?;
        let Some(enrollment) = self.store_mut(kind).remove(&key(id)) else { return Ok(()) };
        self.forget_registrations(kind, &key(id));
        let [_, _, deleted] = kind.changes();
        self.journal.append(deleted, enrollment.id, Some(&enrollment.etag), Value::Null);
        Ok(())
    }
}

/// GET of either kind.
pub(super) fn get(world: &World, kind: Kind, id: &str, at: At) -> Result<Response, ServiceError> {
    let dps = lock(&world.dps);
    let enrollment = dps.enrollment(kind, id)?;
    Ok(json_response(StatusCode::OK, Some(&enrollment.etag), &dps.to_json(kind, enrollment, at)))
}

/// PUT of either kind. Without `If-Match` it creates, and answers 409 when there is one already: the clients that
/// mean to update send the ETag or `*` (the Azure CLI sends `*` by default).
pub(super) fn put(
    world: &World,
    kind: Kind,
    id: &str,
    headers: &HeaderMap,
    body: EnrollmentBody,
    at: At,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(headers)?;
    lock(&world.dps).put(kind, id, body, &precondition, at)?;
    get(world, kind, id, at)
}

/// Creates an enrollment group without HTTP, for a simulation that sets its scene.
pub(crate) fn create_group(world: &World, id: &str, body: Value) -> Result<(), ServiceError> {
    let mut body: EnrollmentBody = serde_json::from_value(body).map_err(|error| invalid(error.to_string()))?;
    body.enrollment_group_id = Some(id.to_owned());
    lock(&world.dps).put(Kind::Group, id, body, &Precondition::None, At::INTERNAL)
}

/// DELETE of either kind.
pub(super) fn delete(world: &World, kind: Kind, id: &str, headers: &HeaderMap) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(headers)?;
    lock(&world.dps).delete(kind, id, &precondition)?;
    Ok(crate::server::no_content())
}

/// `attestationmechanism` of either kind: the one place where keys are answered.
pub(super) fn attestation(world: &World, kind: Kind, id: &str) -> Result<Response, ServiceError> {
    let dps = lock(&world.dps);
    Ok(ok(&json!(dps.enrollment(kind, id)?.attestation)))
}

/// Query of either kind.
pub(super) fn query(
    world: &World,
    kind: Kind,
    headers: &HeaderMap,
    body: QueryBody,
    at: At,
) -> Result<Response, ServiceError> {
    let text = body
        .query
        .ok_or_else(|| ServiceError::new(ErrorCode::ARGUMENT_NULL, "the query specification has no query"))?;
    let (source, item_type) = match kind {
        Kind::Individual => ("enrollments", "Enrollment"),
        Kind::Group => ("enrollmentgroups", "EnrollmentGroup"),
    };
    let query = parse_query(&text, Some(source))?;
    if query.source != source {
        return Err(invalid(format!("the collection here is '{source}', not '{}'", query.source)));
    }
    let request = world.pager.request(headers, &format!("{source} {text}"))?;
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

/// Bulk operation of either kind. Entries stand alone; the status is 200 even when some failed.
pub(super) fn bulk(world: &World, kind: Kind, body: BulkBody, at: At) -> Result<Response, ServiceError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_begin_with_a_letter_or_digit_and_may_end_in_a_dash() {
        for good in ["a", "A-b.c_d:e", "0", "a-"] {
            assert!(check_id(Kind::Individual, good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a.", ".a", "a b", "ä", &"a".repeat(129)] {
            let error = check_id(Kind::Group, bad).expect_err(bad);
            assert_eq!(error.code(), ErrorCode::INVALID_ENROLLMENT_GROUP_ID);
        }
    }

    #[test]
    fn keys_are_made_kept_and_hidden() {
        let attestation =
            || Attestation { kind: AttestationType::SymmetricKey, tpm: None, x509: None, symmetric_key: None };
        let made = attestation().complete(Kind::Group, None).expect("attestation");
        assert_eq!(made.keys().count(), 2);
        let kept = attestation().complete(Kind::Group, Some(&made)).expect("attestation");
        assert!(made.keys().eq(kept.keys()));
        assert_eq!(json!(made.without_keys()), json!({"type": "symmetricKey", "symmetricKey": {}}));
        assert!(!format!("{made:?}").contains(made.keys().next().expect("key")));
    }
}
