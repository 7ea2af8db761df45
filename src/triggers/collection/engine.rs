//! Triggers on records that the service keeps without a log of their changes.
//!
//! The whole collection is read page by page, over as many polls as that takes, and compared with what the cursor
//! knows. A record that a scan did not come by is looked up before it counts as gone: records move between pages while
//! they are read. What is known changes with the event that tells it, so nothing is told twice or left out.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::bindings::exports::workflow::connector::trigger::{
    Event, LostPolicy, Notice, Page, Payload, PollRequest, Start,
};
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::form::schema::literal;
use crate::form::schema::{list, one_of, with};
use crate::host_name::aliases;
use crate::instant;
use crate::session::Session;
use crate::triggers::shared::WHOLE;
use crate::triggers::shared::cursor::{
    Delta, Fingerprint, Known, MOST_RECORDS, Pages, Parts, Place, Positions, State, digest,
};

/// Events of one page at the most: each carries a position that grows with the page.
const MOST_EVENTS: usize = 256;
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
    /// A record that says by itself when it was last changed: its one part, since that time tells of a change only where
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
    /// The records.
    pub records: Vec<Record>,
    /// Asks for the next page; none: that was the last one.
    pub next: Option<String>,
}

/// What became of a record that a scan did not come by.
pub enum Lookup {
    /// It exists.
    Present(Record),
    /// It exists, and whether it changed cannot be told.
    Unknown,
    /// It exists and no longer belongs to what was selected.
    Outside,
    /// It does not exist.
    Gone,
}

/// What an event says, besides what all of them have in common.
pub struct Telling {
    /// CloudEvents `type`.
    pub event_type: String,
    /// CloudEvents `subject`.
    pub subject: String,
    /// CloudEvents `time`: the service's own time of this very change. None where it states none.
    pub time: Option<String>,
    /// CloudEvents `data`.
    pub data: Value,
    /// One line for a person.
    pub summary: String,
}

/// A collection of a service.
pub trait Collection {
    /// The trigger's id.
    fn trigger(&self) -> &'static str;
    /// CloudEvents `source`: the service that has it.
    fn source(&self) -> String;
    /// What of the configuration selects the records: with another selection, a cursor is about something else.
    fn selection(&self) -> String;
    /// Which changes are told.
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
    /// What an event says.
    fn tell(&self, event: &Happened) -> Telling;
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
    request: &'a PollRequest,
    state: State,
    positions: Positions,
    events: Vec<Event>,
    bytes: u64,
    notices: Vec<Notice>,
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
                    begin_anew(scope, request.on_position_lost, &mut notices)?
                }
            }
        };
        let same = notices.is_empty();
        let positions = Positions::after(request.cursor.as_ref().filter(|_| same), &state);
        Ok(Self { session, collection, request, state, positions, events: Vec::new(), bytes: 0, notices })
    }

    fn run(mut self) -> Result<Page> {
        // A snapshot of another selection cannot carry the positions of this one: hand the new beginning over first.
        if !self.notices.is_empty() {
            return Ok(self.finish(true));
        }
        loop {
            match self.step() {
                Ok(Step::Full) => return Ok(self.finish(true)),
                Ok(Step::Done) => return Ok(self.finish(false)),
                Ok(Step::Page) if self.session.remaining() < TIME_FOR_A_PAGE => return Ok(self.finish(true)),
                Ok(Step::Page) => {}
                // What was found until now is not lost; the next poll meets the error again if it lasts.
                Err(error) if !self.events.is_empty() && error.code() != ErrorCode::Internal => {
                    self.notice(
                        Severity::Warning,
                        "scan-interrupted",
                        format!("The scan stopped early: {}", error.record().message),
                    );
                    return Ok(self.finish(true));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn step(&mut self) -> Result<Step> {
        match self.state.place.clone() {
            Place::Start => self.read_page(None),
            Place::Page(place) => match self.read_page(Some(&place)) {
                Err(error) if error.code() == ErrorCode::InvalidInput => {
                    // The service has forgotten the continuation; what is known stays, so that nothing is told twice.
                    self.notice(
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
        let most = (self.request.budget.events as usize).min(MOST_EVENTS);
        if self.events.len() >= most {
            return Room::Full;
        }
        let before = self.state.delivered.get(happened.key).copied().unwrap_or(0);
        let nth = self.state.pages.map(|pages| (pages, before));
        let mut event = event(self.collection, happened, fingerprint, nth);
        let size = match &event.data {
            Payload::Json(text) | Payload::Text(text) => text.len() as u64,
            Payload::Bytes(bytes) => bytes.len() as u64,
        };
        if !self.events.is_empty() && self.bytes + size > self.request.budget.bytes {
            return Room::Full;
        }
        self.bytes += size;
        *self.state.delivered.entry(happened.key.to_owned()).or_default() += 1;
        event.position = self.positions.push(delta);
        self.events.push(event);
        Room::Left
    }

    fn forget_seen(&mut self) {
        for known in self.state.records.values_mut() {
            known.seen = false;
        }
    }

    fn notice(&mut self, severity: Severity, code: &str, message: String) {
        self.notices.push(Notice { severity, code: code.to_owned(), message });
    }

    fn finish(mut self, more: bool) -> Page {
        let pages =
            self.state.pages.get_or_insert_with(|| Pages { origin: self.session.platform().random(), count: 0 });
        pages.count = pages.count.wrapping_add(u64::from(!self.events.is_empty()));
        let wait = if more { Duration::ZERO } else { self.collection.interval() };
        Page {
            next: self.state.cursor(),
            events: self.events,
            more,
            wait_hint_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            lag: None,
            notices: self.notices,
        }
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

fn begin_anew(scope: [u8; 8], policy: LostPolicy, notices: &mut Vec<Notice>) -> Result<State> {
    let reason = "The cursor belongs to another service or to another selection of records: the connection or the trigger's configuration was changed.";
    let (seeding, how) = match policy {
        LostPolicy::Stop => return Err(Error::new(ErrorCode::PositionLost, reason)),
        LostPolicy::Earliest => (false, "Every record that is there is told as created."),
        LostPolicy::Now => (true, "What changes from now on is told."),
    };
    notices.push(Notice {
        severity: Severity::Warning,
        code: "position-lost".to_owned(),
        message: format!("{reason} {how}"),
    });
    Ok(State::new(scope, seeding))
}

/// Without its position, which depends on what else the page holds.
fn event(
    collection: &dyn Collection,
    happened: &Happened,
    fingerprint: Fingerprint,
    nth: Option<(Pages, u32)>,
) -> Event {
    let source = collection.source();
    let telling = collection.tell(happened);
    let (change, key, hash) = (happened.change.as_str(), happened.key, fingerprint.hex());
    // A state that comes again is another event: the cursor's page, and how often the record was delivered within it, tell.
    let nth = nth.map(|(pages, before)| format!("{:016x} {} {before}", pages.origin, pages.count));
    let parts = [source.as_str(), collection.trigger(), change, key, hash.as_str()];
    let id: [u8; 16] = digest(parts.into_iter().chain(nth.as_deref()));
    Event {
        id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
        source,
        event_type: telling.event_type,
        subject: Some(telling.subject),
        time: telling.time.filter(|time| stated_time(time).is_some()),
        content_type: Some("application/json".to_owned()),
        data: Payload::Json(telling.data.to_string()),
        attributes: Vec::new(),
        partition: WHOLE.to_owned(),
        order_key: key.to_owned(),
        summary: telling.summary,
        position: Vec::new(),
    }
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
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::account::Account;
    use crate::bindings::exports::workflow::connector::trigger::Budget;
    use crate::bindings::workflow::connector::types::{Connection, Cursor};
    use crate::platform::fake::FakePlatform;

    /// A collection in memory, in pages of `page`, that forgets continuations when told to.
    struct Memory {
        records: RefCell<BTreeMap<String, u32>>,
        page: usize,
        source: String,
        selection: String,
        forget: RefCell<bool>,
        hidden: RefCell<Vec<String>>,
    }

    impl Memory {
        fn new(count: u32, page: usize) -> Self {
            Self {
                records: RefCell::new((0..count).map(|index| (format!("d{index:04}"), 1)).collect()),
                page,
                source: "memory".to_owned(),
                selection: String::new(),
                forget: RefCell::new(false),
                hidden: RefCell::default(),
            }
        }

        fn record(key: &str, etag: u32) -> Record {
            let etag = etag.to_string();
            let body = json!({ "etag": etag });
            Record {
                key: key.to_owned(),
                fingerprint: Fingerprint::of(["now", etag.as_str()]),
                earlier: Some(Fingerprint::of([etag.as_str()])),
                parts: Parts::of(["same", etag.as_str()]),
                body,
            }
        }
    }

    impl Collection for Memory {
        fn trigger(&self) -> &'static str {
            "memory"
        }
        fn source(&self) -> String {
            self.source.clone()
        }
        fn selection(&self) -> String {
            self.selection.clone()
        }
        fn wants(&self, _change: Change, _body: Option<&Value>) -> bool {
            true
        }
        fn page(&self, place: Option<&str>) -> Result<Batch> {
            if place.is_some() && self.forget.replace(false) {
                return Err(Error::new(ErrorCode::InvalidInput, "no such continuation"));
            }
            let after = place.unwrap_or_default();
            let records = self.records.borrow();
            let hidden = self.hidden.borrow();
            let page: Vec<Record> = records
                .iter()
                .filter(|(key, _)| key.as_str() > after && !hidden.contains(key))
                .take(self.page)
                .map(|(key, etag)| Self::record(key, *etag))
                .collect();
            let next = (page.len() == self.page).then(|| page.last().map(|last| last.key.clone())).flatten();
            Ok(Batch { records: page, next })
        }
        fn look_up(&self, key: &str) -> Result<Lookup> {
            Ok(self.records.borrow().get(key).map_or(Lookup::Gone, |etag| Lookup::Present(Self::record(key, *etag))))
        }
        fn tell(&self, happened: &Happened) -> Telling {
            Telling {
                event_type: happened.change.as_str().to_owned(),
                subject: happened.key.to_owned(),
                time: Some("0001-01-01T00:00:00Z".to_owned()),
                data: json!({ "body": happened.body, "parts": happened.parts }),
                summary: String::new(),
            }
        }
        fn interval(&self) -> Duration {
            Duration::from_secs(1)
        }
    }

    fn connection() -> Connection {
        let values = json!({ "iotHubName": "plant", "sharedAccessKeyName": "p", "sharedAccessKey": "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==" });
        Connection { auth_profile: "shared-access-key".into(), values: values.to_string() }
    }

    fn request(start: Start, events: u32, cursor: Option<Cursor>) -> PollRequest {
        PollRequest {
            connection: connection(),
            trigger: "memory".into(),
            partition: WHOLE.into(),
            config: "{}".into(),
            start,
            on_position_lost: LostPolicy::Stop,
            cursor,
            budget: Budget { events, bytes: 1 << 20, wait_ms: 0, deadline_ms: 30_000 },
        }
    }

    fn run(memory: &Memory, request: &PollRequest) -> Result<Page> {
        let platform = FakePlatform::at(1_800_000_000);
        let account = Account::open(&connection())?;
        poll(&Session::new(&platform, &account, request.budget.deadline_ms, false), memory, request)
    }

    /// Polls until nothing more is there.
    fn drain(memory: &Memory, start: &Start, events: u32, cursor: Option<Cursor>) -> (Vec<(String, String)>, Cursor) {
        let (events, cursor) = drain_whole(memory, start, events, cursor);
        (events.into_iter().map(|event| (event.event_type, event.subject.unwrap_or_default())).collect(), cursor)
    }

    fn drain_whole(memory: &Memory, start: &Start, events: u32, mut cursor: Option<Cursor>) -> (Vec<Event>, Cursor) {
        let mut all = Vec::new();
        for _ in 0..1_000 {
            let page = run(memory, &request(start.clone(), events, cursor)).expect("a page");
            all.extend(page.events);
            cursor = Some(page.next);
            if !page.more {
                return (all, cursor.expect("set above"));
            }
        }
        panic!("the scan does not end");
    }

    #[test]
    fn starting_now_takes_stock_and_then_tells_changes_once() {
        let memory = Memory::new(25, 10);
        let (events, cursor) = drain(&memory, &Start::Now, 100, None);
        assert!(events.is_empty(), "seeding does not fire");
        memory.records.borrow_mut().insert("d0003".into(), 2);
        memory.records.borrow_mut().remove("d0007");
        memory.records.borrow_mut().insert("new".into(), 1);
        let (mut events, cursor) = drain(&memory, &Start::Now, 100, Some(cursor));
        events.sort();
        let expected = [("created", "new"), ("deleted", "d0007"), ("updated", "d0003")];
        assert_eq!(events, expected.map(|(change, key)| (change.to_owned(), key.to_owned())));
        let (events, again) = drain(&memory, &Start::Now, 100, Some(cursor.clone()));
        assert!(events.is_empty(), "nothing is told twice");
        assert_eq!(again, cursor, "an idle poll leaves the cursor as it is");
    }

    #[test]
    fn starting_earliest_tells_all_once_whatever_the_budget() {
        for events in [1, 3, 7, 1_000] {
            let memory = Memory::new(25, 10);
            let (told, _) = drain(&memory, &Start::Earliest, events, None);
            let keys: BTreeSet<&String> = told.iter().map(|(_, key)| key).collect();
            assert_eq!((told.len(), keys.len()), (25, 25), "with {events} events a page");
        }
    }

    /// An engine that commits after every event, and crashes after every event, sees each exactly once.
    #[test]
    fn committing_event_by_event_neither_repeats_nor_skips() {
        let memory = Memory::new(25, 10);
        let (_, mut cursor) = drain(&memory, &Start::Now, 100, None);
        for index in (0..25).step_by(2) {
            memory.records.borrow_mut().insert(format!("d{index:04}"), 2);
        }
        for index in (1..25).step_by(4) {
            memory.records.borrow_mut().remove(&format!("d{index:04}"));
        }
        let mut seen = Vec::new();
        for _ in 0..200 {
            let page = run(&memory, &request(Start::Now, 100, Some(cursor.clone()))).expect("a page");
            match page.events.first() {
                Some(first) => {
                    seen.push(first.id.clone());
                    cursor = Cursor { snapshot: cursor.snapshot, position: first.position.clone() };
                }
                None if !page.more => break,
                None => cursor = page.next,
            }
        }
        let distinct: BTreeSet<&String> = seen.iter().collect();
        assert_eq!((seen.len(), distinct.len()), (13 + 6, 13 + 6));
    }

    #[test]
    fn the_first_poll_can_be_committed_event_by_event_too() {
        let memory = Memory::new(5, 2);
        let mut cursor: Option<Cursor> = None;
        let mut seen = Vec::new();
        for _ in 0..5 {
            let page = run(&memory, &request(Start::Earliest, 100, cursor.clone())).expect("a page");
            let first = page.events.first().expect("an event");
            seen.push(first.order_key.clone());
            let snapshot = cursor.map(|cursor| cursor.snapshot).unwrap_or_default();
            cursor = Some(Cursor { snapshot, position: first.position.clone() });
        }
        assert_eq!(seen, ["d0000", "d0001", "d0002", "d0003", "d0004"]);
    }

    #[test]
    fn the_same_request_yields_the_same_events() {
        let memory = Memory::new(12, 5);
        let first = run(&memory, &request(Start::Earliest, 8, None)).expect("a page");
        let second = run(&memory, &request(Start::Earliest, 8, None)).expect("a page");
        assert_eq!(first, second);
    }

    /// A device that goes off and on again, or is deleted and made anew, is in a state that it was in before.
    #[test]
    fn a_state_that_comes_again_is_another_event() {
        // By the page, and by the event: an engine may commit either.
        for by_event in [false, true] {
            let memory = Memory::new(3, 10);
            let (_, mut cursor) = drain(&memory, &Start::Now, 100, None);
            let mut ids = BTreeSet::new();
            let changes = [Some(2), Some(1), Some(2), None, Some(1), None, Some(1), Some(2)];
            for (round, etag) in changes.into_iter().enumerate() {
                match etag {
                    Some(etag) => memory.records.borrow_mut().insert("d0001".into(), etag),
                    None => memory.records.borrow_mut().remove("d0001"),
                };
                let page = run(&memory, &request(Start::Now, 100, Some(cursor.clone()))).expect("a page");
                let again = run(&memory, &request(Start::Now, 100, Some(cursor.clone()))).expect("a page");
                assert_eq!(page.events, again.events, "the same request, the same ids");
                assert_eq!(page.events.len(), 1);
                assert!(ids.insert(page.events[0].id.clone()), "round {round}, by event: {by_event}");
                cursor = match by_event {
                    true => Cursor { snapshot: cursor.snapshot, position: page.events[0].position.clone() },
                    false => page.next,
                };
            }
        }
    }

    #[test]
    fn a_cursor_from_before_pages_were_counted_goes_on_with_its_ids() {
        let memory = Memory::new(3, 10);
        let (_, cursor) = drain(&memory, &Start::Now, 100, None);
        let old = State { pages: None, ..State::read(&cursor).expect("readable") };
        memory.records.borrow_mut().insert("d0001".into(), 2);
        let page = run(&memory, &request(Start::Now, 100, Some(old.cursor()))).expect("a page");
        let hash = Memory::record("d0001", 2).fingerprint.hex();
        let id: [u8; 16] = digest(["memory", "memory", "updated", "d0001", hash.as_str()]);
        assert_eq!(page.events[0].id, id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        assert!(State::read(&page.next).expect("readable").pages.is_some());
    }

    #[test]
    fn a_cursor_by_another_name_of_the_service_goes_on() {
        let mut memory = Memory::new(3, 10);
        memory.source = "https://plant.azure-devices.net/twins".into();
        let (_, cursor) = drain(&memory, &Start::Now, 100, None);
        for name in ["plant.service.azure-devices.net", "plant.device.privatelink.azure-devices.net"] {
            let source = format!("https://{name}/twins");
            let mut old = State::read(&cursor).expect("readable");
            old.scope = digest(["memory", source.as_str(), ""]);
            memory.records.borrow_mut().insert(name.into(), 1);
            let page = run(&memory, &request(Start::Now, 100, Some(old.cursor()))).expect("a page");
            assert_eq!((page.events.len(), page.notices.len()), (1, 0));
            assert_eq!(State::read(&page.next).expect("readable").scope, State::read(&cursor).expect("readable").scope);
            memory.records.borrow_mut().remove(name);
        }
        let mut other = State::read(&cursor).expect("readable");
        other.scope = digest(["memory", "https://plant.azure-devices.cn/twins", ""]);
        let lost = run(&memory, &request(Start::Now, 100, Some(other.cursor()))).expect_err("another hub");
        assert_eq!(lost.code(), ErrorCode::PositionLost);
    }

    #[test]
    fn a_record_that_moved_between_pages_is_not_gone() {
        let memory = Memory::new(12, 5);
        let (_, cursor) = drain(&memory, &Start::Now, 100, None);
        memory.hidden.borrow_mut().push("d0004".into());
        let (events, _) = drain(&memory, &Start::Now, 100, Some(cursor));
        assert!(events.is_empty(), "it was looked up and found: {events:?}");
    }

    #[test]
    fn a_forgotten_continuation_begins_the_scan_again() {
        let memory = Memory::new(12, 5);
        let (_, cursor) = drain(&memory, &Start::Now, 100, None);
        memory.records.borrow_mut().insert("d0001".into(), 2);
        memory.records.borrow_mut().insert("d0009".into(), 2);
        memory.forget.replace(true);
        let (events, _) = drain(&memory, &Start::Now, 100, Some(cursor));
        assert_eq!(events.len(), 2, "{events:?}");
    }

    /// A cursor of the version before, which kept one hash for a record and wrote its state otherwise.
    fn of_the_version_before(cursor: &Cursor) -> Cursor {
        let mut state = State::read(cursor).expect("readable");
        state.pages = None;
        for known in state.records.values_mut() {
            *known = Known { fingerprint: Fingerprint::of(["1"]), parts: Parts::default(), seen: known.seen };
        }
        state.cursor()
    }

    #[test]
    fn a_cursor_of_the_version_before_goes_on_without_repeating_or_losing_anything() {
        let memory = Memory::new(12, 5);
        let (_, cursor) = drain(&memory, &Start::Now, 100, None);
        let old = of_the_version_before(&cursor);
        memory.records.borrow_mut().insert("d0003".into(), 2);
        let (events, cursor) = drain_whole(&memory, &Start::Now, 100, Some(old));
        let told: Vec<(&str, bool)> = events
            .iter()
            .map(|event| {
                (event.order_key.as_str(), event.data == Payload::Json(r#"{"body":{"etag":"2"},"parts":null}"#.into()))
            })
            .collect();
        assert_eq!(told, [("d0003", true)], "what changed is told, and which part of it is not known");
        // From then on it is.
        memory.records.borrow_mut().insert("d0003".into(), 3);
        memory.records.borrow_mut().insert("d0004".into(), 2);
        let (events, _) = drain_whole(&memory, &Start::Now, 100, Some(cursor));
        for (event, etag) in events.iter().zip(["3", "2"]) {
            assert_eq!(event.data, Payload::Json(format!(r#"{{"body":{{"etag":"{etag}"}},"parts":[1]}}"#)));
            assert_eq!(event.time, None, "the first year of all is no time");
        }
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn another_selection_loses_the_position_by_the_policy() {
        let mut memory = Memory::new(3, 5);
        let (_, cursor) = drain(&memory, &Start::Now, 100, None);
        memory.selection = "other".to_owned();
        let mut request = request(Start::Now, 100, Some(cursor));
        assert_eq!(run(&memory, &request).expect_err("stop").code(), ErrorCode::PositionLost);
        for (policy, expected) in [(LostPolicy::Now, 0), (LostPolicy::Earliest, 3)] {
            request.on_position_lost = policy;
            let page = run(&memory, &request).expect("a page");
            assert_eq!((page.notices.len(), page.events.len(), page.more), (1, 0, true));
            let (events, _) = drain(&memory, &Start::Now, 100, Some(page.next));
            assert_eq!(events.len(), expected);
        }
    }

    #[test]
    fn what_the_service_does_not_offer_is_refused() {
        let memory = Memory::new(1, 5);
        let error = run(&memory, &request(Start::AtTime("2026-01-01T00:00:00Z".into()), 1, None)).expect_err("refused");
        assert_eq!(error.record().fields[0].pointer, "/start");
        let mut other = request(Start::Now, 1, None);
        other.partition = "7".to_owned();
        assert_eq!(run(&memory, &other).expect_err("refused").code(), ErrorCode::NotFound);
    }

    #[test]
    fn bytes_bound_a_page_too_and_one_event_always_fits() {
        let memory = Memory::new(9, 5);
        let mut request = request(Start::Earliest, 100, None);
        request.budget.bytes = 1;
        let page = run(&memory, &request).expect("a page");
        assert_eq!((page.events.len(), page.more), (1, true));
    }
}
