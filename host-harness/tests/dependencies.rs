//! A program that embeds the library must not build the emulator, or crates that only a command line needs.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::process::Command;

/// Crates that only the program `connector-host` may use.
const FORBIDDEN: [&str; 11] = [
    "azure-iot-connector",
    "azure-iot-emulator",
    "clap",
    "comfy-table",
    "csv",
    "etcetera",
    "indicatif",
    "rcgen",
    "rpassword",
    "toml",
    "tracing-subscriber",
];

#[test]
fn the_library_needs_no_emulator_and_no_command_line() {
    let all = tree(&[]);
    assert!(all.contains("\nwasmtime "), "{all}");
    assert_eq!(forbidden(&all), [""; 0], "see `cargo tree --package connector-host --all-features --invert CRATE`");
    // wasmtime's macros need `anyhow` at compile time. The library itself must not, because its errors have types.
    let direct = tree(&["--depth", "1"]);
    assert!(!direct.contains("\nanyhow "), "{direct}");
}

/// The check finds a forbidden crate, and does not confuse similar names.
#[test]
fn what_is_forbidden_is_found() {
    assert_eq!(forbidden("connector-host v0.1.0\nclap v4.6.0\nserde v1.0.0\n"), ["clap"]);
    assert_eq!(forbidden("connector-host v0.1.0\nclap_lex v1.0.0\ntoml_edit v1.0.0\n"), [""; 0]);
}

fn forbidden(tree: &str) -> Vec<&str> {
    let mut found: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    found.retain(|name| FORBIDDEN.contains(name));
    found.sort_unstable();
    found.dedup();
    found
}

/// The crates from which the library is built, one per line.
fn tree(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "connector-host", "--all-features"])
        .args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.starts_with("connector-host "), "{tree}");
    tree
}
