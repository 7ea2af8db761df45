//! The schema of a twin's tags and properties, taken from an existing twin: only the account's own devices show which
//! tags and properties they have.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::inferred::{self, Part};
use crate::error::{ErrorCode, Result};
use crate::iothub::DeviceId;
use crate::json::child;
use crate::session::Session;

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
            let members = twin.pointer(part).and_then(Value::as_object).into_iter().flatten();
            for (name, value) in members.filter(|(name, _)| !name.starts_with('$')) {
                inferred::paths(Part::Twin, value, child(part, name), &mut found);
            }
        }
    }
    found.into_iter().collect()
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
        slot.insert("properties".to_owned(), inferred::members(Part::Twin, members).into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
