//! The wings of the library (its folders, and the files at its root) must import each other in only one direction.
//!
//! The test reads the sources, so that it needs no build of its own. Code for tests may import any wing.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The first import of one wing by another, as `file: line`.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

#[test]
fn no_two_wings_import_each_other() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 40, "only {} sources were found", sources.len());
    let imports = imports(&sources).unwrap();
    assert!(imports["loading"].contains_key("call"), "{imports:?}");
    if let Some(circle) = circle(&imports) {
        panic!("wings import each other in a circle; move what both need into a wing below them:\n{circle}");
    }
}

/// The check finds circles of two wings, longer circles, and imports by way of the root.
#[test]
fn a_circle_is_found_with_its_imports() {
    let judge = |sources: &[(&str, &str)]| {
        let sources = sources.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
        imports(&sources).map(|imports| circle(&imports))
    };
    let found = judge(&[
        ("call/run.rs", "use crate::limits::Limits;\n"),
        ("limits/mod.rs", "//! No `crate::call` here.\n\nuse super::call::{\n    Run,\n};\n"),
    ]);
    let found = found.unwrap().expect("a circle");
    assert!(found.contains("call/run.rs: use crate::limits::Limits;"), "{found}");
    assert!(found.contains("limits/mod.rs: use super::call::{"), "{found}");
    let three = [
        ("call/run.rs", "fn f() -> crate::egress::Pool { todo() }\n"),
        ("egress/pool.rs", "use crate::error::CallError;\n"),
        ("error.rs", "use crate::call::Run;\n"),
    ];
    assert_eq!(judge(&three).unwrap().expect("a circle").lines().count(), 3);
    assert_eq!(judge(&three[..2]), Ok(None));
    assert_eq!(judge(&[("call/run.rs", "#[cfg(test)]\nmod tests {\n    use crate::call::Run;\n}\n")]), Ok(None));
    assert!(judge(&[("interface/action.rs", "use crate::Connection;\n")]).unwrap_err().contains("interface/action.rs"));
    assert!(judge(&[("call/run.rs", "use crate::{limits, egress::Pool};\n")]).unwrap_err().contains("one `use` line"));
}

/// Every source file by its path, except `lib.rs` and files of tests.
fn sources(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found.remove("lib.rs");
    let is_test = |line: &str| line.strip_prefix("mod ").and_then(|line| line.strip_suffix(';')).map(str::to_owned);
    let tests: BTreeSet<String> = found
        .values()
        .flat_map(|text| text.lines().zip(text.lines().skip(1)))
        .filter(|(before, _)| *before == "#[cfg(test)]")
        .filter_map(|(_, line)| is_test(line))
        .collect();
    found.retain(|name, _| !tests.contains(stem(name)));
    found
}

/// # Errors
///
/// Names an import by way of the root, or of several wings in braces: both hide the wing that they come from.
fn imports(sources: &BTreeMap<String, String>) -> Result<Imports, String> {
    let mut imports = Imports::new();
    for (file, text) in sources {
        let wing = file.split_once('/').map_or_else(|| stem(file), |(wing, _)| wing);
        // In these files, `super` is the root.
        let is_top = !file.contains('/') || file.split_once('/').is_some_and(|(_, rest)| rest == "mod.rs");
        let lines: Vec<_> = text.lines().collect();
        let is_test = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].ends_with("mod tests {");
        let end = lines.windows(2).position(is_test).unwrap_or(lines.len());
        for line in lines[..end].iter().filter(|line| !line.trim_start().starts_with("//")) {
            let roots = if is_top { &["crate::", "super::"][..] } else { &["crate::"] };
            for rest in roots.iter().flat_map(|root| line.split(root).skip(1)) {
                if rest.starts_with('{') {
                    return Err(format!(
                        "{file}: {line}: write one `use` line for each wing, which this check can read"
                    ));
                }
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if name.starts_with(char::is_uppercase) {
                    return Err(format!("{file}: {line}: import from the wing itself, not by way of the root"));
                }
                if !name.is_empty() && name != wing && is_wing(sources, &name) {
                    let import = || format!("{file}: {}", line.trim());
                    imports.entry(wing.to_owned()).or_default().entry(name).or_insert_with(import);
                }
            }
        }
    }
    Ok(imports)
}

fn is_wing(sources: &BTreeMap<String, String>, name: &str) -> bool {
    sources.keys().any(|file| file.split('/').next().is_some_and(|first| stem(first) == name))
}

/// The imports that form a circle, one per line.
fn circle(imports: &Imports) -> Option<String> {
    imports.keys().find_map(|wing| {
        let way = way_back(imports, wing, wing, &mut BTreeSet::new())?;
        let mut text = String::new();
        for (from, to) in way.iter().zip(way.iter().skip(1).chain([wing])) {
            let _ = writeln!(text, "{from} -> {to}: {}", imports[from][to]);
        }
        Some(text)
    })
}

/// A chain of wings, each of which imports the next, from `wing` to the last one before `end`.
fn way_back(imports: &Imports, wing: &str, end: &str, seen: &mut BTreeSet<String>) -> Option<Vec<String>> {
    for next in imports.get(wing).into_iter().flat_map(BTreeMap::keys) {
        if next == end {
            return Some(vec![wing.to_owned()]);
        }
        if seen.insert(next.clone())
            && let Some(mut rest) = way_back(imports, next, end, seen)
        {
            rest.insert(0, wing.to_owned());
            return Some(rest);
        }
    }
    None
}

fn stem(file: &str) -> &str {
    Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}
