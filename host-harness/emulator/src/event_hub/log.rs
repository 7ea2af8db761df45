//! One partition: a log of events.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::EventHubError;
use super::event::{StoredEvent, TelemetryEvent};
use super::selector::Start;
use crate::clock::milliseconds;

/// Offsets are multiples of this number, so that they look like byte positions in a log.
const OFFSET_STEP: i64 = 8;

/// A log of events.
#[derive(Default)]
pub(crate) struct Partition {
    pub(super) events: VecDeque<Arc<StoredEvent>>,
    next_sequence: i64,
    next_offset: i64,
    last: Option<(i64, i64, i64)>,
}

/// The properties of a partition that `$management` reports.
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

/// The position of a reader in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The next event to read has this sequence number or a later one.
    pub(crate) sequence: i64,
    /// Events that were enqueued before this time (milliseconds since the Unix epoch) are skipped.
    pub(crate) not_before: Option<i64>,
}

/// Where an event was put.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct EventPosition {
    /// The partition.
    pub partition: u16,
    /// The event's sequence number in the partition.
    pub sequence_number: i64,
    /// The event's offset in the partition, as readers see it.
    pub offset: String,
}

impl Partition {
    pub(super) fn append(&mut self, now: i64, event: TelemetryEvent) -> (i64, i64) {
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

    pub(super) fn properties(&self) -> Properties {
        let (last_sequence, last_offset, last_enqueued) = self.last.unwrap_or((-1, -1, 0));
        Properties {
            begin: self.events.front().map_or(self.next_sequence, |event| event.sequence),
            last_sequence,
            last_offset,
            last_enqueued,
            is_empty: self.events.is_empty(),
        }
    }

    pub(super) fn locate(&self, start: &Start) -> Result<Position, EventHubError> {
        let (last_sequence, last_offset, _) = self.last.unwrap_or((-1, -1, 0));
        let beyond = |what: &'static str, given: i64, last: i64| EventHubError::Beyond { what, given, last };
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
