//! Refusals by the emulated services: a code, a message and, for some, a time to wait. `web::error_body` gives them
//! their form over HTTP, `amqp::conditions` their form over AMQP.

/// A numeric error code of IoT Hub or DPS with its symbolic name.
///
/// The first three digits are the HTTP status. Source: the error reference of IoT Hub and the enumeration
/// `DeviceRegistryOperationError.errorCode` in its service description; the DPS numbers follow that enumeration's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    number: u32,
    name: &'static str,
}

macro_rules! codes {
    ($($constant:ident = $number:literal $name:literal;)*) => {
        impl ErrorCode {
            $(pub(crate) const $constant: ErrorCode = ErrorCode { number: $number, name: $name };)*
            const ALL: &'static [ErrorCode] = &[$(ErrorCode::$constant),*];
        }
    };
}

codes! {
    BAD_REQUEST = 400000 "GenericBadRequest";
    INVALID_PROTOCOL_VERSION = 400001 "InvalidProtocolVersion";
    INVALID_OPERATION = 400003 "InvalidOperation";
    ARGUMENT_INVALID = 400004 "ArgumentInvalid";
    ARGUMENT_NULL = 400005 "ArgumentNull";
    FORMAT_ERROR = 400006 "IotHubFormatError";
    DEVICE_DEFINED_MULTIPLE_TIMES = 400011 "DeviceDefinedMultipleTimes";
    INVALID_ENDORSEMENT_KEY = 400201 "InvalidEndorsementKey";
    INVALID_REGISTRATION_ID = 400202 "InvalidRegistrationId";
    INVALID_ENROLLMENT_GROUP_ID = 400204 "InvalidEnrollmentGroupId";
    TOO_MANY_ENROLLMENTS = 400205 "TooManyEnrollments";
    REGISTRATION_ID_DEFINED_MULTIPLE_TIMES = 400206 "RegistrationIdDefinedMultipleTimes";
    CUSTOM_ALLOCATION_FAILED = 400207 "CustomAllocationFailed";
    INVALID_TARGET_CONDITION = 400401 "InvalidConfigurationTargetCondition";
    INVALID_CONFIGURATION_CONTENT = 400402 "InvalidConfigurationContent";
    IMMUTABLE_CONFIGURATION_CONTENT = 400403 "CannotModifyImmutableConfigurationContent";
    INVALID_METRICS_QUERY = 400404 "InvalidConfigurationCustomMetricsQuery";
    UNAUTHORIZED_ACCESS = 401002 "IotHubUnauthorizedAccess";
    QUOTA_EXCEEDED = 403002 "IotHubQuotaExceeded";
    QUEUE_DEPTH_EXCEEDED = 403004 "DeviceMaximumQueueDepthExceeded";
    TOO_MANY_UPLOADS = 403006 "DeviceMaximumActiveFileUploadLimitExceeded";
    INVALID_MESSAGE_EXPIRY = 403009 "InvalidMessageExpiryTime";
    DEVICE_DISABLED = 403012 "DeviceDisabled";
    NOT_FOUND = 404000 "GenericNotFound";
    DEVICE_NOT_FOUND = 404001 "DeviceNotFound";
    JOB_NOT_FOUND = 404002 "JobNotFound";
    MODULE_NOT_FOUND = 404010 "ModuleNotFound";
    DEVICE_NOT_ONLINE = 404103 "DeviceNotOnline";
    ENROLLMENT_NOT_FOUND = 404201 "EnrollmentNotFound";
    REGISTRATION_NOT_FOUND = 404202 "DeviceRegistrationNotFound";
    OPERATION_NOT_FOUND = 404203 "AsyncOperationNotFound";
    ENROLLMENT_GROUP_NOT_FOUND = 404204 "EnrollmentGroupNotFound";
    LINKED_HUB_NOT_FOUND = 404210 "LinkedHubNotFound";
    CONFIGURATION_NOT_FOUND = 404301 "ConfigurationNotFound";
    METHOD_NOT_ALLOWED = 405000 "GenericMethodNotAllowed";
    REQUEST_TIMEOUT = 408000 "RequestTimeout";
    CONFLICT = 409000 "GenericConflict";
    DEVICE_ALREADY_EXISTS = 409001 "DeviceAlreadyExists";
    JOB_ALREADY_EXISTS = 409104 "JobAlreadyExists";
    ENROLLMENT_CONFLICT = 409201 "EnrollmentConflict";
    ENROLLMENT_GROUP_CONFLICT = 409202 "EnrollmentGroupConflict";
    MODULE_ALREADY_EXISTS = 409301 "ModuleAlreadyExistsOnDevice";
    CONFIGURATION_ALREADY_EXISTS = 409401 "ConfigurationAlreadyExists";
    PRECONDITION_FAILED = 412001 "PreconditionFailed";
    MESSAGE_LOCK_LOST = 412002 "DeviceMessageLockLost";
    MESSAGE_TOO_LARGE = 413001 "MessageTooLarge";
    TOO_MANY_DEVICES = 413002 "TooManyDevices";
    TOO_MANY_MODULES = 413003 "TooManyModulesOnDevice";
    CONFIGURATION_COUNT_EXCEEDED = 413101 "ConfigurationCountLimitExceeded";
    TOO_MANY_REQUESTS = 429000 "GenericTooManyRequests";
    THROTTLING = 429001 "ThrottlingException";
    SERVER_ERROR = 500001 "ServerError";
    BAD_GATEWAY = 502000 "GenericBadGateway";
    SERVICE_UNAVAILABLE = 503001 "ServiceUnavailable";
    SERVER_BUSY = 503005 "ServerBusy";
    GATEWAY_TIMEOUT = 504101 "GatewayTimeout";
}

impl ErrorCode {
    /// The six-digit number, for example 404001.
    pub fn number(self) -> u32 {
        self.number
    }

    /// The symbolic name, for example `DeviceNotFound`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The known code with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number == number)
    }

    /// The code that fits an HTTP status best, for a fault rule that names a status without a code.
    pub(crate) fn for_status(status: u16) -> Self {
        match status {
            401 => Self::UNAUTHORIZED_ACCESS,
            403 => Self::QUOTA_EXCEEDED,
            404 => Self::NOT_FOUND,
            408 => Self::REQUEST_TIMEOUT,
            409 => Self::CONFLICT,
            412 => Self::PRECONDITION_FAILED,
            413 => Self::MESSAGE_TOO_LARGE,
            429 => Self::THROTTLING,
            502 => Self::BAD_GATEWAY,
            503 => Self::SERVICE_UNAVAILABLE,
            504 => Self::GATEWAY_TIMEOUT,
            500.. => Self::SERVER_ERROR,
            _ => Self::BAD_REQUEST,
        }
    }

    /// The HTTP status: the first three digits.
    pub(crate) fn status(self) -> u16 {
        u16::try_from(self.number / 1000).unwrap_or(500)
    }
}

/// A refusal by the emulated services: what a client would read from the error body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {}: {message}", code.number, code.name)]
pub struct ServiceError {
    code: ErrorCode,
    message: String,
    status: Option<u16>,
    retry_after: Option<u64>,
}

impl ServiceError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: None, retry_after: None }
    }

    /// Sets another HTTP status than that of the code, because a fault rule may ask for it.
    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds a `Retry-After` header, in seconds.
    pub(crate) fn with_retry_after(mut self, seconds: Option<u64>) -> Self {
        self.retry_after = seconds;
        self
    }

    /// The code and its symbolic name.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The sentence for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status.unwrap_or_else(|| self.code.status())
    }

    /// How many seconds a client should wait before it asks again, if the refusal states a time.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }
}

/// Shorthand for the commonest refusal: 400004.
pub(crate) fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new(ErrorCode::ARGUMENT_INVALID, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_first_three_digits() {
        for code in ErrorCode::ALL {
            assert_eq!(u32::from(code.status()), code.number / 1000, "{}", code.name);
            assert_eq!(ErrorCode::from_number(code.number), Some(*code));
        }
    }
}
