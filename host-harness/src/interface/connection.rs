//! Linking an account: its values are checked, tested and named.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift};

use super::json_text;
use super::types::{FieldProblem, Severity};

/// The result of `validate`.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// All errors, warnings and remarks about the values, in one answer.
    pub problems: Vec<FieldProblem>,
    /// The values as the connector understood them: a JSON object with the same field names, without secrets.
    #[serde(with = "json_text")]
    pub normalized: String,
}

impl Validation {
    /// Whether the values can be used: no problem has the severity `error`.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity != Severity::Error)
    }
}

/// The result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum CheckOutcome {
    /// The check found no problem.
    #[component(name = "pass")]
    Pass,
    /// The check passed, but a person should read the message.
    #[component(name = "warn")]
    Warn,
    /// The check found something that does not work.
    #[component(name = "fail")]
    Fail,
    /// The check was not made.
    #[component(name = "skipped")]
    Skipped,
}

/// One step of a test.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Stable kebab-case id.
    pub id: String,
    /// What was checked, for a person.
    pub title: String,
    /// The result of the check.
    pub outcome: CheckOutcome,
    /// What the check found, for a person.
    pub message: String,
    /// What to change and where, unless the check passed.
    pub remedy: Option<String>,
    /// The duration of the check, in milliseconds.
    #[component(name = "elapsed-ms")]
    pub elapsed_ms: u64,
}

/// Whether the account holds a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Grant {
    /// The account holds the permission.
    #[component(name = "granted")]
    Granted,
    /// The account does not hold the permission.
    #[component(name = "denied")]
    Denied,
    /// This cannot be tested without changing something, or the service did not answer.
    #[component(name = "cannot-be-probed")]
    CannotBeProbed,
}

/// The finding about one permission.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct PermissionFinding {
    /// Id of the permission in the descriptor.
    pub permission: String,
    /// Whether the account holds the permission.
    pub grant: Grant,
    /// How this was found out, for a person.
    pub evidence: String,
    /// Ids of the triggers and actions that need the permission.
    pub unlocks: Vec<String>,
    /// What to change and where, unless the permission is granted.
    pub remedy: Option<String>,
}

/// The result of `test`.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
    /// One row for every permission of the descriptor.
    pub permissions: Vec<PermissionFinding>,
    /// Ids of the operations that this account can use.
    pub usable: Vec<String>,
}
