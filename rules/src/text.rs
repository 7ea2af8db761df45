//! Cleans texts from strangers before a person or a log sees them: each becomes one line without invisible characters.
//!
//! Control characters can control a terminal and forge log lines. Format characters can reverse a line (U+202E), hide
//! in it or break it (U+2028). A connector cleans the texts of its service that it quotes, and a host cleans the texts
//! of a connector.

use std::borrow::Cow;

/// Whether a character is visible or a blank, by the Unicode tables of the standard library. Not visible are controls,
/// format characters, separators except blanks, and private or unassigned characters.
pub fn is_visible(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // `escape_debug` escapes a combining mark only at the beginning of a text, so the character is tested after an `a`.
    let mut text = [0; 5];
    let (first, rest) = text.split_at_mut(1);
    first.copy_from_slice(b"a");
    let length = 1 + c.encode_utf8(rest).len();
    let escaped = std::str::from_utf8(text.get(..length).unwrap_or_default()).unwrap_or_default();
    escaped.escape_debug().nth(1) == Some(c) || (c.is_whitespace() && !c.is_control() && !is_break(c))
}

/// Makes one line of a text: line breaks and control characters become blanks, and all other invisible characters are
/// left out. A text without such characters does not change.
pub fn one_line(text: &str) -> Cow<'_, str> {
    // Most texts are ASCII, whose bytes need not be decoded.
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) || text.chars().all(is_visible) {
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

/// Like [`one_line`], with single blanks between words, and cut to `most` characters. None where the result is empty.
pub fn cut(text: &str, most: usize) -> Option<String> {
    let line = one_line(text);
    let words: Vec<&str> = line.split_whitespace().collect();
    let cut: String = words.join(" ").chars().take(most).collect();
    let cut = cut.trim_end();
    (!cut.is_empty()).then(|| cut.to_owned())
}

/// Whether [`cut`] would leave a text as it is, for the texts that can be judged by a look at their bytes.
pub fn is_cut(text: &str, most: usize) -> bool {
    let mut before = b' ';
    let is_line = text.bytes().all(|byte| {
        let is_kept = (b'!'..=b'~').contains(&byte) || (byte == b' ' && before != b' ');
        before = byte;
        is_kept
    });
    is_line && before != b' ' && text.len() <= most
}

/// The text that replaces a secret.
pub const STRUCK: &str = "(secret)";

/// The name of the signature in a token and in the address of a stored file. The signature is a secret.
const SIGNATURE: &str = "sig=";

/// The smallest number of characters of a secret field. Shorter texts could be words.
pub const SHORTEST_SECRET: usize = 16;

/// Whether a character can be part of a secret in base64 or percent-encoding.
pub fn is_of_secret(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '%' | '-' | '_')
}

/// A text in which all signatures that follow `sig=` are replaced, whatever key made them.
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

    #[test]
    fn a_text_that_counts_as_cut_is_left_as_it_is() {
        for text in ["a", "a b", "a  b", " a", "a ", "", " ", "é", "a\nb", "a\u{202e}", "~ !", "\u{7f}", "abcde"] {
            for most in 0..6 {
                if is_cut(text, most) {
                    assert_eq!(cut(text, most).as_deref(), Some(text));
                }
            }
        }
        assert!(is_cut("Telemetry of press-1 (8 bytes)", 30) && !is_cut("Telemetry of press-1 (8 bytes)", 29));
    }
}
