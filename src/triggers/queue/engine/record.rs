//! One record of a notice, of which a trigger makes one event. A feedback notice has up to 64 records.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector_rules::json::{DEEPEST, has_levels};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::instant;
use crate::json::{self, member_in_any_case as member};
use crate::triggers::shared::hash::digest;

/// The member with the bytes of a body that could not be read.
pub const RAW_BODY: &str = "rawBody";

/// The largest number of records of one notice that are delivered separately. The hub puts at most 64 into a notice.
const MOST_OF_A_NOTICE: usize = 256;

/// The levels of nesting around a record in the cursor, which holds a list of waiting records.
const AROUND: usize = 1;

/// The member with the reason why the body could not be read.
pub const BODY_NOTE: &str = "bodyNote";

/// A short hash of a record.
pub type Hash = [u8; 8];

/// A record of a notice.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    value: Value,
    digest: [u8; 16],
}

impl Record {
    /// The record of a JSON value.
    pub fn new(value: Value) -> Self {
        // Members are sorted, so the same record always gives the same text.
        let digest = digest([value.to_string().as_str()]);
        Self { value, digest }
    }

    /// The records of a notice's body, which is a list of records or one record. `members` are the members that such
    /// records can have. A part that has none of them, and any other body, becomes a record that holds its bytes, so
    /// that no data is lost and reading continues.
    pub fn all(body: &[u8], members: &[&str]) -> Vec<Self> {
        match serde_json::from_slice::<Vec<&RawValue>>(body) {
            Ok(items) if (1..=MOST_OF_A_NOTICE).contains(&items.len()) => {
                items.into_iter().map(|item| Self::of(item.get().as_bytes(), members)).collect()
            }
            _ => vec![Self::of(body, members)],
        }
    }

    fn of(text: &[u8], members: &[&str]) -> Self {
        // A record that is nested too deeply for the cursor would make the whole cursor unreadable.
        let fits = std::str::from_utf8(text).is_ok_and(|text| has_levels(text, DEEPEST - AROUND));
        match json::parse(text) {
            Ok(value @ Value::Object(_)) if fits && members.iter().any(|name| member(&value, name).is_some()) => {
                Self::new(value)
            }
            _ => Self::new(json!({
                RAW_BODY: STANDARD.encode(text),
                BODY_NOTE: "the notice is not JSON in the form that the hub documents",
            })),
        }
    }

    /// The record with its members under these names. Earlier services wrote the names with a capital letter.
    pub fn named(&self, members: &[&str]) -> Value {
        let mut named = self.value.as_object().cloned().unwrap_or_default();
        for name in members {
            if !named.contains_key(*name)
                && let Some(found) = named.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
                && let Some(value) = named.remove(&found)
            {
                named.insert((*name).to_owned(), value);
            }
        }
        Value::Object(named)
    }

    /// The record as the hub wrote it.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Whether the record stands for a body that could not be read.
    pub fn is_raw(&self) -> bool {
        self.value.get(RAW_BODY).is_some()
    }

    /// A member, whether its name is written in upper or lower case. None where it is null.
    pub fn member(&self, name: &str) -> Option<&Value> {
        member(&self.value, name)
    }

    /// A text member, as [`Record::member`].
    pub fn text(&self, name: &str) -> Option<&str> {
        self.member(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// When the event of the record happened, as the hub wrote it.
    pub fn time(&self) -> Option<&str> {
        self.text("enqueuedTimeUtc")
    }

    /// Whether the record states a time before this one, in milliseconds since the Unix epoch.
    pub fn is_before(&self, moment: i64) -> bool {
        self.time().and_then(instant::parse_ms).is_some_and(|time| time < moment)
    }

    /// The record's hash for the cursor.
    pub fn hash(&self) -> Hash {
        let mut short = [0; 8];
        short.copy_from_slice(&self.digest[..8]);
        short
    }

    /// The record's id for an event. The same record always gives the same id; two equal records count as one.
    pub fn id(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(body: &[u8]) -> Vec<Record> {
        Record::all(body, &["deviceId", "statusCode"])
    }

    #[test]
    fn a_body_is_a_list_or_one_record_or_bytes() {
        assert_eq!(all(br#"[{"deviceId":"a"},{"StatusCode":1}]"#).len(), 2);
        assert_eq!(all(br#"{"deviceId":"a"}"#).len(), 1);
        for body in
            [&b"\xff"[..], b"", b"7", b"[]", b"[{}", b"null", b"{}", br#"{"error":"x"}"#, br#"{"deviceId":null}"#]
        {
            let records = all(body);
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].text("rawBody").unwrap_or_default(), STANDARD.encode(body));
        }
    }

    /// A record that cannot be read does not change how the others in the list are read.
    #[test]
    fn in_a_list_each_is_read_by_itself() {
        let records = all(br#"[{"deviceId":"a"}, 7 ,{"x":1.10},[{"deviceId":"b"}]]"#);
        let raw: Vec<Option<&str>> = records.iter().map(|record| record.text("rawBody")).collect();
        let bytes = |text: &str| STANDARD.encode(text);
        let expected = [bytes("7"), bytes(r#"{"x":1.10}"#), bytes(r#"[{"deviceId":"b"}]"#)];
        assert_eq!(raw, [None, Some(&*expected[0]), Some(&*expected[1]), Some(&*expected[2])]);
    }

    /// A waiting record stands in a list in the cursor. In an earlier version, a record of 127 levels made the cursor
    /// unreadable for good.
    #[test]
    fn what_the_cursor_cannot_hold_is_bytes() {
        use crate::triggers::queue::engine::position::Position;
        for levels in [DEEPEST - 1, DEEPEST, DEEPEST + 1] {
            let depth = levels - 1;
            let body = format!(r#"{{"deviceId":"a","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
            let records = all(body.as_bytes());
            assert_eq!(records[0].is_raw(), levels >= DEEPEST, "{levels}");
            let mut position = Position::new([1; 8], 0);
            position.pending = records;
            assert_eq!(Position::read(&position.cursor()), Ok(position), "{levels}");
        }
        // The cursor has no room for tens of thousands of records either.
        let many = format!("[{}7]", r#"{"":0},"#.repeat(30_000));
        assert_eq!(all(many.as_bytes()).len(), 1);
    }

    #[test]
    fn names_are_read_in_any_case_and_written_in_one() {
        let record = &all(br#"{"DeviceId":"a","StatusCode":0,"extra":1}"#)[0];
        assert_eq!((record.text("deviceId"), record.member("statusCode")), (Some("a"), Some(&json!(0))));
        assert_eq!(record.named(&["deviceId", "statusCode"]), json!({ "deviceId": "a", "statusCode": 0, "extra": 1 }));
        let both = &all(br#"{"DeviceId":"a","deviceId":"b"}"#)[0];
        assert_eq!((both.text("deviceId"), both.named(&["deviceId"])), (Some("b"), both.value().clone()));
    }

    #[test]
    fn ids_go_by_content_and_not_by_order() {
        let of = |body: &[u8]| Record::all(body, &["a"])[0].id();
        assert_eq!(of(br#"{"a":1,"b":2}"#), of(br#"{"b":2,"a":1}"#));
        assert_ne!(of(br#"{"a":1}"#), of(br#"{"a":2}"#));
    }

    #[test]
    fn age_is_known_by_the_time_that_can_be_read() {
        let at = |time: &str| Record::new(json!({ "enqueuedTimeUtc": time }));
        assert!(at("1970-01-01T00:00:00.9990000Z").is_before(1_000));
        assert!(!at("1970-01-01T00:00:01Z").is_before(1_000));
        assert!(!at("some day").is_before(i64::MAX) && !Record::new(json!({})).is_before(i64::MAX));
    }
}
