//! Emulators in a process of their own, so that memory, file descriptors and computing time of this one are the host's.
//!
//! The program starts itself again: its `main` has to call [`serve_if_asked`] first.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use azure_iot_emulator::{Emulator, EmulatorOptions, FaultRule, Permission, Policy, Simulator, SimulatorOptions};
use connector_host::{Connection, Limits, Tenant, TenantOptions, TrustRoots};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::{link, values};

/// The variable with the [`Plan`] by which a process knows what it is to serve.
const ASKED: &str = "CONNECTOR_TESTS_EMULATORS";
const STARTING: Duration = Duration::from_secs(120);

/// What to serve.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Hubs, each with a provisioning service.
    pub hubs: usize,
    /// Accounts over all hubs, each with a policy and a device of its own.
    pub accounts: usize,
    /// Partitions of each hub, 1 to 32.
    pub partitions: u16,
    /// Consumer groups of each hub; accounts take them in turn.
    pub consumer_groups: usize,
    /// Messages a second that the devices of a hub send together; 0: none.
    pub telemetry_rate: f64,
    /// Misbehaviour, in the grammar of the emulator's fault rules.
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
            "faults": self.faults,
        })
    }

    fn from_json(text: &str) -> Result<Self> {
        let plan: Value = serde_json::from_str(text)?;
        let number = |name: &str| plan[name].as_u64().with_context(|| format!("{name} is no number"));
        let faults = plan["faults"].as_array().context("faults is no list")?;
        Ok(Self {
            hubs: usize::try_from(number("hubs")?)?,
            accounts: usize::try_from(number("accounts")?)?,
            partitions: u16::try_from(number("partitions")?)?,
            consumer_groups: usize::try_from(number("consumerGroups")?)?,
            telemetry_rate: plan["telemetryRate"].as_f64().context("telemetryRate is no number")?,
            faults: faults.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }
}

/// One account with one of the hubs.
#[derive(Clone, Debug)]
pub struct EmulatedAccount {
    /// Its mark, which is the beginning of everything it owns and of nothing that another owns: `tenant-0042-`.
    pub mark: String,
    /// Its device, which exists and answers direct methods with their payload.
    pub device: String,
    /// Where the device's messages arrive.
    pub partition: String,
    /// The consumer group that it shares with the fewest others.
    pub consumer_group: String,
    /// The account as a person would link it.
    pub connection: Connection,
    ca: String,
    event_hub: String,
}

impl EmulatedAccount {
    /// A tenant that may reach the account's hub.
    ///
    /// # Errors
    /// Never with emulators that run.
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

/// Emulators that run in a process of their own, which ends with this.
pub struct Emulators {
    /// The accounts with them.
    pub accounts: Vec<EmulatedAccount>,
    /// Ends when its standard input does.
    _process: Child,
}

impl Emulators {
    /// Starts the process and waits for it.
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

/// Serves emulators where this process was started for that, until its standard input ends; otherwise does nothing.
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
        // It makes the devices, also where they have nothing to send.
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

/// Of the account with this mark.
fn policy(mark: &str) -> &str {
    mark.trim_end_matches('-')
}
