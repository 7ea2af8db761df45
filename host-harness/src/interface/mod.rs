//! The connector interface as Rust types: one module for each interface of the WIT package
//! `workflow:connector`, with the same names.
//!
//! The types derive wasmtime's component traits themselves instead of coming out of `bindgen!`, so that
//! one definition is at once what crosses the sandbox, what a caller sees and what serde reads and
//! writes. That they fit the component is checked when it is loaded.
//!
//! In JSON, fields are camelCase, cases are the kebab-case words of the WIT (`"permission-denied"`), JSON
//! texts are embedded as JSON and bytes are base64.

pub mod action;
pub mod connection;
pub mod discovery;
pub mod metadata;
pub mod trigger;
pub mod types;

/// A JSON text that is embedded as JSON instead of as a string with JSON in it.
pub(crate) mod json_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::value::RawValue;

    pub(crate) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => raw.serialize(serializer),
            // What is no JSON is still worth seeing.
            Err(_) => serializer.serialize_str(text),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        serde_json::Value::deserialize(deserializer).map(|value| value.to_string())
    }
}

/// Bytes as base64 (standard alphabet, padded).
pub(crate) mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::trigger::{Payload, Start};
    use super::types::{Cursor, ErrorCode, Retry};

    #[test]
    fn cases_are_the_words_of_the_interface() {
        let json = |value: &dyn erased::Json| value.json();
        assert_eq!(json(&ErrorCode::PermissionDenied), r#""permission-denied""#);
        for code in [ErrorCode::InvalidInput, ErrorCode::AuthExpired, ErrorCode::PositionLost, ErrorCode::Internal] {
            assert_eq!(json(&code), format!("{:?}", code.word()));
        }
        assert_eq!(json(&Retry::After(250)), r#"{"after":250}"#);
        assert_eq!(json(&Start::AtTime("2026-01-01T00:00:00Z".into())), r#"{"at-time":"2026-01-01T00:00:00Z"}"#);
    }

    #[test]
    fn json_is_embedded_and_bytes_are_base64() {
        let payload = Payload::Json(r#"{"b":1.50,"a":[true]}"#.into());
        let text = serde_json::to_string(&payload).unwrap();
        assert_eq!(text, r#"{"json":{"b":1.50,"a":[true]}}"#);

        let cursor = Cursor { snapshot: vec![0, 255], position: vec![] };
        let text = serde_json::to_string(&cursor).unwrap();
        assert_eq!(text, r#"{"snapshot":"AP8=","position":""}"#);
        assert_eq!(serde_json::from_str::<Cursor>(&text).unwrap(), cursor);
    }

    mod erased {
        pub(super) trait Json {
            fn json(&self) -> String;
        }
        impl<T: serde::Serialize> Json for T {
            fn json(&self) -> String {
                serde_json::to_string(self).unwrap()
            }
        }
    }
}
