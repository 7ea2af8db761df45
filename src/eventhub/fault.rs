//! Converts a failure to the connector's own error: the code, the retry advice and the message follow from the
//! service's condition.
//!
//! Sources: the retry policies of Microsoft's clients (Python: `_pyamqp/error.py`; Rust: `retry.rs`), and texts that
//! the service is known to send. Reading changes nothing, so these errors have no effect; a caller that sends a message
//! sets the effect itself.

use std::time::Duration;

use super::contention::Contender;
use super::discover::HubAddress;
use super::hub::Endpoint;
use crate::amqp::transport::TransportErrorKind;
use crate::amqp::{Error as AmqpError, RemoteError, Stage};
use crate::amqp_transport::AmqpTransport;
use crate::auth::{Permission, SharedAccessKey};
use crate::error::{Error, ErrorCode, MissingPermission, Retry, ServiceFault, retry_after};
use crate::host_name;
use crate::http::{Fault, NETWORK_REFUSES_LIKE_THAT};
use crate::quoted::quoted;

/// The longest text from the service that is passed on, in characters.
const LONGEST_MESSAGE: usize = 512;

/// What an error concerns.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    service: &'static str,
    host: String,
    policy: String,
    what: String,
    contender: Option<Contender>,
    is_iot_hub: bool,
    /// The port and the transport of the connection.
    port: u16,
    transport: AmqpTransport,
}

impl Context {
    pub fn event_hub(endpoint: &Endpoint, key: &SharedAccessKey, what: &str) -> Self {
        Self {
            service: "The Event Hub-compatible endpoint",
            host: format!("{}/{}", endpoint.host, endpoint.hub),
            policy: key.policy.clone(),
            what: what.to_owned(),
            contender: None,
            is_iot_hub: false,
            port: endpoint.port,
            transport: endpoint.transport,
        }
    }

    /// The context of a reader of a partition.
    pub(super) fn reader(endpoint: &Endpoint, key: &SharedAccessKey, contender: &Contender) -> Self {
        Self { contender: Some(contender.clone()), ..Self::event_hub(endpoint, key, &contender.to_string()) }
    }

    pub fn iot_hub(hub: &HubAddress, key: &SharedAccessKey, what: &str) -> Self {
        Self {
            service: "Azure IoT Hub",
            host: hub.host.clone(),
            policy: key.policy.clone(),
            what: what.to_owned(),
            contender: None,
            is_iot_hub: true,
            port: hub.port,
            transport: hub.transport,
        }
    }

    /// The connector's error for an AMQP error.
    pub fn error(&self, error: &AmqpError) -> Error {
        let verdict = judge(error);
        let conflict = self.contender.as_ref().filter(|_| verdict.code == ErrorCode::ConsumerConflict);
        let conflict = conflict.map(|contender| contender.conflict(&said(error).unwrap_or_default()));
        let message = match &conflict {
            Some(conflict) => format!("{} {}", conflict.message, conflict.fix.as_deref().unwrap_or_default()),
            None => self.message(verdict.code, error),
        };
        let mut result = Error::new(verdict.code, message).with_detail(clean(&error.to_string()));
        if let Some(conflict) = conflict {
            result = result.with_problem(conflict);
        }
        if let Some(retry) = verdict.retry {
            result = result.with_retry(retry);
        }
        if let Some(fault) = service_fault(error) {
            result = result.with_service(fault);
        }
        if verdict.code == ErrorCode::PermissionDenied {
            // A policy that may read an IoT hub's telemetry has the permission "Service Connect", which corresponds to
            // "Listen" of the Event Hub.
            let permission = Permission::ServiceConnect;
            result = result.with_missing_permission(MissingPermission {
                permission: permission.id().to_owned(),
                remedy: permission.remedy(&self.policy),
            });
        }
        result
    }

    /// What to do if no connection can be made. Many networks allow outgoing HTTPS but not AMQP's port, and a proxy or
    /// firewall at the edge of a network may know HTTP but not WebSockets.
    fn if_blocked(&self, error: &AmqpError) -> String {
        use TransportErrorKind::{Broken, Connect, Denied, Timeout, Upgrade};
        let AmqpError::Transport(error) = error else { return String::new() };
        let port = self.port;
        let (name, instead) = match self.transport {
            AmqpTransport::Tcp => (
                "AMQP over TLS",
                ". Where only port 443 is open, set \"AMQP transport\" of the connection to amqp-web-sockets",
            ),
            AmqpTransport::WebSockets => ("AMQP over WebSockets", ""),
        };
        match (error.kind, error.stage) {
            (Denied, _) => format!(". The engine has to let the connector reach TCP port {port} of this host"),
            (Connect | Timeout | Broken, Stage::Connect | Stage::Tls) => format!(
                ". Telemetry, messages and feedback need TCP port {port} ({name}): check that no firewall between the engine and \
                 this host blocks it{instead}"
            ),
            (Upgrade, _) | (Timeout | Broken, Stage::Upgrade) => format!(
                ". Check that no proxy or firewall between the engine and this host answers in its place, and that port {port} of \
                 this host is HTTPS's; where port 5671 is open, leave \"AMQP transport\" of the connection empty"
            ),
            _ => String::new(),
        }
    }

    fn message(&self, code: ErrorCode, error: &AmqpError) -> String {
        let Self { service, host, policy, what, .. } = self;
        let said = said(error).map(|text| format!(" It says: {text}")).unwrap_or_default();
        match code {
            ErrorCode::AuthFailed => {
                let network = if self.is_iot_hub { NETWORK_REFUSES_LIKE_THAT } else { "" };
                let words =
                    format!("{service} at {host} does not accept the key of the policy \"{policy}\". {network}");
                format!("{}{said}", words.trim_end())
            }
            ErrorCode::AuthExpired => format!("The token for {host} has expired.{said}"),
            ErrorCode::PermissionDenied => {
                let title = Permission::ServiceConnect.title();
                format!("The policy \"{policy}\" lacks \"{title}\", which {service} at {host} asks for.{said}")
            }
            ErrorCode::NotFound => format!("{service} at {host} does not know {what}.{said}"),
            ErrorCode::ConsumerConflict => {
                format!("Other readers use {what} of {host}, so that no slot is free.{said}")
            }
            ErrorCode::PositionLost => {
                format!("The position does not exist in {what} of {host}; the Event Hub may be a new one.{said}")
            }
            ErrorCode::RateLimited => format!("{service} at {host} asks to slow down.{said}"),
            ErrorCode::QuotaExceeded => format!("A quota of {service} at {host} is used up: {what}.{said}"),
            ErrorCode::InvalidInput | ErrorCode::PayloadTooLarge => {
                format!("{service} at {host} does not accept the request for {what}.{said}")
            }
            ErrorCode::DeviceOffline => format!("{service} at {host} cannot reach {what}.{said}"),
            ErrorCode::Timeout => {
                format!("{service} at {host} did not answer in time: {error}{}", self.if_blocked(error))
            }
            _ => match error {
                AmqpError::Transport(transport) => {
                    let hint = host_name::hint(host).map(|hint| format!(". {hint}")).unwrap_or_default();
                    let blocked = self.if_blocked(error);
                    let said = if said.is_empty() { said } else { format!(".{}", said.trim_end_matches('.')) };
                    format!(
                        "{service} at {host} cannot be reached on port {}: {transport}{said}{blocked}{hint}",
                        self.port
                    )
                }
                _ => format!("{service} at {host}: {}", clean(&error.to_string())),
            },
        }
    }
}

struct Verdict {
    code: ErrorCode,
    /// The retry advice; none means the default advice of the error code.
    retry: Option<Retry>,
}

fn plain(code: ErrorCode) -> Verdict {
    Verdict { code, retry: None }
}

fn with(code: ErrorCode, retry: Retry) -> Verdict {
    Verdict { code, retry: Some(retry) }
}

fn judge(error: &AmqpError) -> Verdict {
    match error {
        AmqpError::Transport(transport) => match transport.kind {
            TransportErrorKind::Dns | TransportErrorKind::Connect | TransportErrorKind::Broken => {
                plain(ErrorCode::Unavailable)
            }
            TransportErrorKind::Tls | TransportErrorKind::Denied => {
                with(ErrorCode::Unavailable, Retry::AfterReconfiguration)
            }
            TransportErrorKind::Timeout => plain(ErrorCode::Timeout),
            TransportErrorKind::Upgrade => by_refused_web_socket(error),
        },
        AmqpError::Timeout(_) => plain(ErrorCode::Timeout),
        AmqpError::Disconnected(_) | AmqpError::Silent(_) => plain(ErrorCode::Unavailable),
        AmqpError::Peer(_) | AmqpError::Answer(_) => with(ErrorCode::Protocol, Retry::Backoff),
        AmqpError::NoMechanism(_) => with(ErrorCode::Unsupported, Retry::AfterReconfiguration),
        AmqpError::Sasl(1) => plain(ErrorCode::AuthFailed),
        AmqpError::Sasl(3) => with(ErrorCode::Unavailable, Retry::AfterReconfiguration),
        AmqpError::Sasl(_) => plain(ErrorCode::Unavailable),
        AmqpError::Closed(Some(error))
        | AmqpError::Ended(Some(error))
        | AmqpError::Detached(Some(error))
        | AmqpError::Refused(Some(error)) => judge_remote(error),
        AmqpError::Closed(None) | AmqpError::Ended(None) | AmqpError::Detached(None) | AmqpError::Refused(None) => {
            plain(ErrorCode::Unavailable)
        }
        AmqpError::Answered(error) => match &error.condition {
            Some(condition) if by_condition(condition).is_some() => judge_remote(&RemoteError {
                condition: condition.clone(),
                description: error.description.clone(),
                info: Vec::new(),
            }),
            _ => by_status(error.status, error.description.as_deref().unwrap_or_default()),
        },
        AmqpError::MessageTooLarge { .. } => plain(ErrorCode::PayloadTooLarge),
        AmqpError::Limit(_) => plain(ErrorCode::Internal),
    }
}

/// Judges an error from the peer. Some conditions have several meanings, which only the error's text distinguishes.
fn judge_remote(error: &RemoteError) -> Verdict {
    let text = error.description.as_deref().unwrap_or_default().to_ascii_lowercase();
    let fault = fault_of(error);
    if let Some(verdict) = coded(&fault, &text) {
        return verdict;
    }
    match error.condition.as_str() {
        // "At least one receiver … is created with epoch", "A receiver with a higher epoch … already exists".
        _ if text.contains("epoch") && text.contains("receiver") => plain(ErrorCode::ConsumerConflict),
        // "Exceeded the maximum number of allowed receivers per partition in a consumer group which is 5."
        "amqp:resource-limit-exceeded" if text.contains("receivers") => plain(ErrorCode::ConsumerConflict),
        // "The supplied offset '…' is invalid. The last offset in the system is '…'"; the text for sequence numbers is
        // similar.
        _ if text.contains("the supplied offset") || text.contains("the supplied sequence number") => {
            plain(ErrorCode::PositionLost)
        }
        "amqp:unauthorized-access" | "com.microsoft:auth-failed" => unauthorized(&text),
        // With an unknown code, the condition can mean something other than a thing that does not exist.
        "amqp:not-found" if error.error_code().is_some() => plain(ErrorCode::Unavailable),
        condition => by_condition(condition).unwrap_or_else(|| plain(ErrorCode::Unavailable)),
    }
}

/// An error of IoT Hub over AMQP: a six-digit code in `info`, and a text that may have one of the shapes of HTTP
/// bodies.
fn fault_of(error: &RemoteError) -> Fault {
    Fault::of_text(None, error.error_code(), error.description.as_deref().unwrap_or_default())
}

/// The verdict for a code of IoT Hub, if the code is known.
fn coded(fault: &Fault, text: &str) -> Option<Verdict> {
    let verdict = fault.verdict();
    let judged = match verdict.code {
        ErrorCode::AuthFailed if !fault.is_about_the_host() => unauthorized(text),
        code => with(code, verdict.retry),
    };
    verdict.known.then_some(judged)
}

fn unauthorized(text: &str) -> Verdict {
    // "Ip has been prevented to connect to the endpoint": sent by the namespace's firewall, so the key is not the
    // problem.
    if text.contains("prevented to connect") {
        return with(ErrorCode::Unavailable, Retry::AfterReconfiguration);
    }
    if text.contains("expired") {
        plain(ErrorCode::AuthExpired)
    } else if text.contains("claim") && text.contains("required") {
        // "Unauthorized access. 'Listen' claim(s) are required to perform this operation."
        plain(ErrorCode::PermissionDenied)
    } else {
        plain(ErrorCode::AuthFailed)
    }
}

fn by_condition(condition: &str) -> Option<Verdict> {
    let seconds = |code, seconds| with(code, retry_after(Duration::from_secs(seconds)));
    Some(match condition {
        "com.microsoft:server-busy" => seconds(ErrorCode::RateLimited, 4),
        "com.microsoft:timeout" => seconds(ErrorCode::Timeout, 2),
        "com.microsoft:operation-cancelled" => seconds(ErrorCode::Unavailable, 0),
        "com.microsoft:container-close" => seconds(ErrorCode::Unavailable, 4),
        "com.microsoft:device-container-throttled" => plain(ErrorCode::RateLimited),
        "amqp:internal-error"
        | "amqp:connection:forced"
        | "amqp:link:detach-forced"
        | "amqp:link:transfer-limit-exceeded" => plain(ErrorCode::Unavailable),
        "amqp:unauthorized-access" | "com.microsoft:auth-failed" => plain(ErrorCode::AuthFailed),
        "amqp:link:stolen" => plain(ErrorCode::ConsumerConflict),
        "amqp:not-found" | "amqp:resource-deleted" => plain(ErrorCode::NotFound),
        // The hub's host name is wrong, which says nothing about the requested thing.
        "com.microsoft:iot-hub-not-found-error" => plain(ErrorCode::AuthFailed),
        "com.microsoft:device-already-exists" => plain(ErrorCode::Conflict),
        "amqp:resource-limit-exceeded" | "com.microsoft:quota-exceeded" => plain(ErrorCode::QuotaExceeded),
        "com.microsoft:entity-disabled" | "com.microsoft:iot-hub-suspended" => {
            with(ErrorCode::Unavailable, Retry::AfterReconfiguration)
        }
        // The endpoint that the connection states no longer belongs to the hub.
        "amqp:link:redirect" | "amqp:connection:redirect" => with(ErrorCode::Unavailable, Retry::AfterReconfiguration),
        "amqp:not-allowed" | "amqp:not-implemented" => plain(ErrorCode::Unsupported),
        "amqp:precondition-failed" | "com.microsoft:precondition-failed" | "com.microsoft:message-lock-lost" => {
            plain(ErrorCode::PreconditionFailed)
        }
        "amqp:link:message-size-exceeded" => plain(ErrorCode::PayloadTooLarge),
        "com.microsoft:argument-error" | "com.microsoft:argument-out-of-range" | "amqp:invalid-field" => {
            plain(ErrorCode::InvalidInput)
        }
        "amqp:decode-error" | "amqp:illegal-state" | "amqp:connection:framing-error" => plain(ErrorCode::Protocol),
        _ => return None,
    })
}

/// The answer of a server that refused a WebSocket.
fn refused_web_socket(error: &AmqpError) -> Option<Fault> {
    let AmqpError::Transport(error) = error else { return None };
    let mut fault = Fault::read(error.answer.as_deref()?, Duration::MAX);
    // A `Retry-After` with a date is ignored, because no clock is available here.
    fault.retry_after = fault.retry_after.filter(|wait| !wait.is_zero());
    Some(fault)
}

/// The request for a WebSocket contains no key. A server that refuses it therefore judges neither the key nor the
/// requested thing: the cause is always the network, the host or the service's settings.
fn by_refused_web_socket(error: &AmqpError) -> Verdict {
    let Some(fault) = refused_web_socket(error) else { return with(ErrorCode::Protocol, Retry::AfterReconfiguration) };
    let verdict = fault.verdict();
    match verdict.code {
        ErrorCode::RateLimited | ErrorCode::QuotaExceeded | ErrorCode::Unavailable
            if verdict.known || fault.status > 404 =>
        {
            with(verdict.code, verdict.retry)
        }
        ErrorCode::Timeout => plain(ErrorCode::Unavailable),
        _ => with(ErrorCode::Unavailable, Retry::AfterReconfiguration),
    }
}

/// Judges the status of an answer of `$cbs` or `$management`. A known code in the text has priority over the status.
fn by_status(status: u16, text: &str) -> Verdict {
    let fault = Fault::of_text(Some(status), None, text);
    let text = text.to_ascii_lowercase();
    if let Some(verdict) = coded(&fault, &text) {
        return verdict;
    }
    match status {
        401 => unauthorized(&text),
        // If the text names no claim, a firewall, a quota or a disabled service is the cause, and not a missing
        // permission.
        403 if text.contains("claim") => plain(ErrorCode::PermissionDenied),
        403 => with(ErrorCode::Unavailable, Retry::AfterReconfiguration),
        404 | 410 if ["not be found", "not found", "not exist"].iter().any(|words| text.contains(words)) => {
            plain(ErrorCode::NotFound)
        }
        404 | 410 => plain(ErrorCode::Unavailable),
        400 => plain(ErrorCode::InvalidInput),
        408 | 504 => plain(ErrorCode::Timeout),
        429 => plain(ErrorCode::RateLimited),
        500 | 502 | 503 => plain(ErrorCode::Unavailable),
        _ => plain(ErrorCode::Protocol),
    }
}

fn service_fault(error: &AmqpError) -> Option<ServiceFault> {
    if let Some(fault) = refused_web_socket(error) {
        return Some(fault.service());
    }
    if let AmqpError::Answered(error) = error {
        return Some(ServiceFault {
            status: Some(error.status),
            code: error.condition.as_deref().map(clean),
            tracking_id: error.tracking_id(),
        });
    }
    let remote = error.remote()?;
    let condition = clean(&remote.condition);
    let fault = fault_of(remote);
    let (status, code) = match remote.error_code() {
        Some(number) => (fault.service().status, format!("{number} {condition}")),
        None => match fault.label() {
            Some(label) => (fault.service().status, format!("{label} {condition}")),
            None => (None, condition),
        },
    };
    Some(ServiceFault { status, code: Some(code), tracking_id: remote.tracking_id() })
}

fn said(error: &AmqpError) -> Option<String> {
    if let Some(fault) = refused_web_socket(error) {
        return fault.message;
    }
    let text = match error {
        AmqpError::Answered(error) => error.description.as_deref(),
        other => other.remote()?.description.as_deref(),
    };
    // The sentence ends where the tracking ids begin, which have their own field. IoT Hub's texts sometimes have the
    // shape of its HTTP bodies.
    let text = Fault::of_text(None, None, text?).message?;
    let text = text.split("TrackingId:").next()?.split("Tracking ID:").next()?;
    Some(clean(text)).filter(|text| !text.is_empty())
}

/// Shortens and cleans a text from the service, so that it can be part of a message.
fn clean(text: &str) -> String {
    quoted(text, LONGEST_MESSAGE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::error::StatusError;
    use crate::amqp::transport::TransportError;
    use crate::amqp::{Stage, Value};
    use crate::platform::WireResponse;
    use crate::secret::Secret;

    fn context() -> Context {
        let endpoint = Endpoint {
            host: "ns.servicebus.windows.net".into(),
            port: 5671,
            transport: AmqpTransport::Tcp,
            hub: "h".into(),
        };
        let key = SharedAccessKey { policy: "service".into(), key: Secret::new("a2V5") };
        Context::event_hub(&endpoint, &key, "the partition \"0\"")
    }

    fn detached(condition: &str, text: &str) -> Error {
        let error = RemoteError { condition: condition.into(), description: Some(text.into()), info: vec![] };
        context().error(&AmqpError::Detached(Some(error)))
    }

    #[test]
    fn conditions_have_codes_and_advice() {
        use ErrorCode as Code;
        let cases = [
            ("com.microsoft:server-busy", "", Code::RateLimited, Retry::After(4_000)),
            ("com.microsoft:timeout", "", Code::Timeout, Retry::After(2_000)),
            ("com.microsoft:operation-cancelled", "", Code::Unavailable, Retry::After(0)),
            ("com.microsoft:container-close", "", Code::Unavailable, Retry::After(4_000)),
            ("amqp:internal-error", "", Code::Unavailable, Retry::Backoff),
            ("amqp:connection:forced", "", Code::Unavailable, Retry::Backoff),
            ("amqp:link:detach-forced", "", Code::Unavailable, Retry::Backoff),
            ("amqp:unauthorized-access", "InvalidSignature", Code::AuthFailed, Retry::AfterReauthentication),
            (
                "amqp:unauthorized-access",
                "ExpiredToken: The token is expired.",
                Code::AuthExpired,
                Retry::AfterReauthentication,
            ),
            (
                "amqp:unauthorized-access",
                "Unauthorized access. 'Listen' claim(s) are required to perform this operation.",
                Code::PermissionDenied,
                Retry::AfterReconfiguration,
            ),
            ("amqp:link:stolen", "", Code::ConsumerConflict, Retry::AfterReconfiguration),
            (
                "amqp:resource-limit-exceeded",
                "Exceeded the maximum number of allowed receivers per partition in a consumer group which is 5.",
                Code::ConsumerConflict,
                Retry::AfterReconfiguration,
            ),
            ("amqp:resource-limit-exceeded", "", Code::QuotaExceeded, Retry::Backoff),
            (
                "amqp:not-allowed",
                "At least one receiver for the endpoint is created with epoch of '22', and so non-epoch receiver is not allowed.",
                Code::ConsumerConflict,
                Retry::AfterReconfiguration,
            ),
            (
                "com.microsoft:argument-error",
                "The supplied offset '51541496928' is invalid. The last offset in the system is '12916091040'",
                Code::PositionLost,
                Retry::Never,
            ),
            ("com.microsoft:argument-error", "x", Code::InvalidInput, Retry::Never),
            ("amqp:not-found", "", Code::NotFound, Retry::Never),
            ("amqp:not-implemented", "", Code::Unsupported, Retry::Never),
            ("com.microsoft:entity-disabled", "", Code::Unavailable, Retry::AfterReconfiguration),
            ("amqp:link:redirect", "", Code::Unavailable, Retry::AfterReconfiguration),
            ("amqp:link:message-size-exceeded", "", Code::PayloadTooLarge, Retry::Never),
            ("amqp:decode-error", "", Code::Protocol, Retry::Never),
            ("com.example:new", "", Code::Unavailable, Retry::Backoff),
        ];
        for (condition, text, code, retry) in cases {
            let error = detached(condition, text);
            assert_eq!((error.code(), error.record().retry), (code, retry), "{condition}: {text}");
            assert_eq!(error.record().service.as_ref().and_then(|fault| fault.code.as_deref()), Some(condition));
        }
    }

    #[test]
    fn words_and_tracking_ids_are_kept_apart() {
        let error = detached("amqp:link:stolen", "New receiver. TrackingId:abc_G1, SystemTracker:x");
        let record = error.record();
        assert!(record.message.ends_with("It says: New receiver."), "{}", record.message);
        assert_eq!(record.service.as_ref().and_then(|fault| fault.tracking_id.as_deref()), Some("abc_G1"));
    }

    /// A service that quotes the request in its answer, and adds characters that a terminal must not receive.
    #[test]
    fn what_a_service_repeats_or_hides_is_in_no_error() {
        let key = SharedAccessKey {
            policy: "service".into(),
            key: Secret::new("YSBrZXkgdGhhdCBpcyBsb25nIGVub3VnaCB0byBiZSBvbmU="),
        };
        let now = Duration::from_secs(1_700_000_000);
        let (token, _) = crate::auth::event_hub_token(&key, "ns.servicebus.windows.net", "h", now);
        let signature = token.expose().split("sig=").nth(1).and_then(|rest| rest.split('&').next()).expect("signed");
        let raw = percent_encoding::percent_decode_str(signature).decode_utf8().expect("text").into_owned();
        for echo in [token.expose(), signature, &raw, key.key.expose()] {
            for padding in [0, 480, 500] {
                let text = format!("{}\u{202e}{echo}\u{1b}[2J\r\nERROR. TrackingId:{echo}", "w ".repeat(padding / 2));
                let info = vec![(Value::symbol("com.microsoft:tracking-id"), Value::from(text.as_str()))];
                let remote = || {
                    Some(RemoteError { condition: text.clone(), description: Some(text.clone()), info: info.clone() })
                };
                for error in [
                    AmqpError::Closed(remote()),
                    AmqpError::Detached(remote()),
                    AmqpError::Detached(Some(RemoteError {
                        condition: "amqp:link:stolen".into(),
                        ..remote().expect("one")
                    })),
                    AmqpError::NoMechanism(vec![text.clone()]),
                    AmqpError::Transport(TransportError::new(TransportErrorKind::Tls, Stage::Tls, text.as_str())),
                    AmqpError::Transport(TransportError::new(TransportErrorKind::Timeout, Stage::Tls, text.as_str())),
                    AmqpError::Answered(Box::new(StatusError {
                        node: "$cbs",
                        status: 401,
                        description: Some(text.clone()),
                        condition: Some(text.clone()),
                    })),
                ] {
                    let error = context().error(&error);
                    let record = error.record();
                    let service =
                        record.service.clone().unwrap_or(ServiceFault { status: None, code: None, tracking_id: None });
                    let texts =
                        [Some(record.message.clone()), record.detail.clone(), service.code, service.tracking_id];
                    for said in
                        texts.into_iter().flatten().chain(record.fields.iter().map(|field| field.message.clone()))
                    {
                        assert!(said.chars().all(connector_rules::text::is_visible), "{said:?}");
                        for secret in [&signature[..20], &raw[..20], "YSBrZXkgdGhhdCBp"] {
                            assert!(!said.contains(secret), "{said}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn answers_are_judged_by_condition_or_status() {
        let answered = |status, condition: Option<&str>| {
            context().error(&AmqpError::Answered(Box::new(StatusError {
                node: "$cbs",
                status,
                description: Some("InvalidSignature: The token has an invalid signature. TrackingId:t1".into()),
                condition: condition.map(str::to_owned),
            })))
        };
        assert_eq!(answered(401, None).code(), ErrorCode::AuthFailed);
        assert_eq!(answered(401, None).status(), Some(401));
        assert_eq!(answered(404, Some("amqp:not-found")).code(), ErrorCode::NotFound);
        assert_eq!(answered(500, Some("com.microsoft:server-busy")).code(), ErrorCode::RateLimited);
        assert_eq!(answered(500, Some("unheard-of")).code(), ErrorCode::Unavailable);
        assert_eq!(answered(299, None).code(), ErrorCode::Protocol);
    }

    #[test]
    fn the_hubs_codes_count_before_condition_and_status() {
        let hub = |error: &AmqpError| {
            let address =
                HubAddress { host: "plant.azure-devices.net".into(), port: 5671, transport: AmqpTransport::Tcp };
            let key = SharedAccessKey { policy: "service".into(), key: Secret::new("a2V5") };
            Context::iot_hub(&address, &key, "device \"d1\"").error(error)
        };
        let refused = |condition: &str, code: Option<i32>, text: &str| {
            let info = code.map(|code| (Value::symbol("com.microsoft:error-code"), Value::Int(code)));
            hub(&AmqpError::Refused(Some(RemoteError {
                condition: condition.into(),
                description: Some(text.into()),
                info: info.into_iter().collect(),
            })))
        };
        let cases = [
            (Some(404_001), "Not registered", ErrorCode::NotFound),
            (None, "Not registered", ErrorCode::NotFound),
            (None, "ErrorCode:DeviceNotFound;d1", ErrorCode::NotFound),
            (Some(404_012), "Failing over", ErrorCode::Unavailable),
            (Some(404_999), "New", ErrorCode::Unavailable),
            (None, "ErrorCode:IotHubFailingOver;Later", ErrorCode::Unavailable),
            (None, r#"{"errorCode":404012,"trackingId":"t1","message":"Later"}"#, ErrorCode::Unavailable),
            (Some(404_104), "Gone offline", ErrorCode::DeviceOffline),
            (Some(403_011), "Key revoked", ErrorCode::Unavailable),
        ];
        for (code, text, expected) in cases {
            let error = refused("amqp:not-found", code, text);
            assert_eq!(error.code(), expected, "{code:?} {text}");
        }
        let error = refused("amqp:not-found", None, r#"{"errorCode":404012,"trackingId":"t1","message":"Later"}"#);
        assert_eq!(error.record().service.as_ref().and_then(|fault| fault.status), Some(404));
        let hubless = refused("com.microsoft:iot-hub-not-found-error", None, "No hub");
        assert_eq!(hubless.code(), ErrorCode::AuthFailed);
        let closed = refused("amqp:unauthorized-access", None, "Unauthorized");
        assert!(closed.record().message.contains("IP filter"), "{}", closed.record().message);
        let firewall = refused("amqp:unauthorized-access", None, "Ip has been prevented to connect to the endpoint.");
        assert_eq!((firewall.code(), firewall.record().retry), (ErrorCode::Unavailable, Retry::AfterReconfiguration));

        let answered = |status, text: &str| {
            hub(&AmqpError::Answered(Box::new(StatusError {
                node: "$cbs",
                status,
                description: Some(text.into()),
                condition: None,
            })))
            .code()
        };
        assert_eq!(answered(404, "The messaging entity 'x' could not be found."), ErrorCode::NotFound);
        assert_eq!(answered(404, ""), ErrorCode::Unavailable);
        assert_eq!(answered(404, r#"{"errorCode":404012,"message":"x"}"#), ErrorCode::Unavailable);
        assert_eq!(answered(403, "Blocked"), ErrorCode::Unavailable);
        assert_eq!(answered(403, "'Listen' claim(s) are required"), ErrorCode::PermissionDenied);
        assert_eq!(answered(400, "ErrorCode:ConnectionRejectedOnFaultInjection;x"), ErrorCode::Unavailable);
    }

    #[test]
    fn a_connection_that_does_not_come_about_names_its_port() {
        let hub = HubAddress { host: "plant.azure-devices.net".into(), port: 5671, transport: AmqpTransport::Tcp };
        let key = SharedAccessKey { policy: "service".into(), key: crate::secret::Secret::new("a2V5") };
        let contexts = [context(), Context::iot_hub(&hub, &key, "connection")];
        for (kind, stage, says) in [
            (TransportErrorKind::Connect, Stage::Connect, "no firewall"),
            (TransportErrorKind::Timeout, Stage::Connect, "no firewall"),
            (TransportErrorKind::Broken, Stage::Tls, "no firewall"),
            (TransportErrorKind::Denied, Stage::Connect, "The engine has to let"),
        ] {
            for context in &contexts {
                let error = context.error(&AmqpError::Transport(TransportError::new(kind, stage, "x")));
                let message = &error.record().message;
                assert!(message.contains("port 5671") && message.contains(says), "{kind:?}: {message}");
            }
        }
        assert!(contexts.iter().all(|context| {
            let error = TransportError::new(TransportErrorKind::Connect, Stage::Connect, "x");
            context
                .error(&error.into())
                .record()
                .message
                .contains("\"AMQP transport\" of the connection to amqp-web-sockets")
        }));
        // A timeout after the connection was made is not caused by a blocked port.
        let later = context().error(&AmqpError::Transport(TransportError::new(
            TransportErrorKind::Timeout,
            Stage::Message,
            "x",
        )));
        assert!(!later.record().message.contains("firewall"), "{}", later.record().message);
    }

    #[test]
    fn a_refused_web_socket_is_about_the_network() {
        use ErrorCode::{Protocol, RateLimited, Unavailable};
        use Retry::{AfterReconfiguration, Backoff};
        let hub =
            HubAddress { host: "plant.azure-devices.net".into(), port: 443, transport: AmqpTransport::WebSockets };
        let key = SharedAccessKey { policy: "service".into(), key: Secret::new("a2V5") };
        let error = |answer: Option<WireResponse>| {
            let error = TransportError::new(TransportErrorKind::Upgrade, Stage::Upgrade, "it answered with status N");
            let error = TransportError { answer: answer.map(Box::new), ..error };
            Context::iot_hub(&hub, &key, "device \"d1\"").error(&error.into())
        };
        let answer = |status, headers: &[(&str, &str)], body: &str| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Some(WireResponse { status, headers, body: body.as_bytes().to_vec() })
        };
        let after = |seconds| retry_after(Duration::from_secs(seconds));
        let page = "<html><title>Blocked by policy 7</title></html>";
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (answer, code, retry, says) in [
            (None, Protocol, AfterReconfiguration, "does not open a WebSocket"),
            (answer(200, &[], page), Unavailable, AfterReconfiguration, "Blocked by policy 7"),
            (answer(302, &[("location", "https://login.example")], ""), Unavailable, AfterReconfiguration, "no proxy"),
            (answer(400, &[], ""), Unavailable, AfterReconfiguration, "no proxy"),
            (answer(401, &[], page), Unavailable, AfterReconfiguration, "Blocked by policy 7"),
            (answer(403, &[], page), Unavailable, AfterReconfiguration, "Blocked by policy 7"),
            // A server without WebSockets must not be reported as a device that does not exist.
            (
                answer(404, &[], r#"{"Message":"ErrorCode:DeviceNotFound;x"}"#),
                Unavailable,
                AfterReconfiguration,
                "says: x",
            ),
            (
                answer(404, &[], r#"{"errorCode":404012,"message":"Failing over."}"#),
                Unavailable,
                Backoff,
                "Failing over",
            ),
            (answer(407, &[], page), Unavailable, AfterReconfiguration, "no proxy"),
            (answer(408, &[], ""), Unavailable, Backoff, "no proxy"),
            (answer(429, &[("retry-after", "7")], ""), RateLimited, after(7), "asks to slow down"),
            (answer(429, &[("retry-after", date)], ""), RateLimited, Backoff, "asks to slow down"),
            (answer(502, &[], page), Unavailable, Backoff, "port 443"),
            (answer(503, &[("retry-after", "3")], ""), Unavailable, after(3), "port 443"),
            (answer(504, &[], ""), Unavailable, Backoff, "port 443"),
        ] {
            let error = error(answer.clone());
            let record = error.record();
            assert_eq!((error.code(), record.retry), (code, retry), "{answer:?}: {}", record.message);
            assert!(record.message.contains(says), "{answer:?}: {}", record.message);
            assert_eq!(error.status(), answer.map(|answer| answer.status));
        }
        for kind in [TransportErrorKind::Timeout, TransportErrorKind::Broken] {
            let error = TransportError::new(kind, Stage::Upgrade, "x");
            let message = Context::iot_hub(&hub, &key, "connection").error(&error.into()).record().message.clone();
            assert!(message.contains("answers in its place") && message.contains("port 443"), "{message}");
        }
    }

    #[test]
    fn failures_below_have_codes_too() {
        let transport = |kind| AmqpError::Transport(TransportError::new(kind, Stage::Connect, "x"));
        let cases = [
            (transport(TransportErrorKind::Dns), ErrorCode::Unavailable, Retry::Backoff),
            (transport(TransportErrorKind::Tls), ErrorCode::Unavailable, Retry::AfterReconfiguration),
            (transport(TransportErrorKind::Denied), ErrorCode::Unavailable, Retry::AfterReconfiguration),
            (AmqpError::Timeout(Stage::Attach), ErrorCode::Timeout, Retry::Backoff),
            (AmqpError::Sasl(1), ErrorCode::AuthFailed, Retry::AfterReauthentication),
            (AmqpError::Sasl(4), ErrorCode::Unavailable, Retry::Backoff),
            (AmqpError::Disconnected(Stage::Open), ErrorCode::Unavailable, Retry::Backoff),
            (AmqpError::Limit("x"), ErrorCode::Internal, Retry::Never),
        ];
        for (error, code, retry) in cases {
            let result = context().error(&error);
            assert_eq!((result.code(), result.record().retry), (code, retry), "{error:?}");
        }
    }
}
