//! Texts of guests and of libraries, made fit for messages and the log.

use std::fmt;

use connector_rules::text;

use crate::options::LONGEST_NAME;

/// The longest text of a library about a peer that is logged, in characters.
const LONGEST_REASON: usize = 512;

/// Text of a guest, shortened and escaped for display.
pub(crate) fn shown(text: &str) -> String {
    printable(text.chars().take(LONGEST_NAME))
}

/// A library's error for the log. The error may quote the peer, for example the names in its certificate.
pub(super) fn said(error: &dyn fmt::Display) -> String {
    let error = error.to_string();
    text::cut(&text::without_signatures(&error), LONGEST_REASON).unwrap_or_default()
}

/// Escapes control and format characters. Format characters can reverse a line (U+202E) or be invisible.
pub(super) fn printable(text: impl IntoIterator<Item = char>) -> String {
    let mut shown = String::new();
    for c in text {
        match c {
            '\'' | '"' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_peer_is_short_and_can_be_seen() {
        let names =
            format!("valid for \u{202e}a\n\u{9b}2J sig=QUJDREVGR0hJSktMTU5PUA%3D%3D&se=7 {}", "x".repeat(10_000));
        let said = said(&names);
        assert!(said.starts_with("valid for a 2J sig=(secret)&se=7 xxx"), "{said}");
        assert!(said.chars().count() == LONGEST_REASON && said.chars().all(text::is_visible), "{said}");
    }
}
