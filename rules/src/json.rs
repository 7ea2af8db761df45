//! JSON that every reader accepts.
//!
//! A reader of JSON must limit the nesting, because otherwise a writer could use up the reader's stack. `serde_json`
//! limits it to 128, so it can read 127 levels. Code that puts a text into another JSON text must count the levels
//! around it ([`check_inside`]).

mod walk;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The largest number of nested arrays and objects in one JSON text.
pub const DEEPEST: usize = 127;

/// Why a text is not JSON that every reader accepts. The error does not quote the text, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The text has more levels than allowed.
    TooDeep {
        /// The largest allowed number of levels.
        allowed: usize,
    },
    /// The text is not JSON, or a string in it has half of a surrogate pair. Line and column are counted from 1.
    NotJson {
        /// The line of the error.
        line: usize,
        /// The column of the error.
        column: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep { allowed } => write!(f, "is nested deeper than {allowed} levels"),
            Self::NotJson { line, column } => {
                write!(f, "is not JSON that can be read (line {line}, column {column})")
            }
        }
    }
}

impl std::error::Error for Fault {}

/// A text that is JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Document<'t> {
    /// The text without the blanks around it.
    pub value: &'t str,
    /// Whether the text has line breaks. They can only be between values and around them, where a blank is as good.
    pub has_line_breaks: bool,
}

/// Checks a text that crosses the interface.
///
/// # Errors
/// [`Fault`].
pub fn check(text: &str) -> Result<(), Fault> {
    check_inside(text, 0)
}

/// Checks a text that becomes part of another JSON text, with `around` levels around it.
///
/// # Errors
/// [`Fault`].
pub fn check_inside(text: &str, around: usize) -> Result<(), Fault> {
    read_inside(text, around).map(drop)
}

/// Checks a text as [`check_inside`] does, and returns what the check came by.
///
/// # Errors
/// [`Fault`].
pub fn read_inside(text: &str, around: usize) -> Result<Document<'_>, Fault> {
    let allowed = DEEPEST.saturating_sub(around);
    // The walk says no more than yes. Where it does not, the reader says what is wrong, and where.
    walk::walk(text, allowed).map_or_else(|| read_with_serde(text, allowed), Ok)
}

/// What `serde_json` says about a text: the rule that the quick walk must agree with.
fn read_with_serde(text: &str, allowed: usize) -> Result<Document<'_>, Fault> {
    if !has_levels(text, allowed) {
        return Err(Fault::TooDeep { allowed });
    }
    serde_json::from_str::<Readable>(text)
        .map_err(|error| Fault::NotJson { line: error.line(), column: error.column() })?;
    Ok(Document { value: text.trim_matches([' ', '\t', '\n', '\r']), has_line_breaks: text.contains(['\n', '\r']) })
}

/// Whether a JSON text has at most this many levels. The result has no meaning for a text that is not JSON.
pub fn has_levels(text: &str, most: usize) -> bool {
    // Most texts have fewer brackets than `most`, and counting brackets is much faster than counting levels.
    opening_brackets(text.as_bytes()) <= most || levels(text) <= most
}

/// The number of opening brackets, in strings too. Eight bytes at a time: a page's data is a megabyte, and WebAssembly
/// without SIMD looks at each byte by itself.
fn opening_brackets(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    let (chunks, rest) = bytes.as_chunks::<8>();
    let in_chunk = |chunk: &[u8; 8]| {
        // `[` and `{` differ in one bit. The byte of a bracket becomes 0 here, and its highest bit 1 below.
        let others = (u64::from_le_bytes(*chunk) | (ONES * 0x20)) ^ (ONES * u64::from(b'{'));
        let low = ONES * 0x7f;
        let brackets = !(((others & low) + low) | others | low);
        brackets.count_ones() as usize
    };
    let in_rest = rest.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    chunks.iter().map(in_chunk).sum::<usize>() + in_rest
}

/// The number of nested arrays and objects in a JSON text.
pub fn levels(text: &str) -> usize {
    let (mut deepest, mut depth) = (0_usize, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Accepts JSON without building a value. Numbers may have any size. Half of a surrogate pair is refused, in names too.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(levels: usize) -> String {
        "[".repeat(levels) + &"]".repeat(levels)
    }

    /// Every text that passes can be read by `serde_json` with its default limit. One more level cannot be read.
    #[test]
    fn the_deepest_text_that_passes_is_the_deepest_that_can_be_read() {
        for objects in [false, true] {
            let text = |levels: usize| {
                if objects { r#"{"a":"#.repeat(levels) + "1" + &"}".repeat(levels) } else { nested(levels) }
            };
            assert_eq!(check(&text(DEEPEST)), Ok(()));
            assert!(serde_json::from_str::<serde_json::Value>(&text(DEEPEST)).is_ok());
            assert_eq!(check(&text(DEEPEST + 1)), Err(Fault::TooDeep { allowed: DEEPEST }));
            assert!(serde_json::from_str::<serde_json::Value>(&text(DEEPEST + 1)).is_err());
        }
    }

    #[test]
    fn levels_around_a_text_count() {
        for around in 0..4 {
            let inner = nested(DEEPEST - around);
            assert_eq!(check_inside(&inner, around), Ok(()));
            assert_eq!(check(&format!("{}{inner}{}", "[".repeat(around), "]".repeat(around))), Ok(()));
            let deeper = nested(DEEPEST - around + 1);
            assert_eq!(check_inside(&deeper, around), Err(Fault::TooDeep { allowed: DEEPEST - around }));
        }
    }

    #[test]
    fn brackets_in_texts_are_no_levels() {
        let text = format!(r#"{{"a":"{}\"[","b\\":["[{{"]}}"#, "[".repeat(500));
        assert_eq!((levels(&text), check(&text)), (2, Ok(())));
        let wide = format!("[{}1]", "[],".repeat(1_000));
        assert_eq!((levels(&wide), check(&wide)), (2, Ok(())));
    }

    #[test]
    fn what_not_everybody_can_read_is_refused() {
        for text in ["", "{,}", "1e", r#""\ud800""#, r#"{"\ud800":1}"#, r#"{"a":1}{"#, "\"a\nb\"", "NaN", "]"] {
            assert!(matches!(check(text), Err(Fault::NotJson { line: 1.., .. })), "{text}");
        }
        for text in ["7", "[1e400,12345678901234567890123]", r#""\ud83d\ude00""#, " {} "] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        assert!(!Fault::NotJson { line: 1, column: 3 }.to_string().contains("hunter"));
    }

    /// What the walk says, and what `serde_json` says.
    fn both(text: &str, allowed: usize) -> [Option<Document<'_>>; 2] {
        [walk::walk(text, allowed), read_with_serde(text, allowed).ok()]
    }

    /// Texts that are JSON, or nearly so.
    fn nearly_json() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => proptest::sample::select(
                [
                    "{", "}", "[", "]", ",", ":", "\"", "\"a\":", "\"b\"", "0", "-", "12", ".5", "e", "E+1", "true", "false",
                    "null", "nul", " ", "\t", "\r\n", "\u{b}", "\u{feff}", "\\", "\\u", "\\ud83d", "\\ude00", "\\u00e9", "\\n", "\\x",
                    "\u{1f}", "\u{7f}", "é", "\u{2028}", "0123", "1e400", "-0.0", "[1,2]", "{\"a\":[]}", "\"\\\"\"",
                ]
                .as_slice(),
            )
            .prop_map(str::to_owned),
            1 => ".{0,12}",
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    /// Any JSON, as compact text.
    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,40}".prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map(".{0,12}", inner, 0..6)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_walk_says_what_serde_says(text in nearly_json(), allowed in 0_usize..6) {
            let [walked, read] = both(&text, allowed);
            prop_assert_eq!(walked, read, "{:?}", text);
        }

        /// One byte of a JSON text is replaced, taken out or repeated.
        #[test]
        fn the_walk_says_what_serde_says_of_damaged_json(
            value in json(), pretty in any::<bool>(), at in any::<prop::sample::Index>(), new in any::<char>(), how in 0..4,
        ) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let [walked, read] = both(&text, DEEPEST);
            prop_assert!(walked.is_some());
            prop_assert_eq!(walked, read);
            let mut damaged: Vec<char> = text.chars().collect();
            let at = at.index(damaged.len());
            match how {
                0 => damaged[at] = new,
                1 => drop(damaged.remove(at)),
                2 => damaged.insert(at, damaged[at]),
                _ => damaged.truncate(at),
            }
            let damaged: String = damaged.into_iter().collect();
            let [walked, read] = both(&damaged, DEEPEST);
            prop_assert_eq!(walked, read, "{:?}", damaged);
        }
    }

    #[test]
    fn brackets_are_counted_wherever_they_are() {
        for byte in 0..=u8::MAX {
            for at in 0..17 {
                let mut bytes = [b'x'; 17];
                bytes[at] = byte;
                bytes[16 - at] = b'{';
                let counted = bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
                assert_eq!(opening_brackets(&bytes), counted, "{bytes:?}");
            }
        }
    }

    /// A run of plain characters is passed over in chunks of eight bytes.
    #[test]
    fn each_byte_of_a_chunk_is_seen() {
        for before in 0..20 {
            for byte in 0..=0x7f_u8 {
                let text = format!("\"{}{}{}\"", "é".repeat(before / 2), "x".repeat(before), char::from(byte));
                for after in ["", "\"", "xxxxxxx", "xxxxxxxx\\n"] {
                    let text = format!("{}{after}\"", &text[..text.len() - 1]);
                    let [walked, read] = both(&text, DEEPEST);
                    assert_eq!(walked, read, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_document_is_the_text_without_the_blanks_around_it() {
        let read = |text| read_inside(text, 0).map(|Document { value, has_line_breaks }| (value, has_line_breaks));
        assert_eq!(read(" [1, 2]\t"), Ok(("[1, 2]", false)));
        assert_eq!(read("[1,\n2]"), Ok(("[1,\n2]", true)));
        assert_eq!(read("\r\n7"), Ok(("7", true)));
        assert_eq!(read("\"\\n\""), Ok(("\"\\n\"", false)));
    }
}
