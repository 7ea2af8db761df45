//! Tests of the collection engine, with a collection in memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::account::Account;
use crate::bindings::exports::workflow::connector::trigger::{Budget, Payload};
use crate::bindings::workflow::connector::types::{Connection, Cursor};
use crate::platform::fake::FakePlatform;

/// A collection in memory, in pages of `page` records. It rejects continuations where a test asks for that.
struct Memory {
    records: RefCell<BTreeMap<String, u32>>,
    page: usize,
    source: String,
    selection: String,
    forget: RefCell<bool>,
    hidden: RefCell<Vec<String>>,
    most: usize,
    memos: bool,
    /// Whether records state when they were changed, and are read at a glance.
    dated: bool,
    /// Whether a page that a glance was taken at is too large to be read in full.
    too_large: bool,
    /// How many pages were read in full.
    in_full: Cell<u32>,
    /// The records that a look-up reports as having left.
    left: RefCell<Vec<String>>,
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
            most: MOST_RECORDS,
            memos: false,
            dated: false,
            too_large: false,
            in_full: Cell::new(0),
            left: RefCell::default(),
        }
    }

    fn record(key: &str, etag: u32) -> Record {
        let etag = etag.to_string();
        let body = json!({ "etag": etag });
        Record {
            key: key.to_owned(),
            fingerprint: Fingerprint::of(["now", etag.as_str()]),
            earlier: Some(Fingerprint::of([etag.as_str()])),
            dated: None,
            parts: Parts::of(["same", etag.as_str()]),
            memo: Box::default(),
            body,
        }
    }

    /// A record as of a collection whose records are dated: each ETag is a day's.
    fn dated(key: &str, etag: u32) -> Record {
        let text = etag.to_string();
        Record::dated(key.to_owned(), Fingerprint::of([text.as_str()]), &day(etag), json!({ "etag": text }))
    }
}

fn day(number: u32) -> String {
    format!("2026-01-{:02}T00:00:00.1234567Z", number % 100)
}

impl Collection for Memory {
    fn source(&self) -> String {
        self.source.clone()
    }
    fn selection(&self) -> String {
        self.selection.clone()
    }
    fn wants(&self, _happened: &Happened) -> bool {
        true
    }
    fn glance(&self, place: Option<&str>) -> Result<Option<Glanced<'_>>> {
        if !self.dated {
            return Ok(None);
        }
        let Batch { records, next } = self.page(place)?;
        let glance = |record: &Record| Glance {
            key: record.key.clone(),
            fingerprint: record.fingerprint,
            stamp: record.dated.as_ref().map_or(Stamp::NONE, |dated| dated.stamp),
        };
        let glances = Some(records.iter().map(glance).collect());
        let read = move || {
            self.in_full.set(self.in_full.get() + 1);
            match self.too_large {
                true => Err(Error::new(ErrorCode::PayloadTooLarge, "too large")),
                false => Ok(records),
            }
        };
        Ok(Some(Glanced { glances, next, read: Box::new(read) }))
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
            .map(|(key, etag)| {
                if self.dated {
                    return Self::dated(key, *etag);
                }
                let memo = if self.memos { format!("was {etag}").into() } else { Box::default() };
                Record { memo, ..Self::record(key, *etag) }
            })
            .collect();
        let next = (page.len() == self.page).then(|| page.last().map(|last| last.key.clone())).flatten();
        Ok(Batch { records: page, next })
    }
    fn look_up(&self, key: &str) -> Result<Lookup> {
        if self.left.borrow().iter().any(|left| left == key) {
            return Ok(Lookup::Left(json!("its last state")));
        }
        let record = if self.dated { Self::dated } else { Self::record };
        Ok(self.records.borrow().get(key).map_or(Lookup::Gone, |etag| Lookup::Present(record(key, *etag))))
    }
    fn draft(&self, happened: &Happened) -> EventDraft {
        EventDraft {
            event_type: happened.change.as_str().to_owned(),
            subject: Some(happened.key.to_owned()),
            time: Some("0001-01-01T00:00:00Z".to_owned()),
            data: match happened.before.filter(|before| !before.is_empty()) {
                Some(before) => json!({ "body": happened.body, "before": before }).to_string(),
                None => json!({ "body": happened.body, "parts": happened.parts }).to_string(),
            },
            summary: String::new(),
        }
    }
    fn most_records(&self) -> usize {
        self.most
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
    let session = Session::new(&platform, &account, request.budget.deadline_ms, false);
    poll(&session, "memory", Duration::from_secs(1), memory, request)
}

/// Polls until there are no more events.
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
fn starting_now_takes_stock_and_then_delivers_changes_once() {
    let memory = Memory::new(25, 10);
    let (events, cursor) = drain(&memory, &Start::Now, 100, None);
    assert!(events.is_empty(), "the first scan fires no event");
    memory.records.borrow_mut().insert("d0003".into(), 2);
    memory.records.borrow_mut().remove("d0007");
    memory.records.borrow_mut().insert("new".into(), 1);
    let (mut events, cursor) = drain(&memory, &Start::Now, 100, Some(cursor));
    events.sort();
    let expected = [("created", "new"), ("deleted", "d0007"), ("updated", "d0003")];
    assert_eq!(events, expected.map(|(change, key)| (change.to_owned(), key.to_owned())));
    let (events, again) = drain(&memory, &Start::Now, 100, Some(cursor.clone()));
    assert!(events.is_empty(), "nothing is delivered twice");
    assert_eq!(again, cursor, "a poll without a change keeps the cursor");
}

#[test]
fn starting_earliest_delivers_all_once_whatever_the_budget() {
    for events in [1, 3, 7, 1_000] {
        let memory = Memory::new(25, 10);
        let (delivered, _) = drain(&memory, &Start::Earliest, events, None);
        let keys: BTreeSet<&String> = delivered.iter().map(|(_, key)| key).collect();
        assert_eq!((delivered.len(), keys.len()), (25, 25), "with {events} events a page");
    }
}

/// An engine that commits after every event, and crashes after every event, receives each event exactly once.
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

/// A device that is switched off and on again, or deleted and created again, returns to an earlier state.
#[test]
fn a_state_that_comes_again_is_another_event() {
    // An engine may commit a whole page or each event, so both are tested.
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
    assert!(events.is_empty(), "the record was looked up and found: {events:?}");
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

/// A cursor as the earlier version wrote it: one hash for each record, computed in another way.
fn of_the_version_before(cursor: &Cursor) -> Cursor {
    let mut state = State::read(cursor).expect("readable");
    state.pages = None;
    for known in state.records.values_mut() {
        let fingerprint = Fingerprint::of(["1"]);
        *known = Known::new(fingerprint, Parts::default(), Box::default(), known.seen);
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
    let delivered: Vec<(&str, bool)> = events
        .iter()
        .map(|event| {
            (event.order_key.as_str(), event.data == Payload::Json(r#"{"body":{"etag":"2"},"parts":null}"#.into()))
        })
        .collect();
    assert_eq!(delivered, [("d0003", true)], "the change is delivered without its parts");
    // After that poll, the cursor knows the parts, and the changed part is named.
    memory.records.borrow_mut().insert("d0003".into(), 3);
    memory.records.borrow_mut().insert("d0004".into(), 2);
    let (events, _) = drain_whole(&memory, &Start::Now, 100, Some(cursor));
    for (event, etag) in events.iter().zip(["3", "2"]) {
        assert_eq!(event.data, Payload::Json(format!(r#"{{"body":{{"etag":"{etag}"}},"parts":[1]}}"#)));
        assert_eq!(event.time, None, "a time in the year 1 means no time");
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

#[test]
fn a_memo_of_the_state_before_comes_with_the_change() {
    let memory = Memory { memos: true, ..Memory::new(5, 2) };
    let (_, cursor) = drain(&memory, &Start::Now, 100, None);
    memory.records.borrow_mut().insert("d0001".into(), 2);
    memory.records.borrow_mut().insert("d0004".into(), 3);
    let page = run(&memory, &request(Start::Now, 1, Some(cursor.clone()))).expect("a page");
    assert_eq!(page.events[0].data, Payload::Json(r#"{"before":"was 1","body":{"etag":"2"}}"#.into()));
    // An engine may commit the event without the page.
    memory.records.borrow_mut().insert("d0001".into(), 7);
    let cursor = Cursor { snapshot: cursor.snapshot, position: page.events[0].position.clone() };
    let (events, _) = drain_whole(&memory, &Start::Now, 100, Some(cursor));
    let expected = [r#"{"before":"was 2","body":{"etag":"7"}}"#, r#"{"before":"was 1","body":{"etag":"3"}}"#];
    assert_eq!(
        events.iter().map(|event| &event.data).collect::<Vec<_>>(),
        expected.map(|data| Payload::Json(data.into())).iter().collect::<Vec<_>>()
    );
}

#[test]
fn a_record_that_left_is_delivered_with_its_state_and_forgotten() {
    let memory = Memory::new(5, 2);
    let (_, cursor) = drain(&memory, &Start::Now, 100, None);
    memory.hidden.borrow_mut().push("d0002".into());
    memory.left.borrow_mut().push("d0002".into());
    let (events, cursor) = drain_whole(&memory, &Start::Now, 100, Some(cursor));
    assert_eq!((events.len(), events[0].event_type.as_str()), (1, "deleted"));
    assert_eq!(events[0].data, Payload::Json(r#"{"body":"its last state","parts":null}"#.into()));
    let (events, cursor) = drain(&memory, &Start::Now, 100, Some(cursor));
    assert!(events.is_empty(), "{events:?}");
    memory.hidden.borrow_mut().clear();
    memory.left.borrow_mut().clear();
    let (events, _) = drain(&memory, &Start::Now, 100, Some(cursor));
    assert_eq!(events, [("created".to_owned(), "d0002".to_owned())], "it came back");
}

/// A collection whose records are dated delivers what any other one delivers, and reads pages in full only for changes.
#[test]
fn pages_without_a_change_are_read_at_a_glance() {
    for events in [1, 3, 100] {
        let memory = Memory { dated: true, ..Memory::new(25, 10) };
        let (delivered, cursor) = drain(&memory, &Start::Now, events, None);
        assert_eq!((delivered.len(), memory.in_full.get(), cursor.snapshot[0]), (0, 0, 6));
        let (delivered, again) = drain(&memory, &Start::Now, events, Some(cursor.clone()));
        assert_eq!((delivered.len(), memory.in_full.get()), (0, 0));
        assert_eq!(State::read(&again), State::read(&cursor), "a scan without a change keeps the cursor");

        memory.records.borrow_mut().insert("d0003".into(), 2);
        memory.records.borrow_mut().remove("d0007");
        memory.records.borrow_mut().insert("new".into(), 1);
        let (mut delivered, cursor) = drain(&memory, &Start::Now, events, Some(cursor));
        delivered.sort();
        let expected = [("created", "new"), ("deleted", "d0007"), ("updated", "d0003")];
        assert_eq!(delivered, expected.map(|(change, key)| (change.to_owned(), key.to_owned())));
        assert!(memory.in_full.get() > 0);
        let (delivered, _) = drain(&memory, &Start::Now, events, Some(cursor));
        assert!(delivered.is_empty(), "nothing is delivered twice");
    }
}

#[test]
fn dated_records_can_be_committed_event_by_event_too() {
    let memory = Memory { dated: true, ..Memory::new(25, 10) };
    let (_, mut cursor) = drain(&memory, &Start::Now, 100, None);
    for index in (0..25).step_by(2) {
        memory.records.borrow_mut().insert(format!("d{index:04}"), 20 + index);
    }
    for index in (1..25).step_by(4) {
        memory.records.borrow_mut().remove(&format!("d{index:04}"));
    }
    let mut seen = Vec::new();
    for _ in 0..200 {
        let page = run(&memory, &request(Start::Now, 100, Some(cursor.clone()))).expect("a page");
        match page.events.first() {
            Some(first) => {
                seen.push(first.order_key.clone());
                cursor = Cursor { snapshot: cursor.snapshot, position: first.position.clone() };
            }
            None if !page.more => break,
            None => cursor = page.next,
        }
    }
    let distinct: BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (13 + 6, 13 + 6));
    assert_eq!(cursor.position[0], 4);
}

/// The page is asked for once more, by the way that can ask for fewer records.
#[test]
fn a_page_that_is_too_large_to_read_is_asked_for_in_another_way() {
    let memory = Memory { dated: true, too_large: true, ..Memory::new(25, 10) };
    let (events, _) = drain(&memory, &Start::Earliest, 100, None);
    assert_eq!((events.len(), memory.in_full.get()), (25, 3));
}

#[test]
fn a_collection_of_dated_records_has_a_largest_number_too() {
    let memory = Memory { most: 3, dated: true, ..Memory::new(4, 10) };
    let error = run(&memory, &request(Start::Now, 100, None)).expect_err("too many");
    assert_eq!(error.code(), ErrorCode::QuotaExceeded);
}

/// A cursor as the earlier version wrote it for dated records: six bytes of the state's hash, and two of the time's.
#[test]
fn dated_records_of_the_version_before_are_not_repeated_and_keep_their_times() {
    let memory = Memory { dated: true, ..Memory::new(12, 5) };
    let (_, cursor) = drain(&memory, &Start::Now, 100, None);
    let mut old = State::read(&cursor).expect("readable");
    for known in old.records.values_mut() {
        *known = Known::new(Fingerprint::of(["1"]), Parts::of([day(1).as_str()]), Box::default(), known.seen);
    }
    let old = old.cursor();
    assert_eq!(old.snapshot[0], 4);
    for events in [1, 100] {
        memory.records.borrow_mut().insert("d0003".into(), 2);
        memory.records.borrow_mut().insert("d0009".into(), 2);
        let (delivered, cursor) = drain_whole(&memory, &Start::Now, events, Some(old.clone()));
        let of = |delivered: &[Event]| -> Vec<(String, Payload)> {
            delivered.iter().map(|event| (event.order_key.clone(), event.data.clone())).collect()
        };
        let data = |etag: u32, parts: &str| Payload::Json(format!(r#"{{"body":{{"etag":"{etag}"}},"parts":{parts}}}"#));
        // What the first poll did not read has no time in the cursor that it wrote.
        let second = if events == 1 { "null" } else { "[0]" };
        let expected = [("d0003".to_owned(), data(2, "[0]")), ("d0009".to_owned(), data(2, second))];
        assert_eq!(of(&delivered), expected);
        assert_eq!(cursor.snapshot[0], 6);
        // A scan that one poll completes knows all times.
        let (delivered, cursor) = drain_whole(&memory, &Start::Now, events, Some(cursor));
        assert!(delivered.is_empty());
        memory.records.borrow_mut().insert("d0003".into(), 3);
        let (delivered, _) = drain_whole(&memory, &Start::Now, events, Some(cursor));
        assert_eq!(of(&delivered), [("d0003".to_owned(), data(3, "[0]"))]);
        memory.records.borrow_mut().insert("d0003".into(), 1);
        memory.records.borrow_mut().insert("d0009".into(), 1);
    }
}

/// Scans that always take several polls do not lose the times for good: what an earlier version wrote gets a bound a day
/// ahead of our clock, and not one that no time exceeds.
#[test]
fn times_of_the_version_before_are_known_again_after_a_day() {
    let mut state = State::new([1; 8], false);
    let old = |key: &str| (key.to_owned(), Known::new(Fingerprint::of(["1"]), Parts::default(), Box::default(), false));
    state.records.extend([old("a"), old("b")]);
    let now = Duration::from_secs(1_800_000_000);
    state.bound_times(Stamp::bound(now));
    assert!(state.records.values().all(|known| known.latest.is_none()), "no record is dated");
    let time = |seconds: i64| Stamp::of(time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    state.records.insert("a".to_owned(), Known::dated(Fingerprint::of(["1"]), time(1_700_000_000), true));
    state.bound_times(Stamp::bound(now));
    let read = State::read(&state.cursor()).expect("readable");
    for (later, is_known) in [(3_600, false), (86_400 + 1, true)] {
        for known in read.records.values() {
            assert_eq!(known.is_before(time(1_800_000_000 + later)), is_known);
        }
    }
}

#[test]
fn a_collection_that_is_too_large_says_how_many_records_it_may_have() {
    let memory = Memory { most: 3, ..Memory::new(4, 10) };
    let error = run(&memory, &request(Start::Now, 100, None)).expect_err("too many");
    assert_eq!(error.code(), ErrorCode::QuotaExceeded);
    assert!(error.record().message.contains("more than 3 records"), "{error:?}");
}

/// The bytes of cursors that earlier versions wrote. They must be readable for ever.
#[test]
fn cursors_of_all_earlier_forms_are_readable() {
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
    };
    let mark = |byte: u8| [byte; 6].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (form, snapshot, has_parts, pages) in GOLDEN {
        for (position, known) in [
            ("01", 2),
            ("01000464313030070707070707", 3),
            ("010102643101026432", 0),
            ("020204643130300707070707070212345678", 3),
        ] {
            let cursor = Cursor { snapshot: bytes(snapshot), position: bytes(position) };
            let state =
                State::read(&cursor).unwrap_or_else(|error| panic!("form {form}, position {position}: {error:?}"));
            assert_eq!((state.scope, state.seeding, &state.place), ([9; 8], false, &Place::Page("next".into())));
            assert_eq!(state.pages.map(|pages| (pages.origin, pages.count)), *pages, "form {form}");
            assert_eq!(state.records.len(), known, "form {form}, position {position}");
            let Some(first) = state.records.get("d1") else { continue };
            assert_eq!((first.fingerprint.hex(), first.seen, first.memo.len()), (mark(1), true, 0));
            assert_eq!(first.parts.is_empty(), !has_parts, "form {form}");
        }
    }
}

/// As above, for the forms whose records differ in more.
#[test]
fn cursors_with_memos_and_with_times_are_readable() {
    let read = |snapshot: &str, position: &str| {
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
        };
        let state = State::read(&Cursor { snapshot: bytes(snapshot), position: bytes(position) }).expect("readable");
        assert_eq!((state.scope, state.seeding, &state.place), ([9; 8], false, &Place::Page("next".into())));
        assert_eq!(state.pages, Some(Pages { origin: 5, count: 7 }));
        state
    };
    let (one, two) = (Fingerprint::of(["1"]), Fingerprint::of(["2"]));
    let with_memos = read(
        "05014300bcff09090909090909090001046e657874050000000000000007000000000000000201026431d8a7ccf8c19d01ae61055b5b315d\
         5d02013213882cbe278500055b5b325d5d",
        "03",
    );
    let memo = |text: &str| text.to_owned().into_boxed_str();
    let expected = [
        ("d1".to_owned(), Known::new(one, Parts::of(["a"]), memo("[[1]]"), true)),
        ("d2".to_owned(), Known::new(two, Parts::default(), memo("[[2]]"), false)),
    ];
    assert_eq!(with_memos.records, BTreeMap::from(expected));

    let dated = "0605d8a7c13882e38402064696bcd48a125606086087500c4c8c4c29864c8c460d4d3d1f36bf7d620700";
    let stamp = Stamp::of(instant::parse("2026-01-02T03:04:05Z"));
    for (position, is_short) in [("01", true), ("0404026431d8a7ccf8c19d80e1e43d89420000", false)] {
        let records = read(dated, position).records;
        let (first, second) = (&records["d1"], &records["d2"]);
        assert!(first.shows(one, Some(stamp)) == is_short && second.shows(two, Some(stamp)));
        assert_eq!((first.short, first.seen, second.short, second.seen), (is_short, is_short, true, false));
        // Neighbours share the later of their times.
        assert_eq!(second.latest, Some(stamp));
    }
}

/// The form, the snapshot, whether its records have parts, and how it counts pages. Each snapshot holds the records `d1`
/// and `d2`, in the middle of a scan.
type Golden = (u8, &'static str, bool, Option<(u64, u64)>);
#[rustfmt::skip]
const GOLDEN: &[Golden] = &[
    (1, "01e3e48400064696bcd48a122646a61443463060623462020300", false, None),
    (2, "02e3e48400064696bcd48a122646a61443463060121412166162346282004525651500", true, None),
    (3, "03e3e48400064696bcd48a125606086087d24c8c4c29868c60c0c468c4040600", false, Some((5, 7))),
    (4, "04e3e48400064696bcd48a125606086087d24c8c4c29868c60c02428242cc2c468c404018a4aca2a00", true, Some((5, 7))),
];
