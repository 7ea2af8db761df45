//! Polls of a log in memory: the order of events, budgets, fairness, and places that are gone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::position::{Place, Position};
use super::{EventMapper, Log, LogState, Message, PartitionState, poll};
use crate::bindings::exports::workflow::connector::trigger::{
    Budget, Event, LostPolicy, Notice, Page, PollRequest, Start,
};
use crate::bindings::workflow::connector::types::{Connection, Cursor};
use crate::error::{Error, ErrorCode, Result};
use crate::eventhub::StartPosition;
use crate::triggers::shared::event::EventDraft;

struct Memory {
    partitions: Vec<Vec<Message>>,
    state: LogState,
    fail_after: Option<usize>,
    handed: usize,
    /// The partition whose first requested place the service does not know.
    unknown: Option<usize>,
    /// Messages of the first partition that arrive during a wait.
    coming: Vec<Message>,
    /// Messages of the first partition arrive without end, with this pause between them.
    steady: Option<Duration>,
    passed: Duration,
}

fn message(sequence: i64) -> Message {
    Message {
        sequence_number: sequence,
        offset: (sequence * 10).to_string(),
        enqueued_time_ms: sequence * 1_000,
        ..Message::default()
    }
}

impl Memory {
    fn new(range: std::ops::Range<i64>) -> Self {
        Self::all([range])
    }

    fn all(ranges: impl IntoIterator<Item = std::ops::Range<i64>>) -> Self {
        let ranges: Vec<_> = ranges.into_iter().collect();
        let partitions: Vec<Vec<Message>> = ranges.iter().map(|range| range.clone().map(message).collect()).collect();
        let read = partitions.iter().zip(&ranges).enumerate().map(|(id, (messages, range))| PartitionState {
            id: id.to_string(),
            first: range.start,
            last: range.end - 1,
            last_offset: messages.last().map(|message| message.offset.clone()).unwrap_or_default(),
            last_time_ms: messages.last().map(|message| message.enqueued_time_ms).unwrap_or_default(),
            empty: range.is_empty(),
        });
        let ids = (0..4).map(|id: usize| id.to_string()).collect();
        let state = LogState { name: "h".into(), created: 5, ids, read: read.collect() };
        Self {
            partitions,
            state,
            fail_after: None,
            handed: 0,
            unknown: None,
            coming: Vec::new(),
            steady: None,
            passed: Duration::ZERO,
        }
    }

    fn after(&self, partition: usize, from: &StartPosition) -> &[Message] {
        let after = |message: &Message| match from {
            StartPosition::Earliest => true,
            StartPosition::Latest => false,
            StartPosition::EnqueuedTime { ms, .. } => message.enqueued_time_ms >= *ms,
            StartPosition::Offset { offset, .. } => message.offset.parse::<i64>().ok() > offset.parse().ok(),
            StartPosition::SequenceNumber { number, .. } => message.sequence_number > *number,
        };
        let messages = &self.partitions[partition];
        &messages[messages.partition_point(|message| !after(message))..]
    }
}

impl Log for Memory {
    fn refresh(&mut self) -> Result<()> {
        Ok(())
    }
    fn state(&self) -> &LogState {
        &self.state
    }
    fn begin(&mut self, from: &[StartPosition]) -> Result<()> {
        assert_eq!(from.len(), self.partitions.len());
        Ok(())
    }
    fn receive(
        &mut self,
        partition: usize,
        from: &StartPosition,
        most: usize,
        _wait: Duration,
    ) -> Result<Vec<Message>> {
        if self.unknown == Some(partition) {
            self.unknown = None;
            return Err(Error::new(ErrorCode::PositionLost, "no such offset"));
        }
        if self.fail_after.is_some_and(|after| self.handed >= after) {
            return Err(Error::new(ErrorCode::Unavailable, "gone"));
        }
        let piece: Vec<_> = self.after(partition, from).iter().take(most.min(7)).cloned().collect();
        self.handed += piece.len();
        Ok(piece)
    }
    fn give_back(&mut self, _: usize, messages: Vec<Message>, _: StartPosition) {
        self.handed -= messages.len();
    }
    fn wait(&mut self, from: &[StartPosition], wait: Duration) -> Result<bool> {
        if let Some(first) = self.partitions.first_mut() {
            first.append(&mut self.coming);
            if let Some(pause) = self.steady {
                self.passed += pause.min(wait);
                first.extend((pause <= wait).then(|| message(first.len() as i64)));
            }
        }
        Ok((0..from.len()).any(|partition| !self.after(partition, &from[partition]).is_empty()))
    }
    fn remaining(&self) -> Duration {
        Duration::from_secs(10) - self.passed
    }
    fn notices(&self) -> Vec<Notice> {
        Vec::new()
    }
}

/// An event mapper that holds back all messages but every n-th.
struct Every(i64);

impl EventMapper for Every {
    fn source(&self) -> String {
        "memory".to_owned()
    }
    fn scope(&self, partition: &str) -> [u8; 8] {
        let mut scope = [1; 8];
        scope[0] = partition.bytes().next().unwrap_or(0);
        scope
    }
    fn scopes_by_other_names(&self, partition: &str) -> Vec<[u8; 8]> {
        let mut scope = self.scope(partition);
        scope[7] = 9;
        vec![scope]
    }
    fn draft(&self, message: &Message) -> Option<EventDraft> {
        (message.sequence_number % self.0 == 0).then(|| EventDraft {
            event_type: "test".into(),
            subject: Some("k".into()),
            time: None,
            data: message.sequence_number.to_string(),
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

fn of_all(start: Start, events: u32, cursor: Option<Cursor>) -> PollRequest {
    PollRequest { partition: String::new(), ..request(start, events, cursor) }
}

fn after(event: &Event) -> Cursor {
    Cursor { snapshot: Vec::new(), position: event.position.clone() }
}

fn number(event: &Event) -> i64 {
    event.id.rsplit_once('-').expect("a number").1.parse().expect("a number")
}

fn ids(page: &Page) -> Vec<i64> {
    page.events.iter().map(number).collect()
}

/// The sequence numbers of events by partition, in the order of delivery.
fn by_partition(events: &[Event]) -> BTreeMap<String, Vec<i64>> {
    let mut found = BTreeMap::<String, Vec<i64>>::new();
    for event in events {
        found.entry(event.partition.clone()).or_default().push(number(event));
    }
    found
}

#[test]
fn reads_all_in_order_whatever_the_budget_and_commits_event_by_event() {
    let mut log = Memory::new(0..50);
    for events in [1, 3, 100] {
        let mut cursor = None;
        let mut seen = Vec::new();
        loop {
            let page = poll(&mut log, &Every(1), &request(Start::Earliest, events, cursor.clone())).expect("a page");
            seen.extend(ids(&page));
            cursor = Some(page.events.last().map_or(page.next, after));
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
    assert_eq!((ids(&page), page.more, page.lag), (vec![0], false, Some(0)));
    let places = Position::read(&page.next).expect("a position").places;
    assert_eq!(places, [Place::After { sequence: 49, offset: "490".into() }]);
}

/// With a filter that holds back nearly all messages, a poll must not use up the host's computing time: the page ends,
/// the position moves forward, and `more` is set.
#[test]
fn a_poll_looks_at_so_much_and_the_next_one_goes_on_behind_it() {
    let small = || Memory::new(0..50_000);
    let large = || {
        let mut log = Memory::new(0..300);
        log.partitions[0].iter_mut().for_each(|message| message.size = 200 * 1024);
        log
    };
    for (mut log, count, most) in [(small(), 50_000, 20_512), (large(), 300, 90)] {
        let (mut cursor, mut seen, mut polls, mut looked_at) = (None, Vec::new(), 0, 0);
        loop {
            let page = poll(&mut log, &Every(count - 1), &request(Start::Earliest, 100, cursor)).expect("a page");
            seen.extend(ids(&page));
            let place = &Position::read(&page.next).expect("a position").places[0];
            let Place::After { sequence, .. } = place else { panic!("{place:?}") };
            assert!(sequence + 1 - looked_at <= most, "{} at once", sequence + 1 - looked_at);
            looked_at = sequence + 1;
            polls += 1;
            if !page.more {
                break;
            }
            cursor = Some(page.next);
        }
        assert_eq!((seen, looked_at), (vec![0, count - 1], count));
        assert!(polls >= 3, "{polls} polls");
    }
}

/// After an error, the position behind the held-back messages is kept. Otherwise every poll would read the same
/// messages again.
#[test]
fn an_error_keeps_the_way_past_what_was_held_back() {
    let mut cursor = poll(&mut Memory::new(0..1), &Every(1), &request(Start::Earliest, 1, None)).expect("a page").next;
    let mut polls = 0;
    while Position::read(&cursor).expect("a position").places != [Place::After { sequence: 49, offset: "490".into() }] {
        let mut log = Memory::new(0..50);
        log.fail_after = Some(7);
        let page = poll(&mut log, &Every(1_000), &request(Start::Earliest, 10, Some(cursor))).expect("a page");
        assert!(page.events.is_empty());
        cursor = page.next;
        polls += 1;
        assert!(polls < 20, "no progress");
    }
    assert_eq!(polls, 7);
}

/// An event that is larger than the whole budget is delivered alone. A poll that refused it would refuse it for ever.
#[test]
fn an_event_larger_than_the_budget_comes_alone() {
    let mut log = Memory::new(10..14);
    let (mut cursor, mut seen) = (None, Vec::new());
    for _ in 0..4 {
        let mut request = request(Start::Earliest, 10, cursor);
        request.budget.bytes = 1;
        let page = poll(&mut log, &Every(1), &request).expect("a page");
        assert_eq!(page.events.len(), 1);
        seen.extend(ids(&page));
        cursor = Some(page.next);
    }
    assert_eq!(seen, [10, 11, 12, 13]);
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
    let mut two = Memory::all([0..10, 0..10]);
    let page = poll(&mut two, &Every(1), &of_all(Start::AtTime("1970-01-01T00:00:08Z".into()), 100, None));
    assert_eq!(ids(&page.expect("a page")), [8, 8, 9, 9]);
    let error = poll(&mut two, &Every(1), &of_all(Start::AtPosition("6".into()), 100, None)).expect_err("of which?");
    assert_eq!(
        (error.code(), error.record().fields[0].pointer.as_str()),
        (ErrorCode::InvalidInput, "/start/at-position")
    );
}

/// Until the first event, the cursor keeps the start. Otherwise older events could be delivered later.
#[test]
fn a_start_holds_until_the_first_event() {
    let mut log = Memory::new(0..10);
    for (start, first) in
        [(Start::AtTime("1970-01-01T00:00:11.5Z".into()), 12), (Start::AtPosition("9".into()), 10), (Start::Now, 10)]
    {
        let page = poll(&mut log, &Every(1), &request(start, 100, None)).expect("a page");
        assert!(page.events.is_empty() && !page.more);
        let page = poll(&mut Memory::new(0..20), &Every(1), &request(Start::Earliest, 1, Some(page.next)));
        assert_eq!(ids(&page.expect("a page")), [first]);
    }
}

#[test]
fn starting_now_in_an_empty_log_misses_nothing_that_comes() {
    let page = poll(&mut Memory::new(0..0), &Every(1), &request(Start::Now, 100, None)).expect("a page");
    let mut later = Memory::new(0..5);
    let page = poll(&mut later, &Every(1), &request(Start::Now, 100, Some(page.next))).expect("a page");
    assert_eq!(ids(&page), [0, 1, 2, 3, 4]);
}

#[test]
fn what_comes_while_it_waits_is_taken_in() {
    for wait_ms in [200, 0] {
        let mut log = Memory::all([0..3, 0..0]);
        log.coming = (3..6).map(message).collect();
        let mut request = of_all(Start::Now, 100, None);
        request.budget.wait_ms = wait_ms;
        assert_eq!(ids(&poll(&mut log, &Every(1), &request).expect("a page")), [3, 4, 5]);
    }
}

#[test]
fn messages_that_keep_coming_do_not_hold_the_first_one_back() {
    let mut log = Memory::new(0..0);
    log.steady = Some(Duration::from_millis(40));
    let mut request = request(Start::Now, 100, None);
    request.budget.wait_ms = 5_000;
    let page = poll(&mut log, &Every(1), &request).expect("a page");
    assert_eq!(ids(&page), [0, 1, 2]);
    assert!(log.passed < Duration::from_millis(200), "{:?}", log.passed);
}

#[test]
fn messages_that_are_held_back_for_ever_do_not_hold_the_poll() {
    for wait_ms in [0, 500] {
        let mut log = Memory::new(0..0);
        log.partitions = vec![vec![message(1), message(2)]];
        log.steady = Some(Duration::from_millis(10));
        let mut request = request(Start::Now, 100, None);
        request.budget.wait_ms = wait_ms;
        let page = poll(&mut log, &Every(1_000), &request).expect("a page");
        assert!(page.events.is_empty());
        assert!(log.passed <= Duration::from_millis(wait_ms + 20), "{:?} of {wait_ms}", log.passed);
    }
}

#[test]
fn a_lost_position_is_answered_by_the_policy() {
    let mut log = Memory::new(0..10);
    let cursor = poll(&mut log, &Every(1), &request(Start::Earliest, 3, None)).expect("a page").next;
    let expired = || Memory::new(7..10);
    let mut made_again = Memory::new(0..10);
    made_again.state.created = 6;
    let mut repartitioned = Memory::new(0..10);
    repartitioned.state.ids.truncate(2);
    let shorter = Memory::new(0..1);
    for mut log in [expired(), made_again, repartitioned, shorter] {
        let error = poll(&mut log, &Every(1), &request(Start::Now, 100, Some(cursor.clone()))).expect_err("stop");
        assert_eq!(error.code(), ErrorCode::PositionLost);
    }
    for (policy, expected) in [(LostPolicy::Earliest, vec![7, 8, 9]), (LostPolicy::Now, vec![])] {
        let mut request = request(Start::Now, 100, Some(cursor.clone()));
        request.on_position_lost = policy;
        let page = poll(&mut expired(), &Every(1), &request).expect("a page");
        assert_eq!((ids(&page), page.notices.len()), (expected, 1));
    }
    let mut other = request(Start::Now, 100, Some(cursor));
    other.partition = "1".into();
    assert_eq!(poll(&mut log, &Every(1), &other).expect_err("another partition's").code(), ErrorCode::PositionLost);
}

/// A new log begins its numbers again. After a fail-over, or after a hub was created again, the same partition and
/// number appear again.
#[test]
fn no_two_events_of_a_hub_ever_have_one_id() {
    let ids_of = |name: &str, created: i64| {
        let mut log = Memory::all([0..3, 0..3]);
        log.state.name = name.into();
        log.state.created = created;
        let page = poll(&mut log, &Every(1), &of_all(Start::Earliest, 100, None)).expect("a page");
        page.events.into_iter().map(|event| event.id).collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for (name, created) in
        [("iothub-ehub-h-1-a", 5), ("iothub-ehub-h-1-b", 5), ("iothub-ehub-h-1-a", 6), ("iothub-ehub-h-1-a", 0)]
    {
        let ids = ids_of(name, created);
        assert_eq!(ids, ids_of(name, created), "the same each time");
        all.extend(ids);
    }
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!((distinct.len(), all.len()), (24, 24));
    assert_eq!(ids_of("h", 5)[0].split('-').map(str::len).collect::<Vec<_>>(), [12, 1, 1]);
}

/// Where the service once does not state when the log was created, the log counts as the cursor's log.
#[test]
fn ids_stay_where_the_creation_is_not_stated_for_once() {
    let first = poll(&mut Memory::new(0..10), &Every(1), &request(Start::Earliest, 4, None)).expect("a page");
    let again = |created: i64, cursor: &Cursor| {
        let mut log = Memory::new(0..10);
        log.state.created = created;
        poll(&mut log, &Every(1), &request(Start::Now, 4, Some(cursor.clone()))).expect("a page")
    };
    let (stated, silent) = (again(5, &first.next), again(0, &first.next));
    assert_eq!(stated.events, silent.events);
    assert_eq!(stated.next, silent.next, "the known time of creation is kept");
    // The same holds for a cursor of all partitions.
    let all = poll(&mut Memory::all([0..10, 0..10, 0..10, 0..10]), &Every(1), &of_all(Start::Earliest, 8, None))
        .expect("a page");
    assert_eq!(again(0, &all.next).events, again(5, &all.next).events);
    // An old cursor without the time of creation continues, and the next cursor states the time.
    let mut log = Memory::new(0..10);
    log.state.created = 0;
    let unknown = poll(&mut log, &Every(1), &request(Start::Earliest, 4, None)).expect("a page").next;
    assert_eq!(again(5, &unknown).events, stated.events);
}

#[test]
fn a_cursor_by_another_name_of_the_hub_goes_on() {
    let all = [0..10, 0..10, 0..10, 0..10];
    let page = poll(&mut Memory::all(all.clone()), &Every(1), &of_all(Start::Earliest, 8, None)).expect("a page");
    let mut by_another = Position::read(&page.next).expect("readable");
    by_another.identity.scope[7] = 9;
    let next = poll(&mut Memory::all(all.clone()), &Every(1), &of_all(Start::Now, 8, Some(by_another.cursor())))
        .expect("a page");
    let expected = poll(&mut Memory::all(all), &Every(1), &of_all(Start::Now, 8, Some(page.next))).expect("a page");
    assert_eq!(next, expected);
    let part =
        poll(&mut Memory::new(0..10), &Every(1), &request(Start::Now, 100, Some(by_another.cursor()))).expect("a page");
    assert_eq!((ids(&part), part.notices.len()), ((2..10).collect(), 0));
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

/// An engine may stop after any event and continue there: it receives every event once, in the order of the partition.
#[test]
fn each_event_of_all_partitions_is_a_place_to_go_on_from() {
    let ranges = [0..40, 0..0, 5..20, 0..3];
    let page = poll(&mut Memory::all(ranges.clone()), &Every(1), &of_all(Start::Earliest, 100, None)).expect("a page");
    let whole = by_partition(&page.events);
    let expected = [("0", (0..40).collect()), ("2", (5..20).collect()), ("3", (0..3).collect::<Vec<_>>())];
    assert_eq!(whole, expected.map(|(id, numbers)| (id.to_owned(), numbers)).into());
    assert!(page.events.iter().all(|event| event.order_key == event.partition));
    for stopped in 0..page.events.len() {
        let cursor = after(&page.events[stopped]);
        let rest = poll(&mut Memory::all(ranges.clone()), &Every(1), &of_all(Start::Now, 100, Some(cursor)));
        let mut events = page.events[..=stopped].to_vec();
        events.extend(rest.expect("a page").events);
        assert_eq!(by_partition(&events), whole, "stopped after {stopped}");
    }
}

/// With any size of pages, and however full one partition is, every partition has its turn within as many pages as
/// there are partitions.
#[test]
fn no_partition_starves_another() {
    for events in [1, 2, 3, 8] {
        let mut log = Memory::all([0..1_000, 0..20, 0..20]);
        let mut cursor = None;
        let mut seen: Vec<Event> = Vec::new();
        while seen.len() < 48 {
            let page = poll(&mut log, &Every(1), &of_all(Start::Earliest, events, cursor)).expect("a page");
            cursor = Some(page.events.last().map_or(page.next, after));
            seen.extend(page.events);
        }
        for (partition, numbers) in by_partition(&seen) {
            assert!(
                (10..=24).contains(&numbers.len()),
                "{} of partition {partition} in pages of {events}",
                numbers.len()
            );
        }
    }
}

#[test]
fn one_lost_partition_leaves_the_others_where_they_are() {
    let cursor = poll(&mut Memory::all([0..10, 0..10, 0..10]), &Every(1), &of_all(Start::Earliest, 9, None));
    let cursor = cursor.expect("a page").next;
    let later = || Memory::all([0..10, 6..10, 0..10]);
    let mut asked = of_all(Start::Now, 100, Some(cursor));
    let error = poll(&mut later(), &Every(1), &asked).expect_err("stop");
    assert_eq!(error.code(), ErrorCode::PositionLost);
    assert!(error.record().message.contains("Partition 1: 3 events"), "{error}");
    for (policy, of_the_lost) in [(LostPolicy::Earliest, Some((6..10).collect::<Vec<_>>())), (LostPolicy::Now, None)] {
        asked.on_position_lost = policy;
        let page = poll(&mut later(), &Every(1), &asked).expect("a page");
        let mut found = by_partition(&page.events);
        assert_eq!((found.remove("1"), page.notices.len()), (of_the_lost, 1));
        assert_eq!(found, [("0".to_owned(), (3..10).collect()), ("2".to_owned(), (3..10).collect())].into());
    }
}

#[test]
fn a_place_that_only_the_service_finds_lost_is_answered_likewise() {
    let ranges = [0..10, 0..10];
    let cursor = poll(&mut Memory::all(ranges.clone()), &Every(1), &of_all(Start::Earliest, 4, None));
    let mut asked = of_all(Start::Now, 100, Some(cursor.expect("a page").next));
    let odd = || Memory { unknown: Some(1), ..Memory::all(ranges.clone()) };
    let interrupted = poll(&mut odd(), &Every(1), &asked).expect("what was read before");
    assert_eq!((interrupted.events.len(), interrupted.notices.len(), interrupted.more), (7, 1, true));
    let next = of_all(Start::Now, 100, Some(interrupted.next));
    assert_eq!(poll(&mut odd(), &Every(1), &next).expect_err("its turn").code(), ErrorCode::PositionLost);
    asked.on_position_lost = LostPolicy::Earliest;
    let page = poll(&mut odd(), &Every(1), &asked).expect("a page");
    let expected = [("0".to_owned(), (2..10).collect()), ("1".to_owned(), (0..10).collect())];
    assert_eq!((by_partition(&page.events), page.notices.len()), (expected.into(), 1));
}

/// An engine that changes from polling all partitions at once to polling each keeps its cursor.
#[test]
fn a_partition_goes_on_from_the_cursor_of_all() {
    let all = [0..10, 0..10, 0..10, 0..10];
    let cursor = poll(&mut Memory::all(all), &Every(1), &of_all(Start::Earliest, 12, None)).expect("a page").next;
    let page = poll(&mut Memory::new(0..10), &Every(1), &request(Start::Now, 100, Some(cursor.clone())));
    let page = page.expect("a page");
    assert_eq!(ids(&page), (3..10).collect::<Vec<_>>());
    // The other way is not possible: a cursor of one partition does not state the places of the others.
    let mut back = of_all(Start::Now, 100, Some(page.next));
    let error = poll(&mut Memory::all([0..10, 0..10, 0..10, 0..10]), &Every(1), &back).expect_err("of one alone");
    assert_eq!(error.code(), ErrorCode::PositionLost);
    // A cursor with more places than the hub has partitions was not written by this connector.
    back.cursor = Some(cursor);
    let error = poll(&mut Memory::new(0..10), &Every(1), &back).expect_err("not a cursor");
    assert_eq!(error.code(), ErrorCode::InvalidInput);
}
