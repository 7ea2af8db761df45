//! Misbehaviour on demand: rules that make the emulated services fail in the ways real ones do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::ErrorCode;
use crate::random::SplitMix;
use crate::server::Service;

/// What a rule does to the exchanges it matches.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FaultAction {
    /// Answers with an error in the service's own form, without doing anything.
    Status {
        /// The HTTP status.
        status: u16,
        /// The service's six-digit code; by default the one that fits the status.
        code: Option<u32>,
        /// Seconds for the `Retry-After` header.
        retry_after_secs: Option<u64>,
        /// A body of one's own instead of the service's.
        body: Option<String>,
    },
    /// Answers with an error in a form of the rule's choice, without doing anything.
    Refuse(Refusal),
    /// Answers late.
    Latency(Duration),
    /// Closes the connection without an answer. The request is **not** carried out.
    DropConnection,
    /// Carries the request out, but closes the connection without an answer.
    DropAfterEffect,
    /// Sends half of the body and closes the connection.
    TruncateBody,
    /// Sends half of the body and then nothing more, with the connection open.
    StallBody,
    /// Replaces the body by something that is not JSON.
    Garbage,
    /// Puts this many bytes of white space before the body: valid JSON, but more than a client should accept.
    Oversize(usize),
    /// Answers with ETags that are not the entity's.
    WrongEtag,
    /// Handles the request as if the service's clock were off by these seconds.
    ClockSkew(i64),
    /// AMQP: closes the connection with this condition.
    Close(String),
    /// AMQP: ends the session with this condition.
    End(String),
    /// AMQP: detaches the link with this condition.
    Detach(String),
    /// AMQP: rejects the message with this condition.
    Reject(String),
    /// AMQP: sends half of the next frame and closes the connection.
    HalfFrame,
    /// AMQP: drops the connection after a random number of further bytes, at most so many.
    Cut(u32),
    /// AMQP: takes every token of the connection for expired.
    ExpireTokens,
}

impl FaultAction {
    fn is_amqp_only(&self) -> bool {
        use FaultAction::{Close, Cut, Detach, End, ExpireTokens, HalfFrame, Reject};
        matches!(self, Close(_) | End(_) | Detach(_) | Reject(_) | HalfFrame | Cut(_) | ExpireTokens)
    }

    fn is_http_only(&self) -> bool {
        use FaultAction::{ClockSkew, DropAfterEffect, Oversize, Refuse, TruncateBody, WrongEtag};
        matches!(self, Refuse(_) | ClockSkew(_) | DropAfterEffect | Oversize(_) | TruncateBody | WrongEtag)
    }

    /// Whether an exchange or operation ends with it.
    fn ends(&self) -> bool {
        use FaultAction::{Close, Detach, DropConnection, End, Refuse, Reject, Status};
        matches!(self, Status { .. } | Refuse(_) | DropConnection | Close(_) | End(_) | Detach(_) | Reject(_))
    }
}

/// A refusal by any code, the emulator's own or not, in any of the forms in which the services or what stands before them
/// are known to refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The code: six digits, or a symbolic name.
    pub code: Option<String>,
    /// The form.
    pub form: RefusalForm,
    /// The sentence for a person.
    pub message: String,
    /// Seconds for the `Retry-After` header.
    pub retry_after_secs: Option<u64>,
}

/// A form of refusal; the string form of a rule has the name in parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalForm {
    /// `{"Message":"ErrorCode:CODE;…","ExceptionMessage":"Tracking ID:…"}` (`text`).
    Text,
    /// `{"Message":{"errorCode":CODE,…}}` (`object`).
    Object,
    /// `{"Message":"{\"errorCode\":CODE,…}"}`, the object inside a string (`string`).
    String,
    /// `{"errorCode":CODE,…}` (`flat`).
    Flat,
    /// No body; the code in the header `iothub-errorcode` (`header`).
    Header,
    /// No body, no code (`bare`).
    Bare,
    /// A gateway's HTML page (`page`).
    Page,
    /// A gateway's JSON document (`document`).
    Document,
}

impl RefusalForm {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "text" => Self::Text,
            "object" => Self::Object,
            "string" => Self::String,
            "flat" => Self::Flat,
            "header" => Self::Header,
            "bare" => Self::Bare,
            "page" => Self::Page,
            "document" => Self::Document,
            _ => return None,
        })
    }
}

impl Refusal {
    /// A refusal with this status and code, in this form.
    pub fn new(status: u16, code: Option<&str>, form: RefusalForm) -> Self {
        let message = "The service cannot carry out the operation now".to_owned();
        Self { status, code: code.map(str::to_owned), form, message, retry_after_secs: None }
    }

    /// The content type and body, and the value of the header `iothub-errorcode`.
    pub(crate) fn render(&self) -> (&'static str, String, Option<&str>) {
        const JSON: &str = "application/json; charset=utf-8";
        let tracking = crate::random::hex(16);
        let code = self.code.as_deref().unwrap_or_default();
        let member = code.parse::<u32>().map_or_else(|_| Value::from(code), Value::from);
        let details = json!({ "errorCode": member, "trackingId": tracking, "message": self.message });
        let body = match self.form {
            RefusalForm::Text => json!({
                "Message": format!("ErrorCode:{code};{}", self.message),
                "ExceptionMessage": format!("Tracking ID:{tracking}-G:0"),
            }),
            RefusalForm::Object => json!({ "Message": details, "ExceptionMessage": "" }),
            RefusalForm::String => json!({ "Message": details.to_string(), "ExceptionMessage": "" }),
            RefusalForm::Flat => details,
            RefusalForm::Header => return (JSON, String::new(), Some(code)),
            RefusalForm::Bare => return (JSON, String::new(), None),
            RefusalForm::Page => {
                let page = format!(
                    "<html><head><title>{} {}</title></head><body><h1>Gateway</h1></body></html>",
                    self.status, self.message
                );
                return ("text/html", page, None);
            }
            RefusalForm::Document => json!({ "statusCode": self.status, "message": self.message }),
        };
        (JSON, body.to_string(), None)
    }
}

/// One rule.
///
/// # Grammar of the string form
///
/// ```text
/// rule      = [ service ":" ] method SP path "=" action { "x" times | "~" skip } [ "@" probability ]
/// service   = "hub" | "dps" | "device" | "eventhub" | "hub-amqp"
/// method    = "*" | "GET" | "POST" | …
/// path      = a path; "*" stands for any text, and a path without one is a prefix
/// action    = status [ "/" code ] [ "+" seconds ] [ ":" form ]
///                                                   answer with this status, error code, Retry-After
///           | "latency:" milliseconds               answer late
///           | "drop"                                close the connection, the request not carried out
///           | "drop-after"                          carry it out, then close without an answer
///           | "truncate"                            send half of the body, then close
///           | "stall"                               send half of the body, then nothing
///           | "garbage"                             a body that is not JSON
///           | "oversize:" bytes                     so many bytes of white space before the body
///           | "etag"                                wrong ETags in header and body
///           | "skew:" seconds                       the service's clock is off by so much (may be negative)
/// code      = six digits, or a symbolic name; one that the emulator itself does not give out has the form "text"
/// form      = "text" | "object" | "string" | "flat"   the four shapes of body that the services have
///           | "header" | "bare"                       no body; with the code in a header, or without any
///           | "page" | "document"                     an HTML page, or JSON, of a gateway
/// times     = how often the rule fires, always when left out
/// skip      = how many matches go by before it fires for the first time
/// ```
///
/// Examples: `POST /enrollments/query=429x3`, `hub:PATCH /twins/*=412/412001`, `* /=latency:250@0.1`,
/// `DELETE /devices/*=404/IotHubFailingOver`, `GET /twins/*=404:page`, `* /=400/400027:string`.
///
/// # The AMQP endpoints
///
/// A rule is for AMQP when its service is `eventhub` or `hub-amqp`; a rule without a service is for HTTP only. The
/// method is an operation, the path the address after a slash:
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
///           | status                       answer so (PUT-TOKEN, READ)
///           | "latency:" milliseconds      stop the connection for so long
///           | "drop"                       drop the connection
///           | "half"                       send half of the next frame, then drop the connection
///           | "cut:" bytes                 drop the connection within so many bytes more, at random; those of TLS
///                                        are counted at CONNECT, those of AMQP after it
///           | "stall"                      keep the connection, but send nothing more, no heartbeat either
///           | "garbage"                    send bytes that are no frame
///           | "expire"                     take the connection's tokens for expired
/// ```
///
/// A condition is any of the protocol's or the service's: `amqp:link:stolen`, `com.microsoft:server-busy`,
/// `com.microsoft:timeout`, `com.microsoft:operation-cancelled`, … With `/` and six digits after it, it carries that code,
/// as IoT Hub's conditions do: `hub-amqp:SEND /=reject:amqp:not-found/404012`.
///
/// Examples: `eventhub:ATTACH /*=detach:com.microsoft:server-busyx2`, `eventhub:TRANSFER /*=half~100x1`,
/// `eventhub:PUT-TOKEN /=401`, `eventhub:TRANSFER /*/Partitions/0=cut:4096@0.01`.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// Which API, or any.
    pub service: Option<Service>,
    /// The method, or any.
    pub method: Option<String>,
    /// The path: a prefix, or with `*` for any text a pattern for the whole path.
    pub path: String,
    /// What it does.
    pub action: FaultAction,
    /// How often it fires before it is spent; `None` is for ever.
    pub times: Option<u32>,
    /// How many matches go by before it fires for the first time.
    pub skip: u32,
    /// How probable it is that it fires, 0.0 to 1.0. The random sequence has a fixed seed.
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

    /// Lets this many matches go by first.
    pub fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Makes the rule fire at random.
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    fn matches(&self, service: Service, method: &str, path: &str) -> bool {
        self.service.map_or(!service.is_amqp(), |wanted| wanted == service)
            && self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && if self.path.contains('*') { glob(&self.path, path) } else { path.starts_with(&self.path) }
    }
}

/// A fault rule's string form could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault rule '{rule}': {problem}")]
pub struct FaultSyntaxError {
    rule: String,
    problem: String,
}

impl std::str::FromStr for FaultRule {
    type Err = FaultSyntaxError;

    fn from_str(rule: &str) -> Result<Self, Self::Err> {
        parse_rule(rule).map_err(|problem| FaultSyntaxError { rule: rule.to_owned(), problem })
    }
}

/// The rules in force. Every rule that matches a request fires, in the order of addition; the first that answers by
/// itself ends the exchange.
#[derive(Debug)]
pub struct Faults {
    state: Mutex<FaultState>,
}

#[derive(Debug)]
struct FaultState {
    rules: Vec<FaultRule>,
    random: SplitMix,
    seed: u64,
    fired: u64,
}

/// The seed of the random sequence, unless the options have another.
pub(crate) const SEED: u64 = 0x1057_F417;

impl Default for Faults {
    fn default() -> Self {
        Self::new(SEED)
    }
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: Mutex::new(FaultState { rules: Vec::new(), random: SplitMix::new(seed), seed, fired: 0 }) }
    }

    /// Adds a rule.
    pub fn add(&self, rule: FaultRule) {
        self.lock().rules.push(rule);
    }

    /// Adds a rule in its string form (the grammar is with [`FaultRule`]).
    ///
    /// # Errors
    /// When the text is not such a rule.
    pub fn add_text(&self, rule: &str) -> Result<(), FaultSyntaxError> {
        self.add(rule.parse()?);
        Ok(())
    }

    /// Removes every rule and starts the random sequence anew.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.rules.clear();
        state.random = SplitMix::new(state.seed);
    }

    /// How often rules have fired.
    pub fn fired(&self) -> u64 {
        self.lock().fired
    }

    /// The rules that have not fired as often as they are to, each with what is left of it. One without a number of
    /// times is never done.
    pub fn waiting(&self) -> Vec<FaultRule> {
        self.lock().rules.iter().filter(|rule| rule.times != Some(0)).cloned().collect()
    }

    pub(crate) fn pick(&self, service: Service, method: &str, path: &str) -> Vec<FaultAction> {
        let mut state = self.lock();
        let FaultState { rules, random, fired, .. } = &mut *state;
        let mut actions = Vec::new();
        for rule in rules.iter_mut() {
            if rule.times == Some(0) || !rule.matches(service, method, path) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.probability < 1.0 && random.next_unit() >= rule.probability {
                continue;
            }
            if let Some(times) = &mut rule.times {
                *times -= 1;
            }
            *fired += 1;
            actions.push(match &rule.action {
                FaultAction::Cut(limit) => FaultAction::Cut((random.next_unit() * f64::from(*limit)) as u32 + 1),
                action => action.clone(),
            });
            if rule.action.ends() {
                break;
            }
        }
        actions
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FaultState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse_rule(rule: &str) -> Result<FaultRule, String> {
    let (target, action) = rule.rsplit_once('=').ok_or("there is no '=' between path and action")?;
    let (method, path) = target.trim().split_once(' ').ok_or("there is no space between method and path")?;
    let (service, method) = match method.split_once(':') {
        Some((service, method)) => (Some(parse_service(service)?), method),
        None => (None, method),
    };
    let path = path.trim();
    if !path.starts_with('/') && !path.starts_with('*') {
        return Err(format!("the path '{path}' does not start with '/'"));
    }
    let (action, probability) = match action.trim().rsplit_once('@') {
        Some((action, probability)) => (action, parse_number::<f64>(probability, "the probability")?),
        None => (action.trim(), 1.0),
    };
    if !(0.0..=1.0).contains(&probability) {
        return Err("the probability is not between 0 and 1".to_owned());
    }
    let (mut action, mut times, mut skip) = (action, None, 0);
    // Both suffixes may be there, in either order.
    while let Some((rest, number)) = action.rsplit_once(['x', '~']) {
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            break;
        }
        if action[rest.len()..].starts_with('x') {
            times = Some(parse_number::<u32>(number, "the number of times")?);
        } else {
            skip = parse_number::<u32>(number, "the number of matches to skip")?;
        }
        action = rest;
    }
    let action = parse_action(action)?;
    let amqp = service.is_some_and(Service::is_amqp);
    if !amqp && action.is_amqp_only() {
        return Err("this action is for AMQP: put 'eventhub:' or 'hub-amqp:' before the method".to_owned());
    }
    if amqp && action.is_http_only() {
        return Err("this action is for HTTP".to_owned());
    }
    Ok(FaultRule {
        service,
        method: (method != "*").then(|| method.to_ascii_uppercase()),
        path: path.to_owned(),
        action,
        times,
        skip,
        probability,
    })
}

fn parse_service(text: &str) -> Result<Service, String> {
    match text {
        "hub" => Ok(Service::Hub),
        "dps" => Ok(Service::Dps),
        "device" => Ok(Service::Device),
        "eventhub" => Ok(Service::EventHub),
        "hub-amqp" => Ok(Service::HubAmqp),
        _ => Err(format!("there is no service '{text}'; there are hub, dps, device, eventhub and hub-amqp")),
    }
}

fn parse_action(text: &str) -> Result<FaultAction, String> {
    let (name, argument) = text.split_once(':').map_or((text, None), |(name, argument)| (name, Some(argument)));
    let needed = || argument.ok_or(format!("'{name}' needs a number after ':'"));
    let condition = |default: &str| argument.unwrap_or(default).to_owned();
    match name {
        "latency" => Ok(FaultAction::Latency(Duration::from_millis(parse_number(needed()?, "the latency")?))),
        "drop" => Ok(FaultAction::DropConnection),
        "drop-after" => Ok(FaultAction::DropAfterEffect),
        "truncate" => Ok(FaultAction::TruncateBody),
        "stall" => Ok(FaultAction::StallBody),
        "garbage" => Ok(FaultAction::Garbage),
        "oversize" => Ok(FaultAction::Oversize(parse_number(needed()?, "the size")?)),
        "etag" => Ok(FaultAction::WrongEtag),
        "close" => Ok(FaultAction::Close(condition("amqp:connection:forced"))),
        "end" => Ok(FaultAction::End(condition("amqp:internal-error"))),
        "detach" => Ok(FaultAction::Detach(condition("amqp:link:detach-forced"))),
        "reject" => Ok(FaultAction::Reject(condition("amqp:internal-error"))),
        "half" => Ok(FaultAction::HalfFrame),
        "cut" => Ok(FaultAction::Cut(parse_number(needed()?, "the number of bytes")?)),
        "expire" => Ok(FaultAction::ExpireTokens),
        "skew" => Ok(FaultAction::ClockSkew(parse_number(needed()?, "the skew")?)),
        _ => {
            let (rest, retry_after_secs) = match name.split_once('+') {
                Some((rest, seconds)) => (rest, Some(parse_number(seconds, "the pause")?)),
                None => (name, None),
            };
            let (status, code) = match rest.split_once('/') {
                Some((status, code)) => (status, Some(code)),
                None => (rest, None),
            };
            let status = parse_number::<u16>(status, "the action")?;
            if !(400..600).contains(&status) {
                return Err(format!("{status} is no error status"));
            }
            let form = match argument {
                Some(form) => Some(RefusalForm::parse(form).ok_or_else(|| format!("there is no form '{form}'"))?),
                None => None,
            };
            let number = code.and_then(|code| code.parse::<u32>().ok());
            let own = code.is_none() || number.is_some_and(|number| ErrorCode::from_number(number).is_some());
            if form.is_none() && own {
                return Ok(FaultAction::Status { status, code: number, retry_after_secs, body: None });
            }
            let is_code = |code: &str| match number {
                Some(_) => code.len() == 6,
                None => !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            };
            if let Some(code) = code.filter(|code| !is_code(code)) {
                return Err(format!("{code} is no error code: six digits or a name"));
            }
            let refusal = Refusal::new(status, code, form.unwrap_or(RefusalForm::Text));
            Ok(FaultAction::Refuse(Refusal { retry_after_secs, ..refusal }))
        }
    }
}

fn parse_number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{what} '{text}' could not be read"))
}

/// `*` stands for any text; everything else for itself.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            let Some(rest) = text.strip_prefix(head) else { return false };
            (0..=rest.len()).any(|start| rest.is_char_boundary(start) && glob(tail, &rest[start..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_string_form_reads_every_action() {
        let rule: FaultRule = "POST /enrollments/query=429x3".parse().expect("rule");
        assert_eq!(rule.times, Some(3));
        assert!(matches!(rule.action, FaultAction::Status { status: 429, code: None, .. }));
        let rule: FaultRule = "hub:patch /twins/*=412/412001+7@0.5".parse().expect("rule");
        assert_eq!(rule.service, Some(Service::Hub));
        assert_eq!(rule.method.as_deref(), Some("PATCH"));
        assert!(matches!(
            rule.action,
            FaultAction::Status { status: 412, code: Some(412_001), retry_after_secs: Some(7), .. }
        ));
        for (text, code, form, seconds) in [
            ("404/IotHubFailingOver", Some("IotHubFailingOver"), RefusalForm::Text, None),
            ("404/404012", Some("404012"), RefusalForm::Text, None),
            ("400/400027:string", Some("400027"), RefusalForm::String, None),
            ("404/404001+3:header", Some("404001"), RefusalForm::Header, Some(3)),
            ("404:page", None, RefusalForm::Page, None),
        ] {
            let rule: FaultRule = format!("* /={text}x2").parse().expect("rule");
            let status = text[..3].parse().expect("a status");
            let expected = Refusal { retry_after_secs: seconds, ..Refusal::new(status, code, form) };
            assert_eq!((rule.times, rule.action), (Some(2), FaultAction::Refuse(expected)), "{text}");
        }
        assert!("* /=404/404012:elsewhere".parse::<FaultRule>().is_err());
        for (text, action) in [
            ("latency:250", FaultAction::Latency(Duration::from_millis(250))),
            ("drop", FaultAction::DropConnection),
            ("drop-after", FaultAction::DropAfterEffect),
            ("truncatex2", FaultAction::TruncateBody),
            ("stall", FaultAction::StallBody),
            ("garbage", FaultAction::Garbage),
            ("oversize:1000", FaultAction::Oversize(1000)),
            ("etag", FaultAction::WrongEtag),
            ("skew:-600", FaultAction::ClockSkew(-600)),
        ] {
            let rule: FaultRule = format!("* /={text}").parse().expect("rule");
            assert_eq!(rule.action, action);
        }
        for (text, action) in [
            ("close", FaultAction::Close("amqp:connection:forced".to_owned())),
            ("detach:com.microsoft:server-busyx2~3@0.5", FaultAction::Detach("com.microsoft:server-busy".to_owned())),
            ("end", FaultAction::End("amqp:internal-error".to_owned())),
            ("rejectx1", FaultAction::Reject("amqp:internal-error".to_owned())),
            ("half~100", FaultAction::HalfFrame),
            ("cut:4096", FaultAction::Cut(4096)),
            ("expire", FaultAction::ExpireTokens),
        ] {
            let rule: FaultRule = format!("eventhub:ATTACH /*={text}").parse().expect("rule");
            assert_eq!(rule.action, action);
            assert!(!rule.matches(Service::Hub, "ATTACH", "/a") && rule.matches(Service::EventHub, "ATTACH", "/a"));
            assert!(format!("ATTACH /*={text}").parse::<FaultRule>().is_err());
        }
        assert!("eventhub:ATTACH /=etag".parse::<FaultRule>().is_err());
        for text in ["eventhub:TRANSFER /*=halfx1~100", "eventhub:TRANSFER /*=half~100x1"] {
            let rule: FaultRule = text.parse().expect("rule");
            assert_eq!((rule.times, rule.skip, &rule.action), (Some(1), 100, &FaultAction::HalfFrame));
        }
        let any: FaultRule = "* /=drop".parse().expect("rule");
        assert!(any.matches(Service::Device, "GET", "/a") && !any.matches(Service::HubAmqp, "ATTACH", "/a"));
        for bad in ["", "GET=429", "GET /x", "GET /x=200", "GET /x=503/123", "moon:GET /=drop", "* /=drop@2"] {
            assert!(bad.parse::<FaultRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rule_is_spent_after_its_times() {
        let faults = Faults::default();
        faults.add(FaultRule::new("/a*c", FaultAction::DropConnection).times(1));
        assert!(faults.pick(Service::Hub, "GET", "/xbc").is_empty());
        assert_eq!(faults.waiting().len(), 1);
        assert_eq!(faults.pick(Service::Hub, "GET", "/abc").len(), 1);
        assert!(faults.pick(Service::Hub, "GET", "/abc").is_empty());
        assert!(faults.waiting().is_empty());
    }

    #[test]
    fn chance_repeats_with_its_seed() {
        let run = || {
            let faults = Faults::default();
            faults.add(FaultRule::new("/", FaultAction::Garbage).probability(0.3));
            (0..50).map(|_| faults.pick(Service::Dps, "GET", "/").len()).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        assert!((5..30).contains(&run().iter().sum::<usize>()));
    }
}
