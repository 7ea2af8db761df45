//! The service API of the Device Provisioning Service, version 2021-10-01: enrollments and registrations. Individual
//! enrollments are read and changed at version 2026-11-01 if the service supports it.

mod secrets;
mod types;

pub use secrets::{HIDDEN, shown, without_secrets};
pub use types::RegistrationId;

use serde_json::{Value, json};

use crate::auth::Permission;
use crate::error::Result;
use crate::host_name;
use crate::http::{Client, IfMatch, Page, PathId, Request, Response, Safety, Tagged, whole};
use crate::platform::Method;

/// The query for all individual enrollments.
pub const ALL_ENROLLMENTS: &str = "SELECT * FROM enrollments";
/// The versions at which individual enrollments are read, the newest first. Version 2026-11-01 added
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
        let secrets = request.body().map(secrets::secrets).unwrap_or_default();
        self.client.send(request).map_err(|error| error.without(&secrets))
    }

    /// Sends a request whose answer is a document.
    ///
    /// # Errors
    /// The errors of the service; `protocol` where the answer is not a JSON object.
    pub fn document(&self, request: &Request) -> Result<Tagged> {
        Tagged::from_response(&self.send(request)?)
    }

    /// Sends a request whose answer is a page of records.
    ///
    /// # Errors
    /// The errors of the service; `protocol` where the answer is not a list of objects.
    pub fn page(&self, request: &Request) -> Result<Page> {
        Page::from_response(&self.send(request)?)
    }

    /// An individual enrollment.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn enrollment(&self, id: &impl PathId) -> Result<Tagged> {
        let request = Request::new(Method::Get, ["enrollments", id.as_str()], Safety::Read, Permission::EnrollmentRead)
            .first_of(ENROLLMENT_VERSIONS);
        Tagged::from_response(&self.client.send(&request)?)
    }

    /// The attestation of an individual enrollment's device, including its keys.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn attestation(&self, id: &RegistrationId) -> Result<Value> {
        let segments = ["enrollments", id.as_str(), "attestationmechanism"];
        let request = Request::new(Method::Post, segments, Safety::Read, Permission::EnrollmentWrite);
        Tagged::from_response(&self.client.send(&request)?).map(|found| found.document)
    }

    /// Creates an individual enrollment that was not read before in this call.
    ///
    /// # Errors
    /// `conflict`; `unsupported` where the enrollment has [`CERTIFICATE_MEMBERS`] and the service does not support
    /// them; the errors of the service.
    pub fn create_enrollment(&self, id: &RegistrationId, enrollment: Value) -> Result<Tagged> {
        let newest = CERTIFICATE_MEMBERS.iter().any(|member| enrollment.get(member).is_some());
        let mut request =
            Request::new(Method::Put, ["enrollments", id.as_str()], Safety::Once, Permission::EnrollmentWrite);
        if newest {
            request = request.at(ENROLLMENT_VERSIONS[0]);
        }
        self.write(request, enrollment)
    }

    /// Creates an individual enrollment (`if_match` none) or replaces one, after [`Self::enrollment`] was called for it
    /// in the same call. It is written at the version that it was read at, so that no member is lost.
    ///
    /// # Errors
    /// `conflict`, `precondition-failed`, and the errors of the service.
    pub fn put_enrollment(&self, id: &RegistrationId, enrollment: Value, if_match: Option<&IfMatch>) -> Result<Tagged> {
        let safety = if_match.map_or(Safety::Once, IfMatch::safety);
        let mut request = Request::new(Method::Put, ["enrollments", id.as_str()], safety, Permission::EnrollmentWrite)
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

    /// Whether the service supports [`CERTIFICATE_MEMBERS`], as far as this call has found out.
    pub fn knows_certificates(&self) -> bool {
        self.client.spoken(ENROLLMENT_VERSIONS) == ENROLLMENT_VERSIONS[0]
    }

    /// Deletes an individual enrollment.
    ///
    /// # Errors
    /// `precondition-failed`, `not-found`, and the errors of the service.
    pub fn delete_enrollment(&self, id: &RegistrationId, if_match: &IfMatch) -> Result<()> {
        self.delete("enrollments", id, if_match, Permission::EnrollmentWrite)
    }

    /// One page of the individual enrollments that a query selects.
    ///
    /// # Errors
    /// `invalid-input` where the service does not understand the query or does not know the continuation, and the
    /// errors of the service.
    pub fn query_enrollments(&self, query: &str, page_size: u32, continuation: Option<&str>) -> Result<Page> {
        let request = Self::query("enrollments", query).first_of(ENROLLMENT_VERSIONS);
        Page::from_response(&self.client.send(&Page::asked(request, page_size, continuation))?)
    }

    /// One page of the enrollment groups that a query selects.
    ///
    /// # Errors
    /// As [`Self::query_enrollments`].
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

/// Whether an enrollment's device uses symmetric keys.
pub fn has_symmetric_keys(enrollment: &Value) -> bool {
    enrollment.pointer("/attestation/type").and_then(Value::as_str) == Some("symmetricKey")
}
