//! The types that all interfaces share.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::base64_bytes;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Severity {
    /// The connector or the operation cannot work until this is corrected.
    #[component(name = "error")]
    Error,
    /// Something works differently from what a person may expect.
    #[component(name = "warning")]
    Warning,
    /// Useful information; nothing needs to be changed.
    #[component(name = "info")]
    Info,
}

/// One finding about one field.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct FieldProblem {
    /// JSON Pointer to the field, within the document that was checked.
    pub pointer: String,
    /// A stable kebab-case name of what is wrong.
    pub code: String,
    /// What is wrong, for a person.
    pub message: String,
    /// What to do about it, for a person.
    pub fix: Option<String>,
    /// The severity of the problem.
    pub severity: Severity,
}

/// What went wrong. Errors with different remedies for the caller have different codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ErrorCode {
    /// The input of an action is not valid.
    #[component(name = "invalid-input")]
    InvalidInput,
    /// The configuration of the connection or of the trigger is not valid.
    #[component(name = "invalid-config")]
    InvalidConfig,
    /// The service does not accept the credentials.
    #[component(name = "auth-failed")]
    AuthFailed,
    /// The credentials were valid and have expired.
    #[component(name = "auth-expired")]
    AuthExpired,
    /// The credentials are valid, but lack a permission.
    #[component(name = "permission-denied")]
    PermissionDenied,
    /// The object that the call refers to does not exist.
    #[component(name = "not-found")]
    NotFound,
    /// The object that the call refers to exists already, or another change to it is in progress.
    #[component(name = "conflict")]
    Conflict,
    /// The object that the call refers to has changed since it was read.
    #[component(name = "precondition-failed")]
    PreconditionFailed,
    /// The device is not connected, or did not accept the request.
    #[component(name = "device-offline")]
    DeviceOffline,
    /// No answer arrived within the allowed time.
    #[component(name = "timeout")]
    Timeout,
    /// The service asks the caller to send fewer requests.
    #[component(name = "rate-limited")]
    RateLimited,
    /// A quota is used up.
    #[component(name = "quota-exceeded")]
    QuotaExceeded,
    /// The service, or the network path to it, is down.
    #[component(name = "unavailable")]
    Unavailable,
    /// The service no longer holds the data at the cursor's position, and the request says to stop in this case.
    #[component(name = "position-lost")]
    PositionLost,
    /// Another reader already reads the requested data.
    #[component(name = "consumer-conflict")]
    ConsumerConflict,
    /// Something is larger than the service, the host or the connector accepts.
    #[component(name = "payload-too-large")]
    PayloadTooLarge,
    /// The connector does not support this function.
    #[component(name = "unsupported")]
    Unsupported,
    /// The host cancelled the call.
    #[component(name = "cancelled")]
    Cancelled,
    /// The service's answer breaks the service's own documentation.
    #[component(name = "protocol")]
    Protocol,
    /// The connector has a defect.
    #[component(name = "internal")]
    Internal,
}

impl ErrorCode {
    /// The word for the code in the interface.
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

/// Whether, and when, repeating the call can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(variant)]
#[serde(rename_all = "kebab-case")]
pub enum Retry {
    /// Do not repeat the call: it would fail again.
    #[component(name = "never")]
    Never,
    /// Repeat the call after this many milliseconds, not earlier.
    #[component(name = "after")]
    After(u64),
    /// Repeat the call, with growing pauses that the host chooses.
    #[component(name = "backoff")]
    Backoff,
    /// Repeat the call after the account has been linked again.
    #[component(name = "after-reauthentication")]
    AfterReauthentication,
    /// Repeat the call after the configuration or a setting of the service has been changed.
    #[component(name = "after-reconfiguration")]
    AfterReconfiguration,
}

/// What the failed call may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum EffectState {
    /// The call changed nothing.
    #[component(name = "none")]
    None,
    /// The call may or may not have made its change: no answer arrived.
    #[component(name = "unknown")]
    Unknown,
    /// The call made its change; a later step failed.
    #[component(name = "applied")]
    Applied,
}

/// The service's own description of the error.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFault {
    /// The HTTP status, or none if no answer arrived.
    pub status: Option<u16>,
    /// The service's own error code or name, exactly as the service sent it.
    pub code: Option<String>,
    /// The id that a person should give to the service's support.
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

/// The error type of every function of a connector.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Serialize, Deserialize, thiserror::Error)]
#[component(record)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct Error {
    /// The error code, which tells the caller what it can do.
    pub code: ErrorCode,
    /// One or two sentences for a person.
    pub message: String,
    /// Technical details for a log.
    pub detail: Option<String>,
    /// All fields that are wrong, in one list.
    pub fields: Vec<FieldProblem>,
    /// The index of the item in a batch or list that failed; the first item is 0.
    pub item: Option<u32>,
    /// Whether, and when, repeating the call can help.
    pub retry: Retry,
    /// What the failed call may have changed.
    pub effect: EffectState,
    /// The service's own description of the error, if the service sent one.
    pub service: Option<ServiceFault>,
    /// The permission that the credentials lack.
    #[component(name = "missing-permission")]
    pub missing_permission: Option<MissingPermission>,
}

/// The place where a poll continues. Opaque: the engine stores it and passes it back unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lift, Lower, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Cursor {
    /// What the connector knew when the page began. May be empty.
    #[serde(with = "base64_bytes")]
    pub snapshot: Vec<u8>,
    /// The progress since the snapshot.
    #[serde(with = "base64_bytes")]
    pub position: Vec<u8>,
}
