//! Writes a JSON object member by member, into one text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// An object that is being written. Names are those of our own documents: plain, and each written once.
///
/// `serde_json` would write a part that is JSON already only after it has parsed it once more.
pub struct ObjectWriter {
    out: String,
}

impl ObjectWriter {
    /// An object without members, with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = String::with_capacity(bytes);
        out.push('{');
        Self { out }
    }

    fn name(&mut self, name: &'static str) {
        self.out.push_str(if self.out.len() > 1 { ",\"" } else { "\"" });
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    /// Adds a text.
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        put_text(&mut self.out, text);
    }

    /// Adds a text, where there is one.
    pub fn some_text(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// Adds an integer.
    pub fn integer(&mut self, name: &'static str, number: i64) {
        self.name(name);
        self.out.push_str(itoa::Buffer::new().format(number));
    }

    /// Adds a value that is JSON already. The caller has checked it.
    pub fn raw(&mut self, name: &'static str, json: &str) {
        self.name(name);
        self.out.push_str(json);
    }

    /// Adds bytes as base64.
    pub fn base64(&mut self, name: &'static str, bytes: &[u8]) {
        self.name(name);
        self.out.push('"');
        STANDARD.encode_string(bytes, &mut self.out);
        self.out.push('"');
    }

    /// Adds any other value, which must be one that JSON can write.
    pub fn value(&mut self, name: &'static str, value: &impl Serialize) {
        self.name(name);
        // Keys are texts and the JSON is written to memory, so this cannot fail.
        self.out.push_str(&serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()));
    }

    /// The object.
    pub fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

/// Writes a text with its quotes.
pub fn put_text(out: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        // A text can always be written.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn members_come_in_the_order_in_which_they_are_written() {
        let mut object = ObjectWriter::with_capacity(0);
        object.text("b", "é\"\n");
        object.some_text("c", None);
        object.some_text("a", Some(""));
        object.integer("n", i64::MIN);
        object.raw("r", "[1.10]");
        object.base64("x", b"\xff\x00");
        object.value("v", &json!({ "k": [null] }));
        let text = object.finish();
        assert_eq!(text, r#"{"b":"é\"\n","a":"","n":-9223372036854775808,"r":[1.10],"x":"/wA=","v":{"k":[null]}}"#);
        assert_eq!(ObjectWriter::with_capacity(0).finish(), "{}");
    }

    proptest! {
        #[test]
        fn texts_are_written_as_serde_writes_them(text in any::<String>()) {
            let mut out = String::new();
            put_text(&mut out, &text);
            prop_assert_eq!(out, serde_json::to_string(&text).expect("JSON"));
        }
    }
}
