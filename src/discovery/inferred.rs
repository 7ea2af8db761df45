//! Schemas and paths that are taken from values: of an event's data, and of a twin's tags and properties.
//!
//! No member is required in these schemas, because other events and twins may lack it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::json::{child, from_members};

/// The number of a value's levels that are described. Each takes two or three levels of the schema.
const LEVELS: usize = 16;
/// The largest number of members that are described for one object of an event. Bodies with ids as names have any
/// number.
const MEMBERS: usize = 200;

/// What the values belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A part of an event. Many events are at hand, so a schema is made of all values of a member.
    #[cfg_attr(not(feature = "amqp"), expect(dead_code, reason = "events come over AMQP"))]
    Event,
    /// A part of a twin. Its members `$metadata` and `$version` are the hub's own.
    Twin,
}

/// The schema of one value.
pub fn schema(part: Part, value: &Value) -> Value {
    of_value(part, "", value, LEVELS)
}

/// The schemas of an object's members, by name.
pub fn members(part: Part, members: &Map<String, Value>) -> Map<String, Value> {
    of_members(part, members, LEVELS)
}

fn of_members(part: Part, members: &Map<String, Value>, levels: usize) -> Map<String, Value> {
    from_members(members.iter().map(|(name, value)| (name.as_str(), of_value(part, name, value, levels))))
}

fn of_value(part: Part, name: &str, value: &Value, levels: usize) -> Value {
    let Some(levels) = levels.checked_sub(1) else { return json!({}) };
    let is_twin = part == Part::Twin;
    match value {
        // The hub's metadata only mirrors the structure of the properties.
        Value::Object(_) if is_twin && name == "$metadata" => json!({ "type": "object", "additionalProperties": true }),
        Value::Number(_) if is_twin && name == "$version" => json!({ "type": "integer" }),
        Value::Object(members) if is_twin || members.len() <= MEMBERS => {
            json!({ "type": "object", "properties": of_members(part, members, levels), "additionalProperties": true })
        }
        Value::Object(_) => json!({ "type": "object", "additionalProperties": true }),
        Value::Array(items) => {
            let mut shapes = items.iter().map(|item| of_value(part, "", item, levels));
            let items = if is_twin {
                // Items of several shapes are not described: only one twin is at hand.
                shapes.next().filter(|first| shapes.all(|shape| shape == *first))
            } else {
                shapes.reduce(merge)
            };
            match items {
                Some(items) => json!({ "type": "array", "items": items }),
                None => json!({ "type": "array" }),
            }
        }
        Value::String(_) => json!({ "type": "string" }),
        // If this value is a whole number, a later value may still be a fraction.
        Value::Number(_) => json!({ "type": "number" }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        // One null tells nothing about the type. Among many values it tells that the member may be null.
        Value::Null if is_twin => json!({}),
        Value::Null => json!({ "type": "null" }),
    }
}

/// The schema that the values of both schemas fit. Types that differ are left open, except that a value may be null.
pub fn merge(one: Value, other: Value) -> Value {
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

/// Adds the paths to the values in `value` to those that were found.
pub fn paths(part: Part, value: &Value, path: String, found: &mut BTreeSet<String>) {
    leaves(part, value, path, LEVELS, found);
}

fn leaves(part: Part, value: &Value, path: String, levels: usize, found: &mut BTreeSet<String>) {
    let is_twin = part == Part::Twin;
    match value {
        Value::Object(members) if levels > 0 && !(is_twin && members.is_empty()) => {
            let described = if is_twin { members.len() } else { MEMBERS };
            // A name with `$` is the hub's own.
            let members = members.iter().take(described).filter(|(name, _)| !(is_twin && name.starts_with('$')));
            for (name, member) in members {
                leaves(part, member, child(&path, name), levels - 1, found);
            }
        }
        // A list in an event is described by its first item, because a condition names one item.
        Value::Array(items) if levels > 0 && !is_twin => {
            if let Some(first) = items.first() {
                leaves(part, first, format!("{path}/0"), levels - 1, found);
            }
        }
        _ if path.is_empty() => {}
        _ => drop(found.insert(path)),
    }
}
