//! Triggers on the log of events that a hub keeps: its partitions are read on from where the cursor is, each by a poll of
//! its own, or all of them by one.
//!
//! What a filter holds back still moves the position: it was looked at. A body that cannot be read is delivered as bytes.
//! A position that is gone (retention, a hub that was made again, another number of partitions) is answered by the policy, never by
//! silence or by events that were delivered before.

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

/// What is known of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Its name, in lower case: names have no case.
    pub name: String,
    /// When the log was made, milliseconds since the Unix epoch; 0 where that is not known.
    pub created: i64,
    /// The ids of all its partitions, in their order.
    pub ids: Vec<String>,
    /// The partitions that are read: one, or all in their order. Never none.
    pub read: Vec<PartitionState>,
}

/// What is known of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    pub id: String,
    /// The number of the oldest event there is.
    pub first: i64,
    /// The number of the newest event there is or was.
    pub last: i64,
    /// The newest event's offset.
    pub last_offset: String,
    /// When the newest event was enqueued, in milliseconds since the Unix epoch.
    pub last_time_ms: i64,
    /// Whether there is no event now.
    pub empty: bool,
}

/// A log, or one partition of it.
pub trait Log {
    /// Brings what is known up to date.
    ///
    /// # Errors
    /// Those of the service.
    fn refresh(&mut self) -> Result<()>;

    /// What is known. The messages that come in bring it up to date, too.
    fn state(&self) -> &LogState;

    /// Makes ready to read each partition from these places.
    ///
    /// # Errors
    /// As [`Log::receive`].
    fn begin(&mut self, from: &[StartPosition]) -> Result<()>;

    /// The next messages of the partition at this place of the list, in order: up to `most`, waiting up to `wait` for the
    /// first one.
    ///
    /// # Errors
    /// Those of the service; `position-lost` where it knows no such place.
    fn receive(&mut self, partition: usize, from: &StartPosition, most: usize, wait: Duration) -> Result<Vec<Message>>;

    /// Takes the last messages of a partition back, which come after this place: they come again with the next ones.
    fn give_back(&mut self, partition: usize, messages: Vec<Message>, from: StartPosition);

    /// Waits until one of the partitions has more after these places. False where none had within `wait`.
    ///
    /// # Errors
    /// As [`Log::receive`].
    fn wait(&mut self, from: &[StartPosition], wait: Duration) -> Result<bool>;

    /// How much time the call has left.
    fn remaining(&self) -> Duration;

    /// What a person should know of the way to it.
    fn notices(&self) -> Vec<Notice>;
}

/// Makes event drafts of messages.
pub trait EventMapper {
    /// CloudEvents `source`.
    fn source(&self) -> String;
    /// A hash of what is read, and where: a partition, or all of them where it is empty.
    fn scope(&self, partition: &str) -> [u8; 8];
    /// The same as it would be by the hub's other names, which cursors of before may have.
    fn scopes_by_other_names(&self, _partition: &str) -> Vec<[u8; 8]> {
        Vec::new()
    }
    /// The draft for a message; none where the configuration holds the message back.
    fn draft(&self, message: &Message) -> Option<EventDraft>;
}

/// One poll, of a partition or of all of them.
///
/// # Errors
/// As the interface's `poll`.
pub fn poll(log: &mut dyn Log, mapper: &dyn EventMapper, request: &PollRequest) -> Result<Page> {
    log.refresh()?;
    Reading::open(log, mapper, request)?.run()
}

#[cfg(test)]
mod tests;
