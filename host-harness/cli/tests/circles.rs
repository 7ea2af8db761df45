//! No two files of the program import each other, not even through others. Code for unit tests may import any file.
//! `source_imports` says what counts as an import.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::path::Path;

use source_imports::{Graph, Import, Sources};

#[test]
fn files_import_in_one_direction() {
    let sources = Sources::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert!(sources.files().count() > 50, "only {} sources were found", sources.files().count());
    let imports: Vec<Import> = sources.imports().into_iter().filter(|import| !import.is_test).collect();
    assert!(imports.len() > 300, "only {} imports were found", imports.len());
    let circles = Graph::new(&imports, |import| (import.file.clone(), import.defined.clone())).circles();
    let circles: Vec<String> = circles.iter().map(ToString::to_string).collect();
    assert!(circles.is_empty(), "\n{}\nMove what both need into a file below them.", circles.join("\n"));
}
