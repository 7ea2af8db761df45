//! The schema of a twin's tags and properties, taken from an existing twin: only the account's own devices show which
//! tags and properties they have.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::error::{ErrorCode, Result};
use crate::iothub::DeviceId;
use crate::session::Session;

/// The number of a twin's levels that the schema describes. The hub accepts ten levels, and each takes two or three
/// levels of the schema.
const LEVELS: usize = 16;

/// The example twin: the twin of the device in the form, or the first twin that the form's condition selects. None if
/// no such twin exists.
///
/// # Errors
/// The errors of IoT Hub.
pub fn example(session: &Session, partial: &Map<String, Value>) -> Result<Option<Value>> {
    let text = |name: &str| partial.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(id) = text("deviceId") {
        // The id may be incomplete, because the form is still being filled in.
        let Ok(id) = DeviceId::parse(id, "/partial/deviceId") else { return Ok(None) };
        return match session.hub().twin(&id) {
            Ok(found) => Ok(Some(found.document)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        };
    }
    let query = match text("condition") {
        Some(condition) => format!("SELECT * FROM devices WHERE ({condition})"),
        None => "SELECT * FROM devices".to_owned(),
    };
    Ok(session.hub().query(&query, 1, None)?.items.into_iter().next())
}

/// The paths to the values in the tags and properties of twins, as JSON pointers into a twin, in alphabetical order.
/// The hub's own metadata is left out.
pub fn paths(twins: &[Value]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for twin in twins {
        for part in ["/tags", "/properties/desired", "/properties/reported"] {
            if let Some(members) = twin.pointer(part).and_then(Value::as_object) {
                leaves(members, part, LEVELS, &mut found);
            }
        }
    }
    found.into_iter().collect()
}

fn leaves(members: &Map<String, Value>, path: &str, levels: usize, found: &mut BTreeSet<String>) {
    for (name, value) in members.iter().filter(|(name, _)| !name.starts_with('$')) {
        let path = crate::json::child(path, name);
        match value {
            Value::Object(members) if levels > 0 && !members.is_empty() => leaves(members, &path, levels - 1, found),
            _ => drop(found.insert(path)),
        }
    }
}

/// Adds the twin's members to the schema. The members are not required, because other devices may lack them.
pub fn refine(mut schema: Value, twin: &Value) -> Value {
    let base = if schema.pointer("/properties/twin").is_some() { "/properties/twin" } else { "" };
    for (place, part) in [
        ("/properties/tags", "/tags"),
        ("/properties/properties/properties/desired", "/properties/desired"),
        ("/properties/properties/properties/reported", "/properties/reported"),
    ] {
        let (Some(members), Some(slot)) = (
            twin.pointer(part).and_then(Value::as_object),
            schema.pointer_mut(&format!("{base}{place}")).and_then(Value::as_object_mut),
        ) else {
            continue;
        };
        slot.insert("properties".to_owned(), properties(members, LEVELS));
    }
    schema
}

fn properties(members: &Map<String, Value>, levels: usize) -> Value {
    members.iter().map(|(name, value)| (name.clone(), infer(name, value, levels))).collect::<Map<_, _>>().into()
}

fn infer(name: &str, value: &Value, levels: usize) -> Value {
    let Some(levels) = levels.checked_sub(1) else { return json!({}) };
    match value {
        // The hub's metadata only mirrors the structure of the properties.
        Value::Object(_) if name == "$metadata" => json!({ "type": "object", "additionalProperties": true }),
        Value::Number(_) if name == "$version" => json!({ "type": "integer" }),
        Value::Object(members) => {
            json!({ "type": "object", "properties": properties(members, levels), "additionalProperties": true })
        }
        Value::Array(items) => {
            let mut shapes = items.iter().map(|item| infer("", item, levels));
            match shapes.next() {
                Some(first) if shapes.all(|shape| shape == first) => json!({ "type": "array", "items": first }),
                _ => json!({ "type": "array" }),
            }
        }
        Value::String(_) => json!({ "type": "string" }),
        // If this value is a whole number, a later value may still be a fraction.
        Value::Number(_) => json!({ "type": "number" }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Null => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each level of a twin takes two levels of the schema, and the schema must not exceed the interface's limit of
    /// levels.
    #[test]
    fn the_schema_of_a_deep_twin_can_be_read() {
        for (open, close) in [(r#"{"a":"#, "}"), ("[", "]")] {
            let deep = format!(r#"{{"tags":{{"x":{}1{}}}}}"#, open.repeat(120), close.repeat(120));
            let twin = crate::json::parse(deep.as_bytes()).expect("JSON");
            let schema = json!({ "properties": { "twin": { "properties": { "tags": { "type": "object" } } } } });
            let refined = refine(schema, &twin);
            assert!(refined.pointer("/properties/twin/properties/tags/properties/x/type").is_some());
            assert_eq!(connector_rules::json::check(&refined.to_string()), Ok(()));
        }
    }
}
