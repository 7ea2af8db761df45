//! The limits of twins, checked before anything is sent ("Understand and use device twins in IoT Hub").
//!
//! A patch is refused only if no twin could accept it. If the answer depends on the twin's present content, the hub
//! decides.

use serde_json::{Map, Value};

use crate::error::{FieldProblem, problem};

/// The deepest nesting of objects below tags or properties; the documentation's own example has ten levels.
const DEEPEST: usize = 10;
/// The longest key, in bytes.
const LONGEST_KEY: usize = 1024;
/// The longest text, in bytes.
const LONGEST_TEXT: usize = 4096;
const INTEGERS: std::ops::RangeInclusive<i64> = -4_503_599_627_370_496..=4_503_599_627_370_495;
/// The largest number of problems reported for one patch.
const MOST_PROBLEMS: usize = 64;

/// A part of a twin that back ends write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwinPart {
    /// Tags: the device does not see them.
    Tags,
    /// Desired properties.
    Desired,
}

impl TwinPart {
    /// The largest size of the whole part, in bytes.
    fn largest(self) -> usize {
        match self {
            Self::Tags => 8 * 1024,
            Self::Desired => 32 * 1024,
        }
    }
}

/// All problems of a patch. `at` is the pointer to the patch within the input.
pub fn check_patch(part: TwinPart, patch: &Value, at: &str) -> Vec<FieldProblem> {
    let mut check = Check { problems: Vec::new() };
    let size = patch.as_object().map_or(0, |members| check.object(members, at, 0, false));
    if size > part.largest() {
        let message = format!("must have at most {} bytes as the hub counts them, and has {size}", part.largest());
        check.problems.push(problem(at, "too-large", message));
    }
    check.problems
}

struct Check {
    problems: Vec<FieldProblem>,
}

impl Check {
    fn add(&mut self, at: &str, code: &str, message: String) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem(at, code, message));
        }
    }

    /// The size that these members would have in the twin. A null removes its key, so it has no size. An array replaces
    /// the former value as a whole, so a null in an array would be stored, which no twin allows.
    fn object(&mut self, members: &Map<String, Value>, at: &str, depth: usize, in_array: bool) -> usize {
        if depth > DEEPEST {
            self.add(at, "too-deep", format!("must not be nested deeper than {DEEPEST} levels"));
            return 0;
        }
        let mut size = 0;
        for (key, value) in members {
            let at = crate::json::child(at, key);
            if key.len() > LONGEST_KEY {
                self.add(
                    &at,
                    "too-long",
                    format!("must have keys of at most {LONGEST_KEY} bytes, and has a key of {} bytes", key.len()),
                );
            }
            if key.contains(|c: char| c.is_control() || matches!(c, '.' | '$' | ' ')) {
                self.add(
                    &at,
                    "characters",
                    "has a key with a dot, a dollar sign, a space or a control character".into(),
                );
            }
            if in_array || !value.is_null() {
                size += key.len() + self.value(value, &at, depth, in_array);
            }
        }
        size
    }

    fn value(&mut self, value: &Value, at: &str, depth: usize, in_array: bool) -> usize {
        match value {
            Value::Null => {
                if in_array {
                    self.add(at, "null-in-array", "must not be null, since it is in an array of a twin".into());
                }
                0
            }
            Value::Bool(_) => 4,
            Value::Number(number) => {
                // The hub treats numbers with a decimal point or an exponent as floating point.
                let is_integer = !number.as_str().contains(['.', 'e', 'E']);
                let fits = !is_integer || number.as_i64().is_some_and(|whole| INTEGERS.contains(&whole));
                if !fits {
                    let (least, most) = (INTEGERS.start(), INTEGERS.end());
                    self.add(at, "out-of-range", format!("must be a whole number from {least} to {most}"));
                }
                8
            }
            Value::String(text) => {
                if text.len() > LONGEST_TEXT {
                    self.add(at, "too-long", format!("must have at most {LONGEST_TEXT} bytes, and has {}", text.len()));
                }
                text.chars().filter(|c| !c.is_control()).map(char::len_utf8).sum()
            }
            Value::Array(items) => {
                let item = |(index, item)| self.value(item, &format!("{at}/{index}"), depth, true);
                items.iter().enumerate().map(item).sum()
            }
            Value::Object(members) => self.object(members, at, depth + 1, in_array),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        crate::json::parse(text.as_bytes()).expect("JSON")
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!({ "property": "value" }), |inner, _| json!({ "k": inner }))
    }

    #[test]
    fn limits() {
        let text = |length: usize| "x".repeat(length);
        // Two texts of nearly the largest length, with their keys, exactly fill the size limit for tags.
        let full = json!({ "a": text(4096), "b": text(4094) });
        let table = [
            (TwinPart::Tags, json!({ "site": "north", "n": [1, { "a": true }], "gone": null }), None),
            (TwinPart::Tags, nested(10), None),
            (TwinPart::Tags, nested(11), Some(("/k".repeat(11), "too-deep"))),
            (TwinPart::Tags, json!({ "a.b": 1 }), Some(("/a.b".into(), "characters"))),
            (TwinPart::Tags, json!({ "a b": 1 }), Some(("/a b".into(), "characters"))),
            (TwinPart::Tags, json!({ "a": { "$b": null } }), Some(("/a/$b".into(), "characters"))),
            (TwinPart::Tags, json!({ "a\u{85}": 1 }), Some(("/a\u{85}".into(), "characters"))),
            (TwinPart::Tags, json!({ "a/b~": { "c c": 1 } }), Some(("/a~1b~0/c c".into(), "characters"))),
            (TwinPart::Tags, json!({ text(1024): 1 }), None),
            (TwinPart::Tags, json!({ text(1025): 1 }), Some((format!("/{}", text(1025)), "too-long"))),
            (TwinPart::Desired, json!({ "a": text(4096) }), None),
            (TwinPart::Desired, json!({ "a": [text(4097)] }), Some(("/a/0".into(), "too-long"))),
            (TwinPart::Desired, json!({ "a": 4_503_599_627_370_495_i64, "b": -4_503_599_627_370_496_i64 }), None),
            (TwinPart::Desired, json!({ "a": 4_503_599_627_370_496_i64 }), Some(("/a".into(), "out-of-range"))),
            (TwinPart::Desired, json!({ "a": u64::MAX }), Some(("/a".into(), "out-of-range"))),
            (TwinPart::Desired, json!({ "a": 1.5e300 }), None),
            (TwinPart::Desired, read(r#"{ "a": 100000000000000000000 }"#), Some(("/a".into(), "out-of-range"))),
            (TwinPart::Desired, read(r#"{ "a": [-4503599627370497] }"#), Some(("/a/0".into(), "out-of-range"))),
            (TwinPart::Desired, read(r#"{ "a": 4503599627370496.0, "b": 1e20 }"#), None),
            (TwinPart::Tags, json!({ "a": [1, null] }), Some(("/a/1".into(), "null-in-array"))),
            (TwinPart::Tags, json!({ "a": [[null]] }), Some(("/a/0/0".into(), "null-in-array"))),
            (TwinPart::Tags, json!({ "a": [{ "b": { "c": null } }] }), Some(("/a/0/b/c".into(), "null-in-array"))),
            (TwinPart::Tags, json!({ "a": { "b": [1], "c": null } }), None),
            (TwinPart::Tags, full.clone(), None),
            (TwinPart::Tags, json!({ "a": text(4096), "b": text(4095) }), Some((String::new(), "too-large"))),
            (TwinPart::Tags, json!({ "a": text(4096), "b": format!("{}\n", text(4094)) }), None),
            (TwinPart::Desired, json!({ "a": full, "b": true }), None),
        ];
        for (part, patch, expected) in table {
            let found: Vec<(String, String)> =
                check_patch(part, &patch, "/tags").into_iter().map(|p| (p.pointer, p.code)).collect();
            let expected: Vec<(String, String)> =
                expected.into_iter().map(|(at, code)| (format!("/tags{at}"), code.to_owned())).collect();
            assert_eq!(found, expected, "{part:?} {}", &patch.to_string()[..patch.to_string().len().min(100)]);
        }
    }

    #[test]
    fn problems_are_bounded() {
        let patch: Map<String, Value> = (0..1000).map(|n| (format!("a b{n}"), json!(1))).collect();
        assert!(check_patch(TwinPart::Tags, &patch.into(), "").len() <= MOST_PROBLEMS + 1);
    }
}
