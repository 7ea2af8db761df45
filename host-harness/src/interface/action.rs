//! Actions: operations that are called with an input.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift};

use super::json_text;
use crate::setters::setters;

/// How an action is called. The deadline comes from the tenant.
///
/// ```
/// use connector_host::interface::action::Call;
///
/// let call = Call::default().with_idempotency_key("order-7").with_attempt(2).with_dry_run(true);
/// assert_eq!(call.attempt, 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// A text that is the same for every attempt at the same work. None: the engine keeps no such text.
    /// Default: none.
    pub idempotency_key: Option<String>,
    /// The number of this attempt; the first attempt is 1.
    /// Default: 1.
    pub attempt: u32,
    /// Whether to state only what the action would do, and change nothing.
    /// Default: false.
    pub dry_run: bool,
}

setters! {
    Call {
        some with_idempotency_key (idempotency_key: String);
        value with_attempt (attempt: u32);
        value with_dry_run (dry_run: bool);
    }
}

impl Default for Call {
    /// A first attempt that really runs, without an idempotency key.
    fn default() -> Self {
        Self { idempotency_key: None, attempt: 1, dry_run: false }
    }
}

/// One part of an output that comes in several parts.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Partial {
    /// This part of the output, following the output schema.
    #[serde(with = "json_text")]
    pub output: String,
    /// The token for `resume` to fetch the next part.
    pub token: String,
}

/// Work that continues at the service after the call.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// The token for `resume` to ask for the result again.
    pub token: String,
    /// The shortest useful pause before the next `resume`, in milliseconds.
    #[component(name = "after-ms")]
    pub after_ms: u64,
    /// The progress of the work, for a person.
    pub message: String,
}

/// How an action ended.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(variant)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The action is done; this is its output.
    #[component(name = "done")]
    Done(#[serde(with = "json_text")] String),
    /// The action is done; this is a part of its output, and `resume` fetches the rest.
    #[component(name = "page")]
    Page(Partial),
    /// The work is still in progress.
    #[component(name = "pending")]
    Pending(Pending),
    /// What the action would do: the answer to a dry run.
    #[component(name = "planned")]
    Planned(#[serde(with = "json_text")] String),
}
