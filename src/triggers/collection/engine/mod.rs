//! Triggers on records that the service keeps without a log of their changes.
//!
//! The whole collection is read page by page, over as many polls as that takes, and compared with what the cursor
//! knows. A record that a scan did not come by is looked up before it counts as gone: records move between pages while
//! they are read. What is known changes with the event of the change, so nothing is delivered twice or left out.

pub mod cursor;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::bindings::exports::workflow::connector::trigger::{Event, LostPolicy, Notice, Page, PollRequest, Start};
use crate::bindings::workflow::connector::types::Cursor;
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::form::schema::literal;
use crate::form::schema::{list, one_of, with};
use crate::host_name::aliases;
use crate::instant;
use crate::session::Session;
use crate::triggers::shared::WHOLE;
use crate::triggers::shared::event::EventDraft;
use crate::triggers::shared::hash::{digest, hex};
use crate::triggers::shared::lost::{self, Restart};
use crate::triggers::shared::page::{PageBuilder, PageLimits};
use cursor::{Delta, Fingerprint, Known, MOST_RECORDS, Pages, Parts, Place, Positions, State};

/// Each event carries a position that grows with the page.
const MOST_OF_PAGE: PageLimits = PageLimits { events: 256, bytes: u64::MAX };
/// No page is begun with less time than this left.
const TIME_FOR_A_PAGE: Duration = Duration::from_millis(1_500);

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It was not there before.
    Created,
    /// Its state differs.
    Updated,
    /// It is gone.
    Deleted,
}

impl Change {
    /// As it stands in configuration, data and event types.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// Which changes a person wants to hear of; a field of every trigger's configuration.
pub fn changes_field() -> Value {
    let schema = list("Changes", one_of("Change", &["created", "updated", "deleted"]));
    with(
        schema,
        literal!({ "description": "Which changes fire the trigger. Empty: all of them.", "default": ["created", "updated", "deleted"], "maxItems": 3 }),
    )
}

/// Reads [`changes_field`].
pub fn wanted(config: &Value) -> BTreeSet<Change> {
    let all = [Change::Created, Change::Updated, Change::Deleted];
    let named: Vec<&str> =
        config.get("changes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    all.into_iter().filter(|change| named.is_empty() || named.contains(&change.as_str())).collect()
}

/// A record of the collection.
pub struct Record {
    /// Its id within the collection.
    pub key: String,
    /// Its state, as far as the trigger cares.
    pub fingerprint: Fingerprint,
    /// What an earlier version of the trigger would have as its state, where that differs.
    pub earlier: Option<Fingerprint>,
    /// The state part by part, where it has parts.
    pub parts: Parts,
    /// The record itself.
    pub body: Value,
}

impl Record {
    /// A record that says by itself when it was last changed: its one part, since that time stands for a change only where
    /// it changed as well.
    pub fn dated(key: String, fingerprint: Fingerprint, last_updated: &str, body: Value) -> Self {
        Self { key, fingerprint, earlier: None, parts: Parts::of([last_updated]), body }
    }

    /// Whether the cursor has it in this state.
    fn is_as(&self, known: &Known) -> bool {
        known.fingerprint == self.fingerprint || (known.parts.is_empty() && self.earlier == Some(known.fingerprint))
    }
}

/// What happened to one record.
pub struct Happened<'r> {
    /// What.
    pub change: Change,
    /// Its id.
    pub key: &'r str,
    /// The record as it is now; none where it is gone.
    pub body: Option<&'r Value>,
    /// Which of its parts changed, by their place, where that is known.
    pub parts: Option<Vec<usize>>,
}

impl Happened<'_> {
    /// The time of a change to a [`Record::dated`], from the members with the times of its creation and of its last change.
    pub fn time(&self, created: &str, last_updated: &str) -> Option<String> {
        let member = match self.change {
            Change::Created => created,
            Change::Updated if self.parts.is_some() => last_updated,
            Change::Updated | Change::Deleted => return None,
        };
        self.body?.get(member).and_then(Value::as_str).map(str::to_owned)
    }
}

/// A page of the collection.
pub struct Batch {
    pub records: Vec<Record>,
    /// Asks for the next page; none: that was the last one.
    pub next: Option<String>,
}

/// What became of a record that a scan did not come by.
pub enum Lookup {
    /// It exists.
    Present(Record),
    /// It exists, and whether it changed is not known.
    Unknown,
    /// It exists and no longer belongs to what was selected.
    Outside,
    /// It does not exist.
    Gone,
}

/// A collection of a service.
pub trait Collection {
    /// The trigger's id.
    fn trigger(&self) -> &'static str;
    /// CloudEvents `source`: the service that has it.
    fn source(&self) -> String;
    /// What of the configuration selects the records: with another selection, a cursor is about something else.
    fn selection(&self) -> String;
    /// Which changes are delivered.
    fn wants(&self, change: Change, body: Option<&Value>) -> bool;
    /// One page.
    ///
    /// # Errors
    /// Those of the service.
    fn page(&self, place: Option<&str>) -> Result<Batch>;
    /// One record.
    ///
    /// # Errors
    /// Those of the service.
    fn look_up(&self, key: &str) -> Result<Lookup>;
    /// The draft of an event.
    fn draft(&self, happened: &Happened) -> EventDraft;
    /// How long to wait between scans.
    fn interval(&self) -> Duration;
}

/// Asks for a page, and for smaller ones where the answer is larger than can be read.
///
/// # Errors
/// Those of `ask`; `payload-too-large` where a single record is.
pub fn in_smaller_pages<T>(largest: u32, ask: impl Fn(u32) -> Result<T>) -> Result<T> {
    let mut size = largest;
    loop {
        match ask(size) {
            Err(error) if error.code() == ErrorCode::PayloadTooLarge && size > 1 => size = (size / 8).max(1),
            asked => return asked,
        }
    }
}

/// One poll of a collection.
///
/// # Errors
/// As the interface's `poll`.
pub fn poll(session: &Session, collection: &dyn Collection, request: &PollRequest) -> Result<Page> {
    if !request.partition.is_empty() && request.partition != WHOLE {
        return Err(Error::new(
            ErrorCode::NotFound,
            format!("This trigger has no partition \"{}\", only \"{WHOLE}\".", request.partition),
        ));
    }
    Scan::begin(session, collection, request)?.run()
}

/// Up to `limit` records as events.
///
/// # Errors
/// Those of the service.
pub fn sample(collection: &dyn Collection, limit: u32) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut place: Option<String> = None;
    loop {
        let batch = collection.page(place.as_deref())?;
        for record in batch.records {
            if events.len() >= limit as usize {
                return Ok(events);
            }
            let happened =
                Happened { change: Change::Created, key: &record.key, body: Some(&record.body), parts: None };
            events.push(event(collection, &happened, record.fingerprint, None));
        }
        match batch.next {
            Some(next) => place = Some(next),
            None => return Ok(events),
        }
    }
}

struct Scan<'a> {
    session: &'a Session<'a>,
    collection: &'a dyn Collection,
    state: State,
    positions: Positions,
    page: PageBuilder,
}

/// Whether a page can take more.
#[derive(PartialEq, Eq)]
enum Room {
    Left,
    Full,
}

impl<'a> Scan<'a> {
    fn begin(session: &'a Session<'a>, collection: &'a dyn Collection, request: &'a PollRequest) -> Result<Self> {
        let scopes = scopes(collection);
        let scope = scopes.first().copied().unwrap_or_default();
        let mut notices = Vec::new();
        let state = match &request.cursor {
            None => State::new(scope, seeding(&request.start)?),
            Some(cursor) => {
                let state = State::read(cursor)?;
                if scopes.contains(&state.scope) {
                    State { scope, ..state }
                } else {
                    begin_again(scope, request.on_position_lost, &mut notices)?
                }
            }
        };
        let same = notices.is_empty();
        let positions = Positions::after(request.cursor.as_ref().filter(|_| same), &state);
        let page = PageBuilder::new(&request.budget, MOST_OF_PAGE, notices);
        Ok(Self { session, collection, state, positions, page })
    }

    fn run(mut self) -> Result<Page> {
        // A snapshot of another selection cannot carry the positions of this one: hand the new beginning over first.
        if self.page.has_notices() {
            return Ok(self.finish(true));
        }
        loop {
            match self.step() {
                Ok(Step::Full) => return Ok(self.finish(true)),
                Ok(Step::Done) => return Ok(self.finish(false)),
                Ok(Step::Page) if self.session.remaining() < TIME_FOR_A_PAGE => return Ok(self.finish(true)),
                Ok(Step::Page) => {}
                Err(error) => {
                    let has_events = !self.page.is_empty();
                    self.page.interrupt(error, has_events, "scan-interrupted", "The scan")?;
                    return Ok(self.finish(true));
                }
            }
        }
    }

    fn step(&mut self) -> Result<Step> {
        match self.state.place.clone() {
            Place::Start => self.read_page(None),
            Place::Page(place) => match self.read_page(Some(&place)) {
                Err(error) if error.code() == ErrorCode::InvalidInput => {
                    // The service has forgotten the continuation; what is known stays, so that nothing is delivered twice.
                    self.page.notify(
                        Severity::Info,
                        "scan-restarted",
                        "The service no longer knows where the scan was; it begins at the first page.".to_owned(),
                    );
                    self.state.place = Place::Start;
                    self.forget_seen();
                    Ok(Step::Page)
                }
                other => other,
            },
            Place::Sweep => self.sweep(),
        }
    }

    fn read_page(&mut self, place: Option<&str>) -> Result<Step> {
        let batch = self.collection.page(place)?;
        for record in &batch.records {
            if self.meet(record)? == Room::Full {
                return Ok(Step::Full);
            }
        }
        self.state.place = batch.next.map_or(Place::Sweep, Place::Page);
        Ok(Step::Page)
    }

    /// Compares a record with what is known of it.
    fn meet(&mut self, record: &Record) -> Result<Room> {
        let known = self.state.records.get(&record.key).copied();
        let change = match &known {
            Some(known) if record.is_as(known) => None,
            Some(_) => Some(Change::Updated),
            None => Some(Change::Created),
        };
        if change == Some(Change::Created) && self.state.records.len() >= MOST_RECORDS {
            return Err(Error::new(
                ErrorCode::QuotaExceeded,
                format!(
                    "The collection has more than {MOST_RECORDS} records. Narrow the trigger's configuration, and use several triggers."
                ),
            ));
        }
        if let Some(change) =
            change.filter(|change| !self.state.seeding && self.collection.wants(*change, Some(&record.body)))
        {
            let delta = Delta::Put(record.key.clone(), record.fingerprint, record.parts);
            let parts = known.and_then(|known| record.parts.changed_since(known.parts));
            let happened = Happened { change, key: &record.key, body: Some(&record.body), parts };
            if self.deliver(&happened, record.fingerprint, &delta) == Room::Full {
                return Ok(Room::Full);
            }
        }
        let known = Known { fingerprint: record.fingerprint, parts: record.parts, seen: true };
        self.state.records.insert(record.key.clone(), known);
        Ok(Room::Left)
    }

    /// Looks up what the scan did not come by.
    fn sweep(&mut self) -> Result<Step> {
        let unseen: Vec<(String, Known)> = self
            .state
            .records
            .iter()
            .filter(|(_, known)| !known.seen)
            .map(|(key, known)| (key.clone(), *known))
            .collect();
        for (looked_up, (key, known)) in unseen.into_iter().enumerate() {
            // At least one each poll, so that a short deadline slows the sweep down and never stops it.
            if looked_up > 0 && self.session.remaining() < TIME_FOR_A_PAGE {
                return Ok(Step::Full);
            }
            match self.collection.look_up(&key)? {
                Lookup::Present(record) => {
                    if self.meet(&record)? == Room::Full {
                        return Ok(Step::Full);
                    }
                }
                Lookup::Unknown => {
                    self.state.records.insert(key, Known { seen: true, ..known });
                }
                Lookup::Outside => {
                    self.state.records.remove(&key);
                }
                Lookup::Gone => {
                    let wanted = !self.state.seeding && self.collection.wants(Change::Deleted, None);
                    let happened = Happened { change: Change::Deleted, key: &key, body: None, parts: None };
                    if wanted && self.deliver(&happened, known.fingerprint, &Delta::Remove(key.clone())) == Room::Full {
                        return Ok(Step::Full);
                    }
                    self.state.records.remove(&key);
                }
            }
        }
        self.forget_seen();
        self.state.place = Place::Start;
        self.state.seeding = false;
        Ok(Step::Done)
    }

    fn deliver(&mut self, happened: &Happened, fingerprint: Fingerprint, delta: &Delta) -> Room {
        let before = self.state.delivered.get(happened.key).copied().unwrap_or(0);
        let nth = self.state.pages.map(|pages| (pages, before));
        let mut event = event(self.collection, happened, fingerprint, nth);
        if !self.page.has_room_for(&event) {
            return Room::Full;
        }
        *self.state.delivered.entry(happened.key.to_owned()).or_default() += 1;
        event.position = self.positions.push(delta);
        self.page.add(event);
        Room::Left
    }

    fn forget_seen(&mut self) {
        for known in self.state.records.values_mut() {
            known.seen = false;
        }
    }

    fn finish(mut self, more: bool) -> Page {
        let pages =
            self.state.pages.get_or_insert_with(|| Pages { origin: self.session.platform().random(), count: 0 });
        pages.count = pages.count.wrapping_add(u64::from(!self.page.is_empty()));
        let wait = if more { Duration::ZERO } else { self.collection.interval() };
        let wait_hint_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Page { wait_hint_ms, ..self.page.finish(self.state.cursor(), more) }
    }
}

enum Step {
    /// A page was read; there may be another.
    Page,
    /// The budget is used up.
    Full,
    /// The scan is complete.
    Done,
}

/// What a cursor of this collection has as scope, and what cursors of before may have: the service has other names.
fn scopes(collection: &dyn Collection) -> Vec<[u8; 8]> {
    let selection = collection.selection();
    let source = collection.source();
    let names = match source.strip_prefix("https://").and_then(|rest| rest.split_once('/')) {
        Some((host, path)) => aliases(host).iter().map(|host| format!("https://{host}/{path}")).collect(),
        None => vec![source],
    };
    names.iter().map(|source| digest([collection.trigger(), source.as_str(), selection.as_str()])).collect()
}

fn seeding(start: &Start) -> Result<bool> {
    match start {
        Start::Now => Ok(true),
        Start::Earliest => Ok(false),
        Start::AtTime(_) | Start::AtPosition(_) => Err(Error::field(
            "/start",
            "not-allowed",
            "the service keeps no history of these records: this trigger starts `now` or `earliest`",
        )),
    }
}

fn begin_again(scope: [u8; 8], policy: LostPolicy, notices: &mut Vec<Notice>) -> Result<State> {
    let (restart, notice) = lost::begin_again(
        "The cursor belongs to another service or to another selection of records: the connection or the trigger's configuration was changed.",
        policy,
        "Every record that is there is delivered as created.",
        "What changes from now on is delivered.",
    )?;
    notices.push(notice);
    Ok(State::new(scope, restart == Restart::Now))
}

/// Without its position, which depends on what else the page holds.
fn event(
    collection: &dyn Collection,
    happened: &Happened,
    fingerprint: Fingerprint,
    nth: Option<(Pages, u32)>,
) -> Event {
    let source = collection.source();
    let mut draft = collection.draft(happened);
    draft.time = draft.time.filter(|time| stated_time(time).is_some());
    let (change, key, hash) = (happened.change.as_str(), happened.key, fingerprint.hex());
    // A state that comes again is another event: the cursor's page, and how often the record was delivered within it, show it.
    let nth = nth.map(|(pages, before)| format!("{:016x} {} {before}", pages.origin, pages.count));
    let parts = [source.as_str(), collection.trigger(), change, key, hash.as_str()];
    let id: [u8; 16] = digest(parts.into_iter().chain(nth.as_deref()));
    // The subject has the kind of the record before its id.
    Event { order_key: key.to_owned(), ..draft.into_event(hex(&id), source, WHOLE) }
}

/// Whether a stored cursor can be read.
///
/// # Errors
/// `invalid-input` or `unsupported` where it cannot.
pub fn check_cursor(cursor: &Cursor) -> Result<()> {
    State::read(cursor).map(drop)
}

/// A time that a service states: the first year of all stands for never.
pub fn stated_time(text: &str) -> Option<time::OffsetDateTime> {
    instant::parse(text).filter(|time| time.year() > 1)
}

/// A member of a record as text; empty where it is none.
pub fn text<'v>(body: &'v Value, name: &str) -> &'v str {
    body.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
