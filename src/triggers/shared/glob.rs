//! Patterns with `*` (any number of characters) and `?` (any one character), as in file names.

#[cfg(feature = "amqp")]
use crate::form::schema::{list, literal, string, with};

/// The schema of a configuration's list of patterns.
#[cfg(feature = "amqp")]
pub fn patterns(title: &str, max_length: u32) -> serde_json::Value {
    let pattern = with(string("Pattern"), serde_json::json!({ "minLength": 1, "maxLength": max_length }));
    with(
        list(title, pattern),
        literal!({ "description": "Only these: `*` stands for any characters, `?` for one. Empty: all.", "maxItems": 64 }),
    )
}

/// Whether `text` fits one of the patterns. Every text fits an empty list.
#[cfg(feature = "amqp")]
pub fn fits_any(patterns: &[String], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| fits(pattern, text))
}

/// Whether the whole of `text` fits `pattern`.
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // The position of the last star, and the number of characters it stands for. Going back to the last star alone is
    // enough.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "x"),
            ("press-*", "press-17"),
            ("*-17", "press-17"),
            ("p*s-?7", "press-17"),
            ("**a**b*", "xaxbx"),
            ("", ""),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "x"), ("press-*", "oven-1"), ("?", ""), ("a*b", "abc"), ("a?c", "ac")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
        assert!(!fits(&"*a".repeat(50), &"a".repeat(49)), "ends in reasonable time");
    }
}
