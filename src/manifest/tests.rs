//! Tests that the descriptor contains only what the connector and engines understand.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::account;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Operation};
use crate::form::schema::{ANNOTATIONS, KEYWORDS, check};
use crate::manifest::{action_descriptors, operations, permissions, trigger_descriptors};

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Calls `visit` for a schema and all schemas in it.
pub(crate) fn walk(schema: &Value, at: &str, visit: &mut dyn FnMut(&Value, &str)) {
    visit(schema, at);
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(inner, &format!("{at}/properties/{name}"), visit);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner @ Value::Object(_)) = schema.get(name) {
            walk(inner, &format!("{at}/{name}"), visit);
        }
    }
    for (index, inner) in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten().enumerate() {
        walk(inner, &format!("{at}/anyOf/{index}"), visit);
    }
}

/// Fails if a schema uses a keyword that is not understood.
pub fn understood(schema: &Value, what: &str) {
    walk(schema, "", &mut |schema, at| {
        for name in schema.as_object().unwrap_or_else(|| panic!("{what}{at} is no object")).keys() {
            let known = KEYWORDS.contains(&name.as_str()) || ANNOTATIONS.contains(&name.as_str());
            assert!(known, "{what}{at}: `{name}`");
        }
    });
}

fn kebab(id: &str) -> bool {
    id.split('-').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

#[test]
fn schemas_use_only_what_is_understood() {
    for operation in operations() {
        understood(&parse(&operation.input_schema), &format!("{} input ", operation.id));
        understood(&parse(&operation.output_schema), &format!("{} output ", operation.id));
    }
    for profile in account::profiles() {
        understood(&parse(&profile.schema), &profile.id);
    }
}

#[test]
fn samples_follow_their_schemas() {
    for operation in operations() {
        for (schema, sample) in
            [(&operation.input_schema, &operation.input_sample), (&operation.output_schema, &operation.output_sample)]
        {
            assert_eq!(check(&parse(schema), &parse(sample)), [], "{}", operation.id);
        }
    }
}

#[test]
fn defaults_and_examples_follow_their_schemas() {
    for operation in operations() {
        walk(&parse(&operation.input_schema), "", &mut |schema, at| {
            let examples = schema.get("examples").and_then(Value::as_array).into_iter().flatten();
            for value in schema.get("default").into_iter().chain(examples) {
                assert_eq!(check(schema, value), [], "{}{at}", operation.id);
            }
        });
    }
}

#[test]
fn ids_are_unique_and_kebab_case() {
    let mut seen = BTreeSet::new();
    for operation in operations() {
        assert!(kebab(&operation.id), "{}", operation.id);
        assert!(seen.insert(operation.id.clone()), "{} twice", operation.id);
    }
}

#[test]
fn permissions_are_known() {
    let permissions: Vec<&str> = permissions().map(|permission| permission.id()).collect();
    for operation in operations() {
        assert!(!operation.permissions.is_empty(), "{}", operation.id);
        for permission in &operation.permissions {
            assert!(permissions.contains(&permission.as_str()), "{}: {permission}", operation.id);
        }
    }
}

#[test]
fn each_field_has_a_title() {
    for Operation { id, title, help, group, input_schema, limits, .. } in operations() {
        assert!(!title.is_empty() && !help.is_empty() && !group.is_empty() && !limits.is_empty(), "{id}");
        let schema = parse(&input_schema);
        walk(&schema, "", &mut |field, at| {
            assert!(at.is_empty() || field.get("title").is_some(), "{id}{at} has no title");
            if let Some(pointer) = field.get("x-depends-on") {
                let path = pointer.as_str().expect("a pointer").replace('/', "/properties/");
                assert!(schema.pointer(&path).is_some(), "{id}{at} depends on {pointer}");
            }
        });
    }
}

#[test]
fn groups_stand_together() {
    let mut groups: Vec<String> = action_descriptors().into_iter().map(|action| action.operation.group).collect();
    groups.dedup();
    let once: BTreeSet<&String> = groups.iter().collect();
    assert_eq!(
        once.len(),
        groups.len(),
        "an action stands apart from its group; mend its `ALL` in src/actions: {groups:?}"
    );
}

#[test]
fn only_deleting_is_destructive() {
    for action in action_descriptors() {
        // A custom request may be a deletion.
        let deletes = ["delete-", "purge-", "custom-request"].iter().any(|verb| action.operation.id.starts_with(verb));
        assert_eq!(action.effect == Effect::Destructive, deletes, "{}", action.operation.id);
    }
}

/// An engine can hide only what is marked.
#[test]
fn secrets_in_outputs_are_marked() {
    let mut marked = 0;
    for operation in operations() {
        walk(&parse(&operation.output_schema), "", &mut |schema, at| {
            let name = at.rsplit('/').next().unwrap_or_default();
            if matches!(name, "primaryKey" | "secondaryKey" | "connectionString" | "token") {
                assert!(schema["x-secret"] == true && schema["format"] == "password", "{}{at}", operation.id);
                marked += 1;
            }
        });
    }
    assert!(marked > 20, "{marked}");
}
