//! The texts of a few members of each record in a list, read in one walk and without values for the rest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The members `names` of each record in a list. A member is empty where it is missing or no text; of several members
/// with one name, the last counts, as in a value. None where the text is not a list in JSON.
///
/// What else a record has is skipped. So a text that [`parse_records`](super::parse_records) refuses may be read here,
/// for instance one with half of a surrogate pair in another member.
pub fn texts_of_records<'t, const N: usize>(text: &'t [u8], names: [&str; N]) -> Option<Vec<[Cow<'t, str>; N]>> {
    // Skipped texts are not checked otherwise, and a text that was checked once need not be checked piece by piece.
    let text = std::str::from_utf8(text).ok()?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let records = deserializer.deserialize_seq(Records { names }).ok()?;
    deserializer.end().ok()?;
    Some(records)
}

#[derive(Clone, Copy)]
struct Records<'n, const N: usize> {
    names: [&'n str; N],
}

impl<'de, const N: usize> Visitor<'de> for Records<'_, N> {
    type Value = Vec<[Cow<'de, str>; N]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(record) = items.next_element_seed(Record { names: self.names })? {
            all.push(record);
        }
        Ok(all)
    }
}

struct Record<'n, const N: usize> {
    names: [&'n str; N],
}

impl<'de, const N: usize> DeserializeSeed<'de> for Record<'_, N> {
    type Value = [Cow<'de, str>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Record<'_, N> {
    type Value = [Cow<'de, str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut texts = [const { Cow::Borrowed("") }; N];
        while let Some(at) = members.next_key_seed(Name { names: &self.names })? {
            match texts.get_mut(at) {
                Some(text) => *text = members.next_value_seed(Text)?,
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(texts)
    }
}

/// The name of a member: its place among the names that are looked for, or their number.
struct Name<'n> {
    names: &'n [&'n str],
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<usize, E> {
        Ok(self.names.iter().position(|wanted| *wanted == name).unwrap_or(self.names.len()))
    }
}

/// A member's text; empty where it is another value.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(text.into())
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.to_owned().into())
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok("".into())
    }
    fn visit_bool<E: serde::de::Error>(self, _flag: bool) -> Result<Self::Value, E> {
        Ok("".into())
    }
    fn visit_i64<E: serde::de::Error>(self, _number: i64) -> Result<Self::Value, E> {
        Ok("".into())
    }
    fn visit_u64<E: serde::de::Error>(self, _number: u64) -> Result<Self::Value, E> {
        Ok("".into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok("".into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        // A number that is not an integer of 64 bits comes as an object, too, whose only value is its text.
        while members.next_key::<IgnoredAny>()?.is_some() {
            members.next_value::<IgnoredAny>().map_err(A::Error::custom)?;
        }
        Ok("".into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(text: &str) -> Option<Vec<[Cow<'_, str>; 2]>> {
        texts_of_records(text.as_bytes(), ["id", "tag"])
    }

    /// As [`read`], from the values.
    fn from_values(text: &str) -> Option<Vec<[String; 2]>> {
        let Value::Array(records) = crate::json::parse_records(text.as_bytes()).ok()? else { return None };
        let text = |record: &Value, name| record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(records.iter().map(|record| [text(record, "id"), text(record, "tag")]).collect())
    }

    #[test]
    fn the_texts_are_those_of_the_values() {
        for text in [
            "[]",
            " [ {\"id\" : \"a\", \"tag\":\"b\"} , {} ] ",
            r#"[{"id":"a\u00e4\n","tag":"\ud83d\ude00","more":{"id":"no"}}]"#,
            r#"[{"\u0069d":"escaped name"}]"#,
            r#"[{"id":"first","id":"last"},{"id":"first","id":null}]"#,
            r#"[{"id":1,"tag":1.5},{"id":1e999,"tag":-0},{"id":true,"tag":null},{"id":["x"],"tag":{"id":"x"}}]"#,
            r#"[{"id":18446744073709551616,"tag":{}},{"tag":[]}]"#,
            r#"[{"$serde_json::private::Number":"1","id":"a"},{"tag":{"$serde_json::private::Number":"1"}}]"#,
            r#"[{"deep":[[[[[[{"a":{"b":[]}}]]]]]],"id":"a"}]"#,
        ] {
            let expected = from_values(text).expect("a list");
            assert_eq!(read(text).expect("a list"), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_of_records_is_none() {
        for text in ["", "{}", "null", "[1]", "[{}", "[{}]x", r#"[{"id":"a}]"#, r#"[{"id":"\ud800"}]"#, "[{\"a\":01}]"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(texts_of_records(b"[{\"a\":\"\xff\"}]", ["id"]), None);
    }

    #[test]
    fn depth_costs_nothing() {
        let text = format!(r#"[{{"id":"a","deep":{}1{}}}]"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&text).expect("a list"), [["a", ""]]);
    }
}
