//! All that must hold before a change is taken.

use anyhow::Result;

use crate::run::{Command, cargo, step, target_dir};
use crate::{component, setup};

const GUEST: [&str; 4] = ["--package", "azure-iot-connector", "--target", "wasm32-wasip2"];

/// Connectors, and what they are written with, outside of the workspace; the tests build what they need of them.
const OUTSIDE: [&str; 4] = ["kit", "examples/http", "tests/hostile", "host-harness/tests/guests/frozen"];

/// Runs every check; the first that fails ends it.
///
/// # Errors
/// The check that failed.
pub fn all() -> Result<()> {
    setup::for_tests()?;
    step("Format", || cargo(&["fmt", "--all", "--check"]))?;
    let component = component::build()?;
    step("Lints, host target", || cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    step("Lints, the host as it is embedded", || {
        let library = ["clippy", "--package", "connector-host", "--lib", "--no-default-features"];
        cargo(&[&library[..], &["--", "--deny", "warnings"]].concat())
    })?;
    step("Lints, component target", || {
        cargo(&[&["clippy"], &GUEST[..], &["--lib", "--", "--deny", "warnings"]].concat())
    })?;
    step("Lints, component without AMQP", || {
        cargo(&[&["clippy"], &GUEST[..], &["--lib", "--no-default-features", "--", "--deny", "warnings"]].concat())
    })?;
    for package in OUTSIDE {
        let manifest = format!("{package}/Cargo.toml");
        step(&format!("Format and lints, {package}"), || {
            cargo(&["fmt", "--manifest-path", &manifest, "--check"])?;
            let guests = target_dir()?.join("guests");
            let args = ["clippy", "--release", "--locked", "--target", "wasm32-wasip2", "--manifest-path", &manifest];
            let command = Command::new(env!("CARGO")).args(args).arg("--target-dir").arg(guests);
            command.args(["--", "--deny", "warnings"]).run()
        })?;
    }
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
