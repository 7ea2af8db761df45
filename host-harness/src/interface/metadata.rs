//! The descriptor of a connector, and stored items that a newer version of the connector can convert.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::json_text;
use super::types::Cursor;
use crate::connection::Connection;

/// One way to authorize.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct AuthProfile {
    /// Stable kebab-case id.
    pub id: String,
    /// A short name for a person.
    pub title: String,
    /// Markdown: when to choose this way, and where to find the values.
    pub help: String,
    /// JSON Schema 2020-12 of the connection's values.
    #[serde(with = "json_text")]
    pub schema: String,
}

/// A permission of the service that some operations require.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// Stable kebab-case id.
    pub id: String,
    /// The service's own name for it.
    pub title: String,
    /// The service that grants the permission.
    pub service: String,
    /// Markdown: what the permission is for, and where to grant it.
    pub help: String,
}

/// A bound that the service sets.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// The name of the bounded quantity, for a person.
    pub title: String,
    /// The largest allowed value.
    pub value: u64,
    /// The unit of the value, such as `bytes`, `requests/minute`, `items`.
    pub unit: String,
}

/// The properties that triggers and actions have in common.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Stable kebab-case id, unique among all operations of the connector.
    pub id: String,
    /// Increases when the input or output changes so that stored data needs `migrate`. The first revision is 1.
    pub revision: u32,
    /// The id of the operation that replaces this one.
    #[component(name = "deprecated-by")]
    pub deprecated_by: Option<String>,
    /// A short name for a person.
    pub title: String,
    /// Markdown: what the operation does, what it costs, and what a person must be careful about.
    pub help: String,
    /// The heading under which a person sees the operation.
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
    /// Whether `resolve_schema` can describe the input in more detail for a linked account.
    #[component(name = "dynamic-input")]
    pub dynamic_input: bool,
    /// Whether `resolve_schema` can describe the output in more detail for a linked account.
    #[component(name = "dynamic-output")]
    pub dynamic_output: bool,
    /// Ids of the permissions that the operation requires, all of them.
    pub permissions: Vec<String>,
    /// The bounds that the service sets for this operation.
    pub limits: Vec<Limit>,
}

/// How a trigger obtains its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum TriggerKind {
    /// The service keeps records, not events; each poll compares the records with those of the previous poll.
    #[component(name = "polling")]
    Polling,
    /// The service keeps a log of events; each poll continues where the previous one ended.
    #[component(name = "streaming")]
    Streaming,
    /// The service sends its events to the engine in HTTP requests.
    #[component(name = "webhook")]
    Webhook,
    /// The service's request only starts a poll; the events come from the poll.
    #[component(name = "hybrid")]
    Hybrid,
}

/// Where a trigger can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum StartMode {
    /// Starts with changes from now on.
    #[component(name = "now")]
    Now,
    /// Starts with the oldest data that the service holds.
    #[component(name = "earliest")]
    Earliest,
    /// Starts with data newer than a given instant.
    #[component(name = "at-time")]
    AtTime,
    /// Starts after a position in the service's own notation.
    #[component(name = "at-position")]
    AtPosition,
}

/// A trigger: an operation that returns events.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct TriggerDescriptor {
    /// The properties that it shares with actions.
    pub operation: Operation,
    /// How the trigger obtains its events.
    pub kind: TriggerKind,
    /// The supported start modes; the first one is the default.
    #[component(name = "start-modes")]
    pub start_modes: Vec<StartMode>,
    /// The shortest useful pause between polls, in milliseconds. Polling more often returns nothing new or meets the
    /// service's limits.
    #[component(name = "min-interval-ms")]
    pub min_interval_ms: u64,
}

/// What an action does to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Effect {
    /// The action changes nothing.
    #[component(name = "read")]
    Read,
    /// The action creates or changes something.
    #[component(name = "write")]
    Write,
    /// The action deletes something that cannot be restored.
    #[component(name = "destructive")]
    Destructive,
}

/// Whether an action may be repeated safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Idempotency {
    /// Repeating the call has the same result as one call.
    #[component(name = "natural")]
    Natural,
    /// Repeating the call has the same result as one call, if the idempotency key is the same.
    #[component(name = "keyed")]
    Keyed,
    /// Repeating the call has the same result as one call, if the input states the ETag.
    #[component(name = "conditional")]
    Conditional,
    /// Each call has its effect again.
    #[component(name = "none")]
    None,
}

/// An action: an operation that is called with an input.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct ActionDescriptor {
    /// The properties that it shares with triggers.
    pub operation: Operation,
    /// What the action does to the service.
    pub effect: Effect,
    /// Whether the action may be repeated safely.
    pub idempotency: Idempotency,
    /// Whether `invoke` can return a page, to be continued with `resume`.
    pub paged: bool,
}

/// The protocol that an egress rule allows.
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

/// A host that the connector must be able to connect to.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct EgressRule {
    /// The protocol that is allowed.
    pub protocol: EgressProtocol,
    /// The host, with an optional `:port`; `{field}` stands for that field of the normalized connection. `*` alone is
    /// for hosts that the service names at run time: it allows any host below one of `suffixes`, on `default_port`.
    pub host: String,
    /// The port to use where `host` states none.
    #[component(name = "default-port")]
    pub default_port: u16,
    /// The allowed endings of host names, each with a leading dot.
    pub suffixes: Vec<String>,
    /// What the connection is used for, for a person.
    pub purpose: String,
}

/// Everything that an engine must know before an account is linked.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Stable kebab-case id.
    pub id: String,
    /// The connector's own version (semver).
    pub version: String,
    /// The version of the interface that the connector was built on (semver).
    #[component(name = "interface-version")]
    pub interface_version: String,
    /// A short name for a person.
    pub title: String,
    /// Markdown: which service the connector connects to, and how to begin.
    pub help: String,
    /// The ways to authorize; the recommended one comes first.
    #[component(name = "auth-profiles")]
    pub auth_profiles: Vec<AuthProfile>,
    /// All permissions that operations refer to.
    pub permissions: Vec<Permission>,
    /// The triggers.
    pub triggers: Vec<TriggerDescriptor>,
    /// The actions.
    pub actions: Vec<ActionDescriptor>,
    /// The hosts that the connector may connect to; it may connect to no other host.
    pub egress: Vec<EgressRule>,
    /// Functions that always answer `unsupported`, as `interface.function`.
    pub unsupported: Vec<String>,
}

/// A configuration or input that was stored by an engine with an older version of the connector.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct StoredInput {
    /// The operation's id in that version.
    pub operation: String,
    /// The operation's revision in that version.
    pub revision: u32,
    /// The stored value, a JSON text.
    #[serde(with = "json_text")]
    pub value: String,
}

/// A cursor that was stored by an engine with an older version of the connector.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct StoredCursor {
    /// The trigger's id in that version.
    pub trigger: String,
    /// The trigger's revision in that version.
    pub revision: u32,
    /// The stored cursor.
    pub value: Cursor,
}

/// An item that was stored by an engine with an older version of the connector.
#[derive(Clone, Debug)]
pub enum Stored {
    /// A linked account.
    Connection(Connection),
    /// The configuration of a trigger or the input of an action.
    Input(StoredInput),
    /// A trigger's cursor.
    Cursor(StoredCursor),
}
