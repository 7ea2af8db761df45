#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use super::*;

/// The imports of the first file, as `line: path -> file`. Those of unit tests end with `(test)`.
fn imports(files: &[(&str, &str)]) -> Vec<String> {
    let sources = Sources::parse(files.iter().copied()).unwrap();
    let first = files[0].0;
    let shown = |import: &Import| {
        let end = if import.is_test { " (test)" } else { "" };
        format!("{}: {} -> {}{end}", import.line, import.path, import.defined)
    };
    sources.imports().iter().filter(|import| import.file == first).map(shown).collect()
}

/// The paths of a source in the module `left`, in a package of four modules.
fn paths(source: &str) -> Vec<String> {
    let files = [("src/left.rs", source), ("src/ground.rs", ""), ("src/right.rs", ""), ("src/top/mod.rs", "")];
    let sources = Sources::parse(files).unwrap();
    sources.imports().into_iter().map(|import| import.path).collect()
}

#[test]
fn an_import_is_found_however_it_is_written() {
    for (source, found) in [
        ("use crate::top::Thing;", &["top::Thing"] as &[&str]),
        ("use crate::{ground, top::{Thing, Other as Another}};", &["ground", "top::Other", "top::Thing"]),
        ("use crate::ground::{self, thing};", &["ground", "ground::thing"]),
        ("use {crate::top::Thing, std::fmt};", &["top::Thing"]),
        ("use super::right::*;", &["right"]),
        ("use self::super::top;", &["top"]),
        ("fn f() { g(crate::top::h()) }", &["top::h"]),
        ("fn f() { println!(\"{}\", crate::top::h()) }", &["top::h"]),
        (
            "fn f() -> Vec<crate::top::Thing> { <crate::ground::G as crate::right::R>::new() }",
            &["ground::G", "right::R", "top::Thing"],
        ),
        ("macro_rules! m { ($x:expr) => { $crate::top::h($x) } }", &["top::h"]),
        ("mod inner { use super::super::right::Thing; }", &["right::Thing"]),
        ("mod inner { use super::Thing; }", &["left::Thing"]),
        ("#[serde(with = \"crate::top\")] struct S;", &["top"]),
        ("#[derive(crate::top::Derive)] struct S;", &["top::Derive"]),
        ("use crate::r#top;", &["top"]),
        ("//! `crate::top`\n/// [`crate::top`]\n// use crate::top::Thing;\n/* crate::top */", &[]),
        ("const TEXT: &str = \"crate::top\"; const RAW: &str = r#\"\"crate::top\"#; const QUOTE: char = '\"';", &[]),
        ("pub(in crate::left) fn f() {} pub(super) fn g() {}", &[]),
        ("fn f() { ::top::g(); std::mem::drop(1); Vec::<u8>::new() }", &[]),
        ("fn f<T>() -> impl Sized + use<T> {}", &[]),
    ] {
        assert_eq!(paths(source), found, "{source}");
    }
}

#[test]
fn a_module_is_found_from_its_parent_and_by_the_names_of_use_lines() {
    let parent = "operations! { get, set }\nuse get::Get;\npub(crate) fn f() { set::run(); }\n";
    let files = [("src/ops/mod.rs", parent), ("src/ops/get.rs", ""), ("src/ops/set.rs", ""), ("src/lib.rs", "")];
    assert_eq!(imports(&files), ["2: ops::get::Get -> src/ops/get.rs", "3: ops::set::run -> src/ops/set.rs"]);
    let root = [("src/main.rs", "fn main() { run::run() }"), ("src/run.rs", "")];
    assert_eq!(imports(&root), ["1: run::run -> src/run.rs"]);
    let by_name = "use crate::ops as all;\nuse all::get as one;\nfn f() { one::run(); all::set::run(); all::g(); }\n";
    let files = [("src/call.rs", by_name), ("src/ops/mod.rs", ""), ("src/ops/get.rs", ""), ("src/ops/set.rs", "")];
    assert_eq!(
        imports(&files),
        ["1: ops -> src/ops/mod.rs", "2: ops::get -> src/ops/get.rs", "3: ops::set::run -> src/ops/set.rs",]
    );
}

#[test]
fn a_re_export_is_followed_to_its_file() {
    let files = [
        (
            "src/call/run.rs",
            "use super::Limits;\nuse crate::Tenant;\nuse crate::limits;\nuse super::own;\nuse super::Budget;\n",
        ),
        ("src/call/mod.rs", "pub use crate::limits::Limits;\npub use crate::limits::*;\nfn own() {}\n"),
        (
            "src/limits/mod.rs",
            "mod settings;\nmod budget;\npub use self::budget::Budget;\npub use settings::Settings as Limits;\n",
        ),
        ("src/limits/settings.rs", ""),
        ("src/limits/budget.rs", ""),
        ("src/tenant.rs", ""),
        ("src/lib.rs", "mod tenant;\npub use tenant::Tenant;\n"),
    ];
    assert_eq!(
        imports(&files),
        [
            "1: call::Limits -> src/limits/settings.rs",
            "2: Tenant -> src/tenant.rs",
            "3: limits -> src/limits/mod.rs",
            "4: call::own -> src/call/mod.rs",
            "5: call::Budget -> src/limits/budget.rs",
        ]
    );
    let sources = Sources::parse(files).unwrap();
    let of_root = sources.imports().into_iter().find(|import| import.path == "Tenant").unwrap();
    assert_eq!(
        (of_root.named.as_str(), of_root.to_string().as_str()),
        ("src/lib.rs", "src/call/run.rs:2: crate::Tenant")
    );
    let either = "#[cfg(a)]\npub use super::b::X;\n#[cfg(not(a))]\npub use super::c::X;\n";
    let files = [("src/d.rs", "use crate::a::X;"), ("src/a.rs", either), ("src/b.rs", ""), ("src/c.rs", "")];
    assert_eq!(imports(&files), ["1: a::X -> src/a.rs"], "a condition chooses, so both are reached by way of the file");
    let endless = [("src/a.rs", "pub use crate::b::X;"), ("src/b.rs", "pub use crate::a::X;")];
    assert_eq!(imports(&endless).len(), 1);
}

#[test]
fn code_for_unit_tests_is_told_apart() {
    let source = "\
#[cfg(test)]
use crate::b::{One, Two};
#[cfg(all(test, feature = \"x\"))]
#[derive(Debug)]
pub(crate) fn helper(a: crate::b::A) -> crate::b::B { crate::b::c() }
#[cfg(not(test))]
use crate::b::Three;
struct S {
    #[cfg(test)]
    pub seam: crate::b::Seam,
    rest: crate::b::Rest,
}
#[cfg(test)]
impl<A, B> T<A, B> for S { type X = crate::b::X; }
#[cfg(test)]
mod tests {
    mod inner { use crate::b::Four; }
}
use crate::b::Five;
";
    let found = imports(&[("src/a.rs", source), ("src/b.rs", "")]);
    let (tests, rest): (Vec<&String>, Vec<&String>) = found.iter().partition(|import| import.ends_with("(test)"));
    let names = |imports: &[&String]| {
        imports
            .iter()
            .map(|it| it.split("b::").nth(1).unwrap().split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&tests), ["One", "Two", "A", "B", "c", "Seam", "X", "Four"], "{found:?}");
    assert_eq!(names(&rest), ["Three", "Rest", "Five"], "{found:?}");

    let of_file =
        |text| imports(&[("src/a/tests/peer.rs", "use crate::b::X;"), ("src/a/mod.rs", text), ("src/b.rs", "")]);
    assert_eq!(of_file("#[cfg(test)]\nmod tests;"), ["1: b::X -> src/b.rs (test)"]);
    assert_eq!(of_file("mod tests;"), ["1: b::X -> src/b.rs"]);
    assert_eq!(imports(&[("src/a.rs", "#![cfg(test)]\nuse crate::b;"), ("src/b.rs", "")]), ["2: b -> src/b.rs (test)"]);
}

#[test]
fn circles_are_found_with_a_shortest_way_round() {
    let graph = |files: &[(&str, &str)]| {
        let sources = Sources::parse(files.iter().copied()).unwrap();
        Graph::new(&sources.imports(), |import| (import.file.clone(), import.defined.clone()))
    };
    let ring = [
        ("src/a.rs", "use crate::b::B;\n\nuse crate::e::E;\n"),
        ("src/b.rs", "use super::c::C;\n"),
        ("src/c.rs", "use crate::{a::A, b::B};\n"),
        ("src/d.rs", "use crate::a::A;\n"),
        ("src/e.rs", "use crate::e::Own;\n"),
    ];
    let found = graph(&ring);
    let circles = found.circles();
    assert_eq!(circles.len(), 1, "{circles:?}");
    assert_eq!(circles[0].members, ["src/a.rs", "src/b.rs", "src/c.rs"]);
    assert_eq!(circles[0].way, ["src/b.rs:1: crate::c::C", "src/c.rs:1: crate::b::B"]);
    assert_eq!(
        circles[0].to_string(),
        "src/a.rs, src/b.rs, src/c.rs import each other in a circle:\n    src/b.rs:1: crate::c::C\n    src/c.rs:1: crate::b::B"
    );
    assert!(found.are_in_a_circle("src/a.rs", "src/c.rs"));
    assert!(!found.are_in_a_circle("src/d.rs", "src/a.rs"));
    assert!(!found.are_in_a_circle("src/e.rs", "src/e.rs"));
    assert_eq!(graph(&[ring[0], ring[1], ring[3]]).circles(), []);
    let through_a = found.circles_with(|from, _| from == "src/a.rs");
    assert_eq!(through_a[0].way, ["src/a.rs:1: crate::b::B", "src/b.rs:1: crate::c::C", "src/c.rs:1: crate::a::A"]);
    assert_eq!(found.circles_with(|from, _| from == "src/d.rs"), []);
    let long = Circle { members: (0..10).map(|n| n.to_string()).collect(), way: vec![] };
    assert!(long.to_string().starts_with("0, 1, 2, 3, 4, 5, 6, 7 and 2 more import each other"), "{long}");
    let two = [ring[1], ring[2], ("src/x.rs", "use crate::y;"), ("src/y.rs", "use crate::x;")];
    assert_eq!(graph(&two).circles().len(), 2);
}

#[test]
fn what_cannot_be_read_is_named() {
    let error = Sources::parse([("src/a.rs", "fn f() {\n    (\n}\n")]).err().unwrap().to_string();
    assert!(error.contains("src/a.rs cannot be read") && error.contains("(line "), "{error}");
    let error = Sources::read(Path::new("/nowhere")).err().unwrap().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn this_package_is_read() {
    let sources = Sources::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let files: Vec<&str> = sources.files().collect();
    assert_eq!(files, ["src/graph.rs", "src/lib.rs", "src/tests.rs", "src/tokens.rs"]);
    let imports = sources.imports();
    assert!(imports.iter().any(|import| import.file == "src/graph.rs" && import.path == "Import"));
    assert!(imports.iter().filter(|import| import.file == "src/tests.rs").all(|import| import.is_test));
    assert_eq!((module("src/a/b/mod.rs"), module("src/main.rs")), ("a::b".into(), String::new()));
    assert_eq!(
        (top("src/amqp/codec.rs"), top("src/amqp.rs"), top("src/lib.rs")),
        ("amqp".into(), "amqp".into(), String::new())
    );
}
