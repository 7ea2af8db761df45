//! Reads the services' refusals: four shapes of body, two headers, and the table of codes.
//!
//! Codes come from the body (six digits or a name) and from the headers `iothub-errorcode` (a name) and
//! `x-ms-error-code`. A .NET client of Microsoft's warns that they can differ. The order is: the body before the
//! headers, and in the body digits before names. The first code that the table knows decides. "Gone" is the exception,
//! because a wrong "gone" cannot be taken back: it counts only with status 404 or 410, and only if no other code of the
//! answer contradicts it.
//!
//! An answer without a code of the services is judged by its status, and so is a page or document that the services did
//! not write: a gateway, proxy or firewall knows nothing about devices and permissions.
//!
//! Sources: the C# SDK's `ServiceExceptionHandlingHelper` (shapes), "Troubleshoot Azure IoT Hub error codes" (codes),
//! `ProvisioningServiceErrorDetails` of the DPS service API, and answers in public reports (DPS uses the hub's shapes, too).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::codes::{Entry, Subject};
use crate::error::{EffectState, ErrorCode, Retry, ServiceFault, retry_after};
use crate::json;
use crate::platform::WireResponse;
use crate::quoted::quoted;
use crate::secret;

/// The longest message from a service that is passed on, in characters.
const LONGEST_MESSAGE: usize = 512;
/// The longest code that is passed on, in characters.
const LONGEST_CODE: usize = 64;
/// The longest tracking id that is passed on, in characters.
const LONGEST_ID: usize = 128;
/// How many nested messages are opened: the services nest one, and a gateway adds another.
const DEEPEST: u8 = 3;
/// How many codes of one answer are kept: body and headers have at most four.
const MOST_CODES: usize = 4;
/// The range of DPS's codes for things that are gone.
const GONE_AT_DPS: std::ops::Range<u32> = 404_200..404_300;

/// A refusal, as far as it could be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// HTTP status.
    pub status: u16,
    /// The service's own sentence, shortened and cleaned.
    pub message: Option<String>,
    /// The id to quote to the service's support.
    pub tracking_id: Option<String>,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether the answer is a page or document that the service did not write.
    pub foreign: bool,
    /// All codes of the answer, in order of priority.
    codes: Vec<Code>,
}

#[derive(Clone, Debug, PartialEq)]
enum Code {
    Number(u32),
    Name(String),
}

impl Code {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.parse() {
            Ok(number) => Self::of_number(number),
            // Text with other characters is a sentence, not a name.
            Err(_) if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
                quoted(text, LONGEST_CODE).map(Self::Name)
            }
            Err(_) => None,
        }
    }

    /// A code of six digits, of which the first three are an error status. Documents from gateways have other numbers.
    fn of_number(number: u64) -> Option<Self> {
        let number = u32::try_from(number).ok()?;
        (400_000..600_000).contains(&number).then_some(Self::Number(number))
    }

    fn entry(&self) -> Option<Entry> {
        match self {
            Self::Number(number) => Entry::by_number(*number),
            Self::Name(name) => Entry::by_name(name),
        }
    }

    /// Whether the code reports that something is gone: by the table, or by DPS's range for codes that are not in the
    /// table.
    fn says_gone(&self) -> bool {
        match (self.entry(), self) {
            (Some(entry), _) => entry.code == ErrorCode::NotFound,
            (None, Self::Number(number)) => GONE_AT_DPS.contains(number),
            (None, Self::Name(_)) => false,
        }
    }
}

/// The meaning of a refusal for the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The connector's error code.
    pub code: ErrorCode,
    /// The connector's retry advice.
    pub retry: Retry,
    /// The possible effect of a change that was refused like this: none or unknown.
    pub effect: EffectState,
    /// The kind of thing that is gone, if the service reports one.
    pub about: Option<Subject>,
    /// Whether the verdict comes from a known code of the service, and not from the status.
    pub known: bool,
}

impl Fault {
    /// Reads an answer whose status is not a success. `now` is the time of day, for a `Retry-After` header with a date.
    pub fn read(response: &WireResponse, now: Duration) -> Self {
        let mut fault = Self {
            status: response.status,
            message: None,
            tracking_id: response.header("x-ms-request-id").and_then(|id| quoted(id, LONGEST_ID)),
            retry_after: response.header("retry-after").and_then(|text| read_retry_after(text, now)),
            foreign: false,
            codes: Vec::new(),
        };
        let is_the_services = fault.read_document(&response.body);
        fault.put_digits_first();
        for header in ["iothub-errorcode", "x-ms-error-code"] {
            fault.add(response.header(header).and_then(Code::read));
        }
        if !is_the_services {
            // If the service did not write the page, the headers may not be the service's either, so they cannot report
            // a thing as gone.
            fault.codes.retain(|code| !code.says_gone());
        }
        fault.foreign = !is_the_services && fault.codes.is_empty();
        fault
    }

    /// Puts the codes with digits before the names, each in the order in which they were found.
    fn put_digits_first(&mut self) {
        let (names, mut codes): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.codes).into_iter().partition(|code| matches!(code, Code::Name(_)));
        codes.extend(names);
        self.codes = codes;
    }

    /// Whether one of the codes is this one, by its six digits or by its name.
    pub fn has_code(&self, number: u32) -> bool {
        let is_it = |code: &Code| {
            *code == Code::Number(number) || code.entry().is_some_and(|entry| entry.number == Some(number))
        };
        self.codes.iter().any(is_it)
    }

    /// A refusal that came over AMQP: a status if there is one, a six-digit code, and a text that may have one of the
    /// shapes of HTTP bodies.
    pub fn of_text(status: Option<u16>, number: Option<u32>, text: &str) -> Self {
        let mut fault = Self {
            status: status.unwrap_or(0),
            message: None,
            tracking_id: None,
            retry_after: None,
            foreign: false,
            codes: Vec::new(),
        };
        fault.add(number.map(Code::Number));
        match json::parse(text.as_bytes()) {
            Ok(document @ Value::Object(_)) => drop(fault.read_body(&document, 0)),
            _ => fault.read_text(text),
        }
        fault.put_digits_first();
        if fault.status == 0 {
            let number = fault.known_code().and_then(|code| match code {
                Code::Number(number) => Some(*number),
                Code::Name(name) => Entry::by_name(name)?.number,
            });
            fault.status = number.and_then(|number| u16::try_from(number / 1_000).ok()).unwrap_or(0);
        }
        fault
    }

    /// Reads a body. Returns whether the service wrote it; an empty body is taken for the service's.
    fn read_document(&mut self, body: &[u8]) -> bool {
        if body.iter().all(u8::is_ascii_whitespace) {
            return true;
        }
        match json::parse(body) {
            Ok(document) => self.read_body(&document, 0),
            Err(_) => {
                self.message = text_of_page(&String::from_utf8_lossy(body.get(..LONGEST_PAGE).unwrap_or(body)));
                false
            }
        }
    }

    /// Reads a JSON body. Returns whether it has one of the services' four shapes.
    fn read_body(&mut self, body: &Value, depth: u8) -> bool {
        let message = body.get("Message").or_else(|| body.get("message"));
        match message {
            Some(inner @ Value::Object(_)) if depth < DEEPEST => drop(self.read_body(inner, depth + 1)),
            Some(Value::String(text)) => match json::parse(text.as_bytes()) {
                Ok(inner @ Value::Object(_)) if depth < DEEPEST => drop(self.read_body(&inner, depth + 1)),
                _ => self.read_text(text),
            },
            _ => self.message = self.message.take().or_else(|| sentence_of(body)),
        }
        match body.get("errorCode").or_else(|| body.get("ErrorCode")) {
            Some(Value::Number(number)) => self.add(number.as_u64().and_then(Code::of_number)),
            Some(Value::String(code)) => self.add(Code::read(code)),
            _ => {}
        }
        let text = |name: &str, other: &str| body.get(name).or_else(|| body.get(other)).and_then(Value::as_str);
        if let Some(id) = text("trackingId", "TrackingId").and_then(|id| quoted(id, LONGEST_ID)) {
            self.tracking_id = Some(id);
        } else if let Some(id) = text("ExceptionMessage", "exceptionMessage").and_then(tracking_id_in) {
            self.tracking_id = Some(id);
        }
        let says_nothing = body.as_object().is_some_and(serde_json::Map::is_empty);
        !self.codes.is_empty() || body.get("Message").is_some() || says_nothing
    }

    /// `ErrorCode:DeviceNotFound;free text`, `ErrorCode:400004;…`, or free text.
    fn read_text(&mut self, text: &str) {
        const PREFIX: &str = "ErrorCode:";
        let begins = text.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
        let free = match text.get(PREFIX.len()..).filter(|_| begins) {
            Some(rest) => {
                let (code, free) = rest.split_once(';').unwrap_or((rest, ""));
                self.add(Code::read(code));
                free
            }
            None => text,
        };
        self.message = clean(free);
        if self.tracking_id.is_none() {
            self.tracking_id = tracking_id_in(free);
        }
    }

    fn add(&mut self, code: Option<Code>) {
        if let Some(code) = code.filter(|code| self.codes.len() < MOST_CODES && !self.codes.contains(code)) {
            self.codes.push(code);
        }
    }

    /// The first code that the table knows; if it knows none, the first code.
    fn known_code(&self) -> Option<&Code> {
        self.codes.iter().find(|code| code.entry().is_some()).or_else(|| self.codes.first())
    }

    /// The meaning of the refusal.
    pub fn verdict(&self) -> Verdict {
        let gone = self.codes.iter().all(Code::says_gone) && matches!(self.status, 404 | 410);
        let counts = |code: &&Code| gone || !code.says_gone();
        // A generic code (400000, 404000, …) only repeats a status. If it differs from the answer's status, the
        // answer's status counts.
        let adds = |entry: &Entry| {
            let is_generic = |number: u32| number.is_multiple_of(1_000) && number / 1_000 != u32::from(self.status);
            !entry.number.is_some_and(is_generic)
        };
        let known = self.codes.iter().filter(counts).filter_map(Code::entry).find(adds);
        let verdict = match known {
            Some(Entry { code, retry, effect, about, .. }) => Verdict { code, retry, effect, about, known: true },
            None if gone && !self.codes.is_empty() => Verdict {
                about: Some(Subject::Provisioning),
                known: true,
                ..plain(ErrorCode::NotFound, Retry::Never, EffectState::None)
            },
            None => self.by_status(),
        };
        match self.retry_after {
            // A service that states when to retry has not begun to process the request.
            Some(wait) if matches!(self.status, 429 | 503) => {
                Verdict { retry: retry_after(wait), effect: EffectState::None, ..verdict }
            }
            Some(wait) => Verdict { retry: retry_after(wait), ..verdict },
            None => verdict,
        }
    }

    /// The meaning of a status without a known code.
    fn by_status(&self) -> Verdict {
        use EffectState::{None as Nothing, Unknown};
        match self.status {
            401 => plain(ErrorCode::AuthFailed, Retry::AfterReauthentication, Nothing),
            // The services send 401 if a permission is missing. A 403 comes from a firewall or proxy.
            403 => plain(ErrorCode::Unavailable, Retry::AfterReconfiguration, Nothing),
            408 | 504 => plain(ErrorCode::Timeout, Retry::Backoff, Unknown),
            413 => plain(ErrorCode::PayloadTooLarge, Retry::Never, Nothing),
            429 => plain(ErrorCode::RateLimited, Retry::Backoff, Nothing),
            500..=599 => plain(ErrorCode::Unavailable, Retry::Backoff, Unknown),
            _ if self.foreign => plain(ErrorCode::Protocol, Retry::Backoff, Nothing),
            400 | 405 | 406 | 415 | 422 => plain(ErrorCode::InvalidInput, Retry::Never, Nothing),
            404 | 410 => plain(ErrorCode::Unavailable, Retry::Backoff, Nothing),
            409 => plain(ErrorCode::Conflict, Retry::Never, Nothing),
            412 => plain(ErrorCode::PreconditionFailed, Retry::Never, Nothing),
            _ => plain(ErrorCode::Protocol, Retry::Backoff, Nothing),
        }
    }

    /// Whether the refusal states that the hub does not exist, and so says nothing about a key.
    pub fn is_about_the_host(&self) -> bool {
        self.known_code().and_then(Code::entry).is_some_and(|entry| entry.name == "IotHubNotFound")
    }

    /// The codes in a form for a person: `404001 DeviceNotFound`.
    pub fn label(&self) -> Option<String> {
        let named = self.codes.iter().find_map(|code| match code {
            Code::Name(name) => Some(name.as_str()),
            Code::Number(_) => None,
        });
        let number = self.codes.iter().find_map(|code| match code {
            Code::Number(number) => Some(*number),
            Code::Name(_) => None,
        });
        match (number.or_else(|| Entry::by_name(named?)?.number), named) {
            (Some(number), Some(name)) => Some(format!("{number} {name}")),
            (None, Some(name)) => Some(name.to_owned()),
            (Some(number), None) => Some(number.to_string()),
            (None, None) => None,
        }
    }

    /// The refusal in the form of the interface.
    pub fn service(&self) -> ServiceFault {
        let status = Some(self.status).filter(|status| *status != 0);
        ServiceFault { status, code: self.label(), tracking_id: self.tracking_id.clone() }
    }
}

/// How many bytes of a page are examined.
const LONGEST_PAGE: usize = 16 * 1024;

fn plain(code: ErrorCode, retry: Retry, effect: EffectState) -> Verdict {
    Verdict { code, retry, effect, about: None, known: false }
}

/// The error sentence in a document that has none of the services' shapes.
fn sentence_of(document: &Value) -> Option<String> {
    let places = ["/error/message", "/error", "/error_description", "/errorMessage", "/detail", "/title"];
    places.iter().find_map(|place| document.pointer(place)?.as_str()).and_then(clean)
}

/// The title of a page; without a title, the page's text without tags.
fn text_of_page(page: &str) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let title = lower.find("<title>").map(|start| start + "<title>".len()).and_then(|start| {
        let end = start + lower.get(start..)?.find('<')?;
        page.get(start..end)
    });
    if let Some(title) = title.and_then(clean) {
        return Some(title);
    }
    let mut inside = false;
    let text: String = page
        .chars()
        .map(|c| match c {
            '<' => {
                inside = true;
                ' '
            }
            '>' if inside => {
                inside = false;
                ' '
            }
            _ if inside => ' ',
            c => c,
        })
        .collect();
    clean(&text)
}

fn read_retry_after(text: &str, now: Duration) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at: SystemTime = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(UNIX_EPOCH).ok()?.saturating_sub(now))
}

fn tracking_id_in(text: &str) -> Option<String> {
    // Secrets are struck out before the text is split: a part of a secret would not be recognized.
    let text = secret::strike(text);
    let rest = text.split_once("Tracking ID:").or_else(|| text.split_once("TrackingId:"))?.1.trim_start();
    let id: String =
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | ':')).take(LONGEST_ID).collect();
    let id = id.split("-TimeStamp").next().unwrap_or_default().to_owned();
    (!id.is_empty()).then_some(id)
}

/// Shortens and cleans a text from the service, so that it can be part of a message.
fn clean(text: &str) -> Option<String> {
    quoted(text, LONGEST_MESSAGE)
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

    fn code(status: u16, headers: &[(&str, &str)], body: &str) -> ErrorCode {
        read(status, headers, body).verdict().code
    }

    const SENTENCE: &str = "Not now, please";

    /// The four shapes of body, with a code in digits (`quote` false) or by name.
    fn shapes(code: &str, quote: bool) -> [String; 4] {
        let member = if quote { format!("\"{code}\"") } else { code.to_owned() };
        let details = format!(
            r#"{{"errorCode":{member},"trackingId":"abc","message":"{SENTENCE}","timestampUtc":"x","info":null}}"#
        );
        let within = details.replace('"', "\\\"");
        [
            format!(r#"{{"Message":{details},"ExceptionMessage":""}}"#),
            format!(r#"{{"Message":"{within}","ExceptionMessage":""}}"#),
            format!(r#"{{"Message":"ErrorCode:{code};{SENTENCE}","ExceptionMessage":"Tracking ID:abc-TimeStamp:1"}}"#),
            details,
        ]
    }

    fn same(fault: &Fault, entry: &Entry, place: &str) {
        let verdict = fault.verdict();
        let Entry { code, retry, effect, about, .. } = *entry;
        assert_eq!(verdict, Verdict { code, retry, effect, about, known: true }, "{} {place}", entry.name);
    }

    #[test]
    fn every_code_by_number_and_by_name_in_every_place() {
        let mut tried = 0;
        for entry in Entry::all() {
            // Codes without digits are tried with status 500: the status matters only for codes that report a thing as
            // gone.
            let status = entry.number.map_or(500, |number| u16::try_from(number / 1_000).expect("a status"));
            let number = entry.number.map(|number| (number.to_string(), false));
            for (stated, quote) in number.into_iter().chain([(entry.name.to_owned(), true)]) {
                for body in shapes(&stated, quote) {
                    let fault = read(status, &[], &body);
                    same(&fault, &entry, &body);
                    assert_eq!(fault.message.as_deref(), Some(SENTENCE), "{body}");
                    assert_eq!(fault.tracking_id.as_deref(), Some("abc"), "{body}");
                    assert!(fault.label().is_some_and(|label| label.contains(&stated)), "{body}");
                    tried += 1;
                }
                // Digits in quotes, an empty body, and a body without a code: the header's code counts. With a page, it
                // counts only if it does not report a thing as gone.
                same(&read(status, &[], &shapes(&stated, true)[3]), &entry, "in quotes");
                for header in ["iothub-errorcode", "x-ms-error-code"] {
                    for body in ["", r#"{"Message":"no"}"#] {
                        same(&read(status, &[(header, &stated)], body), &entry, header);
                    }
                    let page = read(status, &[(header, &stated)], "<html>");
                    if entry.code == ErrorCode::NotFound {
                        assert_ne!(page.verdict().code, entry.code, "{stated} {header}");
                    } else {
                        same(&page, &entry, header);
                    }
                }
                let amqp = Fault::of_text(Some(status), None, &shapes(&stated, quote)[3]);
                same(&amqp, &entry, "over AMQP");
            }
        }
        assert_eq!(tried, 4 * (203 + 224), "numbers and names in four shapes");
    }

    #[test]
    fn what_is_not_said_to_be_gone_is_not() {
        let gone = r#"{"Message":"ErrorCode:DeviceNotFound;d1"}"#;
        assert_eq!(code(404, &[], gone), ErrorCode::NotFound);
        assert_eq!(code(404, &[("iothub-errorcode", "DeviceNotFound")], gone), ErrorCode::NotFound);
        assert_eq!(code(404, &[("iothub-errorcode", "DeviceNotFound")], ""), ErrorCode::NotFound);
        assert_eq!(code(404, &[], r#"{"errorCode":404250,"message":"x"}"#), ErrorCode::NotFound, "4042xx of DPS");
        let again = [
            (404, "", "", ErrorCode::Unavailable),
            (404, "", r#"{"Message":"no"}"#, ErrorCode::Unavailable),
            (404, "", r#"{"errorCode":404999}"#, ErrorCode::Unavailable),
            (404, "", r#"{"Message":"ErrorCode:SomethingNotFound;x"}"#, ErrorCode::Unavailable),
            (404, "", "<html><head><title>404 Not Found</title></head></html>", ErrorCode::Protocol),
            (404, "", "Not Found", ErrorCode::Protocol),
            // A page that the service did not write stays foreign, even if a header has a code of the service.
            (404, "DeviceNotFound", "<html><head><title>404 Not Found</title></head></html>", ErrorCode::Protocol),
            (404, "DeviceNotFound", "Not Found", ErrorCode::Protocol),
            (404, "DeviceNotFound", r#"{"error":{"code":"ResourceNotFound","message":"x"}}"#, ErrorCode::Protocol),
            (404, "", r#"{"statusCode":404,"message":"Resource not found"}"#, ErrorCode::Protocol),
            (404, "", r#"{"error":{"code":"ResourceNotFound","message":"x"}}"#, ErrorCode::Protocol),
            (404, "", r#"{"errorCode":404,"errorMessage":"DeviceNotFound"}"#, ErrorCode::Protocol),
            (404, "", "null", ErrorCode::Protocol),
            // Two codes that contradict each other, and a status that does not fit the code.
            (404, "IotHubFailingOver", gone, ErrorCode::Unavailable),
            (404, "DeviceNotFound", r#"{"errorCode":404012}"#, ErrorCode::Unavailable),
            (404, "DeviceNotFound", r#"{"errorCode":404999}"#, ErrorCode::Unavailable),
            (404, "DeviceNotFound", r#"{"errorCode":404103}"#, ErrorCode::DeviceOffline),
            (503, "", gone, ErrorCode::Unavailable),
            (200, "", gone, ErrorCode::Protocol),
        ];
        for (status, header, body, expected) in again {
            let headers: &[_] = if header.is_empty() { &[] } else { &[("iothub-errorcode", header)] };
            let verdict = read(status, headers, body).verdict();
            assert_eq!(verdict.code, expected, "{status} {header} {body}");
            assert_eq!(verdict.retry, Retry::Backoff, "{status} {header} {body}");
        }
    }

    #[test]
    fn the_body_counts_before_the_headers_and_digits_before_a_name() {
        let body = r#"{"Message":"ErrorCode:ArgumentInvalid;x","errorCode":403010}"#;
        assert_eq!(code(400, &[], body), ErrorCode::Unsupported);
        let fault = read(400, &[("iothub-errorcode", "ThrottlingException")], r#"{"errorCode":400004}"#);
        assert_eq!(fault.verdict().code, ErrorCode::InvalidInput);
        assert_eq!(fault.label().as_deref(), Some("400004 ThrottlingException"), "both are named");
        assert_eq!(code(418, &[], r#"{"errorCode":400000}"#), ErrorCode::Protocol, "generic: the status says more");
        // An unknown code does not hide a known one.
        assert_eq!(code(400, &[("iothub-errorcode", "ServerBusy")], r#"{"errorCode":400999}"#), ErrorCode::Unavailable);
    }

    #[test]
    fn a_status_alone_blames_no_permission_and_a_page_blames_nobody() {
        for body in ["", r#"{"Message":"Forbidden"}"#, "<html><title>Blocked by the proxy</title></html>"] {
            assert_eq!(code(403, &[], body), ErrorCode::Unavailable, "{body}");
        }
        for status in [400, 402, 404, 405, 407, 409, 410, 412, 415, 418] {
            let verdict = read(status, &[], "<!DOCTYPE html><h1>no</h1>").verdict();
            assert_eq!((verdict.code, verdict.retry), (ErrorCode::Protocol, Retry::Backoff), "{status}");
        }
        for (status, expected) in
            [(500, ErrorCode::Unavailable), (502, ErrorCode::Unavailable), (504, ErrorCode::Timeout)]
        {
            assert_eq!(code(status, &[], "<html>"), expected);
        }
        for (status, expected) in
            [(400, ErrorCode::InvalidInput), (409, ErrorCode::Conflict), (412, ErrorCode::PreconditionFailed)]
        {
            for body in ["", "{}"] {
                assert_eq!(code(status, &[], body), expected, "{status} {body}");
            }
        }
    }

    #[test]
    fn the_sentence_is_reported_in_whatever_form_it_comes() {
        let message = |body: &str| read(404, &[], body).message.unwrap_or_default();
        assert_eq!(message("<html><head><TITLE>Web App\n - Not  Found</TITLE></head></html>"), "Web App - Not Found");
        assert_eq!(message("<html><h1>Access</h1><p>denied</p></html>"), "Access denied");
        assert_eq!(message(r#"{"error":{"code":"x","message":"It is elsewhere"}}"#), "It is elsewhere");
        assert_eq!(message(r#"{"statusCode":404,"message":"Resource not found"}"#), "Resource not found");
        // The Azure portal's API wraps the hub's body once more.
        let twice = r#"{"message":"{\"Message\":\"{\\\"errorCode\\\":504101,\\\"message\\\":\\\"Timed out\\\"}\",\"ExceptionMessage\":\"\"}"}"#;
        assert_eq!((message(twice).as_str(), code(504, &[], twice)), ("Timed out", ErrorCode::Timeout));
        let long = read(400, &[], &format!(r#"{{"Message":"{}"}}"#, "é".repeat(5_000)));
        assert!(long.message.is_some_and(|message| message.chars().count() == LONGEST_MESSAGE));
        let page = read(404, &[], &format!("<html>{}", "<p>é</p>".repeat(100_000)));
        assert!(page.message.is_some_and(|message| message.chars().count() <= LONGEST_MESSAGE));
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
        let retry = |text: &str| read(429, &[("retry-after", text)], "").verdict().retry;
        assert_eq!(retry("7"), Retry::After(7_000));
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(1_000_000_009));
        assert_eq!(retry(&date), Retry::After(9_000));
        assert_eq!(retry("soon"), Retry::Backoff);
    }

    #[test]
    fn garbage_does_no_harm() {
        let deep = r#"{"Message":"#.repeat(100) + "1" + &"}".repeat(100);
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
            r#"{"Message":"ErrorCode:é"}"#,
            r#"{"Message":"ErrorCode"}"#,
            r#"{"errorCode":-1}"#,
            r#"{"errorCode":1e300}"#,
            r#"{"errorCode":"99999999999999999999999"}"#,
            "<title>",
            "\u{0}\u{1}",
            &deep,
        ] {
            assert_eq!(code(500, &[], body), ErrorCode::Unavailable, "{body}");
        }
        // A small body that would take up too much memory when it is parsed: its beginning is passed on like that of a
        // page.
        let large = format!(r#"{{"Message":[{}0]}}"#, r#"{"":0},"#.repeat(200_000));
        assert_eq!(code(500, &[], &large), ErrorCode::Unavailable);
        assert!(read(500, &[], &large).message.is_some_and(|message| message.chars().count() <= LONGEST_MESSAGE));
        let name = format!("ErrorCode:{};x", "A".repeat(10_000));
        let fault = read(400, &[("iothub-errorcode", &"B".repeat(10_000))], &format!(r#"{{"Message":"{name}"}}"#));
        assert!(fault.label().is_some_and(|label| label.len() <= LONGEST_CODE));
    }
}
