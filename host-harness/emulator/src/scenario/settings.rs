//! What must be known when the emulator starts.

use std::time::Duration;

use super::error::ScenarioError;
use super::parts::{HubPart, PolicyPart, ProvisioningPart, ServicesPart};
use super::timeline::duration;
use crate::event_hub::event::EventSource;
use crate::names::GatewayVersion;
use crate::options::{DeviceRegistry, DevicesOnline, EmulatorOptions, PasswordLogin, Permission, Policy};
use crate::versions::OlderPut;

/// The size of new keys in bytes, as each service makes them.
const HUB_KEY: usize = 32;
const PROVISIONING_KEY: usize = 64;

/// How long after its creation a device identity shows the registry's data, if the file does not state it.
const REGISTRY_DELAY: Duration = Duration::from_secs(5);

impl HubPart {
    pub(super) fn set_up(&self, options: &mut EmulatorOptions) -> Result<(), ScenarioError> {
        if let Some(name) = &self.name {
            options.hub_name.clone_from(name);
        }
        if let Some(api) = &self.api {
            options.hub_api = api.parse().map_err(|error| ScenarioError::value("/hub/api", error))?;
        }
        if let Some(gateway) = &self.gateway {
            options.gateway = if gateway == "v2" { GatewayVersion::V2 } else { GatewayVersion::V1 };
        }
        if let Some(link) = &self.link {
            options.hub_link = Some(link.clone());
        }
        if let Some(registry) = &self.device_registry {
            let delay = match &registry.delay {
                Some(delay) => duration("/hub/deviceRegistry/delay", delay)?,
                None => REGISTRY_DELAY,
            };
            options.device_registry = Some(DeviceRegistry { namespace: registry.namespace.clone(), delay });
        }
        if let Some(online) = &self.devices_online {
            options.devices_online = if online == "all" { DevicesOnline::All } else { DevicesOnline::Registered };
        }
        if let Some(passwords) = &self.passwords {
            options.amqp.passwords = match passwords.as_str() {
                "taken" => PasswordLogin::Taken,
                "refused" => PasswordLogin::Refused,
                _ => PasswordLogin::NotOffered,
            };
        }
        add_policies(&mut options.hub_policies, &self.policies, "/hub/policies", HUB_KEY)?;
        options.partitions = self.partitions.unwrap_or(options.partitions);
        options.consumer_groups.extend_from_slice(&self.consumer_groups);
        options.device_authorities.extend_from_slice(&self.device_authorities);
        options.retention_events = self.retention.events.or(options.retention_events);
        if let Some(hours) = self.retention.hours {
            let kept = Duration::try_from_secs_f64(hours * 3600.0);
            let too_large = |_| ScenarioError::value("/hub/retention/hours", "it is too large");
            options.retention_time = Some(kept.map_err(too_large)?);
        }
        for (index, source) in self.system_events.iter().enumerate() {
            let wrong = |error| ScenarioError::value(format!("/hub/systemEvents/{index}"), error);
            options.system_event_routes.insert(source.parse::<EventSource>().map_err(wrong)?);
        }
        options.telemetry_routed_away = self.telemetry_routed_away.unwrap_or(options.telemetry_routed_away);
        if let Some(wait) = &self.feedback_wait {
            options.amqp.feedback_wait = duration("/hub/feedbackWait", wait)?;
        }
        Ok(())
    }
}

impl ProvisioningPart {
    pub(super) fn set_up(&self, options: &mut EmulatorOptions) -> Result<(), ScenarioError> {
        if let Some(scope) = &self.id_scope {
            options.id_scope.clone_from(scope);
        }
        if let Some(api) = &self.api {
            options.dps_api = api.parse().map_err(|error| ScenarioError::value("/provisioning/api", error))?;
        }
        add_policies(&mut options.dps_policies, &self.policies, "/provisioning/policies", PROVISIONING_KEY)
    }
}

impl ServicesPart {
    pub(super) fn set_up(&self, options: &mut EmulatorOptions) -> Result<(), ScenarioError> {
        options.throttles = self.throttles.unwrap_or(options.throttles);
        if let Some(tolerance) = &self.clock_tolerance {
            options.clock_tolerance = duration("/services/clockTolerance", tolerance)?;
        }
        options.clock_ahead = self.clock_ahead.unwrap_or(options.clock_ahead);
        options.max_page_size = self.max_page_size.unwrap_or(options.max_page_size);
        if let Some(older) = &self.older_put {
            options.older_put = if older == "keeps" { OlderPut::Keeps } else { OlderPut::Clears };
        }
        Ok(())
    }
}

fn add_policies(
    all: &mut Vec<Policy>,
    added: &[PolicyPart],
    pointer: &str,
    key_bytes: usize,
) -> Result<(), ScenarioError> {
    for (index, part) in added.iter().enumerate() {
        let unknown = |name: &String| {
            let problem = format!("the permission `{name}` is not known");
            ScenarioError::value(format!("{pointer}/{index}/permissions"), problem)
        };
        let permissions = part.permissions.iter().map(|name| permission(name).ok_or_else(|| unknown(name)));
        let permissions = permissions.collect::<Result<Vec<_>, _>>()?;
        let mut policy = Policy::generate(part.name.as_str(), permissions, key_bytes);
        if let Some(key) = &part.primary_key {
            policy.primary_key.clone_from(key);
        }
        all.retain(|usual| usual.name != policy.name);
        all.push(policy);
    }
    Ok(())
}

fn permission(name: &str) -> Option<Permission> {
    Some(match name {
        "registryRead" => Permission::RegistryRead,
        "registryWrite" => Permission::RegistryWrite,
        "serviceConnect" => Permission::ServiceConnect,
        "deviceConnect" => Permission::DeviceConnect,
        "serviceConfig" => Permission::ServiceConfig,
        "enrollmentRead" => Permission::EnrollmentRead,
        "enrollmentWrite" => Permission::EnrollmentWrite,
        "registrationStatusRead" => Permission::RegistrationStatusRead,
        "registrationStatusWrite" => Permission::RegistrationStatusWrite,
        _ => return None,
    })
}
