//! The wings of the library (its folders, and the files at its root) import each other in only one direction, and so do
//! all files. Code for unit tests may import any file. `source_imports` says what counts as an import.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::path::Path;

use source_imports::{Graph, Import, Sources, top};

/// What is wrong with the imports of these sources.
fn problems(sources: &Sources) -> Vec<String> {
    // The root names all wings, and re-exports them to embedders.
    let counts = |import: &Import| !import.is_test && !top(&import.file).is_empty();
    let imports: Vec<Import> = sources.imports().into_iter().filter(counts).collect();
    let by_root = imports.iter().filter(|import| top(&import.named).is_empty());
    let mut found: Vec<String> =
        by_root.map(|import| format!("{import}: import from the wing itself, not by way of the root")).collect();
    let wings = Graph::new(&imports, |import| (top(&import.file), top(&import.named)));
    found.extend(wings.circles().iter().map(|circle| format!("{circle}\nMove what both need into a wing below them.")));
    let files = Graph::new(&imports, |import| (import.file.clone(), import.defined.clone()));
    found.extend(files.circles().iter().map(|circle| format!("{circle}\nMove what both need into a file below them.")));
    found
}

#[test]
fn wings_and_files_import_in_one_direction() {
    let sources = Sources::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert!(sources.files().count() > 60, "only {} sources were found", sources.files().count());
    let uses = |wing: &str, other: &str| {
        sources.imports().iter().any(|import| (&*top(&import.file), &*top(&import.named)) == (wing, other))
    };
    assert!(uses("loading", "call") && uses("call", "limits"), "imports are found");
    let problems = problems(&sources);
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// The check finds circles of two wings, longer circles, circles in a wing, and imports by way of the root.
#[test]
fn what_the_check_is_for_is_found() {
    let judge = |files: &[(&str, &str)]| problems(&Sources::parse(files.iter().copied()).unwrap());
    let two = [
        ("src/call/mod.rs", ""),
        ("src/error.rs", ""),
        ("src/call/run.rs", "use crate::{limits::Limits, error};"),
        ("src/limits/mod.rs", "//! No `crate::call` here.\nuse super::call::{\n    Run,\n};"),
    ];
    let found = judge(&two);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("src/call/run.rs:1: crate::limits::Limits"), "{found:?}");
    assert!(found[0].contains("src/limits/mod.rs:3: crate::call::Run"), "{found:?}");
    let three = [
        ("src/call/mod.rs", "mod run;\npub use run::Run;"),
        ("src/call/run.rs", "fn f() -> crate::egress::Pool { todo() }"),
        ("src/egress/pool.rs", "use crate::error::CallError;"),
        ("src/egress/mod.rs", "mod pool;\npub use pool::Pool;"),
        ("src/error.rs", "use crate::call::Run;"),
    ];
    let found = judge(&three);
    assert!(found[0].starts_with("call, egress, error import each other"), "{found:?}");
    assert!(found[1].starts_with("src/call/run.rs, src/egress/pool.rs, src/error.rs"), "{found:?}");
    let without = [three[0], three[1], three[2], three[3], ("src/error.rs", "")];
    assert_eq!(judge(&without), Vec::<String>::new());
    let within = [("src/call/mod.rs", "use run::Run;"), ("src/call/run.rs", "use super::State;")];
    assert!(judge(&within)[0].contains("a file below them"), "{:?}", judge(&within));
    let test = "#[cfg(test)] mod tests { use crate::error::E; }";
    let tests = [three[0], ("src/call/run.rs", test), ("src/error.rs", "use crate::call::Run;")];
    assert_eq!(judge(&tests), Vec::<String>::new());
    let by_root = [
        ("src/lib.rs", "pub use connection::Connection;"),
        ("src/interface/action.rs", "use crate::Connection;"),
        ("src/connection.rs", ""),
    ];
    assert!(judge(&by_root)[0].contains("src/interface/action.rs:1: crate::Connection: import from the wing itself"));
}
