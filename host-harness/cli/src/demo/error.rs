//! [`DemoError`].

use azure_iot_emulator::{EmulatorError, FaultSyntaxError};
use connector_host::{CallError, CursorStoreError, HostRuleError, TenantError};

/// The name of the emulator's shared access policies that the account uses.
pub(super) const POLICY: &str = "connector";

/// Why the demonstration could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The emulator did not start.
    #[error("the emulator did not start")]
    Emulator(#[from] EmulatorError),
    /// A rule by which the emulator is to misbehave could not be read.
    #[error(transparent)]
    Fault(#[from] FaultSyntaxError),
    /// The tenant could not be set up.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// The emulator's host could not be permitted.
    #[error(transparent)]
    HostRule(#[from] HostRuleError),
    /// The emulator lacks the shared access policy that the account uses.
    #[error("the emulator has no policy `{POLICY}`")]
    Policy,
    /// The component lacks something that a workflow needs.
    #[error("this connector has no {kind} `{id}`, which the demonstration needs")]
    Lacks {
        /// `trigger` or `action`.
        kind: &'static str,
        /// The id of the trigger or action.
        id: &'static str,
    },
    /// The simulated devices could not be made.
    #[error("the plant could not be made: {0}")]
    Plant(String),
    /// Cursors could not be read or written.
    #[error(transparent)]
    Cursors(#[from] CursorStoreError),
    /// The engine's store could not be read or written.
    #[error("the engine's store could not be used: {0}")]
    Store(String),
    /// A call failed, and trying again does not help.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A workflow could not be run.
    #[error("{0}")]
    Workflow(String),
}
