//! Doing something.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift};

use super::json_text;
use crate::setters::setters;

/// How an action is called. Its deadline is the call's.
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
    /// The same text for every attempt at the same work; none: the engine keeps none.
    /// Default: none.
    pub idempotency_key: Option<String>,
    /// Which attempt this is, from 1.
    /// Default: 1.
    pub attempt: u32,
    /// Say what would be done, and do nothing.
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
    /// A first attempt, for real, without an idempotency key.
    fn default() -> Self {
        Self { idempotency_key: None, attempt: 1, dry_run: false }
    }
}

/// A part of a longer answer.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Partial {
    /// Output so far, following the output schema.
    #[serde(with = "json_text")]
    pub output: String,
    /// For `resume`, to fetch the next part.
    pub token: String,
}

/// Work that the service goes on with.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// For `resume`, to ask again.
    pub token: String,
    /// Asking before this many milliseconds have passed gains nothing.
    #[component(name = "after-ms")]
    pub after_ms: u64,
    /// How far it is, for a person.
    pub message: String,
}

/// How an action ended.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(variant)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done, with its output.
    #[component(name = "done")]
    Done(#[serde(with = "json_text")] String),
    /// Done, with a part of its output; the rest comes by `resume`.
    #[component(name = "page")]
    Page(Partial),
    /// Under way.
    #[component(name = "pending")]
    Pending(Pending),
    /// What would be done: the answer to a dry run.
    #[component(name = "planned")]
    Planned(#[serde(with = "json_text")] String),
}
