//! The schema and the paths of an event's data, taken from the newest events of the hub's log: only they show what the
//! account's own devices send.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::bindings::exports::workflow::connector::trigger::Payload;
use crate::error::{ErrorCode, Result};
use crate::json;
use crate::session::Session;
use crate::triggers;

/// The number of events that are looked at.
const EVENTS: u32 = 50;
/// The number of a body's levels that are described.
const LEVELS: usize = 16;
/// The largest number of members that are described for one object. Bodies with ids as names have any number.
const MEMBERS: usize = 200;

/// The data of the newest events that a log trigger delivers with this configuration. The filter is left out, because
/// the person may be writing it.
///
/// # Errors
/// The errors of the hub.
pub fn samples(session: &Session, trigger: &str, partial: &Map<String, Value>) -> Result<Vec<Value>> {
    let members = |names: &[&str]| -> Value {
        let taken = partial.iter().filter(|(name, _)| names.contains(&name.as_str()));
        taken.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
    };
    let configs =
        [members(&["consumerGroup", "deviceIds", "moduleIds", "fields"]), members(&["consumerGroup"]), json!({})];
    for config in configs {
        match triggers::live_events(session, trigger, &config.to_string(), EVENTS) {
            Ok(events) => {
                let data = events.into_iter().filter_map(|event| match event.data {
                    Payload::Json(text) => json::parse(text.as_bytes()).ok(),
                    Payload::Text(_) | Payload::Bytes(_) => None,
                });
                return Ok(data.collect());
            }
            // A form that is half filled in may not fit yet.
            Err(error) if error.code() == ErrorCode::InvalidConfig => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Vec::new())
}

/// Describes the body and the properties of the samples in the schema of the data, and the fields that the form
/// declares. No member is required, because other events may lack it.
pub fn refine(mut schema: Value, samples: &[Value], partial: &Map<String, Value>) -> Value {
    for part in ["body", "properties", "systemProperties"] {
        let shape =
            samples.iter().filter_map(|sample| sample.get(part)).map(|value| infer(value, LEVELS)).reduce(merge);
        if let (Some(Value::Object(shape)), Some(slot)) =
            (shape, schema.pointer_mut(&format!("/properties/{part}")).and_then(Value::as_object_mut))
        {
            slot.extend(shape);
        }
    }
    let declared = partial.get("fields").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let fields: Map<String, Value> = declared
        .iter()
        .filter_map(|field| field.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()))
        .map(|name| {
            let values = samples.iter().filter_map(|sample| sample.get("fields")?.get(name));
            (name.to_owned(), values.map(|value| infer(value, LEVELS)).reduce(merge).unwrap_or_else(|| json!({})))
        })
        .collect();
    if !fields.is_empty()
        && let Some(slot) = schema.pointer_mut("/properties/fields").and_then(Value::as_object_mut)
    {
        slot.insert("properties".to_owned(), fields.into());
    }
    schema
}

/// The paths to the values in the samples, as the trigger's conditions write them, in alphabetical order.
pub fn paths(samples: &[Value]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for sample in samples {
        if let Some(body) = sample.get("body") {
            leaves(body, String::new(), LEVELS, &mut found);
        }
        for name in sample.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            found.insert(format!("/$properties/{name}"));
        }
    }
    found.into_iter().collect()
}

fn leaves(value: &Value, path: String, levels: usize, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) if levels > 0 => {
            for (name, member) in members.iter().take(MEMBERS) {
                leaves(member, json::child(&path, name), levels - 1, found);
            }
        }
        // A list is described by its first item: conditions name one item.
        Value::Array(items) if levels > 0 => {
            if let Some(first) = items.first() {
                leaves(first, format!("{path}/0"), levels - 1, found);
            }
        }
        _ if path.is_empty() => {}
        _ => drop(found.insert(path)),
    }
}

/// The schema of one value.
fn infer(value: &Value, levels: usize) -> Value {
    let Some(levels) = levels.checked_sub(1) else { return json!({}) };
    match value {
        Value::Object(members) if members.len() <= MEMBERS => {
            let members: Map<String, Value> =
                members.iter().map(|(name, value)| (name.clone(), infer(value, levels))).collect();
            json!({ "type": "object", "properties": members, "additionalProperties": true })
        }
        Value::Object(_) => json!({ "type": "object", "additionalProperties": true }),
        Value::Array(items) => match items.iter().map(|item| infer(item, levels)).reduce(merge) {
            Some(items) => json!({ "type": "array", "items": items }),
            None => json!({ "type": "array" }),
        },
        Value::String(_) => json!({ "type": "string" }),
        // If this value is a whole number, a later value may still be a fraction.
        Value::Number(_) => json!({ "type": "number" }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Null => json!({ "type": "null" }),
    }
}

/// The schema that both values fit. Types that differ are left open, except that a value may be null.
fn merge(one: Value, other: Value) -> Value {
    if one == other {
        return one;
    }
    let kind = |schema: &Value| schema.get("type").and_then(Value::as_str).map(str::to_owned);
    match (kind(&one), kind(&other)) {
        (Some(a), Some(b)) if a == "object" && b == "object" => {
            let mut merged = one;
            let others = other.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            let Some(members) = merged.get_mut("properties").and_then(Value::as_object_mut) else { return merged };
            for (name, schema) in others {
                let joined = match members.remove(&name) {
                    Some(own) => merge(own, schema),
                    None => schema,
                };
                if members.len() < MEMBERS {
                    members.insert(name, joined);
                }
            }
            merged
        }
        (Some(a), Some(b)) if a == "array" && b == "array" => match (one.get("items"), other.get("items")) {
            (Some(own), Some(others)) => json!({ "type": "array", "items": merge(own.clone(), others.clone()) }),
            (Some(items), None) | (None, Some(items)) => json!({ "type": "array", "items": items }),
            (None, None) => one,
        },
        (Some(a), Some(b)) if a == "null" || b == "null" => {
            let mut kept = if a == "null" { other } else { one };
            kept["type"] = json!([if a == "null" { b } else { a }, "null"]);
            kept
        }
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_several_shapes_make_one_schema() {
        let samples = [
            json!({ "body": { "t": 1, "n": null, "m": { "rpm": 5 }, "l": [1, 2] }, "properties": { "level": "high" }, "fields": { "t": 1 } }),
            json!({ "body": { "t": 1.5, "n": "x", "m": { "on": true }, "l": ["a"] }, "properties": {}, "fields": {} }),
        ];
        let schema = json!({ "properties": { "body": { "title": "Body" }, "properties": { "type": "object" }, "fields": { "type": "object" } } });
        let partial =
            json!({ "fields": [{ "name": "t", "path": "/t" }, { "name": "u", "path": "/u" }, { "name": "" }, 5] });
        let refined = refine(schema, &samples, partial.as_object().expect("an object"));
        let body = refined.pointer("/properties/body").expect("the body");
        assert_eq!(body["title"], "Body");
        assert_eq!(body["properties"]["t"], json!({ "type": "number" }));
        assert_eq!(body["properties"]["n"], json!({ "type": ["string", "null"] }));
        assert_eq!(body["properties"]["m"]["properties"].as_object().map(Map::len), Some(2));
        assert_eq!(body["properties"]["l"], json!({ "type": "array", "items": {} }));
        assert_eq!(refined["properties"]["properties"]["properties"], json!({ "level": { "type": "string" } }));
        assert_eq!(refined["properties"]["fields"]["properties"], json!({ "t": { "type": "number" }, "u": {} }));
        assert_eq!(paths(&samples), ["/$properties/level", "/l/0", "/m/on", "/m/rpm", "/n", "/t"]);
    }

    #[test]
    fn bodies_without_an_end_are_described_in_part() {
        let deep = format!("{}1{}", r#"{"a":["#.repeat(50), "]}".repeat(50));
        let deep = json!({ "body": crate::json::parse(deep.as_bytes()).expect("JSON") });
        let many: Map<String, Value> = (0..5_000).map(|n| (format!("id-{n}"), json!(n))).collect();
        let many = json!({ "body": { "by": many } });
        for sample in [deep, many] {
            let schema = json!({ "properties": { "body": { "title": "Body" } } });
            let refined = refine(schema, std::slice::from_ref(&sample), &Map::new()).to_string();
            assert_eq!(connector_rules::json::check(&refined), Ok(()));
            assert!(refined.len() < 20_000, "{}", refined.len());
            assert!(paths(&[sample]).len() <= MEMBERS);
        }
    }

    #[test]
    fn scalars_and_lists_have_no_path_of_their_own() {
        assert_eq!(paths(&[json!({ "body": 5 }), json!({ "body": [{ "a/b": 1 }] }), json!(7)]), ["/0/a~1b"]);
    }
}
