//! All that must hold before a change is taken.

use std::fs;

use anyhow::Result;

use crate::run::{Command, cargo, root, step, target_dir};
use crate::{component, setup};

const GUEST: [&str; 4] = ["--package", "azure-iot-connector", "--target", "wasm32-wasip2"];

/// Connectors, and what they are written with, outside of the workspace; the tests build what they need of them.
const OUTSIDE: [&str; 4] = ["kit", "examples/http", "tests/hostile", "host-harness/tests/guests/frozen"];

const ABOUT_NOTHING: &str = "```toml
[advisory]
id = \"RUSTSEC-2000-0001\"
package = \"nothing\"
date = \"2000-01-01\"

[versions]
patched = []
```

# Nothing

About no package.
";

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
        cargo(&["clippy", "--package", "connector-host", "--lib", "--", "--deny", "warnings"])
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
    step("Yanked versions", yanked)?;
    eprintln!("All checks passed.");
    Ok(())
}

/// What can be judged without a network.
fn licences() -> Result<()> {
    let deny = setup::cargo_deny()?;
    Command::new(deny).args(["--workspace", "check", "licenses", "sources", "bans"]).run()
}

/// Versions that their authors have withdrawn, as cargo's copy of the registry's index has them. `cargo deny` looks for them
/// in its check of advisories alone, which wants a database of those; it is given one with an advisory about nothing.
fn yanked() -> Result<()> {
    let deny = setup::cargo_deny()?;
    let folder = root()?.join("target").join("yanked");
    // The name that cargo-deny gives to the database of this address.
    let database = folder.join("none-c60878908cd78f0e");
    fs::create_dir_all(database.join("crates").join("nothing"))?;
    fs::write(database.join("crates").join("nothing").join("RUSTSEC-2000-0001.md"), ABOUT_NOTHING)?;
    let git = |args: &[&str]| Command::new("git").arg("-C").arg(&database).args(args).run();
    git(&["init", "--quiet"])?;
    let author = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com"];
    git(&[&author[..], &["commit", "--quiet", "--allow-empty", "--message", "About nothing"]].concat())?;
    let config = folder.join("deny.toml");
    let text = format!(
        "[graph]\nall-features = true\ntargets = [\"x86_64-unknown-linux-gnu\", \"wasm32-wasip2\"]\n\
         [advisories]\nyanked = \"deny\"\ndb-path = {folder:?}\ndb-urls = [\"https://none.invalid/none\"]\n"
    );
    fs::write(&config, text)?;
    // Cargo asks the registry again for what it has a copy of; without a network the copy counts.
    if cargo(&["update", "--dry-run", "--quiet"]).is_err() {
        eprintln!("    the index cannot be had: cargo's copy of it counts");
    }
    let check = ["check", "--deny", "index-failure", "advisories"];
    Command::new(deny).args(["--workspace", "--offline", "--config"]).arg(&config).args(check).run()
}

/// Known vulnerabilities of what is depended on. The database is fetched, so this needs the network; where it cannot be had
/// and `if_available` is set, that is said and nothing else.
///
/// # Errors
/// What was found, or that the database cannot be had.
pub fn advisories(if_available: bool) -> Result<()> {
    let deny = setup::cargo_deny()?;
    // A network that swallows packets must not hold up continuous integration.
    let fetched = Command::new("timeout").arg("120").arg(&deny).args(["fetch", "db"]).run();
    match fetched {
        Err(error) if if_available => {
            eprintln!("Advisories were not checked: the database cannot be had ({error:#})");
            return Ok(());
        }
        fetched => fetched?,
    }
    Command::new(deny).args(["--workspace", "check", "advisories"]).run()
}
