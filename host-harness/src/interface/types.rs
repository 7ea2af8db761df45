//! The vocabulary that all interfaces share.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::base64_bytes;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Severity {
    /// Nothing works until it is mended.
    #[component(name = "error")]
    Error,
    /// Something works otherwise than a person may think.
    #[component(name = "warning")]
    Warning,
    /// Good to know.
    #[component(name = "info")]
    Info,
}

/// One finding about one field.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct FieldProblem {
    /// JSON Pointer to the field, within the document that was judged.
    pub pointer: String,
    /// A stable kebab-case name of what is wrong.
    pub code: String,
    /// What is wrong, for a person.
    pub message: String,
    /// What to do about it, for a person.
    pub fix: Option<String>,
    /// How grave it is.
    pub severity: Severity,
}

/// What went wrong, by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ErrorCode {
    /// The input of an action does not fit.
    #[component(name = "invalid-input")]
    InvalidInput,
    /// The connection's or the trigger's configuration does not fit.
    #[component(name = "invalid-config")]
    InvalidConfig,
    /// The service does not accept the credentials.
    #[component(name = "auth-failed")]
    AuthFailed,
    /// The credentials were good and have run out.
    #[component(name = "auth-expired")]
    AuthExpired,
    /// The credentials are good and lack a permission.
    #[component(name = "permission-denied")]
    PermissionDenied,
    /// The thing named does not exist.
    #[component(name = "not-found")]
    NotFound,
    /// The thing named exists already, or another change is under way.
    #[component(name = "conflict")]
    Conflict,
    /// The thing named was changed since it was read.
    #[component(name = "precondition-failed")]
    PreconditionFailed,
    /// The device is not connected, or did not take the request.
    #[component(name = "device-offline")]
    DeviceOffline,
    /// No answer within the time allowed.
    #[component(name = "timeout")]
    Timeout,
    /// The service asks to slow down.
    #[component(name = "rate-limited")]
    RateLimited,
    /// A quota is used up.
    #[component(name = "quota-exceeded")]
    QuotaExceeded,
    /// The service or the way to it is down.
    #[component(name = "unavailable")]
    Unavailable,
    /// What the cursor points at is gone, and the policy is to stop.
    #[component(name = "position-lost")]
    PositionLost,
    /// Another reader holds what was asked for.
    #[component(name = "consumer-conflict")]
    ConsumerConflict,
    /// Something is larger than the service, the host or the connector takes.
    #[component(name = "payload-too-large")]
    PayloadTooLarge,
    /// The connector does not do this.
    #[component(name = "unsupported")]
    Unsupported,
    /// The host withdrew the call.
    #[component(name = "cancelled")]
    Cancelled,
    /// The service answered with what its own description does not allow.
    #[component(name = "protocol")]
    Protocol,
    /// A defect of the connector.
    #[component(name = "internal")]
    Internal,
}

impl ErrorCode {
    /// The code as the interface writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid-input",
            Self::InvalidConfig => "invalid-config",
            Self::AuthFailed => "auth-failed",
            Self::AuthExpired => "auth-expired",
            Self::PermissionDenied => "permission-denied",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::PreconditionFailed => "precondition-failed",
            Self::DeviceOffline => "device-offline",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate-limited",
            Self::QuotaExceeded => "quota-exceeded",
            Self::Unavailable => "unavailable",
            Self::PositionLost => "position-lost",
            Self::ConsumerConflict => "consumer-conflict",
            Self::PayloadTooLarge => "payload-too-large",
            Self::Unsupported => "unsupported",
            Self::Cancelled => "cancelled",
            Self::Protocol => "protocol",
            Self::Internal => "internal",
        }
    }
}

/// Whether, and when, calling again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(variant)]
#[serde(rename_all = "kebab-case")]
pub enum Retry {
    /// The same call fails again.
    #[component(name = "never")]
    Never,
    /// Call again after this many milliseconds, not earlier.
    #[component(name = "after")]
    After(u64),
    /// Call again after a growing pause of the host's own choice.
    #[component(name = "backoff")]
    Backoff,
    /// Call again once the account has been linked again.
    #[component(name = "after-reauthentication")]
    AfterReauthentication,
    /// Call again once the configuration or a setting of the service was changed.
    #[component(name = "after-reconfiguration")]
    AfterReconfiguration,
}

/// What the failed call may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum EffectState {
    /// Nothing was changed.
    #[component(name = "none")]
    None,
    /// The change may or may not have been made: no answer came back.
    #[component(name = "unknown")]
    Unknown,
    /// The change was made; what failed came after it.
    #[component(name = "applied")]
    Applied,
}

/// What the service itself said.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFault {
    /// HTTP status, or none where no answer came.
    pub status: Option<u16>,
    /// The service's own error code or name, as it sent it.
    pub code: Option<String>,
    /// The id to quote to the service's support.
    #[component(name = "tracking-id")]
    pub tracking_id: Option<String>,
}

/// A permission that a call lacked.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct MissingPermission {
    /// Id of the permission in the descriptor.
    pub permission: String,
    /// How to grant it, for a person.
    pub remedy: String,
}

/// The one error of every function of a connector.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize, thiserror::Error)]
#[component(record)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct Error {
    /// What the caller can do about it.
    pub code: ErrorCode,
    /// One or two sentences for a person.
    pub message: String,
    /// Technical detail for a log.
    pub detail: Option<String>,
    /// The fields at fault, all at once.
    pub fields: Vec<FieldProblem>,
    /// Which item of a batch or list is meant, from 0.
    pub item: Option<u32>,
    /// Whether calling again can help.
    pub retry: Retry,
    /// What the call may have done.
    pub effect: EffectState,
    /// What the service said, where it said something.
    pub service: Option<ServiceFault>,
    /// The permission that was lacking.
    #[component(name = "missing-permission")]
    pub missing_permission: Option<MissingPermission>,
}

/// Where a poll goes on. Opaque: store it, hand it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lift, Lower, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Cursor {
    /// What was known when the page was begun. May be empty.
    #[serde(with = "base64_bytes")]
    pub snapshot: Vec<u8>,
    /// What came after the snapshot.
    #[serde(with = "base64_bytes")]
    pub position: Vec<u8>,
}
