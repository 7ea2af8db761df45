//! Imports between the emulator's own modules point in one direction. `docs/decisions.md` says why.
//!
//! A folder is a module directly below `lib.rs`, whether it is one file or several. Unit tests are not counted: they may
//! set up a whole emulator.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Import circles between folders that are accepted, each with the reason that `docs/decisions.md` gives.
const LISTED: &[(&str, &str, &str)] = &[];
/// How many files inside a folder may import each other in a circle.
const MOST_FILES: usize = 3;

/// A module's path, such as `["hub", "twins"]`; empty for `lib.rs`.
type Module = Vec<String>;

/// An import: the file and line that contain it, and the imported module.
#[derive(Clone, Debug)]
struct Import {
    from: Module,
    to: Module,
    location: String,
}

#[test]
fn folders_import_in_one_direction() {
    let problems = problems(&sources(), LISTED);
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn the_rule_finds_what_it_is_for() {
    let sources = |texts: &[(&str, &str)]| {
        texts.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect::<Vec<_>>()
    };
    let circle = sources(&[
        ("lib.rs", "mod hub;\nmod web;\nmod clock;\npub use hub::devices::Device;\n"),
        ("clock.rs", "pub fn now() {}\n"),
        ("hub/mod.rs", "mod devices;\n"),
        ("hub/devices.rs", "use std::fmt;\n\nuse crate::{clock::now, web};\n"),
        ("web/mod.rs", "pub fn answer() {\n    crate::hub::devices::get();\n}\n"),
    ]);
    let found = problems(&circle, &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("hub/devices.rs:3: crate::web"), "{found:?}");
    assert!(found[1].contains("web/mod.rs:2: crate::hub::devices"), "{found:?}");
    assert_eq!(problems(&circle, &[("hub", "web", "a reason")]), Vec::<String>::new());
    let stale = problems(&circle, &[("hub", "web", "a reason"), ("hub", "clock", "a reason")]);
    assert!(stale.len() == 1 && stale[0].contains("hub and clock"), "{stale:?}");
    let unreasoned = problems(&circle, &[("hub", "web", "")]);
    assert!(unreasoned.len() == 1 && unreasoned[0].contains("without a reason"), "{unreasoned:?}");

    let root = sources(&[
        ("lib.rs", "mod hub;\npub use hub::Hub;\n"),
        ("hub.rs", "use crate::Hub as Another;\npub struct Hub;\n"),
    ]);
    let found = problems(&root, &[]);
    assert!(found.len() == 2 && found[1].contains("hub.rs:1: crate::Hub"), "{found:?}");

    let innocent = sources(&[
        ("web/mod.rs", "use crate::hub;\n"),
        (
            "hub.rs",
            "// use crate::web;\nconst TEXT: &str = \"crate::web\"; /* crate::web */\n#[cfg(test)]\nmod tests {\n    use crate::web;\n}\n",
        ),
    ]);
    assert_eq!(problems(&innocent, &[]), Vec::<String>::new());

    let names = ["a", "b", "c", "d"];
    let ring: Vec<_> = (0..names.len())
        .map(|n| (format!("hub/{}.rs", names[n]), format!("use super::{}::f;\n", names[(n + 1) % names.len()])))
        .collect();
    let found = problems(&ring, &[]);
    assert!(found.len() == 1 && found[0].contains("hub/a.rs, hub/b.rs, hub/c.rs, hub/d.rs"), "{found:?}");
}

/// The violations of the rules, one line each.
fn problems(sources: &[(String, String)], listed: &[(&str, &str, &str)]) -> Vec<String> {
    let modules: BTreeMap<Module, &str> = sources.iter().map(|(path, _)| (module_of(path), path.as_str())).collect();
    let imports: Vec<Import> = sources.iter().flat_map(|(path, text)| imports(path, text, &modules)).collect();
    let folder = |module: &Module| module.first().map_or("lib.rs", String::as_str).to_owned();
    let mut found = Vec::new();

    let between: Vec<_> = imports.iter().filter(|import| folder(&import.from) != folder(&import.to)).collect();
    let folders = Graph::new(between.iter().map(|import| (folder(&import.from), folder(&import.to))));
    let is_listed = |a: &str, b: &str| listed.iter().any(|(x, y, _)| (a, b) == (*x, *y) || (a, b) == (*y, *x));
    for import in between {
        let (from, to) = (folder(&import.from), folder(&import.to));
        if folders.leads(&to, &from) && !is_listed(&from, &to) {
            found.push(format!(
                "{}: {from} imports {to}, and {to} imports {from}, directly or through others. Move what both need to a \
                 folder below them.",
                import.location
            ));
        }
    }
    for (a, b, reason) in listed {
        if reason.trim().is_empty() {
            found.push(format!("{a} and {b} are listed as a circle without a reason."));
        }
        if !(folders.leads(a, b) && folders.leads(b, a)) {
            found.push(format!("{a} and {b} are listed as a circle, but are none any more: take them off the list."));
        }
    }

    let files =
        Graph::new(imports.iter().map(|import| (modules[&import.from].to_owned(), modules[&import.to].to_owned())));
    for circle in files.circles().into_iter().filter(|circle| circle.len() > MOST_FILES) {
        let circle: Vec<_> = circle.into_iter().collect();
        found.push(format!("{} files import each other in a circle: {}", circle.len(), circle.join(", ")));
    }
    found.dedup();
    found
}

/// A graph of imports: which nodes lead to which other nodes.
struct Graph {
    reached: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn new(edges: impl Iterator<Item = (String, String)>) -> Self {
        let mut next: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            next.entry(from).or_default().insert(to);
        }
        let reached = next.keys().map(|start| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
            while let Some(node) = open.pop() {
                open.extend(next.get(node).into_iter().flatten().filter(|node| seen.insert((*node).clone())));
            }
            (start.clone(), seen)
        });
        Self { reached: reached.collect() }
    }

    fn leads(&self, from: &str, to: &str) -> bool {
        self.reached.get(from).is_some_and(|reached| reached.contains(to))
    }

    /// The sets of nodes that lead to each other, in a circle.
    fn circles(&self) -> BTreeSet<BTreeSet<String>> {
        let ring = |start: &String| self.reached[start].iter().filter(|end| self.leads(end, start)).cloned().collect();
        self.reached.keys().map(ring).filter(|ring: &BTreeSet<String>| ring.len() > 1).collect()
    }
}

fn module_of(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
}

/// The imports of a file, in `use` declarations and in paths.
fn imports(path: &str, text: &str, modules: &BTreeMap<Module, &str>) -> Vec<Import> {
    let own = module_of(path);
    let code = code_of(text);
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(start) = next_path(rest, own.is_empty()) {
        let offset = code.len() - rest.len() + start;
        let (names, length) = expand(&code[offset..]);
        let line = code[..offset].matches('\n').count() + 1;
        for name in names {
            let Some(target) = absolute(&own, &name) else { continue };
            let known = (0..=target.len()).rev().find(|end| modules.contains_key(&target[..*end]));
            let Some(known) = known else { continue };
            // `use crate::web;` imports the module itself and nothing in it, but is counted as well.
            let to = target[..known].to_vec();
            if to != own {
                let shown =
                    name[..name.len().min(known + name.len() - target.len() + usize::from(known == 0))].join("::");
                found.push(Import { from: own.clone(), to, location: format!("{path}:{line}: {shown}") });
            }
        }
        rest = &code[offset + length.max(1)..];
    }
    found
}

/// Where the next path begins that leads to a module of this crate: `crate::` or `super::`, and in `lib.rs` also
/// `use` followed by a module's name.
fn next_path(code: &str, is_root: bool) -> Option<usize> {
    let boundary = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let mut starts: Vec<&str> = vec!["crate::", "super::"];
    if is_root {
        starts.push("use ");
    }
    let found = starts.into_iter().flat_map(|start| {
        let skip = if start == "use " { start.len() } else { 0 };
        code.match_indices(start).map(move |(at, _)| (at, skip)).filter(|(at, _)| boundary(*at)).take(1)
    });
    found.map(|(at, skip)| at + skip).min()
}

/// The paths that a path with groups stands for, and how many bytes it has: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(code: &str) -> (Vec<Vec<String>>, usize) {
    let mut path: Vec<String> = Vec::new();
    let mut at = 0;
    loop {
        let rest = &code[at..];
        let word = rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
        if word > 0 {
            path.push(rest[..word].to_owned());
            at += word;
        } else if rest.starts_with('{') {
            at += 1;
            let mut all = Vec::new();
            while !code[at..].starts_with('}') && at < code.len() {
                let (inner, length) = expand(&code[at..]);
                let named = inner.into_iter().filter(|inner| !inner.is_empty());
                all.extend(named.map(|inner| path.iter().cloned().chain(inner).collect::<Vec<_>>()));
                at += length;
                let end = code[at..].find([',', '}', ';']).unwrap_or(code.len() - at);
                at += end + usize::from(code[at + end..].starts_with(','));
                at += code[at..].len() - code[at..].trim_start().len();
            }
            return (all, (at + 1).min(code.len()));
        }
        if !code[at..].starts_with("::") {
            return (vec![path], at);
        }
        at += 2;
    }
}

fn absolute(own: &Module, path: &[String]) -> Option<Module> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    match path.first().map(String::as_str) {
        Some("crate") => Some(path[1..].to_vec()),
        Some("super") => Some(own[..own.len().checked_sub(supers)?].iter().chain(&path[supers..]).cloned().collect()),
        Some(_) if own.is_empty() => Some(path.to_vec()),
        _ => None,
    }
}

/// The text without comments, string literals and unit tests; line breaks stay.
fn code_of(text: &str) -> String {
    let text = text.find("#[cfg(test)]\nmod tests").map_or(text, |tests| &text[..tests]);
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") || rest.starts_with("b'\"") {
            3
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        rest = &rest[skipped..];
    }
    code
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut open) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
                found.push((name, fs::read_to_string(&path).expect("a source file")));
            }
        }
    }
    found.sort();
    assert!(found.len() > 50, "the sources were not found");
    found
}
