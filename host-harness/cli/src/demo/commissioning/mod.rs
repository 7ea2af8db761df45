//! The workflow that commissions devices: a fleet is enrolled, registers, changes and leaves as its file says. Two
//! triggers on the provisioning service report these changes, and the workflow answers the triggers' events.

mod check;
mod collection;
mod engine;
mod fleet;
mod plant;
mod summary;
mod workflow;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::check::Coalescing;
pub use self::collection::Collection;
pub use self::fleet::{Attestation, Change, Failure, Fleet, FleetDevice, FleetError, FleetProblem};
pub use self::summary::{CommissioningSummary, EventNumbers, PollingNumbers};
pub use self::workflow::Alarm;

use self::check::{Evidence, HubEvidence};
use self::engine::{Committed, Engine, Observed, Store};
use self::plant::Plant;
use self::workflow::{Workflow, WorkflowLog};
use super::actions::{Actions, Linked};
use super::check::CheckLine;
use super::clock::Random;
use super::deaths::Deaths;
use super::faults::Fault;
use super::numbers::PlantNumbers;
use super::progress::CommissioningProgress;
use super::{DemoError, Stage, faults};

/// The fleet that is used if no other is named: `fleets/plant.csv`.
pub const PLANT: &str = include_str!("../../../../../fleets/plant.csv");

/// The faults of a run. No fault lets a failed request take effect, so every success of an action is exactly one
/// change.
const FAULTS: [Fault; 11] = [
    Fault { rule: "dps:POST /enrollments/query=429+1x1", what: "the provisioning service throttles a query" },
    Fault { rule: "dps:POST /enrollments/query=500x1", what: "the provisioning service fails a query" },
    Fault { rule: "dps:POST /enrollments/query=dropx1", what: "the connection of a query is dropped" },
    Fault { rule: "dps:POST /enrollments/query=garbagex1", what: "a query is answered with garbage" },
    Fault { rule: "dps:POST /registrations/*/query=429x2", what: "the provisioning service throttles registrations" },
    Fault { rule: "dps:POST /registrations/*/query=503x1", what: "the provisioning service is unavailable" },
    Fault { rule: "dps:GET /enrollments/*=500x1", what: "the provisioning service fails to read an enrollment" },
    Fault { rule: "hub:PATCH /twins/*=429+1x2", what: "the hub throttles updates of twins" },
    Fault { rule: "hub:PATCH /twins/*=500x2", what: "the hub fails to update a twin" },
    Fault { rule: "hub:PATCH /twins/*=dropx1", what: "the connection of an update is dropped" },
    Fault { rule: "hub:PATCH /twins/*=503x1", what: "the hub is unavailable for an update" },
];

/// The actions that the workflow and the plant call.
pub(super) fn actions() -> impl Iterator<Item = &'static str> {
    workflow::ACTIONS.into_iter().chain(plant::ACTIONS)
}

/// A run of the workflow.
pub(super) struct Commissioning {
    devices: usize,
    length: Duration,
    plant: Plant,
    workflow: Workflow,
    log: Arc<WorkflowLog>,
    engine: Arc<Engine>,
    finished: watch::Sender<bool>,
    /// The journal's length when the triggers were started.
    seeded: u64,
}

impl Commissioning {
    /// Enrolls the devices that exist before the run, and lets the triggers read the records that exist already.
    pub(super) async fn start(
        stage: &Stage<'_>,
        fleet: &Fleet,
        linked: Linked,
        actions: Arc<Actions>,
    ) -> Result<Self, DemoError> {
        let plant = Plant::new(fleet, stage.seed, stage.emulator, actions.clone())?;
        plant.prepare().await;
        let workflow = Workflow::start(&actions).await?;
        let (finished, is_finished) = watch::channel(false);
        let length = fleet.duration();
        let engine = engine(stage, length, linked, &workflow, is_finished);
        for collection in Collection::ALL {
            engine.seed(collection).await?;
        }
        Ok(Self {
            devices: fleet.devices.len(),
            length,
            plant,
            log: workflow.log().clone(),
            workflow,
            engine: Arc::new(engine),
            finished,
            seeded: stage.emulator.journal().last(),
        })
    }

    /// The simulated time of the last step in the fleet file.
    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// Runs the plant, the failures and the workflow.
    pub(super) async fn run(&self, stage: &Stage<'_>) -> Result<(), DemoError> {
        // Dropping this set ends the tasks in it.
        let mut running = JoinSet::new();
        for collection in Collection::ALL {
            running.spawn(self.engine.clone().run(collection));
        }
        let random = Random::new(!stage.seed);
        let faults = faults::inject(&FAULTS, stage.emulator, &stage.clock, self.length, random, stage.news);
        tokio::join!(self.plant.run(&stage.clock), faults).1?;
        self.finished.send_replace(true);
        while let Some(ended) = running.join_next().await {
            ended.map_err(|error| DemoError::Workflow(error.to_string()))??;
        }
        Ok(())
    }

    pub(super) fn progress(&self) -> CommissioningProgress {
        let observed = self.engine.observed();
        CommissioningProgress {
            plant: self.plant_numbers(),
            events: observed.deliveries.len() as u64,
            handled: self.log.handled.load(Ordering::Relaxed),
            alarms: self.log.entries().alarms.len(),
            restarts: observed.crashes.values().sum(),
        }
    }

    /// The number of polls that failed and were repeated, by error code.
    pub(super) fn failures(&self) -> BTreeMap<String, u64> {
        self.engine.observed().failures.clone()
    }

    /// To be called after the run. Waits until the workflow has handled all events, and makes the self-check.
    pub(super) async fn finish(self, stage: &Stage<'_>) -> (CommissioningSummary, Vec<CheckLine>) {
        let plant = self.plant_numbers();
        let Self { engine, workflow, log, seeded, plant: simulated, .. } = self;
        let observed = std::mem::take(&mut *engine.observed());
        // The engine holds the workflow's inbox, and the workflow ends only after its inbox is gone.
        drop(engine);
        workflow.finish().await;
        let entries = log.entries().clone();
        let evidence = evidence(stage, seeded, &observed, &entries, simulated.log().mishaps());
        let findings = check::check(&evidence);
        let summary = summary::summarize(plant, &observed, entries.alarms, &findings);
        (summary, findings.lines)
    }

    fn plant_numbers(&self) -> PlantNumbers {
        let log = self.plant.log();
        PlantNumbers {
            devices: self.devices,
            enrolled: log.enrolled.load(Ordering::Relaxed),
            registered: log.registered.load(Ordering::Relaxed),
            refused: log.refused.load(Ordering::Relaxed),
            left: log.left.load(Ordering::Relaxed),
        }
    }
}

fn engine(
    stage: &Stage<'_>,
    length: Duration,
    linked: Linked,
    workflow: &Workflow,
    done: watch::Receiver<bool>,
) -> Engine {
    // Each loop dies in the middle of a page in the first half of the run, and after a poll in the second half.
    let mut random = Random::new(stage.seed);
    let mut moment = |low, high| length.mul_f64(random.between(low, high));
    let middle = Deaths::new(moment(0.15, 0.35), stage.clock.clone());
    let answer = Deaths::new(moment(0.5, 0.65), stage.clock.clone());
    Engine {
        linked,
        store: Store::new(Box::new(move |Committed { collection, left }| {
            if left.is_some_and(|left| left > 0) && middle.is_due(collection) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })),
        journal: engine::journal_view(stage.emulator.journal()),
        clock: stage.clock.clone(),
        news: stage.news.clone(),
        observed: Mutex::default(),
        fire: Box::new(workflow.inbox()),
        lose_answer: Box::new(move |collection, page| !page.events.is_empty() && answer.is_due(collection)),
        done,
    }
}

fn evidence(
    stage: &Stage<'_>,
    seeded: u64,
    observed: &Observed,
    entries: &workflow::Entries,
    mut mishaps: Vec<String>,
) -> Evidence {
    let journal = stage.emulator.journal().snapshot(..);
    let twin = |device: &str, pointer: &str| {
        let twin = stage.emulator.twin(device)?;
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
