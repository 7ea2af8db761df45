//! A reader in this process that behaves like an engine: it polls each partition separately, keeps some instances warm,
//! and stores cursors as text. It is cut off and restarted again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use azure_iot_emulator::{AmqpOptions, EmulatorOptions};
use connector_host::interface::trigger::{Budget, LostPolicy, Page, PollRequest, Start};
use connector_host::interface::types::{Cursor, Retry};
use connector_host::{Account, CallError, Tenant};
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::events::{Record, mixed};
use super::ledger::{Entry, Ledger};
use super::plan;
use crate::{World, delivery, tenant};

/// The number of events for each round. In one round, every kind of fault and every kind of kill happens once.
const EVENTS_TO_A_ROUND: usize = 12_500;

/// A fault of links or connections hits one of this many first links or connections. The kills alone cause more than
/// this many, so every fault happens.
pub(super) const EARLY: usize = 3;

/// A link without traffic is detached after this time. The real service waits half an hour.
const LINK_IDLE: Duration = Duration::from_millis(700);

/// The largest number of failed polls of one partition without a delivery in between. No plan has as many faults.
pub(super) const MOST_FAILURES: u32 = 60;

/// The number of extra polls of each partition after its last event, for faults of links and connections that did not
/// happen before.
const MOST_POLLS_AFTER_THE_END: u32 = 20;

/// How a reader is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kill {
    /// The poll's future is dropped.
    CutOff,
    /// The tenant is closed while a poll runs.
    Closed,
    /// The instance is dropped between two polls.
    Discarded,
    /// The engine crashes while it processes a page, and loses the page.
    Crashed,
    /// The engine drops the page, and polls again with the same instance.
    HeldBack,
    /// No poll for so long that the service detaches the link.
    Idle,
}

impl Kill {
    const ALL: [Self; 6] = [Self::CutOff, Self::Closed, Self::Discarded, Self::Crashed, Self::HeldBack, Self::Idle];
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many events were delivered.
    pub events: usize,
    /// How many deliveries repeated an event.
    pub repeated: usize,
    /// How many polls the engine made.
    pub polls: u32,
    /// How many polls ended with an error.
    pub failures: u32,
    /// How many faults the emulator's rules caused.
    pub faults: u64,
    /// How often the reader lost what it had not committed.
    pub interruptions: usize,
    /// How many polls were cut off before their end.
    pub cut_off: u32,
    /// How many polls failed, by the connector's error code.
    pub codes: BTreeMap<String, u32>,
}

impl Summary {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.repeated += other.repeated;
        self.polls += other.polls;
        self.failures += other.failures;
        self.interruptions += other.interruptions;
        self.cut_off += other.cut_off;
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
    }
}

/// Sends events over four partitions, reads them under faults, and checks each promise of [`super::ledger`].
///
/// # Errors
/// The first promise that was broken.
pub async fn run(seed: u64, events: usize) -> Result<Summary> {
    let amqp = AmqpOptions { link_idle: Some(LINK_IDLE), ..AmqpOptions::default() };
    let world = Arc::new(plan::world(seed, EmulatorOptions { amqp, ..EmulatorOptions::default() }).await?);
    let record = Arc::new(Record::send(&world.emulator, mixed(seed, events))?);
    let rounds = events.div_ceil(EVENTS_TO_A_ROUND);
    plan::apply(&world.emulator, plan::rules(seed, &record, rounds, EARLY)?);
    let mut readers = JoinSet::new();
    for partition in record.partitions() {
        let reader = Reader::new(world.clone(), record.clone(), seed, partition, rounds)?;
        readers.spawn(reader.run());
    }
    let mut summary = Summary::default();
    while let Some(reader) = readers.join_next().await {
        summary.add(reader??);
    }
    // Some faults wait for more links than the readers have attached, so extra polls attach further links.
    let mut polls = 0;
    while !world.emulator.faults().waiting().is_empty() && polls < MOST_POLLS_AFTER_THE_END {
        for partition in record.partitions() {
            look_at_the_end(&world, &record, partition).await?;
        }
        polls += 1;
    }
    summary.faults = world.emulator.faults().fired();
    let waiting = world.emulator.faults().waiting();
    ensure!(waiting.is_empty(), "these faults never happened: {waiting:?}");
    ensure!(summary.events == events, "only {} of {events} events were delivered", summary.events);
    ensure!(summary.cut_off > 0, "no poll was cut off before its end");
    if let Some(world) = Arc::into_inner(world) {
        world.emulator.shutdown().await;
    }
    Ok(summary)
}

/// Polls after the last event of a partition, over a new connection. The poll must deliver no event, and fail only with
/// errors that a new poll may pass.
async fn look_at_the_end(world: &World, record: &Record, partition: u16) -> Result<()> {
    let Some(last) = record.of(partition).last() else { return Ok(()) };
    let request = PollRequest {
        trigger: crate::TELEMETRY.to_owned(),
        partition: partition.to_string(),
        config: "{}".to_owned(),
        start: Start::AtPosition(last.sequence.to_string()),
        on_position_lost: LostPolicy::Stop,
        cursor: None,
        budget: Budget { events: 10, bytes: 1 << 20, wait_ms: 0 },
    };
    match world.connector.account(&tenant(&world.emulator)?, &world.connection).poll(&request).await {
        Ok(page) => ensure!(page.events.is_empty(), "partition {partition}: events after the last one"),
        Err(error) => {
            let passes = |retry: &Retry| matches!(retry, Retry::Backoff | Retry::After(_));
            let typed = error.connector().with_context(|| format!("the host ended a poll: {error:?}"))?;
            ensure!(passes(&typed.retry), "after a fault that passes, the error does not allow a retry: {typed:?}");
        }
    }
    Ok(())
}

struct Reader {
    world: Arc<World>,
    ledger: Ledger,
    random: Rng,
    /// When to interrupt the reader and how, by the number of delivered events. The next interruption is the last
    /// element.
    kills: Vec<(usize, Kill)>,
    tenant: Tenant,
    warm: Option<Account>,
    /// The cursor in the form in which an engine stores it.
    stored: Option<String>,
    summary: Summary,
}

impl Reader {
    fn new(world: Arc<World>, record: Arc<Record>, seed: u64, partition: u16, rounds: usize) -> Result<Self> {
        let mut random = Rng::with_seed(seed.wrapping_mul(31).wrapping_add(u64::from(partition)));
        let events = record.of(partition).len();
        let kinds = Kill::ALL.iter().cycle().take(rounds * Kill::ALL.len());
        let mut kills: Vec<_> = kinds.map(|kill| (random.usize(..events.max(1)), *kill)).collect();
        kills.sort_by(|one, other| other.cmp(one));
        Ok(Self {
            tenant: tenant(&world.emulator)?,
            ledger: Ledger::new(record, partition),
            world,
            random,
            kills,
            warm: None,
            stored: None,
            summary: Summary::default(),
        })
    }

    async fn run(mut self) -> Result<Summary> {
        let mut failures_in_a_row = 0;
        while !self.ledger.is_done() {
            let kill = match self.kills.last() {
                Some((after, kill)) if *after <= self.ledger.seen() => {
                    let kill = *kill;
                    self.kills.pop();
                    Some(kill)
                }
                _ => None,
            };
            match kill {
                Some(Kill::Discarded) => self.warm = None,
                Some(Kill::Idle) => sleep(LINK_IDLE * 2).await,
                _ => {}
            }
            let given: Option<Cursor> = self.stored.as_deref().map(serde_json::from_str).transpose()?;
            let request = self.request(given.clone());
            self.summary.polls += 1;
            match self.poll(&request, kill).await? {
                None => {
                    self.summary.cut_off += 1;
                    self.restart()?;
                }
                Some(Ok(page)) => {
                    if !page.events.is_empty() {
                        failures_in_a_row = 0;
                    }
                    self.work_off(given.as_ref(), page, kill)?;
                }
                Some(Err(error)) => {
                    self.failed(&error)?;
                    failures_in_a_row += 1;
                    ensure!(
                        failures_in_a_row < MOST_FAILURES,
                        "polls from {:?} fail again and again: {error}",
                        self.ledger
                    );
                    sleep(Duration::from_millis(self.random.u64(1..20))).await;
                }
            }
        }
        self.ledger.finish()?;
        self.summary.events = self.ledger.seen();
        self.summary.repeated = self.ledger.repeated();
        self.summary.interruptions = self.ledger.interruptions();
        Ok(self.summary)
    }

    fn request(&mut self, cursor: Option<Cursor>) -> PollRequest {
        let events = match self.random.u32(..20) {
            0 => 1,
            1..4 => 30,
            4..12 => 400,
            _ => 1_500,
        };
        PollRequest {
            trigger: crate::TELEMETRY.to_owned(),
            partition: self.ledger.partition().to_string(),
            config: "{}".to_owned(),
            start: Start::Earliest,
            on_position_lost: LostPolicy::Stop,
            cursor,
            budget: Budget {
                events,
                bytes: [100_000, 1 << 20, 8 << 20][self.random.usize(..3)],
                wait_ms: self.random.u64(..200),
            },
        }
    }

    /// Polls with a cold or a warm instance. None where the poll was cut off.
    async fn poll(&mut self, request: &PollRequest, kill: Option<Kill>) -> Result<Option<Result<Page, CallError>>> {
        let World { connector, connection, .. } = &*self.world;
        let tenant = self.tenant.clone();
        let cold = self.random.u32(..5) == 0;
        if !cold && self.warm.is_none() {
            self.warm = Some(connector.open(&tenant, connection).await?);
        }
        let warm = self.warm.clone().filter(|_| !cold);
        let poll = async {
            match &warm {
                Some(instance) => instance.poll(request).await,
                None => connector.account(&tenant, connection).poll(request).await,
            }
        };
        // Half of the polls are cut off at once, the others some milliseconds later.
        let soon = if self.random.bool() { 0 } else { self.random.u64(1..60) };
        let soon = Duration::from_millis(soon);
        Ok(match kill {
            Some(Kill::CutOff) => timeout(soon, poll).await.ok(),
            Some(Kill::Closed) => {
                let close = async {
                    sleep(soon).await;
                    tenant.close();
                };
                let (page, ()) = tokio::join!(poll, close);
                self.tenant = crate::tenant(&self.world.emulator)?;
                self.warm = None;
                match page {
                    Err(CallError::Cancelled) => None,
                    page => Some(page),
                }
            }
            _ => Some(poll.await),
        })
    }

    /// Delivers a page's events and stores the cursor, after each event or after the whole page.
    fn work_off(&mut self, given: Option<&Cursor>, page: Page, kill: Option<Kill>) -> Result<()> {
        let crash = matches!(kill, Some(Kill::Crashed | Kill::HeldBack));
        let most = if crash { self.random.usize(..=page.events.len()) } else { page.events.len() };
        let commit_each = self.random.bool();
        let mut last = None;
        for event in page.events.iter().take(most) {
            let delivery = delivery(event)?;
            let sequence = delivery.data["sequenceNumber"].as_i64();
            self.ledger.enter(&Entry::Delivered(delivery))?;
            let sequence = sequence.context("checked by the ledger")?;
            if commit_each && !(crash && self.random.u32(..10) == 0) {
                self.commit(sequence, &event.cursor(given))?;
            }
            last = Some(sequence);
        }
        if crash {
            if kill == Some(Kill::Crashed) {
                self.warm = None;
            }
            return self.restart();
        }
        match last {
            Some(sequence) => self.commit(sequence, &page.next),
            // The page has no events, but its cursor can still be new: a partition was empty before.
            None => {
                self.stored = Some(serde_json::to_string(&page.next)?);
                Ok(())
            }
        }
    }

    fn commit(&mut self, sequence: i64, cursor: &Cursor) -> Result<()> {
        self.ledger.enter(&Entry::Committed(sequence))?;
        self.stored = Some(serde_json::to_string(cursor)?);
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        Ok(self.ledger.enter(&Entry::Interrupted)?)
    }

    /// Counts an error that an engine answers by polling again. Any other error is a broken promise.
    fn failed(&mut self, error: &CallError) -> Result<()> {
        let Some(typed) = error.connector() else { bail!("the host ended a poll: {error:?}") };
        ensure!(
            matches!(typed.retry, Retry::Backoff | Retry::After(_)),
            "after a fault that passes, the error does not allow a retry: {typed:?}"
        );
        self.summary.failures += 1;
        *self.summary.codes.entry(format!("{:?}", typed.code)).or_default() += 1;
        Ok(())
    }
}
