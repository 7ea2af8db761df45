//! The descriptor of the connector: its connection forms, permissions, triggers, actions and egress rules.

#[cfg(test)]
pub(crate) mod tests;

use crate::account;
use crate::amqp_transport::AmqpTransport;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{
    ActionDescriptor, Descriptor, EgressProtocol, EgressRule, Operation, Permission as PermissionRecord,
    TriggerDescriptor,
};
use crate::host_name::{DPS_SUFFIXES, EVENT_HUB_SUFFIXES, HUB_EGRESS_SUFFIXES};
use crate::{actions, triggers};

/// The version of the interface in `wit/` that the connector was built with.
pub const INTERFACE_VERSION: &str = "0.2.0";

/// The whole descriptor.
pub fn descriptor() -> Descriptor {
    Descriptor {
        id: "azure-iot".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        interface_version: INTERFACE_VERSION.to_owned(),
        title: "Entra ID IoT".to_owned(),
        help: "Reacts to and acts on **Azure IoT Hub** and its **Device Provisioning Service**: telemetry, device identities, twins, messages, direct methods, \
               enrollments and registrations. Link an account with a shared access policy of the hub; add one of the provisioning service for enrollments and registrations."
            .to_owned(),
        auth_profiles: account::profiles(),
        permissions: permissions().map(permission_record).collect(),
        triggers: trigger_descriptors(),
        actions: action_descriptors(),
        egress: egress(),
        unsupported: ["trigger.subscribe", "trigger.renew", "trigger.unsubscribe", "trigger.receive"].map(str::to_owned).to_vec(),
    }
}

/// The descriptors of all triggers.
pub fn trigger_descriptors() -> Vec<TriggerDescriptor> {
    triggers::all().map(|trigger| trigger.descriptor()).collect()
}

/// The descriptors of all actions.
pub fn action_descriptors() -> Vec<ActionDescriptor> {
    actions::all().map(|action| action.descriptor()).collect()
}

/// All permissions, in the order of the connection guide.
pub fn permissions() -> impl Iterator<Item = Permission> {
    Permission::HUB.into_iter().chain(Permission::DPS)
}

/// Ids of the operations that need a permission.
pub fn unlocked_by(permission: Permission) -> Vec<String> {
    operations()
        .filter(|operation| operation.permissions.iter().any(|needed| needed == permission.id()))
        .map(|operation| operation.id)
        .collect()
}

/// All operations, triggers first.
pub fn operations() -> impl Iterator<Item = Operation> {
    trigger_descriptors()
        .into_iter()
        .map(|trigger| trigger.operation)
        .chain(action_descriptors().into_iter().map(|action| action.operation))
}

fn permission_record(permission: Permission) -> PermissionRecord {
    let purpose = match permission {
        Permission::RegistryRead => "Reading the hub's registry: identities, automatic configurations, statistics.",
        Permission::RegistryWrite => "Changing the hub's registry.",
        Permission::ServiceConnect => {
            "All that a back end does beside the registry: telemetry, messages, feedback, twins, queries, direct methods, jobs."
        }
        Permission::DeviceConnect => "Speaking to the hub in a device's name.",
        Permission::ServiceConfig => "The provisioning service's own configuration.",
        Permission::EnrollmentRead => "Reading enrollments.",
        Permission::EnrollmentWrite => "Creating, changing and deleting enrollments.",
        Permission::RegistrationStatusRead => "Reading the state of registrations.",
        Permission::RegistrationStatusWrite => "Deleting registrations.",
    };
    PermissionRecord {
        id: permission.id().to_owned(),
        title: permission.title().to_owned(),
        service: permission.service().to_owned(),
        help: format!(
            "{purpose} In the Azure portal open the {}, then **Shared access policies**, then the policy.",
            permission.service()
        ),
    }
}

fn egress() -> Vec<EgressRule> {
    let rule = |protocol, host: &str, default_port, suffixes: &[&str], purpose: &str| EgressRule {
        protocol,
        host: host.to_owned(),
        default_port,
        suffixes: suffixes.iter().map(|suffix| (*suffix).to_owned()).collect(),
        purpose: purpose.to_owned(),
    };
    use EgressProtocol::{Https, Tls};
    let mut rules = vec![
        rule(Https, "{iotHubName}", 443, &HUB_EGRESS_SUFFIXES, "The hub's service API"),
        rule(
            Https,
            "{iotHubDeviceHostName}",
            443,
            &HUB_EGRESS_SUFFIXES,
            "The hub's API for devices, where the hub is linked by its name for back ends",
        ),
        rule(Https, "{dpsHostName}", 443, &DPS_SUFFIXES, "The provisioning service's API"),
    ];
    if cfg!(feature = "amqp") {
        let (tcp, web_sockets) = (AmqpTransport::Tcp.port(), AmqpTransport::WebSockets.port());
        rules.extend([
            rule(
                Tls,
                "{iotHubAmqpHost}",
                tcp,
                &HUB_EGRESS_SUFFIXES,
                "The hub's AMQP endpoint: messages to devices, feedback, and the name of the Event Hub-compatible endpoint",
            ),
            rule(
                Tls,
                "{eventHubHostName}",
                tcp,
                &EVENT_HUB_SUFFIXES,
                "The Event Hub-compatible endpoint, where it is pinned",
            ),
            rule(
                Tls,
                "*",
                tcp,
                &EVENT_HUB_SUFFIXES,
                "The Event Hub-compatible endpoint that the hub names; it changes when a hub fails over",
            ),
            rule(
                Tls,
                "{iotHubWebSocketHost}",
                web_sockets,
                &HUB_EGRESS_SUFFIXES,
                "The hub's AMQP endpoint, where the connection chooses AMQP over WebSockets",
            ),
            rule(
                Tls,
                "{eventHubWebSocketHost}",
                web_sockets,
                &EVENT_HUB_SUFFIXES,
                "The Event Hub-compatible endpoint, where it is pinned and the connection chooses AMQP over WebSockets",
            ),
            rule(
                Tls,
                "*",
                web_sockets,
                &EVENT_HUB_SUFFIXES,
                "The Event Hub-compatible endpoint that the hub names, where the connection chooses AMQP over WebSockets",
            ),
        ]);
    }
    rules
}
