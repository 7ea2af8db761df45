//! What the services say when they refuse: four shapes of body, two headers, and a table of codes.
//!
//! Sources: the C# SDK's `ServiceExceptionHandlingHelper` (shapes), "Troubleshoot Azure IoT Hub error codes" (codes),
//! `ProvisioningServiceErrorDetails` of the DPS service API.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::error::{ErrorCode, Retry, ServiceFault, retry_after};
use crate::platform::WireResponse;

/// The longest message of a service that is passed on.
const LONGEST_MESSAGE: usize = 512;

/// A refusal, understood as far as it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// HTTP status.
    pub status: u16,
    /// The six digits, where there are any.
    pub number: Option<u32>,
    /// The symbolic name, where there is one.
    pub name: Option<String>,
    /// The service's own sentence, cut and cleaned.
    pub message: Option<String>,
    /// The id to quote to the service's support.
    pub tracking_id: Option<String>,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// Reads a response whose status is not a success. `now` is the time of day, for a `Retry-After` that is a date.
    pub fn read(response: &WireResponse, now: Duration) -> Self {
        let mut fault = Self {
            status: response.status,
            number: None,
            name: response.header("iothub-errorcode").map(str::to_owned),
            message: None,
            tracking_id: response.header("x-ms-request-id").map(str::to_owned),
            retry_after: response.header("retry-after").and_then(|text| read_retry_after(text, now)),
        };
        fault.number = response.header("x-ms-error-code").and_then(|text| text.parse().ok());
        match serde_json::from_slice::<Value>(&response.body) {
            Ok(body) => fault.read_body(&body),
            Err(_) => fault.message = std::str::from_utf8(&response.body).ok().and_then(clean),
        }
        if fault.number.is_none() {
            fault.number = fault.name.as_deref().and_then(number_of);
        }
        fault
    }

    /// A refusal that is known by its six digits alone, of which the first three are HTTP's status.
    pub fn of_number(number: u32) -> Self {
        Self {
            status: u16::try_from(number / 1_000).unwrap_or(u16::MAX),
            number: Some(number),
            name: None,
            message: None,
            tracking_id: None,
            retry_after: None,
        }
    }

    fn read_body(&mut self, body: &Value) {
        let member = |name: &str| body.get(name).or_else(|| body.get(lower_first(name)));
        match member("Message") {
            Some(Value::Object(_)) if body.get("Message").is_some() => {
                let inner = body.get("Message").cloned().unwrap_or_default();
                self.read_details(&inner);
            }
            Some(Value::String(text)) => match serde_json::from_str::<Value>(text) {
                Ok(inner @ Value::Object(_)) => self.read_details(&inner),
                _ => self.read_text(text),
            },
            _ => {}
        }
        if let Some(text) = member("ExceptionMessage").and_then(Value::as_str)
            && let Some(id) = tracking_id_in(text)
        {
            self.tracking_id = Some(id);
        }
        self.read_codes(body);
    }

    /// `{"errorCode": 404103, "trackingId": "…", "message": "…"}`.
    fn read_details(&mut self, details: &Value) {
        self.read_codes(details);
        if let Some(text) = details.get("message").or_else(|| details.get("Message")).and_then(Value::as_str) {
            self.message = clean(text);
        }
    }

    fn read_codes(&mut self, details: &Value) {
        match details.get("errorCode").or_else(|| details.get("ErrorCode")) {
            Some(Value::Number(number)) => {
                self.number = number.as_u64().and_then(|number| u32::try_from(number).ok()).or(self.number)
            }
            Some(Value::String(name)) => self.read_code(name),
            _ => {}
        }
        if let Some(id) = details.get("trackingId").or_else(|| details.get("TrackingId")).and_then(Value::as_str) {
            self.tracking_id = clean(id);
        }
    }

    /// `ErrorCode:DeviceNotFound;free text`, `ErrorCode:400004;…`, or free text.
    fn read_text(&mut self, text: &str) {
        let rest = text.strip_prefix("ErrorCode:");
        let (code, free) = rest.map_or((None, text), |rest| {
            rest.split_once(';').map_or((Some(rest), ""), |(code, free)| (Some(code), free))
        });
        if let Some(code) = code {
            self.read_code(code.trim());
        }
        self.message = clean(free);
        if self.tracking_id.is_none() {
            self.tracking_id = tracking_id_in(free);
        }
    }

    fn read_code(&mut self, code: &str) {
        match code.parse::<u32>() {
            Ok(number) => self.number = Some(number),
            Err(_) if !code.is_empty() => self.name = clean(code),
            Err(_) => {}
        }
    }

    /// The code for the caller, by the six digits where they are known and by the status otherwise.
    pub fn code(&self) -> ErrorCode {
        match self.number.unwrap_or(0) {
            401_001 | 401_003 => ErrorCode::AuthFailed,
            403_001 => ErrorCode::Unavailable,
            403_002 | 403_003 | 403_004 | 403_006 | 403_800 | 413_002 | 413_003 => ErrorCode::QuotaExceeded,
            403_009 => ErrorCode::InvalidInput,
            403_010 => ErrorCode::Unsupported,
            403_012 => ErrorCode::DeviceOffline,
            404_103 | 404_104 => ErrorCode::DeviceOffline,
            400_021 | 400_024 | 408_000 | 504_101 => ErrorCode::Timeout,
            400_023 => ErrorCode::PreconditionFailed,
            _ => match self.status {
                400 | 405 | 406 | 415 | 422 => ErrorCode::InvalidInput,
                401 => ErrorCode::AuthFailed,
                403 => ErrorCode::PermissionDenied,
                404 | 410 => ErrorCode::NotFound,
                408 | 504 => ErrorCode::Timeout,
                409 => ErrorCode::Conflict,
                412 => ErrorCode::PreconditionFailed,
                413 => ErrorCode::PayloadTooLarge,
                429 => ErrorCode::RateLimited,
                500 | 502 | 503 => ErrorCode::Unavailable,
                _ => ErrorCode::Protocol,
            },
        }
    }

    /// The advice that goes with it, where the service gave any.
    pub fn retry(&self) -> Option<Retry> {
        match (self.retry_after, self.number) {
            (Some(wait), _) => Some(retry_after(wait)),
            (None, Some(403_006 | 413_002 | 413_003 | 403_012)) => Some(Retry::AfterReconfiguration),
            (None, Some(403_010)) => Some(Retry::AfterReconfiguration),
            _ => None,
        }
    }

    /// As the interface has it.
    pub fn service(&self) -> ServiceFault {
        let code = match (&self.name, self.number) {
            (Some(name), Some(number)) => Some(format!("{number} {name}")),
            (Some(name), None) => Some(name.clone()),
            (None, Some(number)) => Some(number.to_string()),
            (None, None) => None,
        };
        ServiceFault { status: Some(self.status), code, tracking_id: self.tracking_id.clone() }
    }
}

/// The six digits of the names that the connector meets ("Troubleshoot Azure IoT Hub error codes").
fn number_of(name: &str) -> Option<u32> {
    Some(match name {
        "ArgumentInvalid" => 400_004,
        "ArgumentNull" => 400_005,
        "IotHubFormatError" => 400_006,
        "DeviceDefinedMultipleTimes" => 400_011,
        "BulkRegistryOperationFailure" => 400_013,
        "RequestCanceled" => 400_021,
        "EtagDoesNotMatch" => 400_023,
        "RequestTimedOut" => 400_024,
        "IotHubNotFound" => 401_001,
        "IotHubUnauthorizedAccess" => 401_002,
        "IotHubUnauthorized" => 401_003,
        "IotHubSuspended" => 403_001,
        "IotHubQuotaExceeded" => 403_002,
        "JobQuotaExceeded" => 403_003,
        "DeviceMaximumQueueDepthExceeded" => 403_004,
        "InvalidMessageExpiryTime" => 403_009,
        "OperationNotAvailableInCurrentTier" => 403_010,
        "DeviceDisabled" => 403_012,
        "DeviceNotFound" => 404_001,
        "JobNotFound" => 404_002,
        "ModuleNotFound" => 404_010,
        "DeviceNotOnline" => 404_103,
        "ConfigurationNotFound" => 404_301,
        "DeviceAlreadyExists" => 409_001,
        "ModuleAlreadyExistsOnDevice" => 409_301,
        "ConfigurationAlreadyExists" => 409_401,
        "PreconditionFailed" => 412_001,
        "DeviceMessageLockLost" => 412_002,
        "MessageTooLarge" => 413_001,
        "TooManyDevices" => 413_002,
        "TooManyModulesOnDevice" => 413_003,
        "GenericTooManyRequests" => 429_000,
        "ThrottlingException" => 429_001,
        "ThrottleBacklogLimitExceeded" => 429_002,
        "ThrottlingBacklogTimeout" => 429_003,
        "ThrottlingMaxActiveJobCountExceeded" => 429_004,
        "DeviceThrottlingLimitExceeded" => 429_005,
        "ServerError" => 500_001,
        "ServiceUnavailable" => 503_001,
        "GatewayTimeout" => 504_101,
        _ => return None,
    })
}

fn read_retry_after(text: &str, now: Duration) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at: SystemTime = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(UNIX_EPOCH).ok()?.saturating_sub(now))
}

fn tracking_id_in(text: &str) -> Option<String> {
    let rest = text.split_once("Tracking ID:").or_else(|| text.split_once("TrackingId:"))?.1.trim_start();
    let id: String =
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | ':')).take(128).collect();
    let id = id.split("-TimeStamp").next().unwrap_or_default().to_owned();
    (!id.is_empty()).then_some(id)
}

/// Cuts a text of the service's down to what can stand in a message.
fn clean(text: &str) -> Option<String> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_MESSAGE).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, headers: &[(&str, &str)], body: &str) -> Fault {
        let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Fault::read(
            &WireResponse { status, headers, body: body.as_bytes().to_vec() },
            Duration::from_secs(1_000_000_000),
        )
    }

    #[test]
    fn reads_all_shapes() {
        let cases = [
            (
                404,
                r#"{"Message":{"errorCode":404103,"trackingId":"abc","message":"Offline","timestampUtc":"x"}}"#,
                404_103,
                ErrorCode::DeviceOffline,
            ),
            (
                404,
                r#"{"Message":"{\"errorCode\":404103,\"trackingId\":\"abc\",\"message\":\"Offline\"}"}"#,
                404_103,
                ErrorCode::DeviceOffline,
            ),
            (
                404,
                r#"{"Message":"ErrorCode:DeviceNotFound;Offline","ExceptionMessage":"Tracking ID:abc-TimeStamp:11/24/2026"}"#,
                404_001,
                ErrorCode::NotFound,
            ),
            (
                400,
                r#"{"Message":"ErrorCode:400004;Offline","ExceptionMessage":"Tracking ID:abc-TimeStamp:1"}"#,
                400_004,
                ErrorCode::InvalidInput,
            ),
            (
                409,
                r#"{"errorCode":409200,"trackingId":"abc","message":"Offline","timestampUtc":"x"}"#,
                409_200,
                ErrorCode::Conflict,
            ),
        ];
        for (status, body, number, code) in cases {
            let fault = read(status, &[], body);
            assert_eq!((fault.number, fault.code()), (Some(number), code), "{body}");
            assert_eq!(fault.tracking_id.as_deref(), Some("abc"), "{body}");
            assert!(number == 409_200 || fault.message.as_deref() == Some("Offline"), "{body}: {:?}", fault.message);
        }
    }

    #[test]
    fn dps_message_is_read() {
        let fault = read(
            401,
            &[("x-ms-error-code", "401002")],
            r#"{"errorCode":401002,"trackingId":"t","message":"Unauthorized"}"#,
        );
        assert_eq!(fault.message.as_deref(), Some("Unauthorized"));
        assert_eq!(fault.service().code.as_deref(), Some("401002"));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(read(429, &[("retry-after", "7")], "").retry(), Some(Retry::After(7_000)));
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(1_000_000_009));
        assert_eq!(read(429, &[("retry-after", &date)], "").retry(), Some(Retry::After(9_000)));
        assert_eq!(read(429, &[("retry-after", "soon")], "").retry(), None);
    }

    #[test]
    fn garbage_does_no_harm() {
        for body in [
            "",
            "<html>",
            "null",
            "[]",
            "42",
            "\"x\"",
            r#"{"Message":null}"#,
            r#"{"Message":[]}"#,
            r#"{"Message":"ErrorCode:"}"#,
            "\u{0}\u{1}",
        ] {
            assert_eq!(read(500, &[], body).code(), ErrorCode::Unavailable, "{body}");
        }
        let long = read(400, &[], &format!(r#"{{"Message":"{}"}}"#, "é".repeat(5_000)));
        assert!(long.message.is_some_and(|message| message.chars().count() <= LONGEST_MESSAGE));
    }
}
