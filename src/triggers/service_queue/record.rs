//! One record of a notice: what a trigger tells by itself. A notice of feedback has up to 64 of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::instant;
use crate::triggers::cursor::digest;

/// The member with the bytes of a body that could not be read.
pub const RAW_BODY: &str = "rawBody";

/// The member that says why.
pub const BODY_NOTE: &str = "bodyNote";

/// A short hash of a record.
pub type Hash = [u8; 8];

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    value: Value,
    digest: [u8; 16],
}

impl Record {
    /// The record of a JSON value.
    pub fn new(value: Value) -> Self {
        // Members are sorted, so the text is the same each time the record comes.
        let digest = digest([value.to_string().as_str()]);
        Self { value, digest }
    }

    /// The records of a notice's body: a list of them, or one. A body that is neither is one record with its bytes, so that
    /// nothing is lost and the queue goes on.
    pub fn all(body: &[u8]) -> Vec<Self> {
        let unreadable =
            || json!({ RAW_BODY: STANDARD.encode(body), BODY_NOTE: "the notice is not the JSON that it should be" });
        match serde_json::from_slice(body) {
            Ok(Value::Array(items)) if items.iter().all(Value::is_object) => items.into_iter().map(Self::new).collect(),
            Ok(object @ Value::Object(_)) => vec![Self::new(object)],
            _ => vec![Self::new(unreadable())],
        }
    }

    /// The record as the hub wrote it.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Whether it stands for a body that could not be read.
    pub fn is_raw(&self) -> bool {
        self.value.get(RAW_BODY).is_some()
    }

    /// A text member.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// When it happened, as the hub wrote it.
    pub fn time(&self) -> Option<&str> {
        self.text("enqueuedTimeUtc")
    }

    /// Whether it is known to be from before this moment, milliseconds since the Unix epoch.
    pub fn is_before(&self, moment: i64) -> bool {
        self.time().and_then(instant::parse_ms).is_some_and(|time| time < moment)
    }

    /// For the cursor.
    pub fn hash(&self) -> Hash {
        let mut short = [0; 8];
        short.copy_from_slice(&self.digest[..8]);
        short
    }

    /// For an event's id: the same each time the record comes. Two records that do not differ in anything are one.
    pub fn id(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_a_list_or_one_record_or_bytes() {
        let count = |body: &[u8]| Record::all(body).len();
        assert_eq!(count(br#"[{"deviceId":"a"},{"deviceId":"b"}]"#), 2);
        assert_eq!(count(br#"{"deviceId":"a"}"#), 1);
        assert_eq!(count(b"[]"), 0);
        for body in [&b"\xff"[..], b"", b"7", b"[1]", b"[{}", b"null"] {
            let records = Record::all(body);
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].text("rawBody").unwrap_or_default(), STANDARD.encode(body));
        }
    }

    #[test]
    fn ids_go_by_content_and_not_by_order() {
        let of = |body: &[u8]| Record::all(body)[0].id();
        assert_eq!(of(br#"{"a":1,"b":2}"#), of(br#"{"b":2,"a":1}"#));
        assert_ne!(of(br#"{"a":1}"#), of(br#"{"a":2}"#));
    }

    #[test]
    fn age_is_told_by_the_time_that_can_be_read() {
        let at = |time: &str| Record::new(json!({ "enqueuedTimeUtc": time }));
        assert!(at("1970-01-01T00:00:00.9990000Z").is_before(1_000));
        assert!(!at("1970-01-01T00:00:01Z").is_before(1_000));
        assert!(!at("some day").is_before(i64::MAX) && !Record::new(json!({})).is_before(i64::MAX));
    }
}
