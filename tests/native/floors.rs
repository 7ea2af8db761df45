//! The guest's modules are arranged in floors, and a module may import only from lower floors. The test reads the
//! imports from the sources (`use` lines, and paths within code and macros), so no import can be missed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::str::FromStr as _;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The floors, from the lowest to the highest. A module may import from lower floors and from itself, but not from
/// other modules of its own floor. A module without an entry belongs to the floor of its parent module. `src/lib.rs`
/// says which code belongs where.
const FLOORS: &[&[&str]] = &[
    &["amqp_transport", "bindings", "host_name", "instant", "json", "secret"],
    &["quoted"],
    &["error"],
    &["platform"],
    &["auth"],
    &["amqp", "http"],
    &["eventhub"],
    &["dps", "iothub"],
    &["form"],
    &["account"],
    &["session"],
    &["triggers::shared", "actions::shared"],
    &["triggers::collection::engine", "triggers::log::engine", "triggers::queue::engine"],
    &[
        "triggers::collection",
        "triggers::log",
        "triggers::queue",
        "actions::devices",
        "actions::jobs",
        "actions::messages",
        "actions::provisioning",
        "actions::query",
        "actions::twins",
    ],
    &["triggers", "actions"],
    &["manifest"],
    &["connection", "discovery"],
    &["lifecycle", "migrate"],
    &["exports"],
];

/// The module in `floors` that a path belongs to, and the index of its floor.
fn place_of<'t>(floors: &'t [&'t [&'t str]], path: &str) -> Option<(usize, &'t str)> {
    let holds = |module: &str| path == module || path.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"));
    let all = floors.iter().enumerate().flat_map(|(floor, modules)| modules.iter().map(move |module| (floor, *module)));
    all.filter(|(_, module)| holds(module)).max_by_key(|(_, module)| module.len())
}

/// The forbidden imports of one file. `own` is the file's module.
fn judge(floors: &[&[&str]], file: &str, own: &str, source: &str) -> Vec<String> {
    let Some((floor, module)) = place_of(floors, own) else {
        return vec![format!(
            "{file}: the module `{own}` stands on no floor. Add it to FLOORS in tests/native/floors.rs."
        )];
    };
    let mut problems = Vec::new();
    for path in paths(own, source) {
        let Some((other_floor, other)) = place_of(floors, &path) else { continue };
        let fault = match other_floor {
            _ if other == module => continue,
            lower if lower < floor => continue,
            same if same == floor => "stands on the same floor",
            _ => "stands on a higher floor",
        };
        problems.push(format!(
            "{file}: `{module}` imports `crate::{path}`, and `{other}` {fault}. Move what both need to a module below both, or \
             pass it in as an argument; the floors are in tests/native/floors.rs."
        ));
    }
    problems
}

/// All paths of a source that begin with `crate`, `super` or `self`, from the crate's root. `own` is the source's
/// module.
fn paths(own: &str, source: &str) -> BTreeSet<String> {
    let tokens = TokenStream::from_str(source).unwrap_or_else(|error| panic!("{own} cannot be read: {error}"));
    let mut found = BTreeSet::new();
    let own: Vec<String> = own.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    walk(tokens, &own, &mut found);
    found
}

fn walk(tokens: TokenStream, own: &[String], found: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) => {
                // The body of `mod name { … }` is a separate module.
                let inline = match (
                    at.checked_sub(3).and_then(|at| tokens.get(at)),
                    at.checked_sub(2).and_then(|at| tokens.get(at)),
                ) {
                    (Some(TokenTree::Ident(word)), Some(TokenTree::Ident(name))) if *word == "mod" => {
                        Some(name.to_string())
                    }
                    _ => None,
                };
                let inner: Vec<String> = own.iter().cloned().chain(inline).collect();
                walk(group.stream(), &inner, found);
            }
            TokenTree::Ident(word) if is_separator(&tokens, at) => {
                let begun = match word.to_string().as_str() {
                    "crate" => Some(Vec::new()),
                    "self" => Some(own.to_vec()),
                    "super" => Some(own.split_last().map(|(_, outer)| outer.to_vec()).unwrap_or_default()),
                    _ => None,
                };
                if let Some(begun) = begun {
                    at = follow(&tokens, at, begun, found);
                }
            }
            _ => {}
        }
    }
}

/// Whether the tokens at this index are `::`.
fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    colon(at) && colon(at + 1)
}

/// Follows a path from the `::` at this index, with all branches of its braces. Returns the index after the path.
fn follow(tokens: &[TokenTree], mut at: usize, mut path: Vec<String>, found: &mut BTreeSet<String>) -> usize {
    while is_separator(tokens, at) {
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(word)) => match word.to_string().as_str() {
                "super" => drop(path.pop()),
                "self" => {}
                name => path.push(name.to_owned()),
            },
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
                for branch in inner.split(is_comma) {
                    let Some(TokenTree::Ident(first)) = branch.first() else { continue };
                    let mut path = path.clone();
                    if *first != "self" {
                        path.push(first.to_string());
                    }
                    follow(branch, 1, path, found);
                }
                return at + 3;
            }
            _ => break,
        }
        at += 3;
    }
    found.insert(path.join("::"));
    at
}

/// The text of all sources, by their path from the crate's folder.
fn sources() -> BTreeMap<String, String> {
    fn visit(folder: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                visit(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("within").to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).expect("a text"));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    visit(&root.join("src"), root, &mut found);
    found
}

/// The module of a file: `amqp::codec` for `src/amqp/codec/mod.rs`.
fn module_of(file: &str) -> String {
    let name = file.strip_prefix("src/").and_then(|name| name.strip_suffix(".rs")).expect("a source");
    name.strip_suffix("/mod").unwrap_or(name).replace('/', "::")
}

/// The folder of a module's file.
fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A problem for each import between files of different folders that belongs to a circle of imports.
fn circles(sources: &BTreeMap<String, String>) -> Vec<String> {
    let files: BTreeMap<String, &String> = sources.keys().map(|file| (module_of(file), file)).collect();
    let file_of = |path: &str| {
        let mut path = path;
        loop {
            match (files.get(path), path.rsplit_once("::")) {
                (Some(file), _) => return Some((*file).clone()),
                (None, Some((outer, _))) => path = outer,
                (None, None) => return None,
            }
        }
    };
    let imports: BTreeMap<&String, BTreeSet<String>> = sources
        .iter()
        .map(|(file, source)| (file, paths(&module_of(file), source).iter().filter_map(|path| file_of(path)).collect()))
        .collect();
    let reach = |from: &String| {
        let mut reached = BTreeSet::new();
        let mut next = vec![from.clone()];
        while let Some(file) = next.pop() {
            for import in imports.get(&file).into_iter().flatten() {
                if reached.insert(import.clone()) {
                    next.push(import.clone());
                }
            }
        }
        reached
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = sources.keys().map(|file| (file, reach(file))).collect();
    let mut problems = Vec::new();
    for (file, others) in &imports {
        for other in others.iter().filter(|other| folder_of(other) != folder_of(file)) {
            if reached.get(other).is_some_and(|reached| reached.contains(*file)) {
                problems.push(format!(
                    "{file} imports {other}, which imports it in turn, if by others: the two folders are one. Move what both \
                     need below both."
                ));
            }
        }
    }
    problems
}

#[test]
fn modules_import_from_lower_floors_alone() {
    let sources = sources();
    assert!(sources.len() > 100, "the sources are read: {}", sources.len());
    let outside = ["src/lib.rs"];
    let problems: Vec<String> = sources
        .iter()
        .filter(|(file, _)| !outside.contains(&file.as_str()))
        .flat_map(|(file, source)| judge(FLOORS, file, &module_of(file), source))
        .collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn no_folders_import_one_another_in_a_circle() {
    let problems = circles(&sources());
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_floor_stands() {
    let modules: BTreeSet<String> = sources().keys().map(|file| module_of(file)).collect();
    for module in FLOORS.iter().copied().flatten() {
        assert!(
            modules.contains(*module),
            "`{module}` is in FLOORS and not in src: remove it from tests/native/floors.rs"
        );
    }
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    let floors: &[&[&str]] = &[&["ground"], &["left", "right"], &["top"]];
    let judged = |own: &str, source: &str| judge(floors, "src/x.rs", own, source);
    for fine in [
        "use crate::ground::{self, thing};",
        "use crate::left::inner::Thing;",
        "// use crate::top::Thing;\nconst TEXT: &str = \"crate::top\";",
        "mod inner { use super::Thing; }",
    ] {
        assert_eq!(judged("left", fine), Vec::<String>::new(), "{fine}");
    }
    for (own, source, path) in [
        ("left", "use crate::top::Thing;", "top::Thing"),
        ("left", "use crate::{ground, top::{Thing, Other}};", "top::Other"),
        ("left", "use crate::right::Thing;", "right::Thing"),
        ("left::inner", "use super::super::top;", "top"),
        ("left", "fn f() { g(crate::top::h()) }", "top::h"),
        ("left", "fn f() { println!(\"{}\", crate::top::h()) }", "top::h"),
        ("left", "#[cfg(test)] mod tests { use super::*; use crate::top::Thing; }", "top::Thing"),
        ("left", "mod inner { use super::super::right::Thing; }", "right::Thing"),
    ] {
        let problems = judged(own, source);
        assert!(problems.iter().any(|problem| problem.contains(&format!("`crate::{path}`"))), "{source}: {problems:?}");
        assert!(problems.iter().all(|problem| problem.contains("src/x.rs") && problem.contains("Move what both need")));
    }
    assert!(judged("nowhere", "").iter().all(|problem| problem.contains("Add it to FLOORS")));
    assert_eq!(judged("nowhere", "").len(), 1);
}

#[test]
fn a_circle_of_folders_is_found() {
    let file = |name: &str, source: &str| (name.to_owned(), source.to_owned());
    let circle = BTreeMap::from([
        file("src/a/mod.rs", "use crate::b::inner::X;"),
        file("src/b/inner.rs", "use super::other::Y;"),
        file("src/b/other.rs", "use crate::a::Z;"),
    ]);
    assert_eq!(circles(&circle).len(), 2, "{:?}", circles(&circle));
    let line = BTreeMap::from([
        file("src/a/mod.rs", "use crate::b::inner::X;"),
        file("src/b/inner.rs", "use super::other::Y;"),
        file("src/b/other.rs", "use super::inner::X;"),
    ]);
    assert_eq!(circles(&line), Vec::<String>::new(), "files of one folder may know one another");
}
