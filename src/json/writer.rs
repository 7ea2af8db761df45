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
        if self.out.len() > 1 {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(name);
        self.out.push('"');
        self.out.push(':');
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

    /// Adds a value that `write` writes as JSON.
    pub fn written(&mut self, name: &'static str, write: impl FnOnce(&mut String)) {
        self.name(name);
        write(&mut self.out);
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
    let is_escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(is_escaped) {
        // The byte is a character of ASCII, so both cuts are between characters.
        let (plain, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(plain);
        if let Some(escaped) = after.bytes().next() {
            put_escape(out, escaped);
        }
        rest = after.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
    out.push('"');
}

fn put_escape(out: &mut String, byte: u8) {
    out.push('\\');
    match byte {
        b'"' | b'\\' => out.push(byte.into()),
        b'\n' => out.push('n'),
        b'\r' => out.push('r'),
        b'\t' => out.push('t'),
        0x08 => out.push('b'),
        0x0c => out.push('f'),
        _ => {
            out.push_str("u00");
            out.extend([byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
        }
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

    #[test]
    fn each_character_of_ascii_is_written_as_serde_writes_it() {
        for byte in 0..=0x7f_u8 {
            let text = format!("é{}x", char::from(byte));
            let mut out = String::new();
            put_text(&mut out, &text);
            assert_eq!(out, serde_json::to_string(&text).expect("JSON"));
        }
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
