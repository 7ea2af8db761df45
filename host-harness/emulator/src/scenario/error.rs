//! Why a scenario file cannot be used.

use crate::emulator::EmulatorError;
use crate::error::ServiceError;

/// Why a scenario file cannot be used. The texts name the place by its JSON pointer and quote no value that may be a
/// key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The text is not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    /// The description of the file does not permit these parts.
    #[error("{}", .0.join("; "))]
    NotPermitted(Vec<String>),
    /// A value that the description permits is wrong.
    #[error("{pointer}: {problem}")]
    Value {
        /// The place in the file.
        pointer: String,
        /// What is wrong.
        problem: String,
    },
    /// A service refused what the file states.
    #[error("{pointer}: {}", .error.message())]
    Refused {
        /// The place in the file.
        pointer: String,
        /// The service's error.
        error: ServiceError,
    },
    /// The emulator could not do what the file plans.
    #[error("{pointer}: {error}")]
    Emulator {
        /// The place in the file.
        pointer: String,
        /// The emulator's error.
        error: EmulatorError,
    },
}

impl ScenarioError {
    /// A wrong value at this place.
    pub(super) fn value(pointer: impl Into<String>, problem: impl ToString) -> Self {
        Self::Value { pointer: pointer.into(), problem: problem.to_string() }
    }
}

/// Names the part of the file that a service refused.
pub(super) fn refused(pointer: impl Into<String>) -> impl FnOnce(ServiceError) -> ScenarioError {
    let pointer = pointer.into();
    move |error| ScenarioError::Refused { pointer, error }
}
