//! The engine: a task of its own reads each partition, the partition's events are worked on side by side, and its
//! cursor is committed up to the first event that is not settled.
//!
//! - Events with the same order key (the events of one device) are worked on in order, one after the other. Events with
//!   different order keys are worked on at the same time.
//! - A cursor is committed after every event before it is settled: done, or put aside as a
//!   [`DeadLetter`](super::DeadLetter) after [`TRIES`](super::workflow::TRIES) tries. Until then the event holds back
//!   the commits of its own partition; other partitions, and later events of other devices, go on.
//! - After an engine died, it continues only from what it has committed: events that were not committed are delivered
//!   again. Each partition's loop dies twice in a run: one time when an event is done and not committed, and one time
//!   when a page was read and no work on it has begun.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::DemoError;
use super::super::actions::Linked;
use super::super::clock::Clock;
use super::super::deaths::Deaths;
use super::super::news::News;
use super::ledger::{Hot, Ledger, Outcome, Step};
use super::reader::{Read, Reader};
use super::rule::{TRIGGER, config};
use super::store::Store;
use super::window::Window;
use super::workflow::Workflow;
use connector_host::Account;
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::interface::types::Cursor;

/// The largest number of events and pages of a partition that are read and not committed.
const WINDOW: usize = 64;
/// How long a poll waits for a first event, and the longest time that it gathers more events.
const WAIT: Duration = Duration::from_millis(150);
/// The simulated time from the death of a loop to its new start.
const RESTART: Duration = Duration::from_millis(200);

/// Everything that the partitions' loops work with.
pub(super) struct Engine {
    linked: Linked,
    store: Store,
    workflow: Workflow,
    ledger: Arc<Ledger>,
    news: News,
    clock: Clock,
    /// True after the machines and sensors have sent their last message.
    done: watch::Receiver<bool>,
    dies_before_commit: Deaths<String>,
    dies_with_page: Deaths<String>,
}

/// The parts of an [`Engine`].
pub(super) struct Parts {
    pub(super) linked: Linked,
    pub(super) store: Store,
    pub(super) workflow: Workflow,
    pub(super) ledger: Arc<Ledger>,
    pub(super) news: News,
    pub(super) clock: Clock,
    pub(super) done: watch::Receiver<bool>,
    /// Two moments in simulated time. Each loop dies at its first finished event after the first moment, before the
    /// commit, and at its first page with events after the second moment.
    pub(super) deaths: [Duration; 2],
}

/// How one life of a loop ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Done,
    Died,
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { linked, store, workflow, ledger, news, clock, done, deaths } = parts;
        let [dies_before_commit, dies_with_page] = deaths.map(|from| Deaths::new(from, clock.clone()));
        Self { linked, store, workflow, ledger, news, clock, done, dies_before_commit, dies_with_page }
    }

    /// Switches the trigger on: from here on nothing is missed. Returns the partitions.
    pub(super) async fn switch_on(&self) -> Result<Vec<String>, DemoError> {
        let Linked { connector, tenant, connection } = &self.linked;
        let found = connector.account(tenant, connection).partitions(TRIGGER, &config().to_string()).await?;
        let partitions: Vec<String> = found.into_iter().map(|partition| partition.id).collect();
        for partition in &partitions {
            let (pages, _) = mpsc::channel(1);
            let page = self.reader(partition, None, pages).await?.poll().await?;
            self.store.commit(partition, page.next, None).await?;
        }
        Ok(partitions)
    }

    /// Runs one partition until everything that was sent is settled and committed.
    pub(super) async fn run(self: Arc<Self>, partition: String) -> Result<(), DemoError> {
        while Life::begin(&self, &partition).await?.live().await? == Ended::Died {
            self.ledger.note(Step::Died { partition: partition.clone() });
            self.news.report(format!("restart   the loop of partition {partition} died; it goes on from its commit"));
            sleep(self.clock.real(RESTART)).await;
        }
        Ok(())
    }

    /// A reader that continues at a cursor. It has a warm instance of its own, which keeps the AMQP connection open
    /// between polls.
    async fn reader(
        &self,
        partition: &str,
        cursor: Option<Cursor>,
        pages: mpsc::Sender<Read>,
    ) -> Result<Reader, DemoError> {
        let request = PollRequest {
            trigger: TRIGGER.to_owned(),
            partition: partition.to_owned(),
            config: config().to_string(),
            start: Start::Now,
            on_position_lost: LostPolicy::Stop,
            cursor,
            budget: Budget {
                wait_ms: u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX),
                events: WINDOW as u32 / 2,
                ..Budget::default()
            },
        };
        let instance = self.open().await?;
        Ok(Reader { instance, request, ledger: self.ledger.clone(), done: self.done.clone(), pages })
    }

    async fn open(&self) -> Result<Account, DemoError> {
        let Linked { connector, tenant, connection } = &self.linked;
        Ok(connector.open(tenant, connection).await?)
    }

    /// Works on one event until it is settled.
    async fn work(self: Arc<Self>, ticket: u64, hot: Hot) -> Result<Finished, DemoError> {
        let outcome = match self.workflow.run(&hot).await {
            Ok(()) => Outcome::Done,
            Err(letter) => {
                self.news.report(format!(
                    "parked    {} at {:.1} °C after {} tries of {}: {}",
                    letter.device_id, letter.temperature, letter.tries, letter.action, letter.code
                ));
                self.store.park(letter).await?;
                Outcome::Parked
            }
        };
        Ok(Finished { ticket, hot, outcome })
    }
}

/// An event that is settled.
struct Finished {
    ticket: u64,
    hot: Hot,
    outcome: Outcome,
}

/// One life of a partition's loop. It begins with the cursor in the store, and all tasks that it started end with it.
struct Life<'e> {
    engine: &'e Arc<Engine>,
    partition: &'e str,
    committed: Option<Cursor>,
    window: Window,
    /// By order key: the events that wait for an earlier event with the same key, which is being worked on.
    waiting: BTreeMap<String, VecDeque<(u64, Hot)>>,
    working: JoinSet<Result<Finished, DemoError>>,
    reading: JoinSet<Result<(), DemoError>>,
    pages: mpsc::Receiver<Read>,
}

impl<'e> Life<'e> {
    async fn begin(engine: &'e Arc<Engine>, partition: &'e str) -> Result<Self, DemoError> {
        let committed = engine.store.cursor(partition).await?;
        let (sender, pages) = mpsc::channel(1);
        let mut reading = JoinSet::new();
        reading.spawn(engine.reader(partition, committed.clone(), sender).await?.run());
        Ok(Self {
            engine,
            partition,
            committed,
            window: Window::default(),
            waiting: BTreeMap::new(),
            working: JoinSet::new(),
            reading,
            pages,
        })
    }

    async fn live(mut self) -> Result<Ended, DemoError> {
        let mut more = true;
        while more || self.window.len() > 0 {
            tokio::select! {
                read = self.pages.recv(), if more && self.window.len() < WINDOW => match read {
                    Some(read) => {
                        let has_events = !read.page.events.is_empty();
                        if has_events && self.engine.dies_with_page.is_due(self.partition.to_owned()) {
                            return Ok(Ended::Died);
                        }
                        self.take_in(read);
                    }
                    None => more = false,
                },
                Some(finished) = self.working.join_next() => {
                    if self.settle(joined(finished)?).is_break() {
                        return Ok(Ended::Died);
                    }
                }
                else => return Err(DemoError::Workflow("events are waiting, and no task works on them".to_owned())),
            }
            self.commit().await?;
        }
        // The reader has closed the channel, either at the end of the log or because of an error.
        while let Some(read) = self.reading.join_next().await {
            joined(read)?;
        }
        Ok(Ended::Done)
    }

    fn take_in(&mut self, Read { given, page }: Read) {
        for event in &page.events {
            let hot = Hot::read(event);
            self.engine.ledger.note(Step::Delivered(hot.clone()));
            let ticket = self.window.event(hot.sequence, event.cursor(given.as_ref()));
            match self.waiting.get_mut(&hot.order_key) {
                Some(queue) => queue.push_back((ticket, hot)),
                None => {
                    self.waiting.insert(hot.order_key.clone(), VecDeque::new());
                    self.working.spawn(self.engine.clone().work(ticket, hot));
                }
            }
        }
        self.window.page_end(page.next);
    }

    fn settle(&mut self, Finished { ticket, hot, outcome }: Finished) -> ControlFlow<()> {
        if self.engine.dies_before_commit.is_due(self.partition.to_owned()) {
            return ControlFlow::Break(());
        }
        let partition = self.partition.to_owned();
        self.engine.ledger.note(Step::Settled { partition, sequence: hot.sequence, outcome });
        self.window.settle(ticket);
        match self.waiting.get_mut(&hot.order_key).and_then(VecDeque::pop_front) {
            Some((ticket, next)) => drop(self.working.spawn(self.engine.clone().work(ticket, next))),
            None => drop(self.waiting.remove(&hot.order_key)),
        }
        ControlFlow::Continue(())
    }

    /// Commits the newest cursor before which every event is settled.
    async fn commit(&mut self) -> Result<(), DemoError> {
        if let Some(prefix) = self.window.advance() {
            let before = self.committed.replace(prefix.cursor.clone());
            if before.as_ref() != Some(&prefix.cursor) {
                self.engine.store.commit(self.partition, prefix.cursor, before).await?;
                let partition = self.partition.to_owned();
                self.engine.ledger.note(Step::Committed { partition, through: prefix.through });
            }
        }
        self.engine.ledger.entries().reading.entry(self.partition.to_owned()).or_default().in_flight =
            self.window.len();
        Ok(())
    }
}

/// The result of a task of this life. A panic of the task becomes an error.
fn joined<T>(result: Result<Result<T, DemoError>, tokio::task::JoinError>) -> Result<T, DemoError> {
    result.map_err(|error| DemoError::Workflow(error.to_string()))?
}
