//! The service API of the Device Provisioning Service, version 2021-10-01: enrollments and registrations. Enrollments
//! are read and changed at version 2026-11-01 if the service supports it.

mod bulk;
mod secrets;
mod types;

pub use crate::secret::{HIDDEN, without_secrets};
pub use bulk::{BulkMode, LARGEST_BULK, Refusals};
pub use secrets::{secrets, shown};
pub use types::{Kind, RegistrationId};

use serde_json::{Value, json};

use crate::auth::Permission;
use crate::error::{EffectState, Result};
use crate::host_name;
use crate::http::{Client, IfMatch, Page, PathId, Request, Response, Safety, Tagged, UnreadPage, whole};
use crate::platform::Method;

/// The query for all individual enrollments.
pub const ALL_ENROLLMENTS: &str = "SELECT * FROM enrollments";
/// The versions at which enrollments are read, the newest first. Version 2026-11-01 added
/// [`CERTIFICATE_MEMBERS`]: an older version does not show these members, and a PUT at an older version may clear them.
const ENROLLMENT_VERSIONS: &[&str] = &["2026-11-01", "2021-10-01"];
/// The members of an enrollment that concern certificates which Azure Device Registry can issue to the device.
pub const CERTIFICATE_MEMBERS: [&str; 3] = ["namespaceName", "certificateAuthorityName", "certificatePolicyName"];
/// The query for all enrollment groups.
pub const ALL_ENROLLMENT_GROUPS: &str = "SELECT * FROM enrollmentGroups";

/// The Device Provisioning Service, for one call.
pub struct Dps<'a> {
    client: &'a Client<'a>,
}

impl<'a> Dps<'a> {
    /// The service that a client sends to.
    pub fn new(client: &'a Client<'a>) -> Self {
        Self { client }
    }

    /// The host name that identifies the service in events. It is the same for each of the service's host names.
    pub fn identity(&self) -> String {
        host_name::identity(&self.client.api().host)
    }

    /// Sends a request that only one operation makes. Requests that several callers make have a method here. The secrets
    /// in the request's body are removed from errors.
    ///
    /// # Errors
    /// The errors of the service.
    pub fn send(&self, request: &Request) -> Result<Response> {
        let secrets = request.body().map(secrets).unwrap_or_default();
        self.client.send(request).map_err(|error| error.without(&secrets))
    }

    /// Sends a request whose answer is a document.
    ///
    /// # Errors
    /// The errors of the service; `protocol` where the answer is not a JSON object.
    pub fn document(&self, request: &Request) -> Result<Tagged> {
        Tagged::from_response(&self.send(request)?)
    }

    /// An enrollment of either kind.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn read(&self, kind: Kind, id: &impl PathId) -> Result<Tagged> {
        let segments = [kind.collection(), id.as_str()];
        let request =
            Request::new(Method::Get, segments, Safety::Read, Permission::EnrollmentRead).first_of(ENROLLMENT_VERSIONS);
        Tagged::from_response(&self.client.send(&request)?)
    }

    /// The attestation of an enrollment, including its keys.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn attestation(&self, kind: Kind, id: &RegistrationId) -> Result<Value> {
        let segments = [kind.collection(), id.as_str(), "attestationmechanism"];
        let request = Request::new(Method::Post, segments, Safety::Read, Permission::EnrollmentWrite);
        Tagged::from_response(&self.client.send(&request)?).map(|found| found.document)
    }

    /// Creates an enrollment that was not read before in this call.
    ///
    /// # Errors
    /// `conflict`; `unsupported` where the enrollment has [`CERTIFICATE_MEMBERS`] and the service does not support
    /// them; the errors of the service.
    pub fn create(&self, kind: Kind, id: &RegistrationId, enrollment: Value) -> Result<Tagged> {
        let mut request =
            Request::new(Method::Put, [kind.collection(), id.as_str()], Safety::Once, Permission::EnrollmentWrite);
        if has_certificate_members(&enrollment) {
            request = request.at(ENROLLMENT_VERSIONS[0]);
        }
        self.write(request, enrollment)
    }

    /// Creates an enrollment (`if_match` none) or replaces one, after [`Self::read`] was called for it in the same call.
    /// It is written at the version that it was read at, so that no member is lost.
    ///
    /// # Errors
    /// `conflict`, `precondition-failed`, and the errors of the service.
    pub fn put(
        &self,
        kind: Kind,
        id: &RegistrationId,
        enrollment: Value,
        if_match: Option<&IfMatch>,
    ) -> Result<Tagged> {
        let safety = if_match.map_or(Safety::Once, IfMatch::safety);
        let segments = [kind.collection(), id.as_str()];
        let mut request = Request::new(Method::Put, segments, safety, Permission::EnrollmentWrite)
            .at(self.client.spoken(ENROLLMENT_VERSIONS));
        if let Some(if_match) = if_match {
            request = request.header("if-match", if_match);
        }
        self.write(request, enrollment)
    }

    /// Sends an enrollment. Its secrets are removed from errors, even if the service repeats them.
    fn write(&self, request: Request, enrollment: Value) -> Result<Tagged> {
        whole(&enrollment)?;
        self.document(&request.json(enrollment))
    }

    /// Creates, changes or deletes up to [`LARGEST_BULK`] enrollments in one request. The service judges each of them
    /// by itself. Enrollments that were read before in this call are written at the version that they were read at;
    /// [`CERTIFICATE_MEMBERS`] of new ones need the newest version.
    ///
    /// # Errors
    /// The errors of the service for the whole request; `effect` is unknown where it may have been carried out.
    pub fn bulk(&self, kind: Kind, mode: BulkMode, enrollments: &[&Value]) -> Result<Refusals> {
        enrollments.iter().try_for_each(|enrollment| whole(enrollment))?;
        let newest = enrollments.iter().any(|enrollment| has_certificate_members(enrollment));
        let mut request = Request::new(Method::Post, [kind.collection()], Safety::Once, Permission::EnrollmentWrite);
        match mode {
            BulkMode::UpdateIfMatchEtag => request = request.at(self.client.spoken(ENROLLMENT_VERSIONS)),
            BulkMode::Create if newest => request = request.at(ENROLLMENT_VERSIONS[0]),
            BulkMode::Create | BulkMode::Delete => {}
        }
        let request = request.json(json!({ kind.collection(): enrollments, "mode": mode.as_str() }));
        let response = self.send(&request)?;
        let refusals = response.json().and_then(|result| {
            let refusals = Refusals::read(kind, &result, enrollments);
            refusals.ok_or_else(|| response.unexpected("the result of a bulk operation"))
        });
        // Without a result it is not known which of the enrollments the service has taken.
        refusals.map_err(|error| error.with_effect(EffectState::Unknown))
    }

    /// Whether the service supports [`CERTIFICATE_MEMBERS`], as far as this call has found out.
    pub fn knows_certificates(&self) -> bool {
        self.client.spoken(ENROLLMENT_VERSIONS) == ENROLLMENT_VERSIONS[0]
    }

    /// Deletes an enrollment.
    ///
    /// # Errors
    /// `precondition-failed`, `not-found`, and the errors of the service.
    pub fn delete_enrollment(&self, kind: Kind, id: &RegistrationId, if_match: &IfMatch) -> Result<()> {
        self.delete(kind.collection(), id, if_match, Permission::EnrollmentWrite)
    }

    /// One page of the enrollments that a query selects.
    ///
    /// # Errors
    /// `invalid-input` where the service does not understand the query or does not know the continuation, and the
    /// errors of the service.
    pub fn enrollments(&self, kind: Kind, query: &str, page_size: u32, continuation: Option<&str>) -> Result<Page> {
        self.enrollments_unread(kind, query, page_size, continuation)?.read()
    }

    /// As [`Self::enrollments`], but nothing of the page is read yet.
    ///
    /// # Errors
    /// As [`Self::enrollments`].
    pub fn enrollments_unread(
        &self,
        kind: Kind,
        query: &str,
        page_size: u32,
        continuation: Option<&str>,
    ) -> Result<UnreadPage> {
        let request = Self::query(kind.collection(), query).first_of(ENROLLMENT_VERSIONS);
        self.client.send(&Page::asked(request, page_size, continuation)).map(UnreadPage::new)
    }

    /// One page of the individual enrollments that a query selects.
    ///
    /// # Errors
    /// As [`Self::enrollments`].
    pub fn query_enrollments(&self, query: &str, page_size: u32, continuation: Option<&str>) -> Result<Page> {
        self.enrollments(Kind::Individual, query, page_size, continuation)
    }

    /// One page of the enrollment groups that a query selects, at the version that every service supports: for callers
    /// that need the groups' ids only.
    ///
    /// # Errors
    /// As [`Self::enrollments`].
    pub fn query_enrollment_groups(&self, query: &str, page_size: u32, continuation: Option<&str>) -> Result<Page> {
        let request = Self::query("enrollmentGroups", query);
        Page::from_response(&self.client.send(&Page::asked(request, page_size, continuation))?)
    }

    /// The state of a registration.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn registration(&self, id: &impl PathId) -> Result<Tagged> {
        let request =
            Request::new(Method::Get, ["registrations", id.as_str()], Safety::Read, Permission::RegistrationStatusRead);
        Tagged::from_response(&self.client.send(&request)?)
    }

    /// Deletes the state of a registration, after which the device must register again.
    ///
    /// # Errors
    /// `precondition-failed`, `not-found`, and the errors of the service.
    pub fn delete_registration(&self, id: &RegistrationId, if_match: &IfMatch) -> Result<()> {
        self.delete("registrations", id, if_match, Permission::RegistrationStatusWrite)
    }

    /// One page of the registrations of an enrollment group.
    ///
    /// # Errors
    /// `not-found` where the enrollment group does not exist, and the errors of the service.
    pub fn query_registrations(&self, group: &impl PathId, page_size: u32, continuation: Option<&str>) -> Result<Page> {
        let request = Request::new(
            Method::Post,
            ["registrations", group.as_str(), "query"],
            Safety::Read,
            Permission::RegistrationStatusRead,
        );
        Page::from_response(&self.client.send(&Page::asked(request, page_size, continuation))?)
    }

    fn query(collection: &str, query: &str) -> Request {
        Request::new(Method::Post, [collection, "query"], Safety::Read, Permission::EnrollmentRead)
            .json(json!({ "query": query }))
    }

    fn delete(&self, collection: &str, id: &RegistrationId, if_match: &IfMatch, permission: Permission) -> Result<()> {
        let request = Request::new(Method::Delete, [collection, id.as_str()], Safety::Repeatable, permission)
            .header("if-match", if_match);
        self.client.send(&request).map(drop)
    }
}

fn has_certificate_members(enrollment: &Value) -> bool {
    CERTIFICATE_MEMBERS.iter().any(|member| enrollment.get(member).is_some())
}

/// Whether an enrollment uses symmetric keys.
pub fn has_symmetric_keys(enrollment: &Value) -> bool {
    enrollment.pointer("/attestation/type").and_then(Value::as_str) == Some("symmetricKey")
}
