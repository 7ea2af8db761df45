//! Decodes a message's body by its content type and encoding. No body is dropped: where the content type or encoding is
//! wrong, the body is delivered as bytes, with a note.

use std::borrow::Cow;

use connector_rules::json::{DEEPEST, Fault, read_inside};
use serde_json::Value;

use crate::amqp::codec::Limits;
use crate::json::{self, ObjectWriter};

/// The levels of nesting that an event's data adds around the body.
const AROUND: usize = 1;
/// The note of a body of valid JSON that is delivered as bytes.
const TOO_DEEP: &str = "the body is JSON that is nested deeper than an event can hold";

// AMQP values are not checked at run time, because the decoder's own limit on their depth is lower. Each AMQP level is
// one JSON level, and application properties stand below two levels of the event's data.
const _: () = assert!(Limits::MESSAGE.depth as usize + 2 < DEEPEST, "AMQP's values fit into an event's data");

/// A decoded body.
#[derive(Clone, Debug)]
pub struct Decoded<'m> {
    /// The body as JSON, text or bytes.
    pub content: Content<'m>,
    /// Why the body is delivered in another form than its content type states.
    pub note: Option<&'static str>,
}

/// A body in one of the forms that an event's data can hold.
#[derive(Clone, Debug)]
pub enum Content<'m> {
    /// JSON, with every number as the sender wrote it. It has no line breaks, because each line of JSON lines must hold
    /// one value.
    Json(Cow<'m, str>),
    /// Text that is not JSON.
    Text(Cow<'m, str>),
    /// All other bytes.
    Bytes(&'m [u8]),
}

impl<'m> Decoded<'m> {
    /// A body that is an AMQP value, not bytes.
    pub fn of_value(value: &Value) -> Self {
        Self { content: Content::Json(Cow::Owned(value.to_string())), note: None }
    }

    /// A body that is delivered as bytes, with the reason.
    pub fn bytes(bytes: &'m [u8], note: Option<&'static str>) -> Self {
        Self { content: Content::Bytes(bytes), note }
    }

    /// A JSON body as a parsed value, for the filter's conditions and the named fields.
    pub fn json(&self) -> Option<Value> {
        match &self.content {
            Content::Json(text) => json::parse(text.as_bytes()).ok(),
            Content::Text(_) | Content::Bytes(_) => None,
        }
    }

    /// The name of the body's form in the event's data.
    pub fn encoding(&self) -> &'static str {
        match &self.content {
            Content::Json(_) => "json",
            Content::Text(_) => "text",
            Content::Bytes(_) => "base64",
        }
    }
}

impl Content<'_> {
    /// Writes the body as a member of the event's data: JSON and text as they are, bytes as base64.
    pub fn write(&self, name: &'static str, data: &mut ObjectWriter) {
        match self {
            Self::Json(json) => data.raw(name, json),
            Self::Text(text) => data.text(name, text),
            Self::Bytes(bytes) => data.base64(name, bytes),
        }
    }

    /// About how many bytes the body takes up in the data.
    pub fn length(&self) -> usize {
        match self {
            Self::Json(text) | Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len().div_ceil(3).saturating_mul(4),
        }
    }
}

/// Decodes bytes by content type and encoding ("Create and read IoT Hub messages": `contentType`, `contentEncoding`).
///
/// Where the sender states neither, valid JSON is delivered as JSON, and other UTF-8 as text.
pub fn decode<'m>(bytes: &'m [u8], content_type: Option<&str>, content_encoding: Option<&str>) -> Decoded<'m> {
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let charset = content_encoding.or_else(|| charset_of(content_type)).unwrap_or_default().trim();
    let charset_is = |names: &[&str]| is_one_of(charset, names);
    let text = if charset_is(&["", "utf-8", "utf8", "us-ascii", "ascii"]) {
        std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
    } else if charset_is(&["utf-16", "utf-16le", "utf16"]) {
        utf16(bytes, u16::from_le_bytes).map(Cow::Owned)
    } else if charset_is(&["utf-16be"]) {
        utf16(bytes, u16::from_be_bytes).map(Cow::Owned)
    } else if charset_is(&["utf-32", "utf-32le", "utf32"]) {
        utf32(bytes).map(Cow::Owned)
    } else if charset_is(&["iso-8859-1", "latin1"]) {
        Some(bytes.iter().map(|byte| char::from(*byte)).collect())
    } else {
        // Any other encoding, for example gzip: the body is not unpacked.
        return Decoded::bytes(bytes, None);
    };
    let is_json = is_one_of(media, &["application/json", "text/json"])
        || media.len().checked_sub(5).and_then(|at| media.get(at..)).is_some_and(|end| is_one_of(end, &["+json"]));
    let is_text = media.get(..5).is_some_and(|start| is_one_of(start, &["text/"]))
        || is_one_of(media, &["application/xml", "application/x-www-form-urlencoded"]);
    let Some(text) = text else {
        let note = (is_json || is_text).then_some("the body is not text in the encoding that its sender states");
        return Decoded::bytes(bytes, note);
    };
    let text = without_mark(text);
    if is_json || media.is_empty() {
        match raw_json(&text) {
            Ok(raw) => return Decoded { content: Content::Json(raw), note: None },
            Err(Fault::TooDeep { .. }) if is_json => return Decoded::bytes(bytes, Some(TOO_DEEP)),
            Err(_) if is_json => {
                return Decoded::bytes(bytes, Some("the body is not the JSON that its content type states"));
            }
            Err(_) => {}
        }
    }
    if is_text || media.is_empty() {
        return Decoded { content: Content::Text(text), note: None };
    }
    Decoded::bytes(bytes, None)
}

/// Whether a name is one of these, in upper or lower case.
fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// Removes the byte order mark that some senders put first.
fn without_mark(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Cow::Owned(text) => Cow::Owned(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
    }
}

/// A text as JSON. An error where it is not valid JSON, or is nested too deeply for an event's data.
fn raw_json<'m>(text: &Cow<'m, str>) -> Result<Cow<'m, str>, Fault> {
    // Outside of strings, a line break is equal to a blank. Inside strings, JSON allows no line break.
    let without_breaks = |value: &str| Cow::Owned(value.replace(['\n', '\r'], " "));
    match text {
        Cow::Borrowed(text) => {
            let document = read_inside(text, AROUND)?;
            Ok(if document.has_line_breaks { without_breaks(document.value) } else { Cow::Borrowed(document.value) })
        }
        Cow::Owned(text) => Ok(without_breaks(read_inside(text, AROUND)?.value)),
    }
}

fn charset_of(content_type: Option<&str>) -> Option<&str> {
    let parameters = content_type?.split(';').skip(1);
    parameters
        .filter_map(|parameter| parameter.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("charset"))
        .map(|(_, value)| value.trim_matches('"'))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect::<Result<String, _>>().ok()
}

fn utf32(bytes: &[u8]) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    units.iter().map(|unit| char::from_u32(u32::from_le_bytes(*unit))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(bytes: &[u8], content_type: &str, encoding: &str) -> (&'static str, bool) {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let decoded = decode(bytes, given(content_type).as_deref(), given(encoding).as_deref());
        (decoded.encoding(), decoded.note.is_some())
    }

    #[test]
    fn bodies_are_what_they_say_or_bytes_with_a_note() {
        let json = br#"{"t": 1}"#;
        let utf16: Vec<u8> = r#"{"t": 1}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf32: Vec<u8> = r#"{"t": 1}"#.chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        type Case<'c> = (&'c [u8], &'c str, &'c str, (&'c str, bool));
        let cases: [Case; 17] = [
            (json, "application/json", "utf-8", ("json", false)),
            (json, "application/json; charset=utf-8", "", ("json", false)),
            (json, "application/cloudevents+json", "UTF-8", ("json", false)),
            (json, "", "", ("json", false)),
            (json, "text/plain", "utf-8", ("text", false)),
            (json, "application/octet-stream", "", ("base64", false)),
            (b"hello", "", "", ("text", false)),
            (b"hello", "text/csv", "", ("text", false)),
            (b"{\"t\": ", "application/json", "utf-8", ("base64", true)),
            (b"\xff\xfe\x00", "application/json", "utf-8", ("base64", true)),
            (b"\xff\xfe\x00", "", "", ("base64", false)),
            (&utf16, "application/json", "utf-16", ("json", false)),
            (&utf32, "application/json", "utf-32", ("json", false)),
            (b"\x00", "application/json", "utf-16", ("base64", true)),
            (b"\x1f\x8b", "application/json", "gzip", ("base64", false)),
            (b"gr\xfcn", "text/plain", "iso-8859-1", ("text", false)),
            (b"", "application/json", "utf-8", ("base64", true)),
        ];
        for (bytes, content_type, encoding, expected) in cases {
            assert_eq!(kind(bytes, content_type, encoding), expected, "{bytes:?} {content_type} {encoding}");
        }
    }

    /// The content as the only member of an object.
    fn object(decoded: &Decoded) -> String {
        let mut object = ObjectWriter::with_capacity(0);
        decoded.content.write("body", &mut object);
        object.finish()
    }

    fn content(decoded: &Decoded) -> String {
        let object = object(decoded);
        object.strip_prefix("{\"body\":").and_then(|rest| rest.strip_suffix('}')).expect("one member").to_owned()
    }

    fn written(bytes: &[u8]) -> (&'static str, String) {
        let decoded = decode(bytes, Some("application/json"), None);
        (decoded.encoding(), content(&decoded))
    }

    #[test]
    fn json_is_passed_on_as_it_was_written() {
        for (body, expected) in [
            (r#"{"b":1.0,"a":12345678901234567890123}"#, r#"{"b":1.0,"a":12345678901234567890123}"#),
            ("\u{feff} {\"a\" : [1,\r\n 2]}\n", "{\"a\" : [1,   2]}"),
            (r#""a\nb""#, r#""a\nb""#),
            ("7", "7"),
            ("[1e400,1E5,-0,1.10]", "[1e400,1E5,-0,1.10]"),
            (r#"{"$serde_json::private::Number":"x"}"#, r#"{"$serde_json::private::Number":"x"}"#),
        ] {
            assert_eq!(written(body.as_bytes()), ("json", expected.to_owned()));
        }
    }

    #[test]
    fn json_that_not_everybody_can_read_is_bytes() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for body in ["1e", r#""\ud800""#, r#"{"a":1}{"#, "\"a\nb\"", &deep] {
            assert_eq!(written(body.as_bytes()).0, "base64", "{body}");
            assert!(json::parse(body.as_bytes()).is_err(), "{body}: the parser refuses this text as well");
        }
    }

    /// The host checks the depth of an event's whole data, so the check of a body must allow for the levels around it.
    /// In an earlier version it did not.
    #[test]
    fn a_body_is_as_deep_as_the_data_around_it_can_hold() {
        for (levels, kind) in
            [(DEEPEST - 2, "json"), (DEEPEST - 1, "json"), (DEEPEST, "base64"), (DEEPEST + 1, "base64")]
        {
            for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
                let inner = if open == "[" { "" } else { "1" };
                let body = open.repeat(levels) + inner + &close.repeat(levels);
                let decoded = decode(body.as_bytes(), Some("application/json"), None);
                assert_eq!((decoded.encoding(), decoded.note), (kind, (kind == "base64").then_some(TOO_DEEP)));
                assert_eq!(connector_rules::json::check(&object(&decoded)), Ok(()), "{levels}");
                // Where the sender states no content type, the same bytes are delivered as text.
                let unstated = decode(body.as_bytes(), None, None);
                assert_eq!(unstated.encoding(), if kind == "json" { "json" } else { "text" });
            }
        }
    }
}
