//! All that must hold before a change is taken.

use anyhow::Result;

use crate::run::{Command, answers, cargo, step};
use crate::{component, setup};

const GUEST: [&str; 4] = ["--package", "azure-iot-connector", "--target", "wasm32-wasip2"];

/// Runs every check; the first that fails ends it.
///
/// # Errors
/// The check that failed.
pub fn all() -> Result<()> {
    setup::for_tests()?;
    step("Format", || cargo(&["fmt", "--all", "--check"]))?;
    let component = component::build()?;
    step("Lints, host target", || cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    step("Lints, component target", || {
        cargo(&[&["clippy"], &GUEST[..], &["--lib", "--", "--deny", "warnings"]].concat())
    })?;
    step("Lints, component without AMQP", || {
        cargo(&[&["clippy"], &GUEST[..], &["--lib", "--no-default-features", "--", "--deny", "warnings"]].concat())
    })?;
    step("Tests", || {
        let command = Command::new(env!("CARGO")).args(["test", "--workspace", "--all-targets"]);
        command.env("CONNECTOR_COMPONENT", &component).run()
    })?;
    step("Tests in the documentation", || cargo(&["test", "--workspace", "--doc"]))?;
    step("Documentation", || {
        let command = Command::new(env!("CARGO")).args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
        command.env("RUSTDOCFLAGS", "--deny warnings").run()
    })?;
    step("Licences, sources and duplicate versions", licences)?;
    eprintln!("All checks passed.");
    Ok(())
}

/// `cargo deny` is not part of a toolchain: where it is missing, this says so, and the README names the command.
fn licences() -> Result<()> {
    if !answers("cargo-deny", &["--version"]) {
        eprintln!("    skipped: cargo-deny is not installed (cargo install cargo-deny --locked)");
        return Ok(());
    }
    cargo(&["deny", "--all-features", "check", "licenses", "sources", "bans"])
}
