//! One poll: from a cursor, in rounds over the partitions, to a page.
//!
//! A round takes from each partition in turn a share of the events that it is known to hold, so that a busy partition
//! does not delay the others, and the same poll of the same log gives the same page. The position states which
//! partition comes next, so even pages of one event are fair. A poll waits for new events only after it has read all
//! known ones.

use std::time::Duration;

use super::position::{self, Identity, Place, Position};
use super::{EventMapper, Log, LogState, PartitionState};
use crate::bindings::exports::workflow::connector::trigger::{LostPolicy, Notice, Page, PollRequest, Start};
use crate::error::{Error, ErrorCode, Result};
use crate::eventhub::{Event as Message, StartPosition};
use crate::instant::parse_ms;
use crate::triggers::shared::hash::{digest, hex};
use crate::triggers::shared::lost;
use crate::triggers::shared::page::{PageBuilder, PageLimits};

/// An instance must stay within 8 MiB of memory, so a page has these limits even if the budget allows more.
const MOST_OF_PAGE: PageLimits = PageLimits { events: 4_096, bytes: 1024 * 1024 };
/// The largest number of messages that one poll reads. With a filter that holds nearly all messages back, more would
/// use up the host's budget of computing time, and the poll would end without a cursor. The next poll continues after
/// these messages.
const MOST_LOOKED_AT: usize = 20_000;
/// The largest size of the messages that one poll reads, in bytes, for the same reason: a filter parses the whole of a
/// JSON body.
const MOST_BYTES_LOOKED_AT: usize = 16 * 1024 * 1024;
/// Four bytes of a message's memory count as one byte of its body, because they take that much less computing time.
const MEMORY_PER_BYTE: usize = 4;
/// The largest number of messages that are asked for at once.
const RECEIVE_BATCH: usize = 512;
/// How long to wait for events that a partition is known to hold: a link that was just attached needs a moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a poll that has an event still waits for more. The wait is short, so that the event is not delayed for
/// events that may never come.
const LULL: Duration = Duration::from_millis(100);
/// The shortest wait of a poll. Messages that arrived on an open connection since the last poll are only read during a
/// wait, so a poll with no waiting time needs this moment as well.
const GLANCE: Duration = Duration::from_millis(20);
/// A poll with less time left than this asks for no more messages.
const TIME_FOR_A_BATCH: Duration = Duration::from_millis(500);

/// A poll under way.
pub struct Reading<'a> {
    log: &'a mut dyn Log,
    mapper: &'a dyn EventMapper,
    source: String,
    request: &'a PollRequest,
    identity: Identity,
    /// The beginning of all events' ids.
    log_id: String,
    places: Vec<Place>,
    /// The index of the partition that is read next.
    turn: usize,
    /// For each partition, whether its last read returned nothing although it is known to hold events.
    silent: Vec<bool>,
    page: PageBuilder,
    looked_at: LookedAt,
}

/// Counts what a poll has read, whether or not it became events.
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

/// Why a round ended.
#[derive(PartialEq, Eq)]
enum Round {
    /// All partitions were read, and at least one had messages.
    Fruitful,
    /// All partitions were read, and none had messages.
    Fruitless,
    /// The page is full, the time is used up, or the poll has read enough.
    Full,
}

impl<'a> Reading<'a> {
    /// Finds the places to continue from: those of the cursor or of the start. Where the cursor's are gone, the policy
    /// decides.
    ///
    /// # Errors
    /// `invalid-input` for the start or the cursor; `position-lost` where the policy is to stop.
    pub fn open(log: &'a mut dyn Log, mapper: &'a dyn EventMapper, request: &'a PollRequest) -> Result<Self> {
        let state = log.state();
        let scope = mapper.scope(&request.partition);
        let partitions = u16::try_from(state.ids.len()).unwrap_or(u16::MAX);
        let mut identity = Identity { scope, created: state.created, partitions };
        let mut notices = log.notices();
        let (places, turn) = match &request.cursor {
            None => (begin(&request.start, state)?, 0),
            Some(cursor) => {
                let mut position = Position::read(cursor)?;
                for partition in [request.partition.as_str(), ""] {
                    if mapper.scopes_by_other_names(partition).contains(&position.identity.scope) {
                        position.identity.scope = mapper.scope(partition);
                    }
                }
                let position = part_of(position, &identity, mapper, &request.partition, state);
                // Where the service does not state when the log was created, the log counts as the cursor's log.
                if state.created == 0 && lost_log(&position.identity, &identity).is_none() {
                    identity.created = position.identity.created;
                }
                go_on(position, &identity, request.on_position_lost, state, &mut notices)?
            }
        };
        let silent = vec![false; places.len()];
        let page = PageBuilder::new(&request.budget, MOST_OF_PAGE, notices);
        let log_id = log_id(&state.name, identity.created);
        Ok(Self {
            log,
            mapper,
            source: mapper.source(),
            request,
            identity,
            log_id,
            places,
            turn,
            silent,
            page,
            looked_at: LookedAt::default(),
        })
    }

    /// Reads until the page is full, the time is used up, the poll has read enough, or there are no more messages.
    ///
    /// # Errors
    /// Those of the service, where no message was read before the error.
    pub fn run(mut self) -> Result<Page> {
        let read = self.read();
        let interrupted = read.is_err();
        if let Err(error) = read {
            // Messages that were held back also count as progress, so that the position after them is kept.
            self.page.interrupt(error, self.looked_at.messages > 0, "read-interrupted", "Reading")?;
        }
        let states = &self.log.state().read;
        let waiting = self.places.iter().zip(states).map(|(place, state)| due(place, state));
        let reachable = waiting.clone().zip(&self.silent).any(|(due, silent)| due > 0 && !silent);
        let more = interrupted || reachable || self.looked_at.is_enough();
        let lag = waiting.fold(0, u64::saturating_add);
        let next = Position { identity: self.identity, places: self.places, turn: self.turn }.cursor();
        Ok(Page { lag: Some(lag), ..self.page.finish(next, more) })
    }

    fn read(&mut self) -> Result<()> {
        let wait = Duration::from_millis(self.request.budget.wait_ms).max(GLANCE);
        let mut waiting_ends = self.log.remaining().saturating_sub(wait);
        self.log.begin(&self.from())?;
        let mut round = self.round()?;
        let mut empty = true;
        loop {
            if empty && !self.page.is_empty() {
                empty = false;
                waiting_ends = waiting_ends.max(self.log.remaining().saturating_sub(LULL));
            }
            let left = self.log.remaining().saturating_sub(waiting_ends);
            match round {
                Round::Full => return Ok(()),
                // New messages may come without end, so a poll stops when its waiting time is over and it has read all
                // known events.
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

    /// Reads a share of each partition, in turn.
    fn round(&mut self) -> Result<Round> {
        let count = self.places.len();
        let known: Vec<u64> = self.due().collect();
        let sharers = known.iter().filter(|due| **due > 0).count().max(1);
        let share = self.page.room().div_ceil(sharers).clamp(1, RECEIVE_BATCH);
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
                    let from = self.places.get(index).map_or(StartPosition::Earliest, from);
                    self.log.give_back(index, rest, from);
                    return Ok(Round::Full);
                }
            }
            if self.page.room() == 0 || self.looked_at.is_enough() || self.log.remaining() < TIME_FOR_A_BATCH {
                return Ok(Round::Full);
            }
        }
        Ok(round)
    }

    /// Receives from a partition. Where the service does not know the cursor's place, the policy decides here as well.
    fn receive(&mut self, index: usize, most: usize, wait: Duration) -> Result<Vec<Message>> {
        let from = self.places.get(index).map_or(StartPosition::Earliest, from);
        match self.log.receive(index, &from, most, wait) {
            Err(error) if error.code() == ErrorCode::PositionLost && self.request.cursor.is_some() => {
                let policy = self.request.on_position_lost;
                let state = self.log.state();
                let again = state.read.get(index).map(|state| restart(policy, state)).unwrap_or(Place::Beginning);
                let reason = error.record().message.clone();
                self.page.notice(begin_again(&reason, policy).map_err(|_| error)?);
                let from = self::from(&again);
                if let Some(place) = self.places.get_mut(index) {
                    *place = again;
                }
                self.log.receive(index, &from, most, wait)
            }
            received => received,
        }
    }

    /// Adds a message to the page. False where the page has no room for it.
    fn take(&mut self, index: usize, message: &Message) -> bool {
        let state = self.log.state();
        let partition = state.read.get(index).map(|state| state.id.as_str()).unwrap_or_default();
        let event = self.mapper.draft(message).map(|draft| {
            let mut number = itoa::Buffer::new();
            let id = [self.log_id.as_str(), "-", partition, "-", number.format(message.sequence_number)].concat();
            draft.into_event(id, self.source.clone(), partition)
        });
        if event.as_ref().is_some_and(|event| !self.page.has_room_for(event)) {
            return false;
        }
        self.looked_at.messages += 1;
        let work = message.size.max(message.memory / MEMORY_PER_BYTE);
        self.looked_at.bytes = self.looked_at.bytes.saturating_add(work);
        match self.places.get_mut(index) {
            // The text's memory is used again.
            Some(Place::After { sequence, offset }) => {
                *sequence = message.sequence_number;
                offset.clone_from(&message.offset);
            }
            Some(place) => {
                *place = Place::After { sequence: message.sequence_number, offset: message.offset.clone() };
            }
            None => {}
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

    /// How many unread events each partition is known to hold. 0 for a partition whose last read returned nothing.
    fn due(&self) -> impl Iterator<Item = u64> {
        let states = self.places.iter().zip(&self.log.state().read).zip(&self.silent);
        states.map(|((place, state), silent)| if *silent { 0 } else { due(place, state) })
    }

    fn from(&self) -> Vec<StartPosition> {
        self.places.iter().map(from).collect()
    }

    fn at_most(&self, wait: Duration) -> Duration {
        wait.min(self.log.remaining().saturating_sub(TIME_FOR_A_BATCH))
    }
}

/// How many events a partition is known to hold after a place. For a time, 1 if there is any event.
fn due(place: &Place, state: &PartitionState) -> u64 {
    let count = match place {
        _ if state.empty => 0,
        Place::Beginning => state.last.saturating_sub(state.first).saturating_add(1),
        Place::Since(ms) => i64::from(state.last_time_ms >= *ms),
        Place::AfterNumber(sequence) | Place::After { sequence, .. } => state.last.saturating_sub(*sequence),
    };
    u64::try_from(count).unwrap_or(0)
}

fn from(place: &Place) -> StartPosition {
    match place {
        Place::Beginning => StartPosition::Earliest,
        Place::Since(ms) => StartPosition::EnqueuedTime { ms: *ms, inclusive: true },
        Place::AfterNumber(number) => StartPosition::SequenceNumber { number: *number, inclusive: false },
        Place::After { offset, .. } => StartPosition::Offset { offset: offset.clone(), inclusive: false },
    }
}

/// The place at the end of a partition: only new events come after it.
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
            let not = || Error::field("/start/at-time", "not-a-time", "must be a time as in RFC 3339");
            Place::Since(ms.ok_or_else(not)?)
        }
        Start::AtPosition(_) if state.read.len() > 1 => {
            let message = "must be used with a single partition: poll each partition separately to begin at a position";
            return Err(Error::field("/start/at-position", "not-a-position", message));
        }
        Start::AtPosition(position) => {
            let not = |_| Error::field("/start/at-position", "not-a-position", "must be a sequence number");
            Place::AfterNumber(position.parse().map_err(not)?)
        }
    };
    Ok(vec![place; state.read.len()])
}

/// Where a cursor of all partitions is used to poll one partition, the place of that partition. Any other cursor is
/// returned unchanged.
fn part_of(
    position: Position,
    identity: &Identity,
    mapper: &dyn EventMapper,
    partition: &str,
    state: &LogState,
) -> Position {
    if position.identity.scope == identity.scope || position.identity.scope != mapper.scope("") {
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

/// The places of a cursor. A place that is gone is replaced as the policy says; the other places stay.
fn go_on(
    position: Position,
    identity: &Identity,
    policy: LostPolicy,
    state: &LogState,
    notices: &mut Vec<Notice>,
) -> Result<(Vec<Place>, usize)> {
    if let Some(reason) = lost_log(&position.identity, identity) {
        notices.push(begin_again(&reason, policy)?);
        return Ok((state.read.iter().map(|state| restart(policy, state)).collect(), 0));
    }
    if position.places.len() != state.read.len() {
        return Err(position::broken());
    }
    let mut places = position.places;
    for (place, partition) in places.iter_mut().zip(&state.read) {
        if let Some(reason) = lost_place(place, partition) {
            let of = if state.read.len() > 1 { format!("Partition {}: ", partition.id) } else { String::new() };
            notices.push(begin_again(&format!("{of}{reason}"), policy)?);
            *place = restart(policy, partition);
        }
    }
    Ok((places, position.turn))
}

/// Why the log is not the cursor's log any more. None where it still is.
fn lost_log(was: &Identity, identity: &Identity) -> Option<String> {
    if was.scope != identity.scope {
        return Some("The cursor belongs to another hub, another trigger or another partition.".to_owned());
    }
    if was.created != identity.created && was.created != 0 && identity.created != 0 {
        return Some("The hub has a new event log, and the cursor belongs to the old one.".to_owned());
    }
    (was.partitions != identity.partitions).then(|| {
        format!("The hub has {} partitions; the cursor is of a log with {}.", identity.partitions, was.partitions)
    })
}

/// Why a place in a partition is gone. None where it is still there.
fn lost_place(place: &Place, state: &PartitionState) -> Option<String> {
    let (Place::After { sequence, .. } | Place::AfterNumber(sequence)) = place else { return None };
    let next = sequence.saturating_add(1);
    if *sequence > state.last {
        return Some(format!(
            "The log ends at {} and the cursor is at {sequence}: the hub has a new event log.",
            state.last
        ));
    }
    (next < state.first).then(|| {
        let count = state.first.saturating_sub(next);
        format!("{count} events passed the hub's retention before they were read: they are lost.")
    })
}

fn restart(policy: LostPolicy, state: &PartitionState) -> Place {
    match policy {
        LostPolicy::Now => end(state),
        LostPolicy::Earliest | LostPolicy::Stop => Place::Beginning,
    }
}

/// The notice that reading begins again.
///
/// # Errors
/// `position-lost` where the policy is to stop.
fn begin_again(reason: &str, policy: LostPolicy) -> Result<Notice> {
    let (earliest, now) =
        ("Reading continues with the oldest event in the log.", "Reading continues with new events only.");
    lost::begin_again(reason, policy, earliest, now).map(|(_, notice)| notice)
}

/// A short text that distinguishes all logs that a hub ever has. A new log, for example after a fail-over, uses the
/// same partitions and sequence numbers again.
///
/// It depends only on what the Event Hub itself states, so it is the same however the endpoint was found. Where neither
/// the Event Hub nor a cursor states the time of creation, it depends on the name alone.
fn log_id(name: &str, created: i64) -> String {
    let bytes: [u8; 6] = digest([name, created.to_string().as_str()]);
    hex(&bytes)
}
