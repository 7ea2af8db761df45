//! The self-check: compares what the component delivered with what the emulator's journal recorded.
//!
//! A polled collection has no log: of several changes between two polls, only the last one is seen. So the check does
//! not require an event for each entry of the journal. It requires that
//!
//! 1. every event has an id of its own,
//! 2. every event states a change that the journal has, events of one record come in the journal's order, and a change
//!    fits the events before it (no record is created twice, no unknown record is updated or deleted),
//! 3. every state that lasted through a complete scan was delivered by the end of that scan,
//! 4. every record whose state differs from its state at the start of the trigger ends in the state that its last event
//!    stated,
//! 5. everything that the workflow did to the hub is there exactly one time.

use std::collections::{BTreeMap, BTreeSet};

use azure_iot_emulator::{Change, ChangeKind, TwinPart};
use serde::Serialize;

use super::super::check::{CheckLine, count, line};
use super::collection::Collection;
use super::plant::SELF_TEST;

/// One change of one record, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    /// The change's place in the journal.
    pub(super) seq: u64,
    /// The collection that the record belongs to.
    pub(super) collection: Collection,
    /// The record's id, lower case.
    pub(super) key: String,
    /// The record's ETag; `None` if the record is gone.
    pub(super) state: Option<String>,
    /// When the change happened, in nanoseconds since 1970.
    pub(super) at: i128,
}

/// One event, as it reached the workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// The collection of the trigger that delivered the event.
    pub(super) collection: Collection,
    /// The event's id.
    pub(super) id: String,
    /// `created`, `updated` or `deleted`.
    pub(super) change: String,
    /// The record's id, lower case.
    pub(super) key: String,
    /// The state that the event states: as in [`Recorded::state`], an ETag or `None`.
    pub(super) state: Option<String>,
    /// When the event was delivered, in nanoseconds since 1970.
    pub(super) at: i128,
}

/// One complete scan of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// The collection that was scanned.
    pub(super) collection: Collection,
    /// The journal's length before the first poll of the scan.
    pub(super) begin: u64,
    /// The journal's length after the last poll of the scan.
    pub(super) end: u64,
    /// How many events of the collection had been delivered when the scan ended.
    pub(super) deliveries: usize,
}

/// What the workflow did to the hub, and what the hub shows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HubEvidence {
    /// Successful updates of twins, in order: the device, and the event that was answered.
    pub(super) updates: Vec<(String, String)>,
    /// The same updates, as the journal recorded them.
    pub(super) recorded_updates: Vec<(String, String)>,
    /// The event that the twin of each device names at the end.
    pub(super) twins: BTreeMap<String, Option<String>>,
    /// Successful changes of a device's status, in order: the device, and the status.
    pub(super) statuses: Vec<(String, String)>,
    /// The status at the end of each device in `statuses`.
    pub(super) final_statuses: BTreeMap<String, String>,
    /// The number of direct methods that devices answered.
    pub(super) methods: u64,
    /// The number of answered direct methods that the journal recorded.
    pub(super) recorded_methods: u64,
}

/// Everything that the check looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The changes in the journal, in order.
    pub(super) recorded: Vec<Recorded>,
    /// The journal's length when the triggers were started.
    pub(super) seeded: u64,
    /// The events that were delivered, in order.
    pub(super) deliveries: Vec<Delivery>,
    /// The scans, in order.
    pub(super) scans: Vec<Scan>,
    /// What the workflow did to the hub.
    pub(super) hub: HubEvidence,
    /// The steps of the simulation that failed.
    pub(super) mishaps: Vec<String>,
}

/// How many changes of a collection the triggers delivered. If several changes of a record come between two polls, only
/// the last one is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Coalescing {
    /// The collection.
    pub collection: Collection,
    /// The number of changes in the journal since the triggers were started.
    pub recorded: u64,
    /// The number of events.
    pub told: u64,
}

/// The outcome of the comparison.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    /// The lines.
    pub(super) lines: Vec<CheckLine>,
    /// For each collection, the number of changes and the number of events.
    pub(super) changes: Vec<Coalescing>,
    /// For each delivery, how many nanoseconds after the change in the journal the event came; `None` if the journal
    /// has no such change.
    pub(super) latencies: Vec<Option<i128>>,
}

/// Makes all comparisons.
pub(super) fn check(evidence: &Evidence) -> Findings {
    let mut lines = vec![distinct_ids(evidence)];
    let mut latencies = vec![None; evidence.deliveries.len()];
    for collection in Collection::ALL {
        lines.extend(Following::new(evidence, collection).run(&mut latencies));
    }
    lines.extend(hub_lines(&evidence.hub));
    if !evidence.mishaps.is_empty() {
        lines.push(line("Steps of the simulation that failed", 0, count(&evidence.mishaps), evidence.mishaps.clone()));
    }
    let changes = Collection::ALL.map(|collection| Coalescing {
        collection,
        recorded: evidence.recorded.iter().filter(|it| it.collection == collection && it.seq > evidence.seeded).count()
            as u64,
        told: evidence.deliveries.iter().filter(|it| it.collection == collection).count() as u64,
    });
    Findings { lines, changes: changes.into(), latencies }
}

fn distinct_ids(evidence: &Evidence) -> CheckLine {
    let mut seen = BTreeSet::new();
    let repeated: Vec<String> = evidence
        .deliveries
        .iter()
        .filter(|delivery| !seen.insert(&delivery.id))
        .map(|delivery| format!("{} {} was delivered twice ({})", delivery.key, delivery.change, delivery.id))
        .collect();
    line("Events / distinct event ids", count(&evidence.deliveries), seen.len() as u64, repeated)
}

/// By record: the state that was delivered last, and the place of this state in the journal.
type Delivered<'a> = BTreeMap<&'a str, (Option<&'a str>, u64)>;

/// Compares the events of one collection with the collection's entries in the journal.
struct Following<'a> {
    evidence: &'a Evidence,
    collection: Collection,
    entries: BTreeMap<&'a str, Vec<&'a Recorded>>,
    delivered: Delivered<'a>,
    owed: BTreeSet<(&'a str, u64)>,
    missed: BTreeMap<(&'a str, u64), String>,
}

impl<'a> Following<'a> {
    fn new(evidence: &'a Evidence, collection: Collection) -> Self {
        let mut entries: BTreeMap<&str, Vec<&Recorded>> = BTreeMap::new();
        for entry in evidence.recorded.iter().filter(|entry| entry.collection == collection) {
            entries.entry(&entry.key).or_default().push(entry);
        }
        let delivered = entries
            .iter()
            .filter_map(|(key, entries)| {
                let known = last_until(entries, evidence.seeded)?;
                Some((*key, (known.state.as_deref(), known.seq)))
            })
            .collect();
        Self { evidence, collection, entries, delivered, owed: BTreeSet::new(), missed: BTreeMap::new() }
    }

    fn run(mut self, latencies: &mut [Option<i128>]) -> Vec<CheckLine> {
        let (evidence, collection) = (self.evidence, self.collection);
        let mut scans = evidence.scans.iter().filter(|scan| scan.collection == collection).peekable();
        let mut events = 0;
        let mut matched = 0;
        let mut wrong = Vec::new();
        for (index, delivery) in evidence.deliveries.iter().enumerate() {
            if delivery.collection != collection {
                continue;
            }
            while let Some(scan) = scans.next_if(|scan| scan.deliveries <= events) {
                self.after_scan(scan);
            }
            events += 1;
            match self.follow(delivery) {
                Ok(latency) => {
                    matched += 1;
                    latencies[index] = Some(latency);
                }
                Err(problem) => wrong.push(problem),
            }
        }
        scans.for_each(|scan| self.after_scan(scan));
        let what = match collection {
            Collection::Enrollments => "Enrollments",
            Collection::Registrations => "Registrations",
        };
        let owed = self.owed.len() as u64;
        let missed: Vec<String> = self.missed.values().cloned().collect();
        let (changed, right, differing) = self.final_states();
        vec![
            line(format!("{what}: events / events that report a change of the journal"), events as u64, matched, wrong),
            line(
                format!("{what}: states delivered / states that outlasted a scan"),
                owed - count(&missed),
                owed,
                missed,
            ),
            line(format!("{what}: final states delivered / records that changed"), right, changed, differing),
        ]
    }

    /// Matches an event with the journal. Returns how many nanoseconds after the change the event came.
    fn follow(&mut self, delivery: &'a Delivery) -> Result<i128, String> {
        let say = |problem: &str| format!("{} {}: {problem}", delivery.key, delivery.change);
        let entries = self.entries.get(delivery.key.as_str()).map(Vec::as_slice).unwrap_or_default();
        let (known, position) = self.delivered.get(delivery.key.as_str()).copied().unwrap_or((None, 0));
        let later = || entries.iter().filter(|entry| entry.seq > position.max(self.evidence.seeded));
        let entry = match (delivery.change.as_str(), &delivery.state) {
            ("created", _) if known.is_some() => return Err(say("the record was known already")),
            ("updated" | "deleted", _) if known.is_none() => return Err(say("the record was not known")),
            ("created" | "updated", Some(state)) => later().find(|entry| entry.state.as_ref() == Some(state)),
            ("deleted", None) => later().find(|entry| entry.state.is_none()),
            _ => return Err(say("the change does not fit the state")),
        };
        let Some(entry) = entry else {
            let known = delivery.state.is_some() && entries.iter().any(|entry| entry.state == delivery.state);
            return Err(say(if known {
                "the journal has this state earlier"
            } else {
                "the journal has no such state"
            }));
        };
        self.delivered.insert(&entry.key, (entry.state.as_deref(), entry.seq));
        // If a record went away several times, the event is about the last of these times before the event.
        let meant = later()
            .rfind(|other| other.state == entry.state && other.at <= delivery.at)
            .map_or(entry.at, |other| other.at.max(entry.at));
        Ok(delivery.at - meant)
    }

    /// Checks that every state that lasted through the scan was delivered by its end.
    fn after_scan(&mut self, scan: &Scan) {
        for (key, entries) in &self.entries {
            let Some(entry) = last_until(entries, scan.end) else { continue };
            if entry.seq > scan.begin || entry.seq <= self.evidence.seeded {
                continue;
            }
            let stated = self.delivered.get(key).and_then(|(state, _)| *state);
            // A record that came and went unseen needs no event.
            if entry.state.is_none()
                && stated.is_none()
                && self.delivered.get(key).is_none_or(|(_, seq)| *seq != entry.seq)
            {
                continue;
            }
            self.owed.insert((key, entry.seq));
            if stated != entry.state.as_deref() {
                let state = if entry.state.is_some() { "changed" } else { "gone" };
                self.missed.entry((key, entry.seq)).or_insert_with(|| {
                    format!(
                        "{key}: the record was {state} (journal entry {}) during a whole scan, and no event states it",
                        entry.seq
                    )
                });
            }
        }
    }

    /// Returns how many records changed since the start, for how many of them the last event states the final state,
    /// and in words the records for which it does not.
    fn final_states(&self) -> (u64, u64, Vec<String>) {
        let (mut changed, mut right, mut differing) = (0, 0, Vec::new());
        for (key, entries) in &self.entries {
            let state = |entry: Option<&&Recorded>| entry.and_then(|entry| entry.state.clone());
            let seeded = last_until(entries, self.evidence.seeded).and_then(|entry| entry.state.clone());
            let last = state(entries.last());
            let stated = self.delivered.get(key).and_then(|(state, _)| *state);
            if seeded != last {
                changed += 1;
                right += u64::from(stated == last.as_deref());
            }
            if stated != last.as_deref() {
                let state = last.map_or("gone".to_owned(), |state| format!("in state {state}"));
                differing.push(format!("{key}: the record is {state} at the end, and no event states it"));
            }
        }
        (changed, right, differing)
    }
}

fn last_until<'a>(entries: &[&'a Recorded], seq: u64) -> Option<&'a Recorded> {
    entries.iter().rev().find(|entry| entry.seq <= seq).copied()
}

fn hub_lines(hub: &HubEvidence) -> Vec<CheckLine> {
    let mut differences = Vec::new();
    let tally = |pairs: &[(String, String)]| {
        let mut tally: BTreeMap<(String, String), u64> = BTreeMap::new();
        pairs.iter().for_each(|pair| *tally.entry(pair.clone()).or_default() += 1);
        tally
    };
    let (done, recorded) = (tally(&hub.updates), tally(&hub.recorded_updates));
    for pair in done.keys().chain(recorded.keys()).collect::<BTreeSet<_>>() {
        let numbers = [&done, &recorded].map(|tally| tally.get(pair).copied().unwrap_or(0));
        if numbers != [1, 1] {
            let [done, recorded] = numbers;
            differences.push(format!("{}: event {} was answered {done} and recorded {recorded} times", pair.0, pair.1));
        }
    }
    let (right, of, wrong) = final_values(&hub.updates, |device| hub.twins.get(device).cloned().flatten());
    let (right_status, of_status, wrong_status) =
        final_values(&hub.statuses, |device| hub.final_statuses.get(device).cloned());
    vec![
        line("update-twin: successes / tags written", count(&hub.updates), count(&hub.recorded_updates), differences),
        line("Twins with the last event's tags / devices tagged", right, of, wrong),
        line(
            "Devices in the last status that they were given / devices that were given one",
            right_status,
            of_status,
            wrong_status,
        ),
        line("invoke-direct-method: answers / methods answered", hub.methods, hub.recorded_methods, Vec::new()),
    ]
}

/// Compares the last value that each device was given with the value that it has.
fn final_values(given: &[(String, String)], has: impl Fn(&str) -> Option<String>) -> (u64, u64, Vec<String>) {
    let last: BTreeMap<&String, &String> = given.iter().map(|(device, value)| (device, value)).collect();
    let wrong: Vec<String> = last
        .iter()
        .filter_map(|(device, value)| match has(device) {
            Some(found) if found == **value => None,
            found => Some(format!("{device}: {} instead of {value}", found.unwrap_or_else(|| "nothing".to_owned()))),
        })
        .collect();
    let of = last.len() as u64;
    (of - count(&wrong), of, wrong)
}

/// The changes of both collections in the emulator's journal. The state of a record is its ETag.
pub(super) fn recorded(journal: &[Change]) -> Vec<Recorded> {
    let record = |change: &Change| {
        let (collection, state) = match change.kind {
            ChangeKind::EnrollmentCreated | ChangeKind::EnrollmentUpdated => (Collection::Enrollments, &change.etag),
            ChangeKind::EnrollmentDeleted => (Collection::Enrollments, &None),
            ChangeKind::RegistrationChanged => (Collection::Registrations, &change.etag),
            ChangeKind::RegistrationDeleted => (Collection::Registrations, &None),
            _ => return None,
        };
        let (key, at) = (change.id.to_ascii_lowercase(), change.at.unix_timestamp_nanos());
        Some(Recorded { seq: change.seq, collection, key, state: state.clone(), at })
    };
    journal.iter().filter_map(record).collect()
}

/// The updates in the journal that wrote the workflow's tag to a twin: the device, and the event that the tag names.
pub(super) fn recorded_updates(journal: &[Change]) -> Vec<(String, String)> {
    let tags = journal.iter().filter(|change| change.kind == ChangeKind::TwinUpdated(TwinPart::Tags));
    tags.filter_map(|change| {
        let event = change.detail.pointer("/lifecycle/event")?.as_str()?;
        Some((change.id.clone(), event.to_owned()))
    })
    .collect()
}

/// How many of the workflow's direct methods were answered by devices, according to the journal.
pub(super) fn recorded_methods(journal: &[Change]) -> u64 {
    let answered = |change: &&Change| {
        let Change { kind, detail, .. } = change;
        *kind == ChangeKind::MethodInvoked && detail["method"] == SELF_TEST && detail.get("error").is_none()
    };
    journal.iter().filter(answered).count() as u64
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(seq: u64, key: &str, state: Option<&str>) -> Recorded {
        let (key, state) = (key.to_owned(), state.map(str::to_owned));
        Recorded { seq, collection: Collection::Enrollments, key, state, at: i128::from(seq) * 1_000 }
    }

    fn event(change: &str, key: &str, state: Option<&str>) -> Delivery {
        Delivery {
            collection: Collection::Enrollments,
            id: format!("{change} {key} {state:?}"),
            change: change.to_owned(),
            key: key.to_owned(),
            state: state.map(str::to_owned),
            at: 100_000,
        }
    }

    /// `old` exists before the start. `a` is created and updated twice (one update is not seen). `b` comes and goes
    /// between two polls. `c` is deleted and created again.
    fn sound() -> Evidence {
        let scan = |begin, end, deliveries| Scan { collection: Collection::Enrollments, begin, end, deliveries };
        let pair = |device: &str, event: &str| (device.to_owned(), event.to_owned());
        Evidence {
            recorded: vec![
                entry(1, "old", Some("o1")),
                entry(2, "c", Some("c1")),
                entry(3, "a", Some("a1")),
                entry(4, "old", Some("o2")),
                entry(5, "c", None),
                entry(6, "a", Some("a2")),
                entry(7, "a", Some("a3")),
                entry(8, "b", Some("b1")),
                entry(9, "b", None),
                entry(10, "c", Some("c2")),
                entry(11, "old", None),
            ],
            seeded: 2,
            deliveries: vec![
                event("created", "a", Some("a1")),
                event("updated", "old", Some("o2")),
                event("deleted", "c", None),
                event("updated", "a", Some("a3")),
                event("created", "c", Some("c2")),
                event("deleted", "old", None),
            ],
            scans: vec![scan(3, 3, 1), scan(5, 6, 3), scan(11, 11, 6)],
            hub: HubEvidence {
                updates: vec![pair("a", "e1"), pair("a", "e2")],
                recorded_updates: vec![pair("a", "e1"), pair("a", "e2")],
                twins: BTreeMap::from([("a".to_owned(), Some("e2".to_owned()))]),
                statuses: vec![pair("c", "disabled"), pair("c", "enabled")],
                final_statuses: BTreeMap::from([("c".to_owned(), "enabled".to_owned())]),
                methods: 3,
                recorded_methods: 3,
            },
            mishaps: Vec::new(),
        }
    }

    fn failing(evidence: &Evidence) -> Vec<String> {
        check(evidence).lines.into_iter().filter(|line| !line.holds).map(|line| line.name).collect()
    }

    #[test]
    fn holds_for_what_is_sound() {
        let outcome = check(&sound());
        assert!(outcome.lines.iter().all(|line| line.holds), "{:#?}", outcome.lines);
        assert_eq!(outcome.latencies[0], Some(97_000));
        assert!(outcome.latencies.iter().all(Option::is_some));
    }

    #[test]
    fn fails_for_every_event_that_is_dropped() {
        for index in 0..sound().deliveries.len() {
            let mut evidence = sound();
            evidence.deliveries.remove(index);
            for scan in &mut evidence.scans {
                scan.deliveries -= usize::from(scan.deliveries > index);
            }
            assert!(!failing(&evidence).is_empty(), "event {index}");
        }
    }

    #[test]
    fn fails_for_every_event_that_is_repeated() {
        for index in 0..sound().deliveries.len() {
            for new_id in [false, true] {
                let mut evidence = sound();
                let mut again = evidence.deliveries[index].clone();
                if new_id {
                    again.id.push('!');
                }
                evidence.deliveries.push(again);
                assert!(!failing(&evidence).is_empty(), "event {index}, new id: {new_id}");
            }
        }
    }

    #[test]
    fn fails_for_events_that_are_invented() {
        let inventions = [
            event("created", "x", Some("x1")),
            event("updated", "a", Some("a4")),
            event("updated", "a", Some("a2")),
            event("deleted", "a", None),
            event("deleted", "b", None),
            event("created", "b", Some("b1")),
            event("updated", "c", None),
        ];
        for invented in inventions {
            let mut evidence = sound();
            evidence.deliveries.push(invented.clone());
            assert!(!failing(&evidence).is_empty(), "{invented:?}");
        }
    }

    #[test]
    fn fails_for_events_out_of_order() {
        let mut evidence = sound();
        evidence.deliveries.swap(0, 3);
        assert!(!failing(&evidence).is_empty());
    }

    #[test]
    fn fails_for_a_state_that_outlasted_a_scan_and_was_told_too_late() {
        let mut evidence = sound();
        // The event was delivered, but only after the scan that could see its state.
        evidence.scans[0].deliveries = 0;
        let failing = failing(&evidence);
        assert!(failing[0].contains("outlasted a scan"), "{failing:?}");
    }

    #[test]
    fn fails_for_what_is_missing_or_double_in_the_hub() {
        let doctor: [fn(&mut HubEvidence); 6] = [
            |hub| drop(hub.updates.pop()),
            |hub| drop(hub.recorded_updates.pop()),
            |hub| hub.recorded_updates.push(hub.recorded_updates[0].clone()),
            |hub| drop(hub.twins.insert("a".to_owned(), Some("e1".to_owned()))),
            |hub| drop(hub.final_statuses.insert("c".to_owned(), "disabled".to_owned())),
            |hub| hub.methods += 1,
        ];
        for (index, doctor) in doctor.into_iter().enumerate() {
            let mut evidence = sound();
            doctor(&mut evidence.hub);
            assert!(!failing(&evidence).is_empty(), "{index}");
        }
        let mut evidence = sound();
        evidence.mishaps.push("press-1 could not be enrolled".to_owned());
        assert!(!failing(&evidence).is_empty());
    }

    #[test]
    fn reads_the_journal() {
        let change = |seq, kind, etag: Option<&str>, detail: Value| Change {
            seq,
            at: std::time::SystemTime::UNIX_EPOCH.into(),
            kind,
            id: "Press-1".to_owned(),
            etag: etag.map(str::to_owned),
            detail,
        };
        let journal = [
            change(1, ChangeKind::EnrollmentCreated, Some("e1"), Value::Null),
            change(2, ChangeKind::RegistrationChanged, Some("r1"), Value::Null),
            change(3, ChangeKind::RegistrationDeleted, Some("r1"), Value::Null),
            change(4, ChangeKind::EnrollmentDeleted, Some("e1"), Value::Null),
            change(5, ChangeKind::TwinUpdated(TwinPart::Tags), None, json!({ "lifecycle": { "event": "x" } })),
            change(6, ChangeKind::MethodInvoked, None, json!({ "method": SELF_TEST, "error": 404_103 })),
            change(7, ChangeKind::MethodInvoked, None, json!({ "method": SELF_TEST, "status": 200 })),
            change(8, ChangeKind::MethodInvoked, None, json!({ "method": "startCooling", "status": 200 })),
        ];
        let recorded: Vec<_> = recorded(&journal).into_iter().map(|it| (it.seq, it.collection, it.state)).collect();
        let some = |text: &str| Some(text.to_owned());
        use Collection::{Enrollments, Registrations};
        assert_eq!(
            recorded,
            [
                (1, Enrollments, some("e1")),
                (2, Registrations, some("r1")),
                (3, Registrations, None),
                (4, Enrollments, None),
            ]
        );
        assert_eq!(recorded_updates(&journal), [("Press-1".to_owned(), "x".to_owned())]);
        assert_eq!(recorded_methods(&journal), 1);
    }
}
