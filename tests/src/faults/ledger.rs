//! The promises, checked over the log of a reader of one partition.
//!
//! | promise | how it is broken |
//! |---|---|
//! | every event is delivered at least once | [`Broken::Lost`], [`Broken::OutOfOrder`] |
//! | nothing is delivered that was not sent, or otherwise than it was sent | [`Broken::Invented`], [`Broken::Altered`] |
//! | the order of a partition is kept | [`Broken::OutOfOrder`] |
//! | an event comes again only after a fault or a kill, and only if it was not committed | [`Broken::Repeated`] |
//! | cursors never go backwards, nor past what was delivered | [`Broken::WentBack`], [`Broken::CommittedUnseen`] |

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::Value;

use super::events::Record;

/// One event as it was delivered.
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
    /// The cursor after the event with this sequence number is kept from now on.
    Committed(i64),
    /// The reader lost what it had not committed.
    Interrupted,
    /// The reader was killed: whether its last delivery was committed is not known.
    Killed,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Broken {
    /// An event never came.
    #[error("partition {partition}: the event {sequence} was never delivered")]
    Lost {
        /// Of which partition.
        partition: u16,
        /// Its sequence number.
        sequence: i64,
    },
    /// An event came before one that is older.
    #[error("partition {partition}: the event {sequence} was delivered where {expected} was due")]
    OutOfOrder {
        /// Of which partition.
        partition: u16,
        /// What came.
        sequence: i64,
        /// What should have come.
        expected: i64,
    },
    /// An event came again without a reason.
    #[error("partition {partition}: the event {sequence} was delivered again; {}", if *.committed { "it was committed" } else { "nothing had failed" })]
    Repeated {
        /// Of which partition.
        partition: u16,
        /// Its sequence number.
        sequence: i64,
        /// Whether a cursor after it was kept.
        committed: bool,
    },
    /// An event is not what was sent.
    #[error("partition {partition}: the event {sequence} has {found} at `{pointer}`, and {expected} was sent")]
    Altered {
        /// Of which partition.
        partition: u16,
        /// Its sequence number.
        sequence: i64,
        /// Where in the data, a JSON Pointer; `id` for the event's id.
        pointer: String,
        /// What was delivered.
        found: String,
        /// What should have been.
        expected: String,
    },
    /// An event was not sent.
    #[error("partition {partition}: nothing was sent that has the id {id}")]
    Invented {
        /// Of which partition.
        partition: u16,
        /// Its id.
        id: String,
    },
    /// A cursor before the one that was kept already.
    #[error("partition {partition}: the cursor went back from {from} to {to}")]
    WentBack {
        /// Of which partition.
        partition: u16,
        /// After which event the kept cursor is.
        from: i64,
        /// After which event the new one is.
        to: i64,
    },
    /// A cursor after an event that was not delivered.
    #[error("partition {partition}: the cursor after {sequence} was kept before that event was delivered")]
    CommittedUnseen {
        /// Of which partition.
        partition: u16,
        /// The event.
        sequence: i64,
    },
}

/// Checks the log of a reader of one partition.
#[derive(Clone, Debug)]
pub struct Ledger {
    record: Arc<Record>,
    partition: u16,
    /// Which event may come next, as indices into the record: one, or after a kill one of several.
    next: RangeInclusive<usize>,
    /// How many events are committed.
    committed: usize,
    /// How many events were delivered at least once: all of the record up to here.
    seen: usize,
    repeated: usize,
    interruptions: usize,
    /// What the ids of this log begin with: the same for all of them.
    log: Option<String>,
}

impl Ledger {
    /// The ledger of a reader that begins with the oldest event.
    #[must_use]
    pub fn new(record: Arc<Record>, partition: u16) -> Self {
        Self { record, partition, next: 0..=0, committed: 0, seen: 0, repeated: 0, interruptions: 0, log: None }
    }

    /// Which partition it is about.
    #[must_use]
    pub fn partition(&self) -> u16 {
        self.partition
    }

    /// How many events were delivered at least once.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// How many events there are.
    #[must_use]
    pub fn all(&self) -> usize {
        self.record.of(self.partition).len()
    }

    /// How many deliveries were repetitions.
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

    /// Checks one more entry of the log.
    ///
    /// # Errors
    /// The promise that it breaks.
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

    /// Enters that the cursor after the newest delivery is kept.
    ///
    /// # Errors
    /// As [`Ledger::enter`].
    pub fn commit_delivered(&mut self) -> Result<(), Broken> {
        match self.next.start().checked_sub(1) {
            Some(newest) => self.commit(self.record.of(self.partition)[newest].sequence),
            None => Ok(()),
        }
    }

    /// Checks that nothing is missing at the end.
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

/// Whether this is how the id of a log looks, which the ids of its events begin with.
#[must_use]
pub fn is_log_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The data of a delivery with only the fact of a note: its words are the connector's own.
fn comparable(data: &Value) -> Value {
    let mut data = data.clone();
    if let Some(note) = data.get_mut("bodyNote") {
        *note = note.as_str().is_some_and(|note| !note.is_empty()).into();
    }
    data
}

/// The first place where two values differ, with what is there in each.
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

    /// A record of one partition, and the log of a reader that was killed twice and did everything right.
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
        // The event 120 was committed in the moment of the kill.
        log.extend(delivered(21..22));
        log.push(Entry::Committed(121));
        log.extend(delivered(22..23));
        log.push(Entry::Killed);
        // The event 122 was not.
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
        // The last one: nothing comes after it that could be out of order.
        let mut doctored = log.clone();
        doctored.truncate(at(&log, 139));
        assert_eq!(judge(&record, &doctored).err(), Some(Broken::Lost { partition: 0, sequence: 139 }));
        assert_eq!(judge(&record, &[]).err(), Some(Broken::Lost { partition: 0, sequence: 100 }));
    }

    #[test]
    fn a_repetition_needs_a_reason() {
        let (record, log) = good();
        // Twice in a row, and nothing had failed.
        let mut doctored = log.clone();
        doctored.insert(at(&log, 103), log[at(&log, 103)].clone());
        let broken = Broken::Repeated { partition: 0, sequence: 103, committed: false };
        assert_eq!(judge(&record, &doctored).err(), Some(broken));
        // After an interruption, but it was committed.
        let mut doctored = log.clone();
        let interrupted = log.iter().position(|entry| *entry == Entry::Interrupted).expect("there is one");
        doctored.insert(interrupted + 1, log[at(&log, 105)].clone());
        let broken = Broken::Repeated { partition: 0, sequence: 105, committed: true };
        assert_eq!(judge(&record, &doctored).err(), Some(broken));
        // Repeated as a whole, without the interruption that allows it.
        let mut doctored = log.clone();
        doctored.retain(|entry| *entry != Entry::Interrupted);
        assert!(matches!(judge(&record, &doctored), Err(Broken::Repeated { sequence: 106, .. })));
        // Of a kill, only the last delivery is in doubt.
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
        // Another log, and none.
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
        // What was delivered before an interruption has to be delivered again before it can be committed.
        let mut doctored = log.clone();
        let interrupted = log.iter().position(|entry| *entry == Entry::Interrupted).expect("there is one");
        doctored.insert(interrupted + 1, Entry::Committed(108));
        assert_eq!(judge(&record, &doctored).err(), Some(Broken::CommittedUnseen { partition: 0, sequence: 108 }));
    }
}
