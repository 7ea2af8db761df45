//! How the emulator is set up.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::event_hub::event::EventSource;
use crate::names::GatewayVersion;
use crate::tls::TlsSuites;
use crate::versions::{DpsApi, HubApi, OlderPut};
use crate::{faults, random};

/// How the emulator is set up. Start from [`EmulatorOptions::default`].
#[derive(Clone, Debug)]
pub struct EmulatorOptions {
    /// The address to listen on. Only loopback is accepted, because the emulator must not serve other machines.
    pub listen: IpAddr,
    /// The port of the hub; 0 takes any free port.
    pub hub_port: u16,
    /// The port of the provisioning service; 0 takes any free port.
    pub dps_port: u16,
    /// The port of the Event Hub-compatible endpoint (AMQP over TLS); 0 takes any free port.
    pub event_hub_port: u16,
    /// A second port of the Event Hub-compatible endpoint, without TLS, for clients that cannot use TLS to loopback,
    /// such as clients that support `UseDevelopmentEmulator=true`; 0 takes any free port, `None` opens no port.
    pub event_hub_plaintext_port: Option<u16>,
    /// The port of the hub's own AMQP endpoint (over TLS); 0 takes any free port. Microsoft's clients for C2D messages
    /// always use port 5671.
    pub hub_amqp_port: u16,
    /// The port at which devices use MQTT, of the hub and of the provisioning service; 0 takes any free port. Microsoft's
    /// clients use port 8883.
    pub mqtt_port: u16,
    /// A loopback address at which the ports 443, 5671 and 8883 are bound in addition, where they are free: for clients of
    /// devices that cannot be told a port. Another address than [`Self::listen`], such as 127.0.0.2, leaves other
    /// programs alone. See [`crate::Emulator::well_known_ports`].
    pub device_address: Option<IpAddr>,
    /// The certification authorities, in PEM, that issue the certificates of devices with the authentication type
    /// `certificateAuthority`. The signing certificates of enrollment groups are known without being listed.
    pub device_authorities: Vec<String>,
    /// The hub's short name, as it appears in events, digital twin links and the hub's host names.
    pub hub_name: String,
    /// The newest version of the service API that the hub accepts.
    pub hub_api: HubApi,
    /// The newest version of the service API that the provisioning service accepts.
    pub dps_api: DpsApi,
    /// What a PUT at an older API version does to members that this version does not know.
    pub older_put: OlderPut,
    /// The Device Registry that the hub is linked to; `None` means a classic hub.
    pub device_registry: Option<DeviceRegistry>,
    /// The name by which the hub is linked to the provisioning service, such as `plant.device.azure-devices.net`.
    /// Enrollments must use exactly this name, and `assignedHub` shows it. `None` means the hub's host.
    pub hub_link: Option<String>,
    /// Which host names the hub has, see [`GatewayVersion`].
    pub gateway: GatewayVersion,
    /// Which TLS cipher suites all endpoints offer.
    pub tls_suites: TlsSuites,
    /// The provisioning service's id scope, the first path segment of its device API.
    pub id_scope: String,
    /// The Event Hub-compatible name; by default each start generates a new name in the service's form.
    pub event_hub_name: Option<String>,
    /// How many partitions the built-in endpoint has, 1 to 32; hubs have 4 by default.
    pub partitions: u16,
    /// Consumer groups besides `$Default`.
    pub consumer_groups: Vec<String>,
    /// How many events a partition retains; `None` sets no limit.
    pub retention_events: Option<usize>,
    /// How long events are retained: 1 to 7 days at the service; `None` sets no limit.
    pub retention_time: Option<Duration>,
    /// Which system events are routed to the built-in endpoint. Hubs have no such route by default.
    pub system_event_routes: BTreeSet<EventSource>,
    /// Whether a custom route sends device messages to another endpoint, with the fallback route off. The built-in
    /// endpoint then gets none of these messages; telemetry sinks still get all of them.
    pub telemetry_routed_away: bool,
    /// The times and limits of AMQP connections.
    pub amqp: AmqpOptions,
    /// The seed of the random numbers of fault rules.
    pub fault_seed: u64,
    /// The hub's shared access policies.
    pub hub_policies: Vec<Policy>,
    /// The provisioning service's shared access policies.
    pub dps_policies: Vec<Policy>,
    /// The largest page of a query; the services' own limit is 1000.
    pub max_page_size: usize,
    /// Which devices answer direct methods.
    pub devices_online: DevicesOnline,
    /// Whether the per-unit throttles of the services are enforced (for one S1 unit).
    pub throttles: bool,
    /// How long after its expiry a token is still accepted. The services allow five minutes for clocks that differ.
    pub clock_tolerance: Duration,
    /// By how many seconds the services' clock is ahead of the machine's clock; may be negative. The services' clock
    /// decides when tokens expire and which `Date` header answers have.
    pub clock_ahead: i64,
    /// Where the certificate authority is kept between runs; `None` makes a new one each time.
    pub certificate_dir: Option<PathBuf>,
}

impl Default for EmulatorOptions {
    fn default() -> Self {
        use Permission::*;
        Self {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            hub_port: 0,
            dps_port: 0,
            event_hub_port: 0,
            event_hub_plaintext_port: None,
            hub_amqp_port: 0,
            mqtt_port: 0,
            device_address: None,
            device_authorities: Vec::new(),
            hub_name: "plant".to_owned(),
            hub_api: HubApi::default(),
            dps_api: DpsApi::default(),
            older_put: OlderPut::default(),
            device_registry: None,
            hub_link: None,
            gateway: GatewayVersion::default(),
            tls_suites: TlsSuites::default(),
            id_scope: "0ne00000000".to_owned(),
            event_hub_name: None,
            partitions: 4,
            consumer_groups: Vec::new(),
            retention_events: None,
            retention_time: Some(Duration::from_secs(24 * 3600)),
            system_event_routes: BTreeSet::new(),
            telemetry_routed_away: false,
            amqp: AmqpOptions::default(),
            fault_seed: faults::SEED,
            hub_policies: vec![
                Policy::generate("iothubowner", [RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect], 32),
                Policy::generate("service", [ServiceConnect], 32),
                Policy::generate("device", [DeviceConnect], 32),
                Policy::generate("registryRead", [RegistryRead], 32),
                Policy::generate("registryReadWrite", [RegistryRead, RegistryWrite], 32),
                Policy::generate("connector", [RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect], 32),
            ],
            dps_policies: vec![
                Policy::generate("provisioningserviceowner", Permission::DPS, 64),
                Policy::generate("connector-triggers", [ServiceConfig, EnrollmentRead, RegistrationStatusRead], 64),
                Policy::generate("connector", Permission::DPS, 64),
            ],
            max_page_size: 1000,
            devices_online: DevicesOnline::All,
            throttles: false,
            clock_tolerance: Duration::from_secs(300),
            clock_ahead: 0,
            certificate_dir: None,
        }
    }
}

/// The link between a hub and a namespace of Azure Device Registry.
#[derive(Clone, Debug)]
pub struct DeviceRegistry {
    /// The namespace's name.
    pub namespace: String,
    /// How long after its creation an identity shows the members that Device Registry writes. At the service this takes
    /// seconds to minutes.
    pub delay: Duration,
}

/// The times and limits of AMQP connections.
///
/// The defaults are the service's where Microsoft documents them (the AMQP troubleshooting page of Event Hubs: a
/// connection without a link ends after 60 seconds, an idle link after 10 to 30 minutes; feedback comes in batches of
/// 64 or after 15 seconds). The advertised idle time-out is the emulator's own choice.
#[derive(Clone, Debug)]
pub struct AmqpOptions {
    /// The idle time-out that `open` advertises; `None` advertises none. A client that sends nothing for twice this
    /// time, not even a heartbeat, is cut off: the AMQP standard asks peers to advertise half of the real limit.
    pub idle_time_out: Option<Duration>,
    /// After how long without a delivery a link for events, notices or messages is detached with
    /// `amqp:link:detach-forced`; `None` sets no limit.
    pub link_idle: Option<Duration>,
    /// After how long without any link a connection is closed with `amqp:connection:forced`; `None` sets no limit.
    pub no_link: Option<Duration>,
    /// The largest frame, in bytes, that the emulator accepts, and that it sends unless the client accepts less. At
    /// least 512.
    pub max_frame_size: u32,
    /// How long a feedback record waits for more records to share its message.
    pub feedback_wait: Duration,
    /// Whether the hub's own endpoint accepts passwords (SASL PLAIN).
    pub passwords: PasswordLogin,
}

impl Default for AmqpOptions {
    fn default() -> Self {
        Self {
            idle_time_out: Some(Duration::from_secs(240)),
            link_idle: Some(Duration::from_secs(30 * 60)),
            no_link: Some(Duration::from_secs(60)),
            max_frame_size: 65_536,
            feedback_wait: Duration::from_secs(15),
            passwords: PasswordLogin::Taken,
        }
    }
}

/// What the hub's own AMQP endpoint does with passwords (SASL PLAIN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordLogin {
    /// The endpoint accepts passwords, as hubs do.
    Taken,
    /// The endpoint offers the mechanism and refuses every password.
    Refused,
    /// The endpoint does not offer the mechanism.
    NotOffered,
}

/// Which devices answer direct methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicesOnline {
    /// Every enabled device that was not explicitly disconnected. A device without a handler echoes the payload with
    /// status 200.
    All,
    /// Only devices that a simulator has connected.
    Registered,
}

/// What a shared access policy permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Permission {
    /// Hub: read the identity registry. Not implied by [`Permission::RegistryWrite`].
    RegistryRead,
    /// Hub: change the identity registry.
    RegistryWrite,
    /// Hub: the service-facing endpoints: twins, queries, methods, messages.
    ServiceConnect,
    /// Hub: the device-facing endpoints.
    DeviceConnect,
    /// DPS: the service's configuration.
    ServiceConfig,
    /// DPS: read enrollments and enrollment groups.
    EnrollmentRead,
    /// DPS: change enrollments and enrollment groups, and see their keys.
    EnrollmentWrite,
    /// DPS: read registration records.
    RegistrationStatusRead,
    /// DPS: delete registration records.
    RegistrationStatusWrite,
}

impl Permission {
    const DPS: [Permission; 5] = [
        Self::ServiceConfig,
        Self::EnrollmentRead,
        Self::EnrollmentWrite,
        Self::RegistrationStatusRead,
        Self::RegistrationStatusWrite,
    ];
}

/// A shared access policy.
#[derive(Clone)]
pub struct Policy {
    /// The policy's name: `skn` in a token, `SharedAccessKeyName` in a connection string.
    pub name: String,
    /// The first of two keys with the same rights, base64.
    pub primary_key: String,
    /// The second key, base64, for rotation.
    pub secondary_key: String,
    /// What the policy permits.
    pub permissions: BTreeSet<Permission>,
}

impl Policy {
    /// A policy with two new random keys of `key_bytes` bytes (hubs use 32, provisioning services 64).
    pub fn generate(
        name: impl Into<String>,
        permissions: impl IntoIterator<Item = Permission>,
        key_bytes: usize,
    ) -> Self {
        Self {
            name: name.into(),
            primary_key: random::key(key_bytes),
            secondary_key: random::key(key_bytes),
            permissions: permissions.into_iter().collect(),
        }
    }
}

impl fmt::Debug for Policy {
    /// Prints the name and the permissions, never the keys.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Policy")
            .field("name", &self.name)
            .field("permissions", &self.permissions)
            .finish_non_exhaustive()
    }
}

/// Checks that policies have names and keys that can be used.
///
/// # Errors
/// The first problem, as a sentence.
pub(crate) fn check_policies(policies: &[Policy]) -> Result<(), String> {
    use base64::Engine as _;
    let mut names = BTreeSet::new();
    for policy in policies {
        if policy.name.is_empty() || !names.insert(policy.name.as_str()) {
            return Err(format!("the policy name '{}' is empty or used twice", policy.name));
        }
        for key in [&policy.primary_key, &policy.secondary_key] {
            if !base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|key| !key.is_empty()) {
                return Err(format!("a key of the policy '{}' is not base64", policy.name));
            }
        }
    }
    Ok(())
}
