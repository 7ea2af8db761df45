//! Triggers on the queues that a hub keeps for services: feedback on cloud-to-device messages, and notices of uploaded
//! files.
//!
//! A queue has no positions. A message is locked for the link that received it, until it is accepted or the link ends;
//! if the link ends, the message comes again. The poll that reads a message therefore never accepts it. A later poll
//! accepts it when its cursor says that the engine has dealt with all of the message's records. A poll without that
//! cursor delivers the same records again, with the same ids. In a warm instance the message is still held; otherwise
//! the message comes again, is recognized by the cursor, and is accepted without an event.
//!
//! The same holds for records without an event: those that the configuration holds back, and those before the start.
//! They go into the cursor like all others, so that a poll whose cursor is not kept leaves the queue unchanged.

pub mod position;
pub mod record;

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use crate::bindings::exports::workflow::connector::metadata::{StartMode, TriggerDescriptor, TriggerKind};
use crate::bindings::exports::workflow::connector::trigger::{Event, Notice as PageNotice, Page, PollRequest, Start};
use crate::error::{Error, Result, Severity};
use crate::form::Spec;
use crate::form::schema::{help, string};
use crate::host_name::aliases;
use crate::instant;
use crate::iothub::{Notice, ServiceEndpoint, ServiceQueue};
use crate::session::Session;
use crate::session::service_endpoint::{Purpose, with_service_endpoint};
use crate::triggers::shared::WHOLE;
use crate::triggers::shared::event::EventDraft;
use crate::triggers::shared::hash::digest;
use crate::triggers::shared::lost::{Restart, begin_again};
use crate::triggers::shared::page::{PageBuilder, PageLimits};
use position::Position;
use record::{BODY_NOTE, Hash, RAW_BODY, Record};

/// At most 256 events, because each event's position contains those of the events before it.
const MOST_OF_PAGE: PageLimits = PageLimits { events: 256, bytes: u64::MAX };
/// The number of records of a page, with or without an event, after which no further message is read. The cursor's
/// memory has room for two such pages and a message of 64 records.
const MOST_RECORDS: usize = 400;
/// After the first notice, a pause of this length ends the reading.
const LULL: Duration = Duration::from_millis(100);
/// CloudEvents `type` of a notice that does not have the form that the hub documents.
const UNREADABLE: &str = "azure.iot.hub.unreadable-notice";
/// The start that delivers all records in the queue.
const EVERYTHING: i64 = i64::MIN;
/// The start that passes over all records in the queue, while some may still be left.
const CLEARING: i64 = i64::MAX;
/// The part of the deadline that is kept for ending the reading in order.
const TIME_TO_PAUSE: Duration = Duration::from_millis(500);

/// Makes an event draft of a record. Returns none where the configuration holds the record back.
pub type EventMapper<'t> = dyn Fn(&Record) -> Option<EventDraft> + 't;

/// The fields of a notice that could not be read, for an output's schema.
pub fn raw_fields() -> [(&'static str, Value); 2] {
    [
        (RAW_BODY, help(string("Raw body"), "Base64, of a notice that is not as the hub describes it.")),
        (BODY_NOTE, string("Note")),
    ]
}

/// A queue, as a poll uses it.
trait Source {
    /// The notices that earlier polls have read and not accepted.
    fn held(&mut self) -> Vec<Notice>;
    /// The next notice. None where no notice comes within `wait`.
    fn next(&mut self, wait: Duration) -> Result<Option<Notice>>;
    /// Accepts the notice at the hub, so that it does not come again.
    fn accept(&mut self, notice: &Notice);
    /// Keeps the notice for the next poll.
    fn hold(&mut self, notice: Notice);
    /// Ends the reading. Returns the notices that had arrived by then and were not returned yet.
    fn rest(&mut self) -> Vec<Notice>;
    /// How much time is left of the call.
    fn remaining(&self) -> Duration;
}

impl Source for ServiceEndpoint<'_> {
    fn held(&mut self) -> Vec<Notice> {
        ServiceEndpoint::held(self)
    }
    fn next(&mut self, wait: Duration) -> Result<Option<Notice>> {
        ServiceEndpoint::next(self, wait)
    }
    fn accept(&mut self, notice: &Notice) {
        ServiceEndpoint::accept(self, notice);
    }
    fn hold(&mut self, notice: Notice) {
        ServiceEndpoint::hold(self, notice);
    }
    fn rest(&mut self) -> Vec<Notice> {
        ServiceEndpoint::rest(self)
    }
    fn remaining(&self) -> Duration {
        ServiceEndpoint::remaining(self)
    }
}

/// The descriptor of a trigger on a queue. Its default start is the one that loses no records.
pub fn descriptor(spec: Spec) -> TriggerDescriptor {
    TriggerDescriptor {
        operation: spec.operation(),
        kind: TriggerKind::Streaming,
        start_modes: vec![StartMode::Earliest, StartMode::AtTime, StartMode::Now],
        min_interval_ms: 0,
    }
}

/// What a poll needs to know of a trigger's records.
pub struct Reader<'t> {
    pub queue: ServiceQueue,
    /// The members that the trigger's records can have. Each record has at least one of them.
    pub members: &'t [&'t str],
    /// Makes the event of a record.
    pub mapper: &'t EventMapper<'t>,
}

/// One poll of a queue, for a trigger with this configuration.
///
/// # Errors
/// Those of the interface's `poll`.
pub fn poll(session: &Session, reader: &Reader, config: &str, request: &PollRequest) -> Result<Page> {
    let queue = reader.queue;
    let hub = &session.hub().identity();
    // An older cursor may contain another name of the hub.
    let scopes: Vec<[u8; 8]> = aliases(hub).iter().map(|hub| digest([queue.address(), hub])).collect();
    let (position, notices) = begin(&scopes, request)?;
    // Each configuration holds its own notices, so that one trigger cannot accept the notices of another.
    let purpose = Purpose::Read(queue, digest([config]));
    let source = format!("https://{hub}{}", queue.address());
    with_service_endpoint(session, purpose, |endpoint| {
        endpoint.open(queue)?;
        let mut poll = Poll::new(&source, reader, request, position.clone(), notices.clone());
        poll.run(endpoint)?;
        Ok(poll.page())
    })
}

/// The position where a poll continues, and a notice where that is not the cursor's position. `scopes` has the
/// trigger's scope first, then its scopes under the hub's other names.
fn begin(scopes: &[[u8; 8]], request: &PollRequest) -> Result<(Position, Vec<PageNotice>)> {
    let scope = scopes.first().copied().unwrap_or_default();
    let Some(cursor) = &request.cursor else {
        let since = match &request.start {
            Start::Now => CLEARING,
            Start::Earliest => EVERYTHING,
            Start::AtTime(time) => instant::parse_ms(time)
                .ok_or_else(|| Error::field("/start/at-time", "not-a-time", "must be a time as in RFC 3339"))?,
            Start::AtPosition(_) => {
                return Err(Error::field(
                    "/start/at-position",
                    "not-offered",
                    "must be one of the other start modes: a queue has no positions",
                ));
            }
        };
        return Ok((Position::new(scope, since), Vec::new()));
    };
    let mut position = Position::read(cursor)?;
    if scopes.contains(&position.scope) {
        position.scope = scope;
        return Ok((position, Vec::new()));
    }
    let (restart, notice) = begin_again(
        "The cursor belongs to another hub or to another trigger.",
        request.on_position_lost,
        "Reading continues with all records in the queue.",
        "Reading continues with new records only.",
    )?;
    let since = match restart {
        Restart::Earliest => EVERYTHING,
        Restart::Now => CLEARING,
    };
    Ok((Position::new(scope, since), vec![notice]))
}

/// One poll under way.
struct Poll<'a> {
    /// CloudEvents `source`.
    source: &'a str,
    reader: &'a Reader<'a>,
    request: &'a PollRequest,
    /// The cursor of this poll, with the records that this page adds.
    position: Position,
    committed: HashSet<Hash>,
    /// The records that this page delivered, passed over or kept in the cursor.
    met: HashSet<Hash>,
    /// How many of these records the start passes over.
    passed_over: usize,
    /// The position of the next event: the cursor's position, and the hashes of all records dealt with since.
    since_cursor: Vec<u8>,
    page: PageBuilder,
    /// Whether a record had no room in the page.
    full: bool,
    pending: Vec<Record>,
}

impl<'a> Poll<'a> {
    fn new(
        source: &'a str,
        reader: &'a Reader<'a>,
        request: &'a PollRequest,
        position: Position,
        notices: Vec<PageNotice>,
    ) -> Self {
        // After a notice about a lost position, this poll must not continue from the cursor's position.
        let own = request.cursor.as_ref().filter(|_| notices.is_empty());
        Self {
            source,
            reader,
            request,
            committed: position.committed(),
            met: HashSet::new(),
            passed_over: 0,
            since_cursor: own.map_or_else(|| position.head(), |cursor| cursor.position.clone()),
            position,
            page: PageBuilder::new(&request.budget, MOST_OF_PAGE, notices),
            full: false,
            pending: Vec::new(),
        }
    }

    fn run(&mut self, source: &mut dyn Source) -> Result<()> {
        let held = source.held();
        for record in std::mem::take(&mut self.position.pending) {
            self.take(record);
        }
        for notice in held {
            self.see(source, notice);
        }
        let begun = source.remaining();
        let patience = Duration::from_millis(self.request.budget.wait_ms);
        let mut is_empty = false;
        while !self.is_full() && source.remaining() > TIME_TO_PAUSE {
            let waited = begun.saturating_sub(source.remaining());
            let idle = self.page.is_empty() && !self.is_clearing();
            let wait = if idle { patience.saturating_sub(waited) } else { LULL };
            match source.next(wait.min(source.remaining().saturating_sub(TIME_TO_PAUSE))) {
                Ok(Some(notice)) => self.see(source, notice),
                Ok(None) => {
                    is_empty = true;
                    break;
                }
                Err(error) => {
                    self.page.interrupt(error, !self.met.is_empty(), "read-interrupted", "Reading")?;
                    self.full = true;
                    return Ok(());
                }
            }
        }
        for notice in source.rest() {
            self.see(source, notice);
        }
        if self.is_clearing() {
            // The start ignores the times in the records: all records count as old until the queue is empty once.
            if is_empty && !self.is_full() {
                self.position.since = EVERYTHING;
            } else {
                self.full = true;
            }
        }
        Ok(())
    }

    fn is_clearing(&self) -> bool {
        self.position.since == CLEARING
    }

    /// The event of a record, without its position. None where the configuration holds the record back.
    fn event(&self, record: &Record) -> Option<Event> {
        let mut draft = if record.is_raw() {
            EventDraft {
                event_type: UNREADABLE.to_owned(),
                subject: None,
                time: None,
                data: record.value().to_string(),
                summary: "A notice that cannot be read".to_owned(),
            }
        } else {
            (self.reader.mapper)(record)?
        };
        draft.time = record.time().filter(|time| instant::parse(time).is_some()).map(str::to_owned);
        Some(draft.into_event(record.id(), self.source.to_owned(), WHOLE))
    }

    fn is_full(&self) -> bool {
        self.full || self.page.room() == 0 || self.met.len() >= MOST_RECORDS
    }

    /// Deals with a notice's records, and accepts the notice where the engine is done with all of them. If the page is
    /// already full, the notice is only held. If the page becomes full in the middle, the remaining records go into the
    /// cursor.
    fn see(&mut self, source: &mut dyn Source, notice: Notice) {
        let full = self.is_full();
        let mut done = true;
        for record in Record::all(&notice.body, self.reader.members) {
            let hash = record.hash();
            if self.committed.contains(&hash) {
                continue;
            }
            done = false;
            // A notice whose lock ran out can come twice within one page. Its records are dealt with once, and it is
            // not accepted yet.
            if !full && !self.met.contains(&hash) {
                self.take(record);
            }
        }
        if done { source.accept(&notice) } else { source.hold(notice) }
    }

    /// Delivers a record, passes it over, or keeps it in the cursor where the page has no room for it.
    fn take(&mut self, record: Record) {
        let hash = record.hash();
        self.met.insert(hash);
        // A record is old if it is older than the start. A record that cannot be read has no time and counts as new.
        let is_before = self.is_clearing() || record.is_before(self.position.since);
        let event = if is_before { None } else { self.event(&record) };
        let Some(mut event) = event else {
            self.passed_over += usize::from(is_before);
            self.note(hash);
            return;
        };
        self.full |= !self.page.has_room_for(&event);
        if self.full {
            self.pending.push(record);
            return;
        }
        self.note(hash);
        event.position = self.since_cursor.clone();
        self.page.add(event);
    }

    /// Adds a record to the cursors that follow.
    fn note(&mut self, hash: Hash) {
        self.position.note(hash);
        self.since_cursor.extend(hash);
    }

    fn page(mut self) -> Page {
        let more = self.is_full();
        if self.passed_over > 0 {
            let message = format!(
                "{} from before the start are passed over. The hub removes them from its queue when the next poll brings this page's cursor.",
                if self.passed_over == 1 { "1 record".to_owned() } else { format!("{} records", self.passed_over) }
            );
            self.page.notify(Severity::Warning, "cleared", message);
        }
        self.position.pending = self.pending;
        self.page.finish(self.position.cursor(), more)
    }
}

#[cfg(test)]
mod tests;
