//! The guest's modules are arranged in floors, and a module may import only from lower floors. Unit tests must keep to
//! this as well. `source_imports` says what counts as an import.

use std::path::Path;

use source_imports::{Graph, Sources, module};

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
        "actions::configurations",
        "actions::custom",
        "actions::devices",
        "actions::hub",
        "actions::jobs",
        "actions::digital_twins",
        "actions::messages",
        "actions::modules",
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

/// The file that names all modules, and stands above them.
const ROOT: &str = "src/lib.rs";

/// The module in `floors` that a path belongs to, and the index of its floor.
fn place_of<'t>(floors: &'t [&'t [&'t str]], path: &str) -> Option<(usize, &'t str)> {
    let holds = |module: &str| path == module || path.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"));
    let all = floors.iter().enumerate().flat_map(|(floor, modules)| modules.iter().map(move |module| (floor, *module)));
    all.filter(|(_, module)| holds(module)).max_by_key(|(_, module)| module.len())
}

/// The forbidden imports, and the files that stand on no floor.
fn judge(floors: &[&[&str]], sources: &Sources) -> Vec<String> {
    let lost = sources.files().filter(|file| *file != ROOT && place_of(floors, &module(file)).is_none()).map(|file| {
        format!("{file}: the module `{}` stands on no floor. Add it to FLOORS in tests/native/floors.rs.", module(file))
    });
    let mut problems: Vec<String> = lost.collect();
    for import in sources.imports() {
        let Some((floor, own)) = place_of(floors, &import.module) else { continue };
        let Some((other_floor, other)) = place_of(floors, &import.path) else { continue };
        let fault = match other_floor {
            _ if other == own => continue,
            lower if lower < floor => continue,
            same if same == floor => "stands on the same floor",
            _ => "stands on a higher floor",
        };
        problems.push(format!(
            "{}:{}: `{own}` imports `crate::{}`, and `{other}` {fault}. Move what both need to a module below both, or pass \
             it in as an argument; the floors are in tests/native/floors.rs.",
            import.file, import.line, import.path
        ));
    }
    problems
}

/// The circles of imports that lead from one folder to another.
fn circles(sources: &Sources) -> Vec<String> {
    let folder = |file: &str| file.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let graph = Graph::new(&sources.imports(), |import| (import.file.clone(), import.named.clone()));
    let circles = graph.circles_with(|file, other| folder(file) != folder(other));
    circles
        .iter()
        .map(|circle| format!("{circle}\nThe folders are one. Move what they need below all of them."))
        .collect()
}

fn guest() -> Sources {
    let sources = Sources::read(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("sources");
    assert!(sources.files().count() > 100, "the sources are read: {}", sources.files().count());
    sources
}

#[test]
fn modules_import_from_lower_floors_alone() {
    let problems = judge(FLOORS, &guest());
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn no_folders_import_one_another_in_a_circle() {
    let problems = circles(&guest());
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_floor_stands() {
    let guest = guest();
    for floor in FLOORS.iter().copied().flatten() {
        assert!(
            guest.files().any(|file| module(file) == *floor),
            "`{floor}` is in FLOORS and not in src: remove it from tests/native/floors.rs"
        );
    }
}

#[test]
fn an_upward_import_is_found() {
    let floors: &[&[&str]] = &[&["ground"], &["left", "right"], &["top"]];
    let judged = |file: &str, source: &str| {
        let others = [(ROOT, ""), ("src/ground.rs", ""), ("src/right.rs", ""), ("src/top.rs", "")];
        judge(floors, &Sources::parse([(file, source)].into_iter().chain(others)).expect("sources"))
    };
    for fine in
        ["use crate::ground::{self, thing};", "use crate::left::inner::Thing;", "mod inner { use super::Thing; }"]
    {
        assert_eq!(judged("src/left.rs", fine), Vec::<String>::new(), "{fine}");
    }
    for (file, source, path) in [
        ("src/left.rs", "use crate::{ground, top::{Thing, Other}};", "top::Other"),
        ("src/left.rs", "use crate::right::Thing;", "right::Thing"),
        ("src/left/inner.rs", "use super::super::top;", "top"),
        ("src/left.rs", "#[cfg(test)] mod tests { use super::*; use crate::top::Thing; }", "top::Thing"),
        ("src/left.rs", "mod inner { use super::super::right::Thing; }", "right::Thing"),
    ] {
        let problems = judged(file, source);
        assert!(problems.iter().any(|problem| problem.contains(&format!("`crate::{path}`"))), "{source}: {problems:?}");
        assert!(problems.iter().all(|problem| problem.contains(file) && problem.contains("Move what both need")));
    }
    let lost = judged("src/nowhere.rs", "");
    assert!(lost.len() == 1 && lost[0].contains("Add it to FLOORS"), "{lost:?}");
}

#[test]
fn a_circle_of_folders_is_found() {
    let circles = |files: &[(&str, &str)]| circles(&Sources::parse(files.iter().copied()).expect("sources"));
    let circle = [
        ("src/a/mod.rs", "use crate::b::inner::X;"),
        ("src/b/inner.rs", "use super::other::Y;"),
        ("src/b/other.rs", "use crate::a::Z;"),
    ];
    let found = circles(&circle);
    assert!(found.len() == 1 && found[0].contains("src/a/mod.rs:1: crate::b::inner::X"), "{found:?}");
    let line = [circle[0], circle[1], ("src/b/other.rs", "use super::inner::X;")];
    assert_eq!(circles(&line), Vec::<String>::new(), "files of one folder may know one another");
}
