//! Triggers on records of a service that keeps no log of their changes.
//!
//! The whole collection is read page by page, over as many polls as needed, and compared with the records in the
//! cursor. A record that a scan did not read is looked up before it counts as deleted, because records can move between
//! pages during a scan. The cursor's entry of a record changes together with the event, so no change is delivered twice
//! or left out.

pub mod cursor;
pub mod polled;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bindings::exports::workflow::connector::trigger::{Event, LostPolicy, Notice, Page, PollRequest, Start};
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::form::schema::{list, one_of, with};
use crate::form::values::Input;
use crate::host_name::aliases;
use crate::instant;
use crate::session::Session;
use crate::triggers::shared::WHOLE;
use crate::triggers::shared::event::EventDraft;
use crate::triggers::shared::hash::{digest, hex};
use crate::triggers::shared::lost::{self, Restart};
use crate::triggers::shared::page::{PageBuilder, PageLimits};
use cursor::{Delta, Fingerprint, Known, MOST_RECORDS, Pages, Parts, Place, Positions, Stamp, State};

/// At most 256 events, because each event carries a position that grows with the page.
const MOST_OF_PAGE: PageLimits = PageLimits { events: 256, bytes: u64::MAX };
/// A poll with less time left than this reads no further page.
const TIME_FOR_A_PAGE: Duration = Duration::from_millis(1_500);
/// A page takes no further event once the position of its last event has this size, in bytes. Each event carries its
/// own position, so the page has up to 256 times as many bytes.
const LONGEST_POSITION: usize = 32 * 1024;

/// The kind of a change to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The record was not there before.
    Created,
    /// The record's state differs.
    Updated,
    /// The record is deleted.
    Deleted,
}

impl Change {
    /// The word for this change in configuration, data and event types.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// The configuration field for the changes that the trigger delivers. Every trigger on a collection has it.
pub fn changes_field() -> Value {
    words_field(&WORDS)
}

/// The words of [`changes_field`].
const WORDS: [&str; 3] = ["created", "updated", "deleted"];

/// The configuration field for the changes that a trigger delivers, with the trigger's own words for them.
pub fn words_field(words: &[&str]) -> Value {
    with(
        list("Changes", one_of("Change", words)),
        json!({ "description": "Which changes fire the trigger. Empty: all of them.", "default": words, "maxItems": words.len() }),
    )
}

/// Whether a configuration with such a field asks for changes with this word.
pub fn asks_for(config: &Input, word: &str) -> bool {
    let named = config.items("changes");
    named.is_empty() || named.iter().any(|named| named == word)
}

/// The changes that a configuration with [`changes_field`] asks for.
pub fn wanted(config: &Input) -> BTreeSet<Change> {
    let all = [Change::Created, Change::Updated, Change::Deleted];
    let mut wanted = BTreeSet::new();
    // `collect` would compile a sort of 5 KB for three changes.
    wanted.extend(all.into_iter().filter(|change| asks_for(config, change.as_str())));
    wanted
}

/// A record of the collection.
pub struct Record {
    /// Its id within the collection.
    pub key: String,
    /// A hash of the parts of its state that the trigger watches.
    pub fingerprint: Fingerprint,
    /// The hash that an earlier version of the trigger computed for the same state, where that hash differs.
    pub earlier: Option<Fingerprint>,
    /// When the service last changed it, where the service states that.
    pub dated: Option<Dated>,
    /// The hash of each part of the state, where the trigger distinguishes parts.
    pub parts: Parts,
    /// What the cursor keeps for the trigger until the record's next change, at most [`cursor::LONGEST_MEMO`] bytes.
    pub memo: Box<str>,
    /// The record itself.
    pub body: Value,
}

impl Record {
    /// A record whose state has no parts.
    pub fn new(key: String, fingerprint: Fingerprint, body: Value) -> Self {
        Self { key, fingerprint, earlier: None, dated: None, parts: Parts::default(), memo: Box::default(), body }
    }

    /// A record that states when the service last changed it. If this time did not change, the event of an update has
    /// no time.
    pub fn dated(key: String, fingerprint: Fingerprint, last_updated: &str, body: Value) -> Self {
        Self { dated: Some(Dated::read(last_updated)), ..Self::new(key, fingerprint, body) }
    }

    fn stamp(&self) -> Option<Stamp> {
        self.dated.as_ref().map(|dated| dated.stamp)
    }

    /// Whether the cursor holds the record in this state.
    fn is_as(&self, known: &Known) -> bool {
        let before = known.parts.is_empty() && self.earlier == Some(known.fingerprint);
        before || known.shows(self.fingerprint, self.stamp())
    }

    /// The indexes of the parts that changed. The time of the last change is the only part of a record that has one.
    fn changed_since(&self, known: &Known) -> Option<Vec<usize>> {
        match &self.dated {
            Some(dated) if known.latest.is_none() => Parts::of([dated.text.as_str()]).changed_since(known.parts),
            Some(dated) => known.is_before(dated.stamp).then(|| vec![0]),
            None => self.parts.changed_since(known.parts),
        }
    }

    fn known(&self) -> Known {
        match self.stamp() {
            Some(stamp) => Known::dated(self.fingerprint, stamp, true),
            None => Known::new(self.fingerprint, self.parts, self.memo.clone(), true),
        }
    }

    fn delta(&self) -> Delta {
        let key = self.key.clone();
        match self.stamp() {
            Some(stamp) => Delta::Dated(key, self.fingerprint, stamp),
            None => Delta::Put(key, self.fingerprint, self.parts, self.memo.clone()),
        }
    }
}

/// The time at which a service last changed a record.
pub struct Dated {
    stamp: Stamp,
    /// As the record states it. Cursors that an earlier version wrote have a hash of this text.
    text: String,
}

impl Dated {
    fn read(text: &str) -> Self {
        Self { stamp: Stamp::of(stated_time(text)), text: text.to_owned() }
    }
}

/// A record of a page, as far as it takes to see that it is unchanged.
pub struct Glance {
    /// Its id within the collection.
    pub key: String,
    /// As in [`Record`].
    pub fingerprint: Fingerprint,
    /// When the service last changed it.
    pub stamp: Stamp,
}

impl Glance {
    /// The glance at a record that [`Record::dated`] would read in full.
    pub fn dated(key: String, fingerprint: Fingerprint, last_updated: &str) -> Self {
        Self { key, fingerprint, stamp: Stamp::of(stated_time(last_updated)) }
    }
}

/// A page of the collection at which a glance was taken.
pub struct Glanced<'c> {
    /// Its records, in their order. None where the page cannot be read in this way; reading it in full tells why.
    pub glances: Option<Vec<Glance>>,
    /// As in [`Batch`].
    pub next: Option<String>,
    /// Reads the records in full.
    pub read: Box<dyn FnOnce() -> Result<Vec<Record>> + 'c>,
}

/// What happened to one record.
pub struct Happened<'r> {
    /// Whether it was created, updated or deleted.
    pub change: Change,
    /// Its id.
    pub key: &'r str,
    /// The record's current state; none where the record is deleted.
    pub body: Option<&'r Value>,
    /// The indexes of its changed parts, where they are known.
    pub parts: Option<Vec<usize>>,
    /// The memo of its state before the change. None where the record was not known; empty where it had none.
    pub before: Option<&'r str>,
}

impl Happened<'_> {
    /// The time of a change to a [`Record::dated`]. `created` and `last_updated` name the record's members that state
    /// these times.
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
    /// The continuation text of the next page. None after the last page.
    pub next: Option<String>,
}

/// The result of looking up a record that a scan did not read.
pub enum Lookup {
    /// It exists.
    Present(Record),
    /// The record exists; whether it changed is not known.
    Unknown,
    /// The record exists, but the trigger's configuration no longer selects it. It is forgotten.
    Outside,
    /// As [`Lookup::Outside`], but it is delivered as deleted, with this state.
    Left(Value),
    /// The record does not exist.
    Gone,
}

/// A collection of a service.
pub trait Collection {
    /// CloudEvents `source`: the service that holds the collection.
    fn source(&self) -> String;
    /// The part of the configuration that selects records, as text. A cursor with another selection cannot be used.
    fn selection(&self) -> String;
    /// Whether a change is delivered.
    fn wants(&self, happened: &Happened) -> bool;
    /// Reads one page: the first, or the page that this continuation text asks for.
    ///
    /// # Errors
    /// Those of the service.
    fn page(&self, place: Option<&str>) -> Result<Batch>;
    /// As [`Self::page`], but reads the records only as far as it takes to see that they are unchanged, which most of
    /// them are. None where the collection cannot do so; nothing was read then.
    ///
    /// # Errors
    /// Those of the service.
    fn glance(&self, _place: Option<&str>) -> Result<Option<Glanced<'_>>> {
        Ok(None)
    }
    /// Looks up one record.
    ///
    /// # Errors
    /// Those of the service.
    fn look_up(&self, key: &str) -> Result<Lookup>;
    /// Makes an event draft.
    fn draft(&self, happened: &Happened) -> EventDraft;
    /// The largest number of records.
    fn most_records(&self) -> usize {
        MOST_RECORDS
    }
}

/// Asks for a page of `largest` records, and for smaller pages while the answer is too large to read.
///
/// # Errors
/// Those of `ask`; `payload-too-large` where even a single record is too large.
pub fn in_smaller_pages<T>(largest: u32, ask: impl Fn(u32) -> Result<T>) -> Result<T> {
    let mut size = largest;
    loop {
        match ask(size) {
            Err(error) if error.code() == ErrorCode::PayloadTooLarge && size > 1 => size = (size / 8).max(1),
            asked => return asked,
        }
    }
}

/// Polls a collection once. `trigger` is the trigger's id, and `interval` the time between two scans.
///
/// # Errors
/// Those of the interface's `poll`.
pub fn poll(
    session: &Session,
    trigger: &'static str,
    interval: Duration,
    collection: &dyn Collection,
    request: &PollRequest,
) -> Result<Page> {
    if !request.partition.is_empty() && request.partition != WHOLE {
        return Err(Error::new(
            ErrorCode::NotFound,
            format!("This trigger has no partition \"{}\", only \"{WHOLE}\".", request.partition),
        ));
    }
    Scan::begin(session, trigger, interval, collection, request)?.run()
}

/// Up to `limit` records as events.
///
/// # Errors
/// Those of the service.
pub fn sample(trigger: &'static str, collection: &dyn Collection, limit: u32) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut place: Option<String> = None;
    loop {
        let batch = collection.page(place.as_deref())?;
        for record in batch.records {
            if events.len() >= limit as usize {
                return Ok(events);
            }
            let happened = Happened {
                change: Change::Created,
                key: &record.key,
                body: Some(&record.body),
                parts: None,
                before: None,
            };
            events.push(event(trigger, collection, &happened, record.fingerprint, None));
        }
        match batch.next {
            Some(next) => place = Some(next),
            None => return Ok(events),
        }
    }
}

struct Scan<'a> {
    session: &'a Session<'a>,
    trigger: &'static str,
    interval: Duration,
    collection: &'a dyn Collection,
    state: State,
    positions: Positions,
    page: PageBuilder,
}

/// Whether the page has room for more events.
#[derive(PartialEq, Eq)]
enum Room {
    Left,
    Full,
}

impl<'a> Scan<'a> {
    fn begin(
        session: &'a Session<'a>,
        trigger: &'static str,
        interval: Duration,
        collection: &'a dyn Collection,
        request: &'a PollRequest,
    ) -> Result<Self> {
        let scopes = scopes(trigger, collection);
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
        Ok(Self { session, trigger, interval, collection, state, positions, page })
    }

    fn run(mut self) -> Result<Page> {
        // The cursor's snapshot belongs to another selection, and new positions cannot build on it. So this poll
        // returns only the notices and a new snapshot.
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
                    // The service no longer accepts the continuation. The known records stay, so that nothing is
                    // delivered twice.
                    self.page.notify(
                        Severity::Info,
                        "scan-restarted",
                        "The service no longer accepts the scan's continuation. The scan begins again at the first page.".to_owned(),
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
        let batch = match self.collection.glance(place)? {
            None => self.collection.page(place)?,
            Some(Glanced { glances: Some(glances), next, .. }) if self.are_as_known(&glances) => {
                Batch { records: Vec::new(), next }
            }
            Some(Glanced { next, read, .. }) => match read() {
                Ok(records) => Batch { records, next },
                // Pages with fewer records may be read, so they are asked for.
                Err(error) if error.code() == ErrorCode::PayloadTooLarge => self.collection.page(place)?,
                Err(error) => return Err(error),
            },
        };
        for record in &batch.records {
            if self.meet(record)? == Room::Full {
                return Ok(Step::Full);
            }
        }
        self.state.place = batch.next.map_or(Place::Sweep, Place::Page);
        Ok(Step::Page)
    }

    /// Whether all records of a page are as the cursor knows them. Those that are, up to the first other one, are noted
    /// as read. In the first scan a new record is noted too.
    fn are_as_known(&mut self, glances: &[Glance]) -> bool {
        let most = self.collection.most_records();
        let State { seeding, records, .. } = &mut self.state;
        glances.iter().all(|Glance { key, fingerprint, stamp }| {
            let read = || Known::dated(*fingerprint, *stamp, true);
            if let Some(known) = records.get_mut(key) {
                let same = *seeding || known.shows(*fingerprint, Some(*stamp));
                if same {
                    *known = read();
                }
                return same;
            }
            let noted = *seeding && records.len() < most;
            if noted {
                records.insert(key.clone(), read());
            }
            noted
        })
    }

    /// Compares a record with the cursor's entry for it, and delivers the change.
    fn meet(&mut self, record: &Record) -> Result<Room> {
        let known = self.state.records.get(&record.key).cloned();
        let change = match &known {
            Some(known) if record.is_as(known) => None,
            Some(_) => Some(Change::Updated),
            None => Some(Change::Created),
        };
        let most = self.collection.most_records();
        if change == Some(Change::Created) && self.state.records.len() >= most {
            return Err(Error::new(
                ErrorCode::QuotaExceeded,
                format!(
                    "The collection has more than {most} records. Limit this trigger's configuration to fewer records, and use several triggers."
                ),
            ));
        }
        if let Some(change) = change.filter(|_| !self.state.seeding) {
            let parts = known.as_ref().and_then(|known| record.changed_since(known));
            let before = known.as_ref().map(|known| &*known.memo);
            let happened = Happened { change, key: &record.key, body: Some(&record.body), parts, before };
            if self.collection.wants(&happened)
                && self.deliver(&happened, record.fingerprint, &record.delta()) == Room::Full
            {
                return Ok(Room::Full);
            }
        }
        self.state.records.insert(record.key.clone(), record.known());
        Ok(Room::Left)
    }

    /// Looks up the records that the scan did not read.
    fn sweep(&mut self) -> Result<Step> {
        let unseen: Vec<(String, Known)> = self
            .state
            .records
            .iter()
            .filter(|(_, known)| !known.seen)
            .map(|(key, known)| (key.clone(), known.clone()))
            .collect();
        for (looked_up, (key, known)) in unseen.into_iter().enumerate() {
            // Each poll looks up at least one record, so that short deadlines slow the sweep down but never stop it.
            if looked_up > 0 && self.session.remaining() < TIME_FOR_A_PAGE {
                return Ok(Step::Full);
            }
            let last = match self.collection.look_up(&key)? {
                Lookup::Present(record) => {
                    if self.meet(&record)? == Room::Full {
                        return Ok(Step::Full);
                    }
                    continue;
                }
                Lookup::Unknown => {
                    self.state.records.insert(key, Known { seen: true, ..known });
                    continue;
                }
                Lookup::Outside => {
                    self.state.records.remove(&key);
                    continue;
                }
                Lookup::Left(body) => Some(body),
                Lookup::Gone => None,
            };
            let (body, before) = (last.as_ref(), Some(&*known.memo));
            let happened = Happened { change: Change::Deleted, key: &key, body, parts: None, before };
            let wanted = !self.state.seeding && self.collection.wants(&happened);
            if wanted && self.deliver(&happened, known.fingerprint, &Delta::Remove(key.clone())) == Room::Full {
                return Ok(Step::Full);
            }
            self.state.records.remove(&key);
        }
        self.forget_seen();
        self.state.place = Place::Start;
        self.state.seeding = false;
        Ok(Step::Done)
    }

    fn deliver(&mut self, happened: &Happened, fingerprint: Fingerprint, delta: &Delta) -> Room {
        let before = self.state.delivered.get(happened.key).copied().unwrap_or(0);
        let nth = self.state.pages.map(|pages| (pages, before));
        let mut event = event(self.trigger, self.collection, happened, fingerprint, nth);
        let is_long = self.positions.size() > LONGEST_POSITION && !self.page.is_empty();
        if is_long || !self.page.has_room_for(&event) {
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
        self.state.bound_times(Stamp::bound(self.session.platform().unix_time()));
        let wait = if more { Duration::ZERO } else { self.interval };
        let wait_hint_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Page { wait_hint_ms, ..self.page.finish(self.state.cursor(), more) }
    }
}

enum Step {
    /// A page was read; there may be another.
    Page,
    /// The page is full, or the time is used up.
    Full,
    /// The scan is complete.
    Done,
}

/// The scope hashes that a cursor of this collection may have: first the current one, then one for each other name of
/// the service, which older cursors may hold.
fn scopes(trigger: &str, collection: &dyn Collection) -> Vec<[u8; 8]> {
    let selection = collection.selection();
    let source = collection.source();
    let names = match source.strip_prefix("https://").and_then(|rest| rest.split_once('/')) {
        Some((host, path)) => aliases(host).iter().map(|host| format!("https://{host}/{path}")).collect(),
        None => vec![source],
    };
    names.iter().map(|source| digest([trigger, source.as_str(), selection.as_str()])).collect()
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
        "All existing records are delivered as created.",
        "Only changes from now on are delivered.",
    )?;
    notices.push(notice);
    Ok(State::new(scope, restart == Restart::Now))
}

/// The event of a change. The caller sets the position, which depends on the other events of the page.
fn event(
    trigger: &str,
    collection: &dyn Collection,
    happened: &Happened,
    fingerprint: Fingerprint,
    nth: Option<(Pages, u32)>,
) -> Event {
    let source = collection.source();
    let mut draft = collection.draft(happened);
    draft.time = draft.time.filter(|time| stated_time(time).is_some());
    let (change, key, hash) = (happened.change.as_str(), happened.key, fingerprint.hex());
    // A record that returns to an earlier state is a new event. The id tells the two events apart by the cursor's page
    // and by the number of the record's deliveries within it.
    let nth = nth.map(|(pages, before)| format!("{:016x} {} {before}", pages.origin, pages.count));
    let parts = [source.as_str(), trigger, change, key, hash.as_str()];
    let id: [u8; 16] = digest(parts.into_iter().chain(nth.as_deref()));
    // Events keep their order by record key, not by subject: the subject has the record's kind in front of the key.
    Event { order_key: key.to_owned(), ..draft.into_event(hex(&id), source, WHOLE) }
}

/// A time that a service states. None where it is in the year 1, which services write for "never".
pub fn stated_time(text: &str) -> Option<time::OffsetDateTime> {
    instant::parse(text).filter(|time| time.year() > 1)
}

/// A text member of a record. Empty where the member is missing or is not text.
pub fn text<'v>(body: &'v Value, name: &str) -> &'v str {
    body.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
