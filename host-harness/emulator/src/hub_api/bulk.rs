//! `POST /devices`: up to 100 changes of identities and twins in one request.
//!
//! Each entry is handled by itself: a failed entry does not undo the others. The answer is 200 when all entries
//! succeeded. When any entry failed, the answer is 400 with a body of the same form.

use std::collections::HashSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::any_case::any_case;
use crate::clock::now;
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag::Precondition;
use crate::hub::registry::Hub;
use crate::records::device::{CapabilitiesBody, DeviceBody};
use crate::records::identity::{AuthenticationBody, Status};
use crate::records::module::ModuleBody;
use crate::records::twin::{Change, PropertiesBody, Twin, TwinBody};
use crate::sync::lock;
use crate::versions::{At, refuse_owned};
use crate::web::answer::json_response;
use crate::web::request::JsonBody;
use crate::world::Shared;

const MAX_ENTRIES: usize = 100;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Entry {
    id: Option<String>,
    module_id: Option<String>,
    #[serde(rename = "eTag")]
    etag: Option<String>,
    /// The name that the member has in an identity. Clients send identities that they have read as entries.
    #[serde(rename = "etag")]
    identity_etag: Option<String>,
    #[serde(deserialize_with = "any_case")]
    import_mode: Option<ImportMode>,
    #[serde(deserialize_with = "any_case")]
    status: Option<Status>,
    status_reason: Option<String>,
    authentication: Option<AuthenticationBody>,
    #[serde(rename = "twinETag", alias = "twinEtag")]
    twin_etag: Option<String>,
    tags: Option<Value>,
    properties: Option<PropertiesBody>,
    capabilities: Option<CapabilitiesBody>,
    device_scope: Option<String>,
    parent_scopes: Option<Vec<String>>,
    adr_device_properties: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ImportMode {
    #[default]
    Create,
    Update,
    #[serde(rename = "updateIfMatchETag")]
    UpdateIfMatchEtag,
    CreateOrUpdate,
    #[serde(rename = "createOrUpdateIfMatchETag")]
    CreateOrUpdateIfMatchEtag,
    Delete,
    #[serde(rename = "deleteIfMatchETag")]
    DeleteIfMatchEtag,
    UpdateTwin,
    #[serde(rename = "updateTwinIfMatchETag")]
    UpdateTwinIfMatchEtag,
}

/// `POST /devices`.
pub(crate) async fn run(
    State(world): State<Shared>,
    at: At,
    JsonBody(entries): JsonBody<Vec<Entry>>,
) -> Result<Response, ServiceError> {
    if entries.is_empty() {
        return Err(invalid("the list of devices is empty"));
    }
    if entries.len() > MAX_ENTRIES {
        return Err(ServiceError::new(
            ErrorCode::TOO_MANY_DEVICES,
            format!("a bulk request may hold no more than {MAX_ENTRIES} entries, not {}", entries.len()),
        ));
    }
    let mut hub = lock(&world.hub);
    let mut seen = HashSet::new();
    let mut errors = Vec::new();
    let mut disabled = Vec::new();
    for entry in entries {
        let id = entry.id.clone().unwrap_or_default();
        let module = entry.module_id.clone();
        let turns_off = entry.status == Some(Status::Disabled) && module.is_none();
        let outcome = if seen.insert((id.clone(), module.clone())) {
            apply(&mut hub, entry, at)
        } else {
            Err(ServiceError::new(ErrorCode::DEVICE_DEFINED_MULTIPLE_TIMES, "the id is in the list more than once"))
        };
        match outcome {
            Ok(()) if turns_off => disabled.push(id),
            Ok(()) => {}
            Err(error) => {
                let mut item = json!({
                    "deviceId": id,
                    "errorCode": error.code().name(),
                    "errorStatus": error.message(),
                });
                if let Some(module) = module {
                    item["moduleId"] = json!(module);
                }
                errors.push(item);
            }
        }
    }
    drop(hub);
    disabled.iter().for_each(|id| world.sessions.drop_connection(id));
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let body = json!({ "isSuccessful": errors.is_empty(), "errors": errors, "warnings": [] });
    Ok(json_response(status, None, &body))
}

fn apply(hub: &mut Hub, entry: Entry, at: At) -> Result<(), ServiceError> {
    refuse_owned(&[("adrDeviceProperties", entry.adr_device_properties.is_some())])?;
    let id = entry.id.as_deref().ok_or_else(|| ServiceError::new(ErrorCode::ARGUMENT_NULL, "the entry has no id"))?;
    let module = entry.module_id.as_deref();
    let exists = match module {
        None => hub.devices.get(id).is_some(),
        Some(module) => hub.module(id, module).is_ok(),
    };
    let exact = |etag: Option<&String>| match etag.map(|etag| Precondition::from_text(etag)) {
        None | Some(Precondition::None) => Err(invalid("the import mode needs an ETag")),
        Some(precondition) => Ok(precondition),
    };
    let etag = entry.etag.as_ref().or(entry.identity_etag.as_ref());
    let twin = TwinBody { tags: entry.tags.clone(), properties: entry.properties.clone() };
    let mode = entry.import_mode.unwrap_or_default();
    let precondition = match mode {
        ImportMode::Create => Precondition::None,
        ImportMode::Update | ImportMode::Delete => Precondition::Any,
        ImportMode::UpdateIfMatchEtag | ImportMode::DeleteIfMatchEtag => exact(etag)?,
        ImportMode::CreateOrUpdate if exists => Precondition::Any,
        ImportMode::CreateOrUpdateIfMatchEtag if exists => exact(etag)?,
        ImportMode::CreateOrUpdate | ImportMode::CreateOrUpdateIfMatchEtag => Precondition::None,
        ImportMode::UpdateTwin => Precondition::Any,
        ImportMode::UpdateTwinIfMatchEtag => exact(entry.twin_etag.as_ref())?,
    };
    match mode {
        ImportMode::Delete | ImportMode::DeleteIfMatchEtag => match module {
            None => return hub.delete_device(id, &precondition),
            Some(module) => return hub.delete_module(id, module, &precondition),
        },
        ImportMode::UpdateTwin | ImportMode::UpdateTwinIfMatchEtag => {
            return hub.write_twin(id, module, twin, Change::Merge, &precondition);
        }
        _ => {}
    }
    let has_twin = twin.tags.is_some() || twin.properties.is_some();
    if has_twin {
        // A twin that exceeds the limits must not leave a device behind.
        Twin::new(now()).write(twin.clone(), Change::Merge, now())?;
    }
    let (id, module) = (id.to_owned(), module.map(str::to_owned));
    match &module {
        None => {
            let body = DeviceBody {
                device_id: entry.id,
                status: entry.status,
                status_reason: entry.status_reason,
                authentication: entry.authentication,
                capabilities: entry.capabilities,
                device_scope: entry.device_scope,
                parent_scopes: entry.parent_scopes,
                // A bulk entry has no `attributes` member, so the stored attributes are kept.
                attributes: hub.devices.get(&id).and_then(|device| device.attributes.clone()),
                ..DeviceBody::default()
            };
            hub.put_device(&id, body, &precondition, at)?;
        }
        Some(module) => {
            let attributes = hub.module(&id, module).ok().and_then(|module| module.attributes.clone());
            let body = ModuleBody { authentication: entry.authentication, attributes, ..ModuleBody::default() };
            hub.put_module(&id, module, body, &precondition, at)?;
        }
    }
    if has_twin {
        hub.write_twin(&id, module.as_deref(), twin, Change::Merge, &Precondition::None)?;
    }
    Ok(())
}
