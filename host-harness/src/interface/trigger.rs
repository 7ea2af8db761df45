//! Events: polled, streamed or received.

use std::fmt;

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::types::{Cursor, Severity};
use super::{base64_bytes, json_text};
use crate::setters::setters;

/// What an event carries.
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
    /// Anything else.
    #[component(name = "bytes")]
    Bytes(#[serde(with = "base64_bytes")] Vec<u8>),
}

/// An extension attribute of a CloudEvent.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Attribute {
    /// Lower-case letters and digits.
    pub name: String,
    /// The value as text.
    pub value: String,
}

/// One event: a CloudEvent 1.0 and what an engine needs to commit it.
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
    /// The partition that it comes from.
    pub partition: String,
    /// Events with the same key are to be processed in the order they come.
    #[component(name = "order-key")]
    pub order_key: String,
    /// One line for a person.
    pub summary: String,
    /// Where to go on after this event; see [`Event::cursor`].
    #[serde(with = "base64_bytes")]
    pub position: Vec<u8>,
}

impl Event {
    /// The cursor that goes on after this event: its position and the snapshot that its poll was given.
    #[must_use]
    pub fn cursor(&self, given: Option<&Cursor>) -> Cursor {
        Cursor {
            snapshot: given.map(|cursor| cursor.snapshot.clone()).unwrap_or_default(),
            position: self.position.clone(),
        }
    }
}

/// Where to begin where there is no cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lower, Serialize, Deserialize)]
#[component(variant)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// With what changes from now on.
    #[default]
    #[component(name = "now")]
    Now,
    /// With everything that is there.
    #[component(name = "earliest")]
    Earliest,
    /// With what is younger than this instant (RFC 3339).
    #[component(name = "at-time")]
    AtTime(String),
    /// With what follows this position of the service's own.
    #[component(name = "at-position")]
    AtPosition(String),
}

/// What to do when the cursor points at something that is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ComponentType, Lower, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum LostPolicy {
    /// Fail with `position-lost`.
    #[default]
    #[component(name = "stop")]
    Stop,
    /// Go on with the oldest that is there, with a notice.
    #[component(name = "earliest")]
    Earliest,
    /// Go on with what comes from now on, with a notice.
    #[component(name = "now")]
    Now,
}

/// What one poll may use up. Its deadline is the call's.
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
    /// Events at the most. At least 1.
    /// Default: 100 events.
    pub events: u32,
    /// Bytes of event data at the most; one event may exceed it alone.
    /// Default: 1 MiB.
    pub bytes: u64,
    /// How many milliseconds to wait for a first event where there is none yet.
    /// Default: 0, which is not at all.
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

/// One poll, without the connection.
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
    /// Id of one of the trigger's partitions; empty: all of them by one poll, with one cursor.
    pub partition: String,
    /// The trigger's configuration, a JSON text.
    #[serde(with = "json_text")]
    pub config: String,
    /// Where to begin where there is no cursor.
    pub start: Start,
    /// What to do when the cursor's position is gone.
    pub on_position_lost: LostPolicy,
    /// Where to go on; none: at `start`.
    pub cursor: Option<Cursor>,
    /// What it may use up.
    pub budget: Budget,
}

impl PollRequest {
    /// Of one partition; an empty one: of all. With the configuration `{}`, from now on, stopping where the position is
    /// lost, without a cursor, and with the default budget.
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

/// Something worth reporting that is no event and no error.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// How grave it is.
    pub severity: Severity,
    /// Stable kebab-case name.
    pub code: String,
    /// For a person.
    pub message: String,
}

/// What one poll yields.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The events, in order. May be empty while there is more.
    pub events: Vec<Event>,
    /// Where to go on once all of them are done.
    pub next: Cursor,
    /// There is more right now: poll again at once.
    pub more: bool,
    /// Otherwise poll again after this many milliseconds.
    #[component(name = "wait-hint-ms")]
    pub wait_hint_ms: u64,
    /// How many events are known to be waiting, where that is known.
    pub lag: Option<u64>,
    /// What is worth reporting.
    pub notices: Vec<Notice>,
}

/// Something that can be polled by itself.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Partition {
    /// Its id, stable.
    pub id: String,
    /// Its name for a person.
    pub title: String,
}

/// What the service must call.
#[derive(Clone, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Opaque; hand it back to `renew`, `unsubscribe` and `receive`. May hold a secret.
    #[serde(with = "base64_bytes")]
    pub state: Vec<u8>,
    /// When it runs out unless it is renewed (RFC 3339).
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
    /// Its name, lower case.
    pub name: String,
    /// Its value.
    #[serde(with = "base64_bytes")]
    pub value: Vec<u8>,
}

impl fmt::Debug for Header {
    /// Names only: values may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An HTTP request that came to the engine for a subscription.
#[derive(Clone, Debug, ComponentType, Lower, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedRequest {
    /// The method, upper case.
    pub method: String,
    /// Path and query as they came.
    #[component(name = "path-with-query")]
    pub path_with_query: String,
    /// The headers.
    pub headers: Vec<Header>,
    /// The body.
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
}

/// What the engine has to answer, and what it has to fire.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<Header>,
    /// Body.
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
    /// The events to fire, before answering.
    pub events: Vec<Event>,
    /// Poll the trigger now.
    pub wake: bool,
}
