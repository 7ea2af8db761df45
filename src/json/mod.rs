//! JSON whose numbers are what was written, digit for digit.
//!
//! A double holds 15 to 17 digits, and services and devices write more: serial numbers, counters, amounts. So `serde_json`
//! keeps the text of each number (its feature `arbitrary_precision`), and [`Decimal`] compares them. An exponent is
//! written anew (`1E5` as `1e+5`), all digits stay.
//!
//! `serde_json` hands numbers and raw texts from one of its types to another as objects with a secret key, and takes any
//! object with that key for one. So documents from outside are read by [`parse`], which tells the two apart.

mod decimal;

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

pub use decimal::Decimal;

/// The key under which `serde_json` hands over a number that is no integer of 64 bits.
const NUMBER: &str = "$serde_json::private::Number";

/// Reads a document: JSON of any kind, nested up to 127 levels.
///
/// # Errors
/// Where the text is not JSON.
pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Exact>(text).map(|exact| exact.0)
}

/// Takes a member out of an object, null where it has none: what a caller may put there is any JSON, which must not go
/// through `serde`'s own types (they lose the sign of zero and refuse whole numbers of more than 64 bits).
pub fn take(object: &mut Value, name: &str) -> Value {
    object.as_object_mut().and_then(|members| members.remove(name)).unwrap_or_default()
}

/// As [`take`], none where there is no such member or it is null.
pub fn take_some(object: &mut Value, name: &str) -> Option<Value> {
    Some(take(object, name)).filter(|value| !value.is_null())
}

/// As [`take`], the members of an object.
pub fn take_members(object: &mut Value, name: &str) -> Map<String, Value> {
    match take(object, name) {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Whether two values are the same, numbers by what they are worth: `1`, `1.0` and `1e0` are one number.
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || Decimal::of(one) == Decimal::of(other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let found = |(name, value): (&String, &Value)| other.get(name).is_some_and(|other| same(value, other));
            one.len() == other.len() && one.iter().all(found)
        }
        _ => one == other,
    }
}

/// A value that is read as it is written.
struct Exact(Value);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExactVisitor).map(Self)
    }
}

struct ExactVisitor;

impl<'de> Visitor<'de> for ExactVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }
    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Exact(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(all.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if all.is_empty() && name == NUMBER {
                match members.next_value_seed(Handed)? {
                    Handover::Number(number) => return Ok(Value::Number(number)),
                    Handover::Member(value) => all.insert(name, value),
                };
            } else {
                all.insert(name, members.next_value::<Exact>()?.0);
            }
        }
        Ok(all.into())
    }
}

/// What stands under the secret key.
enum Handover {
    /// `serde_json`'s own text of a number.
    Number(Number),
    /// A member of a document, which happens to have this name.
    Member(Value),
}

/// Tells the two apart: a deserializer of a document knows wrappers, one of a text in memory does not.
struct Handed;

impl<'de> DeserializeSeed<'de> for Handed {
    type Value = Handover;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Handover, D::Error> {
        deserializer.deserialize_newtype_struct("Handed", self)
    }
}

impl<'de> Visitor<'de> for Handed {
    type Value = Handover;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Handover, E> {
        text.parse().map(Handover::Number).map_err(E::custom)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Handover, D::Error> {
        Exact::deserialize(deserializer).map(|exact| Handover::Member(exact.0)).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        parse(text.as_bytes()).expect("JSON")
    }

    #[test]
    fn numbers_are_written_as_they_were_read() {
        for text in [
            "0",
            "-0",
            "-0.0",
            "1.10",
            "9007199254740993",
            "-9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "123456789012345678901234567890123456789012345",
            "0.1000000000000000055",
            "1e-400",
            "-1.5e-7",
            r#"{"a":[1.0,{"b":100000000000000000000}]}"#,
        ] {
            assert_eq!(read(text).to_string(), text);
        }
        // Worth the same, with all digits.
        assert_eq!(read("[1E5,1e400]").to_string(), "[1e+5,1e+400]");
        let long = "7".repeat(100_000);
        assert_eq!(read(&long).to_string(), long);
    }

    /// `serde_json`'s own reader would make numbers, other documents or errors of these.
    #[test]
    fn a_document_cannot_pass_for_what_serde_json_hands_over() {
        for text in [
            r#"{"$serde_json::private::Number":"1"}"#,
            r#"{"$serde_json::private::Number":"no number"}"#,
            r#"{"$serde_json::private::Number":1.5}"#,
            r#"{"$serde_json::private::Number":{"a":1.50}}"#,
            r#"{"$serde_json::private::Number":"1","more":2}"#,
            r#"{"$serde_json::private::RawValue":"[1"}"#,
            r#"[{"$serde_json::private::RawValue":"{\"a\":1}"}]"#,
        ] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(
            read(r#"{"\u0024serde_json::private::Number":"1"}"#).to_string(),
            r#"{"$serde_json::private::Number":"1"}"#
        );
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in ["", "1 2", "01", "1.", "1e", "+1", "NaN", "nul", "{\"a\":}", "[1,]", "\"\\ud800\"", &deep] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn values_are_compared_by_what_they_are_worth() {
        assert!(same(&read(r#"{"a":[1,1e0]}"#), &read(r#"{"a":[1.0,1]}"#)));
        assert!(!same(&read(r#"{"a":1}"#), &read(r#"{"b":1}"#)));
        assert!(!same(&read("9007199254740993"), &read("9007199254740992")));
        assert!(!same(&read("1"), &read("\"1\"")));
    }
}
