//! One reader of all partitions with small pages and a selective filter, under faults. The filter holds back most
//! messages, so the reader must not get stuck: a poll that ends in a timeout commits nothing, and the next poll would
//! read the same messages again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use azure_iot_emulator::EmulatorOptions;
use connector_host::CallError;
use connector_host::interface::trigger::{Budget, LostPolicy, Page, PollRequest, Start};
use connector_host::interface::types::{Cursor, ErrorCode, Retry};
use fastrand::Rng;
use serde_json::json;
use tokio::time::sleep;

use super::engine::{EARLY, MOST_FAILURES, Summary};
use super::events::{Record, mixed};
use super::ledger::{Entry, Ledger};
use super::plan;
use crate::{World, delivery};

/// The kinds of events that a filter selects. There are few events of each kind.
const WANTED: [&str; 7] =
    ["text", "binary", "undeclared-binary", "malformed-json", "value", "sequence", "undeclared-json"];

/// Sizes of pages, as a person would set them.
const PAGES: [u32; 7] = [1, 3, 5, 10, 20, 25, 100];

/// The largest number of polls after the last event, for faults that did not happen before.
const MOST_AFTER_THE_END: u32 = 200;

/// Sends events over four partitions, and reads those of one kind with one reader. Checks that all of them arrive, and
/// that no poll ends in a timeout although the emulator always answers.
///
/// # Errors
/// The first promise that was broken.
pub async fn run(seed: u64, events: usize) -> Result<Summary> {
    let mut random = Rng::with_seed(seed ^ 0x5ca9);
    let world = plan::world(seed, EmulatorOptions::default()).await?;
    let record = Record::send(&world.emulator, mixed(seed, events))?;
    plan::apply(&world.emulator, plan::rules(seed, &record, 1, EARLY)?);
    let wanted = WANTED[random.usize(..WANTED.len())];
    let is_wanted = |kind: &str| kind == wanted;
    let of = |number| {
        let events = record.of(number).iter();
        events.filter(|one| is_wanted(&one.event.properties[0].1)).cloned().collect()
    };
    let selected = Arc::new(Record::new(record.partitions().map(of).collect()));
    let ledgers = selected.partitions().map(|number| Ledger::new(selected.clone(), number)).collect();
    let config = json!({
        "filter": { "conditions": [{ "path": "/$properties/kind", "operator": "equals", "value": wanted }] }
    });
    let mut scan =
        Scan { world, ledgers, random, config: config.to_string(), stored: None, summary: Summary::default() };
    scan.read().await.with_context(|| format!("looking for events of the kind {wanted}"))?;
    let Scan { world, ledgers, mut summary, .. } = scan;
    ledgers.iter().try_for_each(Ledger::finish)?;
    let sum = |of: fn(&Ledger) -> usize| ledgers.iter().map(of).sum();
    (summary.events, summary.repeated) = (sum(Ledger::seen), sum(Ledger::repeated));
    summary.interruptions = ledgers.first().map_or(0, Ledger::interruptions);
    summary.faults = world.emulator.faults().fired();
    world.emulator.shutdown().await;
    Ok(summary)
}

struct Scan {
    world: World,
    ledgers: Vec<Ledger>,
    random: Rng,
    config: String,
    /// The cursor in the form in which an engine stores it.
    stored: Option<String>,
    summary: Summary,
}

impl Scan {
    /// Polls until every event was read and every fault has happened.
    async fn read(&mut self) -> Result<()> {
        let mut warm = None;
        let (mut failures, mut after_the_end) = (0, 0);
        loop {
            let given: Option<Cursor> = self.stored.as_deref().map(serde_json::from_str).transpose()?;
            let request = self.request(given.clone());
            let World { connector, tenant, connection, .. } = &self.world;
            let is_cold = self.random.u32(..4) == 0;
            if !is_cold && warm.is_none() {
                warm = Some(connector.open(tenant, connection).await?);
            }
            let page = match warm.as_ref().filter(|_| !is_cold) {
                Some(instance) => instance.poll(&request).await,
                None => connector.account(tenant, connection).poll(&request).await,
            };
            self.summary.polls += 1;
            match page {
                Ok(page) => {
                    failures = 0;
                    let is_end = !page.more && page.lag == Some(0);
                    self.work_off(given.as_ref(), page)?;
                    let waiting = self.world.emulator.faults().waiting();
                    if is_end && self.ledgers.iter().all(Ledger::is_done) {
                        if waiting.is_empty() {
                            return Ok(());
                        }
                        after_the_end += 1;
                        ensure!(after_the_end < MOST_AFTER_THE_END, "these faults never happened: {waiting:?}");
                        // The next poll uses a new connection with new links.
                        warm = None;
                    }
                }
                Err(error) => {
                    self.failed(&error)?;
                    failures += 1;
                    ensure!(failures < MOST_FAILURES, "polls from {:?} fail again and again: {error}", self.stored);
                    sleep(Duration::from_millis(self.random.u64(1..20))).await;
                }
            }
        }
    }

    fn request(&mut self, cursor: Option<Cursor>) -> PollRequest {
        PollRequest {
            trigger: crate::TELEMETRY.to_owned(),
            partition: String::new(),
            config: self.config.clone(),
            start: Start::Earliest,
            on_position_lost: LostPolicy::Stop,
            cursor,
            budget: Budget {
                events: PAGES[self.random.usize(..PAGES.len())],
                bytes: 1 << 20,
                wait_ms: [0, 0, 30, 200][self.random.usize(..4)],
            },
        }
    }

    /// Delivers a page's events. Sometimes it delivers only some of them, and then starts again from the stored cursor.
    fn work_off(&mut self, given: Option<&Cursor>, page: Page) -> Result<()> {
        let crashes = self.random.u32(..10) == 0;
        let most = if crashes { self.random.usize(..=page.events.len()) } else { page.events.len() };
        for event in page.events.iter().take(most) {
            let partition: usize = event.partition.parse().context("the number of a partition")?;
            let ledger = self.ledgers.get_mut(partition).context("an event of an unknown partition")?;
            ledger.enter(&Entry::Delivered(delivery(event)?))?;
            if crashes {
                ledger.commit_delivered()?;
                self.stored = Some(serde_json::to_string(&event.cursor(given))?);
            }
        }
        if crashes {
            self.ledgers.iter_mut().try_for_each(|ledger| ledger.enter(&Entry::Interrupted))?;
        } else {
            self.ledgers.iter_mut().try_for_each(Ledger::commit_delivered)?;
            self.stored = Some(serde_json::to_string(&page.next)?);
        }
        Ok(())
    }

    /// Counts an error that an engine answers by polling again. A timeout, or any other error, is a broken promise.
    fn failed(&mut self, error: &CallError) -> Result<()> {
        let Some(typed) = error.connector() else { bail!("the host ended a poll: {error:?}") };
        ensure!(
            matches!(typed.retry, Retry::Backoff | Retry::After(_)),
            "after a fault that passes, the error does not allow a retry: {typed:?}"
        );
        // A timeout that the service itself reports is an allowed fault.
        let is_false = typed.code == ErrorCode::Timeout && typed.service.is_none();
        ensure!(!is_false, "a poll timed out although the service answered: {typed:?}");
        self.summary.failures += 1;
        *self.summary.codes.entry(format!("{:?}", typed.code)).or_default() += 1;
        Ok(())
    }
}
