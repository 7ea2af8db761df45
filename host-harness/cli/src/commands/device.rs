//! `device`: one device, as a client of a hub over the network.

mod https;
mod identity;
mod line;
mod message;
mod mqtt;
mod registration;
mod running;
mod tls;
mod topics;
mod transport;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use clap::Args;
use connector_host::Secret;
use serde_json::Value;

use self::https::{HubApi, PORT as HTTPS};
use self::identity::{Identity, Proof};
use self::message::OnMessage;
use self::registration::{Registration, register};
use self::running::Plan;
use self::tls::{Tls, split};
use self::transport::Transport;
use self::upload::Upload;
use super::output::Output;
use super::session::{Session, seconds};
use super::{Done, Exit, usage};

#[derive(Debug, Args)]
#[command(next_help_heading = "Which device")]
pub(crate) struct DeviceArguments {
    /// The device's connection string: HostName=...;DeviceId=...;SharedAccessKey=.... Other users of this machine can
    /// see arguments, so use the environment variable for a real device.
    #[arg(long, env = "CONNECTOR_DEVICE", hide_env_values = true, value_name = "TEXT", value_parser = secret)]
    connection_string: Option<Secret>,
    /// The hub's host name, if there is no connection string.
    #[arg(long, value_name = "HOST[:PORT]", requires = "device")]
    host: Option<String>,
    /// The device id.
    #[arg(long, value_name = "ID", requires = "host")]
    device: Option<String>,
    /// The module id, to be a module of the device.
    #[arg(long, value_name = "ID", requires = "host")]
    module: Option<String>,
    /// The device's key, base64.
    #[arg(long, env = "CONNECTOR_DEVICE_KEY", hide_env_values = true, value_name = "KEY", value_parser = secret)]
    key: Option<Secret>,
    /// The device's certificate chain (PEM), instead of a key.
    #[arg(long, value_name = "FILE", requires = "private_key")]
    certificate: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate")]
    private_key: Option<PathBuf>,
    /// How MQTT reaches the hub and the provisioning service.
    #[arg(long, value_enum, default_value = "mqtt")]
    transport: Transport,
    /// The port of MQTT, at the hub and at the provisioning service [default: the port in the host name, or 8883; over a
    /// WebSocket 443].
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The port of the hub's HTTPS API, which serves uploads, and messages that are rejected or abandoned [default: the
    /// port in the host name if --port is given, or 443].
    #[arg(long, value_name = "PORT")]
    https_port: Option<u16>,
    #[command(flatten)]
    registering: RegisterArguments,
    #[command(flatten)]
    doing: PlanArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Registration")]
struct RegisterArguments {
    /// Register with the Device Provisioning Service first, and then connect to the assigned hub.
    #[arg(long, requires_all = ["id_scope", "registration_id"])]
    register: bool,
    /// The provisioning service's host name.
    #[arg(long, value_name = "HOST[:PORT]", default_value = "global.azure-devices-provisioning.net")]
    dps_host: String,
    /// The provisioning service's id scope.
    #[arg(long, value_name = "SCOPE", requires = "register")]
    id_scope: Option<String>,
    /// The registration id.
    #[arg(long, value_name = "ID", requires = "register")]
    registration_id: Option<String>,
    /// The key of the individual enrollment, base64. For a certificate, use --certificate.
    #[arg(long, env = "CONNECTOR_DEVICE_SYMMETRIC_KEY", hide_env_values = true, value_name = "KEY", value_parser = secret)]
    symmetric_key: Option<Secret>,
    /// The key of the enrollment group, base64. The device's key is derived from it.
    #[arg(long, env = "CONNECTOR_DEVICE_GROUP_KEY", hide_env_values = true, value_name = "KEY", value_parser = secret)]
    group_key: Option<Secret>,
    /// What the registration request carries for a custom allocation, as JSON.
    #[arg(long, value_name = "JSON", value_parser = json, requires = "register")]
    payload: Option<Value>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What the device does")]
struct PlanArguments {
    /// Send this message. Can be repeated: a round sends all of them.
    #[arg(long, value_name = "JSON")]
    send: Vec<String>,
    /// The time between two rounds of messages, in seconds.
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    every: Duration,
    /// The number of rounds; 0 sends without end.
    #[arg(long, default_value_t = 1, value_name = "ROUNDS")]
    count: u64,
    /// A property of each message. Can be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    property: Vec<(String, String)>,
    /// The content type of the messages. If it is another one, they need not be JSON.
    #[arg(long, default_value = JSON, value_name = "TYPE")]
    content_type: String,
    /// Report these properties of the twin; null deletes. Can be repeated.
    #[arg(long, value_name = "JSON", value_parser = json)]
    report: Vec<Value>,
    /// Upload a file through the hub, or a text under a name. Can be repeated.
    #[arg(long, value_name = "FILE|NAME=TEXT", value_parser = Upload::parse)]
    upload: Vec<Upload>,
    /// What to do with messages to the device.
    #[arg(long, value_enum, default_value = "complete")]
    on_message: OnMessage,
    /// Answer this direct method with a status and a payload, such as reboot=503:{"busy":true}. Can be repeated
    /// [default: every method is answered with 200 and its own payload].
    #[arg(long, value_name = "NAME=STATUS[:JSON]", value_parser = method)]
    method: Vec<(String, (i64, Value))>,
    /// Never answer this direct method. Can be repeated.
    #[arg(long, value_name = "NAME")]
    method_silent: Vec<String>,
    /// End as soon as everything is sent, reported and uploaded, instead of staying connected.
    #[arg(long)]
    once: bool,
    /// End after this time.
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    lifetime: Option<Duration>,
}

/// The content type whose messages must be JSON.
const JSON: &str = "application/json";

#[allow(clippy::unnecessary_wraps, reason = "clap wants a result")]
fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text.to_owned()))
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("must be JSON: {error}"))
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn method(text: &str) -> Result<(String, (i64, Value)), String> {
    let (name, answer) = text.split_once('=').ok_or("must be NAME=STATUS[:JSON]")?;
    let (status, payload) = answer.split_once(':').unwrap_or((answer, "null"));
    let status = status.parse().map_err(|_| "the status must be a whole number".to_owned())?;
    Ok((name.to_owned(), (status, json(payload)?)))
}

impl PlanArguments {
    fn plan(self, transport: Transport) -> Done<Plan> {
        if self.content_type == JSON {
            for body in &self.send {
                json(body).map_err(|error| {
                    usage(anyhow!("--send {error}; for another content, add --content-type such as text/plain"))
                })?;
            }
        }
        Ok(Plan {
            transport,
            bodies: self.send.into_iter().map(Bytes::from).collect(),
            rounds: (self.count > 0).then_some(self.count),
            every: self.every,
            properties: self.property,
            content_type: self.content_type,
            reports: self.report,
            uploads: self.upload,
            methods: self.method.into_iter().collect(),
            silent: self.method_silent.into_iter().collect(),
            on_message: self.on_message,
            once: self.once,
            lifetime: self.lifetime,
        })
    }
}

/// Connects as the device, and does what the arguments say.
pub(crate) async fn run(session: &Session<'_>, output: &Output, arguments: DeviceArguments) -> Done {
    let DeviceArguments { connection_string, host, device, module, key, certificate, private_key, .. } = arguments;
    let mut port = arguments.port;
    let transport = arguments.transport;
    let plan = arguments.doing.plan(transport)?;
    let by_certificate = certificate.as_deref().zip(private_key.as_deref());
    let tls = Tls::new(session.trust_roots(), by_certificate).map_err(usage)?;
    let identity = if arguments.registering.register {
        let registration = registration(arguments.registering, transport, port, by_certificate.is_some())?;
        // The assigned hub's name may have the port of its HTTPS API, where its WebSockets are, too.
        if transport == Transport::Mqtt {
            port = Some(registration.port);
        }
        let (identity, line) = register(&tls, &registration).await.map_err(Exit::Failed)?;
        line.print(output)?;
        identity
    } else if let Some((host, device)) = host.zip(device) {
        let proof = match (key, by_certificate) {
            (Some(key), None) => Proof::Key(key),
            (None, Some(_)) => Proof::Certificate,
            _ => return Err(usage(anyhow!("add either --key, or --certificate and --private-key"))),
        };
        Identity { host, gateway: None, device, module, proof }.checked().map_err(usage)?
    } else {
        let Some(text) = connection_string else {
            return Err(usage(anyhow!(
                "no device: add --connection-string, or --host and --device, or --register, or set CONNECTOR_DEVICE"
            )));
        };
        let identity = Identity::from_connection_string(text.expose()).map_err(usage)?;
        if matches!(identity.proof, Proof::Certificate) && by_certificate.is_none() {
            return Err(usage(anyhow!("the device has x509=true: add --certificate and --private-key")));
        }
        identity
    };
    let named = |usual| split(&identity.host, usual).1;
    let https_port = arguments.https_port.unwrap_or(if port.is_some() { named(HTTPS) } else { HTTPS });
    let hub = HubApi::new(&tls, &identity, https_port);
    running::run(output, &hub, port.unwrap_or(named(transport.port())), &plan).await
}

fn registration(
    arguments: RegisterArguments,
    transport: Transport,
    port: Option<u16>,
    by_certificate: bool,
) -> Done<Registration> {
    let RegisterArguments { dps_host, id_scope, registration_id, symmetric_key, group_key, payload, .. } = arguments;
    // clap requires both.
    let (id_scope, registration_id) = (id_scope.unwrap_or_default(), registration_id.unwrap_or_default());
    let proof = match (symmetric_key, group_key, by_certificate) {
        (Some(key), None, false) => Proof::Key(key),
        (None, Some(key), false) => Proof::Key(identity::derived(&key, &registration_id).map_err(usage)?),
        (None, None, true) => Proof::Certificate,
        _ => {
            return Err(usage(anyhow!("add one of --symmetric-key, --group-key, or --certificate with --private-key")));
        }
    };
    let port = port.unwrap_or(split(&dps_host, transport.port()).1);
    Ok(Registration { host: dps_host, port, transport, id_scope, registration_id, proof, payload })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_methods_and_properties() {
        let answer = |text| method(text).unwrap();
        assert_eq!(answer("reboot=503:{\"busy\":true}"), ("reboot".to_owned(), (503, json!({ "busy": true }))));
        assert_eq!(answer("reboot=200"), ("reboot".to_owned(), (200, Value::Null)));
        for wrong in ["reboot", "reboot=x", "reboot=200:{"] {
            assert!(method(wrong).is_err(), "{wrong}");
        }
        assert_eq!(property("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert!(property("a").is_err());
    }
}
