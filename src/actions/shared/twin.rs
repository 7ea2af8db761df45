//! Writes the tags and the desired properties of a device's or a module's twin.

use serde_json::{Map, Value, json};

use super::change::set;
use super::declaration::{Field, Limit, optional, required};
use super::input::Input;
use crate::error::{EffectState, Error, ErrorCode, Result};
use crate::form::fields;
use crate::form::schema::{any_object, literal, string, with};
use crate::iothub::{TwinPart, check_patch};
use crate::json;
use crate::platform::Method;
use crate::session::Session;

/// Members of desired properties that only the hub writes. An input that is a twin that was read has them.
const NOTES: [&str; 2] = ["$metadata", "$version"];

/// A change of the tags.
pub const TAGS: Field = optional("tags", tags);
/// A change of the desired properties.
pub const DESIRED: Field = optional("desired", desired);
/// All tags of a twin.
pub const ALL_TAGS: Field = required("tags", all_tags);
/// All desired properties of a twin.
pub const ALL_DESIRED: Field = required("desired", all_desired);

/// The limits of actions that write twins.
pub const LIMITS: &[Limit] = &[
    super::limits::TWIN_UPDATES,
    ("Tags", 8 * 1024, "bytes"),
    ("Desired properties", 32 * 1024, "bytes"),
    ("Levels of nesting", 10, "items"),
    ("Length of a key", 1024, "bytes"),
    ("Length of a text", 4096, "bytes"),
];

fn part(title: &str, text: &str, example: Value) -> Value {
    with(any_object(title), json!({ "description": text, "examples": [example] }))
}

fn tags() -> Value {
    part(
        "Tags",
        "What the cloud's side notes about the device, which does not see it.",
        literal!({ "site": "north", "line": null }),
    )
}

fn desired() -> Value {
    part(
        "Desired properties",
        "How the device should be. `$metadata` and `$version` of a twin that was read are left out.",
        literal!({ "intervalSeconds": 30 }),
    )
}

fn all_tags() -> Value {
    part("Tags", "All tags that the twin has afterwards. `{}`: none.", literal!({ "site": "north" }))
}

fn all_desired() -> Value {
    part(
        "Desired properties",
        "All desired properties that the twin has afterwards. `{}`: none. `$metadata` and `$version` of a twin that was read are left out.",
        literal!({ "intervalSeconds": 30 }),
    )
}

/// A module twin as the hub returns it.
pub fn module_output() -> Value {
    let mut schema = fields::twin_output();
    set(&mut schema, &["properties", "moduleId"], string("Module id"));
    schema
}

/// An example of [`module_output`].
pub fn module_sample() -> Value {
    with(fields::twin_sample(), literal!({ "moduleId": "cooling" }))
}

/// What a change does with members that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// They stay.
    Keep,
    /// They are removed.
    Remove,
}

/// The tags and desired properties of an input, in the form of the service's twin.
///
/// # Errors
/// `invalid-input` with every member that no twin could have.
pub fn document(input: &Input, unnamed: Unnamed) -> Result<Value> {
    let mut twin = Value::Object(Map::new());
    let mut problems = Vec::new();
    for (part, name, path) in
        [(TwinPart::Tags, "tags", ["tags"].as_slice()), (TwinPart::Desired, "desired", &["properties", "desired"])]
    {
        let mut members = input.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        if part == TwinPart::Desired {
            for note in NOTES {
                members.remove(note);
            }
        }
        if !members.is_empty() || unnamed == Unnamed::Remove {
            let members = Value::Object(members);
            problems.extend(check_patch(part, &members, &format!("/{name}")));
            set(&mut twin, path, members);
        }
    }
    if !problems.is_empty() {
        return Err(Error::fields(ErrorCode::InvalidInput, "The twin cannot be changed in this way", problems));
    }
    if twin.as_object().is_some_and(Map::is_empty) {
        return Err(Error::field("", "nothing-to-change", "must state at least one change"));
    }
    Ok(twin)
}

/// Writes the twin that the input names, and returns it. If no answer shows whether the change was made, the twin is
/// read: a twin that is as it was to be counts as written.
///
/// # Errors
/// `invalid-input`, `precondition-failed`, `not-found`, and the errors of the service.
pub fn write(session: &Session, input: &Input, unnamed: Unnamed) -> Result<Value> {
    let id = input.identity()?;
    let if_match = input.if_match()?;
    let twin = document(input, unnamed)?;
    let method = match unnamed {
        Unnamed::Keep => Method::Patch,
        Unnamed::Remove => Method::Put,
    };
    let hub = session.hub();
    match hub.write_twin(&id, method, twin.clone(), &if_match) {
        Ok(written) => Ok(written.document),
        Err(error) if error.record().effect == EffectState::Unknown => match hub.twin_of(&id) {
            Ok(found) if holds(&found.document, &twin, unnamed) => Ok(found.document),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Whether the twin that was read is as it was to be.
fn holds(found: &Value, wanted: &Value, unnamed: Unnamed) -> bool {
    ["/tags", "/properties/desired"].into_iter().all(|part| match wanted.pointer(part) {
        Some(wanted) => agrees(found.pointer(part), wanted, unnamed),
        None => true,
    })
}

/// Whether `found` has what is `wanted`; where unnamed members are removed, it must have nothing else. A null stands for
/// an absent member.
pub fn agrees(found: Option<&Value>, wanted: &Value, unnamed: Unnamed) -> bool {
    match (found, wanted) {
        (None | Some(Value::Null), Value::Null) => true,
        (None | Some(Value::Null), Value::Object(wanted)) => {
            unnamed == Unnamed::Remove && wanted.values().all(|value| agrees(None, value, unnamed))
        }
        (Some(Value::Object(found)), Value::Object(wanted)) => {
            let known = |(name, value): (&String, &Value)| {
                value.is_null() || wanted.contains_key(name) || NOTES.contains(&name.as_str())
            };
            wanted.iter().all(|(name, value)| agrees(found.get(name), value, unnamed))
                && (unnamed == Unnamed::Keep || found.iter().all(known))
        }
        (Some(found), wanted) => json::same(found, wanted),
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_agrees_with_what_was_written() {
        let twin = json!({ "a": 1, "b": { "c": [1, 2] }, "$version": 3, "$metadata": {} });
        let table = [
            (json!({ "a": 1.0 }), true, false),
            (json!({ "a": 1, "gone": null }), true, false),
            (json!({ "a": 1, "b": { "c": [1, 2] } }), true, true),
            (json!({ "a": 1, "b": { "c": [1, 2] }, "gone": null }), true, true),
            (json!({ "a": null, "b": { "c": [1, 2] } }), false, false),
            (json!({ "b": { "c": [1] } }), false, false),
            (json!({ "d": {} }), false, false),
            (json!({ "a": 1, "b": { "c": [1, 2] }, "d": {} }), false, true),
            (json!({ "a": { "x": 1 } }), false, false),
        ];
        for (wanted, kept, removed) in table {
            assert_eq!(agrees(Some(&twin), &wanted, Unnamed::Keep), kept, "{wanted}");
            assert_eq!(agrees(Some(&twin), &wanted, Unnamed::Remove), removed, "{wanted}");
        }
    }
}
