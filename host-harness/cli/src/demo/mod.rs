//! A demonstration: the emulator, simulated devices, the component, and workflows between them, with a check at the end
//! that nothing was lost, doubled or made up.
//!
//! [`Demo::start`] starts the emulator and links an account. [`Demo::run`] lets a [`Script`]'s workflows run: one cools
//! machines that run hot, from their telemetry; one commissions the devices of a [`Fleet`]. Meanwhile the services
//! misbehave, and engines die and continue.
//!
//! The code of the engines is a model for authors of an engine: see the folders of the two workflows.

mod actions;
mod check;
mod clock;
mod commissioning;
mod cooling;
mod deaths;
mod error;
mod faults;
mod news;
mod numbers;
mod progress;
mod stage;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use azure_iot_emulator::{Emulator, EmulatorOptions};
use serde_json::{Value, json};
use tokio::time::Instant;

pub use check::{CheckLine, SelfCheck};
pub use commissioning::{
    Alarm, Attestation, Change, Coalescing, Collection, CommissioningSummary, EventNumbers, Failure, Fleet,
    FleetDevice, FleetError, FleetProblem, PLANT, PollingNumbers,
};
pub use cooling::{CoolingSummary, DeadLetter, MachineNumbers, PartitionNumbers};
pub use error::DemoError;
pub use numbers::{Latency, PlantNumbers};
pub use progress::{CommissioningProgress, CoolingProgress, PartitionProgress, Progress};
pub use summary::{ActionNumbers, Summary, TrafficNumbers};

use self::actions::{Actions, Linked};
use self::clock::Clock;
use self::commissioning::Commissioning;
use self::cooling::Cooling;
use self::error::POLICY;
use self::news::News;
use self::stage::Stage;
use connector_host::interface::connection::{Report, Validation};
use connector_host::{CallError, Connection, Connector, Tenant, TenantOptions, TrustRoots};

/// The time between two reports of progress.
const PROGRESS: Duration = Duration::from_millis(200);
/// The error code of an action on a device that is not connected. The injected failures never cause this error.
const OFFLINE: &str = "device-offline";

/// How the demonstration is run.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Which workflows run.
    pub script: Script,
    /// The seed of the random choices: keys, overloads and the moments of failures.
    pub seed: u64,
    /// The factor by which the run is faster than planned. Must be above zero.
    pub speed: f64,
}

/// Which workflows run, side by side.
#[derive(Clone, Debug)]
pub struct Script {
    /// Whether the workflow that cools machines runs.
    pub cooling: bool,
    /// The fleet for the workflow that commissions devices; `None` if this workflow does not run.
    pub commissioning: Option<Fleet>,
}

/// A running emulator with an account linked to it.
pub struct Demo {
    emulator: Emulator,
    linked: Linked,
    options: DemoOptions,
}

/// The workflows of a run.
struct Workflows {
    cooling: Option<Cooling>,
    commissioning: Option<Commissioning>,
}

impl Demo {
    /// Starts the emulator and links an account.
    ///
    /// # Errors
    ///
    /// [`DemoError`].
    pub async fn start(connector: Connector, options: DemoOptions) -> Result<Self, DemoError> {
        require(&connector, &options.script)?;
        let emulator = Emulator::start(EmulatorOptions::default()).await?;
        let tenant = Tenant::new(
            TenantOptions::default()
                .with_name("demo")
                .with_trust_roots(TrustRoots::Only(emulator.ca_pem().to_owned()))
                .with_allow_hosts(["localhost".parse()?])
                .with_allow_private_networks(true),
        )?;
        let connection = Connection::new("shared-access-key", connection_values(&emulator)?.to_string());
        Ok(Self { emulator, linked: Linked { connector, tenant, connection }, options })
    }

    /// The hosts of the hub, of the provisioning service and of the Event Hub-compatible endpoint.
    #[must_use]
    pub fn hosts(&self) -> [String; 3] {
        [self.emulator.hub_host(), self.emulator.dps_host(), self.emulator.event_hub_host()]
    }

    /// Lets the connector validate the account's values, without using the network. Returns the validation and the
    /// account's label.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn validate(&self) -> Result<(Validation, String), CallError> {
        let Linked { connector, tenant, connection } = &self.linked;
        let validation = connector.account(tenant, connection).validate().await?;
        let label = connector.account(tenant, connection).label().await?;
        Ok((validation, label))
    }

    /// Lets the connector test the account.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn test(&self) -> Result<Report, CallError> {
        let Linked { connector, tenant, connection } = &self.linked;
        connector.account(tenant, connection).test().await
    }

    /// Runs the simulated devices, the failures and the workflows. Dropping the future ends all of them, but not the
    /// emulator.
    ///
    /// # Errors
    ///
    /// [`DemoError`] if the run could not be completed. A self-check that does not hold is no error: the summary states
    /// it.
    pub async fn run(&self, report_progress: &(dyn Fn(Progress) + Sync)) -> Result<Summary, DemoError> {
        let DemoOptions { seed, speed, .. } = self.options;
        let begun = Instant::now();
        self.emulator.traffic().record(true);
        let news = News::default();
        let actions = Arc::new(Actions::new(self.linked.clone()));
        let stage = Stage { emulator: &self.emulator, seed, clock: Clock::new(speed), news: &news };
        let workflows = self.prepare(&stage, &actions).await?;
        let mut traffic = TrafficNumbers::default();
        let listen = |traffic: &mut TrafficNumbers| {
            let exchanges = self.emulator.traffic().take();
            traffic.add(&exchanges);
            workflows.note(&exchanges);
            report_progress(self.progress(&stage, &workflows, &actions));
        };
        {
            let running = workflows.run(&stage);
            tokio::pin!(running);
            loop {
                tokio::select! {
                    ended = &mut running => break ended,
                    () = tokio::time::sleep(PROGRESS) => listen(&mut traffic),
                }
            }?;
        }
        listen(&mut traffic);
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let poll_failures = workflows.failures();
        let (cooling, commissioning, lines) = workflows.finish(&stage).await?;
        traffic.add(&self.emulator.traffic().take());
        self.emulator.traffic().record(false);
        let action_failures = actions.failures();
        traffic.injected = self.emulator.faults().fired();
        let retried = action_failures.iter().filter(|(code, _)| *code != OFFLINE).map(|(_, count)| count);
        traffic.overcome_inside = traffic.injected.saturating_sub(poll_failures + retried.sum::<u64>());
        let records = actions.records();
        Ok(Summary {
            seed,
            speed,
            elapsed_ms,
            cooling,
            commissioning,
            actions: summary::action_numbers(&records),
            action_failures,
            traffic,
            action_latency: summary::action_latency(&records),
            check: lines.into(),
        })
    }

    /// Stops the emulator.
    pub async fn shutdown(self) {
        self.linked.tenant.close();
        self.emulator.shutdown().await;
    }

    /// Starts the workflows of the script, and then the clock.
    async fn prepare(&self, stage: &Stage<'_>, actions: &Arc<Actions>) -> Result<Workflows, DemoError> {
        let Script { cooling, commissioning } = &self.options.script;
        let commissioning = match commissioning {
            Some(fleet) => Some(Commissioning::start(stage, fleet, self.linked.clone(), actions.clone()).await?),
            None => None,
        };
        let cooling = match cooling {
            true => Some(Cooling::start(stage, self.linked.clone(), actions.clone()).await?),
            false => None,
        };
        stage.clock.start();
        Ok(Workflows { cooling, commissioning })
    }

    fn progress(&self, stage: &Stage<'_>, workflows: &Workflows, actions: &Actions) -> Progress {
        let Workflows { cooling, commissioning } = workflows;
        let cooling = cooling.as_ref().map(|cooling| cooling.progress(stage));
        Progress {
            at: stage.clock.now(),
            of: workflows.length(),
            cooling,
            commissioning: commissioning.as_ref().map(Commissioning::progress),
            actions: actions.ended(),
            injected: self.emulator.faults().fired(),
            news: stage.news.take(),
        }
    }
}

impl Workflows {
    fn length(&self) -> Duration {
        let cooling = self.cooling.as_ref().map(|_| Cooling::length());
        let commissioning = self.commissioning.as_ref().map(Commissioning::length);
        cooling.max(commissioning).unwrap_or_default()
    }

    async fn run(&self, stage: &Stage<'_>) -> Result<(), DemoError> {
        let cooling = async {
            match &self.cooling {
                Some(cooling) => cooling.run(stage).await,
                None => Ok(()),
            }
        };
        let commissioning = async {
            match &self.commissioning {
                Some(commissioning) => commissioning.run(stage).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(cooling, commissioning).map(drop)
    }

    fn note(&self, exchanges: &[azure_iot_emulator::Exchange]) {
        if let Some(cooling) = &self.cooling {
            cooling.note(exchanges);
        }
    }

    /// The number of polls that failed.
    fn failures(&self) -> u64 {
        let cooling = self.cooling.as_ref().map(Cooling::failures).unwrap_or_default();
        let commissioning = self.commissioning.as_ref().map(Commissioning::failures).unwrap_or_default();
        cooling.values().chain(commissioning.values()).sum()
    }

    async fn finish(
        self,
        stage: &Stage<'_>,
    ) -> Result<(Option<CoolingSummary>, Option<CommissioningSummary>, Vec<CheckLine>), DemoError> {
        let (mut lines, mut summaries) = (Vec::new(), (None, None));
        if let Some(cooling) = self.cooling {
            let (summary, more) = cooling.finish(stage).await?;
            summaries.0 = Some(summary);
            lines.extend(more);
        }
        if let Some(commissioning) = self.commissioning {
            let (summary, more) = commissioning.finish(stage).await;
            summaries.1 = Some(summary);
            lines.extend(more);
        }
        Ok((summaries.0, summaries.1, lines))
    }
}

/// Checks that the connector has all triggers and actions that the workflows and the plant use.
fn require(connector: &Connector, script: &Script) -> Result<(), DemoError> {
    let descriptor = connector.descriptor();
    let (mut triggers, mut actions) = (Vec::new(), Vec::new());
    if script.cooling {
        triggers.push(cooling::TRIGGER);
        actions.extend(cooling::ACTIONS);
    }
    if script.commissioning.is_some() {
        triggers.extend(Collection::ALL.map(Collection::trigger));
        actions.extend(commissioning::actions());
    }
    for id in triggers {
        if !descriptor.triggers.iter().any(|trigger| trigger.operation.id == id) {
            return Err(DemoError::Lacks { kind: "trigger", id });
        }
    }
    for id in actions {
        if !descriptor.actions.iter().any(|action| action.operation.id == id) {
            return Err(DemoError::Lacks { kind: "action", id });
        }
    }
    Ok(())
}

/// The values of the connection: for the hub, its two AMQP endpoints, and the provisioning service.
fn connection_values(emulator: &Emulator) -> Result<Value, DemoError> {
    let hub = emulator.hub_policy(POLICY).ok_or(DemoError::Policy)?;
    let dps = emulator.dps_policy(POLICY).ok_or(DemoError::Policy)?;
    Ok(json!({
        "iotHubName": emulator.hub_host(),
        "sharedAccessKeyName": hub.name,
        "sharedAccessKey": hub.primary_key,
        "eventHubEndpoint": format!("sb://{}/", emulator.event_hub_host()),
        "eventHubPath": emulator.event_hub_name(),
        "dpsHostName": emulator.dps_host(),
        "dpsSharedAccessKeyName": dps.name,
        "dpsSharedAccessKey": dps.primary_key,
        "iotHubAmqpHost": emulator.hub_amqp_host(),
        "trustedCertificates": emulator.ca_pem(),
        "trustedHostSuffixes": ["localhost"],
    }))
}
