//! Sends a request and judges the answer.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::codes::Subject;
use super::fault::{Fault, Verdict};
use super::{retry, version};
use crate::auth::{self, Permission, SharedAccessKey};
use crate::error::{EffectState, Error, ErrorCode, MissingPermission, Result, Retry};
use crate::host_name;
use crate::json::from_members;
use crate::platform::{ExchangeError, ExchangeErrorKind, ExchangeLimits, Method, Platform, WireRequest, WireResponse};
use crate::secret::percent_encode;

/// The longest time to make a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest time after that until the service begins to answer. Direct methods add their own response timeout.
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes. The services' largest answer is a page of 1,000 twins, each with 8 KB of
/// tags and twice 32 KB of properties, which nobody uses in full. A larger page can be asked for in smaller pages.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;
/// An IP filter, or public network access that is off, is answered with 401, and the answer mentions neither ("IoT Hub
/// IP filters").
pub const NETWORK_REFUSES_LIKE_THAT: &str =
    "An IP filter, or public network access that is switched off, is answered in the same way.";
/// A smaller difference between the clocks cannot be the reason why a token was refused, in seconds.
const SKEW_THAT_MATTERS: i64 = 60;

/// The service that a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Azure IoT Hub's service API.
    IotHub,
    /// The Device Provisioning Service's service API.
    Dps,
}

impl Service {
    /// The service's name for a person.
    pub fn title(self) -> &'static str {
        match self {
            Self::IotHub => "Azure IoT Hub",
            Self::Dps => "the Device Provisioning Service",
        }
    }

    /// The newest stable version of the service's API in Microsoft's SDKs. Requests use this version unless they state
    /// another one.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::IotHub => "2021-04-12",
            Self::Dps => "2021-10-01",
        }
    }

    fn permissions(self) -> &'static [Permission] {
        match self {
            Self::IotHub => &Permission::HUB,
            Self::Dps => &Permission::DPS,
        }
    }
}

/// The address of a service, and the key for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// The service.
    pub service: Service,
    /// The service's host in lower case, with `:port` if the port is not 443.
    pub host: String,
    /// The shared access policy whose key signs the tokens.
    pub key: SharedAccessKey,
}

/// Whether a request may be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// The request changes nothing.
    Read,
    /// Sending the request twice has the same effect as sending it once.
    Repeatable,
    /// Sending the request twice may have the effect twice.
    Once,
}

/// The version of the service's API that a request uses.
#[derive(Clone, Debug)]
enum AtVersion {
    /// The service's default version.
    Usual,
    /// This version and no other.
    Exactly(&'static str),
    /// The version that the caller states, and no other.
    Stated(String),
    /// The first of these versions that the service supports.
    FirstOf(&'static [&'static str]),
}

/// The body of a request.
#[derive(Clone, Debug)]
enum Body {
    Json(Value),
    Bytes(Vec<u8>),
}

impl Body {
    fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json; charset=utf-8",
            Self::Bytes(_) => "application/octet-stream",
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Json(value) => value.to_string().into_bytes(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Json(value) => value.clone(),
            Self::Bytes(bytes) => readable(bytes),
        }
    }
}

/// Bytes in the plan of a dry run: as text if the bytes are UTF-8, otherwise as base64.
pub fn readable(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| STANDARD.encode(bytes), str::to_owned).into()
}

/// A request to one of the services, not yet bound to a host.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    segments: Vec<String>,
    query: Vec<(Cow<'static, str>, String)>,
    headers: Vec<(Cow<'static, str>, String)>,
    body: Option<Body>,
    safety: Safety,
    permission: Permission,
    wait: Duration,
    at: AtVersion,
    refused_in_part: bool,
}

impl Request {
    /// A request whose path has these segments. They are percent-encoded here.
    pub fn new<'s>(
        method: Method,
        segments: impl IntoIterator<Item = &'s str>,
        safety: Safety,
        permission: Permission,
    ) -> Self {
        Self {
            method,
            segments: segments.into_iter().map(str::to_owned).collect(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            safety,
            permission,
            wait: Duration::ZERO,
            at: AtVersion::Usual,
            refused_in_part: false,
        }
    }

    /// Counts an answer with status 400 as a success if its body is the result of a bulk operation: the service has
    /// judged each entry by itself, and the status means only that it refused at least one of them.
    #[must_use]
    pub fn refused_in_part(mut self) -> Self {
        self.refused_in_part = true;
        self
    }

    fn succeeded(&self, answer: &WireResponse) -> bool {
        let of_bulk = || {
            let body = crate::json::parse_records(&answer.body);
            body.is_ok_and(|body| body.get("isSuccessful").is_some_and(Value::is_boolean))
        };
        (200..300).contains(&answer.status) || (self.refused_in_part && answer.status == 400 && of_bulk())
    }

    /// Makes the request at the first of these versions that the service supports. It must not be used with a body that
    /// was read at one of the versions: at another version the service would not accept all of the body.
    #[must_use]
    pub fn first_of(mut self, versions: &'static [&'static str]) -> Self {
        self.at = AtVersion::FirstOf(versions);
        self
    }

    /// Makes the request at this version, even if the service refuses the version.
    #[must_use]
    pub fn at(mut self, version: &'static str) -> Self {
        self.at = AtVersion::Exactly(version);
        self
    }

    /// Makes the request at a version that the caller of the action states.
    #[must_use]
    pub fn at_stated(mut self, version: &str) -> Self {
        self.at = AtVersion::Stated(version.to_owned());
        self
    }

    /// Adds a query parameter. Its name and value are percent-encoded when the request is sent.
    #[must_use]
    pub fn query(mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        self.query.push((name.into(), value.to_string()));
        self
    }

    /// Adds a header. A name or value that is not valid in a header is refused when the request is sent.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    /// Adds a JSON body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(Body::Json(body));
        self
    }

    /// The JSON body.
    pub fn body(&self) -> Option<&Value> {
        match &self.body {
            Some(Body::Json(value)) => Some(value),
            Some(Body::Bytes(_)) | None => None,
        }
    }

    /// Adds a body of bytes.
    #[must_use]
    pub fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = Some(Body::Bytes(body));
        self
    }

    /// Lets the service take this much longer before it begins to answer.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Whether a code that reports this subject as gone can concern the thing that the path names.
    fn is_about(&self, subject: Subject) -> bool {
        let mut segments = self.segments.iter().map(String::as_str);
        let collection = segments.next().unwrap_or_default();
        match subject {
            Subject::Device => matches!(collection, "devices" | "twins" | "digitaltwins"),
            Subject::Module => segments.any(|segment| segment == "modules"),
            Subject::Job => collection == "jobs",
            Subject::Configuration => collection == "configurations",
            Subject::Provisioning => matches!(collection, "enrollments" | "enrollmentGroups" | "registrations"),
            Subject::Reference => false,
        }
    }

    fn path(&self) -> String {
        self.segments.iter().fold(String::new(), |path, segment| path + "/" + &percent_encode(segment))
    }

    fn path_with_query(&self, version: &str) -> String {
        let mut text = self.path() + "?";
        for (name, value) in &self.query {
            text += &format!("{}={}&", percent_encode(name), percent_encode(value));
        }
        text + "api-version=" + &percent_encode(version)
    }

    /// The resource that a token for this request can be narrowed to: the path's first two segments, a collection and
    /// an id.
    ///
    /// None if the path needs percent-encoding, because how the services compare such a resource is not documented.
    fn scope(&self) -> Option<String> {
        let narrow: Vec<&str> = self.segments.iter().take(2).map(String::as_str).collect();
        let plain = narrow.iter().all(|segment| percent_encode(segment) == *segment);
        (plain && !narrow.is_empty()).then(|| format!("/{}", narrow.join("/")))
    }
}

/// The request that a dry run would have sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub method: &'static str,
    pub url: String,
    /// The headers, without the authorization.
    pub headers: Vec<(Cow<'static, str>, String)>,
    pub body: Option<Value>,
}

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Response {
    wire: WireResponse,
    /// What the request may have changed, for an error that occurs after it.
    effect: EffectState,
}

impl Response {
    /// The HTTP status, from 200 to 299.
    pub fn status(&self) -> u16 {
        self.wire.status
    }

    /// The first header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.wire.header(name)
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.wire.body
    }

    /// The body as JSON, read like [`json::parse_records`](crate::json::parse_records); an empty body is null.
    ///
    /// # Errors
    /// `protocol` where the body is not JSON, `payload-too-large` where it takes up too much memory.
    pub fn json(&self) -> Result<Value> {
        if self.wire.body.is_empty() {
            return Ok(Value::Null);
        }
        crate::json::parse_records(&self.wire.body).map_err(|error| {
            if crate::json::is_too_large(&error) {
                let message = "The service's answer takes up more memory than the connector may use for an answer";
                return Error::new(ErrorCode::PayloadTooLarge, message).with_effect(self.effect);
            }
            self.unexpected("valid JSON").with_detail(error.to_string())
        })
    }

    /// The error for an answer that differs from the service's API description. Its effect states what the request has
    /// changed.
    pub fn unexpected(&self, wanted: &str) -> Error {
        let retry = if self.effect == EffectState::None { Retry::Backoff } else { Retry::Never };
        Error::new(ErrorCode::Protocol, format!("The service's answer is not {wanted}, which its API promises"))
            .with_effect(self.effect)
            .with_retry(retry)
    }
}

/// Whether an answer is a web page. The services never send one: their successful answers are JSON or empty.
fn is_page(answer: &WireResponse) -> bool {
    let html = answer
        .header("content-type")
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"));
    html || answer.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<')
}

/// The result of a permission probe.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeAnswer {
    /// The request got past authorization.
    Granted,
    /// The service refused the request with this status.
    Refused(u16),
    /// No request of the service API needs this permission.
    NoProbe,
}

/// One service, for one call.
pub struct Client<'a> {
    platform: &'a dyn Platform,
    api: &'a Api,
    /// The deadline, on the monotonic clock.
    deadline: Duration,
    dry_run: bool,
    planned: RefCell<Option<Plan>>,
    effects: Cell<u32>,
    /// API versions that the service refused. They are kept for this call only, because a service can be updated any
    /// time.
    refused: RefCell<Vec<&'static str>>,
}

impl<'a> Client<'a> {
    /// A client whose work must end at `deadline` on the monotonic clock. A dry run sends only reads.
    pub fn new(platform: &'a dyn Platform, api: &'a Api, deadline: Duration, dry_run: bool) -> Self {
        Self {
            platform,
            api,
            deadline,
            dry_run,
            planned: RefCell::new(None),
            effects: Cell::new(0),
            refused: RefCell::default(),
        }
    }

    /// The service that this client sends to.
    pub fn api(&self) -> &Api {
        self.api
    }

    /// The request at which a dry run stopped.
    pub fn planned(&self) -> Option<Plan> {
        self.planned.borrow().clone()
    }

    /// How much time is left.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_sub(self.platform.monotonic())
    }

    /// The first of these versions that the service has not refused in this call; the last one if it has refused all.
    pub fn spoken(&self, versions: &'static [&'static str]) -> &'static str {
        let refused = self.refused.borrow();
        let spoken = versions.iter().find(|version| !refused.contains(version));
        spoken.or(versions.last()).copied().unwrap_or(self.api.service.api_version())
    }

    /// Sends a request: signs it, keeps to the deadline, and repeats the request where that is safe.
    ///
    /// # Errors
    /// Every refusal and failure, typed; `effect` states what the request may have changed. In a dry run, a request
    /// that would change something is kept as the plan, and the error is `cancelled`.
    pub fn send(&self, request: &Request) -> Result<Response> {
        if let Some((name, _)) =
            request.headers.iter().find(|(_, value)| !value.bytes().all(|b| (0x20..0x7f).contains(&b)))
        {
            return Err(Error::new(
                ErrorCode::InvalidInput,
                format!("A value for the header `{name}` has characters that are not allowed in a header"),
            ));
        }
        if self.dry_run && request.safety != Safety::Read {
            return Err(self.plan(request));
        }
        let mut scope = request.scope();
        let mut unsure = false;
        let mut widened = false;
        let mut skew_tried = false;
        let mut attempt = 1;
        loop {
            let version = self.version(request);
            let outcome = self.exchange(request, version, scope.as_deref());
            if widened && outcome.as_ref().is_ok_and(|answer| answer.status != 401) {
                auth::learn_host_scope(&self.api.host);
            }
            let (error, transient, asked) = match outcome {
                Ok(answer) if request.succeeded(&answer) => return self.success(request, answer),
                Ok(answer) if answer.status == 401 && !skew_tried && self.learn_skew(&answer) => {
                    skew_tried = true;
                    continue;
                }
                Ok(answer) if answer.status == 401 && scope.is_some() => {
                    // A token for the whole host is the widest one. If the service accepts it after refusing a narrower
                    // one, the service requires it.
                    scope = None;
                    widened = true;
                    continue;
                }
                Ok(answer) => {
                    let fault = Fault::read(&answer, self.platform.unix_time());
                    if version::refused(&answer, &fault, version) {
                        if self.falls_back(request) {
                            continue;
                        }
                        return Err(self.version_refusal(version, &fault));
                    }
                    let verdict = judge(request, &fault);
                    // An earlier attempt succeeded although its answer was lost: the thing to delete is already gone.
                    if verdict.code == ErrorCode::NotFound && request.method == Method::Delete && unsure {
                        return Ok(self.response(request, answer));
                    }
                    let transient = retry::refusal_is_transient(&verdict, fault.status, request.safety);
                    (self.refusal(request, &fault), transient, fault.retry_after)
                }
                Err(error) => {
                    let transient = retry::failure_is_transient(&error, request.safety);
                    (self.failure(request, &error), transient, None)
                }
            };
            let pause = retry::pause(attempt + 1, asked, self.platform.random());
            if !transient || attempt >= retry::ATTEMPTS || pause + retry::TIME_FOR_AN_ATTEMPT > self.remaining() {
                return Err(error);
            }
            unsure |= error.record().effect == EffectState::Unknown;
            self.platform.sleep(pause);
            attempt += 1;
        }
    }

    /// Tests whether the key has a permission, with one request that changes nothing.
    ///
    /// # Errors
    /// Where the service did not judge the request.
    pub fn probe(&self, permission: Permission, name: &str) -> Result<ProbeAnswer> {
        let Some(probe) = permission.probe(name) else { return Ok(ProbeAnswer::NoProbe) };
        let mut request =
            Request::new(probe.method, probe.segments.iter().map(String::as_str), Safety::Read, permission);
        if let Some(etag) = probe.if_match {
            request = request.header("if-match", etag);
        }
        let mut skew_tried = false;
        let mut attempt = 1;
        loop {
            let version = self.api.service.api_version();
            let answer = self.exchange(&request, version, None).map_err(|error| self.failure(&request, &error))?;
            if (200..300).contains(&answer.status) {
                return self.success(&request, answer).map(|_| ProbeAnswer::Granted);
            }
            if answer.status == 401 && !skew_tried && self.learn_skew(&answer) {
                skew_tried = true;
                continue;
            }
            let fault = Fault::read(&answer, self.platform.unix_time());
            let verdict = judge(&request, &fault);
            match verdict.code {
                ErrorCode::AuthFailed | ErrorCode::PermissionDenied => return Ok(ProbeAnswer::Refused(answer.status)),
                // The service judged the request itself, which it does only if the key has the permission. A known code
                // proves that the answer is the service's own; a failed precondition proves it, too, because only the
                // service judges ETags.
                ErrorCode::NotFound | ErrorCode::InvalidInput | ErrorCode::DeviceOffline if verdict.known => {
                    return Ok(ProbeAnswer::Granted);
                }
                ErrorCode::PreconditionFailed => return Ok(ProbeAnswer::Granted),
                _ => {}
            }
            let pause = retry::pause(attempt + 1, fault.retry_after, self.platform.random());
            let again = retry::refusal_is_transient(&verdict, fault.status, request.safety);
            if !again || attempt >= retry::ATTEMPTS || pause + retry::TIME_FOR_AN_ATTEMPT > self.remaining() {
                return Err(self.refusal(&request, &fault));
            }
            self.platform.sleep(pause);
            attempt += 1;
        }
    }

    /// A name for a thing that does not exist.
    pub fn probe_name(&self) -> String {
        format!("permission-probe-{:016x}", self.platform.random())
    }

    fn response(&self, request: &Request, wire: WireResponse) -> Response {
        if request.safety != Safety::Read {
            self.effects.set(self.effects.get() + 1);
        }
        Response { wire, effect: self.effect_so_far() }
    }

    /// Accepts an answer whose status is a success. A web page is not accepted: something between the connector and the
    /// service sent it, so it is unknown what the service did.
    fn success(&self, request: &Request, answer: WireResponse) -> Result<Response> {
        if !is_page(&answer) {
            return Ok(self.response(request, answer));
        }
        let (service, host) = (self.api.service.title(), self.host_of(request));
        let (effect, retry, outcome) = match request.safety {
            Safety::Read => (self.effect_so_far(), Retry::Backoff, ""),
            Safety::Repeatable => (EffectState::Unknown, Retry::Backoff, " Whether the change was made is not known."),
            Safety::Once => (EffectState::Unknown, Retry::Never, " Whether the change was made is not known."),
        };
        let message = format!(
            "{host} answered with status {} and a web page instead of an answer of {service}: a gateway, proxy or login page \
             on the way may have answered in its place.{outcome}",
            answer.status
        );
        Err(Error::new(ErrorCode::Protocol, message).with_effect(effect).with_retry(retry))
    }

    fn version<'r>(&self, request: &'r Request) -> &'r str {
        match &request.at {
            AtVersion::Usual => self.api.service.api_version(),
            AtVersion::Exactly(version) => version,
            AtVersion::Stated(version) => version,
            AtVersion::FirstOf(versions) => self.spoken(versions),
        }
    }

    /// Notes that the service refused the request's version. Returns whether there is another version for the request.
    fn falls_back(&self, request: &Request) -> bool {
        let refused = match &request.at {
            AtVersion::Usual => self.api.service.api_version(),
            AtVersion::Exactly(version) => version,
            AtVersion::Stated(_) => return false,
            AtVersion::FirstOf(versions) => self.spoken(versions),
        };
        self.refused.borrow_mut().push(refused);
        self.version(request) != refused
    }

    fn version_refusal(&self, version: &str, fault: &Fault) -> Error {
        let said = fault.message.as_deref().map(|message| format!(" It says: {message}")).unwrap_or_default();
        let message = format!(
            "{} at {} does not support version {version} of its API, which the request needs.{said}",
            self.api.service.title(),
            self.api.host
        );
        Error::new(ErrorCode::Unsupported, message).with_service(fault.service()).with_effect(self.effect_so_far())
    }

    fn exchange(&self, request: &Request, version: &str, scope: Option<&str>) -> Result<WireResponse, ExchangeError> {
        let remaining = self.remaining();
        if remaining.is_zero() {
            let detail = "the call's deadline had passed before the request was sent".to_owned();
            return Err(ExchangeError { kind: ExchangeErrorKind::Timeout, sent: false, detail });
        }
        let mut headers =
            vec![("accept".into(), "application/json".to_owned()), ("user-agent".into(), USER_AGENT.to_owned())];
        if let Some(body) = &request.body {
            headers.push(("content-type".into(), body.content_type().to_owned()));
        }
        headers.extend(request.headers.iter().cloned());
        let host = self.host_of(request);
        auth::same_clock(&host, &self.api.host);
        let wire = WireRequest {
            method: request.method,
            authority: host.clone(),
            path_with_query: request.path_with_query(version),
            headers,
            authorization: auth::token(&self.api.key, &host, scope, self.platform.unix_time()),
            body: request.body.as_ref().map(Body::to_bytes),
        };
        let limits = ExchangeLimits {
            connect: CONNECT.min(remaining),
            first_byte: (FIRST_BYTE + request.wait).min(remaining),
            total: remaining,
            body_bytes: LARGEST_ANSWER,
        };
        self.platform.exchange(&wire, &limits)
    }

    /// The host that a request goes to. If the hub is configured with its host name for back ends, requests on behalf
    /// of devices go to its other host name.
    fn host_of(&self, request: &Request) -> String {
        match request.permission {
            Permission::DeviceConnect => host_name::for_devices(&self.api.host),
            _ => self.api.host.clone(),
        }
    }

    /// Whether the service's clock explains a refusal. If it does, later tokens use that clock.
    fn learn_skew(&self, answer: &WireResponse) -> bool {
        let Some(theirs) = answer.header("date").and_then(|date| httpdate::parse_http_date(date).ok()) else {
            return false;
        };
        let Ok(theirs) = theirs.duration_since(std::time::UNIX_EPOCH) else { return false };
        let difference =
            theirs.as_secs().cast_signed().saturating_sub(self.platform.unix_time().as_secs().cast_signed());
        let matters = difference.saturating_sub(auth::skew(&self.api.host)).abs() > SKEW_THAT_MATTERS;
        if matters {
            auth::learn_skew(&self.api.host, difference);
        }
        matters
    }

    fn plan(&self, request: &Request) -> Error {
        *self.planned.borrow_mut() = Some(Plan {
            method: request.method.as_str(),
            url: format!("https://{}{}", self.host_of(request), request.path_with_query(self.version(request))),
            headers: request.headers.clone(),
            body: request.body.as_ref().map(Body::to_value),
        });
        Error::new(ErrorCode::Cancelled, "This is a dry run: nothing was sent")
    }

    fn refusal(&self, request: &Request, fault: &Fault) -> Error {
        let verdict = judge(request, fault);
        let mut code = verdict.code;
        let mut retry = verdict.retry;
        if code == ErrorCode::AuthFailed && !fault.is_about_the_host() && self.key_is_good(request.permission) {
            (code, retry) = (ErrorCode::PermissionDenied, Retry::AfterReconfiguration);
        }
        let effect = match request.safety {
            Safety::Read => self.effect_so_far(),
            _ if verdict.effect == EffectState::Unknown => EffectState::Unknown,
            _ => self.effect_so_far(),
        };
        let mut message = self.words(request, fault, code);
        if effect == EffectState::Unknown {
            message += " Nevertheless, the request may have been carried out.";
        }
        if let Some(said) = &fault.message {
            message += &format!(" It says: {said}");
        }
        let error = Error::new(code, message).with_service(fault.service()).with_effect(effect).with_retry(retry);
        if code != ErrorCode::PermissionDenied {
            return error;
        }
        error.with_missing_permission(MissingPermission {
            permission: request.permission.id().to_owned(),
            remedy: request.permission.remedy(&self.api.key.policy),
        })
    }

    /// A message that explains a refusal. The service's own sentence follows it.
    fn words(&self, request: &Request, fault: &Fault, code: ErrorCode) -> String {
        let service = self.api.service.title();
        let Api { host, key, .. } = self.api;
        let policy = &key.policy;
        let what = self.what(request);
        let status = fault
            .label()
            .map_or_else(|| format!("status {}", fault.status), |label| format!("status {}, {label}", fault.status));
        match code {
            ErrorCode::PermissionDenied => {
                format!("The policy \"{policy}\" lacks \"{}\" on {service}.", request.permission.title())
            }
            ErrorCode::AuthFailed if fault.is_about_the_host() => {
                format!(
                    "{service} has no instance at {host}: the host name is wrong, or the instance was deleted ({status})."
                )
            }
            ErrorCode::AuthFailed => format!(
                "{service} at {host} does not accept the key of the policy \"{policy}\". The key or the policy's name is not \
                 the current one, or the policy has none of the permissions that were tried. {NETWORK_REFUSES_LIKE_THAT}"
            ),
            _ if fault.foreign => format!(
                "{host} answered with {status} and not in the form of {service}: a gateway, proxy or firewall on the way may \
                 have answered in its place, so nothing is known of the {what}."
            ),
            ErrorCode::NotFound => format!("{service} has no {what}."),
            ErrorCode::Conflict => format!("{service} has a {what} already, or is changing it."),
            ErrorCode::PreconditionFailed => format!("The {what} was changed since it was read."),
            ErrorCode::DeviceOffline => format!("The device is not connected or is disabled ({status})."),
            ErrorCode::RateLimited => format!("{service} asks to slow down."),
            ErrorCode::QuotaExceeded => format!("A quota of {service} is used up ({status})."),
            ErrorCode::Timeout => format!("{service} or the device did not answer in time."),
            ErrorCode::InvalidInput => format!("{service} does not accept the {what}."),
            ErrorCode::PayloadTooLarge => format!("The {what} is too large for {service}."),
            ErrorCode::Unsupported => format!("The tier or version of {service} does not offer the call ({status})."),
            _ if fault.status == 403 => {
                format!("{service} refused the {what} ({status}) for a reason other than a missing permission.")
            }
            _ if fault.status == 404 => {
                format!("{service} could not answer for the {what} ({status}), which does not mean that it is gone.")
            }
            _ => format!("{service} answered with {status}."),
        }
    }

    fn effect_so_far(&self) -> EffectState {
        if self.effects.get() > 0 { EffectState::Applied } else { EffectState::None }
    }

    fn failure(&self, request: &Request, error: &ExchangeError) -> Error {
        use ExchangeErrorKind as Kind;
        let host = &self.host_of(request);
        let (code, mut message, advice) = match error.kind {
            Kind::Dns => {
                (ErrorCode::Unavailable, format!("The host name {host} has no address. Is it spelled right?"), None)
            }
            Kind::Connect => (ErrorCode::Unavailable, format!("{host} cannot be reached."), None),
            Kind::Tls => (
                ErrorCode::Unavailable,
                format!("No secure connection to {host}: its certificate is not trusted, or the handshake failed."),
                Some(Retry::AfterReconfiguration),
            ),
            Kind::Timeout => (ErrorCode::Timeout, format!("{host} did not answer in time."), None),
            Kind::Broken => (ErrorCode::Unavailable, format!("The connection to {host} broke."), None),
            Kind::TooLarge => (
                ErrorCode::PayloadTooLarge,
                format!("The answer of {host} is larger than the connector or its host allows."),
                None,
            ),
            Kind::Denied => (
                ErrorCode::Unavailable,
                format!("The engine that runs this connector does not let it connect to {host}."),
                Some(Retry::AfterReconfiguration),
            ),
            Kind::Protocol => {
                (ErrorCode::Protocol, format!("{host} does not answer as an HTTP server should."), Some(Retry::Backoff))
            }
            Kind::HostLimit => {
                (ErrorCode::Unavailable, "A limit of the engine that runs this connector is reached.".to_owned(), None)
            }
        };
        // If a request has reached the host, the host's name is right.
        if matches!(error.kind, Kind::Dns | Kind::Connect | Kind::Timeout | Kind::Tls)
            && !error.sent
            && let Some(hint) = host_name::hint(host)
        {
            message = format!("{message} {hint}");
        }
        let effect =
            if error.sent && request.safety != Safety::Read { EffectState::Unknown } else { self.effect_so_far() };
        let result = Error::new(code, message).with_detail(error.detail.clone()).with_effect(effect);
        advice.map_or(result.clone(), |advice| result.with_retry(advice))
    }

    /// Whether the service accepts this key for any other permission. It is asked only after a refusal, and each time
    /// again: since the last success the key may have been replaced, or the service may have been closed to this
    /// network.
    pub fn key_is_good(&self, refused: Permission) -> bool {
        let name = self.probe_name();
        self.api
            .service
            .permissions()
            .iter()
            .filter(|permission| **permission != refused)
            .any(|permission| matches!(self.probe(*permission, &name), Ok(ProbeAnswer::Granted)))
    }

    /// The thing that a path names, in words for a person.
    fn what(&self, request: &Request) -> String {
        let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
        match segments[..] {
            ["jobs", "v2", "query"] => "query for jobs".to_owned(),
            [_, "query"] => "query".to_owned(),
            ["jobs", "v2", id, ..] => format!("job \"{id}\""),
            ["jobs", "create"] => "import or export job".to_owned(),
            ["jobs", id] => format!("import or export job \"{id}\""),
            ["configurations", "testQueries"] => "test of queries".to_owned(),
            ["statistics", ..] => "statistics".to_owned(),
            ["devices", device, "modules", module] => format!("module \"{module}\" of the device \"{device}\""),
            ["twins", device, "modules", module, ..] => {
                format!("twin of the module \"{module}\" of the device \"{device}\"")
            }
            // A query for registrations names their enrollment group.
            ["registrations", group, "query"] => format!("enrollment group \"{group}\""),
            [collection, id, ..] => format!("{} \"{id}\"", noun(collection)),
            [collection] => format!("{} request", noun(collection)),
            [] => "resource request".to_owned(),
        }
    }
}

/// One thing of a collection.
fn noun(collection: &str) -> &str {
    match collection {
        "devices" => "device",
        "twins" => "device twin",
        "digitaltwins" => "digital twin",
        "enrollments" => "individual enrollment",
        "enrollmentGroups" => "enrollment group",
        "registrations" => "registration",
        "configurations" => "configuration",
        "jobs" => "job",
        other => other,
    }
}

/// Judges a refusal of this request. A code that reports a thing as gone must concern the thing that was requested.
fn judge(request: &Request, fault: &Fault) -> Verdict {
    let verdict = fault.verdict();
    match verdict.about {
        Some(about) if !request.is_about(about) => {
            let effect = verdict.effect;
            if matches!(request.method, Method::Put | Method::Post | Method::Patch) && request.body.is_some() {
                // The body refers to something that does not exist, such as an IoT hub that is not linked to DPS.
                return Verdict { code: ErrorCode::InvalidInput, retry: Retry::Never, effect, ..verdict };
            }
            Verdict { code: ErrorCode::Protocol, retry: Retry::Backoff, effect, ..verdict }
        }
        _ => verdict,
    }
}

/// Identifies the connector to the service, as Microsoft asks of clients.
const USER_AGENT: &str = concat!("azure-iot-connector/", env!("CARGO_PKG_VERSION"));

impl From<Plan> for Value {
    fn from(plan: Plan) -> Self {
        let headers = from_members(plan.headers.into_iter().map(|(name, value)| (name, value.into())));
        json!({ "method": plan.method, "url": plan.url, "headers": headers, "body": plan.body })
    }
}
