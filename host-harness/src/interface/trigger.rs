//! Events: polled, streamed or received.

use std::fmt;

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::types::{Cursor, Severity};
use super::{base64_bytes, json_text};
use crate::setters::setters;

/// The data of an event.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(variant)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// JSON, following the trigger's output schema.
    #[component(name = "json")]
    Json(#[serde(with = "json_text")] String),
    /// Text that is not JSON.
    #[component(name = "text")]
    Text(String),
    /// Other data, as bytes.
    #[component(name = "bytes")]
    Bytes(#[serde(with = "base64_bytes")] Vec<u8>),
}

/// An extension attribute of a CloudEvent.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Attribute {
    /// The name, in lower-case letters and digits.
    pub name: String,
    /// The value as text.
    pub value: String,
}

/// One event: a CloudEvent 1.0, with the fields that an engine needs to commit it.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// CloudEvents `id`: the same whenever the event is delivered again.
    pub id: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `type`.
    #[component(name = "event-type")]
    pub event_type: String,
    /// CloudEvents `subject`.
    pub subject: Option<String>,
    /// CloudEvents `time` (RFC 3339).
    pub time: Option<String>,
    /// CloudEvents `datacontenttype`.
    #[component(name = "content-type")]
    pub content_type: Option<String>,
    /// CloudEvents `data`.
    pub data: Payload,
    /// CloudEvents extension attributes.
    pub attributes: Vec<Attribute>,
    /// The partition that the event comes from.
    pub partition: String,
    /// Events with the same key must be processed in the order in which they are delivered.
    #[component(name = "order-key")]
    pub order_key: String,
    /// A description of the event in one line, for a person.
    pub summary: String,
    /// The position after this event, from which a poll can continue; see [`Event::cursor`].
    #[serde(with = "base64_bytes")]
    pub position: Vec<u8>,
}

impl Event {
    /// The cursor with which a poll continues after this event. `given` is the cursor of the poll that returned the
    /// event: the result keeps the snapshot of `given` and takes the position of this event.
    #[must_use]
    pub fn cursor(&self, given: Option<&Cursor>) -> Cursor {
        Cursor {
            snapshot: given.map(|cursor| cursor.snapshot.clone()).unwrap_or_default(),
            position: self.position.clone(),
        }
    }
}

/// Where a poll without a cursor starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lower, Serialize, Deserialize)]
#[component(variant)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Starts with changes from now on.
    #[default]
    #[component(name = "now")]
    Now,
    /// Starts with the oldest data that the service holds.
    #[component(name = "earliest")]
    Earliest,
    /// Starts with data newer than this instant (RFC 3339).
    #[component(name = "at-time")]
    AtTime(String),
    /// Starts after this position in the service's own notation.
    #[component(name = "at-position")]
    AtPosition(String),
}

/// What a poll does when the service no longer holds the data at the cursor's position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ComponentType, Lower, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum LostPolicy {
    /// The poll fails with `position-lost`.
    #[default]
    #[component(name = "stop")]
    Stop,
    /// The poll continues with the oldest data that is left, and returns a notice.
    #[component(name = "earliest")]
    Earliest,
    /// The poll continues with new data only, and returns a notice.
    #[component(name = "now")]
    Now,
}

/// The bounds of one poll. The deadline comes from the tenant.
///
/// ```
/// use connector_host::interface::trigger::Budget;
///
/// let budget = Budget::default().with_events(500).with_bytes(4 << 20).with_wait_ms(20_000);
/// assert_eq!(budget.events, 500);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// The largest number of events to return. At least 1.
    /// Default: 100 events.
    pub events: u32,
    /// The largest number of bytes of event data to return. A single event may exceed it.
    /// Default: 1 MiB.
    pub bytes: u64,
    /// How long the poll may wait for a first event, in milliseconds.
    /// Default: 0, which means no waiting.
    pub wait_ms: u64,
}

setters! {
    Budget {
        value with_events (events: u32);
        value with_bytes (bytes: u64);
        value with_wait_ms (wait_ms: u64);
    }
}

impl Default for Budget {
    /// 100 events, 1 MiB, no waiting.
    fn default() -> Self {
        Self { events: 100, bytes: 1 << 20, wait_ms: 0 }
    }
}

/// The parameters of one poll, without the connection.
///
/// ```
/// use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
/// use connector_host::interface::types::Cursor;
///
/// let stored = Cursor { snapshot: Vec::new(), position: vec![1] };
/// let request = PollRequest::new("telemetry-received", "0")
///     .with_config(r#"{"consumerGroup": "engine"}"#)
///     .with_start(Start::Earliest)
///     .with_on_position_lost(LostPolicy::Earliest)
///     .with_cursor(stored)
///     .with_budget(Budget::default().with_wait_ms(10_000));
/// assert_eq!(request.partition, "0");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PollRequest {
    /// The trigger's id.
    pub trigger: String,
    /// The id of one of the trigger's partitions. Empty: one poll reads all partitions, with one cursor.
    pub partition: String,
    /// The trigger's configuration, a JSON text.
    #[serde(with = "json_text")]
    pub config: String,
    /// Where the poll starts when it has no cursor.
    pub start: Start,
    /// What to do when the service no longer holds the data at the cursor's position.
    pub on_position_lost: LostPolicy,
    /// The cursor from which the poll continues. None: the poll starts at `start`.
    pub cursor: Option<Cursor>,
    /// The bounds of this poll.
    pub budget: Budget,
}

impl PollRequest {
    /// A poll of one partition; an empty `partition` means all partitions. The configuration is `{}`, there is no
    /// cursor, the poll starts with changes from now on and stops where the position is lost, and the budget is the
    /// default one.
    #[must_use]
    pub fn new(trigger: impl Into<String>, partition: impl Into<String>) -> Self {
        Self {
            trigger: trigger.into(),
            partition: partition.into(),
            config: "{}".to_owned(),
            start: Start::default(),
            on_position_lost: LostPolicy::default(),
            cursor: None,
            budget: Budget::default(),
        }
    }
}

setters! {
    PollRequest {
        into with_config (config: String);
        value with_start (start: Start);
        value with_on_position_lost (on_position_lost: LostPolicy);
        some with_cursor (cursor: Cursor);
        value with_budget (budget: Budget);
    }
}

/// A message about a poll that is neither an event nor an error.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// The severity of the notice.
    pub severity: Severity,
    /// Stable kebab-case name.
    pub code: String,
    /// The message, for a person.
    pub message: String,
}

/// The result of one poll.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The events, in order. The list may be empty although more events are waiting.
    pub events: Vec<Event>,
    /// The cursor with which to continue after all these events have been processed.
    pub next: Cursor,
    /// Whether more events are available now: poll again at once.
    pub more: bool,
    /// If `more` is false: how many milliseconds to wait before the next poll.
    #[component(name = "wait-hint-ms")]
    pub wait_hint_ms: u64,
    /// The number of events that are known to be waiting, where this is known.
    pub lag: Option<u64>,
    /// Messages about this poll.
    pub notices: Vec<Notice>,
}

/// A part of a trigger that can be polled by itself.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Partition {
    /// The stable id of the partition.
    pub id: String,
    /// The name of the partition, for a person.
    pub title: String,
}

/// A subscription at the service, which sends requests to the engine.
#[derive(Clone, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Opaque data of the connector, to be passed to `renew`, `unsubscribe` and `receive`. It may contain a secret.
    #[serde(with = "base64_bytes")]
    pub state: Vec<u8>,
    /// The instant at which the subscription expires unless it is renewed (RFC 3339).
    pub expires: Option<String>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// A request or response header.
#[derive(Clone, ComponentType, Lift, Lower, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The name, in lower case.
    pub name: String,
    /// The value.
    #[serde(with = "base64_bytes")]
    pub value: Vec<u8>,
}

impl fmt::Debug for Header {
    /// Prints only the names, because values may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An HTTP request that the engine received for a subscription.
#[derive(Clone, Debug, ComponentType, Lower, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedRequest {
    /// The method, in upper case.
    pub method: String,
    /// Path and query, exactly as received.
    #[component(name = "path-with-query")]
    pub path_with_query: String,
    /// The headers.
    pub headers: Vec<Header>,
    /// The body.
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
}

/// The response that the engine must send to a received request, and the events that it must fire.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    /// The HTTP status of the response.
    pub status: u16,
    /// The headers of the response.
    pub headers: Vec<Header>,
    /// The body of the response.
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
    /// The events to fire before the response is sent.
    pub events: Vec<Event>,
    /// Whether the engine must poll the trigger now.
    pub wake: bool,
}
