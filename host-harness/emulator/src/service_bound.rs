//! The queues that back ends read from the hub: feedback on messages to devices, and notices of uploaded files.
//!
//! Both queues have locks: a reader gets an item under a lock token, and then completes or abandons the item. When the
//! reader's connection ends first, the item returns to its queue.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::clock::{now, rfc3339};
use crate::random;
use crate::sync::lock;

/// The largest number of records in one feedback message (device-to-cloud feedback of IoT Hub).
const FEEDBACK_BATCH: usize = 64;

/// How a message to a device ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedbackStatus {
    Success,
    Expired,
    Rejected,
    Purged,
    DeliveryCountExceeded,
}

impl FeedbackStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Expired => "Expired",
            Self::Rejected => "Rejected",
            Self::Purged => "Purged",
            Self::DeliveryCountExceeded => "DeliveryCountExceeded",
        }
    }
}

/// One record of feedback.
#[derive(Clone, Debug)]
pub(crate) struct Feedback {
    pub(crate) message_id: String,
    pub(crate) status: FeedbackStatus,
    pub(crate) device_id: String,
    pub(crate) generation: String,
    pub(crate) at: OffsetDateTime,
}

impl Feedback {
    fn to_json(&self) -> Value {
        json!({
            "originalMessageId": self.message_id,
            "description": self.status.as_str(),
            "statusCode": self.status.as_str(),
            "deviceId": self.device_id,
            "deviceGenerationId": self.generation,
            "enqueuedTimeUtc": rfc3339(self.at),
        })
    }
}

/// A file that a device has uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUpload {
    /// The id of the device.
    pub device_id: String,
    /// The blob's address.
    pub blob_uri: String,
    /// The blob's name.
    pub blob_name: String,
    /// The blob's size in bytes.
    pub size: u64,
}

/// The two queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Queue {
    Feedback,
    Files,
}

impl Queue {
    /// The content type of the queue's messages.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Feedback => "application/vnd.microsoft.iothub.feedback.json",
            Self::Files => "application/vnd.microsoft.iothub.filenotification.json",
        }
    }
}

/// An item that a reader has locked.
#[derive(Clone, Debug)]
pub(crate) struct Locked {
    pub(crate) token: [u8; 16],
    pub(crate) body: String,
}

pub(crate) struct ServiceBound {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    feedback: VecDeque<Feedback>,
    files: VecDeque<(FileUpload, OffsetDateTime)>,
    /// Messages whose whole body was given by [`ServiceBound::give`].
    given: VecDeque<(Queue, String)>,
    locked: HashMap<[u8; 16], Item>,
}

enum Item {
    Feedback(Vec<Feedback>),
    File(FileUpload, OffsetDateTime),
    Given(Queue, String),
}

impl Default for ServiceBound {
    fn default() -> Self {
        Self { state: Mutex::default(), version: watch::Sender::new(0) }
    }
}

impl ServiceBound {
    /// A receiver that is notified when an item arrives.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn add_feedback(&self, feedback: impl IntoIterator<Item = Feedback>) {
        let mut state = lock(&self.state);
        let before = state.feedback.len();
        state.feedback.extend(feedback);
        let grown = state.feedback.len() > before;
        drop(state);
        if grown {
            self.wake();
        }
    }

    pub(crate) fn add_file(&self, file: FileUpload) {
        lock(&self.state).files.push_back((file, now()));
        self.wake();
    }

    /// Adds a message with exactly this body, even if no hub would write it.
    pub(crate) fn give(&self, queue: Queue, body: String) {
        lock(&self.state).given.push_back((queue, body));
        self.wake();
    }

    /// How many feedback records and file notices no reader has completed, including locked ones.
    pub(crate) fn left(&self) -> (usize, usize) {
        let state = lock(&self.state);
        let given = |queue| state.given.iter().filter(|(of, _)| *of == queue).count();
        let (feedback, files) =
            (state.feedback.len() + given(Queue::Feedback), state.files.len() + given(Queue::Files));
        state.locked.values().fold((feedback, files), |(feedback, files), item| match item {
            Item::Feedback(batch) => (feedback + batch.len(), files),
            Item::Given(Queue::Feedback, _) => (feedback + 1, files),
            Item::File(..) | Item::Given(Queue::Files, _) => (feedback, files + 1),
        })
    }

    fn wake(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// The time until the queue has a message that waits for no more records. Zero means now, `None` an empty queue.
    pub(crate) fn ready_in(&self, queue: Queue, wait: Duration) -> Option<Duration> {
        let state = lock(&self.state);
        if state.given.iter().any(|(of, _)| *of == queue) {
            return Some(Duration::ZERO);
        }
        match queue {
            Queue::Files => (!state.files.is_empty()).then_some(Duration::ZERO),
            Queue::Feedback if state.feedback.len() >= FEEDBACK_BATCH => Some(Duration::ZERO),
            Queue::Feedback => state.feedback.front().map(|oldest| {
                let waited = Duration::try_from(now() - oldest.at).unwrap_or_default();
                wait.saturating_sub(waited)
            }),
        }
    }

    /// Takes a message and locks it.
    pub(crate) fn take(&self, queue: Queue) -> Option<Locked> {
        let mut state = lock(&self.state);
        let given = state.given.iter().position(|(of, _)| *of == queue);
        if let Some((_, body)) = given.and_then(|at| state.given.remove(at)) {
            let token = <[u8; 16]>::try_from(random::fill(16)).unwrap_or_default();
            state.locked.insert(token, Item::Given(queue, body.clone()));
            return Some(Locked { token, body });
        }
        let (item, body) = match queue {
            Queue::Feedback => {
                let count = state.feedback.len().min(FEEDBACK_BATCH);
                let batch: Vec<_> = state.feedback.drain(..count).collect();
                if batch.is_empty() {
                    return None;
                }
                let body = Value::Array(batch.iter().map(Feedback::to_json).collect());
                (Item::Feedback(batch), body)
            }
            Queue::Files => {
                let (file, at) = state.files.pop_front()?;
                let body = json!({
                    "deviceId": file.device_id,
                    "blobUri": file.blob_uri,
                    "blobName": file.blob_name,
                    "lastUpdatedTime": rfc3339(at),
                    "blobSizeInBytes": file.size,
                    "enqueuedTimeUtc": rfc3339(at),
                });
                (Item::File(file, at), body)
            }
        };
        let token = <[u8; 16]>::try_from(random::fill(16)).unwrap_or_default();
        state.locked.insert(token, item);
        Some(Locked { token, body: body.to_string() })
    }

    /// Ends a lock and removes the message. Returns whether there was such a lock.
    pub(crate) fn complete(&self, token: &[u8; 16]) -> bool {
        lock(&self.state).locked.remove(token).is_some()
    }

    /// Ends a lock and puts the message back into its queue. Returns whether there was such a lock.
    pub(crate) fn abandon(&self, token: &[u8; 16]) -> bool {
        let mut state = lock(&self.state);
        let known = match state.locked.remove(token) {
            Some(Item::Feedback(batch)) => {
                batch.into_iter().rev().for_each(|feedback| state.feedback.push_front(feedback));
                true
            }
            Some(Item::File(file, at)) => {
                state.files.push_front((file, at));
                true
            }
            Some(Item::Given(queue, body)) => {
                state.given.push_front((queue, body));
                true
            }
            None => false,
        };
        drop(state);
        if known {
            self.wake();
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback(n: usize) -> Feedback {
        Feedback {
            message_id: n.to_string(),
            status: FeedbackStatus::Success,
            device_id: "d".to_owned(),
            generation: "1".to_owned(),
            at: now(),
        }
    }

    #[test]
    fn feedback_comes_in_batches_and_comes_back() {
        let queue = ServiceBound::default();
        let wait = Duration::from_secs(15);
        assert_eq!(queue.ready_in(Queue::Feedback, wait), None);
        queue.add_feedback((0..70).map(feedback));
        assert_eq!(queue.ready_in(Queue::Feedback, wait), Some(Duration::ZERO));
        let first = queue.take(Queue::Feedback).expect("batch");
        let items = |locked: &Locked| serde_json::from_str::<Vec<Value>>(&locked.body).expect("JSON").len();
        assert_eq!(items(&first), 64);
        assert!(queue.ready_in(Queue::Feedback, wait).is_some_and(|left| left > Duration::ZERO));
        assert_eq!(queue.left(), (70, 0));
        assert!(queue.abandon(&first.token) && !queue.complete(&first.token));
        let again = queue.take(Queue::Feedback).expect("batch");
        assert_eq!(again.body, first.body);
        assert!(queue.complete(&again.token));
        assert_eq!(queue.left(), (6, 0));
    }
}
