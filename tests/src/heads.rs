//! The scenarios at the heads of the triggers' and actions' source files. CONTRIBUTING.md has their grammar.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// The scenario of one operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// The calls, in their order.
    pub calls: Vec<Call>,
    /// The results that this operation can never have although its kind usually has them, each with the reason.
    pub never: BTreeMap<String, String>,
}

/// One call of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// `done`, `pages`, or the code of an error.
    pub expected: String,
    /// The input. A text that begins with `$` stands for another text.
    pub input: Value,
    /// The rule by which the service misbehaves during the call.
    pub under: Option<String>,
    /// The action that reads the ETag for the call, and that action's input.
    pub tagged: Option<(String, Value)>,
}

/// The scenario of one trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// The trigger's configuration.
    pub config: Value,
    /// What happens before the trigger's first poll.
    pub given: Vec<Change>,
    /// What the trigger reads.
    pub source: Source,
}

/// What a trigger reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A collection: the changes to it, and the last words of the types of the events that the changes must cause.
    Collection {
        /// The changes, in their order.
        changes: Vec<Change>,
        /// The last words of the types of the events.
        expected: Vec<String>,
    },
    /// The hub's log.
    Log {
        /// The message source of the trigger's own messages.
        source: String,
        /// The application properties of a message.
        properties: Value,
        /// The body of a message.
        body: Value,
    },
    /// One of the hub's queues: `feedback` or `files`.
    Queue(String),
}

/// Something that happens to the services.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// An action of the connector, `device:` and what a device does, or `hub:` and the method of a request.
    pub what: String,
    /// The path of a request; empty for all others.
    pub path: String,
    /// The input, or the body.
    pub input: Value,
}

/// The scenarios of all triggers in the folders below `folder`, by the trigger's id.
///
/// # Errors
/// Where a file cannot be read, or a line cannot be understood.
pub fn read_triggers(folder: &Path) -> Result<BTreeMap<String, Watch>> {
    let mut found = BTreeMap::new();
    for (name, source) in sources(folder)? {
        if let Some(watch) = watch(&source).with_context(|| format!("the scenario of {name}"))? {
            ensure!(found.insert(name.clone(), watch).is_none(), "two files are called {name}");
        }
    }
    Ok(found)
}

/// Reads a trigger's scenario in the head of a source file. None where there is none.
fn watch(source: &str) -> Result<Option<Watch>> {
    let (mut config, mut given, mut changes, mut expected) = (None, Vec::new(), Vec::new(), Vec::new());
    let mut kind = None;
    for line in block(source) {
        let (word, rest) = line.split_once(' ').with_context(|| format!("`{line}` is one word"))?;
        let result = (|| {
            match word {
                "config" => config = Some(leading_json(rest)?.0),
                "given" => given.push(change(rest)?),
                "change" => changes.push(change(rest)?),
                "expect" => expected.extend(rest.split(' ').map(str::to_owned)),
                "queue" => kind = Some(Source::Queue(rest.to_owned())),
                "message" => {
                    let (source, rest) = rest.split_once(' ').context("no properties")?;
                    let (properties, rest) = leading_json(rest)?;
                    let (body, _) = leading_json(rest)?;
                    kind = Some(Source::Log { source: source.to_owned(), properties, body });
                }
                _ => bail!("`{word}` is not one of config, given, change, expect, message and queue"),
            }
            anyhow::Ok(())
        })();
        result.with_context(|| format!("`{line}`"))?;
    }
    let Some(config) = config else {
        ensure!(given.is_empty() && changes.is_empty() && kind.is_none(), "there is no line `config`");
        return Ok(None);
    };
    let source = kind.unwrap_or(Source::Collection { changes, expected });
    if let Source::Collection { changes, expected } = &source {
        ensure!(!changes.is_empty() && !expected.is_empty(), "a line `change` or `expect` is missing");
    }
    Ok(Some(Watch { config, given, source }))
}

fn change(text: &str) -> Result<Change> {
    let (what, rest) = text.split_once(' ').context("no input")?;
    if !what.starts_with("hub:") {
        return Ok(Change { what: what.to_owned(), path: String::new(), input: leading_json(rest)?.0 });
    }
    let (path, body) = rest.split_once(' ').unwrap_or((rest, "null"));
    Ok(Change { what: what.to_owned(), path: path.to_owned(), input: leading_json(body)?.0 })
}

/// The scenarios of all actions in the folders below `folder`, by the action's id. Files without a scenario are left out.
///
/// # Errors
/// Where a file cannot be read, or a line cannot be understood.
pub fn read(folder: &Path) -> Result<BTreeMap<String, Head>> {
    let mut found = BTreeMap::new();
    for (name, source) in sources(folder)? {
        let head = parse(&source).with_context(|| format!("the scenario of {name}"))?;
        if !head.calls.is_empty() {
            ensure!(found.insert(name.clone(), head).is_none(), "two files are called {name}");
        }
    }
    Ok(found)
}

/// The sources in the folders below `folder`, each with the id of the operation that a file of its name has.
fn sources(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for area in std::fs::read_dir(folder)? {
        let area = area?.path();
        if !area.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(area)? {
            let path = file?.path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
            found.push((name, std::fs::read_to_string(&path)?));
        }
    }
    Ok(found)
}

/// The lines of the block `scenario` in the head of a source file.
fn block(source: &str) -> impl Iterator<Item = &str> {
    let head = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    head.skip_while(|line| *line != "```scenario").skip(1).take_while(|line| *line != "```")
}

/// Reads the scenario in the head of a source file.
fn parse(source: &str) -> Result<Head> {
    let mut found = Head::default();
    for line in block(source) {
        if let Some(rest) = line.strip_prefix("never ") {
            let (code, reason) = rest.split_once(": ").with_context(|| format!("`{line}` has no reason"))?;
            found.never.insert(code.to_owned(), reason.to_owned());
        } else {
            found.calls.push(call(line).with_context(|| format!("`{line}`"))?);
        }
    }
    Ok(found)
}

fn call(line: &str) -> Result<Call> {
    let (expected, rest) = line.split_once(' ').context("no input")?;
    let (input, rest) = leading_json(rest)?;
    let call = Call { expected: expected.to_owned(), input, under: None, tagged: None };
    match rest.split_once(' ') {
        None => Ok(call),
        Some(("under", fault)) => Ok(Call { under: Some(fault.to_owned()), ..call }),
        Some(("tagged", rest)) => {
            let (action, input) = rest.split_once(' ').context("no input of the action that reads the ETag")?;
            Ok(Call { tagged: Some((action.to_owned(), leading_json(input)?.0)), ..call })
        }
        Some((word, _)) => bail!("`{word}` is neither `under` nor `tagged`"),
    }
}

/// The JSON at the beginning of a text, and the rest of the text.
fn leading_json(text: &str) -> Result<(Value, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next().context("no JSON")??;
    Ok((value, text.get(values.byte_offset()..).unwrap_or_default().trim_start()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_head_of_a_trigger_is_read_line_by_line() {
        let read = |lines: &str| {
            let head: Vec<String> = lines.lines().map(|line| format!("//! {}", line.trim())).collect();
            watch(&format!("//! Fires.\n//!\n//! ```scenario\n{}\n//! ```\n", head.join("\n")))
        };
        let of = |what: &str, path: &str, input| Change { what: what.into(), path: path.into(), input };
        let watch = read(
            "given device:report {}\nconfig {\"a\": 1}\nchange hub:PUT /a {\"b\": 2}\nchange hub:DELETE /a\nexpect created deleted",
        );
        assert_eq!(
            watch.expect("a scenario").expect("a trigger"),
            Watch {
                config: json!({ "a": 1 }),
                given: vec![of("device:report", "", json!({}))],
                source: Source::Collection {
                    changes: vec![of("hub:PUT", "/a", json!({ "b": 2 })), of("hub:DELETE", "/a", Value::Null)],
                    expected: vec!["created".into(), "deleted".into()],
                },
            }
        );
        let source = |lines: &str| read(lines).expect("a scenario").expect("a trigger").source;
        let (properties, body) = (json!({ "a": "b" }), json!([1]));
        assert_eq!(
            source("config {}\nmessage Telemetry {\"a\": \"b\"} [1]"),
            Source::Log { source: "Telemetry".into(), properties, body }
        );
        assert_eq!(source("config {}\nqueue files"), Source::Queue("files".into()));
        for broken in [
            "config",
            "config {",
            "config {}",
            "change a {}",
            "config {}\nchange a {}",
            "config {}\nwait 3",
            "config {}\nmessage x {}",
        ] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_head_is_read_line_by_line() {
        let source = "//! Reads.\n//!\n//! ```scenario\n//! done {\"a\": 1}\n//! not-found {} under hub:GET /a=404\n\
                      //! done {} tagged get-a {\"b\": 2}\n//! never conflict: it only reads\n//! ```\n\nuse x;\n//! done {}\n";
        let head = parse(source).expect("a scenario");
        let plain = |expected: &str, input| Call { expected: expected.into(), input, under: None, tagged: None };
        assert_eq!(
            head.calls,
            [
                plain("done", json!({ "a": 1 })),
                Call { under: Some("hub:GET /a=404".into()), ..plain("not-found", json!({})) },
                Call { tagged: Some(("get-a".into(), json!({ "b": 2 }))), ..plain("done", json!({})) },
            ]
        );
        assert_eq!(head.never["conflict"], "it only reads");
        for broken in ["done", "done {", "done {} with x", "never conflict"] {
            assert!(parse(&format!("//! ```scenario\n//! {broken}\n//! ```")).is_err(), "{broken}");
        }
    }
}
