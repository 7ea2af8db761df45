//! What the connector is and can do.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::json_text;
use super::types::Cursor;
use crate::connection::Connection;

/// One way of authorizing.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct AuthProfile {
    /// Stable kebab-case id.
    pub id: String,
    /// A short name for a person.
    pub title: String,
    /// Markdown: when to choose it and where to find the values.
    pub help: String,
    /// JSON Schema 2020-12 of the connection's values.
    #[serde(with = "json_text")]
    pub schema: String,
}

/// A permission of the service that some operations need.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// Stable kebab-case id.
    pub id: String,
    /// The service's own name for it.
    pub title: String,
    /// Which service grants it.
    pub service: String,
    /// Markdown: what it is for and where to grant it.
    pub help: String,
}

/// A bound that the service sets.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// What is bounded, for a person.
    pub title: String,
    /// The bound.
    pub value: u64,
    /// Its unit, such as `bytes`, `requests/minute`, `items`.
    pub unit: String,
}

/// What triggers and actions have in common.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Stable kebab-case id, unique among all operations of the connector.
    pub id: String,
    /// Counts up when the input or output changes in a way that `migrate` has to bridge. From 1.
    pub revision: u32,
    /// The id of the operation to use instead.
    #[component(name = "deprecated-by")]
    pub deprecated_by: Option<String>,
    /// A short name for a person.
    pub title: String,
    /// Markdown: what it does, what it costs, what to watch out for.
    pub help: String,
    /// The heading to show it under.
    pub group: String,
    /// JSON Schema 2020-12 of the configuration (trigger) or input (action).
    #[component(name = "input-schema")]
    #[serde(with = "json_text")]
    pub input_schema: String,
    /// JSON Schema 2020-12 of an event's data (trigger) or of the output (action).
    #[component(name = "output-schema")]
    #[serde(with = "json_text")]
    pub output_schema: String,
    /// One example of the input.
    #[component(name = "input-sample")]
    #[serde(with = "json_text")]
    pub input_sample: String,
    /// One example of the output.
    #[component(name = "output-sample")]
    #[serde(with = "json_text")]
    pub output_sample: String,
    /// `resolve_schema` can say more about the input once a connection is there.
    #[component(name = "dynamic-input")]
    pub dynamic_input: bool,
    /// `resolve_schema` can say more about the output once a connection is there.
    #[component(name = "dynamic-output")]
    pub dynamic_output: bool,
    /// Ids of the permissions that it needs, all of them.
    pub permissions: Vec<String>,
    /// What the service bounds.
    pub limits: Vec<Limit>,
}

/// How a trigger comes by its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum TriggerKind {
    /// The service keeps records, not events; each poll compares.
    #[component(name = "polling")]
    Polling,
    /// The service keeps a log of events; each poll reads on.
    #[component(name = "streaming")]
    Streaming,
    /// The service calls.
    #[component(name = "webhook")]
    Webhook,
    /// The service calls to wake the poll up, and the poll is the truth.
    #[component(name = "hybrid")]
    Hybrid,
}

/// Where a trigger can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum StartMode {
    /// With what changes from now on.
    #[component(name = "now")]
    Now,
    /// With everything that is there.
    #[component(name = "earliest")]
    Earliest,
    /// With what is younger than an instant.
    #[component(name = "at-time")]
    AtTime,
    /// With what follows a position of the service's own.
    #[component(name = "at-position")]
    AtPosition,
}

/// A trigger: an operation that yields events.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct TriggerDescriptor {
    /// What it has in common with actions.
    pub operation: Operation,
    /// How it comes by its events.
    pub kind: TriggerKind,
    /// Where it can begin; the first one is the default.
    #[component(name = "start-modes")]
    pub start_modes: Vec<StartMode>,
    /// Polling more often than this many milliseconds gains nothing or meets the service's limits.
    #[component(name = "min-interval-ms")]
    pub min_interval_ms: u64,
}

/// What an action does to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Effect {
    /// It changes nothing.
    #[component(name = "read")]
    Read,
    /// It creates or changes something.
    #[component(name = "write")]
    Write,
    /// It removes something that cannot be brought back.
    #[component(name = "destructive")]
    Destructive,
}

/// Whether an action may be called twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Idempotency {
    /// Twice is the same as once.
    #[component(name = "natural")]
    Natural,
    /// Twice is the same as once where the same idempotency key is given.
    #[component(name = "keyed")]
    Keyed,
    /// Twice is the same as once where the input states the ETag.
    #[component(name = "conditional")]
    Conditional,
    /// Twice is twice.
    #[component(name = "none")]
    None,
}

/// An action: an operation that is called with an input.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct ActionDescriptor {
    /// What it has in common with triggers.
    pub operation: Operation,
    /// What it does to the service.
    pub effect: Effect,
    /// Whether it may be called twice.
    pub idempotency: Idempotency,
    /// `invoke` can answer with a page, to be continued with `resume`.
    pub paged: bool,
}

/// What an egress rule opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum EgressProtocol {
    /// HTTP over TLS, through `wasi:http`.
    #[component(name = "https")]
    Https,
    /// A TLS connection of the connector's own, through `wasi:sockets`.
    #[component(name = "tls")]
    Tls,
}

/// A place that the connector must be able to reach.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct EgressRule {
    /// What is opened.
    pub protocol: EgressProtocol,
    /// The host, with an optional `:port`; `{field}` stands for that field of the normalized connection. `*` alone is for
    /// hosts that the service names at run time: any below one of `suffixes`, on `default_port`.
    pub host: String,
    /// The port where `host` yields none.
    #[component(name = "default-port")]
    pub default_port: u16,
    /// Host name suffixes, with the leading dot.
    pub suffixes: Vec<String>,
    /// What it is for, for a person.
    pub purpose: String,
}

/// All that an engine needs to know before an account is linked.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Stable kebab-case id.
    pub id: String,
    /// The connector's own version (semver).
    pub version: String,
    /// The version of the interface that it was built on (semver).
    #[component(name = "interface-version")]
    pub interface_version: String,
    /// A short name for a person.
    pub title: String,
    /// Markdown: what it connects to and how to begin.
    pub help: String,
    /// The ways of authorizing, best first.
    #[component(name = "auth-profiles")]
    pub auth_profiles: Vec<AuthProfile>,
    /// All permissions that operations name.
    pub permissions: Vec<Permission>,
    /// The triggers.
    pub triggers: Vec<TriggerDescriptor>,
    /// The actions.
    pub actions: Vec<ActionDescriptor>,
    /// Where it must be able to connect to, and nowhere else.
    pub egress: Vec<EgressRule>,
    /// Functions that always answer `unsupported`, as `interface.function`.
    pub unsupported: Vec<String>,
}

/// A configuration or input that was stored with an older version of the connector.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct StoredInput {
    /// The operation's id at the time.
    pub operation: String,
    /// The operation's revision at the time.
    pub revision: u32,
    /// What was stored, a JSON text.
    #[serde(with = "json_text")]
    pub value: String,
}

/// A cursor that was stored with an older version of the connector.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct StoredCursor {
    /// The trigger's id at the time.
    pub trigger: String,
    /// The trigger's revision at the time.
    pub revision: u32,
    /// What was stored.
    pub value: Cursor,
}

/// Something that the host stored with an older version of the connector.
#[derive(Clone, Debug)]
pub enum Stored {
    /// A linked account.
    Connection(Connection),
    /// The configuration of a trigger or the input of an action.
    Input(StoredInput),
    /// A trigger's cursor.
    Cursor(StoredCursor),
}
