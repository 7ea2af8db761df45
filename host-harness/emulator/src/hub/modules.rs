//! Module identities.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::devices::{AuthenticationBody, connection_state, time_or_never};
use super::twins::Twin;
use super::{Authentication, AuthenticationType, Hub, check_id, generation, module_key, module_not_found};
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag::{self, Precondition, Write};
use crate::journal::ChangeKind;
use crate::server::{JsonBody, json_response, no_content, ok};
use crate::versions::At;
use crate::world::{Shared, lock, now};

const MAX_MODULES: usize = 50;

/// A module identity with its twin.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) device: String,
    pub(crate) id: String,
    pub(crate) managed_by: Option<String>,
    pub(crate) generation: String,
    pub(crate) etag: String,
    pub(crate) attributes: Option<Map<String, Value>>,
    pub(crate) connected: bool,
    pub(crate) connection_updated: Option<OffsetDateTime>,
    pub(crate) last_activity: Option<OffsetDateTime>,
    pub(crate) authentication: Authentication,
    pub(crate) twin: Twin,
}

/// A module as clients send it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ModuleBody {
    pub(crate) device_id: Option<String>,
    pub(crate) module_id: Option<String>,
    pub(crate) managed_by: Option<String>,
    pub(crate) authentication: Option<AuthenticationBody>,
    pub(crate) attributes: Option<Map<String, Value>>,
}

impl Module {
    /// One of the two modules that every edge device has from the start.
    pub(super) fn system(device: &str, id: &str, now: OffsetDateTime) -> Self {
        let authentication = Authentication {
            kind: AuthenticationType::None,
            symmetric_key: None,
            thumbprints: super::devices::ThumbprintBody::default(),
            issued: super::devices::Issued::default(),
        };
        Self::new(device, id, Some("iotEdge".to_owned()), authentication, now)
    }

    fn new(
        device: &str,
        id: &str,
        managed_by: Option<String>,
        authentication: Authentication,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            device: device.to_owned(),
            id: id.to_owned(),
            managed_by,
            generation: generation(now),
            etag: etag::fresh(),
            attributes: None,
            connected: false,
            connection_updated: None,
            last_activity: None,
            authentication,
            twin: Twin::new(now),
        }
    }

    pub(crate) fn to_json(&self, at: At) -> Value {
        let mut object = json!({
            "moduleId": self.id,
            "deviceId": self.device,
            "generationId": self.generation,
            "etag": self.etag,
            "connectionState": connection_state(self.connected),
            "connectionStateUpdatedTime": time_or_never(self.connection_updated),
            "lastActivityTime": time_or_never(self.last_activity),
            "cloudToDeviceMessageCount": 0,
            "authentication": self.authentication.to_json(at),
        });
        if let Some(managed_by) = &self.managed_by {
            object["managedBy"] = json!(managed_by);
        }
        if let Some(attributes) = self.attributes.as_ref().filter(|_| at.has_attributes()) {
            object["attributes"] = json!(attributes);
        }
        object
    }
}

impl Hub {
    pub(super) fn add_module(&mut self, device: &str, module: Module) {
        let key = module_key(device, &module.id);
        self.journal.append(
            ChangeKind::ModuleCreated,
            key.as_str(),
            Some(&module.etag),
            json!({ "authenticationType": module.authentication.kind }),
        );
        if let Some(device) = self.devices.get_mut(device) {
            device.modules.push(module.id.clone());
        }
        let (device, id) = (module.device.clone(), module.id.clone());
        self.modules.insert(&key, module);
        let twin = || self.modules.get(&key).and_then(|module| super::twins::of_module(self, module));
        self.events.lifecycle(&device, Some(&id), true, || twin().unwrap_or_default());
    }

    /// Creates or updates a module, as PUT and the bulk operations do.
    pub(crate) fn put_module(
        &mut self,
        device: &str,
        id: &str,
        body: ModuleBody,
        precondition: &Precondition,
        at: At,
    ) -> Result<Write, ServiceError> {
        check_id("moduleId", id)?;
        let owner = self.device(device)?;
        let count = owner.modules.len();
        let key = module_key(device, id);
        let existing = self.modules.get(&key);
        let write = precondition.decide(
            existing.map(|module| module.etag.as_str()),
            || {
                ServiceError::new(
                    ErrorCode::MODULE_ALREADY_EXISTS,
                    format!("Module {id} already exists on device {device}"),
                )
            },
            || module_not_found(device, id),
        )?;
        let authentication =
            body.authentication.unwrap_or_default().complete(existing.map(|module| &module.authentication), at)?;
        let old_attributes = existing.and_then(|module| module.attributes.clone());
        let attributes = at.replace(at.has_attributes(), body.attributes, old_attributes);
        if write == Write::Create {
            if count >= MAX_MODULES {
                return Err(ServiceError::new(
                    ErrorCode::TOO_MANY_MODULES,
                    format!("a device may have no more than {MAX_MODULES} modules"),
                ));
            }
            let module = Module { attributes, ..Module::new(device, id, body.managed_by, authentication, now()) };
            self.add_module(device, module);
        } else if let Some(module) = self.modules.get_mut(&key) {
            module.managed_by = body.managed_by.or(module.managed_by.take());
            module.authentication = authentication;
            module.attributes = attributes;
            module.etag = etag::fresh();
            let detail = json!({ "authenticationType": module.authentication.kind });
            self.journal.append(ChangeKind::ModuleUpdated, key.as_str(), Some(&module.etag), detail);
        }
        Ok(write)
    }

    /// Deletes a module.
    pub(crate) fn delete_module(
        &mut self,
        device: &str,
        id: &str,
        precondition: &Precondition,
    ) -> Result<(), ServiceError> {
        precondition.check(&self.module(device, id)?.etag)?;
        let key = module_key(device, id);
        let removed = self.modules.remove(&key);
        let twin = || removed.as_ref().and_then(|module| super::twins::of_module(self, module)).unwrap_or_default();
        self.events.lifecycle(device, Some(id), false, twin);
        self.device_mut(device)?.modules.retain(|module| module != id);
        self.journal.append(ChangeKind::ModuleDeleted, key, None, Value::Null);
        Ok(())
    }
}

/// `GET /devices/{id}/modules`.
pub(super) async fn list(
    State(world): State<Shared>,
    at: At,
    Path(id): Path<String>,
) -> Result<Response, ServiceError> {
    let hub = lock(&world.hub);
    let modules = &hub.device(&id)?.modules;
    Ok(ok(&modules
        .iter()
        .filter_map(|module| hub.modules.get(&module_key(&id, module)))
        .map(|module| module.to_json(at))
        .collect()))
}

/// `GET /devices/{id}/modules/{module}`.
pub(super) async fn get(
    State(world): State<Shared>,
    at: At,
    Path((id, module)): Path<(String, String)>,
) -> Result<Response, ServiceError> {
    let hub = lock(&world.hub);
    let module = hub.module(&id, &module)?;
    Ok(json_response(StatusCode::OK, Some(&module.etag), &module.to_json(at)))
}

/// `PUT /devices/{id}/modules/{module}`: 201 for a new module, 200 for an update.
pub(super) async fn put(
    State(world): State<Shared>,
    at: At,
    Path((id, module)): Path<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ModuleBody>,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    if body.device_id.as_ref().is_some_and(|body| *body != id) {
        return Err(invalid("the deviceId of the body is not the one of the path"));
    }
    match &body.module_id {
        None => return Err(ServiceError::new(ErrorCode::ARGUMENT_NULL, "the module has no moduleId")),
        Some(module_id) if *module_id != module => {
            return Err(invalid(format!("the moduleId '{module_id}' is not the one of the path, '{module}'")));
        }
        Some(_) => {}
    }
    let mut hub = lock(&world.hub);
    let status = match hub.put_module(&id, &module, body, &precondition, at)? {
        Write::Create => StatusCode::CREATED,
        Write::Update => StatusCode::OK,
    };
    let module = hub.module(&id, &module)?;
    Ok(json_response(status, Some(&module.etag), &module.to_json(at)))
}

/// `DELETE /devices/{id}/modules/{module}`.
pub(super) async fn delete(
    State(world): State<Shared>,
    Path((id, module)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    lock(&world.hub).delete_module(&id, &module, &precondition)?;
    Ok(no_content())
}
