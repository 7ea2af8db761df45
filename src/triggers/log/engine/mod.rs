//! Triggers on the log of events that a hub keeps. They read partitions from the cursor's position on: one partition in
//! each poll, or all partitions in one poll.
//!
//! An event that a filter holds back still moves the position forward. A body that cannot be read is delivered as
//! bytes. Where a position is gone (retention, a hub that was deleted and created again, another number of partitions),
//! the request's policy decides; no event is lost silently or delivered twice.

pub mod decode;
pub mod filter;
pub mod link;
mod mapper;
pub mod position;
mod reading;
pub mod trigger;

use std::time::Duration;

use crate::bindings::exports::workflow::connector::trigger::{Notice, Page, PollRequest};
use crate::error::Result;
use crate::eventhub::{Event as Message, StartPosition};
use crate::triggers::shared::event::EventDraft;
use reading::Reading;

/// The description of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The Event Hub's name, in lower case, because the service ignores case.
    pub name: String,
    /// When the log was created, in milliseconds since the Unix epoch. 0 where the time is not known.
    pub created: i64,
    /// The ids of all its partitions, in ascending order.
    pub ids: Vec<String>,
    /// The partitions that are read: one, or all in ascending order. Never empty.
    pub read: Vec<PartitionState>,
}

/// The description of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    pub id: String,
    /// The sequence number of the oldest event in the partition.
    pub first: i64,
    /// The sequence number of the newest event, even if that event is no longer kept.
    pub last: i64,
    /// The newest event's offset.
    pub last_offset: String,
    /// When the newest event was enqueued, in milliseconds since the Unix epoch.
    pub last_time_ms: i64,
    /// Whether the partition holds no event now.
    pub empty: bool,
}

/// A log, or one partition of it.
pub trait Log {
    /// Reads the description again, where it is too old.
    ///
    /// # Errors
    /// Those of the service.
    fn refresh(&mut self) -> Result<()>;

    /// The description of the log. Received messages keep it up to date.
    fn state(&self) -> &LogState;

    /// Prepares to read each partition from its position in `from`.
    ///
    /// # Errors
    /// As [`Log::receive`].
    fn begin(&mut self, from: &[StartPosition]) -> Result<()>;

    /// The next messages of one partition, in order: at most `most`. Waits up to `wait` for the first message.
    /// `partition` is the index in the list of partitions that are read.
    ///
    /// # Errors
    /// Those of the service; `position-lost` where the service does not know the position `from`.
    fn receive(&mut self, partition: usize, from: &StartPosition, most: usize, wait: Duration) -> Result<Vec<Message>>;

    /// Takes back the last messages of a partition, which come after `from`. The next call of [`Log::receive`] returns
    /// them again.
    fn give_back(&mut self, partition: usize, messages: Vec<Message>, from: StartPosition);

    /// Waits until one of the partitions has a message after its position in `from`. False where none came within
    /// `wait`.
    ///
    /// # Errors
    /// As [`Log::receive`].
    fn wait(&mut self, from: &[StartPosition], wait: Duration) -> Result<bool>;

    /// How much time is left of the call.
    fn remaining(&self) -> Duration;

    /// Notices for a person about the way to the log.
    fn notices(&self) -> Vec<Notice>;
}

/// Makes event drafts of messages.
pub trait EventMapper {
    /// CloudEvents `source`.
    fn source(&self) -> String;
    /// A hash of the hub, the trigger and the partition. `partition` is empty for all partitions.
    fn scope(&self, partition: &str) -> [u8; 8];
    /// The same hash for the hub's other names, which older cursors may hold.
    fn scopes_by_other_names(&self, _partition: &str) -> Vec<[u8; 8]> {
        Vec::new()
    }
    /// The event draft of a message. None where the configuration holds the message back.
    fn draft(&self, message: &Message) -> Option<EventDraft>;
}

/// One poll of one partition or of all partitions.
///
/// # Errors
/// Those of the interface's `poll`.
pub fn poll(log: &mut dyn Log, mapper: &dyn EventMapper, request: &PollRequest) -> Result<Page> {
    log.refresh()?;
    Reading::open(log, mapper, request)?.run()
}

#[cfg(test)]
mod tests;
