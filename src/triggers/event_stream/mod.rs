//! Triggers on the log of events that a hub keeps: one partition is read on from where the cursor is.
//!
//! What a filter holds back still moves the position: it was looked at. A body that cannot be read is delivered as bytes.
//! A position that is gone (retention, a hub made anew, another number of partitions) is answered by the policy, never by
//! silence or by old events told again.

pub mod decode;
pub mod filter;
pub mod link;
pub mod position;
pub mod told;

use std::time::Duration;

use crate::bindings::exports::workflow::connector::trigger::{
    Event, LostPolicy, Notice, Page, Payload, PollRequest, Start,
};
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::eventhub::{Event as Message, Position as From};
use position::{Identity, Place, Position};

/// Events of one page at the most.
const MOST_EVENTS: usize = 4_096;
/// Bytes of data in one page at the most, whatever the budget: an instance is to stay within 8 MiB.
const MOST_BYTES: u64 = 1024 * 1024;
/// Messages asked for at a time.
const PIECE: usize = 512;
/// How long to wait for what is known to be there: a link that was just attached needs a moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// No more is asked for with less time than this left.
const TIME_FOR_A_PIECE: Duration = Duration::from_millis(500);

/// What is known of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// When the log was made, milliseconds since the Unix epoch; 0 where that is not known.
    pub created: i64,
    /// How many partitions it has.
    pub partitions: u16,
    /// The number of the oldest event there is.
    pub first: i64,
    /// The number of the newest event there is or was.
    pub last: i64,
    /// The newest event's offset.
    pub last_offset: String,
    /// Whether there is no event now.
    pub empty: bool,
}

/// One partition of a log.
pub trait Log {
    /// What is known of it now.
    ///
    /// # Errors
    /// Those of the service.
    fn state(&mut self) -> Result<LogState>;

    /// The next messages, in order: up to `most`, waiting up to `wait` for the first one.
    ///
    /// # Errors
    /// Those of the service; `position-lost` where it knows no such place.
    fn receive(&mut self, from: &From, most: usize, wait: Duration) -> Result<Vec<Message>>;

    /// Takes the last messages back, which come after this place: the next poll begins with them.
    fn give_back(&mut self, messages: Vec<Message>, after: &Place);

    /// How much time the call has left.
    fn remaining(&self) -> Duration;
}

/// What a trigger makes of messages.
pub trait Telling {
    /// A hash of what is read, and where.
    fn scope(&self) -> [u8; 8];
    /// The event for a message; none where it is not to be told.
    fn tell(&self, message: &Message, partition: &str) -> Option<Told>;
}

/// An event, but for what all of them have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// CloudEvents `id`.
    pub id: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `type`.
    pub event_type: String,
    /// CloudEvents `subject`.
    pub subject: Option<String>,
    /// CloudEvents `data`, a JSON text.
    pub data: String,
    /// Events with the same key keep their order.
    pub order_key: String,
    /// One line for a person.
    pub summary: String,
}

/// One poll of a partition.
///
/// # Errors
/// As the interface's `poll`.
pub fn poll(log: &mut dyn Log, telling: &dyn Telling, request: &PollRequest) -> Result<Page> {
    let state = log.state()?;
    let identity = Identity { scope: telling.scope(), created: state.created, partitions: state.partitions };
    let mut notices = Vec::new();
    let (mut from, mut place) = match &request.cursor {
        None => begin(&request.start, &state)?,
        Some(cursor) => {
            let position = Position::read(cursor)?;
            match lost(&position, identity, &state) {
                None => (from(&position.place), position.place),
                Some(reason) => begin_anew(&reason, request.on_position_lost, &state, &mut notices)?,
            }
        }
    };
    let most = (request.budget.events as usize).min(MOST_EVENTS);
    let most_bytes = request.budget.bytes.min(MOST_BYTES);
    let mut wait = Duration::from_millis(request.budget.wait_ms);
    if due(&place, &state) {
        wait = wait.max(PATIENCE);
    }
    let mut events: Vec<Event> = Vec::new();
    let mut bytes = 0_u64;
    let mut more = false;
    'pieces: loop {
        // No more than there is room for: what is read and not told has to be read again.
        let piece = PIECE.min(most - events.len());
        let piece = match log.receive(&from, piece, wait.min(log.remaining().saturating_sub(TIME_FOR_A_PIECE))) {
            // What was found until now is not lost; the next poll meets the error again if it lasts.
            Err(error) if !events.is_empty() && error.code() != ErrorCode::Internal => {
                let message = format!("Reading stopped early: {}", error.record().message);
                notices.push(Notice { severity: Severity::Warning, code: "read-interrupted".to_owned(), message });
                more = true;
                break;
            }
            piece => piece?,
        };
        wait = Duration::ZERO;
        if piece.is_empty() {
            break;
        }
        let mut messages = piece.into_iter();
        while let Some(message) = messages.next() {
            let after = Place::After { sequence: message.sequence_number, offset: message.offset.clone() };
            if let Some(told) = telling.tell(&message, &request.partition) {
                let position = Position { identity, place: after.clone() }.write();
                let event = event(told, &message, &request.partition, position);
                let size = match &event.data {
                    Payload::Json(text) | Payload::Text(text) => text.len() as u64,
                    Payload::Bytes(raw) => raw.len() as u64,
                };
                if events.len() >= most || (!events.is_empty() && bytes + size > most_bytes) {
                    more = true;
                    log.give_back(std::iter::once(message).chain(messages).collect(), &place);
                    break 'pieces;
                }
                bytes += size;
                events.push(event);
            }
            place = after;
        }
        from = self::from(&place);
        if events.len() >= most || log.remaining() < TIME_FOR_A_PIECE {
            more = true;
            break;
        }
    }
    let lag = match &place {
        Place::After { sequence, .. } => state.last.saturating_sub(*sequence),
        Place::Beginning => 0,
    };
    Ok(Page {
        events,
        next: Position { identity, place }.cursor(),
        more,
        wait_hint_ms: 0,
        lag: u64::try_from(lag).ok(),
        notices,
    })
}

/// Whether the partition is known to hold something after a place.
fn due(place: &Place, state: &LogState) -> bool {
    match place {
        Place::Beginning => !state.empty,
        Place::After { sequence, .. } => state.last > *sequence,
    }
}

fn from(place: &Place) -> From {
    match place {
        Place::Beginning => From::Earliest,
        Place::After { offset, .. } => From::Offset { offset: offset.clone(), inclusive: false },
    }
}

/// The end of the log, as a place: what comes from now on.
fn end(state: &LogState) -> Place {
    if state.last < 0 || state.last_offset.is_empty() || state.last_offset == "-1" {
        Place::Beginning
    } else {
        Place::After { sequence: state.last, offset: state.last_offset.clone() }
    }
}

fn begin(start: &Start, state: &LogState) -> Result<(From, Place)> {
    // Until the first event a reader is where the log began; a later poll goes on from the end that was seen now.
    Ok(match start {
        Start::Now => {
            let place = end(state);
            (from(&place), place)
        }
        Start::Earliest => (From::Earliest, Place::Beginning),
        Start::AtTime(time) => {
            let instant = instant(time)
                .ok_or_else(|| Error::field("/start/at-time", "not-a-time", "is not a time as in RFC 3339, in UTC"))?;
            (From::EnqueuedTime { ms: instant, inclusive: true }, Place::Beginning)
        }
        Start::AtPosition(position) => match position.parse::<i64>() {
            Ok(sequence) => (From::SequenceNumber { number: sequence, inclusive: false }, Place::Beginning),
            Err(_) => return Err(Error::field("/start/at-position", "not-a-position", "is not a sequence number")),
        },
    })
}

/// Why a position is no more, where it is so.
fn lost(position: &Position, identity: Identity, state: &LogState) -> Option<String> {
    let was = position.identity;
    if was.scope != identity.scope {
        return Some("The cursor belongs to another hub or to another trigger.".to_owned());
    }
    if was.created != identity.created && was.created != 0 && identity.created != 0 {
        return Some("The hub's event log was made anew: its events have other numbers now.".to_owned());
    }
    if was.partitions != identity.partitions {
        return Some(format!("The hub has {} partitions now and had {}.", identity.partitions, was.partitions));
    }
    match &position.place {
        Place::After { sequence, .. } if *sequence > state.last => Some(format!(
            "The log ends at {} and the cursor is at {sequence}: the hub's event log was made anew.",
            state.last
        )),
        Place::After { sequence, .. } if sequence.saturating_add(1) < state.first => {
            let count = state.first.saturating_sub(sequence.saturating_add(1));
            Some(format!("{count} events ran out of the hub's retention before they were read."))
        }
        _ => None,
    }
}

fn begin_anew(reason: &str, policy: LostPolicy, state: &LogState, notices: &mut Vec<Notice>) -> Result<(From, Place)> {
    let (beginning, how) = match policy {
        LostPolicy::Stop => return Err(Error::new(ErrorCode::PositionLost, reason)),
        LostPolicy::Earliest => ((From::Earliest, Place::Beginning), "Reading goes on with the oldest event there is."),
        LostPolicy::Now => {
            let place = end(state);
            ((from(&place), place), "Reading goes on with what comes from now on.")
        }
    };
    notices.push(Notice {
        severity: Severity::Warning,
        code: "position-lost".to_owned(),
        message: format!("{reason} {how}"),
    });
    Ok(beginning)
}

fn event(told: Told, message: &Message, partition: &str, position: Vec<u8>) -> Event {
    Event {
        id: told.id,
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
        position,
    }
}

/// Milliseconds since the Unix epoch as RFC 3339.
pub fn rfc3339(milliseconds: i64) -> String {
    let (days, in_day) = (milliseconds.div_euclid(86_400_000), milliseconds.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (seconds, fraction) = (in_day / 1_000, in_day % 1_000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{fraction:03}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// RFC 3339 in UTC as milliseconds since the Unix epoch.
pub fn instant(text: &str) -> Option<i64> {
    let utc = text.trim().strip_suffix(['Z', 'z']).or_else(|| text.trim().strip_suffix("+00:00"))?;
    let (whole, fraction) = utc.split_once('.').unwrap_or((utc, "0"));
    let (date, clock) = whole.split_once(['T', 't', ' '])?;
    let number = |text: &str, digits: usize| {
        (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<i64>().ok()).flatten()
    };
    let mut date = date.split('-');
    let (year, month, day) = (number(date.next()?, 4)?, number(date.next()?, 2)?, number(date.next()?, 2)?);
    let mut clock = clock.split(':');
    let (hour, minute, second) = (number(clock.next()?, 2)?, number(clock.next()?, 2)?, number(clock.next()?, 2)?);
    let fine = date.next().is_none()
        && clock.next().is_none()
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    let fraction_fine = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    let thousandths: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok().filter(|_| fraction_fine)?;
    fine.then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + thousandths)
}

/// Days since the Unix epoch to a date of the proleptic Gregorian calendar (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::exports::workflow::connector::trigger::Budget;
    use crate::bindings::workflow::connector::types::{Connection, Cursor};

    struct Memory {
        messages: Vec<Message>,
        state: LogState,
        fail_after: Option<usize>,
        handed: usize,
    }

    impl Memory {
        fn new(range: std::ops::Range<i64>) -> Self {
            let messages: Vec<Message> = range
                .clone()
                .map(|sequence| Message {
                    sequence_number: sequence,
                    offset: (sequence * 10).to_string(),
                    enqueued_time_ms: sequence * 1_000,
                    ..Message::default()
                })
                .collect();
            let last_offset = messages.last().map(|message| message.offset.clone()).unwrap_or_default();
            let state = LogState {
                created: 5,
                partitions: 4,
                first: range.start,
                last: range.end - 1,
                last_offset,
                empty: range.is_empty(),
            };
            Self { messages, state, fail_after: None, handed: 0 }
        }
    }

    impl Log for Memory {
        fn state(&mut self) -> Result<LogState> {
            Ok(self.state.clone())
        }
        fn receive(&mut self, from: &From, most: usize, _wait: Duration) -> Result<Vec<Message>> {
            if self.fail_after.is_some_and(|after| self.handed >= after) {
                return Err(Error::new(ErrorCode::Unavailable, "gone"));
            }
            let after = |message: &&Message| match from {
                From::Earliest => true,
                From::Latest => false,
                From::EnqueuedTime { ms, .. } => message.enqueued_time_ms >= *ms,
                From::Offset { offset, .. } => message.offset.parse::<i64>().ok() > offset.parse().ok(),
                From::SequenceNumber { number, .. } => message.sequence_number > *number,
            };
            let piece: Vec<Message> = self.messages.iter().filter(after).take(most.min(7)).cloned().collect();
            self.handed += piece.len();
            Ok(piece)
        }
        fn give_back(&mut self, messages: Vec<Message>, _after: &Place) {
            self.handed -= messages.len();
        }
        fn remaining(&self) -> Duration {
            Duration::from_secs(10)
        }
    }

    struct Every(i64);

    impl Telling for Every {
        fn scope(&self) -> [u8; 8] {
            [1; 8]
        }
        fn tell(&self, message: &Message, _partition: &str) -> Option<Told> {
            (message.sequence_number % self.0 == 0).then(|| Told {
                id: message.sequence_number.to_string(),
                source: "memory".into(),
                event_type: "test".into(),
                subject: None,
                data: message.sequence_number.to_string(),
                order_key: "k".into(),
                summary: String::new(),
            })
        }
    }

    fn request(start: Start, events: u32, cursor: Option<Cursor>) -> PollRequest {
        PollRequest {
            connection: Connection { auth_profile: String::new(), values: String::new() },
            trigger: "t".into(),
            partition: "0".into(),
            config: "{}".into(),
            start,
            on_position_lost: LostPolicy::Stop,
            cursor,
            budget: Budget { events, bytes: 1 << 20, wait_ms: 0, deadline_ms: 1_000 },
        }
    }

    fn ids(page: &Page) -> Vec<i64> {
        page.events.iter().map(|event| event.id.parse().expect("a number")).collect()
    }

    #[test]
    fn reads_all_in_order_whatever_the_budget_and_commits_event_by_event() {
        let mut log = Memory::new(0..50);
        for events in [1, 3, 100] {
            let mut cursor = None;
            let mut seen = Vec::new();
            loop {
                let page =
                    poll(&mut log, &Every(1), &request(Start::Earliest, events, cursor.clone())).expect("a page");
                seen.extend(ids(&page));
                cursor = Some(match page.events.last() {
                    Some(event) => Cursor { snapshot: Vec::new(), position: event.position.clone() },
                    None => page.next,
                });
                if !page.more {
                    break;
                }
            }
            assert_eq!(seen, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_held_back_moves_the_cursor_on() {
        let mut log = Memory::new(0..50);
        let page = poll(&mut log, &Every(100), &request(Start::Earliest, 10, None)).expect("a page");
        assert_eq!((ids(&page), page.more), (vec![0], false));
        let place = Position::read(&page.next).expect("a position").place;
        assert_eq!(place, Place::After { sequence: 49, offset: "490".into() });
    }

    #[test]
    fn start_modes() {
        let mut log = Memory::new(0..10);
        let mut first = |start| poll(&mut log, &Every(1), &request(start, 100, None)).map(|page| ids(&page));
        assert_eq!(first(Start::Now), Ok(vec![]));
        assert_eq!(first(Start::AtTime("1970-01-01T00:00:08Z".into())), Ok(vec![8, 9]));
        assert_eq!(first(Start::AtPosition("6".into())), Ok(vec![7, 8, 9]));
        assert!(first(Start::AtPosition("x".into())).is_err());
        assert!(first(Start::AtTime("yesterday".into())).is_err());
    }

    #[test]
    fn starting_now_in_an_empty_log_misses_nothing_that_comes() {
        let page = poll(&mut Memory::new(0..0), &Every(1), &request(Start::Now, 100, None)).expect("a page");
        let mut later = Memory::new(0..5);
        let page = poll(&mut later, &Every(1), &request(Start::Now, 100, Some(page.next))).expect("a page");
        assert_eq!(ids(&page), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_lost_position_is_answered_by_the_policy() {
        let mut log = Memory::new(0..10);
        let cursor = poll(&mut log, &Every(1), &request(Start::Earliest, 3, None)).expect("a page").next;
        let expired = || Memory::new(7..10);
        let mut anew = Memory::new(0..10);
        anew.state.created = 6;
        let mut repartitioned = Memory::new(0..10);
        repartitioned.state.partitions = 8;
        let shorter = Memory::new(0..1);
        for mut log in [expired(), anew, repartitioned, shorter] {
            let error = poll(&mut log, &Every(1), &request(Start::Now, 100, Some(cursor.clone()))).expect_err("stop");
            assert_eq!(error.code(), ErrorCode::PositionLost);
        }
        for (policy, expected) in [(LostPolicy::Earliest, vec![7, 8, 9]), (LostPolicy::Now, vec![])] {
            let mut request = request(Start::Now, 100, Some(cursor.clone()));
            request.on_position_lost = policy;
            let page = poll(&mut expired(), &Every(1), &request).expect("a page");
            assert_eq!((ids(&page), page.notices.len()), (expected, 1));
        }
    }

    #[test]
    fn an_error_in_the_middle_keeps_what_was_read() {
        let mut log = Memory::new(0..50);
        log.fail_after = Some(14);
        let page = poll(&mut log, &Every(1), &request(Start::Earliest, 100, None)).expect("a page");
        assert_eq!((page.events.len(), page.more, page.notices.len()), (14, true, 1));
        assert_eq!(
            poll(&mut log, &Every(1), &request(Start::Earliest, 100, None)).expect_err("nothing read").code(),
            ErrorCode::Unavailable
        );
    }

    #[test]
    fn times() {
        for (text, milliseconds) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2026-05-04T07:30:00.250Z", 1_777_879_800_250),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(rfc3339(milliseconds), text);
            assert_eq!(instant(text), Some(milliseconds));
        }
        for text in [
            "",
            "2026-05-04",
            "2026-13-04T00:00:00Z",
            "2026-05-04T24:00:00Z",
            "2026-05-04T00:00:00",
            "2026-05-04T00:00:00.Z",
            "2026-05-04T00:00:00+02:00",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
