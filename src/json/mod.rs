//! JSON whose numbers are what was written, digit for digit.
//!
//! A double holds 15 to 17 digits, and services and devices write more: serial numbers, counters, amounts. So `serde_json`
//! keeps the text of each number (its feature `arbitrary_precision`), and [`Decimal`] compares them. An exponent is
//! written again (`1E5` as `1e+5`), all digits stay.
//!
//! `serde_json` hands numbers and raw texts from one of its types to another as objects with a secret key, and takes any
//! object with that key for one. So documents from outside are read by [`parse`], which distinguishes the two.

mod decimal;

use std::cell::Cell;
use std::fmt;

use connector_rules::json::{DEEPEST, has_levels};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

pub use decimal::Decimal;

/// The key under which `serde_json` hands over a number that is no integer of 64 bits.
const NUMBER: &str = "$serde_json::private::Number";

/// The member of an object that stands for a value that is nested too deep: its text.
pub const FOLDED: &str = "$tooDeep";

/// Levels of a record of a service, which stands in an event or in an output: less than a text may have, for those around it.
pub const RECORD_LEVELS: usize = DEEPEST - 4;

/// Memory that one document may take up, in bytes as they are counted below: half of what an instance usually has.
const MOST_MEMORY: usize = 32 << 20;
/// What a value counts for besides its text: itself, and what allocating wastes.
const VALUE_MEMORY: usize = 48;
/// What the members of an object count for besides: the first one allocates room for eleven, 316 bytes on 32 bits.
const MEMBERS_MEMORY: usize = 352;
/// Why a document was not read that has valid JSON.
const TOO_LARGE: &str = "it takes up too much memory";

/// Reads a document: JSON of any kind, nested up to 127 levels, that does not take up too much memory.
///
/// # Errors
/// Where it is not; see [`is_too_large`].
pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    read(text, &Budget::new(false), DEEPEST)
}

/// Reads records of a service: a list of them, where the document is one, or the document itself. A value that is nested
/// deeper than [`RECORD_LEVELS`] in a record is an object with its text as [`FOLDED`], so that no record keeps others from
/// being read, and each can be passed on.
///
/// # Errors
/// Where the text is not JSON, or takes up too much memory.
pub fn parse_records(text: &[u8]) -> Result<Value, serde_json::Error> {
    let budget = Budget::new(true);
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        return read(text, &budget, RECORD_LEVELS);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let records = deserializer.deserialize_seq(Records(&budget))?;
    deserializer.end()?;
    Ok(records)
}

/// Whether a document was refused for its memory, rather than for what it is.
pub fn is_too_large(error: &serde_json::Error) -> bool {
    error.to_string().contains(TOO_LARGE)
}

/// Whether a part of a value is left as text, so that it must not be written back as it is.
pub fn is_folded(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(is_folded),
        Value::Object(members) => members.contains_key(FOLDED) || members.values().any(is_folded),
        _ => false,
    }
}

fn read(text: &[u8], budget: &Budget, levels: usize) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Exact { budget, levels }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
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

/// What one reading has used up, and may.
struct Budget {
    memory_left: Cell<usize>,
    /// Whether what is nested too deep is kept as text.
    folds: bool,
}

impl Budget {
    fn new(folds: bool) -> Self {
        Self { memory_left: Cell::new(MOST_MEMORY), folds }
    }

    fn take<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        match self.memory_left.get().checked_sub(bytes) {
            Some(left) => {
                self.memory_left.set(left);
                Ok(())
            }
            None => Err(E::custom(TOO_LARGE)),
        }
    }
}

/// A list of records, each read by itself.
struct Records<'b>(&'b Budget);

impl<'de> Visitor<'de> for Records<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element::<&RawValue>()? {
            all.push(read(item.get().as_bytes(), self.0, RECORD_LEVELS).map_err(A::Error::custom)?);
        }
        Ok(all.into())
    }
}

/// A value that is read as it is written, with so many levels left for it.
#[derive(Clone, Copy)]
struct Exact<'b> {
    budget: &'b Budget,
    levels: usize,
}

impl<'b> Exact<'b> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        let levels = self.levels.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Self { levels, ..self })
    }

    /// A value on the last level: what has more levels than are left becomes its text.
    fn folded<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if has_levels(raw, self.levels) {
            return self.deserialize(&mut serde_json::Deserializer::from_str(raw)).map_err(D::Error::custom);
        }
        self.budget.take(VALUE_MEMORY + MEMBERS_MEMORY + raw.len())?;
        Ok(Value::Object(Map::from_iter([(FOLDED.to_owned(), raw.into())])))
    }
}

impl<'de> DeserializeSeed<'de> for Exact<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A value inside of another one.
struct Inner<'b>(Exact<'b>);

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        // What stands for a folded value has a level itself.
        if self.0.budget.folds && self.0.levels <= 1 {
            return self.0.folded(deserializer);
        }
        self.0.deserialize(deserializer)
    }
}

impl<'de> Visitor<'de> for Exact<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.budget.take(VALUE_MEMORY)?;
        Ok(Value::Null)
    }
    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Value, E> {
        self.budget.take(VALUE_MEMORY)?;
        Ok(Value::Bool(flag))
    }
    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        self.budget.take(VALUE_MEMORY)?;
        Ok(number.into())
    }
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        self.budget.take(VALUE_MEMORY)?;
        Ok(number.into())
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.budget.take(VALUE_MEMORY + text.len())?;
        Ok(text.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.budget.take(VALUE_MEMORY)?;
        let inner = self.inner()?;
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Inner(inner))? {
            all.push(item);
        }
        Ok(all.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.budget.take(VALUE_MEMORY)?;
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if all.is_empty() && name == NUMBER {
                match members.next_value_seed(Handed(self))? {
                    Handover::Number(number) => return Ok(Value::Number(number)),
                    Handover::Member(value) => all.insert(name, value),
                };
                continue;
            }
            let inner = self.inner()?;
            self.budget.take(name.len() + if all.is_empty() { MEMBERS_MEMORY } else { VALUE_MEMORY })?;
            let value = members.next_value_seed(Inner(inner))?;
            all.insert(name, value);
        }
        // An empty one has no member that would have found out.
        self.inner().map(|_: Self| all.into())
    }
}

/// What stands under the secret key.
enum Handover {
    /// `serde_json`'s own text of a number.
    Number(Number),
    /// A member of a document, which happens to have this name.
    Member(Value),
}

/// Distinguishes the two: a deserializer of a document knows wrappers, one of a text in memory does not.
struct Handed<'b>(Exact<'b>);

impl<'de> DeserializeSeed<'de> for Handed<'_> {
    type Value = Handover;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Handover, D::Error> {
        deserializer.deserialize_newtype_struct("Handed", self)
    }
}

impl<'de> Visitor<'de> for Handed<'_> {
    type Value = Handover;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Handover, E> {
        self.0.budget.take(text.len())?;
        text.parse().map(Handover::Number).map_err(E::custom)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Handover, D::Error> {
        Inner(self.0.inner()?).deserialize(deserializer).map(Handover::Member)
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

    /// Two of the services' lists in one: a record that is too deep took all others with it.
    #[test]
    fn what_is_too_deep_in_a_record_is_its_text() {
        let nested = |levels: usize| r#"{"a":"#.repeat(levels) + "1.10" + &"}".repeat(levels);
        for levels in [1, RECORD_LEVELS - 1, RECORD_LEVELS] {
            let page = format!("[{0},7,{0}]", nested(levels));
            assert_eq!(parse_records(page.as_bytes()).expect("records").to_string(), page);
            assert_eq!(parse_records(nested(levels).as_bytes()).expect("a record").to_string(), nested(levels));
        }
        for levels in [RECORD_LEVELS + 1, 127, 128, 5_000] {
            let page = format!(r#"[{{"id":"a","deep":{}}},{{"id":"b"}}]"#, nested(levels - 1));
            let records = parse_records(page.as_bytes()).expect("records");
            assert_eq!((&records[0]["id"], &records[1]), (&"a".into(), &serde_json::json!({ "id": "b" })));
            assert_eq!((is_folded(&records), is_folded(&records[1])), (true, false));
            let text = records[0].to_string();
            assert_eq!(connector_rules::json::levels(&text), RECORD_LEVELS, "{levels}");
            // Nothing is lost: the text is the rest of it.
            let folded = (0..RECORD_LEVELS - 2).fold(&records[0]["deep"], |value, _| &value["a"]);
            assert_eq!(folded[FOLDED], nested(levels - RECORD_LEVELS + 1), "{levels}");
        }
        assert!(parse_records(format!("{}1", "[".repeat(400)).as_bytes()).is_err(), "not JSON");
    }

    /// Few bytes that are many values: the instance had no memory left, and the next poll met the same.
    #[test]
    fn memory_is_counted_and_not_bytes() {
        let objects = format!("[{}0]", r#"{"":0},"#.repeat(200_000));
        for read in [parse, parse_records] {
            let error = read(objects.as_bytes()).expect_err("1.4 MB and 80 MB of objects");
            assert!(is_too_large(&error), "{error}");
            assert!(read(format!("[{}0]", r#"{"":0},"#.repeat(20_000)).as_bytes()).is_ok());
            assert!(read(format!("[\"{}\"]", "x".repeat(16 << 20)).as_bytes()).is_ok());
            let error = read(format!("[{}0]", "1,".repeat(1 << 20)).as_bytes()).expect_err("a million numbers");
            assert!(is_too_large(&error), "{error}");
        }
        assert!(!is_too_large(&parse(b"{").expect_err("not JSON")));
    }

    #[test]
    fn values_are_compared_by_what_they_are_worth() {
        assert!(same(&read(r#"{"a":[1,1e0]}"#), &read(r#"{"a":[1.0,1]}"#)));
        assert!(!same(&read(r#"{"a":1}"#), &read(r#"{"b":1}"#)));
        assert!(!same(&read("9007199254740993"), &read("9007199254740992")));
        assert!(!same(&read("1"), &read("\"1\"")));
    }
}
