//! Texts that a stranger has written, on their way to a person or a log: one line, and nothing in it that cannot be seen.
//!
//! Control characters drive terminals and forge lines; format characters turn a line around (U+202E), hide in it or break
//! it (U+2028). Both sides clean what they quote: a connector the words of its service, a host those of a connector.

use std::borrow::Cow;

/// Whether a character can be seen, or is a blank. By the Unicode tables of the standard library: controls, format
/// characters, separators besides the blanks, and what is private or not assigned cannot.
pub fn is_visible(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // A mark that joins the character before it is escaped where it stands first, so it is asked about behind another character.
    let mut text = [0; 5];
    let (first, rest) = text.split_at_mut(1);
    first.copy_from_slice(b"a");
    let length = 1 + c.encode_utf8(rest).len();
    let escaped = std::str::from_utf8(text.get(..length).unwrap_or_default()).unwrap_or_default();
    escaped.escape_debug().nth(1) == Some(c) || (c.is_whitespace() && !c.is_control() && !is_break(c))
}

/// A text as one line of what can be seen: what breaks or separates is a blank, everything else that cannot be seen is left
/// out. A text that is so already stays as it is.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_visible) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if is_visible(c) => line.push(c),
            c if c.is_control() || is_break(c) => line.push(' '),
            _ => {}
        }
    }
    Cow::Owned(line)
}

/// As [`one_line`], with single blanks between words, and cut to so many characters. None where nothing is left.
pub fn cut(text: &str, most: usize) -> Option<String> {
    let line = one_line(text);
    let words: Vec<&str> = line.split_whitespace().collect();
    let cut: String = words.join(" ").chars().take(most).collect();
    let cut = cut.trim_end();
    (!cut.is_empty()).then(|| cut.to_owned())
}

/// What stands for a secret that is struck out.
pub const STRUCK: &str = "(secret)";

/// The field of a shared access signature that is secret, in a token as in the address of a stored file.
const SIGNATURE: &str = "sig=";

/// Characters of a field that make it a secret: fewer are found in words.
pub const SHORTEST_SECRET: usize = 16;

/// Whether a character can stand in a secret that is base64 or percent-encoded.
pub fn is_of_secret(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '%' | '-' | '_')
}

/// A text without the signatures that are named as such in it (`sig=…`), made by any key.
pub fn without_signatures(text: &str) -> Cow<'_, str> {
    let lower = text.to_ascii_lowercase();
    if !lower.contains(SIGNATURE) {
        return Cow::Borrowed(text);
    }
    let mut struck = String::with_capacity(text.len());
    let mut from = 0;
    while let Some(found) = lower.get(from..).and_then(|rest| rest.find(SIGNATURE)) {
        let start = from + found + SIGNATURE.len();
        let value = text.get(start..).unwrap_or_default();
        let end = start + value.find(|c| !is_of_secret(c)).unwrap_or(value.len());
        struck.push_str(text.get(from..start).unwrap_or_default());
        let is_secret = end - start >= SHORTEST_SECRET;
        struck.push_str(if is_secret { STRUCK } else { text.get(start..end).unwrap_or_default() });
        from = end;
    }
    struck.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(struck)
}

fn is_break(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_stays() {
        for text in [
            "Device d1 is offline.",
            "\"quotes\", 'these' and \\ that",
            "Gerät «Nr. 7»\u{a0}– größer",
            "設備 1 は接続されていません",
            "cafe\u{301} naïve",
            "नमस्ते",
            "السلام عليكم",
            "😀",
        ] {
            assert!(matches!(one_line(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_seen_goes() {
        let cases = [
            ("a\r\nb\tc", "a  b c"),
            ("a\u{1b}[31mred", "a [31mred"),
            ("\u{9b}31m\u{7f}", " 31m "),
            ("safe\u{202e}gpj.exe", "safegpj.exe"),
            ("\u{200e}\u{200f}\u{061c}\u{2066}x\u{2069}", "x"),
            ("a\u{200b}b\u{200d}c\u{feff}d\u{ad}e", "abcde"),
            ("one\u{2028}two\u{2029}three", "one two three"),
            ("\u{e0041}\u{e000}tag", "tag"),
        ];
        for (text, expected) in cases {
            assert_eq!(one_line(text), expected, "{text:?}");
        }
        for c in (0..=char::MAX as u32).filter_map(char::from_u32) {
            let text = format!("a{c}b");
            let line = one_line(&text);
            assert!(line.chars().all(|c| is_visible(c) && !c.is_control()), "{c:?}");
        }
    }

    #[test]
    fn signatures_are_struck_out() {
        let text =
            "https://x.blob.core.windows.net/a?sv=2024&sig=AbCd%2BefGhIjKlMnOpQr%3D&se=7 and Sig=0123456789abcdef";
        assert_eq!(
            without_signatures(text),
            "https://x.blob.core.windows.net/a?sv=2024&sig=(secret)&se=7 and Sig=(secret)"
        );
        for text in ["", "sig=short", "The design=good, the device is offline.", "ä sig=ü"] {
            assert_eq!(without_signatures(text), text);
        }
    }

    #[test]
    fn words_are_cut_to_characters() {
        assert_eq!(cut("  a \r\n\u{202e} b\t\tc ", 100).as_deref(), Some("a b c"));
        assert_eq!(cut("ééé ééé", 5).as_deref(), Some("ééé é"));
        assert_eq!(cut("abc def", 4).as_deref(), Some("abc"));
        assert_eq!(cut("abc def", 3).as_deref(), Some("abc"));
        assert_eq!(cut(" \u{200b}\u{0} ", 9), None);
        assert_eq!(cut("abc", 0), None);
    }
}
