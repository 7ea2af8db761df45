//! One line of output: an event, for people or for machines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::Done;
use super::super::output::Output;

/// An event in the life of the device.
#[derive(Debug)]
pub(super) struct Line {
    event: &'static str,
    members: Value,
    text: String,
}

impl Line {
    /// `event` names the event. `members` is an object, what machines read in addition to the name; people read `text`.
    pub(super) fn new(event: &'static str, members: Value, text: impl Into<String>) -> Self {
        Self { event, members, text: text.into() }
    }

    pub(super) fn print(self, output: &Output) -> Done {
        if !output.is_json() {
            return output.line(&format!("{:<12}  {}", self.event, self.text));
        }
        let mut object = Map::from_iter([("event".to_owned(), json!(self.event))]);
        if let Value::Object(members) = self.members {
            object.extend(members);
        }
        output.json(&Value::Object(object))
    }
}

/// A message's content as a member of a line: `body` if it is JSON, otherwise `text` or `base64`.
pub(super) fn content(bytes: &[u8]) -> (&'static str, Value) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return ("body", value);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => ("text", json!(text)),
        Err(_) => ("base64", json!(STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_says_what_it_is() {
        assert_eq!(content(b"{\"a\": 1}"), ("body", json!({ "a": 1 })));
        assert_eq!(content(b"hello"), ("text", json!("hello")));
        assert_eq!(content(&[0xff]), ("base64", json!("/w==")));
    }
}
