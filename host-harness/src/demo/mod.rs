//! A demonstration: the emulator, a plant full of devices, the component, and a workflow between them, with a check at
//! the end that nothing was lost, doubled or made up.
//!
//! [`Demo::start`] starts the emulator and links an account. [`Demo::run`] lets the plant happen: devices are enrolled,
//! register, change and leave as the [`Fleet`] says, while two triggers are polled and a workflow answers their events.
//! The services misbehave meanwhile, and the engine dies and goes on. [`check`] says what is compared.

mod actions;
pub mod check;
mod clock;
mod engine;
mod fleet;
mod plant;
mod summary;
mod workflow;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use azure_iot_emulator::{Emulator, EmulatorError, EmulatorOptions, FaultSyntaxError};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use fleet::{Attestation, Change, Failure, Fleet, FleetDevice, FleetError, FleetProblem};
pub use summary::{ActionNumbers, EventNumbers, Latency, PlantNumbers, PollingNumbers, Summary, TrafficNumbers};
pub use workflow::Alarm;

use self::actions::{Actions, Linked};
use self::check::{Collection, Evidence, HubEvidence};
use self::clock::{Clock, Random};
use self::engine::{Committed, Engine, Observed, Store};
use self::plant::Plant;
use self::workflow::Workflow;
use crate::interface::connection::{Report, Validation};
use crate::{CallError, Connection, Connector, HostRuleError, Tenant, TenantError, TenantOptions, TrustRoots};

/// The fleet that is used where no other is named: `fleets/plant.csv`.
pub const PLANT: &str = include_str!("../../../fleets/plant.csv");

/// The policies of the emulator that the account names.
const POLICY: &str = "connector";
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(200);

/// The services' misbehaviour, each at a random moment of the run. None of them has an effect on the service, so that
/// every success of an action is one change.
const FAULTS: [&str; 11] = [
    "dps:POST /enrollments/query=429+1x1",
    "dps:POST /enrollments/query=500x1",
    "dps:POST /enrollments/query=dropx1",
    "dps:POST /enrollments/query=garbagex1",
    "dps:POST /registrations/*/query=429x2",
    "dps:POST /registrations/*/query=503x1",
    "dps:GET /enrollments/*=500x1",
    "hub:PATCH /twins/*=429+1x2",
    "hub:PATCH /twins/*=500x2",
    "hub:PATCH /twins/*=dropx1",
    "hub:PATCH /twins/*=503x1",
];

/// How the demonstration is run.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The plant.
    pub fleet: Fleet,
    /// Decides keys and the moments of failures.
    pub seed: u64,
    /// How much faster than the file's times it runs. Above zero.
    pub speed: f64,
}

/// Why the demonstration broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The emulator did not start.
    #[error("the emulator did not start: {0}")]
    Emulator(#[from] EmulatorError),
    /// The emulator could not be told to misbehave.
    #[error(transparent)]
    Fault(#[from] FaultSyntaxError),
    /// The tenant could not be set up.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// The emulator's host could not be permitted.
    #[error(transparent)]
    HostRule(#[from] HostRuleError),
    /// The emulator lacks what the account names.
    #[error("the emulator has no policy `{POLICY}`")]
    Policy,
    /// The component lacks something that the workflow needs.
    #[error("this connector has no {kind} `{id}`, which the demonstration needs")]
    Lacks {
        /// `trigger` or `action`.
        kind: &'static str,
        /// Its id.
        id: &'static str,
    },
    /// The plant could not be made.
    #[error("the plant could not be made: {0}")]
    Plant(String),
    /// A call failed, and trying again does not help.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The workflow could not be run.
    #[error("{0}")]
    Workflow(String),
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Simulated time, and that of the last thing in the file.
    pub at: Duration,
    /// See [`Progress::at`].
    pub of: Duration,
    /// The plant so far.
    pub plant: PlantNumbers,
    /// Events delivered.
    pub events: u64,
    /// Events that the workflow has worked off.
    pub handled: u64,
    /// Actions that have ended.
    pub actions: usize,
    /// Alarms raised.
    pub alarms: usize,
    /// Failures injected.
    pub injected: u64,
    /// How often the engine has died and gone on.
    pub crashes: u64,
}

/// A running emulator with an account linked to it.
pub struct Demo {
    emulator: Emulator,
    linked: Linked,
    options: DemoOptions,
}

impl Demo {
    /// Starts the emulator and links an account.
    ///
    /// # Errors
    ///
    /// [`DemoError`].
    pub async fn start(connector: Connector, options: DemoOptions) -> Result<Self, DemoError> {
        require(&connector)?;
        let emulator = Emulator::start(EmulatorOptions::default()).await?;
        let tenant = Tenant::new(TenantOptions {
            name: "demo".to_owned(),
            trust_roots: TrustRoots::Only(emulator.ca_pem().to_owned()),
            allow_hosts: vec!["localhost".parse()?],
            allow_private_networks: true,
            ..TenantOptions::default()
        })?;
        let connection = Connection::new("shared-access-key", connection_values(&emulator)?.to_string());
        Ok(Self { emulator, linked: Linked { connector, tenant, connection }, options })
    }

    /// The hosts of the hub and of the provisioning service.
    #[must_use]
    pub fn hosts(&self) -> [String; 2] {
        [self.emulator.hub_host(), self.emulator.dps_host()]
    }

    /// What the connector makes of the account's values, without a network.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn validate(&self) -> Result<(Validation, String), CallError> {
        let Linked { connector, tenant, connection } = &self.linked;
        let validation = connector.validate(tenant, connection).await?;
        let label = connector.label(tenant, connection).await?;
        Ok((validation, label))
    }

    /// What the connector finds when it tries the account out.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn test(&self) -> Result<Report, CallError> {
        let Linked { connector, tenant, connection } = &self.linked;
        connector.test(tenant, connection).await
    }

    /// Lets the plant happen and the workflow run. Dropping the future ends everything but the emulator.
    ///
    /// # Errors
    ///
    /// [`DemoError`] where it breaks off. A check that does not hold is part of the summary.
    pub async fn run(&self, tell: &(dyn Fn(Progress) + Sync)) -> Result<Summary, DemoError> {
        let DemoOptions { fleet, seed, speed } = &self.options;
        let begun = Instant::now();
        self.emulator.traffic().record(true);
        let actions = Arc::new(Actions::new(self.linked.clone()));
        let plant = Plant::new(fleet, *seed, &self.emulator, actions.clone())?;
        plant.prepare().await;
        let workflow = Workflow::start(&actions).await?;
        let (done, is_done) = watch::channel(false);
        let clock = Clock::start(*speed);
        let engine = Arc::new(self.engine(&workflow, is_done, clock));
        for collection in Collection::ALL {
            engine.seed(collection).await?;
        }
        let seeded = self.emulator.journal().last();

        // Whatever is in this set ends with it.
        let mut running = JoinSet::new();
        for collection in Collection::ALL {
            running.spawn(engine.clone().run(collection));
        }
        let mut traffic = TrafficNumbers::default();
        {
            let scene = async {
                tokio::join!(plant.run(clock), self.misbehave(clock)).1?;
                done.send_replace(true);
                while let Some(ended) = running.join_next().await {
                    ended.map_err(|error| DemoError::Workflow(error.to_string()))??;
                }
                Ok::<_, DemoError>(())
            };
            tokio::pin!(scene);
            loop {
                tokio::select! {
                    ended = &mut scene => break ended,
                    () = tokio::time::sleep(PROGRESS) => {
                        traffic.add(&self.emulator.traffic().take());
                        tell(self.progress(&plant, &workflow, &engine, &actions));
                    }
                }
            }?;
        }
        let workflow_log = workflow.log().clone();
        let last = self.progress(&plant, &workflow, &engine, &actions);
        let observed = std::mem::take(&mut *engine.observed());
        // The engine holds the workflow's inboxes.
        drop(engine);
        workflow.finish().await;
        traffic.add(&self.emulator.traffic().take());
        self.emulator.traffic().record(false);
        let entries = workflow_log.entries().clone();
        let records = actions.records();
        tell(Progress {
            handled: workflow_log.handled.load(Ordering::Relaxed),
            actions: records.len(),
            alarms: entries.alarms.len(),
            ..last
        });
        let evidence = self.evidence(seeded, &observed, &entries, plant.log().mishaps());
        let check = check::check(&evidence);
        traffic.injected = self.emulator.faults().fired();
        let surfaced: u64 = observed.failures.values().sum::<u64>()
            + records.iter().map(|record| u64::from(record.attempts - 1)).sum::<u64>();
        traffic.overcome_inside = traffic.injected.saturating_sub(surfaced);
        Ok(Summary {
            seed: *seed,
            speed: *speed,
            elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            plant: last.plant,
            events: summary::event_numbers(&observed.deliveries),
            actions: summary::action_numbers(&records),
            alarms: entries.alarms,
            polling: polling_numbers(&observed),
            traffic,
            event_latency: summary::event_latency(&check),
            action_latency: summary::action_latency(&records),
            check,
        })
    }

    /// Stops the emulator.
    pub async fn shutdown(self) {
        self.linked.tenant.close();
        self.emulator.shutdown().await;
    }

    fn engine(&self, workflow: &Workflow, done: watch::Receiver<bool>, clock: Clock) -> Engine {
        // Deaths: in the middle of a page in the first half of the run, and with a page in hand in the second.
        let mut random = Random::new(self.options.seed);
        let length = self.options.fleet.duration().as_secs_f64();
        let mut moment = |low, high| Duration::from_secs_f64(length * random.between(low, high));
        let middle = Deaths::new(moment(0.15, 0.35), clock);
        let answer = Deaths::new(moment(0.5, 0.65), clock);
        Engine {
            linked: self.linked.clone(),
            store: Store::new(Box::new(move |Committed { collection, left }| {
                if left.is_some_and(|left| left > 0) && middle.is_due(collection) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })),
            journal: engine::journal_view(self.emulator.journal()),
            clock,
            observed: Mutex::default(),
            fire: Box::new(workflow.inbox()),
            lose_answer: Box::new(move |collection, page| !page.events.is_empty() && answer.is_due(collection)),
            done,
        }
    }

    /// Has the services fail now and then.
    async fn misbehave(&self, clock: Clock) -> Result<(), DemoError> {
        let mut random = Random::new(!self.options.seed);
        let length = self.options.fleet.duration().as_secs_f64();
        let mut moments: Vec<(Duration, &str)> =
            FAULTS.iter().map(|rule| (Duration::from_secs_f64(length * random.between(0.1, 0.75)), *rule)).collect();
        moments.sort();
        for (moment, rule) in moments {
            clock.until(moment).await;
            self.emulator.faults().add_text(rule)?;
        }
        Ok(())
    }

    fn progress(&self, plant: &Plant, workflow: &Workflow, engine: &Engine, actions: &Actions) -> Progress {
        let log = plant.log();
        let observed = engine.observed();
        Progress {
            at: engine.clock.now(),
            of: self.options.fleet.duration(),
            plant: PlantNumbers {
                devices: self.options.fleet.devices.len(),
                enrolled: log.enrolled.load(Ordering::Relaxed),
                registered: log.registered.load(Ordering::Relaxed),
                refused: log.refused.load(Ordering::Relaxed),
                left: log.left.load(Ordering::Relaxed),
            },
            events: observed.deliveries.len() as u64,
            handled: workflow.log().handled.load(Ordering::Relaxed),
            actions: actions.ended(),
            alarms: workflow.log().entries().alarms.len(),
            injected: self.emulator.faults().fired(),
            crashes: observed.crashes.values().sum(),
        }
    }

    fn evidence(
        &self,
        seeded: u64,
        observed: &Observed,
        entries: &workflow::Entries,
        mut mishaps: Vec<String>,
    ) -> Evidence {
        let journal = self.emulator.journal().snapshot(..);
        let twin = |device: &str, pointer: &str| {
            let twin = self.emulator.twin(device)?;
            twin.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
        };
        let tagged: BTreeSet<&String> = entries.updates.iter().map(|(device, _)| device).collect();
        let shut_out: BTreeSet<&String> = entries.statuses.iter().map(|(device, _)| device).collect();
        mishaps.extend(entries.mishaps.iter().cloned());
        Evidence {
            recorded: check::recorded(&journal),
            seeded,
            deliveries: observed.deliveries.clone(),
            scans: observed.scans.clone(),
            hub: HubEvidence {
                updates: entries.updates.clone(),
                recorded_updates: check::recorded_updates(&journal),
                twins: tagged.into_iter().map(|it| (it.clone(), twin(it, "/tags/lifecycle/event"))).collect(),
                statuses: entries.statuses.clone(),
                final_statuses: shut_out
                    .into_iter()
                    .filter_map(|device| Some((device.clone(), twin(device, "/status")?)))
                    .collect(),
                methods: entries.methods,
                recorded_methods: check::recorded_methods(&journal),
            },
            mishaps,
        }
    }
}

/// Deaths of the engine, one for each trigger, from a moment on.
struct Deaths {
    from: Duration,
    clock: Clock,
    died: BTreeMap<Collection, AtomicBool>,
}

impl Deaths {
    fn new(from: Duration, clock: Clock) -> Self {
        Self { from, clock, died: Collection::ALL.into_iter().map(|it| (it, AtomicBool::new(false))).collect() }
    }

    fn is_due(&self, collection: Collection) -> bool {
        self.clock.now() >= self.from
            && self.died.get(&collection).is_some_and(|died| !died.swap(true, Ordering::Relaxed))
    }
}

/// Everything that the workflow and the plant call must be there.
fn require(connector: &Connector) -> Result<(), DemoError> {
    let descriptor = connector.descriptor();
    for id in Collection::ALL.map(Collection::trigger) {
        if !descriptor.triggers.iter().any(|trigger| trigger.operation.id == id) {
            return Err(DemoError::Lacks { kind: "trigger", id });
        }
    }
    for id in workflow::ACTIONS.into_iter().chain(plant::ACTIONS) {
        if !descriptor.actions.iter().any(|action| action.operation.id == id) {
            return Err(DemoError::Lacks { kind: "action", id });
        }
    }
    Ok(())
}

/// The connection guide's five values, and the provisioning service's. The Event Hub-compatible endpoint is only there
/// to be understood: the triggers of the demonstration do not read from it.
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

fn polling_numbers(observed: &Observed) -> PollingNumbers {
    PollingNumbers {
        polls: observed.polls,
        scans: observed.scans.len() as u64,
        failures: observed.failures.clone(),
        notices: observed.notices.clone(),
        crashes: observed.crashes.iter().map(|(it, count)| (it.trigger().to_owned(), *count)).collect(),
    }
}
