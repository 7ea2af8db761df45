//! Registration with the Device Provisioning Service over MQTT.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use mqtt_proto::v3::Packet;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::identity::{Identity, Proof, escaped, sign};
use super::line::Line;
use super::mqtt::{Login, Mqtt};
use super::tls::Tls;
use super::topics::parameter;
use super::transport::Transport;

/// The version of DPS's device API that Microsoft's device clients use.
const API_VERSION: &str = "2019-03-31";
const REQUESTS: &str = "$dps/registrations";
const ANSWERS: &str = "$dps/registrations/res/";
/// How long a registration may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The pause before the next request, if the service states none.
const PAUSE: u64 = 2;

/// What a device needs to register.
pub(super) struct Registration {
    /// The service's host name.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) transport: Transport,
    pub(super) id_scope: String,
    pub(super) registration_id: String,
    /// For a group's device, the derived key.
    pub(super) proof: Proof,
    pub(super) payload: Option<Value>,
}

/// Registers the device. Returns its identity at the assigned hub.
///
/// # Errors
/// If the service refuses, assigns no hub, or takes longer than two minutes.
pub(super) async fn register(tls: &Tls, wanted: &Registration) -> Result<(Identity, Line)> {
    let asking = timeout(PATIENCE, ask(tls, wanted));
    let state = asking.await.context("the registration was not finished within two minutes")??;
    let member = |name: &str| state[name].as_str().map(str::to_owned);
    let status = member("status").unwrap_or_default();
    if status != "assigned" {
        let code = &state["errorCode"];
        bail!("the registration is `{status}`: {} ({code})", member("errorMessage").unwrap_or_default());
    }
    let identity = Identity {
        host: member("assignedHub").context("the registration names no hub")?,
        gateway: None,
        device: member("deviceId").context("the registration names no device")?,
        module: None,
        proof: wanted.proof.clone(),
    };
    let text = format!("{} at {}", identity.device, identity.host);
    let members = json!({
        "registrationId": wanted.registration_id,
        "assignedHub": identity.host,
        "deviceId": identity.device,
        "substatus": state["substatus"],
    });
    Ok((identity, Line::new("registered", members, text)))
}

/// Returns the registration's state when it is no longer being assigned.
async fn ask(tls: &Tls, wanted: &Registration) -> Result<Value> {
    let Registration { id_scope, registration_id, .. } = wanted;
    let stream = wanted.transport.open(tls, &wanted.host, wanted.port).await?;
    let client = escaped(concat!("connector-host/", env!("CARGO_PKG_VERSION")));
    let login = Login {
        client_id: registration_id.clone(),
        user: format!("{id_scope}/registrations/{registration_id}/api-version={API_VERSION}&ClientVersion={client}"),
        password: password(wanted)?,
        clean: true,
    };
    let mut mqtt = Mqtt::connect(stream, login).await.context("the provisioning service refused the device")?;
    let subscription = mqtt.subscribe(&[format!("{ANSWERS}#")]).await?;
    while !matches!(mqtt.next().await?, Packet::Suback(suback) if suback.pid == subscription) {}
    let mut registering = json!({ "registrationId": registration_id });
    if let Some(payload) = &wanted.payload {
        registering["payload"] = payload.clone();
    }
    let mut operation = None;
    for request in 1_u32.. {
        let (topic, body) = match &operation {
            None => (format!("{REQUESTS}/PUT/iotdps-register/?$rid={request}"), registering.to_string()),
            Some(operation) => (
                format!("{REQUESTS}/GET/iotdps-get-operationstatus/?$rid={request}&operationId={operation}"),
                // The service wants a body; Microsoft's clients send one space.
                " ".to_owned(),
            ),
        };
        mqtt.publish(&topic, Bytes::from(body)).await?;
        let (status, pause, answer) = answer(&mut mqtt, request).await?;
        match status {
            // The request was not accepted, and is sent again as it was.
            429 => {}
            300.. => bail!("the provisioning service answered {status}: {answer}"),
            _ if answer["status"] != "assigning" && answer["registrationState"].is_object() => {
                mqtt.disconnect().await;
                return Ok(answer["registrationState"].clone());
            }
            _ => operation = Some(escaped(answer["operationId"].as_str().context("the answer names no operation")?)),
        }
        sleep(Duration::from_secs(pause)).await;
    }
    bail!("the provisioning service gave no answer")
}

fn password(wanted: &Registration) -> Result<Option<String>> {
    let Proof::Key(key) = &wanted.proof else { return Ok(None) };
    let resource = format!("{}/registrations/{}", wanted.id_scope, wanted.registration_id);
    sign(&resource, key, Some("registration")).map(Some)
}

/// The status, the advised pause in seconds, and the body of the answer to a request.
async fn answer(mqtt: &mut Mqtt, request: u32) -> Result<(u16, u64, Value)> {
    loop {
        let Packet::Publish(publish) = mqtt.next().await? else { continue };
        mqtt.acknowledge(publish.qos_pid).await?;
        let Some((status, query)) = publish.topic_name.strip_prefix(ANSWERS).and_then(|rest| rest.split_once("/?"))
        else {
            continue;
        };
        if parameter(query, "$rid") != Some(request.to_string()) {
            continue;
        }
        let pause = parameter(query, "retry-after").and_then(|seconds| seconds.parse().ok()).unwrap_or(PAUSE);
        let body = serde_json::from_slice(&publish.payload).unwrap_or(Value::Null);
        return Ok((status.parse().context("the answer has no status")?, pause, body));
    }
}
