//! What a message's bytes are, by what its sender says of them. Nothing is dropped: what is not what it claims to be is
//! delivered as bytes, with a note.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A decoded body.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// What it is.
    pub content: Content,
    /// Why it is not what its content type says.
    pub note: Option<&'static str>,
}

/// What a body is.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// JSON.
    Json(Value),
    /// Text that is not JSON.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl Decoded {
    /// The body as a JSON value, for conditions and output: text as text, bytes as base64.
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Json(value) => value.clone(),
            Content::Text(text) => text.as_str().into(),
            Content::Bytes(bytes) => STANDARD.encode(bytes).into(),
        }
    }

    /// How the body stands in the output.
    pub fn encoding(&self) -> &'static str {
        match &self.content {
            Content::Json(_) => "json",
            Content::Text(_) => "text",
            Content::Bytes(_) => "base64",
        }
    }
}

/// Decodes bytes by content type and encoding ("Create and read IoT Hub messages": `contentType`, `contentEncoding`).
///
/// A sender that states neither gets the benefit of the doubt: valid JSON is JSON, other UTF-8 is text.
pub fn decode(bytes: &[u8], content_type: Option<&str>, content_encoding: Option<&str>) -> Decoded {
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = content_encoding.or_else(|| charset_of(content_type)).unwrap_or_default().trim().to_ascii_lowercase();
    let text = match charset.as_str() {
        "" | "utf-8" | "utf8" | "us-ascii" | "ascii" => std::str::from_utf8(bytes).ok().map(str::to_owned),
        "utf-16" | "utf-16le" | "utf16" => utf16(bytes, u16::from_le_bytes),
        "utf-16be" => utf16(bytes, u16::from_be_bytes),
        "utf-32" | "utf-32le" | "utf32" => utf32(bytes),
        "iso-8859-1" | "latin1" => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        // gzip and the like: what is inside is not looked at.
        _ => return Decoded { content: Content::Bytes(bytes.to_vec()), note: None },
    };
    let as_bytes = |note| Decoded { content: Content::Bytes(bytes.to_vec()), note };
    let is_json = media == "application/json" || media.ends_with("+json") || media == "text/json";
    let is_text =
        media.starts_with("text/") || matches!(media.as_str(), "application/xml" | "application/x-www-form-urlencoded");
    match text {
        None if is_json || is_text => as_bytes(Some("the body is not text in the encoding that it states")),
        None => as_bytes(None),
        Some(text) => {
            let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
            let parsed = if is_json || media.is_empty() { serde_json::from_str(&text).ok() } else { None };
            match parsed {
                Some(value) => Decoded { content: Content::Json(value), note: None },
                None if is_json => as_bytes(Some("the body is not the JSON that its content type states")),
                None if is_text || media.is_empty() => Decoded { content: Content::Text(text), note: None },
                None => as_bytes(None),
            }
        }
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

/// The parts of a decoded body that an event's data has.
pub fn body_fields(decoded: &Decoded) -> Value {
    let mut fields = json!({ "body": decoded.value(), "bodyEncoding": decoded.encoding() });
    if let Some(note) = decoded.note {
        fields["bodyNote"] = note.into();
    }
    fields
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
}
