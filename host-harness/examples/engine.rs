//! The loop of an engine: it reads every partition of a trigger, works on several events at once, commits the cursor up
//! to which all events are done, and parks an event whose work keeps failing.
//!
//! ```sh
//! cargo run --package connector-host --features cursors --example engine -- COMPONENT CONNECTION TRIGGER
//! ```
//! Ctrl-C ends the engine. Its next run continues from `cursors.redb`. Parked events are lines of `parked.jsonl`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use connector_host::interface::trigger::{Budget, Event, Page, PollRequest};
use connector_host::interface::types::{Cursor, Retry};
use connector_host::{Account, CallError, Connection, CursorStore, Host, HostOptions, Tenant, TenantOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The largest number of events that are read and not committed.
const WINDOW: usize = 64;
/// How often the work on one event is tried before the event is parked.
const TRIES: u32 = 3;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [component, connection, trigger] = &arguments[..] else { return Err("COMPONENT CONNECTION TRIGGER".into()) };
    let host = Host::new(HostOptions::default())?;
    let connector = host.load_file(component).await?;
    let tenant = Tenant::new(TenantOptions::default().with_name("example"))?;
    let connection: Connection = serde_json::from_str(&std::fs::read_to_string(connection)?)?;
    let descriptor = connector.descriptor();

    // The connector's version is stored with the cursors, so that a newer connector can migrate them.
    let cursors = Arc::new(CursorStore::open(Path::new("cursors.redb"))?);
    let stored = cursors.read(&descriptor.id, trigger)?;
    let revision = descriptor.triggers.iter().find(|found| &found.operation.id == trigger);
    let revision = revision.ok_or("the connector has no such trigger")?.operation.revision;
    cursors.begin(&descriptor.id, trigger, (&descriptor.version, revision), &BTreeMap::new())?;

    let mut engines = JoinSet::new();
    for partition in connector.account(&tenant, &connection).partitions(trigger, "{}").await? {
        // Each partition has a warm account of its own, so that its calls do not wait for those of other partitions.
        let account = connector.open(&tenant, &connection).await?;
        let budget = Budget::default().with_wait_ms(20_000);
        let mut request = PollRequest::new(trigger, &partition.id).with_budget(budget);
        request.cursor = stored.partitions.get(&partition.id).cloned();
        let (cursors, connector) = (cursors.clone(), descriptor.id.clone());
        let key = [connector, trigger.clone(), partition.id];
        let commit = move |cursor: &Cursor| cursors.commit(&key[0], &key[1], &key[2], cursor, None);
        engines.spawn(async move { Engine::new(account, request).run(|cursor| Ok(commit(cursor)?)).await });
    }
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        Some(ended) = engines.join_next() => ended??,
    }
    let report = host.drain(Duration::from_secs(10)).await;
    println!("{} calls finished, {} were cancelled", report.finished, report.cancelled);
    Ok(())
}

/// A page, and the cursor from which it was polled.
type Read = (Option<Cursor>, Page);

/// The loop of one partition.
struct Engine {
    pages: mpsc::Receiver<Read>,
    reading: JoinSet<Result<(), CallError>>,
    window: Window,
    /// Events that wait for an earlier event with the same order key.
    waiting: HashMap<String, VecDeque<(u64, Event)>>,
    working: JoinSet<(u64, Event)>,
}

impl Engine {
    fn new(account: Account, request: PollRequest) -> Self {
        // Reading needs a task of its own, because `select!` drops futures, and dropping the future of a poll ends the
        // warm instance.
        let (sender, pages) = mpsc::channel(1);
        let mut reading = JoinSet::new();
        reading.spawn(read(account, request, sender));
        Self { pages, reading, window: Window::default(), waiting: HashMap::new(), working: JoinSet::new() }
    }

    async fn run(mut self, commit: impl Fn(&Cursor) -> Fallible<()>) -> Fallible<()> {
        loop {
            tokio::select! {
                page = self.pages.recv(), if self.window.len() < WINDOW => match page {
                    Some(page) => self.take_in(page),
                    None => break,
                },
                Some(done) = self.working.join_next() => {
                    let (ticket, event) = done?;
                    self.window.settle(ticket);
                    self.next_of(&event.order_key);
                }
            }
            if let Some(cursor) = self.window.advance() {
                commit(&cursor)?;
            }
        }
        // The reader has ended, due to an error that a retry does not fix.
        while let Some(ended) = self.reading.join_next().await {
            ended??;
        }
        Ok(())
    }

    fn take_in(&mut self, (given, page): Read) {
        for event in page.events {
            let ticket = self.window.push(event.cursor(given.as_ref()), false);
            // Events with the same order key are handled in order, all others in parallel.
            match self.waiting.get_mut(&event.order_key) {
                Some(queue) => queue.push_back((ticket, event)),
                None => {
                    self.waiting.insert(event.order_key.clone(), VecDeque::new());
                    self.working.spawn(settle(ticket, event));
                }
            }
        }
        // After the last event of the page, this cursor needs no further work.
        self.window.push(page.next, true);
    }

    fn next_of(&mut self, order_key: &str) {
        match self.waiting.get_mut(order_key).and_then(VecDeque::pop_front) {
            Some((ticket, event)) => drop(self.working.spawn(settle(ticket, event))),
            None => drop(self.waiting.remove(order_key)),
        }
    }
}

/// Polls pages without end, and sends them to the engine.
async fn read(account: Account, mut request: PollRequest, pages: mpsc::Sender<Read>) -> Result<(), CallError> {
    let mut failures = 0;
    loop {
        match account.poll(&request).await {
            Ok(page) => {
                failures = 0;
                let pause = if page.more { Duration::ZERO } else { Duration::from_millis(page.wait_hint_ms) };
                let given = request.cursor.replace(page.next.clone());
                if pages.send((given, page)).await.is_err() {
                    return Ok(());
                }
                sleep(pause).await;
            }
            Err(error) => {
                failures += 1;
                sleep(pause_after(&error, failures).ok_or(error)?).await;
            }
        }
    }
}

/// How long to wait before the poll is tried again. None if it would fail again.
fn pause_after(error: &CallError, failures: u32) -> Option<Duration> {
    let backoff = Duration::from_secs(1 << failures.min(6));
    match error.connector().map(|error| &error.retry) {
        Some(Retry::After(wait)) => Some(Duration::from_millis(*wait).max(backoff)),
        Some(Retry::Backoff) => Some(backoff),
        Some(_) => None,
        None => (failures < 5).then_some(backoff),
    }
}

/// Works on an event until it is done or parked.
async fn settle(ticket: u64, event: Event) -> (u64, Event) {
    for attempt in 1..=TRIES {
        match work(&event) {
            Ok(()) => return (ticket, event),
            Err(error) if attempt == TRIES => park(&event, &*error),
            Err(_) => sleep(Duration::from_millis(100 << attempt)).await,
        }
    }
    (ticket, event)
}

/// The work of this engine on an event.
fn work(event: &Event) -> Fallible<()> {
    writeln!(std::io::stdout(), "{} {}", event.event_type, event.summary)?;
    Ok(())
}

/// Stores an event for a person to look at. If it cannot be written, the process ends, so that the event is not lost:
/// the next run reads it again.
fn park(event: &Event, error: &(dyn Error + Send + Sync)) {
    let line = serde_json::json!({ "event": event, "error": error.to_string() });
    let file = OpenOptions::new().create(true).append(true).open("parked.jsonl");
    let written = file.and_then(|mut file| writeln!(file, "{line}").and_then(|()| file.sync_data()));
    if let Err(error) = written {
        eprintln!("an event could not be parked: {error}");
        std::process::exit(1);
    }
}

/// The events that were read and are not committed, in order.
#[derive(Default)]
struct Window {
    entries: VecDeque<(Cursor, bool)>,
    /// The ticket of the first entry.
    first: u64,
}

impl Window {
    /// Adds the cursor after an event or after a page. Returns the ticket with which `settle` marks it as done.
    fn push(&mut self, cursor: Cursor, settled: bool) -> u64 {
        self.entries.push_back((cursor, settled));
        self.first + self.entries.len() as u64 - 1
    }

    fn settle(&mut self, ticket: u64) {
        let index = usize::try_from(ticket - self.first).ok();
        if let Some((_, settled)) = index.and_then(|index| self.entries.get_mut(index)) {
            *settled = true;
        }
    }

    /// The newest cursor up to which everything is settled. None if it is not newer than the last one.
    fn advance(&mut self) -> Option<Cursor> {
        let mut newest = None;
        while let Some((cursor, _)) = self.entries.pop_front_if(|(_, settled)| *settled) {
            self.first += 1;
            newest = Some(cursor);
        }
        newest
    }

    fn len(&self) -> usize {
        self.entries.len()
    }
}
