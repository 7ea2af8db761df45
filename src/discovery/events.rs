//! The schema and the paths of an event's data, taken from the newest events of the hub's log: only they show what the
//! account's own devices send.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::inferred::{self, Part};
use crate::bindings::exports::workflow::connector::trigger::Payload;
use crate::error::{ErrorCode, Result};
use crate::json::{self, from_members};
use crate::session::Session;
use crate::triggers;

/// The number of events that are looked at.
const EVENTS: u32 = 50;

/// The data of the newest events that a log trigger delivers with this configuration. The filter is left out, because
/// the person may be writing it.
///
/// # Errors
/// The errors of the hub.
pub fn samples(session: &Session, trigger: &str, partial: &Map<String, Value>) -> Result<Vec<Value>> {
    let members = |names: &[&str]| -> Value {
        let taken = partial.iter().filter(|(name, _)| names.contains(&name.as_str()));
        from_members(taken.map(|(name, value)| (name.as_str(), value.clone()))).into()
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
        let shape = of_all(samples.iter().filter_map(|sample| sample.get(part)));
        if let (Some(Value::Object(shape)), Some(slot)) =
            (shape, schema.pointer_mut(&format!("/properties/{part}")).and_then(Value::as_object_mut))
        {
            slot.extend(shape);
        }
    }
    let declared = partial.get("fields").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let names = declared.iter().filter_map(|field| field.get("name")?.as_str()).filter(|name| !name.is_empty());
    let fields = from_members(names.map(|name| {
        let values = samples.iter().filter_map(|sample| sample.get("fields")?.get(name));
        (name, of_all(values).unwrap_or_else(|| json!({})))
    }));
    if !fields.is_empty()
        && let Some(slot) = schema.pointer_mut("/properties/fields").and_then(Value::as_object_mut)
    {
        slot.insert("properties".to_owned(), fields.into());
    }
    schema
}

/// The schema that all of the values fit. None without a value.
fn of_all<'v>(values: impl Iterator<Item = &'v Value>) -> Option<Value> {
    values.map(|value| inferred::schema(Part::Event, value)).reduce(inferred::merge)
}

/// The paths to the values in the samples, as the trigger's conditions write them, in alphabetical order.
pub fn paths(samples: &[Value]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for sample in samples {
        if let Some(body) = sample.get("body") {
            inferred::paths(Part::Event, body, String::new(), &mut found);
        }
        for name in sample.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            found.insert(format!("/$properties/{name}"));
        }
    }
    found.into_iter().collect()
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
            assert!(paths(&[sample]).len() <= 200);
        }
    }

    #[test]
    fn nulls_and_lists_are_described_by_all_their_values() {
        let sample = json!({ "body": {
            "none": null, "nulls": [null], "some": [1, null], "mixed": [1, "x", null], "$version": 1, "empty": {}, "list": [],
            "$metadata": { "a": 1 }, "of": [{ "a": 1 }, { "a": null, "b": true }],
        } });
        let schema = json!({ "properties": { "body": {} } });
        let refined = refine(schema, std::slice::from_ref(&sample), &Map::new());
        let open = |members: Value| json!({ "type": "object", "properties": members, "additionalProperties": true });
        assert_eq!(
            refined["properties"]["body"]["properties"],
            json!({
                "none": { "type": "null" },
                "nulls": { "type": "array", "items": { "type": "null" } },
                "some": { "type": "array", "items": { "type": ["number", "null"] } },
                "mixed": { "type": "array", "items": {} },
                "$version": { "type": "number" },
                "empty": open(json!({})),
                "list": { "type": "array" },
                "$metadata": open(json!({ "a": { "type": "number" } })),
                "of": { "type": "array", "items": open(json!({ "a": { "type": ["number", "null"] }, "b": { "type": "boolean" } })) },
            })
        );
        assert_eq!(
            paths(&[sample]),
            ["/$metadata/a", "/$version", "/mixed/0", "/none", "/nulls/0", "/of/0/a", "/some/0"]
        );
    }

    #[test]
    fn scalars_and_lists_have_no_path_of_their_own() {
        assert_eq!(paths(&[json!({ "body": 5 }), json!({ "body": [{ "a/b": 1 }] }), json!(7)]), ["/0/a~1b"]);
    }
}
