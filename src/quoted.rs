//! Texts of services that appear in errors, notices, summaries and logs. Every such text goes through this module,
//! which replaces secrets that the service repeats, removes invisible characters and limits the length.

use std::borrow::Cow;

use connector_rules::text;

use crate::secret;

/// The longest text for a person, in characters: the connector's own words together with the quoted ones.
pub const LONGEST: usize = 4_096;

/// A service's text as a part of one of the connector's texts: single blanks between words, at most `most` characters.
/// None if nothing remains.
pub fn quoted(said: &str, most: usize) -> Option<String> {
    // Secrets are replaced before the text is cut, because half of a secret would not be recognized.
    text::cut(&struck(said), most)
}

/// As [`quoted`], for a text that is the caller's own. A text that needs no change is not copied.
pub fn requoted(said: String, most: usize) -> Option<String> {
    if text::is_cut(&said, most) && matches!(secret::strike(&said), Cow::Borrowed(_)) {
        return Some(said);
    }
    quoted(&said, most)
}

/// A complete text for a person, which may quote a service.
pub fn shown(text: impl Into<String>) -> String {
    let text = text.into();
    match struck(&text) {
        Cow::Borrowed(clean) if clean.len() <= LONGEST => text,
        clean => match clean.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", clean.get(..end).unwrap_or_default()),
            None => clean.into_owned(),
        },
    }
}

fn struck(text: &str) -> Cow<'_, str> {
    match text::one_line(text) {
        Cow::Borrowed(line) => secret::strike(line),
        Cow::Owned(line) => Cow::Owned(secret::strike(&line).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_before_the_text_is_cut() {
        let secret = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODkw";
        secret::remember(secret);
        let said = format!("got {secret} instead");
        for most in 0..said.len() {
            let cut = quoted(&said, most).unwrap_or_default();
            assert!(!cut.contains("QUJD"), "{cut}");
        }
        // Invisible characters in a secret do not keep it from being recognized.
        let (front, back) = secret.split_at(20);
        assert_eq!(
            quoted(&format!("got\r\n {front}\u{200b}{back}\u{202e} instead"), 100).as_deref(),
            Some("got (secret) instead")
        );
        assert_eq!(shown(format!("got {front}\u{2066}{back}")), "got (secret)");
    }

    #[test]
    fn a_text_of_the_caller_is_quoted_like_any_other() {
        let secret = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODkx";
        secret::remember(secret);
        for said in ["Telemetry of d1 (7 bytes)", "a  b", "", "é", secret, &format!("of {secret}"), "x?sig=abc", " a\n"]
        {
            for most in [0, 1, 20, 100] {
                assert_eq!(requoted(said.to_owned(), most), quoted(said, most), "{said} {most}");
            }
        }
    }

    #[test]
    fn what_is_shown_has_an_end() {
        assert_eq!(shown("Gerät d1: größer"), "Gerät d1: größer");
        let long = shown("ä".repeat(100_000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (LONGEST + 1, true));
    }
}
