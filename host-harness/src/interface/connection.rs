//! Linking an account.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift};

use super::json_text;
use super::types::{FieldProblem, Severity};

/// What `validate` found.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// Everything that is wrong or worth saying, all at once.
    pub problems: Vec<FieldProblem>,
    /// What was understood: a JSON object with the same field names, secrets left out.
    #[serde(with = "json_text")]
    pub normalized: String,
}

impl Validation {
    /// Whether the values can be used: there is no problem of severity `error`.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity != Severity::Error)
    }
}

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum CheckOutcome {
    /// As it should be.
    #[component(name = "pass")]
    Pass,
    /// It works, and something is worth knowing.
    #[component(name = "warn")]
    Warn,
    /// It does not work.
    #[component(name = "fail")]
    Fail,
    /// It was not tried.
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
    /// How it ended.
    pub outcome: CheckOutcome,
    /// What was seen, for a person.
    pub message: String,
    /// What to change and where, unless all is well.
    pub remedy: Option<String>,
    /// How long it took, in milliseconds.
    #[component(name = "elapsed-ms")]
    pub elapsed_ms: u64,
}

/// Whether the account holds a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Grant {
    /// It does.
    #[component(name = "granted")]
    Granted,
    /// It does not.
    #[component(name = "denied")]
    Denied,
    /// It cannot be found out without changing something, or the service could not be asked.
    #[component(name = "cannot-be-probed")]
    CannotBeProbed,
}

/// What was found about one permission.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct PermissionFinding {
    /// Id of the permission in the descriptor.
    pub permission: String,
    /// Whether it is there.
    pub grant: Grant,
    /// How that was found out, for a person.
    pub evidence: String,
    /// Ids of the triggers and actions that need it.
    pub unlocks: Vec<String>,
    /// What to change and where, unless it is there.
    pub remedy: Option<String>,
}

/// What `test` found.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The steps, in the order they were taken.
    pub checks: Vec<Check>,
    /// A row for every permission of the descriptor.
    pub permissions: Vec<PermissionFinding>,
    /// Ids of the operations that all is there for.
    pub usable: Vec<String>,
}
