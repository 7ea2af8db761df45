//! The parts of a scenario file, as they are written.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HubPart {
    pub(super) name: Option<String>,
    pub(super) api: Option<String>,
    pub(super) gateway: Option<String>,
    pub(super) link: Option<String>,
    pub(super) device_registry: Option<RegistryPart>,
    pub(super) devices_online: Option<String>,
    pub(super) passwords: Option<String>,
    pub(super) policies: Vec<PolicyPart>,
    pub(super) partitions: Option<u16>,
    pub(super) consumer_groups: Vec<String>,
    pub(super) retention: RetentionPart,
    pub(super) system_events: Vec<String>,
    pub(super) telemetry_routed_away: Option<bool>,
    pub(super) feedback_wait: Option<String>,
    pub(super) device_authorities: Vec<String>,
    pub(super) devices: Vec<DevicePart>,
    pub(super) configurations: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ProvisioningPart {
    pub(super) id_scope: Option<String>,
    pub(super) api: Option<String>,
    pub(super) policies: Vec<PolicyPart>,
    pub(super) enrollment_groups: Vec<Value>,
    pub(super) enrollments: Vec<Value>,
    pub(super) registrations: Vec<RegistrationPart>,
}

/// What both services share.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServicesPart {
    pub(super) throttles: Option<bool>,
    pub(super) clock_tolerance: Option<String>,
    pub(super) clock_ahead: Option<i64>,
    pub(super) max_page_size: Option<usize>,
    pub(super) older_put: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RegistryPart {
    pub(super) namespace: String,
    pub(super) delay: Option<String>,
}

/// The names of the policies that the written connection uses.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ConnectionPart {
    pub(super) hub_policy: Option<String>,
    pub(super) provisioning_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RetentionPart {
    pub(super) hours: Option<f64>,
    pub(super) events: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyPart {
    pub(super) name: String,
    pub(super) permissions: Vec<String>,
    pub(super) primary_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DevicePart {
    pub(super) device_id: String,
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default)]
    pub(super) edge: bool,
    pub(super) connected: Option<bool>,
    pub(super) silent_for: Option<String>,
    pub(super) thumbprint: Option<String>,
    #[serde(flatten)]
    pub(super) entity: EntityPart,
    #[serde(default)]
    pub(super) modules: Vec<ModulePart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModulePart {
    pub(super) module_id: String,
    #[serde(flatten)]
    pub(super) entity: EntityPart,
}

/// What devices and modules share.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntityPart {
    pub(super) primary_key: Option<String>,
    pub(super) secondary_key: Option<String>,
    pub(super) tags: Option<Value>,
    pub(super) desired: Option<Value>,
    pub(super) reported: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegistrationPart {
    pub(super) registration_id: String,
    pub(super) enrollment_group_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MomentPart {
    pub(super) after: String,
    #[serde(flatten)]
    pub(super) happening: BTreeMap<String, Value>,
}

impl fmt::Debug for PolicyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyPart").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for DevicePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevicePart").field("device_id", &self.device_id).finish_non_exhaustive()
    }
}
