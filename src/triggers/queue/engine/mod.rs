//! Triggers on the queues that a hub keeps for services: feedback on messages to devices, and uploaded files.
//!
//! A queue has no positions. A message is locked for the link that it was given to, until it is accepted or the link ends;
//! then it comes again. So nothing is accepted in the poll that reads it: that is left to the next poll whose cursor says
//! that the engine is done with all of the message's records. A poll without that cursor reads them again, with the same
//! ids. Where the instance lives on, the message is still held; otherwise it comes again, is recognized by the cursor, and
//! is accepted without an event.
//!
//! This holds for records without an event, too: those that the configuration holds back, and those that the start passes
//! over. They go into the cursor like the others, so that a poll whose cursor nobody keeps leaves the queue as it was.

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

/// Positions of events add up within a page.
const MOST_OF_PAGE: PageLimits = PageLimits { events: 256, bytes: u64::MAX };
/// Records of one page after which no further message is read, with an event or without: two pages and a message of 64
/// records fit into what a cursor remembers.
const MOST_RECORDS: usize = 400;
/// Once notices come, a pause of this length ends the reading.
const LULL: Duration = Duration::from_millis(100);
/// CloudEvents `type` of what is not as the hub describes it.
const UNREADABLE: &str = "azure.iot.hub.unreadable-notice";
/// Where to begin: with all that waits.
const EVERYTHING: i64 = i64::MIN;
/// Where to begin: what waits is still to be passed over.
const CLEARING: i64 = i64::MAX;
/// Kept of the deadline to end the reading in order.
const TIME_TO_PAUSE: Duration = Duration::from_millis(500);

/// Makes an event draft of a record; none where the configuration holds it back.
pub type EventMapper<'t> = dyn Fn(&Record) -> Option<EventDraft> + 't;

/// The fields that stand for a notice that could not be read, for an output's schema.
pub fn raw_fields() -> [(&'static str, Value); 2] {
    [
        (RAW_BODY, help(string("Raw body"), "Base64, of a notice that is not as the hub describes it.")),
        (BODY_NOTE, string("Note")),
    ]
}

/// A queue as a poll sees it.
trait Source {
    /// What earlier polls have read and not accepted.
    fn held(&mut self) -> Vec<Notice>;
    /// The next notice; none where none comes within `wait`.
    fn next(&mut self, wait: Duration) -> Result<Option<Notice>>;
    /// Done: it does not come again.
    fn accept(&mut self, notice: &Notice);
    /// Keeps it for the next poll.
    fn hold(&mut self, notice: Notice);
    /// Ends the reading: what had come by then and was not handed out.
    fn rest(&mut self) -> Vec<Notice>;
    /// How much time the call has left.
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

/// What a trigger on a queue declares. The start that loses nothing is the default.
pub fn descriptor(spec: Spec) -> TriggerDescriptor {
    TriggerDescriptor {
        operation: spec.operation(),
        kind: TriggerKind::Streaming,
        start_modes: vec![StartMode::Earliest, StartMode::AtTime, StartMode::Now],
        min_interval_ms: 0,
    }
}

/// What a trigger knows of its queue.
pub struct Reader<'t> {
    pub queue: ServiceQueue,
    /// Members that its records have, at least one of them each.
    pub members: &'t [&'t str],
    /// What becomes of a record.
    pub mapper: &'t EventMapper<'t>,
}

/// One poll of a queue, for a trigger with this configuration.
///
/// # Errors
/// As the interface's `poll`.
pub fn poll(session: &Session, reader: &Reader, config: &str, request: &PollRequest) -> Result<Page> {
    let queue = reader.queue;
    let hub = &session.hub().identity();
    // Cursors of before may have been written by another name of the hub.
    let scopes: Vec<[u8; 8]> = aliases(hub).iter().map(|hub| digest([queue.address(), hub])).collect();
    let (position, notices) = begin(&scopes, request)?;
    // Notices that one trigger holds are not for another to accept.
    let purpose = Purpose::Read(queue, digest([config]));
    let source = format!("https://{hub}{}", queue.address());
    with_service_endpoint(session, purpose, |endpoint| {
        endpoint.open(queue)?;
        let mut poll = Poll::new(&source, reader, request, position.clone(), notices.clone());
        poll.run(endpoint)?;
        Ok(poll.page())
    })
}

/// Where a poll goes on, and the notice where that is not where its cursor is. `scopes` are the cursor's own, and those by
/// the hub's other names.
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
        "Reading goes on with all that waits.",
        "Reading goes on with what comes from now on.",
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
    /// The cursor of this poll, and what this page adds to it.
    position: Position,
    committed: HashSet<Hash>,
    /// Delivered, passed over or put off in this page.
    met: HashSet<Hash>,
    /// How many of them the start passes over.
    passed_over: usize,
    /// What the cursor lacked at the record dealt with last.
    since_cursor: Vec<u8>,
    page: PageBuilder,
    /// A record had no room.
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
        // A cursor that was given up is none: its position must not be gone on from.
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
            // No clock says what is from before: it is what waits until nothing does.
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

    /// The event of a record, without its position; none where the configuration holds it back.
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

    /// Deals with a notice's records, and accepts it where the engine is done with all of them. Once the page is full a
    /// notice is kept as it is; one that fills it is delivered in part, and the rest goes into the cursor.
    fn see(&mut self, source: &mut dyn Source, notice: Notice) {
        let full = self.is_full();
        let mut done = true;
        for record in Record::all(&notice.body, self.reader.members) {
            let hash = record.hash();
            if self.committed.contains(&hash) {
                continue;
            }
            done = false;
            // Read a second time in this very page, since its lock ran out: dealt with once, and not done either.
            if !full && !self.met.contains(&hash) {
                self.take(record);
            }
        }
        if done { source.accept(&notice) } else { source.hold(notice) }
    }

    /// Deals with a record: delivers it, passes it over, or puts it off where there is no room.
    fn take(&mut self, record: Record) {
        let hash = record.hash();
        self.met.insert(hash);
        // The start says what waited before; what cannot be read has no time that would show it.
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

    /// Puts a record into the cursors that follow.
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
