//! Values as JSON, so that a workflow can use them.
//!
//! | AMQP | JSON |
//! |---|---|
//! | integers | the number, all 64 bits of it |
//! | float, double | the number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | decimals | their bytes in hexadecimal, after `0x` |
//! | string, symbol, char | text |
//! | timestamp | milliseconds since the Unix epoch |
//! | uuid | text in the form of RFC 4122 |
//! | binary | base64 |
//! | list, array | array |
//! | map | object; a key that is not a text becomes its JSON text |
//! | described | the described value, with its descriptor: `{"descriptor": …, "value": …}` |

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use super::Value;

impl Value {
    /// As JSON. The table at the top of this module's source shows the JSON form of each type.
    pub fn into_json(self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Boolean(b) => Json::Bool(b),
            Self::Ulong(n) => n.into(),
            Self::Float(n) => float(n.into()),
            Self::Double(n) => float(n),
            Self::Decimal32(bytes) => Json::String(hex(&bytes)),
            Self::Decimal64(bytes) => Json::String(hex(&bytes)),
            Self::Decimal128(bytes) => Json::String(hex(&bytes)),
            Self::Char(c) => Json::String(c.to_string()),
            Self::Uuid(bytes) => Json::String(uuid(&bytes)),
            Self::Binary(bytes) => Json::String(STANDARD.encode(bytes)),
            Self::String(text) | Self::Symbol(text) => Json::String(text),
            Self::List(items) | Self::Array(items) => items.into_iter().map(Self::into_json).collect(),
            Self::Map(pairs) => Json::Object(object(pairs)),
            Self::Described(both) => json!({ "descriptor": both.0.into_json(), "value": both.1.into_json() }),
            other => other.as_i64().map_or(Json::Null, Json::from),
        }
    }

    /// As [`Value::into_json`], but leaves the value unchanged.
    pub fn to_json(&self) -> Json {
        self.clone().into_json()
    }

    /// As text, if the value is a text, a number or a UUID: senders use all of these types for ids.
    pub fn into_text(self) -> Option<String> {
        match self.into_json() {
            Json::String(text) => Some(text),
            Json::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// As [`Value::into_text`], but leaves the value unchanged.
    pub fn to_text(&self) -> Option<String> {
        self.clone().into_text()
    }
}

/// A map's pairs as a JSON object. Of several equal keys the first one counts, as for [`Value::get`].
pub fn object(pairs: Vec<(Value, Value)>) -> Map<String, Json> {
    let mut object = Map::new();
    for (key, value) in pairs {
        let key = match key.into_json() {
            Json::String(text) => text,
            other => other.to_string(),
        };
        object.entry(key).or_insert_with(|| value.into_json());
    }
    object
}

fn float(n: f64) -> Json {
    match serde_json::Number::from_f64(n) {
        Some(number) => Json::Number(number),
        None if n.is_nan() => "NaN".into(),
        None if n > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn uuid(bytes: &[u8; 16]) -> String {
    let number = u128::from_be_bytes(*bytes);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        number >> 96,
        (number >> 80) & 0xffff,
        (number >> 64) & 0xffff,
        (number >> 48) & 0xffff,
        number & 0xffff_ffff_ffff
    )
}
