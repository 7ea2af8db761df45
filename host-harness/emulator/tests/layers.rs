//! Imports between the emulator's own modules point in one direction. `docs/decisions.md` says why.
//!
//! A folder is a module directly below `lib.rs`, whether it is one file or several. Unit tests are not counted: they may
//! set up a whole emulator. `source_imports` says what counts as an import.

use std::path::Path;

use source_imports::{Graph, Import, Sources, top};

/// Import circles between folders that are accepted, each with the reason that `docs/decisions.md` gives.
const LISTED: &[(&str, &str, &str)] = &[];

#[test]
fn folders_and_files_import_in_one_direction() {
    let sources = Sources::read(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("sources");
    assert!(sources.files().count() > 100, "only {} sources were found", sources.files().count());
    let problems = problems(&sources, LISTED);
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn the_rule_finds_what_it_is_for() {
    let sources = |files: &[(&str, &str)]| Sources::parse(files.iter().copied()).expect("sources");
    let circle = sources(&[
        ("src/lib.rs", "mod hub;\nmod web;\nmod clock;\npub use hub::devices::Device;\n"),
        ("src/clock.rs", "pub fn now() {}\n"),
        ("src/hub/mod.rs", "mod devices;\n"),
        ("src/hub/devices.rs", "use std::fmt;\n\nuse crate::{clock::now, web};\n"),
        ("src/web/mod.rs", "pub fn answer() {\n    crate::hub::devices::get();\n}\n"),
    ]);
    let found = problems(&circle, &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("hub, web import each other"), "{found:?}");
    assert!(found[1].starts_with("src/hub/devices.rs, src/web/mod.rs import each other"), "{found:?}");
    for found in found {
        assert!(found.contains("src/hub/devices.rs:3: crate::web"), "{found}");
        assert!(found.contains("src/web/mod.rs:2: crate::hub::devices"), "{found}");
    }
    let listed = [("hub", "web", "a reason"), ("hub", "clock", "a reason")];
    assert_eq!(problems(&circle, &listed[..1]), Vec::<String>::new());
    let stale = problems(&circle, &listed);
    assert!(stale.len() == 1 && stale[0].contains("hub and clock"), "{stale:?}");
    let unreasoned = problems(&circle, &[("hub", "web", "")]);
    assert!(unreasoned.len() == 1 && unreasoned[0].contains("without a reason"), "{unreasoned:?}");

    let root = sources(&[
        ("src/lib.rs", "mod hub;\npub use hub::Hub;\n"),
        ("src/hub.rs", "use crate::Hub as Another;\npub struct Hub;\n"),
    ]);
    let found = problems(&root, &[]);
    assert!(found.len() == 1 && found[0].contains("src/hub.rs:1: crate::Hub"), "{found:?}");

    let innocent = sources(&[
        ("src/web/mod.rs", "use crate::hub;\n"),
        ("src/hub.rs", "#[cfg(test)]\nmod tests {\n    use crate::web;\n}\n"),
    ]);
    assert_eq!(problems(&innocent, &[]), Vec::<String>::new());

    let ring = sources(&[("src/hub/a.rs", "use super::b::f;\n"), ("src/hub/b.rs", "use super::a::f;\n")]);
    let found = problems(&ring, &[]);
    assert!(found.len() == 1 && found[0].contains("src/hub/a.rs, src/hub/b.rs import each other"), "{found:?}");
}

/// The violations of the rules.
fn problems(sources: &Sources, listed: &[(&str, &str, &str)]) -> Vec<String> {
    let imports: Vec<Import> = sources.imports().into_iter().filter(|import| !import.is_test).collect();
    let folder = |file: &str| Some(top(file)).filter(|top| !top.is_empty()).unwrap_or_else(|| "lib.rs".to_owned());
    let is_listed = |a: &str, b: &str| listed.iter().any(|(x, y, _)| (a, b) == (*x, *y) || (a, b) == (*y, *x));
    let mut found = Vec::new();

    let folders = Graph::new(&imports, |import| (folder(&import.file), folder(&import.named)));
    let circles = folders.circles_with(|a, b| !is_listed(a, b));
    found.extend(circles.iter().map(|circle| format!("{circle}\nMove what both need to a folder below them.")));
    for (a, b, reason) in listed {
        if reason.trim().is_empty() {
            found.push(format!("{a} and {b} are listed as a circle without a reason."));
        }
        if !folders.are_in_a_circle(a, b) {
            found.push(format!("{a} and {b} are listed as a circle, but are none any more: take them off the list."));
        }
    }

    let unlisted = imports.iter().filter(|import| !is_listed(&folder(&import.file), &folder(&import.defined)));
    let files = Graph::new(unlisted, |import| (import.file.clone(), import.defined.clone()));
    found.extend(files.circles().iter().map(|circle| format!("{circle}\nMove what both need to a file below them.")));
    found
}
