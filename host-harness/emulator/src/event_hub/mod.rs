//! The Event Hub-compatible endpoint's store: partitions, retention, readers. It knows nothing of AMQP connections
//! beyond the channel over which a reader is told that it has lost its place.

mod event;
mod selector;
mod system;
mod telemetry;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};

use crate::amqp::codec::AmqpError;
use crate::options::EmulatorOptions;
use crate::random;
use crate::world::{lock, now};

pub use event::{EventBody, EventSource, TelemetryEvent};
pub use telemetry::{EventPosition, PartitionProperties, Telemetry};

pub(crate) use event::{AuthOrigin, StoredEvent, milliseconds};
pub(crate) use selector::Start;
pub(crate) use system::{SystemEvents, TwinNotification};

/// The consumer group that every hub has.
pub(crate) const DEFAULT_GROUP: &str = "$Default";
/// Readers without an epoch that a partition may have in one consumer group (quotas page of Event Hubs).
const MAX_READERS: usize = 5;
/// Where the offset of an event lies after the one before it: its place in a log of bytes, in steps of eight.
const OFFSET_STEP: i64 = 8;

/// The Event Hub behind the built-in endpoint.
pub(crate) struct EventHub {
    groups: Vec<String>,
    retention_events: Option<usize>,
    retention_time: Option<Duration>,
    hub_name: String,
    fixed_name: Option<String>,
    state: Mutex<State>,
    /// Grows with every batch of events: what readers wait for.
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

/// A log of events.
#[derive(Default)]
struct Partition {
    events: VecDeque<Arc<StoredEvent>>,
    next_sequence: i64,
    next_offset: i64,
    last: Option<(i64, i64, i64)>,
}

struct Reader {
    id: u64,
    epoch: Option<i64>,
    name: Option<String>,
    lost: mpsc::UnboundedSender<Lost>,
}

/// A reader has to give up its place.
#[derive(Debug)]
pub(crate) struct Lost {
    /// Which reader.
    pub(crate) reader: u64,
    /// What its client is told.
    pub(crate) error: AmqpError,
}

/// What a partition looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Properties {
    /// The sequence number of the oldest retained event, or of the next one when there is none.
    pub(crate) begin: i64,
    /// -1 when nothing was ever enqueued.
    pub(crate) last_sequence: i64,
    /// `-1` when nothing was ever enqueued.
    pub(crate) last_offset: i64,
    /// Milliseconds since the Unix epoch.
    pub(crate) last_enqueued: i64,
    pub(crate) is_empty: bool,
}

impl EventHub {
    pub(crate) fn new(options: &EmulatorOptions) -> Self {
        let mut groups = vec![DEFAULT_GROUP.to_owned()];
        groups.extend(options.consumer_groups.iter().cloned());
        let name = options.event_hub_name.clone().unwrap_or_else(|| compatible_name(&options.hub_name, 0));
        Self {
            groups,
            retention_events: options.retention_events,
            retention_time: options.retention_time,
            hub_name: options.hub_name.clone(),
            fixed_name: options.event_hub_name.clone(),
            state: Mutex::new(State::new(name, options.partitions.max(1))),
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

    /// The configured spelling of a consumer group; they are case-insensitive.
    pub(crate) fn group(&self, name: &str) -> Option<&str> {
        self.groups.iter().find(|group| group.eq_ignore_ascii_case(name)).map(String::as_str)
    }

    /// The partition of a device: FNV-1a of its id, so that it is the same on every run.
    pub(crate) fn partition_of(&self, device_id: &str) -> u16 {
        let hash = device_id
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        // The low bits of this hash alone are poor for ids that differ in their last digit.
        let hash = hash ^ (hash >> 32);
        u16::try_from(hash % u64::from(self.partition_count())).unwrap_or(0)
    }

    /// Follows the arrival of events.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Follows fail-overs.
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

    /// Where a reader with this selector has to begin: the next sequence number, and the earliest time if it is one.
    pub(crate) fn locate(&self, partition: u16, start: &Start) -> Result<Position, AmqpError> {
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

    /// Registers a reader, by the rules of epochs (the documentation of `CreateEpochReceiver` and its epoch parameter):
    /// an epoch takes the place of a lower or the same one and of readers without; readers without may be five.
    pub(crate) fn enter(
        self: &Arc<Self>,
        group: &str,
        partition: u16,
        epoch: Option<i64>,
        name: Option<String>,
        lost: mpsc::UnboundedSender<Lost>,
    ) -> Result<Lease, AmqpError> {
        let mut state = lock(&self.state);
        let id = state.next_reader;
        state.next_reader += 1;
        let key = (group.to_owned(), partition);
        let readers = state.readers.entry(key.clone()).or_default();
        let shown = |name: &Option<String>| name.clone().unwrap_or_else(|| "nil".to_owned());
        let highest = readers.iter().filter_map(|reader| reader.epoch).max();
        match (epoch, highest) {
            (None, Some(highest)) => {
                return Err(AmqpError::new(
                    "amqp:link:stolen",
                    format!(
                        "At least one receiver for the endpoint is created with epoch of '{highest}', and so non-epoch \
                         receiver is not allowed. Either reconnect with a higher epoch, or make sure all epoch \
                         receivers are closed or disconnected."
                    ),
                ));
            }
            (Some(epoch), Some(highest)) if epoch < highest => {
                return Err(AmqpError::new(
                    "amqp:link:stolen",
                    format!(
                        "A receiver with a higher epoch '{highest}' already exists. A new receiver with epoch {epoch} \
                         cannot be created. Make sure you are creating receiver with increasing epoch value to ensure \
                         connectivity, or ensure all old epoch receivers are closed or disconnected."
                    ),
                ));
            }
            (None, None) if readers.len() >= MAX_READERS => {
                let names: Vec<_> = readers.iter().map(|reader| shown(&reader.name)).collect();
                return Err(AmqpError::new(
                    "amqp:resource-limit-exceeded",
                    format!(
                        "Exceeded the maximum number of allowed receivers per partition in a consumer group which is \
                         {MAX_READERS}. List of connected receivers - {}.",
                        names.join(", ")
                    ),
                ));
            }
            (Some(epoch), _) => {
                for reader in readers.drain(..) {
                    let old =
                        reader.epoch.map_or_else(|| "without epoch".to_owned(), |old| format!("with epoch '{old}'"));
                    let error = AmqpError::new(
                        "amqp:link:stolen",
                        format!(
                            "New receiver '{}' with higher epoch of '{epoch}' is created hence current receiver '{}' \
                             {old} is getting disconnected. If you are recreating the receiver, make sure a higher \
                             epoch is used.",
                            shown(&name),
                            shown(&reader.name)
                        ),
                    );
                    // A connection that has ended needs no notice.
                    let _ = reader.lost.send(Lost { reader: reader.id, error });
                }
            }
            (None, None) => {}
        }
        readers.push(Reader { id, epoch, name, lost });
        drop(state);
        Ok(Lease { hub: Arc::clone(self), key, id })
    }

    /// The readers of a partition in a consumer group.
    pub(crate) fn reader_count(&self, group: &str, partition: u16) -> usize {
        lock(&self.state).readers.get(&(group.to_owned(), partition)).map_or(0, Vec::len)
    }

    /// Begins anew under another name: empty, positions from 0, every connection of before ended.
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

/// The form that IoT Hub gives these names: cut short, with numbers.
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

impl Partition {
    fn append(&mut self, now: i64, event: TelemetryEvent) -> (i64, i64) {
        let (sequence, offset) = (self.next_sequence, self.next_offset);
        let time = event.enqueued.map_or(now, milliseconds);
        let time = self.last.map_or(time, |(_, _, last)| time.max(last));
        let size = i64::try_from(event.body.len()).unwrap_or(i64::MAX / 2) + 64;
        self.next_sequence += 1;
        self.next_offset += (size / OFFSET_STEP + 1) * OFFSET_STEP;
        self.last = Some((sequence, offset, time));
        self.events.push_back(Arc::new(StoredEvent::new(sequence, offset, time, event)));
        (sequence, offset)
    }

    fn properties(&self) -> Properties {
        let (last_sequence, last_offset, last_enqueued) = self.last.unwrap_or((-1, -1, 0));
        Properties {
            begin: self.events.front().map_or(self.next_sequence, |event| event.sequence),
            last_sequence,
            last_offset,
            last_enqueued,
            is_empty: self.events.is_empty(),
        }
    }

    fn locate(&self, start: &Start) -> Result<Position, AmqpError> {
        let (last_sequence, last_offset, _) = self.last.unwrap_or((-1, -1, 0));
        let beyond = |what: &str, given: i64, last: i64| {
            AmqpError::new(
                "com.microsoft:argument-error",
                format!("The supplied {what} '{given}' is invalid. The last {what} in the system is '{last}'"),
            )
        };
        let mut not_before = None;
        let sequence = match *start {
            Start::Earliest => 0,
            Start::Latest => self.next_sequence,
            Start::Offset { offset, .. } if offset > last_offset => return Err(beyond("offset", offset, last_offset)),
            Start::Offset { offset, inclusive } => {
                let before = |event: &Arc<StoredEvent>| event.offset < offset || (!inclusive && event.offset == offset);
                let index = self.events.partition_point(before);
                self.events.get(index).map_or(self.next_sequence, |event| event.sequence)
            }
            Start::Sequence { number, .. } if number > last_sequence => {
                return Err(beyond("sequence number", number, last_sequence));
            }
            Start::Sequence { number, inclusive } => number + i64::from(!inclusive),
            Start::Time { millis, inclusive } => {
                not_before = Some(millis.saturating_add(i64::from(!inclusive)));
                0
            }
        };
        Ok(Position { sequence, not_before })
    }
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The next event to read has this sequence number or a later one.
    pub(crate) sequence: i64,
    /// Milliseconds since the Unix epoch; events before that are skipped.
    pub(crate) not_before: Option<i64>,
}

/// A reader's place, given up when it is dropped.
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

    fn hub(options: EmulatorOptions) -> Arc<EventHub> {
        Arc::new(EventHub::new(&options))
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
        let hub = hub(EmulatorOptions { retention_time: None, ..EmulatorOptions::default() });
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
            assert_eq!(error.condition, "com.microsoft:argument-error");
        }
    }

    #[test]
    fn retention_moves_the_beginning() {
        let options = EmulatorOptions { retention_events: Some(4), retention_time: None, ..EmulatorOptions::default() };
        let hub = hub(options);
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
        let hub = hub(EmulatorOptions::default());
        let (lost, mut told) = mpsc::unbounded_channel();
        let enter = |epoch| hub.enter("$Default", 0, epoch, None, lost.clone());
        let condition = |result: Result<Lease, AmqpError>| result.err().map(|error| error.condition);
        let readers: Vec<_> = (0..5).map(|_| enter(None).expect("a reader")).collect();
        assert_eq!(condition(enter(None)).as_deref(), Some("amqp:resource-limit-exceeded"));
        let first = enter(Some(3)).expect("an epoch goes before none");
        let stolen: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).map(|lost| lost.reader).collect();
        assert_eq!(stolen, readers.iter().map(Lease::id).collect::<Vec<_>>());
        assert_eq!(condition(enter(None)).as_deref(), Some("amqp:link:stolen"));
        assert_eq!(condition(enter(Some(2))).as_deref(), Some("amqp:link:stolen"));
        let second = enter(Some(3)).expect("the same epoch, newer");
        assert_eq!(told.try_recv().map(|lost| lost.reader), Ok(first.id()));
        drop(readers);
        drop(first);
        assert_eq!(hub.reader_count("$Default", 0), 1, "the old leases do not take the new one with them");
        drop(second);
        assert!(enter(None).is_ok());
    }

    #[test]
    fn devices_spread_over_the_partitions() {
        let hub = hub(EmulatorOptions::default());
        let mut counts = [0usize; 4];
        for n in 0..1000 {
            counts[usize::from(hub.partition_of(&format!("device-{n}")))] += 1;
        }
        assert!(counts.iter().all(|count| (150..350).contains(count)), "{counts:?}");
    }
}
