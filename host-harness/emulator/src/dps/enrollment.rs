//! Enrollments of both kinds. The kinds differ in two members and in the name of the id.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::attestation::Attestation;
use crate::any_case::any_case;
use crate::error::{ServiceError, invalid};
use crate::records::twin::{PropertiesBody, TwinBody};

/// A stored enrollment.
#[derive(Clone, Debug)]
pub(crate) struct Enrollment {
    pub(crate) id: String,
    pub(crate) body: EnrollmentBody,
    pub(crate) attestation: Attestation,
    pub(crate) created: OffsetDateTime,
    pub(crate) updated: OffsetDateTime,
    pub(crate) etag: String,
}

/// An enrollment as clients send it; read-only members are ignored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EnrollmentBody {
    #[serde(skip_serializing)]
    pub(crate) registration_id: Option<String>,
    #[serde(skip_serializing)]
    pub(crate) enrollment_group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) optional_device_information: Option<Map<String, Value>>,
    #[serde(skip_serializing)]
    pub(crate) attestation: Option<Attestation>,
    pub(crate) capabilities: Capabilities,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iot_hub_host_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) initial_twin: Option<InitialTwin>,
    #[serde(skip_serializing)]
    pub(crate) etag: Option<String>,
    #[serde(deserialize_with = "any_case")]
    pub(crate) provisioning_status: ProvisioningStatus,
    pub(crate) reprovision_policy: ReprovisionPolicy,
    #[serde(deserialize_with = "any_case")]
    pub(crate) allocation_policy: AllocationPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iot_hubs: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) custom_allocation_definition: Option<CustomAllocation>,
    #[serde(flatten)]
    pub(crate) certificates: CertificateNames,
}

/// The members that version 2026-11-01 added: the namespace, authority and policy for devices' certificates.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CertificateNames {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_policy_name: Option<String>,
}

impl CertificateNames {
    /// Checks the lengths and patterns that the API's description states.
    pub(crate) fn check(&self) -> Result<(), ServiceError> {
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
                return Err(invalid(format!(
                    "{member} must fit the pattern of the API's description: its length and characters"
                )));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Capabilities {
    pub(crate) iot_edge: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct InitialTwin {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) properties: Option<InitialProperties>,
}

impl InitialTwin {
    /// The tags and desired properties that must be written to the device's twin.
    pub(crate) fn into_twin(self) -> TwinBody {
        let desired = self.properties.and_then(|properties| properties.desired);
        let properties = desired.map(|desired| PropertiesBody { desired: Some(desired) });
        TwinBody { tags: self.tags, properties }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct InitialProperties {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) desired: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ProvisioningStatus {
    #[default]
    Enabled,
    Disabled,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReprovisionPolicy {
    pub(crate) update_hub_assignment: bool,
    pub(crate) migrate_device_data: bool,
}

impl Default for ReprovisionPolicy {
    fn default() -> Self {
        Self { update_hub_assignment: true, migrate_device_data: true }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AllocationPolicy {
    #[default]
    Hashed,
    GeoLatency,
    Static,
    Custom,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CustomAllocation {
    webhook_url: String,
    api_version: String,
}
