//! The workflow that keeps machines cool, from telemetry to the direct method and back.
//!
//! ```text
//!  machine ──telemetry──► hub ──AMQP──► trigger, which delivers only hot readings
//!     ▲                                    │
//!     └── startCooling, desired twin ◄── workflow
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `rule` | which readings the trigger looks for |
//! | `workflow` | what is done about a hot reading |
//! | `engine`, `reader`, `window`, `store` | what an engine does for any trigger that is streamed |
//! | `scene` | the simulated machines, and what goes wrong |
//! | `ledger`, `evidence`, `check` | the record of the run, and the self-check |

mod check;
mod engine;
mod evidence;
mod ledger;
mod reader;
mod rule;
mod scene;
mod store;
mod summary;
mod window;
mod workflow;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use azure_iot_emulator::Exchange;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::store::DeadLetter;
pub use self::summary::{CoolingSummary, MachineNumbers, PartitionNumbers};

use self::engine::{Engine, Parts};
use self::evidence::Requests;
use self::ledger::{Ledger, Outcome, Step};
use self::scene::{FAULTS, LENGTH, Scene};
use self::store::Store;
use self::workflow::Workflow;
use super::actions::{Actions, Linked};
use super::check::CheckLine;
use super::clock::Random;
use super::progress::{CoolingProgress, PartitionProgress};
use super::{DemoError, Stage, faults};

/// The trigger that the workflow begins with.
pub(super) const TRIGGER: &str = rule::TRIGGER;
/// The actions that the workflow calls.
pub(super) const ACTIONS: [&str; 2] = workflow::ACTIONS;

/// A run of the workflow.
pub(super) struct Cooling {
    engine: Arc<Engine>,
    partitions: Vec<String>,
    scene: Scene,
    store: Store,
    ledger: Arc<Ledger>,
    requests: Mutex<Requests>,
    /// For each machine, how many coolings were reported as news.
    seen: Mutex<BTreeMap<String, u32>>,
    nothing_more: watch::Sender<bool>,
    /// The store's folder. It is deleted after the run, because the cursors point into the emulator's log, which ends
    /// too.
    _folder: tempfile::TempDir,
}

impl Cooling {
    /// Switches the trigger on, and then the machines.
    pub(super) async fn start(stage: &Stage<'_>, linked: Linked, actions: Arc<Actions>) -> Result<Self, DemoError> {
        let folder = tempfile::tempdir().map_err(|error| DemoError::Store(error.to_string()))?;
        let store = Store::open(folder.path(), &linked.connector)?;
        let ledger: Arc<Ledger> = Arc::default();
        let (nothing_more, done) = watch::channel(false);
        let mut random = Random::new(stage.seed);
        let mut moment = |low, high| LENGTH.mul_f64(random.between(low, high));
        let engine = Engine::new(Parts {
            linked,
            store: store.clone(),
            workflow: Workflow::new(actions),
            ledger: ledger.clone(),
            news: stage.news.clone(),
            clock: stage.clock.clone(),
            done,
            deaths: [moment(0.15, 0.35), moment(0.45, 0.65)],
        });
        let partitions = engine.switch_on().await?;
        let scene = Scene::start(stage.emulator, stage.seed, &stage.clock).await?;
        Ok(Self {
            engine: Arc::new(engine),
            partitions,
            scene,
            store,
            ledger,
            requests: Mutex::default(),
            seen: Mutex::default(),
            nothing_more,
            _folder: folder,
        })
    }

    /// The simulated time in which machines run hot now and then.
    pub(super) fn length() -> Duration {
        LENGTH
    }

    /// Runs the machines, the failures and the engine, until every machine that can be reached is cool.
    pub(super) async fn run(&self, stage: &Stage<'_>) -> Result<(), DemoError> {
        // Dropping this set ends the tasks in it.
        let mut running = JoinSet::new();
        for partition in &self.partitions {
            running.spawn(self.engine.clone().run(partition.clone()));
        }
        let engine = async {
            while let Some(ended) = running.join_next().await {
                ended.map_err(|error| DemoError::Workflow(error.to_string()))??;
            }
            Ok::<_, DemoError>(())
        };
        let random = Random::new(!stage.seed);
        let play = async {
            let faults = faults::inject(&FAULTS, stage.emulator, &stage.clock, LENGTH, random, stage.news);
            tokio::join!(self.scene.play(&stage.clock), faults).1?;
            self.nothing_more.send_replace(true);
            Ok(())
        };
        // An error of the engine ends the run at once.
        tokio::try_join!(play, engine)?;
        self.scene.settle().await;
        Ok(())
    }

    /// Records HTTP requests for the self-check.
    pub(super) fn note(&self, exchanges: &[Exchange]) {
        lock(&self.requests).note(exchanges);
    }

    pub(super) fn progress(&self, stage: &Stage<'_>) -> CoolingProgress {
        let states = self.scene.states();
        self.tell_cooled(stage, &states);
        let entries = self.ledger.entries();
        let mut progress = CoolingProgress { sent: self.scene.sent(), ..CoolingProgress::default() };
        let mut events = BTreeSet::new();
        let mut settled = BTreeMap::new();
        for partition in &self.partitions {
            let reading = entries.reading.get(partition).cloned().unwrap_or_default();
            progress.partitions.push(PartitionProgress {
                id: partition.clone(),
                hot: 0,
                lag: reading.lag,
                in_flight: reading.in_flight,
                committed: None,
                trouble: reading.trouble,
            });
        }
        let row = |partitions: &mut Vec<PartitionProgress>, id: &str, change: &dyn Fn(&mut PartitionProgress)| {
            partitions.iter_mut().filter(|row| row.id == id).for_each(change);
        };
        for step in &entries.steps {
            match step {
                Step::Delivered(hot) => {
                    if events.insert(&hot.event) {
                        row(&mut progress.partitions, &hot.partition, &|row| row.hot += 1);
                    }
                }
                Step::Settled { partition, sequence, outcome } => drop(settled.insert((partition, sequence), outcome)),
                Step::Committed { partition, through } => {
                    row(&mut progress.partitions, partition, &|row| row.committed = through.or(row.committed));
                }
                Step::Died { .. } => progress.restarts += 1,
            }
        }
        progress.hot_readings = events.len() as u64;
        progress.parked = settled.values().filter(|outcome| ***outcome == Outcome::Parked).count() as u64;
        progress.answered = settled.len() as u64 - progress.parked;
        for state in states {
            progress.cooled += u64::from(state.cooled);
            if state.cooling {
                progress.cooling.push((state.id, state.temperature));
            } else if state.stopped || state.temperature > rule::THRESHOLD {
                progress.hot.push((state.id, state.temperature));
            }
        }
        progress
    }

    fn tell_cooled(&self, stage: &Stage<'_>, states: &[azure_iot_emulator::MachineState]) {
        let mut seen = lock(&self.seen);
        for state in states {
            let before = seen.insert(state.id.clone(), state.cooled).unwrap_or_default();
            if state.cooled > before {
                stage.news.report(format!("cooled    {} is at {:.1} °C again", state.id, state.temperature));
            }
        }
    }

    /// The number of polls that failed and were repeated, by error code.
    pub(super) fn failures(&self) -> BTreeMap<String, u64> {
        self.ledger.entries().failures.clone()
    }

    /// To be called after the run. Returns the summary and the lines of the self-check.
    pub(super) async fn finish(self, stage: &Stage<'_>) -> Result<(CoolingSummary, Vec<CheckLine>), DemoError> {
        let dead_letters = self.store.dead_letters().await?;
        let states = self.scene.states();
        let entries = std::mem::take(&mut *self.ledger.entries());
        let requests = self.requests.into_inner().unwrap_or_else(PoisonError::into_inner);
        let evidence = evidence::collect(stage.emulator, entries.steps.clone(), requests, &dead_letters, &states);
        let lines = check::check(&evidence);
        let summary = summary::summarize(self.scene.sent(), &self.partitions, entries, &evidence, dead_letters, states);
        Ok((summary, lines))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
