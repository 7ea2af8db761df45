//! Builds JSON Schemas, and checks values against them. A form is drawn from the same schema that checks its values.
//!
//! Only the keywords in `KEYWORDS` are supported, and a test checks that the manifest uses no others. A full
//! validator would be several times as large as this component.

use std::cell::RefCell;
use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::{Map, Number, Value, json};

use crate::error::{FieldProblem, problem};
use crate::json::{Decimal, child, from_members, same};

/// A JSON literal that is kept as text and parsed at run time. With `json!` instead, the manifest's literals would make
/// up most of the component's size.
macro_rules! literal {
    ($($json:tt)+) => {
        $crate::form::schema::parse(stringify!($($json)+))
    };
}
pub(crate) use literal;

/// The value of a [`literal!`]. A text that is not valid JSON becomes null. No schema and no sample is null, so the
/// tests find such a text.
#[inline(never)]
pub(crate) fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// The keywords that [`check`] understands. A test checks that the schemas use no others.
#[cfg(test)]
pub const KEYWORDS: [&str; 15] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "anyOf",
];
/// Keywords for a person or a form, which [`check`] ignores.
#[cfg(test)]
pub const ANNOTATIONS: [&str; 16] = [
    "$schema",
    "title",
    "description",
    "examples",
    "default",
    "format",
    "writeOnly",
    "deprecated",
    "x-help",
    "x-group",
    "x-visibility",
    "x-depends-on",
    "x-host",
    "x-options",
    "x-secret",
    "$comment",
];

/// The largest number of problems that are reported for one document.
const MOST_PROBLEMS: usize = 64;

// What makes parts of schemas is called some thousand times in the source and rarely at run time. Inlined, it would be a
// tenth of the component.

/// The schema of an object that may have only the given fields.
pub fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>, required: &[&str]) -> Value {
    object_of(from_members(fields), required, false)
}

#[inline(never)]
fn object_of(properties: Map<String, Value>, required: &[&str], is_open: bool) -> Value {
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": is_open });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// The schema of a service's object: it has the given fields, and may have others.
pub fn open_object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>, required: &[&str]) -> Value {
    object_of(from_members(fields), required, true)
}

/// The schema of a text.
#[inline(never)]
pub fn string(title: &str) -> Value {
    json!({ "type": "string", "title": title })
}

/// The schema of a text that must be one of `values`.
#[inline(never)]
pub fn one_of(title: &str, values: &[&str]) -> Value {
    json!({ "type": "string", "title": title, "enum": values })
}

/// The schema of true or false.
#[inline(never)]
pub fn boolean(title: &str) -> Value {
    json!({ "type": "boolean", "title": title })
}

/// The schema of a whole number from `minimum` to `maximum`.
#[inline(never)]
pub fn integer(title: &str, minimum: i64, maximum: i64) -> Value {
    json!({ "type": "integer", "title": title, "minimum": minimum, "maximum": maximum })
}

#[inline(never)]
pub fn list(title: &str, items: Value) -> Value {
    json!({ "type": "array", "title": title, "items": items })
}

/// The schema of an object with any members.
#[inline(never)]
pub fn any_object(title: &str) -> Value {
    json!({ "type": "object", "title": title, "additionalProperties": true })
}

/// The schema of any JSON value.
#[inline(never)]
pub fn any(title: &str) -> Value {
    json!({ "title": title })
}

/// Adds annotations and keywords to a schema.
#[inline(never)]
pub fn with(mut schema: Value, more: Value) -> Value {
    if let (Some(schema), Value::Object(more)) = (schema.as_object_mut(), more) {
        schema.extend(more);
    }
    schema
}

/// Adds a help text.
#[inline(never)]
pub fn help(schema: Value, text: &str) -> Value {
    with(schema, json!({ "description": text }))
}

/// Returns the problems of a document, each with a pointer to its place.
pub fn check(schema: &Value, document: &Value) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    walk(schema, document, "", &mut problems);
    problems
}

/// Rewrites `3.0` and `3e0` to `3` wherever the schema wants a whole number, because only `3` can be read into an
/// integer type. The document must fit the schema.
pub fn settle(schema: &Value, document: &mut Value) {
    match document {
        Value::Number(number) if schema.get("type").and_then(Value::as_str) == Some("integer") => {
            if let Some(whole) = Decimal::of(number).and_then(|number| number.as_i128()).and_then(Number::from_i128) {
                *number = whole;
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.get("items") {
                items.iter_mut().for_each(|item| settle(inner, item));
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(inner) = schema.get("properties").and_then(|properties| properties.get(name)) {
                    settle(inner, value);
                }
            }
        }
        _ => {}
    }
}

fn walk(schema: &Value, value: &Value, at: &str, problems: &mut Vec<FieldProblem>) {
    if problems.len() >= MOST_PROBLEMS {
        return;
    }
    if let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) {
        let fits = alternatives.iter().any(|alternative| {
            let mut inner = Vec::new();
            walk(alternative, value, at, &mut inner);
            inner.is_empty()
        });
        if !fits {
            problems.push(problem(at, "no-alternative", "must have one of the forms that are allowed here"));
        }
    }
    if !type_fits(schema.get("type"), value) {
        let wanted = type_names(schema.get("type"));
        problems.push(problem(at, "wrong-type", format!("must be {wanted}, and is {}", type_of(value))));
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.iter().any(|allowed| same(allowed, value))
    {
        let names: Vec<String> =
            allowed.iter().map(|allowed| allowed.as_str().map_or_else(|| allowed.to_string(), str::to_owned)).collect();
        problems.push(problem(at, "not-allowed", format!("must be one of {}", names.join(", "))));
    }
    if let Some(constant) = schema.get("const")
        && !same(constant, value)
    {
        problems.push(problem(at, "not-allowed", format!("must be {constant}")));
    }
    match value {
        Value::String(text) => check_text(schema, text, at, problems),
        Value::Number(number) => check_number(schema, number, at, problems),
        Value::Array(items) => check_list(schema, items, at, problems),
        Value::Object(members) => check_object(schema, members, at, problems),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_text(schema: &Value, text: &str, at: &str, problems: &mut Vec<FieldProblem>) {
    let length = text.chars().count() as u64;
    if let Some(least) = schema.get("minLength").and_then(Value::as_u64)
        && length < least
    {
        let message =
            if least == 1 { "must not be empty".to_owned() } else { format!("must have at least {least} characters") };
        problems.push(problem(at, "too-short", message));
        return;
    }
    if let Some(most) = schema.get("maxLength").and_then(Value::as_u64)
        && length > most
    {
        problems.push(problem(at, "too-long", format!("must have at most {most} characters, and has {length}")));
        return;
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !matches_pattern(pattern, text)
    {
        let rule = schema
            .get("$comment")
            .and_then(Value::as_str)
            .map_or_else(|| format!("must match {pattern}"), str::to_owned);
        problems.push(problem(at, "characters", rule));
    }
}

/// Whether a text matches a pattern of the connector's own schemas. Each pattern is compiled once for each instance.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<String, Regex>> = const { RefCell::new(BTreeMap::new()) };
    }
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(regex) = compiled.get(pattern) {
            return regex.is_match(text);
        }
        let Ok(regex) = Regex::new(pattern) else { return false };
        let matches = regex.is_match(text);
        compiled.insert(pattern.to_owned(), regex);
        matches
    })
}

fn check_number(schema: &Value, number: &Number, at: &str, problems: &mut Vec<FieldProblem>) {
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_number);
    let Some(value) = Decimal::of(number) else { return };
    if let Some(least) = bound("minimum")
        && Decimal::of(least).is_some_and(|least| value < least)
    {
        problems.push(problem(at, "too-small", format!("must be at least {least}")));
    }
    if let Some(most) = bound("maximum")
        && Decimal::of(most).is_some_and(|most| value > most)
    {
        problems.push(problem(at, "too-large", format!("must be at most {most}")));
    }
}

fn check_list(schema: &Value, items: &[Value], at: &str, problems: &mut Vec<FieldProblem>) {
    let length = items.len() as u64;
    if let Some(least) = schema.get("minItems").and_then(Value::as_u64)
        && length < least
    {
        problems.push(problem(at, "too-few", format!("must have at least {least} entries")));
    }
    if let Some(most) = schema.get("maxItems").and_then(Value::as_u64)
        && length > most
    {
        problems.push(problem(at, "too-many", format!("must have at most {most} entries, and has {length}")));
    }
    if let Some(inner) = schema.get("items") {
        for (index, item) in items.iter().enumerate() {
            walk(inner, item, &format!("{at}/{index}"), problems);
        }
    }
}

fn check_object(schema: &Value, members: &Map<String, Value>, at: &str, problems: &mut Vec<FieldProblem>) {
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            problems.push(problem(&child(at, name), "missing", "is missing"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    for (name, value) in members {
        match properties.and_then(|properties| properties.get(name)) {
            Some(inner) => walk(inner, value, &child(at, name), problems),
            None if closed => problems.push(problem(&child(at, name), "unknown-field", "there is no such field")),
            None => {
                if let Some(inner @ Value::Object(_)) = schema.get("additionalProperties") {
                    walk(inner, value, &child(at, name), problems);
                }
            }
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn type_fits(wanted: Option<&Value>, value: &Value) -> bool {
    let fits = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_number().and_then(Decimal::of).is_some_and(|number| number.is_whole()),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match wanted {
        None => true,
        Some(Value::String(name)) => fits(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(fits),
        Some(_) => false,
    }
}

fn type_names(wanted: Option<&Value>) -> String {
    let name = |name: &str| match name {
        "null" => "null",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text",
        "array" => "a list",
        _ => "an object",
    };
    match wanted {
        Some(Value::String(one)) => name(one).to_owned(),
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(name).collect::<Vec<_>>().join(" or "),
        _ => "something else".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_at_once_with_pointers() {
        let schema = object(
            [
                ("id", with(string("Id"), json!({ "minLength": 1, "maxLength": 4, "pattern": "^[a-z]+$" }))),
                ("count", integer("Count", 1, 10)),
                ("kind", one_of("Kind", &["a", "b"])),
                ("list", list("List", string("Entry"))),
                ("a/b", string("Slashed")),
            ],
            &["id", "count"],
        );
        let document = json!({ "id": "TOO LONG", "kind": "c", "list": ["x", 1], "a/b": 1, "more": true });
        let found: Vec<(String, String)> = check(&schema, &document).into_iter().map(|p| (p.pointer, p.code)).collect();
        let expected = [
            ("/count", "missing"),
            ("/a~1b", "wrong-type"),
            ("/id", "too-long"),
            ("/kind", "not-allowed"),
            ("/list/1", "wrong-type"),
            ("/more", "unknown-field"),
        ];
        for (pointer, code) in expected {
            assert!(found.contains(&(pointer.to_owned(), code.to_owned())), "{pointer} {code} in {found:?}");
        }
        assert_eq!(found.len(), expected.len());
    }

    #[test]
    fn what_fits_has_no_problem() {
        let schema = object([("n", integer("N", 0, 10)), ("any", any("Any"))], &["n"]);
        assert!(check(&schema, &json!({ "n": 3.0, "any": [null, { "x": 1 }] })).is_empty());
    }

    fn read(text: &str) -> Value {
        crate::json::parse(text.as_bytes()).expect("JSON")
    }

    #[test]
    fn numbers_are_judged_to_their_last_digit() {
        let schema = integer("N", 0, i64::MAX);
        let code = |text: &str| check(&schema, &read(text)).first().map(|problem| problem.code.clone());
        for (text, expected) in [
            ("9223372036854775807", None),
            ("9223372036854775807.0", None),
            ("9223372036854775808", Some("too-large")),
            ("1e400", Some("too-large")),
            ("-1", Some("too-small")),
            ("-0", None),
            ("1e2", None),
            ("120e-1", None),
            ("1.5", Some("wrong-type")),
            ("1.0000000000000000001", Some("wrong-type")),
            ("1e-400", Some("wrong-type")),
        ] {
            assert_eq!(code(text).as_deref(), expected, "{text}");
        }
        let fixed = json!({ "enum": [1, 2.5] });
        for (text, fits) in
            [("1.0", true), ("10e-1", true), ("2.50", true), ("2", false), ("1.0000000000000000001", false)]
        {
            assert_eq!(check(&fixed, &read(text)).is_empty(), fits, "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_read_however_they_are_written() {
        let schema =
            object([("n", integer("N", 0, 1000)), ("list", list("L", integer("N", 0, 9))), ("x", any("X"))], &[]);
        let mut document = read(r#"{"n":1e2,"list":[3.0,-0],"x":1e2}"#);
        settle(&schema, &mut document);
        assert_eq!(document.to_string(), r#"{"list":[3,0],"n":100,"x":1e+2}"#);
    }
}
