//! Device identities.

use std::collections::VecDeque;
use std::fmt;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::modules::Module;
use super::twins::Twin;
use super::{CloudMessage, Hub, check_id, device_not_found, generation, list_limit, module_key};
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag::{self, Precondition, Write};
use crate::journal::{ChangeKind, NEVER, rfc3339};
use crate::options::DeviceRegistry;
use crate::random;
use crate::server::{JsonBody, json_response, no_content, ok};
use crate::versions::{At, refuse_owned};
use crate::world::{Shared, lock, now};

/// A device identity with its twin.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) generation: String,
    created: OffsetDateTime,
    /// What Device Registry would call it.
    uuid: String,
    pub(crate) etag: String,
    pub(crate) attributes: Option<Map<String, Value>>,
    pub(crate) status: Status,
    pub(crate) status_reason: Option<String>,
    pub(crate) status_updated: Option<OffsetDateTime>,
    pub(crate) connected: bool,
    pub(crate) connection_updated: Option<OffsetDateTime>,
    pub(crate) last_activity: Option<OffsetDateTime>,
    pub(crate) authentication: Authentication,
    pub(crate) edge: bool,
    pub(crate) scope: Option<String>,
    pub(crate) parent_scopes: Vec<String>,
    pub(crate) modules: Vec<String>,
    pub(crate) queue: VecDeque<CloudMessage>,
    pub(crate) twin: Twin,
}

/// Whether a device may connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Status {
    #[default]
    Enabled,
    Disabled,
}

/// How a device or module proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authentication {
    pub(crate) kind: AuthenticationType,
    pub(crate) symmetric_key: Option<KeyPair>,
    pub(crate) thumbprints: ThumbprintBody,
    pub(crate) issued: Issued,
}

/// What certificates that Device Registry issues are checked by. The content is the service's affair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Issued {
    policy_resource_id: Option<String>,
    x509_ca_validation: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AuthenticationType {
    Sas,
    SelfSigned,
    CertificateAuthority,
    None,
}

/// Two keys, base64. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KeyPair {
    pub(crate) primary: String,
    pub(crate) secondary: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyPair(redacted)")
    }
}

impl KeyPair {
    pub(crate) fn generate(bytes: usize) -> Self {
        Self { primary: random::key(bytes), secondary: random::key(bytes) }
    }
}

/// A device as clients send it. Read-only members are ignored, but for those of Device Registry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeviceBody {
    pub(crate) device_id: Option<String>,
    pub(crate) status: Option<Status>,
    pub(crate) status_reason: Option<String>,
    pub(crate) authentication: Option<AuthenticationBody>,
    pub(crate) capabilities: Option<CapabilitiesBody>,
    pub(crate) device_scope: Option<String>,
    pub(crate) parent_scopes: Option<Vec<String>>,
    pub(crate) attributes: Option<Map<String, Value>>,
    pub(crate) adr_device_properties: Option<Value>,
    pub(crate) device_resource_id: Option<Value>,
    pub(crate) arm_sync_status: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CapabilitiesBody {
    pub(crate) iot_edge: Option<bool>,
}

/// The authentication member of devices, modules and bulk entries.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AuthenticationBody {
    #[serde(rename = "type")]
    pub(crate) kind: Option<AuthenticationType>,
    pub(crate) symmetric_key: Option<KeyPairBody>,
    pub(crate) x509_thumbprint: Option<ThumbprintBody>,
    policy_resource_id: Option<String>,
    x509_ca_validation: Option<Value>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KeyPairBody {
    pub(crate) primary_key: Option<String>,
    pub(crate) secondary_key: Option<String>,
}

impl fmt::Debug for KeyPairBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyPairBody(redacted)")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ThumbprintBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) primary_thumbprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secondary_thumbprint: Option<String>,
}

impl AuthenticationBody {
    /// Checks the member and fills in what is missing: the type from what is given, keys from `existing` or new ones.
    pub(crate) fn complete(self, existing: Option<&Authentication>, at: At) -> Result<Authentication, ServiceError> {
        let old = existing.map(|existing| existing.issued.clone()).unwrap_or_default();
        let issued = Issued {
            policy_resource_id: at.replace(at.has_registry(), self.policy_resource_id, old.policy_resource_id),
            x509_ca_validation: at.replace(at.has_registry(), self.x509_ca_validation, old.x509_ca_validation),
        };
        let thumbprints = self.x509_thumbprint.unwrap_or_default();
        for thumbprint in [&thumbprints.primary_thumbprint, &thumbprints.secondary_thumbprint].into_iter().flatten() {
            let hex = thumbprint.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !hex || !matches!(thumbprint.len(), 40 | 64) {
                return Err(invalid("a thumbprint must be a SHA-1 or SHA-256 digest in hexadecimal"));
            }
        }
        let has_thumbprint = thumbprints != ThumbprintBody::default();
        let kind =
            self.kind.unwrap_or(if has_thumbprint { AuthenticationType::SelfSigned } else { AuthenticationType::Sas });
        if kind == AuthenticationType::SelfSigned && !has_thumbprint {
            return Err(invalid("authentication type selfSigned needs a thumbprint"));
        }
        let symmetric_key = match kind {
            AuthenticationType::Sas => Some(match self.symmetric_key {
                Some(KeyPairBody { primary_key: Some(primary), secondary_key: Some(secondary) }) => {
                    check_key(&primary)?;
                    check_key(&secondary)?;
                    KeyPair { primary, secondary }
                }
                Some(KeyPairBody { primary_key: None, secondary_key: None }) | None => existing
                    .and_then(|existing| existing.symmetric_key.clone())
                    .unwrap_or_else(|| KeyPair::generate(32)),
                Some(_) => return Err(invalid("a symmetric key needs both primaryKey and secondaryKey, or neither")),
            }),
            _ => None,
        };
        Ok(Authentication { kind, symmetric_key, thumbprints, issued })
    }
}

fn check_key(key: &str) -> Result<(), ServiceError> {
    match STANDARD.decode(key) {
        Ok(bytes) if (16..=64).contains(&bytes.len()) => Ok(()),
        _ => Err(invalid("a symmetric key must be 16 to 64 bytes in base64")),
    }
}

impl From<Authentication> for AuthenticationBody {
    fn from(authentication: Authentication) -> Self {
        Self {
            kind: Some(authentication.kind),
            symmetric_key: authentication
                .symmetric_key
                .map(|keys| KeyPairBody { primary_key: Some(keys.primary), secondary_key: Some(keys.secondary) }),
            x509_thumbprint: Some(authentication.thumbprints),
            policy_resource_id: authentication.issued.policy_resource_id,
            x509_ca_validation: authentication.issued.x509_ca_validation,
        }
    }
}

impl Authentication {
    /// The member as the service writes it; only the members that the type has.
    pub(crate) fn to_json(&self, at: At) -> Value {
        let mut object = Map::new();
        object.insert("type".to_owned(), json!(self.kind));
        if at.has_registry() {
            if let Some(id) = &self.issued.policy_resource_id {
                object.insert("policyResourceId".to_owned(), json!(id));
            }
            if let Some(validation) = &self.issued.x509_ca_validation {
                object.insert("x509CaValidation".to_owned(), validation.clone());
            }
        }
        if let Some(keys) = &self.symmetric_key {
            let keys = json!({ "primaryKey": keys.primary, "secondaryKey": keys.secondary });
            object.insert("symmetricKey".to_owned(), keys);
        }
        if self.kind == AuthenticationType::SelfSigned {
            object.insert("x509Thumbprint".to_owned(), json!(self.thumbprints));
        }
        Value::Object(object)
    }
}

pub(crate) fn time_or_never(time: Option<OffsetDateTime>) -> String {
    time.map_or_else(|| NEVER.to_owned(), rfc3339)
}

pub(crate) fn connection_state(connected: bool) -> &'static str {
    if connected { "Connected" } else { "Disconnected" }
}

impl Device {
    /// The identity as the service writes it at a version, with what the registry has of it by now.
    pub(crate) fn to_json(&self, at: At, registry: Option<&DeviceRegistry>) -> Value {
        let mut object = json!({
            "deviceId": self.id,
            "generationId": self.generation,
            "etag": self.etag,
            "connectionState": connection_state(self.connected),
            "status": self.status,
            "connectionStateUpdatedTime": time_or_never(self.connection_updated),
            "statusUpdatedTime": time_or_never(self.status_updated),
            "lastActivityTime": time_or_never(self.last_activity),
            "cloudToDeviceMessageCount": self.queue.len(),
            "authentication": self.authentication.to_json(at),
            "capabilities": { "iotEdge": self.edge },
        });
        self.add_optional(&mut object);
        if let Some(attributes) = self.attributes.as_ref().filter(|_| at.has_attributes()) {
            object["attributes"] = json!(attributes);
        }
        let linked = registry.filter(|registry| at.has_registry() && now() >= self.created + registry.delay);
        if let Some(DeviceRegistry { namespace, .. }) = linked {
            let (id, uuid) = (&self.id, &self.uuid);
            object["adrDeviceProperties"] = json!({
                "uuid": uuid,
                "name": id,
                "etag": self.generation,
                "systemData": { "createdAt": rfc3339(self.created) },
            });
            object["deviceResourceId"] = json!(format!(
                "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/plant/providers/Microsoft.DeviceRegistry/namespaces/{namespace}/devices/{id}"
            ));
            object["armSyncStatus"] = json!({ "state": "Succeeded", "errorMessage": null });
        }
        object
    }

    /// What both identity and twin show only when it is there.
    pub(crate) fn add_optional(&self, object: &mut Value) {
        if let Some(reason) = &self.status_reason {
            object["statusReason"] = json!(reason);
        }
        if let Some(scope) = &self.scope {
            object["deviceScope"] = json!(scope);
        }
        if !self.parent_scopes.is_empty() {
            object["parentScopes"] = json!(self.parent_scopes);
        }
    }

    /// For the journal: the identity without its keys.
    fn summary(&self) -> Value {
        json!({
            "generationId": self.generation,
            "status": self.status,
            "authenticationType": self.authentication.kind,
            "iotEdge": self.edge,
        })
    }
}

impl Hub {
    /// Creates or updates a device, as PUT and the bulk operations do.
    pub(crate) fn put_device(
        &mut self,
        id: &str,
        body: DeviceBody,
        precondition: &Precondition,
        at: At,
    ) -> Result<Write, ServiceError> {
        check_id("deviceId", id)?;
        refuse_owned(&[
            ("adrDeviceProperties", body.adr_device_properties.is_some()),
            ("deviceResourceId", body.device_resource_id.is_some()),
            ("armSyncStatus", body.arm_sync_status.is_some()),
        ])?;
        if body.status_reason.as_ref().is_some_and(|reason| reason.chars().count() > 128) {
            return Err(invalid("statusReason must have no more than 128 characters"));
        }
        let existing = self.devices.get(id);
        let write = precondition.decide(
            existing.map(|device| device.etag.as_str()),
            || {
                ServiceError::new(
                    ErrorCode::DEVICE_ALREADY_EXISTS,
                    "A device with the same ID is already registered. Use an If-Match header to update it",
                )
            },
            || device_not_found(id),
        )?;
        let authentication =
            body.authentication.unwrap_or_default().complete(existing.map(|device| &device.authentication), at)?;
        let old_attributes = existing.and_then(|device| device.attributes.clone());
        let attributes = at.replace(at.has_attributes(), body.attributes, old_attributes);
        let now = now();
        let edge = body.capabilities.and_then(|capabilities| capabilities.iot_edge);
        if write == Write::Create {
            let edge = edge.unwrap_or(false);
            self.devices.insert(
                id,
                Device {
                    id: id.to_owned(),
                    generation: generation(now),
                    created: now,
                    uuid: random::uuid(),
                    etag: etag::fresh(),
                    attributes,
                    status: body.status.unwrap_or_default(),
                    status_reason: body.status_reason,
                    status_updated: None,
                    connected: false,
                    connection_updated: None,
                    last_activity: None,
                    authentication,
                    edge,
                    scope: body.device_scope.or_else(|| edge.then(|| edge_scope(id, now))),
                    parent_scopes: body.parent_scopes.unwrap_or_default(),
                    modules: Vec::new(),
                    queue: VecDeque::new(),
                    twin: Twin::new(now),
                },
            );
            self.journal_device(ChangeKind::DeviceCreated, id);
            if let Some(device) = self.devices.get(id) {
                self.events.lifecycle(id, None, true, || super::twins::of_device(device));
            }
            if edge {
                for module in ["$edgeAgent", "$edgeHub"] {
                    self.add_module(id, Module::system(id, module, now));
                }
            }
            return Ok(write);
        }
        let device = self.device_mut(id)?;
        let status = body.status.unwrap_or_default();
        if status != device.status {
            device.status_updated = Some(now);
        }
        device.status = status;
        device.status_reason = body.status_reason;
        device.authentication = authentication;
        device.attributes = attributes;
        device.edge = edge.unwrap_or(device.edge);
        if device.edge && device.scope.is_none() {
            device.scope = Some(edge_scope(id, now));
        }
        device.scope = body.device_scope.or(device.scope.take());
        device.parent_scopes = body.parent_scopes.unwrap_or(std::mem::take(&mut device.parent_scopes));
        device.etag = etag::fresh();
        if status == Status::Disabled && device.connected {
            device.connected = false;
            device.connection_updated = Some(now);
            self.events.connection(id, None, false);
        }
        self.journal_device(ChangeKind::DeviceUpdated, id);
        Ok(write)
    }

    /// Deletes a device with its modules.
    pub(crate) fn delete_device(&mut self, id: &str, precondition: &Precondition) -> Result<(), ServiceError> {
        precondition.check(&self.device(id)?.etag)?;
        if let Some(device) = self.devices.remove(id) {
            for module in &device.modules {
                self.modules.remove(&module_key(id, module));
            }
            self.journal.append(ChangeKind::DeviceDeleted, id, Some(&device.etag), device.summary());
            self.events.lifecycle(id, None, false, || super::twins::of_device(&device));
        }
        Ok(())
    }

    fn journal_device(&self, kind: ChangeKind, id: &str) {
        if let Some(device) = self.devices.get(id) {
            self.journal.append(kind, id, Some(&device.etag), device.summary());
        }
    }
}

fn edge_scope(id: &str, now: OffsetDateTime) -> String {
    format!("ms-azure-iot-edge://{id}-{}", generation(now))
}

/// `GET /devices`.
pub(super) async fn list(State(world): State<Shared>, at: At, uri: Uri) -> Response {
    let hub = lock(&world.hub);
    let registry = world.options.device_registry.as_ref();
    ok(&hub.devices.iter().take(list_limit(&uri)).map(|device| device.to_json(at, registry)).collect())
}

/// `GET /devices/{id}`.
pub(super) async fn get(State(world): State<Shared>, at: At, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let hub = lock(&world.hub);
    let device = hub.device(&id)?;
    let shown = device.to_json(at, world.options.device_registry.as_ref());
    Ok(json_response(StatusCode::OK, Some(&device.etag), &shown))
}

/// `PUT /devices/{id}`. The body's `deviceId` must be there and equal the path's.
pub(super) async fn put(
    State(world): State<Shared>,
    at: At,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<DeviceBody>,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    match &body.device_id {
        None => return Err(ServiceError::new(ErrorCode::ARGUMENT_NULL, "the device has no deviceId")),
        Some(device_id) if *device_id != id => {
            return Err(invalid(format!("the deviceId '{device_id}' is not the one of the path, '{id}'")));
        }
        Some(_) => {}
    }
    let mut hub = lock(&world.hub);
    hub.put_device(&id, body, &precondition, at)?;
    let device = hub.device(&id)?;
    let shown = device.to_json(at, world.options.device_registry.as_ref());
    let response = json_response(StatusCode::OK, Some(&device.etag), &shown);
    let disabled = device.status == Status::Disabled;
    drop(hub);
    if disabled {
        world.sessions.drop_connection(&id);
    }
    Ok(response)
}

/// `DELETE /devices/{id}`.
pub(super) async fn delete(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    lock(&world.hub).delete_device(&id, &precondition)?;
    world.sessions.drop_connection(&id);
    Ok(no_content())
}
