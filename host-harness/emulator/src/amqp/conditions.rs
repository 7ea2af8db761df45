//! The AMQP error conditions with which the services refuse.

use serde_amqp::Value;

use super::error::AmqpError;
use super::values::text;
use crate::error::{ErrorCode, ServiceError};
use crate::event_hub::error::EventHubError;
use crate::random;

/// Turns a service's refusal into an AMQP error. Source: the mapping in Microsoft's .NET client, read in the opposite
/// direction.
pub(super) fn refused(error: &ServiceError) -> AmqpError {
    let condition = match error.code() {
        ErrorCode::DEVICE_NOT_FOUND
        | ErrorCode::MODULE_NOT_FOUND
        | ErrorCode::REGISTRATION_NOT_FOUND
        | ErrorCode::OPERATION_NOT_FOUND => "amqp:not-found",
        ErrorCode::UNAUTHORIZED_ACCESS | ErrorCode::DEVICE_DISABLED => "amqp:unauthorized-access",
        ErrorCode::MESSAGE_LOCK_LOST => "com.microsoft:message-lock-lost",
        ErrorCode::QUEUE_DEPTH_EXCEEDED => "amqp:resource-limit-exceeded",
        ErrorCode::MESSAGE_TOO_LARGE => "amqp:link:message-size-exceeded",
        ErrorCode::THROTTLING => "com.microsoft:device-container-throttled",
        ErrorCode::INVALID_MESSAGE_EXPIRY => "com.microsoft:argument-out-of-range",
        _ => "com.microsoft:argument-error",
    };
    let number = i32::try_from(error.code().number()).unwrap_or_default();
    AmqpError {
        condition: condition.to_owned(),
        description: error.message().to_owned(),
        info: vec![
            ("com.microsoft:tracking-id", text(random::uuid())),
            ("com.microsoft:error-code", Value::Int(number)),
        ],
    }
}

impl From<EventHubError> for AmqpError {
    fn from(error: EventHubError) -> Self {
        let condition = match &error {
            EventHubError::Beyond { .. } => "com.microsoft:argument-error",
            EventHubError::TooManyReaders { .. } => "amqp:resource-limit-exceeded",
            EventHubError::EpochNeeded { .. } | EventHubError::EpochTooLow { .. } | EventHubError::Displaced { .. } => {
                "amqp:link:stolen"
            }
        };
        Self::new(condition, error.to_string())
    }
}
