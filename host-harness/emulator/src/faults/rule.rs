//! One rule: what it matches and how often it fires.

use super::action::FaultAction;
use crate::service::Service;

/// The method of a job that begins to run.
pub(crate) const RUN: &str = "RUN";

/// One rule.
///
/// # Grammar of the string form
///
/// ```text
/// rule      = [ service ":" ] method SP path "=" action { "x" times | "~" skip } [ "@" probability ]
/// service   = "hub" | "dps" | "device" | "eventhub" | "hub-amqp"
/// method    = "*" | "GET" | "POST" | …
/// path      = a path; "*" stands for any text, and a path without "*" is a prefix
/// action    = status [ "/" code ] [ "+" seconds ] [ ":" form ]
///                                                   answer with this status, error code, Retry-After
///           | "latency:" milliseconds               answer late
///           | "drop"                                close the connection, the request not carried out
///           | "drop-after"                          carry the request out, then close without an answer
///           | "truncate"                            send half of the body, then close
///           | "stall"                               send half of the body, then nothing
///           | "garbage"                             a body that is not JSON
///           | "oversize:" bytes                     this many bytes of white space before the body
///           | "etag"                                wrong ETags in header and body
///           | "skew:" seconds                       the service's clock is ahead by this time (may be negative)
/// code      = six digits, or a symbolic name; a code that the emulator itself does not use has the form "text"
/// form      = "text" | "object" | "string" | "flat"   the four shapes of body that the services have
///           | "header" | "bare"                       no body; the code in a header, or no code
///           | "page" | "document"                     an HTML page, or JSON, of a gateway
/// times     = how often the rule fires, always when left out
/// skip      = how many matches are ignored before it fires for the first time
/// ```
///
/// Examples: `POST /enrollments/query=429x3`, `hub:PATCH /twins/*=412/412001`, `* /=latency:250@0.1`,
/// `DELETE /devices/*=404/IotHubFailingOver`, `GET /twins/*=404:page`, `* /=400/400027:string`.
///
/// # Jobs of the hub
///
/// The method `RUN` is a job that begins to run: a scheduled one with the path `/jobs/v2/ID`, an import or export with
/// `/jobs/ID`. `latency` delays it, and by every other action it ends `failed`: `hub:RUN /jobs/v2/*=500x1`. Only a rule
/// with this method is for jobs that run.
///
/// # MQTT
///
/// The service is `device`, and the method is an operation: `CONNECT` with the path `/`, or `PUBLISH` with the path
/// `/messages/events`. `latency` delays, and every other action ends the connection. A rule without a service whose
/// method is `*` is for these, too.
///
/// # The AMQP endpoints
///
/// A rule is for AMQP when its service is `eventhub` or `hub-amqp`; a rule without a service is for HTTP only. The
/// method is an operation, and the path is the address with a slash before it:
///
/// ```text
/// method    = "CONNECT"    a TCP connection, before TLS           path "/"
///           | "OPEN"       the connection's open                  path "/"
///           | "ATTACH"     a link's attach                        path its address
///           | "PUT-TOKEN"  a token on $cbs                        path the audience's
///           | "READ"       a request to $management               path "/$management"
///           | "TRANSFER"   an event or notification going out     path the link's address
///           | "SEND"       a message coming in                    path the link's address
/// action    = "close" [ ":" condition ]    close the connection; by default amqp:connection:forced
///           | "end" [ ":" condition ]      end the session; by default amqp:internal-error
///           | "detach" [ ":" condition ]   detach the link; by default amqp:link:detach-forced
///           | "reject" [ ":" condition ]   reject the message (SEND); by default amqp:internal-error
///           | status                       answer with this status (PUT-TOKEN, READ)
///           | "latency:" milliseconds      pause the connection for this time
///           | "drop"                       drop the connection
///           | "half"                       send half of the next frame, then drop the connection
///           | "cut:" bytes                 drop the connection at random within this many further bytes; TLS bytes are
///                                        counted at CONNECT, AMQP bytes after it
///           | "stall"                      keep the connection, but send nothing more, not even a heartbeat
///           | "garbage"                    send bytes that are no frame
///           | "expire"                     treat the connection's tokens as expired
/// ```
///
/// A condition is any condition of the protocol or the service: `amqp:link:stolen`, `com.microsoft:server-busy`,
/// `com.microsoft:timeout`, `com.microsoft:operation-cancelled`, … With `/` and six digits after it, the condition
/// carries that code, as IoT Hub's conditions do: `hub-amqp:SEND /=reject:amqp:not-found/404012`.
///
/// Examples: `eventhub:ATTACH /*=detach:com.microsoft:server-busyx2`, `eventhub:TRANSFER /*=half~100x1`,
/// `eventhub:PUT-TOKEN /=401`, `eventhub:TRANSFER /*/Partitions/0=cut:4096@0.01`.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// The API to which the rule is limited; `None` means any API.
    pub service: Option<Service>,
    /// The method to which the rule is limited; `None` means any method.
    pub method: Option<String>,
    /// The path: a prefix or, if it contains `*`, a pattern for the whole path in which `*` stands for any text.
    pub path: String,
    /// What it does.
    pub action: FaultAction,
    /// How often the rule still fires; `None` means without limit.
    pub times: Option<u32>,
    /// How many matches are ignored before the rule fires for the first time.
    pub skip: u32,
    /// The probability that the rule fires, 0.0 to 1.0. The random sequence has a fixed seed.
    pub probability: f64,
}

impl FaultRule {
    /// A rule for every method on paths that match.
    pub fn new(path: impl Into<String>, action: FaultAction) -> Self {
        Self { service: None, method: None, path: path.into(), action, times: None, skip: 0, probability: 1.0 }
    }

    /// Limits the rule to one API.
    pub fn service(mut self, service: Service) -> Self {
        self.service = Some(service);
        self
    }

    /// Limits the rule to one method.
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Limits how often the rule fires.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Ignores this many matches first.
    pub fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Makes the rule fire at random.
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    pub(super) fn matches(&self, service: Service, method: &str, path: &str) -> bool {
        self.service.map_or(!service.is_amqp(), |wanted| wanted == service)
            && self.method.as_deref().map_or(method != RUN, |wanted| wanted.eq_ignore_ascii_case(method))
            && if self.path.contains('*') { glob(&self.path, path) } else { path.starts_with(&self.path) }
    }
}

/// Compares a text with a pattern, in which `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            let Some(rest) = text.strip_prefix(head) else { return false };
            (0..=rest.len()).any(|start| rest.is_char_boundary(start) && glob(tail, &rest[start..]))
        }
    }
}
