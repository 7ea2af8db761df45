//! All that must hold before a change is taken.

use anyhow::Result;

use crate::run::{Command, cargo, step};
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

/// The advisory database needs the network
/// and is left to those who have it.
fn licences() -> Result<()> {
    let deny = setup::cargo_deny()?;
    Command::new(deny).args(["--workspace", "check", "licenses", "sources", "bans"]).run()
}
