//! Polls of a queue in memory. It locks, counts and unlocks messages as the hub's queue does.

use std::collections::VecDeque;

use serde_json::json;

use super::*;
use crate::bindings::exports::workflow::connector::trigger::{Budget, LostPolicy, Payload};
use crate::bindings::workflow::connector::types::{Connection, Cursor};
use crate::error::ErrorCode;

/// The hub's side of a queue.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Notice>,
    locked: Vec<Notice>,
    accepted: Vec<Notice>,
    held: Vec<Notice>,
    /// After this many notices were given, reading fails.
    fail_after: Option<usize>,
    given: usize,
    /// After this many notices were given, the call's time is up.
    time_for: Option<usize>,
}

fn record(number: u32) -> Value {
    json!({ "deviceId": format!("press-{}", number % 3), "n": number, "enqueuedTimeUtc": format!("1970-01-01T00:00:{number:02}Z") })
}

impl Queue {
    /// A queue with one notice for each of these sizes. A size is the number of records in the notice.
    fn of(sizes: &[u32]) -> Self {
        let mut queue = Self::default();
        let mut next = 0;
        for size in sizes {
            let records: Vec<Value> = (next..next + size).map(record).collect();
            next += size;
            queue.waiting.push_back(Notice::of(Value::from(records).to_string().into_bytes()));
        }
        queue
    }

    /// The link ends: notices that were not accepted come again.
    fn unlock(&mut self) {
        self.held.clear();
        self.locked.drain(..).rev().for_each(|notice| self.waiting.push_front(notice));
    }

    fn left(&self) -> usize {
        self.waiting.len() + self.locked.len()
    }
}

impl Source for Queue {
    fn held(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.held)
    }
    fn next(&mut self, _wait: Duration) -> Result<Option<Notice>> {
        if self.fail_after.is_some_and(|after| self.given >= after) {
            return Err(Error::new(ErrorCode::Unavailable, "gone"));
        }
        self.given += 1;
        let next = self.waiting.pop_front();
        self.locked.extend(next.clone());
        Ok(next)
    }
    fn accept(&mut self, notice: &Notice) {
        self.locked.retain(|locked| locked.body != notice.body);
        self.accepted.push(notice.clone());
    }
    fn hold(&mut self, notice: Notice) {
        self.held.push(notice);
    }
    fn rest(&mut self) -> Vec<Notice> {
        Vec::new()
    }
    fn remaining(&self) -> Duration {
        let over = self.time_for.is_some_and(|most| self.given >= most);
        Duration::from_secs(if over { 0 } else { 10 })
    }
}

fn request(start: Start, events: u32, cursor: Option<Cursor>) -> PollRequest {
    PollRequest {
        connection: Connection { auth_profile: String::new(), values: String::new() },
        trigger: "t".into(),
        partition: WHOLE.into(),
        config: "{}".into(),
        start,
        on_position_lost: LostPolicy::Stop,
        cursor,
        budget: Budget { events, bytes: 1 << 20, wait_ms: 0, deadline_ms: 10_000 },
    }
}

fn draft(record: &Record) -> Option<EventDraft> {
    let subject = record.text("deviceId").map(str::to_owned);
    let data = record.value().to_string();
    Some(EventDraft { event_type: "t".into(), subject, time: None, data, summary: String::new() })
}

fn poll_as(queue: &mut Queue, mapper: &EventMapper, request: &PollRequest) -> Result<Page> {
    let (position, notices) = begin(&[[1; 8], [3; 8]], request)?;
    let reader = Reader { queue: ServiceQueue::Feedback, members: &["deviceId"], mapper };
    let mut poll = Poll::new("source", &reader, request, position, notices);
    poll.run(queue)?;
    Ok(poll.page())
}

fn poll(queue: &mut Queue, events: u32, cursor: Option<Cursor>) -> Page {
    poll_as(queue, &draft, &request(Start::Earliest, events, cursor)).expect("a page")
}

fn numbers(events: &[Event]) -> Vec<u64> {
    let number = |event: &Event| match &event.data {
        Payload::Json(text) => serde_json::from_str::<Value>(text).expect("JSON")["n"].as_u64().expect("a number"),
        other => panic!("{other:?}"),
    };
    events.iter().map(number).collect()
}

#[test]
fn nothing_is_accepted_before_a_cursor_says_so() {
    let mut queue = Queue::of(&[2, 1]);
    let page = poll(&mut queue, 100, None);
    assert_eq!((numbers(&page.events), queue.accepted.len(), page.more), (vec![0, 1, 2], 0, false));

    // The page was lost, so the same events come again with the same ids.
    let again = poll(&mut queue, 100, None);
    assert_eq!(
        again.events.iter().map(|event| &event.id).collect::<Vec<_>>(),
        page.events.iter().map(|event| &event.id).collect::<Vec<_>>()
    );
    assert_eq!((again, queue.accepted.len()), (page.clone(), 0));

    // The page was stored: the instance that holds the notices accepts them.
    let next = poll(&mut queue, 100, Some(page.next));
    assert_eq!((numbers(&next.events), queue.accepted.len(), queue.left()), (vec![], 2, 0));
}

#[test]
fn a_new_instance_recognizes_what_was_delivered_and_accepts_it() {
    let mut queue = Queue::of(&[2, 1]);
    let page = poll(&mut queue, 100, None);
    queue.unlock();
    queue.waiting.push_back(Notice::of(Value::from(vec![record(9)]).to_string().into_bytes()));
    let next = poll(&mut queue, 100, Some(page.next));
    assert_eq!((numbers(&next.events), queue.accepted.len(), queue.left()), (vec![9], 2, 1));
}

#[test]
fn every_record_is_delivered_once_however_it_is_committed() {
    for each_event in [false, true] {
        for events in [1, 3, 100] {
            for instance_lives in [false, true] {
                let mut queue = Queue::of(&[5, 1, 64, 3]);
                let mut cursor: Option<Cursor> = None;
                let mut seen = Vec::new();
                for _ in 0..300 {
                    let page = poll(&mut queue, events, cursor.clone());
                    assert!(page.events.len() <= events as usize);
                    let done = page.events.is_empty() && queue.left() == 0;
                    // An engine that stops after each event continues from that event's position.
                    match page.events.first().filter(|_| each_event) {
                        Some(first) => {
                            seen.extend(numbers(std::slice::from_ref(first)));
                            let snapshot = cursor.map(|cursor| cursor.snapshot).unwrap_or_default();
                            cursor = Some(Cursor { snapshot, position: first.position.clone() });
                        }
                        None => {
                            seen.extend(numbers(&page.events));
                            cursor = Some(page.next);
                        }
                    }
                    if !instance_lives {
                        queue.unlock();
                    }
                    if done {
                        break;
                    }
                }
                let case = format!("{events} events, each by itself: {each_event}, instance lives: {instance_lives}");
                assert_eq!(seen, (0..73).collect::<Vec<_>>(), "{case}");
                assert_eq!((queue.accepted.len(), queue.left()), (4, 0), "{case}");
            }
        }
    }
}

/// By default, the hub delivers a notice at most ten times. A notice that fills many pages is only requested twice.
#[test]
fn a_notice_that_fills_many_pages_is_not_asked_for_with_each() {
    let mut queue = Queue::of(&[64]);
    let mut cursor = None;
    let mut polls = 0;
    while queue.left() > 0 {
        let page = poll(&mut queue, 1, cursor);
        cursor = Some(page.next);
        polls += 1;
        queue.unlock();
        assert!(polls < 200);
    }
    // A request that finds the queue empty is counted as well.
    assert!(queue.given <= 3, "{} times", queue.given);
}

#[test]
fn a_lock_that_ran_out_neither_delivers_twice_nor_accepts_too_early() {
    let mut queue = Queue::of(&[2]);
    let page = poll(&mut queue, 100, None);
    // The same notice comes again while it is held.
    queue.waiting.push_back(queue.locked[0].clone());
    let again = poll(&mut queue, 100, None);
    assert_eq!((numbers(&again.events), queue.accepted.len()), (vec![0, 1], 0));
    let last = poll(&mut queue, 100, Some(page.next));
    assert_eq!((last.events.len(), queue.left()), (0, 0));
}

#[test]
fn what_is_held_back_is_accepted_without_an_event_once_a_cursor_says_so() {
    for instance_lives in [false, true] {
        let mut queue = Queue::of(&[1, 1, 1]);
        let mapper = |record: &Record| draft(record).filter(|draft| draft.subject.as_deref() == Some("press-1"));
        let page = poll_as(&mut queue, &mapper, &request(Start::Earliest, 100, None)).expect("a page");
        assert_eq!((numbers(&page.events), queue.accepted.len(), page.notices.len()), (vec![1], 0, 0));
        if !instance_lives {
            queue.unlock();
        }
        let next = poll_as(&mut queue, &mapper, &request(Start::Earliest, 100, Some(page.next))).expect("a page");
        assert_eq!((next.events.len(), queue.accepted.len(), queue.left()), (0, 3, 0));
    }
}

/// With a filter that holds back nearly all records, pages still end, cursors stay small, and each record is dealt with
/// once.
#[test]
fn a_busy_queue_with_a_selective_filter_is_worked_off() {
    for instance_lives in [false, true] {
        let mut queue = Queue::of(&[64; 40]);
        let mapper =
            |record: &Record| draft(record).filter(|_| record.value()["n"].as_u64().is_some_and(|n| n % 1000 == 7));
        let (mut cursor, mut seen, mut polls) = (None, Vec::new(), 0);
        while queue.left() > 0 {
            let page = poll_as(&mut queue, &mapper, &request(Start::Earliest, 100, cursor)).expect("a page");
            seen.extend(numbers(&page.events));
            assert!(page.next.snapshot.len() + page.next.position.len() < 9_000);
            cursor = Some(page.next);
            if !instance_lives {
                queue.unlock();
            }
            polls += 1;
            assert!(polls < 30);
        }
        assert_eq!((seen, queue.accepted.len()), (vec![7, 1007, 2007], 40), "{instance_lives}");
    }
}

#[test]
fn start_modes() {
    let first = |start| {
        let mut queue = Queue::of(&[20, 20]);
        let page = poll_as(&mut queue, &draft, &request(start, 100, None));
        page.map(|page| (numbers(&page.events), queue.accepted.len()))
    };
    assert_eq!(first(Start::Earliest), Ok(((0..40).collect(), 0)));
    assert_eq!(first(Start::Now), Ok((vec![], 0)), "old records are passed over, and stay until a cursor says so");
    assert_eq!(first(Start::AtTime("1970-01-01T00:00:38Z".into())), Ok((vec![38, 39], 0)));
    assert_eq!(first(Start::AtTime("soon".into())).expect_err("no time").record().fields[0].pointer, "/start/at-time");
    assert!(first(Start::AtPosition("1".into())).is_err());
}

#[test]
fn clearing_goes_on_until_nothing_waits_and_then_everything_is_delivered() {
    let mut queue = Queue::of(&[1; 50]);
    let (mut cursor, mut reported) = (None, Vec::new());
    for polls in 1.. {
        queue.time_for = Some(queue.given + 20);
        let page = poll_as(&mut queue, &draft, &request(Start::Now, 100, cursor)).expect("a page");
        assert_eq!(page.events, []);
        reported.extend(page.notices.into_iter().map(|notice| (notice.code, notice.message)));
        cursor = Some(page.next);
        if !page.more {
            assert_eq!((polls, queue.accepted.len()), (3, 40));
            break;
        }
    }
    let said: Vec<&str> = reported
        .iter()
        .map(|(code, text)| {
            assert_eq!(code, "cleared");
            text.split(" from").next().unwrap_or_default()
        })
        .collect();
    assert_eq!(said, ["20 records", "20 records", "10 records"]);
    queue.time_for = None;
    queue.waiting.push_back(Notice::of(Value::from(vec![record(0), record(60)]).to_string().into_bytes()));
    let page = poll(&mut queue, 100, cursor);
    assert_eq!(
        (numbers(&page.events), queue.accepted.len()),
        (vec![60], 50),
        "the first notice was passed over already"
    );
    let mut later = Queue::of(&[3]);
    let empty = poll_as(&mut Queue::default(), &draft, &request(Start::Now, 100, None)).expect("a page");
    assert_eq!((empty.more, empty.notices.len()), (false, 0));
    assert_eq!(
        numbers(&poll(&mut later, 100, Some(empty.next)).events),
        [0, 1, 2],
        "however old they say that they are"
    );
}

/// In an earlier version, a poll whose cursor was not kept emptied the queue.
#[test]
fn a_poll_that_nobody_commits_leaves_the_queue_as_it_was() {
    let starts = [Start::Now, Start::Earliest, Start::AtTime("1970-01-01T00:00:20Z".into())];
    let filters: [&EventMapper; 2] = [&draft, &|_| None];
    for start in starts {
        for mapper in filters {
            let mut queue = Queue::of(&[20, 20, 5]);
            for _ in 0..3 {
                poll_as(&mut queue, mapper, &request(start.clone(), 100, None)).expect("a page");
                queue.unlock();
            }
            assert_eq!((queue.accepted.len(), queue.left()), (0, 3), "{start:?}");
        }
    }
}

#[test]
fn a_start_that_is_interrupted_says_what_it_has_passed_over_and_removes_nothing() {
    let mut queue = Queue::of(&[20, 20]);
    queue.fail_after = Some(1);
    let page = poll_as(&mut queue, &draft, &request(Start::Now, 100, None)).expect("a page");
    let codes: Vec<&str> = page.notices.iter().map(|notice| notice.code.as_str()).collect();
    assert_eq!((codes, queue.accepted.len(), page.more), (vec!["read-interrupted", "cleared"], 0, true));
    queue.fail_after = None;
    queue.unlock();
    let next = poll_as(&mut queue, &draft, &request(Start::Now, 100, Some(page.next))).expect("a page");
    assert_eq!((next.events.len(), queue.accepted.len(), queue.left()), (0, 1, 1), "the first notice is accepted");
    let last = poll_as(&mut queue, &draft, &request(Start::Now, 100, Some(next.next))).expect("a page");
    assert_eq!((last.events.len(), queue.left()), (0, 0));
}

/// The cursor keeps the time at which the first poll began.
#[test]
fn what_is_from_before_the_start_is_not_delivered_later_either() {
    let start = Start::AtTime("1970-01-01T00:00:30Z".into());
    let page = poll_as(&mut Queue::default(), &draft, &request(start, 100, None)).expect("a page");
    let mut queue = Queue::of(&[40]);
    assert_eq!(numbers(&poll(&mut queue, 100, Some(page.next)).events), (30..40).collect::<Vec<_>>());
}

#[test]
fn a_cursor_of_another_queue_is_answered_by_the_policy() {
    let cursor = Position::new([2; 8], 0).cursor();
    let mut asked = request(Start::Earliest, 100, Some(cursor));
    let error = poll_as(&mut Queue::of(&[1]), &draft, &asked).expect_err("stop");
    assert_eq!(error.code(), ErrorCode::PositionLost);
    for (policy, expected, codes) in
        [(LostPolicy::Earliest, 40, ["position-lost"].as_slice()), (LostPolicy::Now, 0, &["position-lost", "cleared"])]
    {
        asked.on_position_lost = policy;
        let page = poll_as(&mut Queue::of(&[40]), &draft, &asked).expect("a page");
        let said: Vec<&str> = page.notices.iter().map(|notice| notice.code.as_str()).collect();
        assert_eq!((page.events.len(), said.as_slice()), (expected, codes));
        // The next position belongs to the new beginning.
        let position = page.events.first().map_or(page.next.position, |event| event.position.clone());
        assert_eq!(Position::read(&Cursor { snapshot: vec![], position }).expect("readable").scope, [1; 8]);
    }
}

/// Older cursors may hold a scope that was made from another name of the hub.
#[test]
fn a_cursor_by_another_name_of_the_hub_goes_on() {
    let mut queue = Queue::of(&[2]);
    let page = poll(&mut queue, 1, None);
    let mut cursor = Cursor { snapshot: Vec::new(), position: page.events[0].position.clone() };
    cursor.position[1..9].copy_from_slice(&[3; 8]);
    let next = poll(&mut queue, 100, Some(cursor));
    assert_eq!((numbers(&next.events), next.notices.len()), (vec![1], 0));
    assert_eq!(Position::read(&next.next).expect("readable").scope, [1; 8]);
}

#[test]
fn an_error_in_the_middle_keeps_what_was_read() {
    let mut queue = Queue::of(&[2, 2]);
    queue.fail_after = Some(1);
    let page = poll(&mut queue, 100, None);
    assert_eq!((numbers(&page.events), page.more, page.notices.len()), (vec![0, 1], true, 1));
    queue.given = 1;
    let error = poll_as(&mut queue, &draft, &request(Start::Earliest, 100, Some(page.next))).expect_err("nothing read");
    assert_eq!(error.code(), ErrorCode::Unavailable);
}

#[test]
fn a_notice_that_cannot_be_read_is_delivered_as_bytes_and_done() {
    let mut queue = Queue::default();
    queue.waiting.push_back(Notice::of(b"\xff\xfe".to_vec()));
    let nothing = |_: &Record| None;
    let page = poll_as(&mut queue, &nothing, &request(Start::Earliest, 100, None)).expect("a page");
    assert_eq!(page.events.len(), 1, "no filter holds it back");
    assert_eq!((page.events[0].event_type.as_str(), &page.events[0].time), (UNREADABLE, &None));
    let next = poll(&mut queue, 100, Some(page.next));
    assert_eq!((next.events.len(), queue.left()), (0, 0));
}
