//! The emulator in a process of its own, so that its work is not counted as a client's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use azure_iot_emulator::{Emulator, EmulatorOptions, TelemetryEvent, TlsSuites};
use connector_host::{Connection, Limits, Tenant, TenantOptions, TrustRoots};
use connector_tests::{link, values};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AES_128, AES_256, CHACHA20};

#[path = "../../../host-harness/emulator/tests/common/mod.rs"]
mod common;

/// The environment variable with the [`Plan`]. A process that has it serves an emulator.
const ASKED: &str = "CONNECTOR_BENCH_EMULATOR";

/// What the emulator keeps when the measurement begins.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The only cipher suite that the emulator offers.
    pub suite: String,
    /// The events of each partition.
    pub logs: Vec<Log>,
    /// How many individual enrollments there are.
    pub enrollments: usize,
}

/// The events of a partition.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Log {
    /// How many.
    pub events: usize,
    /// The size of each body, in bytes: JSON up to 4 KiB, bytes above.
    pub body: usize,
}

/// What clients need to know of the emulator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// The values of an account with all permissions.
    pub values: Value,
    /// The certificate authority, as PEM.
    pub authority: String,
    /// The host and port of the hub's HTTPS API.
    pub hub_host: String,
    /// The host and port of the provisioning service.
    pub dps_host: String,
    /// The host and port of the Event Hub-compatible endpoint.
    pub event_hub_host: String,
    /// The Event Hub-compatible name.
    pub event_hub: String,
    /// The name of a policy with all permissions on the hub.
    pub policy: String,
    /// Its key.
    pub key: String,
    /// A token for the hub's HTTPS API.
    pub hub_token: String,
    /// A token for the provisioning service.
    pub dps_token: String,
    /// The connection string of the hub.
    pub hub_connection_string: String,
    /// The connection string of the Event Hub-compatible endpoint.
    pub event_hub_connection_string: String,
}

impl Addresses {
    /// A tenant that may connect to the emulator. Its limits on requests and connections are raised, so that they do
    /// not bound what is measured.
    ///
    /// # Errors
    /// None while the emulator runs.
    pub fn tenant(&self) -> Result<Tenant> {
        let mut limits = Limits::default();
        limits.http_requests_per_second = 1_000_000;
        limits.connections_per_second = 10_000;
        limits.http_concurrency = 128;
        limits.http_connections = 128;
        limits.concurrent_calls = 1_000;
        limits.cpu = Duration::from_secs(60);
        let mut options = TenantOptions::default();
        options.name = "bench".to_owned();
        options.limits = limits;
        options.trust_roots = TrustRoots::Only(self.authority.clone());
        options.allow_hosts = vec!["localhost".parse()?, self.event_hub_host.parse()?, self.hub_host.parse()?];
        options.allow_private_networks = true;
        Ok(Tenant::new(options)?)
    }

    /// The account.
    #[must_use]
    pub fn connection(&self) -> Connection {
        link(self.values.clone())
    }
}

/// An emulator's process. It ends when this value is dropped.
pub struct Service {
    process: Child,
    /// Where the emulator is.
    pub addresses: Addresses,
}

impl Service {
    /// Starts the process, and waits until the emulator runs.
    ///
    /// # Errors
    /// Where this program cannot be started again.
    pub fn start(plan: &Plan) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(ASKED, serde_json::to_string(plan)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the emulator's process cannot be started")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        Ok(Self { process, addresses: serde_json::from_str(&line).context("the emulator did not start")? })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The process ends when its standard input ends.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Serves an emulator until standard input ends, if [`Service::start`] started this process. Otherwise it does nothing.
///
/// # Errors
/// Where the emulator cannot be started.
pub fn serve_if_asked() -> Result<bool> {
    let Ok(plan) = std::env::var(ASKED) else { return Ok(false) };
    let plan = serde_json::from_str(&plan)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(plan))?;
    Ok(true)
}

async fn serve(plan: Plan) -> Result<()> {
    let tls_suites = match plan.suite.as_str() {
        AES_256 => TlsSuites::Aes256Gcm,
        AES_128 => TlsSuites::Aes128Gcm,
        CHACHA20 => TlsSuites::ChaCha20Poly1305,
        other => bail!("there is no suite {other}"),
    };
    let partitions = u16::try_from(plan.logs.len().max(2))?;
    let emulator = Emulator::start(EmulatorOptions { partitions, tls_suites, ..EmulatorOptions::default() }).await?;
    emulator.add_device("bench", json!({ "deviceId": "bench" })).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    for number in 0..plan.enrollments {
        let id = format!("plant-north-press-{number:06}");
        let body = json!({ "registrationId": id, "attestation": { "type": "symmetricKey" } });
        emulator.add_enrollment(&id, body).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
    for (partition, log) in plan.logs.iter().enumerate() {
        let partition = u16::try_from(partition)?;
        emulator.telemetry().send_all((0..log.events).map(|number| event(number, log.body).partition(partition)));
    }
    let policy = emulator.hub_policy("connector").context("a policy")?;
    let dps_policy = emulator.dps_policy("connector").context("a policy")?;
    let addresses = Addresses {
        values: values(&emulator, "connector", "connector")?,
        authority: emulator.ca_pem().to_owned(),
        hub_host: emulator.hub_host(),
        dps_host: emulator.dps_host(),
        event_hub_host: emulator.event_hub_host(),
        event_hub: emulator.event_hub_name(),
        policy: policy.name.clone(),
        key: policy.primary_key.clone(),
        hub_token: common::policy_token(&emulator.hub_host(), policy, 3_600),
        dps_token: common::policy_token(&emulator.dps_host(), dps_policy, 3_600),
        hub_connection_string: emulator.hub_connection_string("connector").context("a policy")?,
        event_hub_connection_string: emulator.event_hub_connection_string("connector").context("a policy")?,
    };
    println!("{}", serde_json::to_string(&addresses)?);
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    emulator.shutdown().await;
    Ok(())
}

fn event(number: usize, size: usize) -> TelemetryEvent {
    if size > 4 << 10 {
        return TelemetryEvent::new("camera-1", bytes::Bytes::from(vec![number as u8; size]));
    }
    TelemetryEvent::new(format!("press-{:02}", number % 20), body(number, size))
        .json()
        .property("line", (number % 3).to_string())
}

/// The message of a machine in a plant: numbers, texts and a list, as JSON of this size.
fn body(number: usize, size: usize) -> String {
    let mut body = json!({
        "machine": { "id": format!("press-{:02}", number % 20), "site": "north", "hall": 3, "firmware": "4.17.2" },
        "time": format!("2026-05-04T07:{:02}:{:02}.250Z", number / 60 % 60, number % 60),
        "sequence": number,
        "temperature": 61.25 + (number % 40) as f64,
        "pressure": { "value": 10.5, "unit": "bar", "limits": [8.0, 12.5] },
        "samples": (0..40).map(|sample| (number * 31 + sample * 17) % 1_000).collect::<Vec<_>>(),
        "alarms": [{ "code": "E-204", "since": "2026-05-04T06:58:12Z", "text": "Filter pressure \"low\"" }],
        "status": "running",
        "pad": "",
    });
    let missing = size.saturating_sub(body.to_string().len());
    body["pad"] = "x".repeat(missing).into();
    body.to_string()
}
