//! Enqueues events in process, for tests and simulations that need many events at once.

use std::sync::Arc;

use time::OffsetDateTime;

use super::endpoint::EventHub;
use super::event::{StoredEvent, TelemetryEvent};
use super::log::{EventPosition, Position};
use crate::clock::milliseconds;

/// The state of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionProperties {
    /// The sequence number of the oldest event that is retained, or of the next one when there is none.
    pub begin_sequence_number: i64,
    /// The sequence number of the newest event ever; -1 before the first.
    pub last_sequence_number: i64,
    /// The offset of the newest event ever; `-1` before the first.
    pub last_offset: String,
    /// Whether the partition retains no event.
    pub is_empty: bool,
}

/// Puts events directly into the partitions, without registry, journal, throttles and telemetry sinks. So the devices
/// need not exist.
#[derive(Clone)]
pub struct Telemetry {
    hub: Arc<EventHub>,
}

impl Telemetry {
    pub(crate) fn new(hub: Arc<EventHub>) -> Self {
        Self { hub }
    }

    /// Enqueues one event.
    pub fn send(&self, event: TelemetryEvent) -> Option<EventPosition> {
        self.hub.append_all([event]).pop()
    }

    /// Enqueues many events at once, in their order, and returns where they were put.
    pub fn send_all(&self, events: impl IntoIterator<Item = TelemetryEvent>) -> Vec<EventPosition> {
        self.hub.append_all(events)
    }

    /// The partition of a device.
    pub fn partition_of(&self, device_id: &str) -> u16 {
        self.hub.partition_of(device_id)
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> u16 {
        self.hub.partition_count()
    }

    /// The state of a partition; `None` when the partition does not exist.
    pub fn partition(&self, partition: u16) -> Option<PartitionProperties> {
        let properties = self.hub.properties(partition)?;
        Some(PartitionProperties {
            begin_sequence_number: properties.begin,
            last_sequence_number: properties.last_sequence,
            last_offset: properties.last_offset.to_string(),
            is_empty: properties.is_empty,
        })
    }

    /// Forgets a partition's events before a sequence number, as if their retention had ended.
    pub fn forget_before(&self, partition: u16, sequence_number: i64) {
        self.hub.forget_before(partition, sequence_number);
    }

    /// How many readers a partition has in a consumer group.
    pub fn readers(&self, consumer_group: &str, partition: u16) -> usize {
        self.hub.reader_count(consumer_group, partition)
    }

    /// Every retained event of a partition with its sequence number and enqueued time, oldest first.
    pub fn events(&self, partition: u16) -> Vec<(i64, OffsetDateTime, TelemetryEvent)> {
        let mut position = Position { sequence: 0, not_before: None };
        let events = self.hub.read(partition, &mut position, usize::MAX);
        let time = |event: &StoredEvent| {
            let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(event.enqueued) * 1_000_000);
            time.unwrap_or(OffsetDateTime::UNIX_EPOCH)
        };
        debug_assert!(events.windows(2).all(|pair| pair[0].enqueued <= pair[1].enqueued));
        events.iter().map(|event| (event.sequence, time(event), event.event.clone())).collect()
    }

    /// The newest time at which an event was enqueued, milliseconds since the Unix epoch; 0 before the first.
    pub fn last_enqueued(&self, partition: u16) -> i64 {
        let never = milliseconds(OffsetDateTime::UNIX_EPOCH);
        self.hub.properties(partition).map_or(never, |properties| properties.last_enqueued)
    }
}
