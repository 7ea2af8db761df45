//! The service API of Azure IoT Hub, version 2021-04-12: device identities, twins, queries, direct methods and
//! configurations; and the hub's endpoints for messages. Documents are passed on unchanged, so that members that this
//! code does not know are kept. To change an identity, newer versions are used if the hub supports them (`identity`).

mod feedback;
mod identity;
mod jobs;
mod query;
#[cfg(feature = "amqp")]
mod service_endpoint;
mod twin;
mod types;

pub use feedback::{FEEDBACK_MEMBERS, FEEDBACK_STATUSES, feedback_status};
pub use identity::{make_writable, needs_newer_version};
pub use jobs::{CONTAINERS, without_container_keys, without_nulls};
pub use query::text_literal;
#[cfg(feature = "amqp")]
pub use service_endpoint::{Notice, Recipient, ServiceEndpoint, ServiceQueue};
pub use twin::{TwinPart, check_patch};
pub use types::{ConfigurationId, DeviceId, Identity, ModuleId, TwinId};

use std::time::Duration;

use serde_json::{Value, json};

use crate::auth::Permission;
use crate::error::{EffectState, Result};
use crate::host_name;
use crate::http::{Client, IfMatch, Page, PathId, Request, Response, Safety, Tagged, whole};
use crate::platform::Method;

/// The largest number of configurations that a hub can have ("IoT Hub quotas and throttling"). One request asks for
/// this number.
const MOST_CONFIGURATIONS: u32 = 100;

/// An IoT hub, for one call.
pub struct IotHub<'a> {
    client: &'a Client<'a>,
}

impl<'a> IotHub<'a> {
    /// The hub that a client sends to.
    pub fn new(client: &'a Client<'a>) -> Self {
        Self { client }
    }

    /// Whether the hub accepts the key for any permission other than `refused`.
    pub fn key_is_good(&self, refused: Permission) -> bool {
        self.client.key_is_good(refused)
    }

    /// The host name that identifies the hub in events. It is the same for each of the hub's host names.
    pub fn identity(&self) -> String {
        host_name::identity(&self.client.api().host)
    }

    /// Sends a request that only one operation makes. Requests that several callers make have a method here.
    ///
    /// # Errors
    /// The errors of the service.
    pub fn send(&self, request: &Request) -> Result<Response> {
        self.client.send(request)
    }

    /// Sends a request whose answer is a document.
    ///
    /// # Errors
    /// The errors of the service; `protocol` where the answer is not a JSON object.
    pub fn document(&self, request: &Request) -> Result<Tagged> {
        Tagged::from_response(&self.client.send(request)?)
    }

    /// Sends a request whose answer is a page of records.
    ///
    /// # Errors
    /// The errors of the service; `protocol` where the answer is not a list of objects.
    pub fn page(&self, request: &Request) -> Result<Page> {
        Page::from_response(&self.client.send(request)?)
    }

    /// A device identity, including its keys.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn device(&self, id: &DeviceId) -> Result<Tagged> {
        let request = Request::new(Method::Get, ["devices", id.as_str()], Safety::Read, Permission::RegistryRead);
        Tagged::from_response(&self.client.send(&request)?)
    }

    /// An identity, including its keys.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn read_identity(&self, of: Identity) -> Result<Tagged> {
        self.document(&Request::new(Method::Get, of.segments(), Safety::Read, Permission::RegistryRead))
    }

    /// An identity with all members that the hub has, to be changed and passed to [`Self::replace_identity`].
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn identity_to_change(&self, of: Identity) -> Result<Tagged> {
        let request = Request::new(Method::Get, of.segments(), Safety::Read, Permission::RegistryRead);
        self.document(&request.first_of(identity::VERSIONS))
    }

    /// Creates an identity.
    ///
    /// # Errors
    /// `conflict` where it exists, and the errors of the service.
    pub fn create_identity(&self, of: Identity, identity: Value) -> Result<Tagged> {
        let request = Request::new(Method::Put, of.segments(), Safety::Once, Permission::RegistryWrite);
        self.document(&request.json(identity))
    }

    /// Replaces an identity by a changed one. [`Self::identity_to_change`] must have read it in the same call.
    ///
    /// # Errors
    /// `precondition-failed` where its ETag differs, `not-found`, and the errors of the service.
    pub fn replace_identity(&self, of: Identity, mut identity: Value, if_match: &IfMatch) -> Result<Tagged> {
        whole(&identity)?;
        let mut request = Request::new(Method::Put, of.segments(), if_match.safety(), Permission::RegistryWrite)
            .header("if-match", if_match);
        if needs_newer_version(&identity) {
            request = request.at(self.client.spoken(identity::VERSIONS));
        }
        make_writable(&mut identity);
        self.document(&request.json(identity))
    }

    /// Deletes an identity and its twin.
    ///
    /// # Errors
    /// `precondition-failed`, `not-found`, and the errors of the service.
    pub fn delete_identity(&self, of: Identity, if_match: &IfMatch) -> Result<()> {
        let request = Request::new(Method::Delete, of.segments(), Safety::Repeatable, Permission::RegistryWrite)
            .header("if-match", if_match);
        self.client.send(&request).map(drop)
    }

    /// Changes up to 100 identities and twins in one request. `entries` are in the form of the API's
    /// `ExportImportDevice`.
    ///
    /// # Errors
    /// The errors of the service, if it refuses the request as a whole; with an unknown effect if its answer cannot be
    /// read.
    pub fn change_registry(&self, entries: Vec<Value>, safety: Safety) -> Result<Value> {
        let request = Request::new(Method::Post, ["devices"], safety, Permission::RegistryWrite)
            .json(entries.into())
            .refused_in_part();
        let response = self.client.send(&request)?;
        // Without the result of each entry, nobody knows which of them were carried out.
        let result = response.json().map_err(|error| error.with_effect(EffectState::Unknown))?;
        if result.is_object() {
            Ok(result)
        } else {
            Err(response.unexpected("an object").with_effect(EffectState::Unknown))
        }
    }

    /// The host name that devices connect to.
    pub fn host_for_devices(&self) -> String {
        host_name::for_devices(&self.client.api().host)
    }

    /// A device's twin.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn twin(&self, id: &impl PathId) -> Result<Tagged> {
        let request = Request::new(Method::Get, ["twins", id.as_str()], Safety::Read, Permission::ServiceConnect);
        Tagged::from_response(&self.client.send(&request)?)
    }

    /// The twin of a device or a module.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn twin_of(&self, id: &TwinId) -> Result<Tagged> {
        self.document(&Request::new(Method::Get, id.segments(&[]), Safety::Read, Permission::ServiceConnect))
    }

    /// Writes a twin's tags and desired properties: PATCH merges them, and a null removes a key; PUT replaces them.
    ///
    /// # Errors
    /// `precondition-failed`, `not-found`, and the errors of the service.
    pub fn write_twin(&self, id: &TwinId, method: Method, twin: Value, if_match: &IfMatch) -> Result<Tagged> {
        // Repeating either has no further effect, unless another client wrote in between; a stated ETag detects that.
        let request = Request::new(method, id.segments(&[]), if_match.safety(), Permission::ServiceConnect)
            .header("if-match", if_match)
            .json(twin);
        self.document(&request)
    }

    /// One page of a query in the hub's query language.
    ///
    /// # Errors
    /// `invalid-input` where the hub does not understand the query or does not know the continuation, and the errors of
    /// the service.
    pub fn query(&self, query: &str, page_size: u32, continuation: Option<&str>) -> Result<Page> {
        let request = Request::new(Method::Post, ["devices", "query"], Safety::Read, Permission::ServiceConnect)
            .json(json!({ "query": query }));
        Page::from_response(&self.client.send(&Page::asked(request, page_size, continuation))?)
    }

    /// How many devices are connected.
    ///
    /// # Errors
    /// The errors of the service.
    pub fn connected_devices(&self) -> Result<u64> {
        let request = Request::new(Method::Get, ["statistics", "service"], Safety::Read, Permission::ServiceConnect);
        let response = self.client.send(&request)?;
        let count = response.json()?.get("connectedDeviceCount").and_then(Value::as_u64);
        count.ok_or_else(|| response.unexpected("a count of connected devices"))
    }

    /// Calls a direct method of a device or a module, and returns the answer's status and payload. `method` is the
    /// request as the API describes it. `wait` is the longest time that the hub takes to answer.
    ///
    /// # Errors
    /// `device-offline`, `timeout` (the method may have run), `not-found`, and the errors of the service.
    pub fn invoke_method(&self, id: &TwinId, method: Value, wait: Duration) -> Result<Value> {
        let segments = id.segments(&["methods"]);
        let request =
            Request::new(Method::Post, segments, Safety::Once, Permission::ServiceConnect).json(method).wait(wait);
        self.client.send(&request)?.json()
    }

    /// Deletes all messages in a device's queue. Returns the hub's answer, which states how many messages were deleted.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn purge_messages(&self, id: &DeviceId) -> Result<Value> {
        // A repeated purge would delete messages that arrived since, and state only their number.
        let segments = ["devices", id.as_str(), "commands"];
        let request = Request::new(Method::Delete, segments, Safety::Once, Permission::ServiceConnect);
        self.client.send(&request)?.json()
    }

    /// Sends a message to the hub on behalf of a device. `headers` are the message's properties, named as in the API
    /// for devices.
    ///
    /// # Errors
    /// `not-found`, `device-offline` where the device is disabled, and the errors of the service.
    pub fn send_event(&self, id: &DeviceId, headers: Vec<(String, String)>, body: Vec<u8>) -> Result<()> {
        let segments = ["devices", id.as_str(), "messages", "events"];
        let request = Request::new(Method::Post, segments, Safety::Once, Permission::DeviceConnect).bytes(body);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        self.client.send(&request).map(drop)
    }

    /// All automatic device configurations. The API has no pages for configurations.
    ///
    /// # Errors
    /// The errors of the service.
    pub fn configurations(&self) -> Result<Vec<Value>> {
        let request = Request::new(Method::Get, ["configurations"], Safety::Read, Permission::RegistryRead)
            .query("top", MOST_CONFIGURATIONS);
        Page::from_response(&self.client.send(&request)?).map(|page| page.items)
    }

    /// One automatic device configuration.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn configuration(&self, id: &impl PathId) -> Result<Tagged> {
        let request =
            Request::new(Method::Get, ["configurations", id.as_str()], Safety::Read, Permission::RegistryRead);
        Tagged::from_response(&self.client.send(&request)?)
    }

    /// Creates a configuration, or replaces one on a condition.
    ///
    /// # Errors
    /// `conflict` where it exists and no condition is stated; `precondition-failed`, `not-found`, and the errors of the
    /// service.
    pub fn put_configuration(
        &self,
        id: &ConfigurationId,
        configuration: Value,
        if_match: Option<&IfMatch>,
    ) -> Result<Tagged> {
        whole(&configuration)?;
        let safety = if_match.map_or(Safety::Once, IfMatch::safety);
        let request = Request::new(Method::Put, ["configurations", id.as_str()], safety, Permission::RegistryWrite)
            .json(configuration);
        let request = match if_match {
            Some(if_match) => request.header("if-match", if_match),
            None => request,
        };
        Tagged::from_response(&self.client.send(&request)?)
    }
}

#[cfg(all(test, feature = "amqp"))]
mod tests;
