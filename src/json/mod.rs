//! JSON whose numbers keep every digit that was written.
//!
//! A double holds 15 to 17 digits, but services and devices write longer numbers: serial numbers, counters, amounts. So
//! `serde_json` keeps the text of each number (its feature `arbitrary_precision`), and [`Decimal`] compares numbers.
//! Only the exponent is rewritten (`1E5` as `1e+5`); all digits stay.
//!
//! `serde_json` passes numbers and raw texts between its own types as objects with an internal key, and takes every
//! object with that key for such a value. So documents from outside are read by [`parse`], which distinguishes the two
//! cases.

mod decimal;
mod texts;
mod writer;

use std::cell::Cell;
use std::fmt;

use connector_rules::json::{DEEPEST, has_levels};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

pub use decimal::Decimal;
pub use texts::texts_of_records;
pub use writer::{ObjectWriter, put_text};

/// The key under which `serde_json` passes on a number that is not an integer of 64 bits.
const NUMBER: &str = "$serde_json::private::Number";

/// The only member of an object that replaces a value nested too deep. The member holds the value's text.
pub const FOLDED: &str = "$tooDeep";

/// How many levels a record of a service may have. It is less than a whole text may have, because the record becomes
/// part of an event or an output.
pub const RECORD_LEVELS: usize = DEEPEST - 4;

/// How much memory one document may take up, in bytes: half of what an instance usually has.
const MOST_MEMORY: usize = 32 << 20;
/// How much a value counts in addition to its text, in bytes: its own size, and the allocator's overhead.
const VALUE_MEMORY: usize = 48;
/// How much an object's members count in addition, in bytes: the first member allocates room for eleven, which takes
/// 316 bytes on 32-bit systems.
const MEMBERS_MEMORY: usize = 352;
/// Why valid JSON was not read.
const TOO_LARGE: &str = "it takes up too much memory";

/// Reads a document: any JSON that is nested up to 127 levels and does not take up too much memory.
///
/// # Errors
/// Where the text is not such a document; [`is_too_large`] tells whether memory is the reason.
pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    read(text, &Budget::new(false), DEEPEST)
}

/// Reads records of a service: each record of a list, or the only record. If a value in a record is nested deeper than
/// [`RECORD_LEVELS`], an object with its text as [`FOLDED`] replaces the value. So one record cannot prevent the others
/// from being read, and each record can be passed on.
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

/// Whether a document was refused because of the memory it takes up, and not because it is invalid.
pub fn is_too_large(error: &serde_json::Error) -> bool {
    error.to_string().contains(TOO_LARGE)
}

/// Whether a part of a value was kept as text, so that the value must not be written back.
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

/// The JSON Pointer (RFC 6901) to the member `name` of the value at `at`.
pub fn child(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Removes a member from an object; null if there is no such member. A caller may put any JSON there, so the member
/// must not pass through `serde`'s own types, which lose the sign of zero and refuse integers of more than 64 bits.
pub fn take(object: &mut Value, name: &str) -> Value {
    object.as_object_mut().and_then(|members| members.remove(name)).unwrap_or_default()
}

/// As [`take`], but none if there is no such member or the member is null.
pub fn take_some(object: &mut Value, name: &str) -> Option<Value> {
    Some(take(object, name)).filter(|value| !value.is_null())
}

/// As [`take`], for a member that is an object: returns that object's members.
pub fn take_members(object: &mut Value, name: &str) -> Map<String, Value> {
    match take(object, name) {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// An object of these members; of two with one name, the later. `collect` would sort them first, and compile a sort of 5 KB
/// for each kind of iterator.
pub fn from_members<N: Into<String>>(members: impl IntoIterator<Item = (N, Value)>) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, value) in members {
        object.insert(name.into(), value);
    }
    object
}

/// A member, whether its name is written in upper or lower case. None where it is null.
pub fn member_in_any_case<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let members = value.as_object()?;
    let found = members.get(name);
    let found =
        found.or_else(|| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value));
    found.filter(|value| !value.is_null())
}

/// Whether two values are equal. Numbers are compared by value: `1`, `1.0` and `1e0` are equal.
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

/// What reading one text may still use.
struct Budget {
    memory_left: Cell<usize>,
    /// Whether values that are nested too deep are kept as text.
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

/// A list of records, each read separately.
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

/// A value that is read without a change, and may have this many levels.
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

    /// A value on the last level: if it has more levels than are left, it is kept as text.
    fn folded<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if has_levels(raw, self.levels) {
            return self.deserialize(&mut serde_json::Deserializer::from_str(raw)).map_err(D::Error::custom);
        }
        self.budget.take(VALUE_MEMORY + MEMBERS_MEMORY + raw.len())?;
        Ok(Value::Object(from_members([(FOLDED, raw.into())])))
    }
}

impl<'de> DeserializeSeed<'de> for Exact<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A value inside another value.
struct Inner<'b>(Exact<'b>);

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        // The object that replaces a value nested too deep takes up one level itself.
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
        // An empty object has no member that would have checked the level.
        self.inner().map(|_: Self| all.into())
    }
}

/// A value under the internal key of `serde_json`.
enum Handover {
    /// The text of a number, from `serde_json` itself.
    Number(Number),
    /// A member of a document that happens to have this name.
    Member(Value),
}

/// Distinguishes the two cases: the deserializer of a document calls the visitor for newtypes, that of a number's text
/// in memory calls the visitor for texts.
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
        // The value is the same, with all digits.
        assert_eq!(read("[1E5,1e400]").to_string(), "[1e+5,1e+400]");
        let long = "7".repeat(100_000);
        assert_eq!(read(&long).to_string(), long);
    }

    /// `serde_json`'s own reader would turn these documents into numbers, other documents or errors.
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

    /// Two lists as the services send them: a record that was nested too deep made all other records unreadable.
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
            // Nothing is lost: the text holds the remaining levels.
            let folded = (0..RECORD_LEVELS - 2).fold(&records[0]["deep"], |value, _| &value["a"]);
            assert_eq!(folded[FOLDED], nested(levels - RECORD_LEVELS + 1), "{levels}");
        }
        assert!(parse_records(format!("{}1", "[".repeat(400)).as_bytes()).is_err(), "not JSON");
    }

    /// A small text with many values: the instance ran out of memory, and each further poll did again.
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
