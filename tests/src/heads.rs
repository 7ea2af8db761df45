//! The scenarios at the heads of the operations' source files. CONTRIBUTING.md has their grammar.

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

/// The scenarios of all files in the folders below `folder`, by the operation's id. Files without a scenario are left
/// out.
///
/// # Errors
/// Where a file cannot be read, or a line cannot be understood.
pub fn read(folder: &Path) -> Result<BTreeMap<String, Head>> {
    let mut found = BTreeMap::new();
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
            let head = parse(&std::fs::read_to_string(&path)?);
            let head = head.with_context(|| format!("the scenario in {}", path.display()))?;
            if !head.calls.is_empty() {
                ensure!(found.insert(name.clone(), head).is_none(), "two files are called {name}");
            }
        }
    }
    Ok(found)
}

/// Reads the scenario in the head of a source file.
fn parse(source: &str) -> Result<Head> {
    let head = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let block = head.skip_while(|line| *line != "```scenario").skip(1).take_while(|line| *line != "```");
    let mut found = Head::default();
    for line in block {
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
