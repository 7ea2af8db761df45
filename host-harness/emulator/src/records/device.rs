//! Device identities.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::cloud_message::CloudMessage;
use super::identity::{Authentication, AuthenticationBody, Status, connection_state, generation};
use super::twin::Twin;
use crate::any_case::any_case;
use crate::clock::{now, rfc3339, time_or_never};
use crate::options::DeviceRegistry;
use crate::versions::At;

/// A device identity with its twin.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) generation: String,
    pub(crate) created: OffsetDateTime,
    /// The device's UUID in Device Registry.
    pub(crate) uuid: String,
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

/// A device as clients send it. Read-only members are ignored, except those of Device Registry, which are refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeviceBody {
    pub(crate) device_id: Option<String>,
    #[serde(deserialize_with = "any_case")]
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

impl Device {
    /// The identity as the service writes it at this version, with the members that Device Registry has written so far.
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

    /// Adds the members that an identity and a twin have only when they are set.
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
    pub(crate) fn summary(&self) -> Value {
        json!({
            "generationId": self.generation,
            "status": self.status,
            "authenticationType": self.authentication.kind,
            "iotEdge": self.edge,
        })
    }
}

pub(crate) fn edge_scope(id: &str, now: OffsetDateTime) -> String {
    format!("ms-azure-iot-edge://{id}-{}", generation(now))
}
