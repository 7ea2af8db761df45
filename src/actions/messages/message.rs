//! A message as a workflow writes it: its body, its properties, and members that describe them, such as the content
//! type. Both directions use the same form.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::actions::shared::change::set;
use crate::actions::shared::keyed;
use crate::bindings::exports::workflow::connector::action::Call;
use crate::error::{Error, ErrorCode, FieldProblem, Result, problem, settle};
use crate::form::schema::{any, help, literal, one_of, string, with};
use crate::form::typed;
use crate::json;
use crate::platform::Platform;

/// The signs that property names and values may have besides letters and digits (Microsoft's "Create and read IoT Hub
/// messages").
const SIGNS: &[u8] = b"!#$%&'*+-.^_`|~";
/// A regular expression for property values that allows letters, digits and [`SIGNS`]. The text of a number or a boolean
/// always matches.
const VALUE: &str = r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]*$";
/// The names of system properties begin with this prefix.
const RESERVED: &str = "iothub-";

/// The members of an input that describe the message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageInput {
    #[serde(skip)]
    body: Value,
    body_encoding: Option<BodyEncoding>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    #[serde(skip)]
    properties: Map<String, Value>,
    message_id: Option<String>,
    correlation_id: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BodyEncoding {
    Json,
    Text,
    Base64,
}

/// A message that can be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub body: Vec<u8>,
    /// The media type of the body.
    pub content_type: String,
    /// The character encoding of the body.
    pub content_encoding: Option<String>,
    /// Application properties.
    pub properties: Vec<(String, String)>,
    pub message_id: String,
    /// The id with which the workflow correlates the message.
    pub correlation_id: Option<String>,
}

/// The fields of a message, for an input's schema.
pub fn fields() -> Vec<(&'static str, Value)> {
    let id = |title: &str, text: &str| {
        with(
            help(string(title), text),
            literal!({
                "minLength": 1,
                "maxLength": 128,
                "pattern": "^[A-Za-z0-9\\-:.+%_#*?!(),=@;$']+$",
                "$comment": "must have ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '",
                "x-visibility": "advanced"
            }),
        )
    };
    let property = with(
        string("Value"),
        serde_json::json!({
            "type": ["string", "number", "boolean"],
            "pattern": VALUE,
            "$comment": "must have ASCII letters, digits and ! # $ % & ' * + - . ^ _ ` | ~ only; encode what has others",
        }),
    );
    vec![
        ("body", help(any("Body"), "A text, or any JSON value.")),
        (
            "bodyEncoding",
            with(
                help(
                    one_of("Body encoding", &["json", "text", "base64"]),
                    "What the body is. Empty: a text is sent as text, anything else as JSON. `base64`: the body is a text that stands for bytes.",
                ),
                literal!({ "x-visibility": "advanced" }),
            ),
        ),
        (
            "properties",
            with(
                help(
                    with(string("Application properties"), literal!({ "type": "object" })),
                    "Names and values that can be read without the body: ASCII letters, digits and some signs.",
                ),
                serde_json::json!({ "additionalProperties": property }),
            ),
        ),
        (
            "contentType",
            with(
                help(
                    string("Content type"),
                    "Empty: `application/json`, `text/plain` or `application/octet-stream`, after the body encoding.",
                ),
                literal!({ "minLength": 1, "maxLength": 256, "pattern": "^[!-~][ -~]*$", "$comment": "must be printable ASCII", "x-visibility": "advanced" }),
            ),
        ),
        (
            "contentEncoding",
            with(
                help(string("Content encoding"), "Empty: `utf-8`, and nothing for bytes."),
                literal!({ "minLength": 1, "maxLength": 64, "pattern": "^[!-~]+$", "$comment": "must be printable ASCII without spaces", "x-visibility": "advanced" }),
            ),
        ),
        (
            "messageId",
            id(
                "Message id",
                "Empty: made of the call's idempotency key, so that a message that is sent again has the same id; without a key, by chance.",
            ),
        ),
        ("correlationId", id("Correlation id", "An id of the workflow's own that goes with the message.")),
    ]
}

/// The schema of one of these fields.
pub fn field(name: &str) -> Value {
    fields().into_iter().find(|(own, _)| *own == name).map(|(_, schema)| schema).unwrap_or_default()
}

impl MessageInput {
    /// Takes the message out of an input.
    ///
    /// # Errors
    /// `invalid-input` if a field does not have its type.
    pub fn take(input: &mut Value) -> Result<Self> {
        let (body, properties) = (json::take(input, "body"), json::take_members(input, "properties"));
        let mut rest = Value::Object(Map::new());
        for name in ["bodyEncoding", "contentType", "contentEncoding", "messageId", "correlationId"] {
            if let Some(value) = json::take_some(input, name) {
                set(&mut rest, &[name], value);
            }
        }
        Ok(Self { body, properties, ..typed(rest)? })
    }

    /// Makes the message, and checks the rules that a schema cannot express. `scope` distinguishes calls with the same
    /// idempotency key.
    ///
    /// # Errors
    /// `invalid-input` with every field that is wrong; `payload-too-large` if body and properties exceed `limit` bytes.
    pub fn read(self, platform: &dyn Platform, call: &Call, scope: &[&str], limit: usize) -> Result<Message> {
        let mut problems = Vec::new();
        let encoding =
            self.body_encoding.unwrap_or(if self.body.is_string() { BodyEncoding::Text } else { BodyEncoding::Json });
        let body = read_body(&self.body, encoding).unwrap_or_else(|found| {
            problems.push(found);
            Vec::new()
        });
        let properties = read_properties(&self.properties, &mut problems);
        settle(problems)?;
        let size = properties.iter().fold(body.len(), |size, (name, value)| size + name.len() + value.len());
        if size > limit {
            let message = format!("Body and properties must have at most {limit} bytes together; these have {size}.");
            return Err(Error::new(ErrorCode::PayloadTooLarge, message));
        }
        let (media, charset) = match encoding {
            BodyEncoding::Json => ("application/json", Some("utf-8")),
            BodyEncoding::Text => ("text/plain", Some("utf-8")),
            BodyEncoding::Base64 => ("application/octet-stream", None),
        };
        let message_id = self.message_id.unwrap_or_else(|| {
            let scope = scope.iter().map(|part| part.as_bytes()).chain([body.as_slice()]);
            let properties = properties.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
            keyed::id(platform, call, scope.chain(properties))
        });
        Ok(Message {
            body,
            content_type: self.content_type.unwrap_or_else(|| media.to_owned()),
            content_encoding: self.content_encoding.or_else(|| charset.map(str::to_owned)),
            properties,
            message_id,
            correlation_id: self.correlation_id,
        })
    }
}

fn read_body(body: &Value, encoding: BodyEncoding) -> Result<Vec<u8>, FieldProblem> {
    match (encoding, body) {
        (BodyEncoding::Json, body) => Ok(body.to_string().into_bytes()),
        (BodyEncoding::Text, Value::String(text)) => Ok(text.clone().into_bytes()),
        (BodyEncoding::Base64, Value::String(text)) => {
            STANDARD.decode(text).map_err(|_| problem("/body", "not-base64", "is not base64"))
        }
        (BodyEncoding::Text | BodyEncoding::Base64, _) => {
            Err(problem("/body", "wrong-type", "must be a text for this body encoding"))
        }
    }
}

fn read_properties(properties: &Map<String, Value>, problems: &mut Vec<FieldProblem>) -> Vec<(String, String)> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::with_capacity(properties.len());
    for (name, value) in properties {
        let at = json::child("/properties", name);
        let lower = name.to_ascii_lowercase();
        let fine =
            (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || SIGNS.contains(&b));
        if !fine {
            let message = "must have a name of 1 to 128 ASCII letters, digits and ! # $ % & ' * + - . ^ _ ` | ~";
            problems.push(problem(&at, "characters", message));
        } else if lower.starts_with(RESERVED) {
            problems.push(problem(&at, "reserved", "is a system property: system properties have their own fields"));
        } else if !seen.insert(lower) {
            problems.push(problem(
                &at,
                "twice",
                "must differ from the other names by more than upper and lower case: not every protocol keeps the case",
            ));
        }
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        all.push((name.clone(), value));
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::platform::fake::FakePlatform;

    fn call(key: Option<&str>) -> Call {
        Call { idempotency_key: key.map(str::to_owned), attempt: 1, deadline_ms: 1_000, dry_run: false }
    }

    fn read(input: Value, key: Option<&str>) -> Result<Message> {
        let mut input = input;
        MessageInput::take(&mut input).expect("fits").read(&FakePlatform::at(1), &call(key), &["press-17"], 100)
    }

    #[test]
    fn bodies_are_labelled_as_what_they_are() {
        let cases = [
            (json!({ "body": { "a": 1 } }), &b"{\"a\":1}"[..], "application/json", Some("utf-8")),
            (json!({ "body": "words" }), b"words", "text/plain", Some("utf-8")),
            (json!({ "body": "words", "bodyEncoding": "json" }), b"\"words\"", "application/json", Some("utf-8")),
            (json!({ "body": "/wCA", "bodyEncoding": "base64" }), b"\xff\x00\x80", "application/octet-stream", None),
            (
                json!({ "body": "a,b", "contentType": "text/csv", "contentEncoding": "us-ascii" }),
                b"a,b",
                "text/csv",
                Some("us-ascii"),
            ),
        ];
        for (input, body, media, charset) in cases {
            let message = read(input, None).expect("a message");
            assert_eq!(
                (message.body.as_slice(), message.content_type.as_str(), message.content_encoding.as_deref()),
                (body, media, charset)
            );
        }
    }

    #[test]
    fn every_bad_field_is_named() {
        let input = json!({
            "body": "no base64!",
            "bodyEncoding": "base64",
            "properties": { "a b": "x", "iothub-ack": "full", "Colour": "red", "colour": "blue", "": "x", "a/b": "x" },
        });
        let error = read(input, None).expect_err("refused");
        let mut found: Vec<(&str, &str)> =
            error.record().fields.iter().map(|field| (field.pointer.as_str(), field.code.as_str())).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("/body", "not-base64"),
                ("/properties/", "characters"),
                ("/properties/a b", "characters"),
                ("/properties/a~1b", "characters"),
                ("/properties/colour", "twice"),
                ("/properties/iothub-ack", "reserved"),
            ]
        );
        let error = read(json!({ "body": 1, "bodyEncoding": "text" }), None).expect_err("refused");
        assert_eq!(error.record().fields[0].pointer, "/body");
    }

    #[test]
    fn properties_count_towards_the_limit() {
        let fits = json!({ "body": "x".repeat(90), "properties": { "number": 1234 } });
        assert_eq!(read(fits, None).expect("100 bytes").properties, [("number".to_owned(), "1234".to_owned())]);
        let exceeds = json!({ "body": "x".repeat(90), "properties": { "number": 12345 } });
        assert_eq!(read(exceeds, None).expect_err("101 bytes").code(), ErrorCode::PayloadTooLarge);
    }

    #[test]
    fn an_idempotency_key_makes_the_same_id_for_the_same_message_only() {
        let id = |input: Value, key| read(input, key).expect("a message").message_id;
        let first = id(json!({ "body": "a" }), Some("k1"));
        assert_eq!(first, id(json!({ "body": "a" }), Some("k1")));
        assert_ne!(first, id(json!({ "body": "b" }), Some("k1")), "another item of a batch");
        assert_ne!(first, id(json!({ "body": "a" }), Some("k2")));
        assert_eq!(first.len(), 32);
        assert_eq!(id(json!({ "body": "a", "messageId": "own" }), Some("k1")), "own");
    }
}
