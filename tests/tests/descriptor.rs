//! The component's descriptor is a contract: engines store workflows with its ids and schemas.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use connector_tests::{connector, workspace};
use serde_json::Value;

/// Members of the descriptor that only people read.
const TEXTS: [&str; 8] = ["title", "help", "description", "x-help", "x-group", "group", "purpose", "examples"];

const RENEW: &str = "\
Ids, schemas, permissions, limits and egress rules are a contract: engines store workflows and accounts that rest on them.
Where the contract changes, raise the operation's `revision`, and let `migrate` carry stored things over.
Once the change is as you want it: `cargo xtask descriptor --write`, commit tests/snapshots/descriptor.json with the change,
and say in CHANGELOG.md what a user sees of it.";

/// A JSON text with one line for each member. The order and the spelling of the members do not change.
fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        let turn = |out: &mut String, depth: usize| {
            out.push('\n');
            out.push_str(&"  ".repeat(depth));
        };
        match c {
            '"' => {
                quoted = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while characters.next_if(|next| next.is_whitespace()).is_some() {}
                if characters.peek().is_some_and(|next| matches!(next, '}' | ']')) {
                    out.extend(characters.next());
                } else {
                    depth += 1;
                    turn(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                turn(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                turn(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

/// All places where two documents differ, except in members for people.
fn differences(place: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let added = other.keys().filter(|name| !one.contains_key(*name));
            for name in one.keys().chain(added).filter(|name| !TEXTS.contains(&name.as_str())) {
                let member = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                differences(&format!("{place}/{name}"), &member(one), &member(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            for index in 0..one.len().max(other.len()) {
                let item = |array: &[Value]| array.get(index).cloned().unwrap_or_default();
                // An operation is compared by its id, not by its index.
                let id = item(other)["id"].as_str().map_or_else(|| index.to_string(), str::to_owned);
                differences(&format!("{place}/{id}"), &item(one), &item(other), found);
            }
        }
        _ if one != other => found.push(place.to_owned()),
        _ => {}
    }
}

#[tokio::test]
async fn the_descriptor_is_the_committed_one() -> Result<()> {
    let file = workspace().join("tests/snapshots/descriptor.json");
    let found = lines(&serde_json::to_string(connector().await?.descriptor())?);
    if std::env::var_os("CONNECTOR_DESCRIPTOR").is_some_and(|word| word == "write") {
        fs::write(&file, found)?;
        return Ok(());
    }
    let committed = fs::read_to_string(&file).with_context(|| format!("{} is not there.\n{RENEW}", file.display()))?;
    let mut contract = Vec::new();
    differences("", &serde_json::from_str(&committed)?, &serde_json::from_str(&found)?, &mut contract);
    contract.truncate(20);
    ensure!(
        contract.is_empty(),
        "The descriptor's contract is not the committed one, at\n{}\n{RENEW}",
        contract.join("\n")
    );
    ensure!(
        committed == found,
        "The descriptor differs from the committed one in texts or in the order of members.\n{RENEW}"
    );
    Ok(())
}

#[test]
fn lines_keep_a_document_as_it_is() -> Result<()> {
    let text = r#"{"b": [1.0, {}, [ ], "a\"{,:\\"],"a":{"x y":null}}"#;
    let shown = lines(text);
    assert_eq!(serde_json::from_str::<Value>(&shown)?, serde_json::from_str::<Value>(text)?);
    assert_eq!(lines(&shown), shown);
    assert_eq!(shown.lines().count(), 11, "{shown}");
    Ok(())
}

#[test]
fn texts_are_no_contract_and_the_rest_is() -> Result<()> {
    let one = serde_json::json!({ "title": "a", "actions": [{ "id": "get", "revision": 1, "help": "x" }] });
    let find = |other: Value| {
        let mut found = Vec::new();
        differences("", &one, &other, &mut found);
        found
    };
    assert!(find(serde_json::json!({ "title": "b", "actions": [{ "id": "get", "revision": 1 }] })).is_empty());
    let changed =
        find(serde_json::json!({ "title": "a", "actions": [{ "id": "get", "revision": 2 }, { "id": "new" }] }));
    assert_eq!(changed, ["/actions/get/revision", "/actions/new"]);
    Ok(())
}
