//! A small engine: it polls a trigger, hands each event to the workflow, and commits the cursor after each event.
//!
//! After an engine died, it continues only from what it has committed. To show that no event is lost or delivered
//! twice, each trigger's loop dies twice in a run: one time in the middle of a page, and one time after a poll whose
//! answer it throws away. An event and the cursor after it are committed together, as an engine does in its own
//! database. If they were committed one after the other, a death in between would repeat or lose the event.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use azure_iot_emulator::Journal;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::super::DemoError;
use super::super::actions::{Linked, code, pause_after};
use super::super::clock::{Clock, wall};
use super::super::news::News;
use super::check::{Delivery, Scan};
use super::collection::Collection;
use connector_host::interface::trigger::{Budget, Event, LostPolicy, Page, Payload, PollRequest, Start};
use connector_host::interface::types::Cursor;

/// The simulated time between two complete scans. The connector advises 30 seconds because of the service's quotas,
/// which the emulator does not enforce here.
const INTERVAL: Duration = Duration::from_millis(300);
/// The shortest real time between two scans, whatever the speed.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(40);
/// The simulated time from the death of a loop to its new start.
const RESTART: Duration = Duration::from_millis(200);
/// The number of failed polls in a row after which a trigger counts as broken.
const FAILURES: u32 = 20;
/// The only partition of each of these triggers.
const PARTITION: &str = "all";
/// The largest number of events of one page. It is small, so that a burst takes several polls.
const EVENTS: u32 = 40;

/// What the hook of a [`Store`] receives after each commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    pub(super) collection: Collection,
    /// The number of events of the page that are still to come; `None` if the end of the page was committed.
    pub(super) left: Option<usize>,
}

type Hook = Box<dyn Fn(Committed) -> ControlFlow<()> + Send + Sync>;

/// Cursors in memory. The hook is called after each commit, and can let the engine die at that point.
pub(super) struct Store {
    cursors: Mutex<BTreeMap<Collection, Cursor>>,
    hook: Hook,
}

impl Store {
    pub(super) fn new(hook: Hook) -> Self {
        Self { cursors: Mutex::default(), hook }
    }

    fn get(&self, collection: Collection) -> Option<Cursor> {
        lock(&self.cursors).get(&collection).cloned()
    }

    fn commit(&self, collection: Collection, cursor: Cursor, left: Option<usize>) -> ControlFlow<()> {
        lock(&self.cursors).insert(collection, cursor);
        (self.hook)(Committed { collection, left })
    }
}

/// The record of what the loops do. It survives their deaths.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) scans: Vec<Scan>,
    pub(super) polls: u64,
    /// Errors that reached the engine, by code.
    pub(super) failures: BTreeMap<String, u64>,
    /// Notices of the connector, by code.
    pub(super) notices: BTreeMap<String, u64>,
    pub(super) crashes: BTreeMap<Collection, u64>,
    /// The journal's length at the beginning of the scan that is under way.
    began: BTreeMap<Collection, u64>,
}

/// An event for the workflow.
#[derive(Clone, Debug)]
pub(super) struct Fired {
    pub(super) collection: Collection,
    pub(super) id: String,
    pub(super) key: String,
    pub(super) data: Value,
}

/// Everything that a loop works with.
pub(super) struct Engine {
    pub(super) linked: Linked,
    pub(super) store: Store,
    pub(super) journal: JournalView,
    pub(super) clock: Clock,
    pub(super) news: News,
    pub(super) observed: Mutex<Observed>,
    /// Hands an event to the workflow. After that the event counts as stored, because the workflow survives the loop's
    /// deaths.
    pub(super) fire: Box<dyn Fn(Fired) + Send + Sync>,
    /// Decides whether the answer of a poll is thrown away.
    pub(super) lose_answer: LoseAnswer,
    /// True after the last step of the plant.
    pub(super) done: watch::Receiver<bool>,
}

/// Gets a trigger's collection and a page. True if the page is to be thrown away, and the loop dies.
type LoseAnswer = Box<dyn Fn(Collection, &Page) -> bool + Send + Sync>;

/// Returns the length of the emulator's journal.
pub(super) type JournalView = Box<dyn Fn() -> u64 + Send + Sync>;

/// A view of the journal's length that does not borrow the emulator.
pub(super) fn journal_view(journal: &Journal) -> JournalView {
    let length = journal.subscribe();
    Box::new(move || *length.borrow())
}

enum Ended {
    Done,
    Died,
}

impl Engine {
    pub(super) fn observed(&self) -> MutexGuard<'_, Observed> {
        lock(&self.observed)
    }

    /// Reads all records that exist before the run, so that only later changes become events.
    pub(super) async fn seed(&self, collection: Collection) -> Result<(), DemoError> {
        loop {
            let page = self.poll(collection, self.store.get(collection)).await?;
            if !page.events.is_empty() {
                return Err(DemoError::Workflow(
                    "a trigger delivered events while it read the records that exist already".to_owned(),
                ));
            }
            let _ = self.store.commit(collection, page.next, None);
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Runs a trigger until the plant is done and a later scan has found no more events.
    pub(super) async fn run(self: Arc<Self>, collection: Collection) -> Result<(), DemoError> {
        while let Ended::Died = self.live(collection).await? {
            *self.observed().crashes.entry(collection).or_default() += 1;
            self.news.report(format!("restart   {} died; it goes on from its commit", collection.trigger()));
            sleep(self.clock.real(RESTART)).await;
        }
        Ok(())
    }

    /// One life of the loop. It knows only the cursor in the store.
    async fn live(&self, collection: Collection) -> Result<Ended, DemoError> {
        // Whether the scan that is under way began after the plant was done, and has found no event so far.
        let mut last = false;
        loop {
            let done = *self.done.borrow();
            let given = self.store.get(collection);
            if let Entry::Vacant(vacant) = self.observed().began.entry(collection) {
                vacant.insert((self.journal)());
                last = done;
            }
            let page = self.poll(collection, given.clone()).await?;
            if (self.lose_answer)(collection, &page) {
                return Ok(Ended::Died);
            }
            let end = (self.journal)();
            last &= page.events.is_empty();
            let mut left = page.events.len();
            for event in &page.events {
                left -= 1;
                self.deliver(collection, event);
                if self.store.commit(collection, event.cursor(given.as_ref()), Some(left)).is_break() {
                    return Ok(Ended::Died);
                }
            }
            let more = page.more;
            let dies = self.store.commit(collection, page.next, None).is_break();
            if !more {
                self.end_scan(collection, end);
                if last {
                    return Ok(Ended::Done);
                }
            }
            if dies {
                return Ok(Ended::Died);
            }
            if !more {
                sleep(self.clock.real(INTERVAL).max(SHORTEST_INTERVAL)).await;
            }
        }
    }

    fn deliver(&self, collection: Collection, event: &Event) {
        let data: Value = match &event.data {
            Payload::Json(text) => serde_json::from_str(text).unwrap_or_default(),
            Payload::Text(_) | Payload::Bytes(_) => Value::Null,
        };
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let etag = match collection {
            Collection::Enrollments => data.pointer("/enrollment/etag"),
            Collection::Registrations => data.pointer("/registration/etag"),
        };
        let key = text("registrationId");
        self.observed().deliveries.push(Delivery {
            collection,
            id: event.id.clone(),
            change: text("change"),
            key: key.to_ascii_lowercase(),
            state: etag.and_then(Value::as_str).map(str::to_owned),
            at: wall(),
        });
        (self.fire)(Fired { collection, id: event.id.clone(), key, data });
    }

    fn end_scan(&self, collection: Collection, end: u64) {
        let mut observed = self.observed();
        let begin = observed.began.remove(&collection).unwrap_or(end);
        let deliveries = observed.deliveries.iter().filter(|delivery| delivery.collection == collection).count();
        observed.scans.push(Scan { collection, begin, end, deliveries });
    }

    /// Polls until a poll succeeds. Fails if trying again does not help.
    async fn poll(&self, collection: Collection, cursor: Option<Cursor>) -> Result<Page, DemoError> {
        let request = PollRequest {
            trigger: collection.trigger().to_owned(),
            partition: PARTITION.to_owned(),
            config: "{}".to_owned(),
            start: Start::Now,
            on_position_lost: LostPolicy::Stop,
            cursor,
            budget: Budget { events: EVENTS, ..Budget::default() },
        };
        let Linked { connector, tenant, connection } = &self.linked;
        let mut attempt = 1;
        loop {
            self.observed().polls += 1;
            match connector.account(tenant, connection).poll(&request).await {
                Ok(page) => {
                    let mut observed = self.observed();
                    for notice in &page.notices {
                        *observed.notices.entry(notice.code.clone()).or_default() += 1;
                    }
                    return Ok(page);
                }
                Err(error) => {
                    *self.observed().failures.entry(code(&error)).or_default() += 1;
                    let pause = pause_after(&error, attempt).filter(|_| attempt < FAILURES);
                    sleep(pause.ok_or(DemoError::Call(error))?).await;
                    attempt += 1;
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
