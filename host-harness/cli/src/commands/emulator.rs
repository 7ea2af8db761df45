//! `emulator`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use azure_iot_emulator::{
    DeviceRegistry, DevicesOnline, DpsApi, Emulator, EmulatorOptions, FaultRule, GatewayVersion, HubApi, HubName,
    Moment, OlderPut, PasswordLogin, PayloadKind, Scenario, Simulator, SimulatorOptions, TlsSuites,
};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::output::Output;
use super::signals::interrupted;
use super::{Done, Exit, files, usage};

/// The name of the shared access policies of IoT Hub and the Device Provisioning Service in the connection file, unless
/// the scenario names others.
const POLICY: &str = "connector";
/// The domain of the host names of IoT hubs in Azure.
const HUB_DOMAIN: &str = "azure-devices.net";

#[derive(Debug, Args)]
pub(crate) struct EmulatorArguments {
    /// A JSON file of what the services contain from the start (devices, twins, enrollments, configurations, policies)
    /// and what happens to them later (faults, a fail-over). docs/emulator.md describes it. What the file states goes
    /// before an option.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// The loopback address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// The port of the IoT hub; 0 takes any free port.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    hub_port: u16,
    /// The port of the Device Provisioning Service; 0 takes any free port.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    dps_port: u16,
    /// The port of the Event Hub-compatible endpoint (AMQP over TLS); 0 takes any free port.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    event_hub_port: u16,
    /// The port of the IoT hub's own AMQP endpoint; 0 takes any free port.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    hub_amqp_port: u16,
    /// The port at which devices use MQTT, of the IoT hub and the Device Provisioning Service; 0 takes any free port.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    mqtt_port: u16,
    /// A loopback address, such as 127.0.0.2, at which ports 443, 5671 and 8883 are bound in addition, where they are
    /// free: for clients of devices that cannot be told a port.
    #[arg(long, value_name = "ADDRESS")]
    device_address: Option<IpAddr>,
    /// Create a device identity with this id, and print its connection string. Can be repeated.
    #[arg(long, value_name = "ID")]
    device: Vec<String>,
    /// The host names that the IoT hub has in addition to `localhost`: v1 has HUB.azure-devices.net, v2 also has
    /// HUB.service.azure-devices.net for back ends and HUB.device.azure-devices.net for devices. Each name also exists
    /// with `.privatelink` before the domain.
    #[arg(long, value_enum, default_value = "v1")]
    gateway: Gateway,
    /// Which host name of the IoT hub the written connection uses [default: localhost].
    #[arg(long, value_enum, value_name = "NAME")]
    hub_name: Option<LinkedName>,
    /// What the IoT hub's own AMQP endpoint does with passwords (SASL PLAIN).
    #[arg(long, value_enum, default_value = "taken")]
    hub_passwords: Passwords,
    /// Which TLS cipher suites the emulator offers: those that the services document, or only one.
    #[arg(long, value_enum, default_value = "service")]
    tls_suites: Suites,
    /// The number of partitions of the Event Hub-compatible endpoint.
    #[arg(long, default_value_t = 4, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=32))]
    partitions: u16,
    /// Let simulated devices send this number of messages per second, all devices together.
    #[arg(long, value_name = "MESSAGES")]
    telemetry_rate: Option<f64>,
    /// Which messages the simulated devices send: json, text, binary or malformed-json. The weight states how often,
    /// relative to the other kinds, such as json=9. Can be repeated [default: 85 of 100 are JSON, 8 text, 5 binary, 2
    /// malformed].
    #[arg(long, value_name = "KIND[=WEIGHT]", requires = "telemetry_rate", value_parser = payload)]
    telemetry_kind: Vec<(PayloadKind, u32)>,
    /// The number of simulated devices.
    #[arg(long, default_value_t = 10, value_name = "COUNT", requires = "telemetry_rate")]
    telemetry_devices: u32,
    /// Let a custom route take the devices' messages to another endpoint, with the fallback route off: none of these
    /// messages reaches the Event Hub-compatible endpoint.
    #[arg(long)]
    telemetry_routed_away: bool,
    /// The newest version of its service API that the IoT hub accepts: 2021-04-12, 2024-03-31 or 2026-11-01-preview.
    #[arg(long, default_value_t, value_name = "VERSION")]
    hub_api: HubApi,
    /// The newest version of its service API that the Device Provisioning Service accepts: 2021-10-01 or 2026-11-01.
    #[arg(long, default_value_t, value_name = "VERSION")]
    dps_api: DpsApi,
    /// Link the IoT hub to this namespace of Azure Device Registry: device identities then show the data that the
    /// registry has of them.
    #[arg(long, value_name = "NAMESPACE")]
    device_registry: Option<String>,
    /// How long after its creation a device identity shows the registry's data, in seconds.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", requires = "device_registry")]
    device_registry_delay: u64,
    /// What a PUT request at an older API version does to the members that this version does not know.
    #[arg(long, value_enum, default_value = "clears")]
    older_put: Older,
    /// The host name by which the IoT hub is linked to the Device Provisioning Service, such as
    /// plant.device.azure-devices.net [default: the hub's host].
    #[arg(long, value_name = "HOST")]
    hub_link: Option<String>,
    /// A rule by which the emulator misbehaves: [hub:|dps:|eventhub:|hub-amqp:]METHOD PATH=ACTION, such as "POST
    /// /enrollments/query=429x3", "* /=latency:250@0.1" or "eventhub:TRANSFER /*=detachx1". Can be repeated.
    #[arg(long, value_name = "RULE")]
    fault: Vec<FaultRule>,
    /// Which devices answer direct methods.
    #[arg(long, value_enum, default_value = "all")]
    devices_online: Online,
    /// Enforce the throttling limits of the services, for one S1 unit.
    #[arg(long)]
    throttles: bool,
    /// How long after its expiry a token is still accepted, in seconds, because clocks differ.
    #[arg(long, value_name = "SECONDS")]
    clock_tolerance: Option<u64>,
    /// Keep the certificate authority in this directory, so that the next run uses the same one.
    #[arg(long, value_name = "DIRECTORY")]
    certificates: Option<PathBuf>,
    /// Write a connection to the emulator to this file, and the certificate authority to FILE.ca.pem.
    #[arg(long, value_name = "FILE")]
    connection_out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Online {
    /// Every enabled device that was not expressly disconnected.
    All,
    /// Only devices that a simulator has connected.
    Registered,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Suites {
    /// AES-256-GCM and AES-128-GCM.
    Service,
    /// Only AES-128-GCM.
    #[value(name = "aes-128-gcm")]
    Aes128Gcm,
    /// Only AES-256-GCM.
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// Only ChaCha20-Poly1305. No Azure service documents this cipher suite.
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl From<Suites> for TlsSuites {
    fn from(suites: Suites) -> Self {
        match suites {
            Suites::Service => Self::AsTheService,
            Suites::Aes128Gcm => Self::Aes128Gcm,
            Suites::Aes256Gcm => Self::Aes256Gcm,
            Suites::ChaCha20Poly1305 => Self::ChaCha20Poly1305,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Older {
    /// The request clears these members.
    Clears,
    /// The request leaves these members unchanged.
    Keeps,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Gateway {
    /// Only the classic host name.
    V1,
    /// Also a host name for back ends and one for devices.
    V2,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LinkedName {
    /// HUB.azure-devices.net.
    Classic,
    /// HUB.service.azure-devices.net.
    Service,
    /// HUB.device.azure-devices.net.
    Device,
}

impl From<LinkedName> for HubName {
    fn from(name: LinkedName) -> Self {
        match name {
            LinkedName::Classic => Self::Classic,
            LinkedName::Service => Self::Service,
            LinkedName::Device => Self::Device,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Passwords {
    /// Passwords are accepted, as IoT hubs do.
    Taken,
    /// The mechanism is offered, and every password is refused.
    Refused,
    /// The mechanism is not offered.
    NotOffered,
}

fn payload(text: &str) -> Result<(PayloadKind, u32), String> {
    let (kind, weight) = text.split_once('=').unwrap_or((text, "1"));
    let weight = weight.parse().ok().filter(|weight| (1..=1_000).contains(weight));
    Ok((kind.parse()?, weight.ok_or_else(|| "the weight must be a number from 1 to 1000".to_owned())?))
}

/// Runs the emulator until the program is interrupted.
pub(crate) async fn run(output: &Output, arguments: EmulatorArguments) -> Done {
    let mut options = EmulatorOptions {
        tls_suites: arguments.tls_suites.into(),
        gateway: match arguments.gateway {
            Gateway::V1 => GatewayVersion::V1,
            Gateway::V2 => GatewayVersion::V2,
        },
        listen: arguments.listen,
        hub_port: arguments.hub_port,
        dps_port: arguments.dps_port,
        devices_online: match arguments.devices_online {
            Online::All => DevicesOnline::All,
            Online::Registered => DevicesOnline::Registered,
        },
        event_hub_port: arguments.event_hub_port,
        hub_amqp_port: arguments.hub_amqp_port,
        mqtt_port: arguments.mqtt_port,
        device_address: arguments.device_address,
        partitions: arguments.partitions,
        telemetry_routed_away: arguments.telemetry_routed_away,
        hub_api: arguments.hub_api,
        dps_api: arguments.dps_api,
        older_put: match arguments.older_put {
            Older::Clears => OlderPut::Clears,
            Older::Keeps => OlderPut::Keeps,
        },
        device_registry: arguments
            .device_registry
            .map(|namespace| DeviceRegistry { namespace, delay: Duration::from_secs(arguments.device_registry_delay) }),
        hub_link: arguments.hub_link,
        throttles: arguments.throttles,
        certificate_dir: arguments.certificates,
        ..EmulatorOptions::default()
    };
    if let Some(seconds) = arguments.clock_tolerance {
        options.clock_tolerance = Duration::from_secs(seconds);
    }
    options.amqp.passwords = match arguments.hub_passwords {
        Passwords::Taken => PasswordLogin::Taken,
        Passwords::Refused => PasswordLogin::Refused,
        Passwords::NotOffered => PasswordLogin::NotOffered,
    };
    let name = arguments.hub_name.map(HubName::from);
    let scenario = arguments.scenario.as_deref().map(scenario).transpose().map_err(usage)?.unwrap_or_default();
    scenario.set_up(&mut options).map_err(usage)?;
    let timeline = scenario.timeline().map_err(usage)?;
    let emulator = Emulator::start(options).await.map_err(usage)?;
    scenario.fill(&emulator).await.map_err(|error| usage(anyhow!("the scenario cannot be set up: {error}")))?;
    if name.is_some_and(|name| emulator.hub_host_by(name).is_none()) {
        return Err(usage(anyhow!("the IoT hub has this name only with `--gateway v2`")));
    }
    let devices: Result<Vec<_>, _> = arguments.device.iter().map(|id| emulator.create_device(id)).collect();
    let mut devices = devices.map_err(usage)?;
    devices.extend(scenario.devices().filter_map(|id| emulator.device_connection_string(id)));
    for rule in arguments.fault {
        emulator.faults().add(rule);
    }
    let files = match &arguments.connection_out {
        Some(path) => {
            let connection = connection(&emulator, name, &scenario).map_err(usage)?;
            Some((path, write_connection(&emulator, &connection, path).map_err(usage)?))
        }
        None => None,
    };
    let simulator = arguments.telemetry_rate.map(|rate| {
        let devices = (1..=arguments.telemetry_devices).map(|number| format!("press-{number:02}")).collect();
        let mut options = SimulatorOptions { rate, devices, ..SimulatorOptions::default() };
        if !arguments.telemetry_kind.is_empty() {
            options.mix = arguments.telemetry_kind;
        }
        Simulator::start(&emulator, options)
    });
    let simulator = simulator.transpose().map_err(|error| Exit::Failed(anyhow!("{error:?}")))?;
    let leads = name.map(|_| format!(" --resolve {HUB_DOMAIN}={}", arguments.listen)).unwrap_or_default();
    let files = files.as_ref().map(|(path, ca)| (path.as_path(), ca.as_path()));
    announce(output, &emulator, &leads, &devices, files)?;
    let ended = tokio::select! {
        () = interrupted() => Ok(()),
        failed = play(output, &emulator, timeline) => failed,
    };
    if let Some(simulator) = simulator {
        simulator.stop();
    }
    emulator.shutdown().await;
    ended
}

/// Reads a scenario file.
fn scenario(path: &Path) -> Result<Scenario> {
    Scenario::parse(&files::read_text(path)?).with_context(|| format!("the scenario {} is wrong", path.display()))
}

/// Lets happen what the scenario plans, each at its time. Returns only if something fails.
async fn play(output: &Output, emulator: &Emulator, timeline: Vec<Moment>) -> Done {
    let start = Instant::now();
    for moment in timeline {
        let after = moment.after;
        sleep_until(start + after).await;
        let text = moment.happen(emulator).await.map_err(|error| Exit::Failed(error.into()))?;
        if output.is_json() {
            output.json(&json!({ "afterSeconds": after.as_secs_f64(), "happened": text }))?;
        } else {
            output.line(&format!("After {} s: {text}.", after.as_secs_f64()))?;
        }
    }
    std::future::pending().await
}

/// Writes the connection to `path`, and the certificate authority to a file beside it. Returns the path of the second
/// file.
fn write_connection(emulator: &Emulator, connection: &Value, path: &Path) -> Result<PathBuf> {
    files::write_atomically(path, &serde_json::to_vec_pretty(connection)?)?;
    let mut authority = path.as_os_str().to_owned();
    authority.push(".ca.pem");
    let authority = PathBuf::from(authority);
    files::write_atomically(&authority, emulator.ca_pem().as_bytes())?;
    Ok(authority)
}

/// A connection to the emulator, with all permissions unless the scenario names other policies. It contains the
/// emulator's keys.
fn connection(emulator: &Emulator, name: Option<HubName>, scenario: &Scenario) -> Result<Value> {
    let missing = |policy: &str| format!("there is no policy `{policy}`");
    let hub = scenario.hub_policy().unwrap_or(POLICY);
    let dps = scenario.provisioning_policy().unwrap_or(POLICY);
    let hub = emulator.hub_policy(hub).with_context(|| missing(hub))?;
    let dps = emulator.dps_policy(dps).with_context(|| missing(dps))?;
    Ok(json!({
        "authProfile": "shared-access-key",
        "values": {
            "iotHubName": name.and_then(|name| emulator.hub_host_by(name)).unwrap_or_else(|| emulator.hub_host()),
            "sharedAccessKeyName": hub.name,
            "sharedAccessKey": hub.primary_key,
            "dpsHostName": emulator.dps_host(),
            "dpsSharedAccessKeyName": dps.name,
            "dpsSharedAccessKey": dps.primary_key,
            "iotHubAmqpHost": name.and_then(|name| emulator.hub_amqp_host_by(name)).unwrap_or_else(|| emulator.hub_amqp_host()),
            "trustedCertificates": emulator.ca_pem(),
            "trustedHostSuffixes": if name.is_some() { json!(["localhost", HUB_DOMAIN]) } else { json!(["localhost"]) },
        },
    }))
}

fn announce(
    output: &Output,
    emulator: &Emulator,
    leads: &str,
    devices: &[String],
    files: Option<(&Path, &Path)>,
) -> Done {
    let (hub, dps) = (emulator.hub_host(), emulator.dps_host());
    let policies = ["iothubowner", "service", "device"].map(|name| emulator.hub_connection_string(name));
    let policies: Vec<_> = policies.into_iter().flatten().collect();
    if output.is_json() {
        return output.json(&json!({
            "hub": hub,
            "dps": dps,
            "hubAmqp": emulator.hub_amqp_host(),
            "mqtt": emulator.mqtt_host(),
            "eventHub": emulator.event_hub_host(),
            "eventHubName": emulator.event_hub_name(),
            "idScope": emulator.id_scope(),
            "deviceAddress": emulator.well_known_ports().map(|ports| ports.address),
            "hubConnectionStrings": policies,
            "deviceConnectionStrings": devices,
            "connection": files.map(|(connection, _)| connection),
            "trustRoots": files.map(|(_, authority)| authority),
        }));
    }
    output.line(&format!("IoT Hub                      https://{hub}"))?;
    output.line(&format!("Device Provisioning Service  https://{dps} (id scope {})", emulator.id_scope()))?;
    output.line(&format!(
        "Event Hub-compatible         amqps://{}/{}",
        emulator.event_hub_host(),
        emulator.event_hub_name()
    ))?;
    output.line(&format!("IoT Hub, AMQP                amqps://{}", emulator.hub_amqp_host()))?;
    output.line(&format!("Devices, MQTT                mqtts://{} (both services)", emulator.mqtt_host()))?;
    if let Some(ports) = emulator.well_known_ports() {
        let missing = ports.missing();
        let missing = if missing.is_empty() { String::new() } else { format!(", without {missing:?}: not free") };
        output.line(&format!("Devices without a port       {} (443, 5671, 8883{missing})", ports.address))?;
    }
    output.line("\nConnection strings of the IoT hub's policies:")?;
    policies.iter().try_for_each(|string| output.line(&format!("  {string}")))?;
    match devices {
        [] => output.line("\nAdd `--device ID` to create a device and get its connection string.")?,
        devices => {
            output.line("\nConnection strings of devices:")?;
            devices.iter().try_for_each(|string| output.line(&format!("  {string}")))?;
        }
    }
    match files {
        Some((connection, authority)) => output.line(&format!(
            "\nTry it out:\n  connector-host test --connection {} --trust-roots {} --allow-host localhost --allow-host {} --allow-private-networks{leads}",
            connection.display(),
            authority.display(),
            emulator.event_hub_host(),
        ))?,
        None => output.line("\nAdd `--connection-out FILE` to get a connection to this emulator and its certificate authority.")?,
    }
    output.line("\nCtrl-C ends it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kinds_of_payload() {
        assert_eq!(payload("text"), Ok((PayloadKind::Text, 1)));
        assert_eq!(payload("malformed-json=3"), Ok((PayloadKind::MalformedJson, 3)));
        for wrong in ["xml", "json=0", "json=", "json=x"] {
            assert!(payload(wrong).is_err(), "{wrong}");
        }
    }
}
