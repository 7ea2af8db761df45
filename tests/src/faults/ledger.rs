//! The promises to a reader of one partition, and the check of a reader's log against them.
//!
//! | promise | how it is broken |
//! |---|---|
//! | every event is delivered at least once | [`Broken::Lost`], [`Broken::OutOfOrder`] |
//! | no event is delivered that was not sent, and no event is changed | [`Broken::Invented`], [`Broken::Altered`] |
//! | the order of a partition is kept | [`Broken::OutOfOrder`] |
//! | an event is repeated only after a fault or a kill, and only if it was not committed | [`Broken::Repeated`] |
//! | cursors never go back, nor past an undelivered event | [`Broken::WentBack`], [`Broken::CommittedUnseen`] |

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::Value;

use super::events::Record;

/// One delivery of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// CloudEvents `id`.
    pub id: String,
    /// CloudEvents `data`.
    pub data: Value,
}

/// What happened to a reader.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// An event was delivered.
    Delivered(Delivery),
    /// The engine stored the cursor after the event with this sequence number.
    Committed(i64),
    /// The reader lost everything that it had not committed.
    Interrupted,
    /// The reader was killed. It may or may not have committed its last delivery.
    Killed,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Broken {
    /// An event was never delivered.
    #[error("partition {partition}: the event {sequence} was never delivered")]
    Lost {
        /// The event's partition.
        partition: u16,
        /// The event's sequence number.
        sequence: i64,
    },
    /// An event was delivered before an older event.
    #[error("partition {partition}: the event {sequence} was delivered where {expected} was due")]
    OutOfOrder {
        /// The event's partition.
        partition: u16,
        /// The sequence number of the delivered event.
        sequence: i64,
        /// The sequence number of the event that was expected.
        expected: i64,
    },
    /// An event was repeated without a reason.
    #[error("partition {partition}: the event {sequence} was delivered again; {}", if *.committed { "it was committed" } else { "nothing had failed" })]
    Repeated {
        /// The event's partition.
        partition: u16,
        /// The event's sequence number.
        sequence: i64,
        /// Whether the engine had stored a cursor after the event.
        committed: bool,
    },
    /// An event differs from what was sent.
    #[error("partition {partition}: the event {sequence} has {found} at `{pointer}`, and {expected} was sent")]
    Altered {
        /// The event's partition.
        partition: u16,
        /// The event's sequence number.
        sequence: i64,
        /// The JSON Pointer of the difference in the data, or `id` for the event's id.
        pointer: String,
        /// The value that was delivered.
        found: String,
        /// The value that was expected.
        expected: String,
    },
    /// An event was delivered that was never sent.
    #[error("partition {partition}: nothing was sent that has the id {id}")]
    Invented {
        /// The event's partition.
        partition: u16,
        /// The event's id.
        id: String,
    },
    /// A cursor is before a cursor that was stored already.
    #[error("partition {partition}: the cursor went back from {from} to {to}")]
    WentBack {
        /// The cursor's partition.
        partition: u16,
        /// The sequence number of the event before the stored cursor.
        from: i64,
        /// The sequence number of the event before the new cursor.
        to: i64,
    },
    /// A cursor is after an event that was not delivered.
    #[error("partition {partition}: the cursor after {sequence} was kept before that event was delivered")]
    CommittedUnseen {
        /// The event's partition.
        partition: u16,
        /// The event's sequence number.
        sequence: i64,
    },
}

/// Checks the log of a reader of one partition.
#[derive(Clone, Debug)]
pub struct Ledger {
    record: Arc<Record>,
    partition: u16,
    /// The indexes of the events that may come next. After a kill, there can be several.
    next: RangeInclusive<usize>,
    /// How many events are committed.
    committed: usize,
    /// How many events were delivered at least once. They are the first events of the record, without a gap.
    seen: usize,
    repeated: usize,
    interruptions: usize,
    /// The id of the log, with which all event ids must begin.
    log: Option<String>,
}

impl Ledger {
    /// A ledger for a reader that begins with the oldest event.
    #[must_use]
    pub fn new(record: Arc<Record>, partition: u16) -> Self {
        Self { record, partition, next: 0..=0, committed: 0, seen: 0, repeated: 0, interruptions: 0, log: None }
    }

    /// The partition of this ledger.
    #[must_use]
    pub fn partition(&self) -> u16 {
        self.partition
    }

    /// How many events were delivered at least once.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// How many events the partition has.
    #[must_use]
    pub fn all(&self) -> usize {
        self.record.of(self.partition).len()
    }

    /// How many deliveries repeated an event.
    #[must_use]
    pub fn repeated(&self) -> usize {
        self.repeated
    }

    /// How often the reader lost what it had not committed.
    #[must_use]
    pub fn interruptions(&self) -> usize {
        self.interruptions
    }

    /// Whether every event was delivered and committed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.committed == self.all()
    }

    /// Checks the next entry of the log.
    ///
    /// # Errors
    /// The promise that the entry breaks.
    pub fn enter(&mut self, entry: &Entry) -> Result<(), Broken> {
        match entry {
            Entry::Delivered(delivery) => self.delivered(delivery),
            Entry::Committed(sequence) => self.commit(*sequence),
            Entry::Interrupted => {
                self.interruptions += 1;
                self.next = self.committed..=self.committed;
                Ok(())
            }
            Entry::Killed => {
                self.interruptions += 1;
                self.next = self.committed..=*self.next.end();
                Ok(())
            }
        }
    }

    /// Enters that the engine stored the cursor after the newest delivery.
    ///
    /// # Errors
    /// As [`Ledger::enter`].
    pub fn commit_delivered(&mut self) -> Result<(), Broken> {
        match self.next.start().checked_sub(1) {
            Some(newest) => self.commit(self.record.of(self.partition)[newest].sequence),
            None => Ok(()),
        }
    }

    /// Checks that no event is missing after the last entry.
    ///
    /// # Errors
    /// [`Broken::Lost`].
    pub fn finish(&self) -> Result<(), Broken> {
        match self.record.of(self.partition).get(self.seen) {
            Some(missing) => Err(Broken::Lost { partition: self.partition, sequence: missing.sequence }),
            None => Ok(()),
        }
    }

    fn delivered(&mut self, delivery: &Delivery) -> Result<(), Broken> {
        let partition = self.partition;
        let invented = || Broken::Invented { partition, id: delivery.id.clone() };
        let sequence = delivery.data["sequenceNumber"].as_i64().ok_or_else(invented)?;
        let index = self.record.index(partition, sequence).ok_or_else(invented)?;
        if index < *self.next.start() {
            return Err(Broken::Repeated { partition, sequence, committed: index < self.committed });
        }
        if index > *self.next.end() {
            let expected = self.record.of(partition).get(*self.next.end()).map_or(sequence, |event| event.sequence);
            return Err(Broken::OutOfOrder { partition, sequence, expected });
        }
        let altered = |pointer: &str, found: &Value, expected: &Value| Broken::Altered {
            partition,
            sequence,
            pointer: pointer.to_owned(),
            found: shortened(found),
            expected: shortened(expected),
        };
        let event = &self.record.of(partition)[index];
        let log = delivery.id.split('-').next().filter(|log| is_log_id(log)).unwrap_or_default();
        let log = self.log.get_or_insert_with(|| log.to_owned());
        let id = format!("{log}-{}", event.id(partition));
        if id != delivery.id {
            return Err(altered("id", &delivery.id.as_str().into(), &id.into()));
        }
        if let Some((pointer, found, expected)) = difference("", &comparable(&delivery.data), &event.expected()) {
            return Err(altered(&pointer, &found, &expected));
        }
        self.next = index + 1..=index + 1;
        if index < self.seen {
            self.repeated += 1;
        } else {
            self.seen = index + 1;
        }
        Ok(())
    }

    fn commit(&mut self, sequence: i64) -> Result<(), Broken> {
        let partition = self.partition;
        let unseen = Broken::CommittedUnseen { partition, sequence };
        let after = self.record.index(partition, sequence).ok_or_else(|| unseen.clone())? + 1;
        if after < self.committed {
            let from = self.record.of(partition)[self.committed - 1].sequence;
            return Err(Broken::WentBack { partition, from, to: sequence });
        }
        if after > *self.next.start() {
            return Err(unseen);
        }
        self.committed = after;
        Ok(())
    }
}

/// Whether a text has the form of a log id, with which event ids begin.
#[must_use]
pub fn is_log_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A delivery's data, with `true` instead of a note: the words of a note do not matter.
fn comparable(data: &Value) -> Value {
    let mut data = data.clone();
    if let Some(note) = data.get_mut("bodyNote") {
        *note = note.as_str().is_some_and(|note| !note.is_empty()).into();
    }
    data
}

/// The first place where two values differ, with both values at that place.
fn difference(pointer: &str, found: &Value, expected: &Value) -> Option<(String, Value, Value)> {
    match (found, expected) {
        _ if found == expected => None,
        (Value::Object(found), Value::Object(expected)) => found.keys().chain(expected.keys()).find_map(|name| {
            let (found, expected) = (found.get(name), expected.get(name));
            difference(&format!("{pointer}/{name}"), found.unwrap_or(&Value::Null), expected.unwrap_or(&Value::Null))
                .or_else(|| {
                    (found.is_some() != expected.is_some())
                        .then(|| (pointer.to_owned(), name.as_str().into(), Value::Null))
                })
        }),
        _ => Some((pointer.to_owned(), found.clone(), expected.clone())),
    }
}

fn shortened(value: &Value) -> String {
    const MOST: usize = 200;
    let text = value.to_string();
    if text.chars().count() <= MOST { text } else { text.chars().take(MOST).chain("…".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::events::{Recorded, mixed};

    /// A record of one partition, and a log without a broken promise. The reader was interrupted once and killed twice.
    fn good() -> (Arc<Record>, Vec<Entry>) {
        let events = mixed(7, 40).into_iter().zip(0..).map(|(event, number)| Recorded {
            sequence: 100 + number,
            offset: (number * 8).to_string(),
            enqueued_ms: 1_700_000_000_000 + number,
            event,
        });
        let record = Arc::new(Record::new(vec![events.collect()]));
        let delivered = |range: std::ops::Range<usize>| {
            let events = record.of(0)[range].to_vec();
            events.into_iter().map(|event| {
                let mut data = event.expected();
                if data.get("bodyNote").is_some() {
                    data["bodyNote"] = "is something else".into();
                }
                Entry::Delivered(Delivery { id: format!("0123456789ab-{}", event.id(0)), data })
            })
        };
        let mut log: Vec<Entry> = delivered(0..10).collect();
        log.push(Entry::Committed(105));
        log.push(Entry::Interrupted);
        log.extend(delivered(6..20));
        log.push(Entry::Committed(119));
        log.extend(delivered(20..21));
        log.push(Entry::Killed);
        // The event 120 was committed before the kill.
        log.extend(delivered(21..22));
        log.push(Entry::Committed(121));
        log.extend(delivered(22..23));
        log.push(Entry::Killed);
        // The event 122 was not committed before the kill.
        log.extend(delivered(22..40));
        log.push(Entry::Committed(139));
        (record, log)
    }

    fn judge(record: &Arc<Record>, log: &[Entry]) -> Result<Ledger, Broken> {
        let mut ledger = Ledger::new(record.clone(), 0);
        log.iter().try_for_each(|entry| ledger.enter(entry))?;
        ledger.finish().map(|()| ledger)
    }

    fn at(log: &[Entry], sequence: i64) -> usize {
        let is_it = |entry: &Entry| matches!(entry, Entry::Delivered(it) if it.data["sequenceNumber"] == sequence);
        log.iter().position(is_it).expect("it is delivered")
    }

    #[test]
    fn a_good_log_passes() {
        let (record, log) = good();
        let ledger = judge(&record, &log).expect("it is good");
        assert!(ledger.is_done());
        assert_eq!((ledger.seen(), ledger.repeated(), ledger.interruptions()), (40, 5, 3));
    }

    #[test]
    fn a_lost_event_is_noticed_wherever_it_is() {
        let (record, log) = good();
        for sequence in [100, 103, 115, 130] {
            let mut doctored = log.clone();
            let lost = |entry: &Entry| !matches!(entry, Entry::Delivered(it) if it.data["sequenceNumber"] == sequence);
            doctored.retain(lost);
            assert!(
                matches!(judge(&record, &doctored), Err(Broken::OutOfOrder { expected, .. }) if expected == sequence),
                "{sequence}: {:?}",
                judge(&record, &doctored)
            );
        }
        // The last event is lost. No later event shows this, so only the end of the log does.
        let mut doctored = log.clone();
        doctored.truncate(at(&log, 139));
        assert_eq!(judge(&record, &doctored).err(), Some(Broken::Lost { partition: 0, sequence: 139 }));
        assert_eq!(judge(&record, &[]).err(), Some(Broken::Lost { partition: 0, sequence: 100 }));
    }

    #[test]
    fn a_repetition_needs_a_reason() {
        let (record, log) = good();
        // An event is repeated without an interruption.
        let mut doctored = log.clone();
        doctored.insert(at(&log, 103), log[at(&log, 103)].clone());
        let broken = Broken::Repeated { partition: 0, sequence: 103, committed: false };
        assert_eq!(judge(&record, &doctored).err(), Some(broken));
        // An event is repeated after an interruption, but it was committed.
        let mut doctored = log.clone();
        let interrupted = log.iter().position(|entry| *entry == Entry::Interrupted).expect("there is one");
        doctored.insert(interrupted + 1, log[at(&log, 105)].clone());
        let broken = Broken::Repeated { partition: 0, sequence: 105, committed: true };
        assert_eq!(judge(&record, &doctored).err(), Some(broken));
        // All events after the interruption are repeated, but the interruption itself is missing.
        let mut doctored = log.clone();
        doctored.retain(|entry| *entry != Entry::Interrupted);
        assert!(matches!(judge(&record, &doctored), Err(Broken::Repeated { sequence: 106, .. })));
        // After a kill, only the last delivery may be repeated.
        let mut doctored = log.clone();
        let killed = log.iter().position(|entry| *entry == Entry::Killed).expect("there is one");
        doctored.insert(killed + 1, log[at(&log, 119)].clone());
        let broken = Broken::Repeated { partition: 0, sequence: 119, committed: true };
        assert_eq!(judge(&record, &doctored).err(), Some(broken));
    }

    #[test]
    fn another_order_is_noticed() {
        let (record, log) = good();
        let mut doctored = log.clone();
        doctored.swap(at(&log, 128), at(&log, 129));
        let broken = Broken::OutOfOrder { partition: 0, sequence: 129, expected: 128 };
        assert_eq!(judge(&record, &doctored).err(), Some(broken));
    }

    #[test]
    fn what_was_altered_is_named() {
        let (record, log) = good();
        let alter = |change: &dyn Fn(&mut Delivery)| {
            let mut doctored = log.clone();
            for entry in &mut doctored {
                match entry {
                    Entry::Delivered(it) if it.data["sequenceNumber"] == 130 => change(it),
                    _ => {}
                }
            }
            match judge(&record, &doctored) {
                Err(Broken::Altered { sequence: 130, pointer, .. }) => pointer,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(alter(&|it| it.data["body"] = "something else".into()), "/body");
        assert_eq!(alter(&|it| it.data["offset"] = "1".into()), "/offset");
        assert_eq!(alter(&|it| it.data["properties"]["kind"] = Value::Null), "/properties/kind");
        assert_eq!(alter(&|it| it.data["properties"]["more"] = "x".into()), "/properties/more");
        assert_eq!(alter(&|it| it.data["more"] = Value::Null), "");
        assert_eq!(
            alter(&|it| it.data["systemProperties"]["iothub-enqueuedtime"] = 1.into()),
            "/systemProperties/iothub-enqueuedtime"
        );
        assert_eq!(alter(&|it| it.id.push('0')), "id");
        // The id of another log, and no id of a log.
        assert_eq!(alter(&|it| it.id = it.id.replace("0123456789ab", "0123456789ac")), "id");
        assert_eq!(alter(&|it| it.id = it.id.replace("0123456789ab-", "")), "id");
        let absent = record.of(0)[30].expected().get("bodyNote").is_none();
        assert_eq!(alter(&|it| it.data["bodyNote"] = if absent { "x" } else { "" }.into()), "/bodyNote");
    }

    #[test]
    fn an_invented_event_is_noticed() {
        let (record, log) = good();
        for sequence in [Value::from(140), Value::from(99), Value::Null] {
            let mut doctored = log.clone();
            let Entry::Delivered(mut event) = log[at(&log, 139)].clone() else { panic!("a delivery") };
            event.data["sequenceNumber"] = sequence;
            doctored.push(Entry::Delivered(event.clone()));
            assert_eq!(judge(&record, &doctored).err(), Some(Broken::Invented { partition: 0, id: event.id }));
        }
    }

    #[test]
    fn cursors_neither_go_back_nor_ahead() {
        let (record, log) = good();
        let mut doctored = log.clone();
        doctored.push(Entry::Committed(138));
        let broken = Broken::WentBack { partition: 0, from: 139, to: 138 };
        assert_eq!(judge(&record, &doctored).err(), Some(broken));
        let mut doctored = log.clone();
        doctored.insert(at(&log, 109), Entry::Committed(109));
        assert_eq!(judge(&record, &doctored).err(), Some(Broken::CommittedUnseen { partition: 0, sequence: 109 }));
        // After an interruption, an event must be delivered again before it can be committed.
        let mut doctored = log.clone();
        let interrupted = log.iter().position(|entry| *entry == Entry::Interrupted).expect("there is one");
        doctored.insert(interrupted + 1, Entry::Committed(108));
        assert_eq!(judge(&record, &doctored).err(), Some(Broken::CommittedUnseen { partition: 0, sequence: 108 }));
    }
}
