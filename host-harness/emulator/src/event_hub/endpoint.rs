//! The Event Hub behind the built-in endpoint, with its partitions and their readers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};

use super::error::EventHubError;
use super::event::{StoredEvent, TelemetryEvent};
use super::log::{EventPosition, Partition, Position, Properties};
use super::selector::Start;
use crate::clock::{milliseconds, now};
use crate::random;
use crate::sync::lock;

/// The consumer group that every hub has.
pub(crate) const DEFAULT_GROUP: &str = "$Default";
/// Readers without an epoch that a partition may have in one consumer group (quotas page of Event Hubs).
const MAX_READERS: usize = 5;

/// How an Event Hub is set up.
#[derive(Clone, Debug)]
pub(crate) struct EventHubSettings {
    /// The hub's short name, which is part of a generated Event Hub-compatible name.
    pub(crate) hub_name: String,
    /// The Event Hub-compatible name; `None` generates one.
    pub(crate) name: Option<String>,
    pub(crate) partitions: u16,
    /// Consumer groups besides `$Default`.
    pub(crate) consumer_groups: Vec<String>,
    /// How many events a partition retains; `None` sets no limit.
    pub(crate) retention_events: Option<usize>,
    /// How long events are retained; `None` sets no limit.
    pub(crate) retention_time: Option<Duration>,
}

/// The Event Hub behind the built-in endpoint.
pub(crate) struct EventHub {
    groups: Vec<String>,
    retention_events: Option<usize>,
    retention_time: Option<Duration>,
    hub_name: String,
    fixed_name: Option<String>,
    state: Mutex<State>,
    /// Grows with every batch of events, so that readers notice new events.
    version: watch::Sender<u64>,
    /// Grows with every fail-over: connections of an older generation end.
    generation: watch::Sender<u64>,
}

struct State {
    name: String,
    created: OffsetDateTime,
    partitions: Vec<Partition>,
    readers: HashMap<(String, u16), Vec<Reader>>,
    next_reader: u64,
}

struct Reader {
    id: u64,
    epoch: Option<i64>,
    name: Option<String>,
    lost: mpsc::UnboundedSender<Lost>,
}

/// A reader that has lost its partition to another one.
#[derive(Debug)]
pub(crate) struct Lost {
    /// The id of the reader.
    pub(crate) reader: u64,
    /// The error that the reader's client gets.
    pub(crate) error: EventHubError,
}

impl EventHub {
    pub(crate) fn new(settings: EventHubSettings) -> Self {
        let mut groups = vec![DEFAULT_GROUP.to_owned()];
        groups.extend(settings.consumer_groups);
        let name = settings.name.clone().unwrap_or_else(|| compatible_name(&settings.hub_name, 0));
        Self {
            groups,
            retention_events: settings.retention_events,
            retention_time: settings.retention_time,
            hub_name: settings.hub_name,
            fixed_name: settings.name,
            state: Mutex::new(State::new(name, settings.partitions.max(1))),
            version: watch::Sender::new(0),
            generation: watch::Sender::new(0),
        }
    }

    /// The Event Hub-compatible name.
    pub(crate) fn name(&self) -> String {
        lock(&self.state).name.clone()
    }

    pub(crate) fn created(&self) -> OffsetDateTime {
        lock(&self.state).created
    }

    pub(crate) fn partition_count(&self) -> u16 {
        u16::try_from(lock(&self.state).partitions.len()).unwrap_or(u16::MAX)
    }

    /// The configured spelling of a consumer group's name, which is case-insensitive.
    pub(crate) fn group(&self, name: &str) -> Option<&str> {
        self.groups.iter().find(|group| group.eq_ignore_ascii_case(name)).map(String::as_str)
    }

    /// The partition of a device: FNV-1a of its id, so that a device has the same partition on every run.
    pub(crate) fn partition_of(&self, device_id: &str) -> u16 {
        let hash = device_id
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        // The low bits alone would distribute ids badly that differ only in their last digit.
        let hash = hash ^ (hash >> 32);
        u16::try_from(hash % u64::from(self.partition_count())).unwrap_or(0)
    }

    /// A receiver that is notified when events arrive.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// A receiver that is notified of fail-overs.
    pub(crate) fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    pub(crate) fn append_all(&self, events: impl IntoIterator<Item = TelemetryEvent>) -> Vec<EventPosition> {
        let mut events = events.into_iter().peekable();
        let mut positions = Vec::new();
        if events.peek().is_none() {
            return positions;
        }
        let count = self.partition_count();
        let targets = events.map(|event| {
            let partition = event.partition.filter(|partition| *partition < count);
            (partition.unwrap_or_else(|| self.partition_of(&event.device_id)), event)
        });
        let targets: Vec<_> = targets.collect();
        let now = milliseconds(now());
        let mut state = lock(&self.state);
        for (index, event) in targets {
            let partition = &mut state.partitions[usize::from(index)];
            let (sequence, offset) = partition.append(now, event);
            positions.push(EventPosition { partition: index, sequence_number: sequence, offset: offset.to_string() });
        }
        self.trim(&mut state, now);
        drop(state);
        self.version.send_modify(|version| *version += 1);
        positions
    }

    fn trim(&self, state: &mut State, now: i64) {
        let oldest = self.retention_time.map(|time| now - i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        for partition in &mut state.partitions {
            while self.retention_events.is_some_and(|limit| partition.events.len() > limit)
                || partition.events.front().is_some_and(|event| oldest.is_some_and(|oldest| event.enqueued < oldest))
            {
                partition.events.pop_front();
            }
        }
    }

    /// Drops a partition's events before a sequence number, as retention would.
    pub(crate) fn forget_before(&self, partition: u16, sequence: i64) {
        if let Some(partition) = lock(&self.state).partitions.get_mut(usize::from(partition)) {
            while partition.events.front().is_some_and(|event| event.sequence < sequence) {
                partition.events.pop_front();
            }
        }
    }

    pub(crate) fn properties(&self, partition: u16) -> Option<Properties> {
        let mut state = lock(&self.state);
        self.trim(&mut state, milliseconds(now()));
        state.partitions.get(usize::from(partition)).map(Partition::properties)
    }

    /// The position where a reader with this selector begins: a sequence number and, for a time selector, the earliest
    /// time.
    pub(crate) fn locate(&self, partition: u16, start: &Start) -> Result<Position, EventHubError> {
        let mut state = lock(&self.state);
        self.trim(&mut state, milliseconds(now()));
        let Some(partition) = state.partitions.get(usize::from(partition)) else {
            return Ok(Position { sequence: 0, not_before: None });
        };
        partition.locate(start)
    }

    /// Up to `limit` events from a position on.
    pub(crate) fn read(&self, partition: u16, position: &mut Position, limit: usize) -> Vec<Arc<StoredEvent>> {
        let state = lock(&self.state);
        let Some(partition) = state.partitions.get(usize::from(partition)) else { return Vec::new() };
        let mut found = Vec::new();
        let from = partition.events.partition_point(|event| event.sequence < position.sequence);
        for event in partition.events.range(from..) {
            if found.len() >= limit {
                break;
            }
            position.sequence = event.sequence + 1;
            if position.not_before.is_none_or(|earliest| event.enqueued >= earliest) {
                found.push(Arc::clone(event));
            }
        }
        found
    }

    /// Registers a reader by the rules of epochs (the documentation of `CreateEpochReceiver` and its epoch parameter).
    /// A reader with an epoch displaces readers with the same or a lower epoch and readers without an epoch. At most
    /// five readers may be without an epoch.
    pub(crate) fn enter(
        self: &Arc<Self>,
        group: &str,
        partition: u16,
        epoch: Option<i64>,
        name: Option<String>,
        lost: mpsc::UnboundedSender<Lost>,
    ) -> Result<Lease, EventHubError> {
        let mut state = lock(&self.state);
        let id = state.next_reader;
        state.next_reader += 1;
        let key = (group.to_owned(), partition);
        let readers = state.readers.entry(key.clone()).or_default();
        let shown = |name: &Option<String>| name.clone().unwrap_or_else(|| "nil".to_owned());
        let highest = readers.iter().filter_map(|reader| reader.epoch).max();
        match (epoch, highest) {
            (None, Some(highest)) => return Err(EventHubError::EpochNeeded { highest }),
            (Some(epoch), Some(highest)) if epoch < highest => {
                return Err(EventHubError::EpochTooLow { epoch, highest });
            }
            (None, None) if readers.len() >= MAX_READERS => {
                let names = readers.iter().map(|reader| shown(&reader.name)).collect();
                return Err(EventHubError::TooManyReaders { limit: MAX_READERS, names });
            }
            (Some(epoch), _) => {
                for reader in readers.drain(..) {
                    let old_epoch =
                        reader.epoch.map_or_else(|| "without epoch".to_owned(), |old| format!("with epoch '{old}'"));
                    let (newer, older) = (shown(&name), shown(&reader.name));
                    let error = EventHubError::Displaced { newer, epoch, older, old_epoch };
                    // Sending fails only if the displaced reader's connection has ended, and then there is nobody to
                    // notify.
                    let _ = reader.lost.send(Lost { reader: reader.id, error });
                }
            }
            (None, None) => {}
        }
        readers.push(Reader { id, epoch, name, lost });
        drop(state);
        Ok(Lease { hub: Arc::clone(self), key, id })
    }

    /// The number of readers of a partition in a consumer group.
    pub(crate) fn reader_count(&self, group: &str, partition: u16) -> usize {
        lock(&self.state).readers.get(&(group.to_owned(), partition)).map_or(0, Vec::len)
    }

    /// Starts again under another name: partitions are empty, positions begin at 0, and all earlier connections end.
    pub(crate) fn fail_over(&self) {
        let mut state = lock(&self.state);
        let generation = *self.generation.borrow() + 1;
        let name = match &self.fixed_name {
            Some(name) => format!("{name}-{generation}"),
            None => compatible_name(&self.hub_name, generation),
        };
        let count = u16::try_from(state.partitions.len()).unwrap_or(1);
        let next_reader = state.next_reader;
        *state = State { next_reader, ..State::new(name, count) };
        drop(state);
        self.generation.send_replace(generation);
    }
}

/// Generates an Event Hub-compatible name in IoT Hub's form: the hub's name, cut to 14 characters, and numbers.
fn compatible_name(hub_name: &str, generation: u64) -> String {
    let short: String = hub_name.chars().take(14).collect();
    format!("iothub-ehub-{short}-{}-{}", 1_000_000 + generation, &random::hex(5))
}

impl State {
    fn new(name: String, partitions: u16) -> Self {
        Self {
            name,
            created: now(),
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            readers: HashMap::new(),
            next_reader: 1,
        }
    }
}

/// A reader's right to read a partition. Dropping the lease gives up the right.
pub(crate) struct Lease {
    hub: Arc<EventHub>,
    key: (String, u16),
    id: u64,
}

impl Lease {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(readers) = lock(&self.hub.state).readers.get_mut(&self.key) {
            readers.retain(|reader| reader.id != self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: EventHubSettings = EventHubSettings {
        hub_name: String::new(),
        name: None,
        partitions: 4,
        consumer_groups: Vec::new(),
        retention_events: None,
        retention_time: None,
    };

    fn hub(settings: EventHubSettings) -> Arc<EventHub> {
        Arc::new(EventHub::new(settings))
    }

    fn fill(hub: &EventHub, count: i64) {
        let time = |n: i64| OffsetDateTime::from_unix_timestamp(1_700_000_000 + n).expect("time");
        hub.append_all((0..count).map(|n| TelemetryEvent::new("d", "x").partition(0).enqueued(time(n))));
    }

    fn first(hub: &EventHub, selector: &str) -> Option<i64> {
        let mut position = hub.locate(0, &selector.parse().expect("selector")).expect("position");
        hub.read(0, &mut position, 1).first().map(|event| event.sequence)
    }

    #[test]
    fn selectors_find_their_place() {
        let hub = hub(SETTINGS);
        fill(&hub, 10);
        let offset = 72 * 3;
        for (selector, expected) in [
            ("amqp.annotation.x-opt-offset > '-1'", Some(0)),
            ("amqp.annotation.x-opt-offset > '@latest'", None),
            (&format!("amqp.annotation.x-opt-offset > '{offset}'"), Some(4)),
            (&format!("amqp.annotation.x-opt-offset >= '{offset}'"), Some(3)),
            (&format!("amqp.annotation.x-opt-offset > '{}'", offset + 1), Some(4)),
            ("amqp.annotation.x-opt-sequence-number > '9'", None),
            ("amqp.annotation.x-opt-sequence-number >= '9'", Some(9)),
            ("amqp.annotation.x-opt-sequence-number > '-1'", Some(0)),
            ("amqp.annotation.x-opt-enqueued-time > '1700000004000'", Some(5)),
            ("amqp.annotation.x-opt-enqueued-time >= '1700000004000'", Some(4)),
            ("amqp.annotation.x-opt-enqueued-time > '1800000000000'", None),
        ] {
            assert_eq!(first(&hub, selector), expected, "{selector}");
        }
        for beyond in ["amqp.annotation.x-opt-offset > '5000'", "amqp.annotation.x-opt-sequence-number >= '10'"] {
            let error = hub.locate(0, &beyond.parse().expect("selector")).expect_err("beyond the end");
            assert!(matches!(error, EventHubError::Beyond { .. }), "{error:?}");
        }
    }

    #[test]
    fn retention_moves_the_beginning() {
        let hub = hub(EventHubSettings { retention_events: Some(4), ..SETTINGS });
        fill(&hub, 10);
        let properties = hub.properties(0).expect("partition");
        assert_eq!((properties.begin, properties.last_sequence, properties.is_empty), (6, 9, false));
        assert_eq!(first(&hub, "amqp.annotation.x-opt-sequence-number > '1'"), Some(6));
        hub.forget_before(0, 100);
        let properties = hub.properties(0).expect("partition");
        assert_eq!((properties.begin, properties.last_sequence, properties.is_empty), (10, 9, true));
    }

    #[test]
    fn epochs_decide_who_reads() {
        let hub = hub(SETTINGS);
        let (lost, mut notices) = mpsc::unbounded_channel();
        let enter = |epoch| hub.enter("$Default", 0, epoch, None, lost.clone());
        let too_many =
            |result: Result<Lease, EventHubError>| matches!(result, Err(EventHubError::TooManyReaders { .. }));
        let readers: Vec<_> = (0..5).map(|_| enter(None).expect("a reader")).collect();
        assert!(too_many(enter(None)));
        let first = enter(Some(3)).expect("a reader with an epoch displaces those without");
        let stolen: Vec<_> = std::iter::from_fn(|| notices.try_recv().ok()).map(|lost| lost.reader).collect();
        assert_eq!(stolen, readers.iter().map(Lease::id).collect::<Vec<_>>());
        assert!(matches!(enter(None), Err(EventHubError::EpochNeeded { highest: 3 })));
        assert!(matches!(enter(Some(2)), Err(EventHubError::EpochTooLow { epoch: 2, highest: 3 })));
        let second = enter(Some(3)).expect("a newer reader with the same epoch");
        assert_eq!(notices.try_recv().map(|lost| lost.reader), Ok(first.id()));
        drop(readers);
        drop(first);
        assert_eq!(hub.reader_count("$Default", 0), 1, "dropping the old leases keeps the new one");
        drop(second);
        assert!(enter(None).is_ok());
    }

    #[test]
    fn devices_spread_over_the_partitions() {
        let hub = hub(SETTINGS);
        let mut counts = [0usize; 4];
        for n in 0..1000 {
            counts[usize::from(hub.partition_of(&format!("device-{n}")))] += 1;
        }
        assert!(counts.iter().all(|count| (150..350).contains(count)), "{counts:?}");
    }
}
