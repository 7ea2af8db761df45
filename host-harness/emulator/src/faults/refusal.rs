//! Refusals in the forms that the services use, and that gateways in front of the services use.

use serde_json::{Value, json};

use crate::random;

/// A refusal with any code, even one that the emulator itself does not use, in one of the known forms of the services
/// and of gateways in front of them.
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

/// The form of a refusal. The name in parentheses is the form's name in a rule's string form.
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
    pub(super) fn parse(text: &str) -> Option<Self> {
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
        let tracking = random::hex(16);
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
