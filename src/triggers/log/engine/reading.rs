//! One poll: from a cursor, round by round over the partitions, to a page.
//!
//! A round takes a share of what is known to be there from each partition in turn, so that a busy one does not keep the
//! others waiting, and the same poll of the same log gives the same page. Whose turn comes next is part of the position:
//! pages of a single event are fair, too. What is not known to be there is waited for only once nothing else is left.

use std::time::Duration;

use super::position::{self, Identity, Place, Position};
use super::{Log, LogState, PartitionState, Telling, Told};
use crate::bindings::exports::workflow::connector::trigger::{
    Event, LostPolicy, Notice, Page, Payload, PollRequest, Start,
};
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::eventhub::{Event as Message, Position as From};
use crate::instant::{parse_ms, rfc3339};
use crate::triggers::shared::cursor::digest;

/// Events of one page at the most.
const MOST_EVENTS: usize = 4_096;
/// Bytes of data in one page at the most, whatever the budget: an instance is to stay within 8 MiB.
const MOST_BYTES: u64 = 1024 * 1024;
/// Messages that one poll looks at, at the most: a filter that holds nearly all back must not use up the host's budget of
/// computing time, which would end the poll without a cursor. The next poll goes on behind them.
const MOST_LOOKED_AT: usize = 20_000;
/// Bytes of the messages that one poll looks at, at the most, for the same reason: a filter reads the whole of a JSON body.
const MOST_BYTES_LOOKED_AT: usize = 16 * 1024 * 1024;
/// A byte of memory is so many times less work than a byte of a body.
const MEMORY_PER_BYTE: usize = 4;
/// Messages asked for at a time.
const PIECE: usize = 512;
/// How long to wait for what is known to be there: a link that was just attached needs a moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// Once an event has come, how long others may still join it: what is there is worth more than what may come.
const LULL: Duration = Duration::from_millis(100);
/// What came over an open connection since the last poll is taken in only while it is waited for: so a poll that does not
/// want to wait has a look at least.
const GLANCE: Duration = Duration::from_millis(20);
/// No more is asked for with less time than this left.
const TIME_FOR_A_PIECE: Duration = Duration::from_millis(500);

/// A poll under way.
pub struct Reading<'a> {
    log: &'a mut dyn Log,
    telling: &'a dyn Telling,
    request: &'a PollRequest,
    identity: Identity,
    /// What the ids of events begin with.
    log_id: String,
    places: Vec<Place>,
    /// The place that comes next.
    turn: usize,
    /// Partitions that did not give what they were known to hold.
    silent: Vec<bool>,
    page: Contents,
    looked_at: LookedAt,
    notices: Vec<Notice>,
}

/// What a poll has looked at, taken into its page or not.
#[derive(Default)]
struct LookedAt {
    messages: usize,
    bytes: usize,
}

impl LookedAt {
    fn is_enough(&self) -> bool {
        self.messages >= MOST_LOOKED_AT || self.bytes >= MOST_BYTES_LOOKED_AT
    }
}

/// What a page holds, and what it may hold.
struct Contents {
    events: Vec<Event>,
    most_events: usize,
    bytes: u64,
    most_bytes: u64,
}

/// Why a round ended.
#[derive(PartialEq, Eq)]
enum Round {
    /// All partitions had their turn, and there were messages.
    Fruitful,
    /// All partitions had their turn, and there was nothing.
    Fruitless,
    /// The page has no room for more, or the call no time, or enough was looked at.
    Full,
}

impl<'a> Reading<'a> {
    /// Finds the places to go on from: the cursor's, or the start's; where the cursor's are gone, the policy's.
    ///
    /// # Errors
    /// `invalid-input` for the start or the cursor, `position-lost`.
    pub fn open(log: &'a mut dyn Log, telling: &'a dyn Telling, request: &'a PollRequest) -> Result<Self> {
        let state = log.state();
        let scope = telling.scope(&request.partition);
        let partitions = u16::try_from(state.ids.len()).unwrap_or(u16::MAX);
        let mut identity = Identity { scope, created: state.created, partitions };
        let mut notices = log.notices();
        let (places, turn) = match &request.cursor {
            None => (begin(&request.start, state)?, 0),
            Some(cursor) => {
                let mut position = Position::read(cursor)?;
                for partition in [request.partition.as_str(), ""] {
                    if telling.scopes_by_other_names(partition).contains(&position.identity.scope) {
                        position.identity.scope = telling.scope(partition);
                    }
                }
                let position = part_of(position, &identity, telling, &request.partition, state);
                // Where the service does not say when the log was made, it is still the one of the cursor.
                if state.created == 0 && lost_log(&position.identity, &identity).is_none() {
                    identity.created = position.identity.created;
                }
                go_on(position, &identity, request.on_position_lost, state, &mut notices)?
            }
        };
        let silent = vec![false; places.len()];
        let page = Contents {
            events: Vec::new(),
            most_events: (request.budget.events as usize).min(MOST_EVENTS),
            bytes: 0,
            most_bytes: request.budget.bytes.min(MOST_BYTES),
        };
        let log_id = log_id(&state.name, identity.created);
        Ok(Self {
            log,
            telling,
            request,
            identity,
            log_id,
            places,
            turn,
            silent,
            page,
            looked_at: LookedAt::default(),
            notices,
        })
    }

    /// Reads until the page is full, the time is up, enough was looked at, or nothing more is there.
    ///
    /// # Errors
    /// Those of the service where nothing was looked at before.
    pub fn run(mut self) -> Result<Page> {
        let interrupted = match self.read() {
            // What was found until now is not lost, nor the way past what was held back; the next poll meets the error again
            // if it lasts.
            Err(error) if self.looked_at.messages > 0 && error.code() != ErrorCode::Internal => {
                let message = format!("Reading stopped early: {}", error.record().message);
                self.notices.push(warning("read-interrupted", message));
                true
            }
            other => other.map(|()| false)?,
        };
        let states = &self.log.state().read;
        let waiting = self.places.iter().zip(states).map(|(place, state)| due(place, state));
        let reachable = waiting.clone().zip(&self.silent).any(|(due, silent)| due > 0 && !silent);
        Ok(Page {
            events: self.page.events,
            more: interrupted || reachable || self.looked_at.is_enough(),
            wait_hint_ms: 0,
            lag: Some(waiting.fold(0, u64::saturating_add)),
            next: Position { identity: self.identity, places: self.places, turn: self.turn }.cursor(),
            notices: self.notices,
        })
    }

    fn read(&mut self) -> Result<()> {
        let wait = Duration::from_millis(self.request.budget.wait_ms).max(GLANCE);
        let mut waiting_ends = self.log.remaining().saturating_sub(wait);
        self.log.begin(&self.from())?;
        let mut round = self.round()?;
        let mut empty = true;
        loop {
            if empty && !self.page.events.is_empty() {
                empty = false;
                waiting_ends = waiting_ends.max(self.log.remaining().saturating_sub(LULL));
            }
            let left = self.log.remaining().saturating_sub(waiting_ends);
            match round {
                Round::Full => return Ok(()),
                // Where messages keep coming, held back or not, there is no end to what is there.
                Round::Fruitful if left.is_zero() && self.due().all(|due| due == 0) => return Ok(()),
                Round::Fruitful => round = self.round()?,
                Round::Fruitless => {
                    let pause = self.at_most(left);
                    if pause.is_zero() || !self.log.wait(&self.from(), pause)? {
                        return Ok(());
                    }
                    round = self.round()?;
                    if round == Round::Fruitless {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes a share of each partition, in turn.
    fn round(&mut self) -> Result<Round> {
        let count = self.places.len();
        let known: Vec<u64> = self.due().collect();
        let sharers = known.iter().filter(|due| **due > 0).count().max(1);
        let share = self.page.room().div_ceil(sharers).clamp(1, PIECE);
        let mut round = Round::Fruitless;
        let first = self.turn.min(count);
        for index in (first..count).chain(0..first) {
            let due = known.get(index).copied().unwrap_or(0);
            let (most, wait) = match usize::try_from(due) {
                Ok(0) => (share, Duration::ZERO),
                due => (share.min(due.unwrap_or(usize::MAX)), PATIENCE),
            };
            let messages = self.receive(index, most, self.at_most(wait))?;
            self.turn = (index + 1) % count;
            if let Some(silent) = self.silent.get_mut(index) {
                *silent = messages.is_empty() && due > 0;
            }
            if !messages.is_empty() {
                round = Round::Fruitful;
            }
            let mut messages = messages.into_iter();
            while let Some(message) = messages.next() {
                if !self.take(index, &message) {
                    let rest = std::iter::once(message).chain(messages).collect();
                    let from = self.places.get(index).map_or(From::Earliest, from);
                    self.log.give_back(index, rest, from);
                    return Ok(Round::Full);
                }
            }
            if self.page.room() == 0 || self.looked_at.is_enough() || self.log.remaining() < TIME_FOR_A_PIECE {
                return Ok(Round::Full);
            }
        }
        Ok(round)
    }

    /// A place that the service turns out not to know is answered by the policy, too.
    fn receive(&mut self, index: usize, most: usize, wait: Duration) -> Result<Vec<Message>> {
        let from = self.places.get(index).map_or(From::Earliest, from);
        match self.log.receive(index, &from, most, wait) {
            Err(error) if error.code() == ErrorCode::PositionLost && self.request.cursor.is_some() => {
                let policy = self.request.on_position_lost;
                let state = self.log.state();
                let anew = state.read.get(index).map(|state| anew(policy, state)).unwrap_or(Place::Beginning);
                let reason = error.record().message.clone();
                self.notices.push(begin_anew(&reason, policy).map_err(|_| error)?);
                let from = self::from(&anew);
                if let Some(place) = self.places.get_mut(index) {
                    *place = anew;
                }
                self.log.receive(index, &from, most, wait)
            }
            received => received,
        }
    }

    /// Takes a message in. False where the page has no room for it.
    fn take(&mut self, index: usize, message: &Message) -> bool {
        let state = self.log.state();
        let partition = state.read.get(index).map(|state| state.id.as_str()).unwrap_or_default();
        let told = self.telling.tell(message, partition);
        let event = told.map(|told| event(told, message, &self.log_id, partition));
        if event.as_ref().is_some_and(|event| !self.page.has_room_for(event)) {
            return false;
        }
        self.looked_at.messages += 1;
        let work = message.size.max(message.memory / MEMORY_PER_BYTE);
        self.looked_at.bytes = self.looked_at.bytes.saturating_add(work);
        if let Some(place) = self.places.get_mut(index) {
            *place = Place::After { sequence: message.sequence_number, offset: message.offset.clone() };
        }
        if let Some(mut event) = event {
            event.position = position::write(&self.identity, &self.places, self.turn);
            if self.request.partition.is_empty() {
                event.order_key.clone_from(&event.partition);
            }
            self.page.add(event);
        }
        true
    }

    /// What each partition is known to hold still, as far as it gives it.
    fn due(&self) -> impl Iterator<Item = u64> {
        let states = self.places.iter().zip(&self.log.state().read).zip(&self.silent);
        states.map(|((place, state), silent)| if *silent { 0 } else { due(place, state) })
    }

    fn from(&self) -> Vec<From> {
        self.places.iter().map(from).collect()
    }

    fn at_most(&self, wait: Duration) -> Duration {
        wait.min(self.log.remaining().saturating_sub(TIME_FOR_A_PIECE))
    }
}

impl Contents {
    /// Events that can still come in.
    fn room(&self) -> usize {
        self.most_events.saturating_sub(self.events.len())
    }

    fn has_room_for(&self, event: &Event) -> bool {
        let fits = self.bytes.saturating_add(size(event)) <= self.most_bytes;
        self.room() > 0 && (fits || self.events.is_empty())
    }

    fn add(&mut self, event: Event) {
        self.bytes = self.bytes.saturating_add(size(&event));
        self.events.push(event);
    }
}

fn size(event: &Event) -> u64 {
    match &event.data {
        Payload::Json(text) | Payload::Text(text) => text.len() as u64,
        Payload::Bytes(raw) => raw.len() as u64,
    }
}

/// How many events a partition is known to hold after a place; of a moment, only whether there is one.
fn due(place: &Place, state: &PartitionState) -> u64 {
    let count = match place {
        _ if state.empty => 0,
        Place::Beginning => state.last.saturating_sub(state.first).saturating_add(1),
        Place::Since(ms) => i64::from(state.last_time_ms >= *ms),
        Place::AfterNumber(sequence) | Place::After { sequence, .. } => state.last.saturating_sub(*sequence),
    };
    u64::try_from(count).unwrap_or(0)
}

fn from(place: &Place) -> From {
    match place {
        Place::Beginning => From::Earliest,
        Place::Since(ms) => From::EnqueuedTime { ms: *ms, inclusive: true },
        Place::AfterNumber(number) => From::SequenceNumber { number: *number, inclusive: false },
        Place::After { offset, .. } => From::Offset { offset: offset.clone(), inclusive: false },
    }
}

/// The end of a partition, as a place: what comes from now on.
fn end(state: &PartitionState) -> Place {
    if state.last < 0 || state.last_offset.is_empty() || state.last_offset == "-1" {
        Place::Beginning
    } else {
        Place::After { sequence: state.last, offset: state.last_offset.clone() }
    }
}

fn begin(start: &Start, state: &LogState) -> Result<Vec<Place>> {
    let place = match start {
        Start::Now => return Ok(state.read.iter().map(end).collect()),
        Start::Earliest => Place::Beginning,
        Start::AtTime(time) => {
            let ms = parse_ms(time);
            let not = || Error::field("/start/at-time", "not-a-time", "is not a time as in RFC 3339");
            Place::Since(ms.ok_or_else(not)?)
        }
        Start::AtPosition(_) if state.read.len() > 1 => {
            let message = "is a number in one partition: poll the partitions one by one to begin there";
            return Err(Error::field("/start/at-position", "not-a-position", message));
        }
        Start::AtPosition(position) => {
            let not = |_| Error::field("/start/at-position", "not-a-position", "is not a sequence number");
            Place::AfterNumber(position.parse().map_err(not)?)
        }
    };
    Ok(vec![place; state.read.len()])
}

/// Of a cursor of all partitions, the part of the one that is polled by itself now; any other cursor as it is.
fn part_of(
    position: Position,
    identity: &Identity,
    telling: &dyn Telling,
    partition: &str,
    state: &LogState,
) -> Position {
    if position.identity.scope == identity.scope || position.identity.scope != telling.scope("") {
        return position;
    }
    let part = state.ids.iter().zip(&position.places).find(|(id, _)| *id == partition).map(|(_, place)| place.clone());
    match part {
        Some(place) => {
            let identity = Identity { scope: identity.scope, ..position.identity };
            Position { identity, places: vec![place], turn: 0 }
        }
        None => position,
    }
}

/// The places of a cursor. One that is gone is replaced as the policy wants it, and the others stay.
fn go_on(
    position: Position,
    identity: &Identity,
    policy: LostPolicy,
    state: &LogState,
    notices: &mut Vec<Notice>,
) -> Result<(Vec<Place>, usize)> {
    if let Some(reason) = lost_log(&position.identity, identity) {
        notices.push(begin_anew(&reason, policy)?);
        return Ok((state.read.iter().map(|state| anew(policy, state)).collect(), 0));
    }
    if position.places.len() != state.read.len() {
        return Err(position::broken());
    }
    let mut places = position.places;
    for (place, partition) in places.iter_mut().zip(&state.read) {
        if let Some(reason) = lost_place(place, partition) {
            let of = if state.read.len() > 1 { format!("Partition {}: ", partition.id) } else { String::new() };
            notices.push(begin_anew(&format!("{of}{reason}"), policy)?);
            *place = anew(policy, partition);
        }
    }
    Ok((places, position.turn))
}

/// Why nothing in a log is where it was, where it is so.
fn lost_log(was: &Identity, identity: &Identity) -> Option<String> {
    if was.scope != identity.scope {
        return Some("The cursor belongs to another hub, another trigger or another partition.".to_owned());
    }
    if was.created != identity.created && was.created != 0 && identity.created != 0 {
        return Some("The hub's event log was made anew: its events have other numbers now.".to_owned());
    }
    (was.partitions != identity.partitions)
        .then(|| format!("The hub has {} partitions now and had {}.", identity.partitions, was.partitions))
}

/// Why a place in a partition is no more, where it is so.
fn lost_place(place: &Place, state: &PartitionState) -> Option<String> {
    let (Place::After { sequence, .. } | Place::AfterNumber(sequence)) = place else { return None };
    let next = sequence.saturating_add(1);
    if *sequence > state.last {
        return Some(format!(
            "The log ends at {} and the cursor is at {sequence}: the hub's event log was made anew.",
            state.last
        ));
    }
    (next < state.first).then(|| {
        let count = state.first.saturating_sub(next);
        format!("{count} events ran out of the hub's retention before they were read.")
    })
}

fn anew(policy: LostPolicy, state: &PartitionState) -> Place {
    match policy {
        LostPolicy::Now => end(state),
        LostPolicy::Earliest | LostPolicy::Stop => Place::Beginning,
    }
}

/// The notice of a beginning anew.
///
/// # Errors
/// `position-lost` where the policy does not want one.
fn begin_anew(reason: &str, policy: LostPolicy) -> Result<Notice> {
    let how = match policy {
        LostPolicy::Stop => return Err(Error::new(ErrorCode::PositionLost, reason)),
        LostPolicy::Earliest => "Reading goes on with the oldest event there is.",
        LostPolicy::Now => "Reading goes on with what comes from now on.",
    };
    Ok(warning("position-lost", format!("{reason} {how}")))
}

fn warning(code: &str, message: String) -> Notice {
    Notice { severity: Severity::Warning, code: code.to_owned(), message }
}

/// A short text for one log among all that a hub ever has: partitions and numbers begin anew with each, as after a fail-over.
///
/// It is made of what the Event Hub itself says, so it is the same by whatever way the log was found. Of one that does not
/// say when it was made, and of no earlier cursor, the name alone tells.
fn log_id(name: &str, created: i64) -> String {
    let bytes: [u8; 6] = digest([name, created.to_string().as_str()]);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Without its position, which depends on what else the page holds.
fn event(told: Told, message: &Message, log: &str, partition: &str) -> Event {
    Event {
        id: format!("{log}-{partition}-{}", message.sequence_number),
        source: told.source,
        event_type: told.event_type,
        subject: told.subject,
        time: Some(rfc3339(message.enqueued_time_ms)),
        content_type: Some("application/json".to_owned()),
        data: Payload::Json(told.data),
        attributes: Vec::new(),
        partition: partition.to_owned(),
        order_key: told.order_key,
        summary: told.summary,
        position: Vec::new(),
    }
}
