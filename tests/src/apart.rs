//! Emulators in a process of their own. All memory, file descriptors and computing time of the caller's process then
//! belong to the host.
//!
//! `start` runs the caller's own program a second time, so the program's `main` must call [`serve_if_asked`] first.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use azure_iot_emulator::{
    Emulator, EmulatorOptions, FaultRule, Permission, Policy, Simulator, SimulatorOptions, TelemetryEvent,
};
use connector_host::{Connection, Limits, Tenant, TenantOptions, TrustRoots};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::{link, values};

/// The environment variable with the [`Plan`]. A process that has it serves emulators.
const ASKED: &str = "CONNECTOR_TESTS_EMULATORS";
const STARTING: Duration = Duration::from_secs(120);

/// The emulators that the process serves.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many hubs, each with a provisioning service.
    pub hubs: usize,
    /// How many accounts over all hubs. Each account has its own policy and its own device.
    pub accounts: usize,
    /// How many partitions each hub has, from 1 to 32.
    pub partitions: u16,
    /// How many consumer groups each hub has. Accounts are assigned to them in turn.
    pub consumer_groups: usize,
    /// How many messages a second the devices of one hub send together. 0 for none.
    pub telemetry_rate: f64,
    /// How many messages of 1 KB each partition has at the beginning.
    pub log: usize,
    /// Rules for misbehaviour, in the grammar of the emulator's fault rules.
    pub faults: Vec<String>,
}

impl Plan {
    fn to_json(&self) -> Value {
        json!({
            "hubs": self.hubs,
            "accounts": self.accounts,
            "partitions": self.partitions,
            "consumerGroups": self.consumer_groups,
            "telemetryRate": self.telemetry_rate,
            "log": self.log,
            "faults": self.faults,
        })
    }

    fn from_json(text: &str) -> Result<Self> {
        let plan: Value = serde_json::from_str(text)?;
        let number = |name: &str| plan[name].as_u64().with_context(|| format!("{name} is no number"));
        let faults = plan["faults"].as_array().context("faults is not a list")?;
        Ok(Self {
            hubs: usize::try_from(number("hubs")?)?,
            accounts: usize::try_from(number("accounts")?)?,
            partitions: u16::try_from(number("partitions")?)?,
            consumer_groups: usize::try_from(number("consumerGroups")?)?,
            telemetry_rate: plan["telemetryRate"].as_f64().context("telemetryRate is not a number")?,
            log: usize::try_from(number("log")?)?,
            faults: faults.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }
}

/// One account on one of the hubs.
#[derive(Clone, Debug)]
pub struct EmulatedAccount {
    /// The account's mark, for example `tenant-0042-`. The name of everything that the account owns begins with it, and
    /// no other name does.
    pub mark: String,
    /// The account's device. It exists, and answers direct methods with their payload.
    pub device: String,
    /// The partition in which the device's messages arrive.
    pub partition: String,
    /// The account's consumer group. As few other accounts as possible share it.
    pub consumer_group: String,
    /// The connection that a person would enter for this account.
    pub connection: Connection,
    ca: String,
    event_hub: String,
}

impl EmulatedAccount {
    /// Makes a tenant that may connect to the account's hub.
    ///
    /// # Errors
    /// None while the emulators run.
    pub fn tenant(&self, limits: Limits) -> Result<Tenant> {
        let mut options = TenantOptions::default();
        options.name = self.mark.trim_end_matches('-').to_owned();
        options.limits = limits;
        options.trust_roots = TrustRoots::Only(self.ca.clone());
        options.allow_hosts = vec!["localhost".parse()?, self.event_hub.parse()?];
        options.allow_private_networks = true;
        Ok(Tenant::new(options)?)
    }
}

/// Emulators in a process of their own. The process ends when this value is dropped.
pub struct Emulators {
    /// The accounts on these emulators.
    pub accounts: Vec<EmulatedAccount>,
    /// The process ends when its standard input ends.
    _process: Child,
}

impl Emulators {
    /// Starts the process, and waits until its emulators run.
    ///
    /// # Errors
    /// Where this program cannot be started again, or does not call [`serve_if_asked`].
    pub async fn start(plan: &Plan) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(ASKED, plan.to_json().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().context("standard output is piped")?;
        let mut line = String::new();
        tokio::time::timeout(STARTING, BufReader::new(output).read_line(&mut line))
            .await
            .context("the emulators do not start")??;
        let printed: Value = serde_json::from_str(&line).context("the emulators could not be started")?;
        let accounts = printed.as_array().context("no accounts")?.iter().map(account).collect::<Result<_>>()?;
        Ok(Self { accounts, _process: process })
    }
}

fn account(printed: &Value) -> Result<EmulatedAccount> {
    let text = |name: &str| printed[name].as_str().map(str::to_owned).with_context(|| format!("{name} is missing"));
    Ok(EmulatedAccount {
        mark: text("mark")?,
        device: text("device")?,
        partition: text("partition")?,
        consumer_group: text("consumerGroup")?,
        connection: link(printed["values"].clone()),
        ca: text("ca")?,
        event_hub: text("eventHub")?,
    })
}

/// Serves emulators until standard input ends, if [`Emulators::start`] started this process. Otherwise it does nothing.
///
/// # Errors
/// Where an emulator cannot be started.
pub fn serve_if_asked() -> Result<bool> {
    let Ok(plan) = std::env::var(ASKED) else { return Ok(false) };
    let plan = Plan::from_json(&plan)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(&plan))?;
    Ok(true)
}

async fn serve(plan: &Plan) -> Result<()> {
    let mut accounts = Vec::new();
    let mut running = Vec::new();
    for hub in 0..plan.hubs {
        let marks: Vec<String> =
            (hub..plan.accounts).step_by(plan.hubs).map(|number| format!("tenant-{number:04}-")).collect();
        let group = |index: usize| format!("group-{}", index % plan.consumer_groups.max(1));
        let mut options = EmulatorOptions {
            partitions: plan.partitions,
            consumer_groups: (0..plan.consumer_groups.max(1)).map(group).collect(),
            fault_seed: hub as u64,
            ..EmulatorOptions::default()
        };
        for mark in &marks {
            use Permission::{DeviceConnect, EnrollmentRead, EnrollmentWrite, RegistrationStatusRead};
            use Permission::{RegistrationStatusWrite, RegistryRead, RegistryWrite, ServiceConfig, ServiceConnect};
            let hub = [RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect];
            let dps = [ServiceConfig, EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite];
            options.hub_policies.push(Policy::generate(policy(mark), hub, 32));
            options.dps_policies.push(Policy::generate(policy(mark), dps, 64));
        }
        let emulator = Emulator::start(options).await?;
        let device = |mark: &str| format!("{mark}pump");
        for partition in 0..plan.partitions {
            let body = |number: usize| json!({ "number": number, "pad": "x".repeat(1_000) }).to_string();
            let message = |number| TelemetryEvent::new("seeded", body(number)).json().partition(partition);
            emulator.telemetry().send_all((0..plan.log).map(message));
        }
        for rule in &plan.faults {
            emulator.faults().add(rule.parse::<FaultRule>()?);
        }
        for (index, mark) in marks.iter().enumerate() {
            accounts.push(json!({
                "mark": mark,
                "device": device(mark),
                "partition": emulator.telemetry().partition_of(&device(mark)).to_string(),
                "consumerGroup": group(index),
                "values": values(&emulator, policy(mark), policy(mark))?,
                "ca": emulator.ca_pem(),
                "eventHub": emulator.event_hub_host(),
            }));
        }
        // The simulator also creates the devices, so it starts even where no messages are to be sent.
        let options = SimulatorOptions {
            rate: plan.telemetry_rate,
            devices: marks.iter().map(|mark| device(mark)).collect(),
            limit: (plan.telemetry_rate <= 0.0).then_some(0),
            ..SimulatorOptions::default()
        };
        running.push((Simulator::start(&emulator, options)?, emulator));
    }
    println!("{}", Value::from(accounts));
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;
    Ok(())
}

/// The name of the policy of the account with this mark.
fn policy(mark: &str) -> &str {
    mark.trim_end_matches('-')
}
