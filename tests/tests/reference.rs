//! The reference pages in `docs/reference/`, one for each trigger and action, made of the descriptor's snapshot and of
//! the scenarios. `cargo xtask docs` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use connector_tests::heads::{self, Head, Watch};
use connector_tests::workspace;
use serde_json::Value;

const FOLDER: &str = "docs/reference";
const NOTE: &str = "<!-- Written by `cargo xtask docs` from the descriptor. Do not edit. -->";

/// The text at a pointer; empty if there is none.
fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The type of a field, for a person.
fn kind(schema: &Value) -> String {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<String> =
            values.iter().map(|value| format!("`{}`", value.as_str().unwrap_or("null"))).collect();
        return values.join(", ");
    }
    let name = match &schema["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ if schema.get("anyOf").is_some() => "one of several forms".to_owned(),
        _ => "any JSON value".to_owned(),
    };
    let bound = |name: &str| schema.get(name).filter(|value| value.is_number()).map(Value::to_string);
    let range = |least: Option<String>, most: Option<String>, unit: &str| match (least, most) {
        (Some(least), Some(most)) => format!(", {least} to {most}{unit}"),
        (Some(least), None) => format!(", at least {least}{unit}"),
        (None, Some(most)) => format!(", at most {most}{unit}"),
        (None, None) => String::new(),
    };
    match name.as_str() {
        "array" => {
            let items = schema.get("items").map(|items| format!(" of {}", kind(items))).unwrap_or_default();
            format!("list{items}{}", range(bound("minItems"), bound("maxItems"), " items"))
        }
        "string" => format!("text{}", range(bound("minLength"), bound("maxLength"), " characters")),
        "integer" | "number" => {
            format!(
                "{}{}",
                if name == "integer" { "whole number" } else { "number" },
                range(bound("minimum"), bound("maximum"), "")
            )
        }
        _ => name,
    }
}

/// The table of an object's fields. Fields of nested objects follow with their path, down to the second level.
fn fields(schema: &Value) -> String {
    let mut rows = String::new();
    rows_of(schema, "", 0, &mut rows);
    if rows.is_empty() { "None.\n".to_owned() } else { format!("| field | type | |\n|---|---|---|\n{rows}") }
}

fn rows_of(schema: &Value, prefix: &str, depth: usize, rows: &mut String) {
    let required: Vec<&str> = list(schema, "/required").iter().filter_map(Value::as_str).collect();
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let mut about = vec![text(field, "/title").to_owned()];
        about.push(text(field, "/description").to_owned());
        about.push(text(field, "/x-help").to_owned());
        if let Some(default) = field.get("default") {
            about.push(format!("Default: `{default}`."));
        }
        if field["x-secret"] == true || field["writeOnly"] == true {
            about.push("Secret.".to_owned());
        }
        about.retain(|text| !text.is_empty());
        let sentences: Vec<String> = about
            .iter()
            .map(|text| if text.ends_with(['.', ':', '?']) { text.clone() } else { format!("{text}.") })
            .collect();
        let star = if required.contains(&name.as_str()) { " (required)" } else { "" };
        let _ = writeln!(rows, "| `{path}`{star} | {} | {} |", cell(&kind(field)), cell(&sentences.join(" ")));
        if depth < 2 {
            rows_of(field, &format!("{path}."), depth + 1, rows);
            if let Some(items) = field.get("items") {
                rows_of(items, &format!("{path}[]."), depth + 1, rows);
            }
        }
    }
}

fn json_block(value: &Value) -> Result<String> {
    Ok(format!("```json\n{}\n```\n", serde_json::to_string_pretty(value)?))
}

/// How often an action may be repeated, for a person.
fn repeating(idempotency: &str) -> Result<&'static str> {
    Ok(match idempotency {
        "natural" => "Repeating the call has the same result as one call.",
        "keyed" => "Repeating the call with the same `idempotency-key` has the same result as one call.",
        "conditional" => "Repeating the call has the same result as one call if the input states the ETag.",
        "none" => "Each call has its effect again.",
        other => bail!("the idempotency {other} has no text"),
    })
}

fn effect(effect: &str) -> Result<&'static str> {
    Ok(match effect {
        "read" => "Reads and changes nothing.",
        "write" => "Changes something at the service. A dry run returns the request.",
        "destructive" => "Deletes something at the service. A dry run returns the request.",
        other => bail!("the effect {other} has no text"),
    })
}

/// What a scenario expects of a call that succeeds. These are no errors, so the table of errors leaves them out.
const SUCCESSES: [&str; 2] = ["done", "pages"];

fn action_page(action: &Value, head: &Head, permissions: &BTreeMap<&str, &Value>) -> Result<String> {
    let id = text(action, "/operation/id");
    let mut page = front(action)?;
    let _ = writeln!(page, "{} {}", effect(text(action, "/effect"))?, repeating(text(action, "/idempotency"))?);
    if action["paged"] == true {
        page += "The output comes in pages: `resume` with the token of a page returns the next one.\n";
    }
    page += &needs(action, permissions)?;
    let _ = write!(page, "\n## Input\n\n{}", fields(&action["operation"]["inputSchema"]));
    let _ = write!(page, "\n## Output\n\n{}", fields(&action["operation"]["outputSchema"]));
    let _ = write!(page, "\nFor example:\n\n{}", json_block(&action["operation"]["outputSample"])?);
    let first = head.calls.first().context("the scenario has no call")?;
    let _ = write!(
        page,
        "\n## Try it\n\nThe tests run this call against the emulator ({}):\n\n```sh\necho '{}' | connector-host --connection account.json invoke {id} --input -\n```\n",
        if SUCCESSES.contains(&first.expected.as_str()) {
            "it succeeds".to_owned()
        } else {
            format!("the error is `{}`", first.expected)
        },
        first.input.to_string().replace('\'', "'\\''")
    );
    let codes: BTreeSet<&str> =
        head.calls.iter().map(|call| call.expected.as_str()).filter(|code| !SUCCESSES.contains(code)).collect();
    page += "\n## Errors\n\n";
    if !codes.is_empty() {
        page += "| error | for example |\n|---|---|\n";
        for code in codes {
            let call = head.calls.iter().find(|call| call.expected == code).context(code.to_owned())?;
            let mut example = call.input.to_string();
            if example.len() > 200 {
                example = format!("{}…", example.chars().take(200).collect::<String>());
            }
            let under = call.under.as_ref().map(|_| " while the service refuses").unwrap_or_default();
            let _ = writeln!(page, "| `{code}` | `{}`{under} |", cell(&example));
        }
        page += "\n";
    }
    page += "Every action can also end with `auth-failed`, `permission-denied`, `rate-limited`, `quota-exceeded`, `timeout`, `unavailable`, `protocol` and, for an input that does not fit, `invalid-input`. [The interface](../../interface.md) says what each means and when to retry.\n";
    Ok(page)
}

fn trigger_page(trigger: &Value, watch: &Watch, permissions: &BTreeMap<&str, &Value>) -> Result<String> {
    let id = text(trigger, "/operation/id");
    let mut page = front(trigger)?;
    let modes: Vec<String> =
        list(trigger, "/startModes").iter().filter_map(Value::as_str).map(|mode| format!("`{mode}`")).collect();
    let _ = writeln!(
        page,
        "Kind: `{}`. Without a cursor it starts at: {}. Shortest useful interval: {} ms.",
        text(trigger, "/kind"),
        modes.join(", "),
        trigger["minIntervalMs"]
    );
    page += &needs(trigger, permissions)?;
    let _ = write!(page, "\n## Configuration\n\n{}", fields(&trigger["operation"]["inputSchema"]));
    let _ = write!(page, "\n## Data of an event\n\n{}", fields(&trigger["operation"]["outputSchema"]));
    let _ = write!(page, "\nFor example:\n\n{}", json_block(&trigger["operation"]["outputSample"])?);
    let _ = write!(
        page,
        "\n## Try it\n\nThe tests use this configuration against the emulator:\n\n```sh\necho '{}' > config.json\nconnector-host --connection account.json watch {id} --config config.json --interval 2\n```\n",
        watch.config.to_string().replace('\'', "'\\''")
    );
    Ok(page)
}

/// The title and the texts.
fn front(operation: &Value) -> Result<String> {
    let help = text(operation, "/operation/help");
    ensure!(!help.is_empty(), "no help text");
    let id = text(operation, "/operation/id");
    let title = text(operation, "/operation/title");
    Ok(format!("{NOTE}\n# {title}\n\n`{id}`, revision {}\n\n{help}\n\n", operation["operation"]["revision"]))
}

/// The permissions and limits.
fn needs(operation: &Value, permissions: &BTreeMap<&str, &Value>) -> Result<String> {
    let mut out = String::from("\n## What it needs\n\n");
    let needed = list(operation, "/operation/permissions");
    if needed.is_empty() {
        out += "No permission.\n";
    }
    for id in needed.iter().filter_map(Value::as_str) {
        let permission =
            permissions.get(id).with_context(|| format!("the permission {id} is not in the descriptor"))?;
        let _ =
            writeln!(out, "- the permission **{}** of {}", text(permission, "/title"), text(permission, "/service"));
    }
    let limits = list(operation, "/operation/limits");
    if !limits.is_empty() {
        out += "\n| limit of the service | |\n|---|---|\n";
        for limit in limits {
            let _ = writeln!(out, "| {} | {} {} |", text(limit, "/title"), limit["value"], text(limit, "/unit"));
        }
    }
    Ok(out)
}

/// The list of all pages, by group.
fn index(descriptor: &Value) -> String {
    let (triggers, actions) = (list(descriptor, "/triggers"), list(descriptor, "/actions"));
    let mut out = format!(
        "{NOTE}\n# Triggers and actions\n\n{} triggers and {} actions. [coverage.md](coverage.md) lists which of the services' published operations they reach.\n",
        triggers.len(),
        actions.len()
    );
    for (title, folder, all) in [("Triggers", "triggers", triggers), ("Actions", "actions", actions)] {
        let _ = write!(out, "\n## {title}\n");
        let mut groups: Vec<&str> = Vec::new();
        for operation in all {
            let group = text(operation, "/operation/group");
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        for group in groups {
            let _ = write!(out, "\n### {group}\n\n| | what it does | permissions |\n|---|---|---|\n");
            for operation in all.iter().filter(|operation| text(operation, "/operation/group") == group) {
                let id = text(operation, "/operation/id");
                let help = text(operation, "/operation/help");
                let first = help.split_once(". ").map_or(help, |(first, _)| first).trim_end_matches('.');
                let needed: Vec<&str> =
                    list(operation, "/operation/permissions").iter().filter_map(Value::as_str).collect();
                let _ = writeln!(out, "| [`{id}`]({folder}/{id}.md) | {}. | {} |", cell(first), needed.join(", "));
            }
        }
    }
    out
}

/// All pages, by their path below the folder.
fn pages() -> Result<BTreeMap<PathBuf, String>> {
    let snapshot = fs::read_to_string(workspace().join("tests/snapshots/descriptor.json"))?;
    let descriptor: Value = serde_json::from_str(&snapshot)?;
    let heads = heads::read(&workspace().join("src/actions"))?;
    let watches = heads::read_triggers(&workspace().join("src/triggers"))?;
    let permissions: BTreeMap<&str, &Value> =
        list(&descriptor, "/permissions").iter().map(|permission| (text(permission, "/id"), permission)).collect();
    let mut pages = BTreeMap::from([(PathBuf::from("README.md"), index(&descriptor))]);
    for action in list(&descriptor, "/actions") {
        let id = text(action, "/operation/id");
        let head = heads.get(id).with_context(|| format!("{id} has no scenario"))?;
        let page = action_page(action, head, &permissions).with_context(|| id.to_owned())?;
        pages.insert(PathBuf::from(format!("actions/{id}.md")), page);
    }
    for trigger in list(&descriptor, "/triggers") {
        let id = text(trigger, "/operation/id");
        let watch = watches.get(id).with_context(|| format!("{id} has no scenario"))?;
        let page = trigger_page(trigger, watch, &permissions).with_context(|| id.to_owned())?;
        pages.insert(PathBuf::from(format!("triggers/{id}.md")), page);
    }
    Ok(pages)
}

#[test]
fn the_pages_are_those_of_the_descriptor() -> Result<()> {
    let folder = workspace().join(FOLDER);
    let pages = pages()?;
    if std::env::var("CONNECTOR_REFERENCE").is_ok_and(|wish| wish == "write") {
        for kind in ["actions", "triggers"] {
            // Pages of operations that are gone must not stay.
            let _ = fs::remove_dir_all(folder.join(kind));
            fs::create_dir_all(folder.join(kind))?;
        }
        for (name, page) in &pages {
            fs::write(folder.join(name), page)?;
        }
        println!("{} pages written", pages.len());
        return Ok(());
    }
    let hint = "run `cargo xtask docs` and commit what it writes";
    for (name, page) in &pages {
        let path = folder.join(name);
        let found =
            fs::read_to_string(&path).with_context(|| format!("{FOLDER}/{} is missing: {hint}", name.display()))?;
        ensure!(found == *page, "{FOLDER}/{} is not what the descriptor says: {hint}", name.display());
    }
    for kind in ["actions", "triggers"] {
        for file in fs::read_dir(folder.join(kind))? {
            let name = PathBuf::from(kind).join(file?.file_name());
            ensure!(pages.contains_key(&name), "{FOLDER}/{} is the page of no operation: {hint}", name.display());
        }
    }
    Ok(())
}
